"""How right a model is, and how well it knows it.

Sources: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599, eq. 3
(expected calibration error); Brier 1950, Verification of Forecasts Expressed in Terms of
Probability, eq. 2 (the sum over all classes, between 0 and 2); Matthews 1975 for two classes
and Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient,
eq. 8 for more.
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


@final
@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How well a classifier does, over all rows and class by class (in the order of the labels).

    ``confusion[answer][prediction]`` counts rows. ``nll_nats`` and ``calibration_error`` judge
    the probabilities, the others the most probable label. A ratio 0/0 counts as 0.
    """

    num_items: int
    accuracy: float
    macro_f1: float
    matthews: float
    nll_nats: float
    calibration_error: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]


def class_scores(
    probs: Float[np.ndarray, "item label"], answers: Int[np.ndarray, " item"]
) -> ClassScores:
    """Score probabilities [item, label] against the right label indices [item].

    Raises:
        VesaliusError: no items, unequal numbers of them, rows that are no distributions, or
            answers that are no label.
    """
    _check_probs(probs, answers)
    num_labels = probs.shape[1]
    if answers.min() < 0 or answers.max() >= num_labels:
        raise VesaliusError(
            given=f"answers from {answers.min()} to {answers.max()}",
            expected=f"label indices from 0 to {num_labels - 1}",
            fix="number the labels from 0",
        )
    predictions = probs.argmax(axis=1)
    confusion = np.zeros((num_labels, num_labels), dtype=np.int64)
    np.add.at(confusion, (answers, predictions), 1)
    right, answered, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = _ratio(2 * right, answered + predicted)
    return ClassScores(
        num_items=len(answers),
        accuracy=float(right.sum() / len(answers)),
        macro_f1=float(f1.mean()),
        matthews=_matthews(confusion),
        nll_nats=nll_nats(probs, answers),
        calibration_error=calibration_error(
            np.clip(probs.max(axis=1), 0.0, 1.0), predictions == answers
        ),
        precision=tuple(_ratio(right, predicted).tolist()),
        recall=tuple(_ratio(right, answered).tolist()),
        f1=tuple(f1.tolist()),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _matthews(confusion: Int[np.ndarray, "answer prediction"]) -> float:
    """Correlate answers with predictions; 0 where one side is constant."""
    answered, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    total = int(confusion.sum())
    shared = int(confusion.trace()) * total - int(answered @ predicted)
    spread = (total**2 - int(answered @ answered)) * (total**2 - int(predicted @ predicted))
    return shared / float(np.sqrt(spread)) if spread else 0.0


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)


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
