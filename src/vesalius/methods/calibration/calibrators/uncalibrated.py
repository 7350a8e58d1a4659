"""No calibration: the model's own label probabilities, renormalised.

Source: arXiv 2205.10183, section 2, the baseline.
"""

from typing import ClassVar, final

import numpy as np

from vesalius.methods.calibration.calibrators.base import AbstractCalibrator, InputKind


@final
class Uncalibrated(AbstractCalibrator):
    """The label with the largest score, as the model gives it."""

    method: ClassVar[str] = "none"
    fits_on: ClassVar[InputKind] = "nothing"
    fitted_names: ClassVar[tuple[str, ...]] = ()

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        pass

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        return scores
