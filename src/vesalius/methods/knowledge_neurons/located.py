"""The rows of a sweep as facts with their coarse sets, and the sets that a relation agrees on.

Pure functions of stored rows: no model is needed to try other thresholds.

Source: arXiv 2104.08696, section 3.3; the share is searched for each relation, as in its code.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, Literal, cast, final

from vesalius.core.checks import check_share
from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons.refine import (
    Neuron,
    Refined,
    refine,
    search_share,
)
from vesalius.parallel.folder import MANIFEST, TABLE, SweepResult, read_sweep

Selector = Literal["attribution", "activation"]
_COLUMN: Final = {"attribution": "coarse", "activation": "activation_coarse"}
_TEXTS: Final = ("name", "relation", "subject", "answer")
_PAIR: Final = re.compile(r"(\d+):(\d+)", re.ASCII)


@final
@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How the facts of a corpus are chosen and their sets refined; the paper's numbers.

    ``min_answered`` is the share of a fact's prompts whose best answer must be the right one, 0
    keeps all facts. ``share`` fixes the part of the prompts that must agree; None searches for
    one per relation, from ``start_share``. ``relation_share`` is the part of a relation's facts
    that make a neuron one of the relation. ``num_partners`` facts of other relations are drawn
    for each fact by ``seed``; 0 compares with all of them.
    """

    min_answered: float = 0.5
    share: float | None = None
    start_share: float = 0.7
    min_prompts: int = 3
    min_neurons: int = 2
    max_neurons: int = 5
    relation_share: float = 0.1
    num_partners: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            VesaliusError: a share outside its range, or a number that is none or too small.
        """
        for name in ("share", "start_share", "relation_share"):
            value = getattr(self, name)
            if value is not None:
                check_share(name, value, usual=0.7)
        if not isinstance(self.min_answered, Real) or not 0 <= self.min_answered <= 1:
            raise VesaliusError(
                given=f"min_answered={self.min_answered!r}",
                expected="a share of the prompts from 0 to 1",
                fix="use 0.5, or 0 to keep facts that the model does not answer",
            )
        lowest = {"min_prompts": 0, "min_neurons": 0, "max_neurons": 1, "num_partners": 0}
        for name, least in lowest.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise VesaliusError(
                    given=f"{name}={value!r}",
                    expected=f"a whole number from {least}",
                    fix=f"leave it at {CorpusConfig.__dataclass_fields__[name].default}",
                )
        if self.min_neurons > self.max_neurons:
            raise VesaliusError(
                given=f"min_neurons={self.min_neurons}, max_neurons={self.max_neurons}",
                expected="min_neurons <= max_neurons",
                fix="leave them at 2 and 5, the paper's range",
            )


@final
@dataclass(frozen=True, kw_only=True)
class LocatedFact:
    """A row of a sweep: a fact with its prompts, and the coarse set of each of them.

    ``activation`` holds the sets of the baseline that takes the neurons' values as their scores.
    ``prob`` is the answer's mean probability, ``answered`` the share of the prompts whose best
    answer it is.
    """

    name: str
    relation: str
    subject: str
    answer: str
    prompts: tuple[str, ...]
    attribution: tuple[frozenset[Neuron], ...]
    activation: tuple[frozenset[Neuron], ...]
    prob: float
    answered: float

    def coarse(self, selector: Selector) -> tuple[frozenset[Neuron], ...]:
        """The coarse sets of one of the two selectors, one per prompt."""
        return self.attribution if selector == "attribution" else self.activation


@final
@dataclass(frozen=True, kw_only=True)
class LocatedCorpus:
    """All facts of a sweep, and what they were located in."""

    facts: tuple[LocatedFact, ...]
    num_layers: int
    num_skipped: int = 0
    model: str = ""
    model_fingerprint: str = ""


def located_facts(rows: Sequence[Mapping[str, Any]]) -> tuple[LocatedFact, ...]:
    """Read facts from the rows of a ``neurons sweep`` table; no shapes.

    Raises:
        VesaliusError: no row, two facts of one name, or a row whose number, column and fault
            are named.
    """
    if not rows:
        raise VesaliusError(
            given="no located facts",
            expected="at least one row",
            fix="see skipped.jsonl of the sweep for what went wrong with each fact",
        )
    facts = tuple(_fact_of(row, number) for number, row in enumerate(rows))
    seen: dict[str, int] = {}
    for number, fact in enumerate(facts):
        if fact.name in seen:
            raise VesaliusError(
                given=f"rows {seen[fact.name]} and {number}, both of fact {fact.name!r}",
                expected="a name of its own for each fact",
                fix="rename one of them in the file of facts, and sweep again",
            )
        seen[fact.name] = number
    return facts


def read_located(sweep: SweepResult | str | Path) -> LocatedCorpus:
    """Read what a ``neurons sweep`` located, without the scores of all neurons; no shapes.

    Raises:
        VesaliusError: no finished sweep of that command is there, or a row is faulty.
    """
    found = sweep if isinstance(sweep, SweepResult) else read_sweep(sweep)
    from pyarrow import parquet

    table = parquet.ParquetFile(found.folder / TABLE)
    columns = [*_TEXTS, "prompts", *_COLUMN.values(), "prob", "answered", "num_layers"]
    absent = [name for name in columns if name not in table.schema_arrow.names]
    if absent:
        raise VesaliusError(
            given=f"{str(found.folder)!r}: a table without the column {absent[0]!r}",
            expected="the folder that `vesalius neurons sweep` of this version wrote",
            fix="sweep again into a new folder",
        )
    rows: list[dict[str, Any]] = table.read(columns=columns).to_pylist()
    options: dict[str, Any] = json.loads((found.folder / MANIFEST).read_text("utf-8"))["task"][
        "options"
    ]
    facts = located_facts(rows)
    return LocatedCorpus(
        facts=facts,
        num_layers=int(rows[0]["num_layers"]),
        num_skipped=len(found.skipped),
        model=str(options.get("model", "")),
        model_fingerprint=str(options.get("fingerprint", "")),
    )


def answered_facts(
    facts: Sequence[LocatedFact], *, config: CorpusConfig, relation: str = ""
) -> tuple[LocatedFact, ...]:
    """Keep the facts that the model answers, of one relation or of all; no shapes.

    Raises:
        VesaliusError: an unknown relation, or no fact is left.
    """
    known = list(dict.fromkeys(fact.relation for fact in facts))
    if relation and relation not in known:
        raise VesaliusError(
            given=f"relation {relation!r}, which was not located",
            expected=f"one of {', '.join(known)}",
            fix="choose one of them, or sweep the relation first",
        )
    asked = [fact for fact in facts if relation in ("", fact.relation)]
    kept = tuple(fact for fact in asked if fact.answered >= config.min_answered)
    if not kept:
        raise VesaliusError(
            given=f"{len(asked)} facts, none of them answered in {config.min_answered:.0%} of its "
            "prompts",
            expected="at least one fact that the model knows",
            fix="take a model that knows them, or lower min_answered (--min-answered)",
        )
    return kept


def refined_sets(
    facts: Sequence[LocatedFact], *, config: CorpusConfig, selector: Selector = "attribution"
) -> tuple[Refined, ...]:
    """Refine the set of each fact, the share searched for each relation alone; no shapes.

    Raises:
        VesaliusError: a fact without prompts.

    Source: arXiv 2104.08696's code: the facts of a relation have one share in common.
    """
    places: dict[str, list[int]] = {}
    for place, fact in enumerate(facts):
        places.setdefault(fact.relation, []).append(place)
    refined: dict[int, Refined] = {}
    for of_relation in places.values():
        coarse = [facts[place].coarse(selector) for place in of_relation]
        refined |= zip(of_relation, _refined(coarse, config), strict=True)
    return tuple(refined[place] for place in range(len(facts)))


def _refined(
    coarse: Sequence[Sequence[frozenset[Neuron]]], config: CorpusConfig
) -> Sequence[Refined]:
    if config.share is not None:
        return [refine(s, share=config.share, min_prompts=config.min_prompts) for s in coarse]
    return search_share(
        coarse,
        start=config.start_share,
        wanted=(config.min_neurons, config.max_neurons),
        min_prompts=config.min_prompts,
    )[1]


def _fact_of(row: Mapping[str, Any], number: int) -> LocatedFact:
    name, relation, subject, answer = (_text(row, column, number) for column in _TEXTS)
    prob, answered = (_number(row, column, number) for column in ("prob", "answered"))
    attribution, activation = (_sets(row, column, number) for column in _COLUMN.values())
    prompts = _prompts(row, len(attribution), number)
    if len(attribution) != len(activation):
        raise _fault(
            number, "activation_coarse", f"{len(activation)} sets",
            f"one per prompt, {len(attribution)} like coarse",
        )  # fmt: skip
    return LocatedFact(
        name=name, relation=relation, subject=subject, answer=answer, prompts=prompts,
        attribution=attribution, activation=activation, prob=prob, answered=answered,
    )  # fmt: skip


def _text(row: Mapping[str, Any], column: str, number: int) -> str:
    value = row.get(column)
    # facts of one's own need no relation and no subject
    if not isinstance(value, str) or (column in ("name", "answer") and not value.strip()):
        raise _fault(number, column, repr(value), "a text")
    return value


def _prompts(row: Mapping[str, Any], num_sets: int, number: int) -> tuple[str, ...]:
    value = row.get("prompts")
    texts = cast("list[object]", value) if isinstance(value, list | tuple) else []
    found = tuple(text for text in texts if isinstance(text, str))
    if len(found) != num_sets:
        raise _fault(
            number, "prompts", repr(value)[:80], f"{num_sets} texts, one per set of coarse"
        )
    return found


def _number(row: Mapping[str, Any], column: str, number: int) -> float:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _fault(number, column, repr(value), "a number from 0 to 1")
    return float(value)


def _sets(row: Mapping[str, Any], column: str, number: int) -> tuple[frozenset[Neuron], ...]:
    value = row.get(column)
    if not isinstance(value, list | tuple) or not value:
        raise _fault(number, column, repr(value), "a list with one set per prompt")
    return tuple(_set(part, column, number) for part in cast("list[object]", value))


def _set(value: object, column: str, number: int) -> frozenset[Neuron]:
    names = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
    found = [_neuron(name) if isinstance(name, str) else None for name in names]
    neurons = frozenset(neuron for neuron in found if neuron is not None)
    if None in found:
        raise _fault(number, column, repr(value), 'a list of "layer:index" texts')
    return neurons


@cache  # a few thousand neurons stand in millions of places
def _neuron(name: str) -> Neuron | None:
    match = _PAIR.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def _fault(number: int, column: str, given: str, expected: str) -> VesaliusError:
    return VesaliusError(
        given=f"row {number}, column {column!r}: {given}"[:200],
        expected=expected,
        fix="take the rows that `vesalius neurons sweep` wrote, unchanged",
    )
