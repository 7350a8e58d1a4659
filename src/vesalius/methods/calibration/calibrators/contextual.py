"""Contextual calibration: divide by what the model says of an input without content.

Source: Zhao et al. 2021, Calibrate Before Use, arXiv 2102.09690, section 5, and its code: the mean
over content-free inputs is of the probabilities of the label words before they are renormalised.
"""

from typing import ClassVar, final

import numpy as np
from scipy.special import log_softmax, logsumexp

from vesalius.methods.calibration.calibrators.base import AbstractShift, InputKind


@final
class ContextualCalibration(AbstractShift):
    """``argmax p / p_cf``; ``bias_`` [label] is the log of the content-free probability.

    Fit it on the raw scores, not renormalised over the labels: an input on which the model gives
    label words little probability then counts little, as in the source.
    """

    method: ClassVar[str] = "contextual"
    fits_on: ClassVar[InputKind] = "content-free"
    fitted_names: ClassVar[tuple[str, ...]] = ("bias_",)

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        self.bias_ = log_softmax(logsumexp(scores, axis=0))
