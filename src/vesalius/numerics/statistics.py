"""How sure a number is: intervals, paired tests, agreement of rankings and of sets.

Sources: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 15; Holm 1979,
A Simple Sequentially Rejective Multiple Test Procedure.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Num

from vesalius.core.errors import VesaliusError

_CHUNK_ENTRIES: Final = 1 << 22  # resampled numbers held at once: 32 MiB of doubles


@final
@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate between two bounds, in the unit of the values."""

    estimate: float
    low: float
    high: float
    level: float  # share of repetitions of the whole experiment whose interval holds the truth
    num_resamples: int


@final
@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The mean of ``first - second`` over the same items, and how likely chance makes as much."""

    mean: Interval
    p_value: float  # two-sided; at least 1 / (num_resamples + 1)


def bootstrap_interval(
    values: Num[np.ndarray, " item"],
    *,
    generator: np.random.Generator,
    statistic: Callable[..., Any] = np.mean,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Bracket a statistic of values of shape [item] by the percentile bootstrap.

    ``statistic(samples, axis=-1)`` reduces the last axis, as numpy's own do.

    Raises:
        VesaliusError: no values, or a level or number of resamples out of range.
    """
    _check_sample(values, level=level, num_resamples=num_resamples)
    rows = max(1, _CHUNK_ENTRIES // len(values))
    estimates = np.concatenate(
        [
            statistic(values[generator.integers(len(values), size=(count, len(values)))], axis=-1)
            for count in _chunks(num_resamples, rows)
        ]
    )
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=float(statistic(values, axis=-1)),
        low=float(low),
        high=float(high),
        level=level,
        num_resamples=num_resamples,
    )


def ratio_interval(
    numerators: Num[np.ndarray, " item"],
    denominators: Num[np.ndarray, " item"],
    *,
    generator: np.random.Generator,
    num_resamples: int = 1000,
) -> Interval:
    """Bracket sum(numerators) / sum(denominators), each of shape [item]; items are drawn in pairs.

    Raises:
        VesaliusError: no items, or unequal numbers of them.
    """
    _check_pairs(numerators, denominators)

    def ratio(drawn: Any, axis: int) -> Any:
        places = drawn.astype(int)  # of items, so that the two numbers of one stay together
        return numerators[places].sum(axis=axis) / denominators[places].sum(axis=axis)

    places = np.arange(len(numerators), dtype=np.float64)
    return bootstrap_interval(
        places, generator=generator, statistic=ratio, num_resamples=num_resamples
    )


