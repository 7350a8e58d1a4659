"""Platt scaling: a sigmoid of each label's log-odds, one label against the rest.

Source: Platt 1999, Probabilistic Outputs for Support Vector Machines, section 2, with the smoothed
targets of its 2.2. SciPy rather than scikit-learn's CalibratedClassifierCV, which computes the same
(a test compares them) but wants five examples of every class.
"""

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

from vesalius.methods.calibration.calibrators.base import AbstractCalibrator, InputKind


def label_log_odds(scores: np.ndarray) -> np.ndarray:
    """Give each label's log-odds against all others together, [text, label]."""
    odds = np.empty_like(scores)
    for label in range(scores.shape[1]):
        odds[:, label] = scores[:, label] - logsumexp(np.delete(scores, label, axis=1), axis=1)
    return odds


@final
class PlattScaling(AbstractCalibrator):
    """``sigmoid(slope * log-odds + offset)`` for each label, then normalised over the labels."""

    method: ClassVar[str] = "platt"
    fits_on: ClassVar[InputKind] = "labelled"
    fitted_names: ClassVar[tuple[str, ...]] = ("slope_", "offset_")

    slope_: Float[np.ndarray, " label"]
    offset_: Float[np.ndarray, " label"]

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        assert labels is not None
        odds = label_log_odds(scores)
        pairs = [fit_sigmoid(odds[:, label], labels == label) for label in self.classes_]
        self.slope_, self.offset_ = np.array(pairs).T.copy()

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        return log_expit(self.slope_ * label_log_odds(scores) + self.offset_)


def fit_sigmoid(odds: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Fit slope and offset of a sigmoid of ``odds`` [text] to which are ``positive`` [text].

    The targets are not 1 and 0 but what one example more on each side would say, so that neither
    a separable set nor one without positives has its best fit at infinity.
    """
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    target = np.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    scale = max(1.0, float(np.abs(odds).max()))  # the fit does not depend on it, its steps do

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logit = parameters[0] * odds / scale + parameters[1]
        value = -(target * log_expit(logit) + (1 - target) * log_expit(-logit)).sum()
        away = expit(logit) - target
        return float(value), np.array([(away * odds / scale).sum(), away.sum()])

    start = np.array([0.0, np.log((num_positive + 1) / (num_negative + 1))])
    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    return float(found.x[0] / scale), float(found.x[1])
