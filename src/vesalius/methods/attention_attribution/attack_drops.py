"""How much accuracy tokens take from the class that they hurt most, beside their controls.

A set of tokens is judged by the largest drop of accuracy over the classes, its controls each by
their own largest drop, so that choosing the class favours none of them.

Source: the percentile bootstrap of Efron & Tibshirani 1993, chapter 13, texts drawn class by class;
the measure is ours.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from vesalius.numerics.statistics import Interval

_RESAMPLES = 2000
_LEVEL = 0.95


def class_drops(
    before: Bool[np.ndarray, " text"],
    after: Bool[np.ndarray, "set text"],
    gold: Int[np.ndarray, " text"],
) -> Float[np.ndarray, "set class"]:
    """Give the accuracy lost by each set of tokens in each class that occurs, in order.

    Source: arXiv 2004.11207, section 4.5.
    """
    present = np.unique(gold)
    return np.stack(
        [before[gold == c].mean() - after[:, gold == c].mean(axis=1) for c in present], axis=1
    )


def drop_difference(
    before: Bool[np.ndarray, " text"],
    trigger: Bool[np.ndarray, " text"],
    controls: Bool[np.ndarray, "set text"],
    gold: Int[np.ndarray, " text"],
    *,
    generator: np.random.Generator,
) -> Interval:
    """Bracket the trigger's largest drop over classes minus the mean of its controls' largest.

    Source: see the module.
    """
    everyone = np.concatenate((trigger[None], controls))
    found = class_drops(before, everyone, gold).max(axis=1)
    drawn = _resampled_drops(before, everyone, gold, generator)
    spread = drawn[:, 0] - drawn[:, 1:].mean(axis=1)
    low, high = np.quantile(spread, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(
        estimate=float(found[0] - found[1:].mean()),
        low=float(low),
        high=float(high),
        level=_LEVEL,
        num_resamples=_RESAMPLES,
    )


def _resampled_drops(
    before: np.ndarray, after: np.ndarray, gold: np.ndarray, generator: np.random.Generator
) -> Float[np.ndarray, "resample set"]:
    """The largest drop over classes of every set, texts drawn anew class by class."""
    worst = np.full((_RESAMPLES, len(after)), -np.inf)
    for each in np.unique(gold):
        here = gold == each
        lost = before[here].astype(np.float64) - after[:, here].astype(np.float64)  # [set, text]
        number = lost.shape[1]
        times = generator.multinomial(number, np.full(number, 1 / number), size=_RESAMPLES)
        worst = np.maximum(worst, times @ lost.T / number)
    return worst


def worst_class(drops: Float[np.ndarray, " class"], present: Sequence[int]) -> int:
    """Name the class, of those present, with the largest drop; the first among equals.

    Source: see the module. Shape [class].
    """
    return int(present[int(drops.argmax())])