def paired_difference(
    first: Num[np.ndarray, " item"],
    second: Num[np.ndarray, " item"],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> PairedDifference:
    """Compare two measurements, each of shape [item], of the same items.

    The interval is a bootstrap over items; the p-value flips the sign of each difference at
    random, as if the two names had been exchanged (15.4 in the source, for pairs).

    Raises:
        VesaliusError: no items, unequal numbers of items, or options out of range.
    """
    _check_pairs(first, second)
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    mean = bootstrap_interval(
        differences, generator=generator, level=level, num_resamples=num_resamples
    )
    as_large = 0
    for count in _chunks(num_resamples, max(1, _CHUNK_ENTRIES // len(differences))):
        signs = generator.choice([-1.0, 1.0], size=(count, len(differences)))
        by_chance = np.abs((signs * differences).mean(axis=-1))
        # a sum in another order may differ in the last bits from the same sum
        as_large += int((by_chance >= abs(mean.estimate) * (1 - 1e-12)).sum())
    return PairedDifference(mean=mean, p_value=(1 + as_large) / (1 + num_resamples))


def resample_counts(
    num_items: int, *, generator: np.random.Generator, num_resamples: int = 2000
) -> Iterator[Float[np.ndarray, "resample item"]]:
    """Draw bootstrap resamples as how often each item is in them, some rows [resample, item].

    A mean over a resample is then a product of matrices, for many columns at once. The draws are
    those of :func:`bootstrap_interval` with the same generator.

    Raises:
        VesaliusError: no items, or no resamples.
    """
    _check_sample(np.empty(num_items), level=0.95, num_resamples=num_resamples)
    for count in _chunks(num_resamples, max(1, _CHUNK_ENTRIES // num_items)):
        places = generator.integers(num_items, size=(count, num_items))
        places += num_items * np.arange(count)[:, None]
        counts = np.bincount(places.ravel(), minlength=count * num_items)
        yield counts.reshape(count, num_items).astype(np.float64)


def paired_differences(
    first: Num[np.ndarray, "item column"],
    second: Num[np.ndarray, "item column"],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    num_resamples: int = 2000,
) -> tuple[PairedDifference, ...]:
    """Compare many pairs of measurements [item, column] of the same items, column by column.

    Each column is :func:`paired_difference`; all of them share the resamples and the signs.

    Raises:
        VesaliusError: no items, unequal numbers of items, or options out of range.
    """
    _check_pairs(first, second)
    _check_sample(first, level=level, num_resamples=num_resamples)
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    num_items = len(differences)
    drawn = resample_counts(num_items, generator=generator, num_resamples=num_resamples)
    means = np.concatenate([counts @ differences / num_items for counts in drawn])
    bounds = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    estimates, as_large = differences.mean(axis=0), np.zeros(differences.shape[1], dtype=np.int64)
    for count in _chunks(num_resamples, max(1, _CHUNK_ENTRIES // num_items)):
        signs = generator.choice([-1.0, 1.0], size=(count, num_items))
        by_chance = np.abs(signs @ differences / num_items)
        as_large += (by_chance >= np.abs(estimates) * (1 - 1e-12)).sum(axis=0)
    return tuple(
        PairedDifference(
            mean=Interval(
                estimate=float(estimates[column]),
                low=float(bounds[0, column]),
                high=float(bounds[1, column]),
                level=level,
                num_resamples=num_resamples,
            ),
            p_value=(1 + int(as_large[column])) / (1 + num_resamples),
        )
        for column in range(len(estimates))
    )


def sign_flip_p_value(
    differences: Num[np.ndarray, " item"],
    *,
    generator: np.random.Generator,
    num_resamples: int = 2000,
) -> float:
    """Test whether differences [item] have a mean of zero: two-sided, by flipping their signs.

    All sign patterns are tried where there are no more of them than resamples (exact: no p-value
    is then below 2 to the power of 1 - items), else random ones as in :func:`paired_difference`.

    Raises:
        VesaliusError: no differences, or no resamples.

    >>> sign_flip_p_value(np.arange(1.0, 7.0), generator=np.random.default_rng(0))
    0.03125
    """
    _check_sample(differences, level=0.95, num_resamples=num_resamples)
    num_items, extreme = len(differences), abs(float(differences.mean())) * (1 - 1e-12)
    if num_items > int(np.log2(num_resamples)):
        zeros = np.zeros(num_items)
        options: dict[str, Any] = {"generator": generator, "num_resamples": num_resamples}
        return paired_difference(differences, zeros, **options).p_value
    patterns = np.arange(2**num_items)[:, None] >> np.arange(num_items) & 1
    means = ((1.0 - 2.0 * patterns) * differences).mean(axis=1)
    return float((np.abs(means) >= extreme).mean())


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Raise p-values so that the chance of one false alarm among all of them stays below each.

    >>> holm([0.01, 0.04, 0.5])
    (0.03, 0.08, 0.5)
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    raised, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[place]))
        raised[place] = highest
    return tuple(raised)


def rank_correlation(first: Num[np.ndarray, " item"], second: Num[np.ndarray, " item"]) -> float:
    """Correlate two rankings of items, shape [item] each: Spearman's rho, ties share their rank.

    Raises:
        VesaliusError: no items, unequal numbers of them, or a side on which all are equal.

    >>> rank_correlation(np.array([1, 2, 3]), np.array([10, 20, 15]))
    0.5
    """
    _check_pairs(first, second)
    a, b = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    norm = float(np.sqrt((a @ a) * (b @ b)))  # ranks are halves of integers: exact sums
    if norm == 0:
        raise VesaliusError(
            given="scores that are all equal",
            expected="at least two different scores on each side",
            fix="rank correlation says nothing here: report the scores themselves",
        )
    return float(a @ b) / norm


def jaccard(first: Set[Hashable], second: Set[Hashable]) -> float:
    """Give the share of two sets that they have in common; two empty sets agree, 1.0.

    >>> jaccard({1, 2}, {2, 3, 4})
    0.25
    """
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def _ranks(values: Num[np.ndarray, " item"]) -> Float[np.ndarray, " item"]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - done) for done in range(0, total, size)]


def _check_pairs(first: np.ndarray, second: np.ndarray) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise VesaliusError(
            given=f"{len(first)} and {len(second)} items",
            expected="two numbers for each item, and at least one item",
            fix="leave out the items that were measured once",
        )


def _check_sample(values: np.ndarray, *, level: float, num_resamples: int) -> None:
    if len(values) == 0:
        raise VesaliusError(given="no values", expected="at least one", fix="measure something")
    if not 0 < level < 1 or num_resamples < 1:
        raise VesaliusError(
            given=f"level={level}, num_resamples={num_resamples}",
            expected="0 < level < 1 and num_resamples >= 1",
            fix="leave both out: 0.95 and 2000",
        )
