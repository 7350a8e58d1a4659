"""Affine calibration: a scale and a shift for every label, learnt from labelled texts.

Source: the map is the vector scaling of Guo et al. 2017, arXiv 1706.04599, section 4.2, and of
Supervised Calibration, arXiv 2505.23783, which learns it for in-context classification. Their
regularisers differ; ours is a penalty on the distance from doing nothing. Fitted by SciPy.
"""

from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import log_softmax

from vesalius.methods.calibration.calibrators.base import AbstractCalibrator, InputKind
from vesalius.methods.calibration.calibrators.score_checks import check_number, normalise_rows


@final
class AffineCalibration(AbstractCalibrator):
    """``softmax(scale_ * log p + shift_)``, with a number of each for every label.

    Starts at the identity and is drawn to it: ``regularisation`` / 2 times the squared distance is
    added to the summed negative log-likelihood. A scale below 0 turns a label's score round.
    """

    method: ClassVar[str] = "affine"
    fits_on: ClassVar[InputKind] = "labelled"
    fitted_names: ClassVar[tuple[str, ...]] = ("scale_", "shift_")

    scale_: Float[np.ndarray, " label"]
    shift_: Float[np.ndarray, " label"]

    def __init__(self, *, regularisation: float = 1.0) -> None:
        self.regularisation = regularisation

    def _check_options(self) -> None:
        check_number("regularisation", self.regularisation, above=0, usual=1)

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        assert labels is not None
        features = normalise_rows(scores)
        num_labels = features.shape[1]
        identity = np.concatenate([np.ones(num_labels), np.zeros(num_labels)])
        truth = np.eye(num_labels)[labels]

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            log_probs = log_softmax(
                parameters[:num_labels] * features + parameters[num_labels:], axis=1
            )
            drift = parameters - identity
            away = np.exp(log_probs) - truth
            gradient = np.concatenate([(away * features).sum(axis=0), away.sum(axis=0)])
            value = -(truth * log_probs).sum() + self.regularisation / 2 * drift @ drift
            return float(value), gradient + self.regularisation * drift

        found = minimize(loss, identity, jac=True, method="L-BFGS-B", options={"gtol": 1e-8})
        self.scale_, self.shift_ = found.x[:num_labels].copy(), found.x[num_labels:].copy()

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        return self.scale_ * normalise_rows(scores) + self.shift_
