"""Temperature scaling: one number that makes all probabilities sharper or flatter.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599, section 4.2.
SciPy rather than scikit-learn's CalibratedClassifierCV, which knows it only from version 1.8 on and
wants five examples of every class; a test compares the two.
"""

from typing import ClassVar, Final, final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from vesalius.methods.calibration.calibrators.base import AbstractCalibrator, InputKind

_LARGEST: Final = (
    100.0  # beyond it, and below its inverse, labels that are all right leave no bound
)


@final
class TemperatureScaling(AbstractCalibrator):
    """``softmax(log p / temperature_)``, the temperature with the least negative log-likelihood."""

    method: ClassVar[str] = "temperature"
    fits_on: ClassVar[InputKind] = "labelled"
    fitted_names: ClassVar[tuple[str, ...]] = ("temperature_",)

    temperature_: float

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        assert labels is not None
        rows = np.arange(len(scores))

        def loss(log_temperature: float) -> float:
            return -float(
                log_softmax(scores / np.exp(log_temperature), axis=1)[rows, labels].mean()
            )

        bound = np.log(_LARGEST)
        found = minimize_scalar(loss, bounds=(-bound, bound), options={"xatol": 1e-9})
        self.temperature_ = float(np.exp(found.x))
        if (scores.argmax(axis=1) == labels).all():
            self._note(
                "all labelled texts are right: any lower temperature fits as well as "
                f"{self.temperature_:.3g}, so the probabilities are too sure"
            )
        elif abs(found.x) > bound - 1e-3:
            self._note(f"the temperature ran to its bound, {self.temperature_:.3g}")

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        return scores / self.temperature_
