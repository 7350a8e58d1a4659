"""Turn the neurons of many facts, and compare relations: the paper's tables of suppression.

The measure is a ratio of means, over all prompts of all facts of a relation. Its controls are the
same neurons on a fact of another relation (the paper's) and random neurons of the same layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.intervene import probs_scaled, random_sets
from vesalius.methods.knowledge_neurons.located import (
    CorpusConfig,
    LocatedFact,
    Selector,
    answered_facts,
    refined_sets,
)
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.models.answers import encode_answers
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import Interval, bootstrap_interval, ratio_interval
from vesalius.parallel.memory import parse_bytes

OWN: Final = "own"
CROSSED: Final = "crossed"
RANDOM: Final = "random"
KINDS: Final = (OWN, CROSSED, RANDOM)


@final
@dataclass(frozen=True, kw_only=True)
class HeldFact:
    """A fact with its prompts, its answer, and the neurons that were found to hold it."""

    name: str
    relation: str
    prompts: tuple[str, ...]
    answer: str
    neurons: tuple[Neuron, ...]


def held_facts(
    facts: Sequence[LocatedFact],
    *,
    config: CorpusConfig,
    selector: Selector = "attribution",
    relation: str = "",
) -> list[HeldFact]:
    """Give the located facts that the model answers with their refined neurons; no shapes.

    Args:
        facts: from :func:`vesalius.methods.knowledge_neurons.located.read_located`.
        config: which facts count, and how their sets are refined.
        selector: by which score the neurons are chosen.
        relation: this one alone; all of them where left out.

    Raises:
        VesaliusError: an unknown relation, or no fact that the model answers.

    Source: arXiv 2104.08696, section 3.3.
    """
    kept = answered_facts(facts, config=config, relation=relation)
    refined = refined_sets(kept, config=config, selector=selector)
    return [
        HeldFact(
            name=fact.name,
            relation=fact.relation,
            prompts=fact.prompts,
            answer=fact.answer,
            neurons=found.neurons,
        )
        for fact, found in zip(kept, refined, strict=True)
    ]


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RelationChanges(AbstractResult):
    """What scaling the neurons of facts does to their answers, relation by relation.

    ``change`` [kind, relation] is mean(after - before) / mean(before) over all prompts of all facts
    of a relation; the kinds are ``own`` (each fact's neurons on its own prompts), ``crossed`` (on a
    random fact of another relation) and ``random`` (random neurons of the same layers, on its own
    prompts). ``low`` and ``high`` [kind, relation] are a bootstrap interval over facts; ``overall``
    [kind] is the mean over relations with its interval over them (None for ``crossed`` where there
    is one relation). ``facts`` has a row per fact
    with the sums that these numbers are made of.
    """

    kind: ClassVar[str] = "knowledge_neurons.relations"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    factor: float
    selector: str
    relations: tuple[str, ...]
    num_facts: Int[np.ndarray, " relation"]
    num_prompts: Int[np.ndarray, " relation"]
    num_empty: int
    change: Float[np.ndarray, "kind relation"]
    low: Float[np.ndarray, "kind relation"]
    high: Float[np.ndarray, "kind relation"]
    overall: tuple[Interval | None, ...]
    facts: pa.Table

    def to_table(self) -> pa.Table:
        """One row per relation: facts, prompts, and each kind's change with its interval.

        Source: arXiv 2104.08696, section 4.4.
        """
        columns: dict[str, Any] = {
            "relation": list(self.relations),
            "facts": self.num_facts,
            "prompts": self.num_prompts,
        }
        for number, kind in enumerate(KINDS):
            columns |= {
                kind: self.change[number],
                f"{kind}_low": self.low[number],
                f"{kind}_high": self.high[number],
            }
        return pa.table(columns)

    @property
    def verdict(self) -> str:
        """One plain sentence with the means over relations."""
        names = ("their own facts", "a fact of another relation", "random neurons")
        alone = len(self.relations) == 1
        told = [
            f"{name} {self.change[kind, 0]:+.2%} ({self.low[kind, 0]:+.2%} to "
            f"{self.high[kind, 0]:+.2%})"
            if alone
            else f"{name} {found.estimate:+.2%} ({found.low:+.2%} to {found.high:+.2%})"
            for kind, (name, found) in enumerate(zip(names, self.overall, strict=True))
            if found is not None
        ]
        where = self.relations[0] if alone else f"{len(self.relations)} relations"
        over = "interval over facts" if alone else "mean over relations"
        without = f"; {self.num_empty} facts have no neurons" if self.num_empty else ""
        return (
            f"{self.num_facts.sum()} facts of {where}, neurons times {self.factor:g}, {over}: "
            f"{', '.join(told)}{without}."
        )

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page; see :func:`write_relations`.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.knowledge_neurons.report import write_relations

        return write_relations(self, path, force=force)

    def plot(self, ax: Any = None) -> Any:
        """Draw each kind's mean over relations, a light dot per relation; returns Axes.

        Source: figures 4 and 5 of arXiv 2104.08696, with intervals.
        """
        from vesalius.plots.means import Mean, mean_dots

        names = ("own neurons", "the same neurons, other relation", "random neurons")
        means = [
            Mean(
                name=name,
                estimate=100 * found.estimate,
                low=100 * found.low,
                high=100 * found.high,
                points=100 * points,
            )
            for name, found, points in zip(names, self.overall, self.change, strict=True)
            if found is not None
        ]
        title = f"Neurons times {self.factor:g}"
        unit = "change of the answer's probability (%)"
        return mean_dots(means, unit=unit, point_name="a relation", title=title, ax=ax)


def intervene_relations(
    specimen: Specimen,
    facts: Sequence[HeldFact],
    *,
    factor: float,
    num_controls: int = 1,
    selector: str = "attribution",
    seed: int = 0,
    memory: str = "2GiB",
) -> RelationChanges:
    """Scale the neurons of every fact, and give the paper's measure for each relation.

    Args:
        specimen: the model of the neurons.
        facts: those without neurons are left out and counted; of one relation alone,
            ``crossed`` [relation] is not a number.
        factor: 0 suppresses, 2 amplifies.
        num_controls: random sets per fact, from 1.
        selector: how the neurons were chosen, for the record.
        seed: of the other facts, the random sets and the bootstrap.

    Raises:
        VesaliusError: no fact has neurons, a number of controls below 1, or a prompt, answer or
            neuron that the model does not take.

    Source: arXiv 2104.08696, section 4.4 and its code; intervals and random sets are ours.
    """
    stopwatch = Stopwatch.start()
    held = _with_neurons(facts, num_controls)
    partners = _partners(held, seed=seed)
    turn = partial(
        _turned,
        specimen,
        factor=factor,
        num_controls=num_controls,
        memory_bytes=parse_bytes(memory),
    )
    rows = [
        turn(
            fact,
            visitors=[held[i] for i in partners.get(place, ())],
            seed=derive_seed(seed, "relations", place),
        )
        for place, fact in enumerate(held)
    ]
    return _gathered(
        rows,
        card=make_card(
            f"neurons relations x{factor:g}",
            stopwatch=stopwatch,
            config={"factor": factor, "num_controls": num_controls, "selector": selector},
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            seed=seed,
        ),
        factor=float(factor),
        selector=selector,
        num_empty=len(facts) - len(held),
        seed=seed,
    )


def _with_neurons(facts: Sequence[HeldFact], num_controls: int) -> list[HeldFact]:
    held = [fact for fact in facts if fact.neurons]
    if not held or not isinstance(num_controls, Integral) or num_controls < 1:
        raise VesaliusError(
            given=f"{len(held)} facts with neurons of {len(facts)}, num_controls={num_controls!r}",
            expected="at least one fact with neurons, and at least one random set",
            fix="locate facts that the model answers, or lower the share",
        )
    return held


def _partners(held: Sequence[HeldFact], *, seed: int) -> dict[int, list[int]]:
    """For each fact, whose neurons visit it: every fact visits one of another relation."""
    generator = np.random.default_rng(derive_seed(seed, "partners"))
    visits: dict[int, list[int]] = {}
    for place, fact in enumerate(held):
        others = [i for i, other in enumerate(held) if other.relation != fact.relation]
        if others:
            visits.setdefault(others[int(generator.integers(len(others)))], []).append(place)
    return visits


def _turned(
    specimen: Specimen,
    fact: HeldFact,
    *,
    visitors: Sequence[HeldFact],
    factor: float,
    num_controls: int,
    seed: int,
    memory_bytes: int,
) -> list[dict[str, Any]]:
    """One fact asked with every set that concerns it: a row for it, and one for each visitor."""
    answers = [fact.answer] * len(fact.prompts)
    # located with whatever target: an answer of several tokens is read token by token
    steps = encode_answers(specimen, fact.prompts, answers, several_tokens=True)
    others = random_sets(specimen, fact.neurons, num_sets=num_controls, seed=seed)
    sets = [(), fact.neurons, *others, *(visitor.neurons for visitor in visitors)]
    probs = probs_scaled(specimen, steps, sets, factor=factor, memory_bytes=memory_bytes)
    before = float(probs[0].mean())
    moved = (probs - probs[0]).mean(axis=1, dtype=np.float64)
    rows: list[dict[str, Any]] = [
        _row(fact, OWN, fact, before, float(moved[1])),
        _row(fact, RANDOM, fact, before, float(moved[2 : 2 + num_controls].mean())),
    ]
    for visitor, change in zip(visitors, moved[2 + num_controls :].tolist(), strict=True):
        rows.append(_row(visitor, CROSSED, fact, before, change))
    return rows


def _row(
    owner: HeldFact, kind: str, asked: HeldFact, before: float, moved: float
) -> dict[str, Any]:
    return {
        "relation": owner.relation,
        "fact": owner.name,
        "kind": kind,
        "asked": asked.name,
        "num_neurons": len(owner.neurons),
        "num_prompts": len(asked.prompts),
        "prob_before": before,
        "prob_change": moved,
    }


def _gathered(
    rows: Sequence[Sequence[Mapping[str, Any]]], *, seed: int, **told: Any
) -> RelationChanges:
    """Ratios of means by relation, and their means over relations."""
    flat = [row for found in rows for row in found]
    relations = tuple(dict.fromkeys(row["relation"] for row in flat if row["kind"] == OWN))
    shape = (len(KINDS), len(relations))
    change, low, high = (np.full(shape, np.nan) for _ in range(3))
    counts = np.zeros((2, len(relations)), dtype=np.int64)
    for place, relation in enumerate(relations):
        for number, kind in enumerate(KINDS):
            chosen = [r for r in flat if r["relation"] == relation and r["kind"] == kind]
            if not chosen:
                continue
            drawn = derive_seed(seed, "bootstrap", number, place)
            found = _ratio_interval(chosen, seed=drawn)
            change[number, place], low[number, place], high[number, place] = found
            if kind == OWN:
                counts[:, place] = len(chosen), sum(row["num_prompts"] for row in chosen)
    generator = np.random.default_rng(derive_seed(seed, "relations"))
    overall = [
        None if np.isnan(values).any() else bootstrap_interval(values, generator=generator)
        for values in change
    ]
    return RelationChanges(
        relations=relations,
        num_facts=counts[0],
        num_prompts=counts[1],
        change=change,
        low=low,
        high=high,
        overall=tuple(overall),
        facts=pa.Table.from_pylist([dict(row) for row in flat]),
        **told,
    )


def _ratio_interval(rows: Sequence[Mapping[str, Any]], *, seed: int) -> tuple[float, float, float]:
    """The ratio of means over prompts, with a bootstrap interval over facts."""
    weight = np.array([row["num_prompts"] for row in rows], dtype=np.float64)
    moved = weight * np.array([row["prob_change"] for row in rows])
    before = weight * np.array([row["prob_before"] for row in rows])

    found = ratio_interval(moved, before, generator=np.random.default_rng(seed))
    return found.estimate, found.low, found.high
