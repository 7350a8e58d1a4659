"""Draw rows for prompts: demonstrations, unlabelled texts, and inputs that say nothing.

The same rows, number and seed give the same draw, in every process; a larger uniform draw of one
seed begins with the smaller one: shots 1, 4 and 8 are nested, and so are sizes of estimate sets.

Source: uniform draws without replacement as in the setup of Han et al. 2023 (arXiv 2205.10183);
content-free inputs of Zhao et al. 2021 (arXiv 2102.09690); random words of the domain, Fei et al.
2023 (arXiv 2305.19148); largest remainder (Hamilton's method) for whole counts.
"""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import LabelledRow

CONTENT_FREE: Final = ("N/A", "", "[MASK]")
DOMAIN_DRAWS: Final = 20  # T of Fei et al.


def draw_demonstrations(
    rows: Sequence[LabelledRow],
    *,
    num: int,
    seed: int,
    proportions: Sequence[float] | None = None,
) -> list[LabelledRow]:
    """Draw labelled rows for a prompt, uniformly (not balanced), in the order of the draw.

    ``proportions`` asks for a share of each class instead, which becomes whole counts by largest
    remainder. Rows of equal texts count once.

    Raises:
        VesaliusError: fewer rows than asked for, in all or of a class; proportions that are none.
    """
    order = _shuffled(rows, derive_seed(seed, "demonstrations"))
    return _take(order, num=num, seed=seed, proportions=proportions, what="demonstrations")


def draw_estimate(
    rows: Sequence[LabelledRow],
    *,
    num: int,
    seed: int,
    proportions: Sequence[float] | None = None,
    exclude: Collection[LabelledRow] = (),
) -> list[LabelledRow]:
    """Draw texts for an estimate set; labels are looked at only where proportions are given.

    ``exclude`` are rows that stand in the prompt: texts equal to theirs are never drawn.

    Raises:
        VesaliusError: fewer rows than asked for, in all or of a class; proportions that are none.
    """
    shown = {row.texts for row in exclude}
    order = [
        row for row in _shuffled(rows, derive_seed(seed, "estimate")) if row.texts not in shown
    ]
    what = "texts to estimate from"
    return _take(order, num=num, seed=seed, proportions=proportions, what=what)


def draw_evaluation(
    rows: Sequence[LabelledRow], *, num: int = 0, seed: int = 0
) -> list[LabelledRow]:
    """Draw the rows to judge by, in file order; 0, or more than there are, gives all of them.

    Raises:
        VesaliusError: a negative number.
    """
    check_count("num", num, lowest=0, usual=0)
    if not 0 < num < len(rows):
        return list(rows)
    drawn = _generator(derive_seed(seed, "evaluation")).permutation(len(rows))[:num]
    return [rows[i] for i in sorted(drawn.tolist())]


def order_demonstrations(demonstrations: Sequence[LabelledRow], seed: int) -> list[LabelledRow]:
    """Give the demonstrations in another random order."""
    generator = _generator(derive_seed(seed, "order"))
    return [demonstrations[i] for i in generator.permutation(len(demonstrations)).tolist()]


def keep_short(rows: Sequence[LabelledRow], *, max_characters: int) -> list[LabelledRow]:
    """Leave out rows whose texts together have more characters; 0 keeps all.

    Raises:
        VesaliusError: a negative number, or no row is left.
    """
    check_count("max_characters", max_characters, lowest=0, usual=0)
    lengths = [sum(map(len, row.texts)) for row in rows]
    kept = [
        row
        for row, length in zip(rows, lengths, strict=True)
        if length <= max_characters or max_characters == 0
    ]
    if rows and not kept:
        raise VesaliusError(
            given=f"max_characters={max_characters} for rows of {min(lengths)} characters or more",
            expected="a limit that keeps some rows",
            fix=f"use {max(lengths)}, or 0 for all",
        )
    return kept


