"""Domain-context calibration: divide by the mean over random words of the domain.

Source: Fei et al. 2023, Mitigating Label Biases for In-context Learning, arXiv 2305.19148, section
4: every input counts alike, so its probabilities are renormalised over the labels first.
"""

from typing import ClassVar, final

import numpy as np
from scipy.special import logsumexp

from vesalius.methods.calibration.calibrators.base import AbstractShift, InputKind
from vesalius.methods.calibration.calibrators.score_checks import normalise_rows


def log_mean_probs(scores: np.ndarray) -> np.ndarray:
    """Give the log of the mean over inputs of label-normalised probabilities, shape [label]."""
    return logsumexp(normalise_rows(scores), axis=0) - np.log(len(scores))


@final
class DomainContextCalibration(AbstractShift):
    """``argmax p / p_dc``; ``bias_`` [label] is the log of the mean probability."""

    method: ClassVar[str] = "domain-context"
    fits_on: ClassVar[InputKind] = "domain"
    fitted_names: ClassVar[tuple[str, ...]] = ("bias_",)

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        self.bias_ = log_mean_probs(scores)
