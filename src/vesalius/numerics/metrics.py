"""How right a model is, and how well it knows it.

Sources: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599, eq. 3
(expected calibration error); Brier 1950, Verification of Forecasts Expressed in Terms of
Probability, eq. 2 (the sum over all classes, between 0 and 2).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int

from vesalius.core.errors import VesaliusError


@final
@dataclass(frozen=True, kw_only=True)
class GroupedAccuracy:
    """Accuracy over all items, and over groups that count the same whatever their size."""

    micro: float  # share of items that are right
    macro: float  # mean of the groups' shares
    by_group: dict[str, float]
    num_items: dict[str, int]


def grouped_accuracy(right: Bool[np.ndarray, " item"], groups: Sequence[str]) -> GroupedAccuracy:
    """Summarise which items, shape [item], are right, over all and by group.

    Raises:
        VesaliusError: no items, or not one group per item.
    """
    _check_items(right, groups)
    names = np.asarray(groups, dtype=object)
    num_items = dict(sorted(Counter(groups).items()))
    by_group = {name: float(right[names == name].mean()) for name in num_items}
    return GroupedAccuracy(
        micro=float(right.mean()),
        macro=float(np.mean(list(by_group.values()))),
        by_group=by_group,
        num_items=num_items,
    )


def majority_accuracy(answers: Sequence[Hashable], groups: Sequence[str]) -> GroupedAccuracy:
    """Score the blind guess: in each group the answer that is most frequent there.

    Raises:
        VesaliusError: no items, or not one group per item.

    >>> majority_accuracy(["en", "en", "fr", "Rome"], ["lang", "lang", "lang", "city"]).macro
    0.8333333333333333
    """
    _check_items(answers, groups)
    counts: dict[str, Counter[Hashable]] = {}
    for answer, group in zip(answers, groups, strict=True):
        counts.setdefault(group, Counter())[answer] += 1
    guess = {group: count.most_common(1)[0][0] for group, count in counts.items()}
    right = [answer == guess[group] for answer, group in zip(answers, groups, strict=True)]
    return grouped_accuracy(np.array(right, dtype=bool), groups)


def accuracy(predictions: Int[np.ndarray, " item"], answers: Int[np.ndarray, " item"]) -> float:
    """Give the share of items, shape [item], whose prediction is the answer.

    Raises:
        VesaliusError: no items, or unequal numbers of them.
    """
    _check_items(predictions, answers)
    return float((predictions == answers).mean())


def nll_nats(probs: Float[np.ndarray, "item label"], answers: Int[np.ndarray, " item"]) -> float:
    """Give the mean negative log-probability of the answers, in nats; infinite if one has none.

    ``probs`` has shape [item, label], rows sum to 1; ``answers`` are label indices, shape [item].

    Raises:
        VesaliusError: no items, unequal numbers of them, or rows that are no distributions.
    """
    _check_probs(probs, answers)
    with np.errstate(divide="ignore"):
        return float(-np.log(probs[np.arange(len(answers)), answers]).mean())


def brier_score(probs: Float[np.ndarray, "item label"], answers: Int[np.ndarray, " item"]) -> float:
    """Give the mean squared distance, 0 to 2, of probs [item, label] from the answers [item].

    Raises:
        VesaliusError: no items, unequal numbers of them, or rows that are no distributions.
    """
    _check_probs(probs, answers)
    truth = np.eye(probs.shape[1])[answers]
    return float(((probs - truth) ** 2).sum(axis=1).mean())


def calibration_error(
    confidence: Float[np.ndarray, " item"], right: Bool[np.ndarray, " item"], *, num_bins: int = 15
) -> float:
    """Give the expected calibration error: |accuracy - confidence|, averaged over items [item].

    Bins have equal width and hold their upper end, (0, 1/n], ...; 15 is the source's number.

    Raises:
        VesaliusError: no items, unequal numbers of them, or confidences outside [0, 1].
    """
    _check_items(confidence, right)
    if num_bins < 1 or confidence.min() < 0 or confidence.max() > 1:
        raise VesaliusError(
            given=f"num_bins={num_bins}, confidences up to {confidence.max():.3g}",
            expected="num_bins >= 1 and confidences in [0, 1]",
            fix="pass probabilities, not logits",
        )
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    surplus = np.bincount(bins, weights=confidence - right, minlength=num_bins)
    return float(np.abs(surplus).sum() / len(confidence))


def _check_items(
    first: Sequence[object] | np.ndarray, second: Sequence[object] | np.ndarray
) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise VesaliusError(
            given=f"{len(first)} and {len(second)} items",
            expected="the same number, and at least one",
            fix="evaluate every item once",
        )


def _check_probs(probs: np.ndarray, answers: np.ndarray) -> None:
    _check_items(probs, answers)
    sums = probs.sum(axis=1)
    if probs.min() < 0 or np.abs(sums - 1).max() > 1e-3:  # half precision keeps 3 digits
        raise VesaliusError(
            given=f"numbers from {probs.min():.4g}, rows that sum to {sums.min():.4g} and up",
            expected="probabilities: none below 0, every row sums to 1",
            fix="apply softmax to the logits first",
        )