def class_counts(num: int, proportions: Sequence[float]) -> tuple[int, ...]:
    """Share ``num`` rows out to the classes: whole counts by largest remainder.

    >>> class_counts(8, (0.5, 0.3, 0.2))
    (4, 2, 2)

    Raises:
        VesaliusError: a negative number, fewer than two proportions, or some that are none.
    """
    check_count("num", num, lowest=0, usual=8)
    shares = np.asarray(proportions, dtype=np.float64)
    if shares.ndim != 1 or len(shares) < 2 or not np.isfinite(shares).all() or shares.min() < 0:
        _refuse_proportions(proportions)
    if shares.max() == 0:
        _refuse_proportions(proportions)
    quotas = np.round(num * (shares / shares.max()) / (shares / shares.max()).sum(), 9)
    counts = np.floor(quotas).astype(int)
    # the first class wins a tie
    largest = np.argsort(-(quotas - counts), kind="stable")
    counts[largest[: num - int(counts.sum())]] += 1
    return tuple(counts.tolist())


def content_free_inputs(num_texts: int = 1) -> list[tuple[str, ...]]:
    """Give the inputs of contextual calibration, for templates of one text or two."""
    return [(text,) * num_texts for text in CONTENT_FREE]


def domain_inputs(
    rows: Sequence[LabelledRow], *, num: int = DOMAIN_DRAWS, seed: int
) -> list[tuple[str, ...]]:
    """Make texts of random words from the rows, each of the average number of words.

    The first and the second text of pairs are drawn apart, each from texts of its own place.

    Raises:
        VesaliusError: no rows, or no word in them; fewer than one text asked for.
    """
    check_count("num", num, lowest=1, usual=DOMAIN_DRAWS)
    generator = _generator(derive_seed(seed, "domain"))
    made: list[list[str]] = []
    for place in range(len(rows[0].texts) if rows else 1):
        words = [word for row in rows for word in row.texts[place].split()]
        if not words:
            raise VesaliusError(
                given=f"{len(rows)} rows without a word in them",
                expected="texts of the domain",
                fix="pass the rows of train",
            )
        length = max(1, round(len(words) / len(rows)))
        chosen = generator.integers(len(words), size=(num, length)).tolist()
        made.append([" ".join(words[i] for i in places) for places in chosen])
    return list(zip(*made, strict=True))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _shuffled(rows: Sequence[LabelledRow], seed: int) -> list[LabelledRow]:
    distinct: dict[tuple[str, ...], LabelledRow] = {}
    for row in rows:
        distinct.setdefault(row.texts, row)
    kept = list(distinct.values())
    return [kept[i] for i in _generator(seed).permutation(len(kept)).tolist()]


def _take(
    order: Sequence[LabelledRow],
    *,
    num: int,
    seed: int,
    proportions: Sequence[float] | None,
    what: str,
) -> list[LabelledRow]:
    check_count("num", num, lowest=0, usual=4)
    if proportions is None:
        if len(order) < num:
            _refuse_few(f"{num} {what} from {len(order)} different rows", num, len(order))
        return list(order[:num])
    wanted = class_counts(num, proportions)
    if strange := [row.label for row in order if row.label >= len(wanted)]:
        raise VesaliusError(
            given=f"{len(wanted)} proportions for rows of class {max(strange)}",
            expected="one for every class",
            fix="give 0 to a class that is not to be drawn",
        )
    left, taken = list(wanted), list[LabelledRow]()
    for row in order:
        if 0 <= row.label < len(left) and left[row.label] > 0:
            left[row.label] -= 1
            taken.append(row)
    for label, missing in enumerate(left):
        if missing:
            there = wanted[label] - missing
            given = f"{wanted[label]} {what} of class {label} from {there} different rows"
            _refuse_few(given, wanted[label], there)
    # anew, for the rows of a rare class were the last to be found
    return order_demonstrations(taken, derive_seed(seed, what, "mix"))


def _refuse_few(given: str, wanted: int, there: int) -> None:
    raise VesaliusError(
        given=given,
        expected=f"at least {wanted} rows that are not yet in use",
        fix=f"ask for {there} or fewer, or give more rows",
    )


def _refuse_proportions(proportions: Sequence[float]) -> None:
    raise VesaliusError(
        given=f"proportions={tuple(proportions)}",
        expected="a share from 0 for each of two or more classes, not all 0",
        fix="use (0.5, 0.5)",
    )
