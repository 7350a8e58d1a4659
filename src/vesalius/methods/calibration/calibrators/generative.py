"""Generative calibration: divide by the label marginal on texts that the model wrote itself.

Source: Jiang et al. 2023, Generative Calibration for In-context Learning, arXiv 2310.10266, and its
code; the target marginal is uniform unless it is known.
"""

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators.base import AbstractShift, InputKind
from vesalius.methods.calibration.calibrators.domain_context import log_mean_probs


@final
class GenerativeCalibration(AbstractShift):
    """``argmax log p + log target - log p_bar``; ``bias_`` [label] is log p_bar - log target.

    ``target`` holds the share of every class where the model will be used, or None: all alike.
    """

    method: ClassVar[str] = "generative"
    fits_on: ClassVar[InputKind] = "generated"
    fitted_names: ClassVar[tuple[str, ...]] = ("bias_",)

    def __init__(
        self, *, target: Sequence[float] | Float[np.ndarray, " label"] | None = None
    ) -> None:
        self.target = target

    def _check_options(self) -> None:
        if self.target is None:
            return
        shares = np.asarray(self.target)
        if shares.ndim != 1 or shares.dtype.kind not in "iuf" or not _are_shares(shares):
            raise VesaliusError(
                given=f"target={self.target!r}",
                expected="one positive number for each class",
                fix="leave target out: all classes alike",
            )

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        self.bias_ = log_mean_probs(scores)
        if self.target is None:
            return
        shares = np.asarray(self.target, dtype=np.float64)
        if len(shares) != scores.shape[1]:
            raise VesaliusError(
                given=f"target of {len(shares)} classes, scores of {scores.shape[1]}",
                expected="one share for each class",
                fix="list the shares in the order of the label words",
            )
        self.bias_ = self.bias_ - np.log(shares / shares.sum())


def _are_shares(shares: np.ndarray) -> bool:
    return len(shares) > 1 and bool(np.isfinite(shares).all()) and float(shares.min()) > 0
