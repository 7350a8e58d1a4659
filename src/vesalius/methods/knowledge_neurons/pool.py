"""Many verdicts in one table: means over cases, with intervals.

Source: table 4 of arXiv 2104.08696; the intervals are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from vesalius.core.card import RunCard
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.probes import Answers, Group, Sheet
from vesalius.methods.knowledge_neurons.verdict import WAYS, Measure, Verdicts
from vesalius.methods.knowledge_neurons.verdict_words import pooled_sentence
from vesalius.numerics.statistics import Interval, bootstrap_interval

_AFTER: Final = ".after"
_ORDER: Final = ("reliability", "generality", "locality", "portability")


def pool_verdicts(rows: Sequence[Mapping[str, Any]], *, card: RunCard, seed: int = 0) -> Verdicts:
    """Average the rows of many verdicts, each from ``Verdict.row()`` or a sweep of them.

    Every case counts the same, however many prompts it has; perplexities are averaged as their
    logarithms. A measure that some cases lack is averaged over the others.

    Args:
        rows: one per case; columns ``<measure>.<way>.before``, ``.after`` and ``.control``.
        card: of the run that made them.
        seed: of the bootstrap over cases.

    Returns:
        Means with 95 % intervals; no arrays.

    Raises:
        VesaliusError: no rows, or rows without measures.
    """
    measures = pooled_measures(rows, seed=seed)
    methods = dict.fromkeys(str(row.get("method", "")) for row in rows)
    words = {(each.name, each.way): each for each in measures}
    return Verdicts(
        card=card,
        method=", ".join(filter(None, methods)) or "edit",
        sentence=pooled_sentence(words, num_cases=len(rows), after="Over {} edits, each alone,"),
        measures=measures,
        cases=pa.Table.from_pylist(_even(rows)),
    )


def pooled_measures(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> tuple[Measure, ...]:
    """Average the measures of many cases, with intervals over the cases; see :func:`pool_verdicts`.

    Raises:
        VesaliusError: no rows, or rows without measures. No shapes change hands.
    """
    columns = dict.fromkeys(name for row in rows for name in row if name.endswith(_AFTER))
    # what only some cases have, such as portability, would else stand at the end
    keys = sorted((name.removesuffix(_AFTER) for name in columns), key=_place)
    found = [each for key in keys if (each := _pooled(rows, key, seed)) is not None]
    if not found:
        raise VesaliusError(
            given=f"{len(rows)} rows with the columns {sorted(rows[0]) if rows else []}"[:200],
            expected="rows of Verdict.row(), with columns such as reliability.forced.after",
            fix="judge some edits first",
        )
    return tuple(found)


def _place(key: str) -> int:
    return next((i for i, name in enumerate(_ORDER) if key.startswith(name)), len(_ORDER))


def _pooled(rows: Sequence[Mapping[str, Any]], key: str, seed: int) -> Measure | None:
    name, _, way = key.rpartition(".")
    after, before, control = (_values(rows, f"{key}.{at}") for at in ("after", "before", "control"))
    if not len(after) or not len(before) or way not in WAYS:
        return None
    now, then = _interval(after, way, seed, key, "after"), _interval(before, way, seed, key, "b")
    other = _interval(control, way, seed, key, "control") if len(control) else None
    return Measure(
        name=name,
        way=way,
        count=len(after),
        before=then.estimate,
        after=now.estimate,
        low=now.low,
        high=now.high,
        control=other.estimate if other else math.nan,
        control_low=other.low if other else math.nan,
        control_high=other.high if other else math.nan,
    )


def _values(rows: Sequence[Mapping[str, Any]], column: str) -> Float[np.ndarray, " case"]:
    values = [row.get(column) for row in rows]
    numbers = [float(value) for value in values if value is not None]
    return np.array([value for value in numbers if not math.isnan(value)], dtype=np.float64)


def _interval(values: Float[np.ndarray, " case"], way: str, seed: int, *words: str) -> Interval:
    generator = np.random.default_rng(derive_seed(seed, *words))
    if way != "perplexity":
        return bootstrap_interval(values, generator=generator)
    found = bootstrap_interval(np.log(values), generator=generator)
    return Interval(
        estimate=math.exp(found.estimate),
        low=math.exp(found.low),
        high=math.exp(found.high),
        level=found.level,
        num_resamples=found.num_resamples,
    )


def with_fact_intervals(
    measures: Sequence[Measure], sheet: Sheet, after: Answers, *, seed: int = 0
) -> tuple[Measure, ...]:
    """Bracket what an erasure left, drawing the facts of a group anew, all prompts of each.

    A group of one fact gets no interval. No shapes change hands.

    Source: the bootstrap over clusters of Davison & Hinkley 1997, section 3.8.
    """
    groups: dict[str, Group] = {"erased_relation": "erased", "other_relations": "other"}
    names = np.array([question.kind for question in sheet.questions])
    found: list[Measure] = []
    for each in measures:
        marked = sheet.of(groups[each.name]) if each.name in groups else np.zeros(0, dtype=bool)
        facts, owner = np.unique(names[marked] if marked.any() else [], return_inverse=True)
        right = each.way == "accuracy"
        values = (after.rank == 1).astype(np.float64) if right else after.log_prob
        if len(facts) < 2 or not np.isfinite(values[marked]).all():
            found.append(each)
            continue
        sums, counts = np.bincount(owner, weights=values[marked]), np.bincount(owner)

        def mean(drawn: Any, axis: int, sums: Any = sums, counts: Any = counts) -> Any:
            return sums[drawn].sum(axis=axis) / counts[drawn].sum(axis=axis)

        generator = np.random.default_rng(derive_seed(seed, "facts", each.name, each.way))
        bounds = bootstrap_interval(np.arange(len(facts)), generator=generator, statistic=mean)
        low, high = (bounds.low, bounds.high) if right else np.exp([-bounds.high, -bounds.low])
        found.append(replace(each, low=float(low), high=float(high)))
    return tuple(found)


def _even(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same columns; Arrow would take those of the first row alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]
