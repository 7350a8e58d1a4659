"""Pointwise mutual information: take off the score that a label has without the text.

Source: Holtzman et al. 2021, Surface Form Competition, arXiv 2104.08315, section 3.
"""

from typing import ClassVar, final

import numpy as np
from scipy.special import logsumexp

from vesalius.methods.calibration.calibrators.base import AbstractShift, InputKind


@final
class PMICalibration(AbstractShift):
    """``argmax log P(label | prompt) - log P(label | premise)``; ``bias_`` [label] is the latter.

    The premise is usually the answer cue alone; of several premises the mean probability counts.
    """

    method: ClassVar[str] = "pmi"
    fits_on: ClassVar[InputKind] = "premise"
    fitted_names: ClassVar[tuple[str, ...]] = ("bias_",)

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        self.bias_ = logsumexp(scores, axis=0) - np.log(len(scores))
