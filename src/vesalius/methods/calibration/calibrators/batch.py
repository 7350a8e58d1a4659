"""Batch calibration: take off the mean score of the texts themselves.

Source: Zhou et al. 2024, Batch Calibration, arXiv 2309.17249, section 3; its strength from labels
(BCL) section 3.3. Accounts differ on whether the mean is of log-probabilities or of probabilities:
both are here. The choice among equally good strengths is ours.
"""

from typing import ClassVar, Final, Literal, TypeVar, final

import numpy as np
from jaxtyping import Float

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators.base import AbstractShift, InputKind
from vesalius.methods.calibration.calibrators.score_checks import (
    check_number,
    check_scores,
    normalise_rows,
)

BatchT = TypeVar("BatchT", bound="BatchCalibration")
_GRID: Final = np.linspace(-5, 5, 101)  # the source's range, in steps of 0.1
_SETTLED: Final = 10  # texts; from about here on the source's results stay


@final
class BatchCalibration(AbstractShift):
    """``argmax log p - strength * bias``, with the bias averaged over unlabelled texts.

    ``average`` is ``log``, the mean of log-probabilities, or ``probability``, the log of the mean.
    ``strength`` is a number, or ``auto``: 1, and where labels are given the number of [-5, 5] that
    gets most of them right (the nearest to 1 among those). ``partial_fit`` goes on with more texts.
    """

    method: ClassVar[str] = "batch"
    fits_on: ClassVar[InputKind] = "estimate"
    fitted_names: ClassVar[tuple[str, ...]] = ("bias_", "strength_", "total_", "num_texts_")

    strength_: float
    total_: Float[np.ndarray, " label"]
    num_texts_: int

    def __init__(
        self,
        *,
        average: Literal["log", "probability"] = "log",
        strength: float | Literal["auto"] = "auto",
    ) -> None:
        self.average = average
        self.strength = strength

    def partial_fit(
        self: BatchT, scores: Float[np.ndarray, "text label"], labels: None = None
    ) -> BatchT:
        """Add scores [text, label] to the mean; all parts together give what one fit would.

        Raises:
            VesaliusError: labels (a strength is chosen by ``fit`` alone), what is no score matrix,
                or another number of labels than before.
        """
        if labels is not None:
            raise VesaliusError(
                given="partial_fit with labels",
                expected="scores alone: a strength is chosen on all labelled texts at once",
                fix="fit(scores, labels) first, then partial_fit(more_scores)",
            )
        if not hasattr(self, "total_"):
            return self.fit(scores)
        matrix, _ = check_scores(scores, num_labels=len(self.classes_), lowest=0)
        self._add(matrix)
        return self

    def _check_options(self) -> None:
        check_word("average", self.average, ("log", "probability"))
        if self.strength != "auto":
            check_number("strength", self.strength, above=-np.inf, usual=1)

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        self.total_, self.num_texts_ = np.zeros(scores.shape[1]), 0
        self.strength_ = 1.0 if self.strength == "auto" else float(self.strength)
        self._add(scores)
        if self.strength == "auto" and labels is not None and (labels >= 0).any():
            known = labels >= 0
            self.strength_ = best_strength(scores[known], self.bias_, labels[known])
            self.bias_ = self.strength_ * self._mean()
        if self.num_texts_ < _SETTLED:
            self._note(f"{self.num_texts_} texts: the mean settles from about {_SETTLED} on")

    def _add(self, scores: np.ndarray) -> None:
        features = normalise_rows(scores)
        values = features if self.average == "log" else np.exp(features)
        self.total_ = self.total_ + values.sum(axis=0)
        self.num_texts_ += len(values)
        self.bias_ = self.strength_ * self._mean()

    def _mean(self) -> np.ndarray:
        mean = self.total_ / self.num_texts_
        return mean if self.average == "log" else np.log(mean)


def best_strength(scores: np.ndarray, bias: np.ndarray, labels: np.ndarray) -> float:
    """Give the strength that gets most labels [text] right: scores [text, label], bias [label].

    Of several the nearest to 1 is taken, which is the method without labels.
    """
    right = np.array(
        [float(((scores - gamma * bias).argmax(axis=1) == labels).sum()) for gamma in _GRID]
    )
    best = _GRID[right == right.max()]
    return float(best[np.abs(best - 1).argmin()])
