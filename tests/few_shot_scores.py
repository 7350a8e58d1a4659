"""Scores of planted few-shot texts, and calibrators fitted on them."""

import numpy as np
from scipy.special import log_softmax

from vesalius.methods.calibration.calibrators import AbstractCalibrator, make_calibrator

FAST = {"prototypical": {"num_restarts": 3}}


def few_shot_scores(num_labels: int, num_texts: int, *, seed: int = 0):
    """Scores [text, label] with a bias and labels [text]; the label words have 0.1 of the mass."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_labels, size=num_texts)
    logits = 2 * np.eye(num_labels)[labels] + generator.normal(size=(num_texts, num_labels))
    mass = np.log(0.1) + 0.3 * generator.normal(size=(num_texts, 1))
    return log_softmax(logits + np.arange(num_labels), axis=1) + mass, labels


def fitted(name: str, scores: np.ndarray, labels: np.ndarray) -> AbstractCalibrator:
    calibrator = make_calibrator(name, **FAST.get(name, {}))
    return calibrator.fit(scores, labels if calibrator.fits_on == "labelled" else None)
