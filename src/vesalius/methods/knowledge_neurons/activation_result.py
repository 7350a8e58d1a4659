"""What neurons do at the gaps of texts: text by text, and by kind of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.numerics.statistics import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    paired_difference,
    rank_correlation,
)

_ORDER: Final = ("head-and-tail", "head-only", "random")
_LEVEL: Final = 0.95
_RESAMPLES: Final = 2000
_LEAST_TEXTS: Final = 3  # a rank correlation of fewer says nothing
Means = dict[tuple[str, str, str], float]
"""The mean of each fact, by relation, subject and answer."""


@final
@dataclass(frozen=True, kw_only=True)
class TextValues:
    """The values of some neurons at the gap of one text, as it was read; ``values`` [neuron].

    ``magnitude`` says that their sizes count and not their signs. ``prob`` is the probability of
    the answer there, nan where the answer is no single token.
    """

    text: str
    kind: str
    relation: str
    subject: str
    answer: str
    num_tokens: int
    cut: bool
    prob: float
    neurons: tuple[Neuron, ...]
    values: Float[np.ndarray, " neuron"]
    magnitude: bool = False

    @property
    def measured(self) -> Float[np.ndarray, " neuron"]:
        """What is averaged and ranked, [neuron]: the values, or their sizes without the sign."""
        return np.abs(self.values) if self.magnitude else self.values

    @property
    def fact(self) -> tuple[str, str, str]:
        """Relation, subject and answer."""
        return (self.relation, self.subject, self.answer)


@final
@dataclass(frozen=True, kw_only=True)
class KindMean:
    """The mean activation in the texts of one kind: texts to facts, facts to relations, relations.

    The interval resamples the facts of each relation, or the texts where there is one fact alone.
    ``prob`` is the mean probability of the answers, averaged alike; ``correlation`` Spearman's
    rho over the texts between mean activation and that probability, None where it has no meaning.
    """

    kind: str
    num_texts: int
    num_facts: int
    num_relations: int
    mean: Interval
    prob: float | None
    correlation: float | None


@final
@dataclass(frozen=True, kw_only=True)
class KindDifference:
    """How much more active neurons are in texts of one kind than of another, over shared facts."""

    kind: str
    other: str
    num_facts: int
    difference: PairedDifference


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Activations(AbstractResult):
    """What neurons do at the gaps of texts of several kinds.

    ``texts`` has a row per text, with its neurons' ``activations``, their ``total`` and ``mean``;
    where the card says ``magnitude``, of their sizes without the sign. ``correlation`` is
    Spearman's rho between mean activation and the answer's probability over all texts,
    ``within_facts`` its mean over facts, each fact's texts ranked among themselves.
    """

    kind: ClassVar[str] = "knowledge_neurons.activations"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    texts: pa.Table
    kinds: tuple[KindMean, ...]
    differences: tuple[KindDifference, ...]
    correlation: float | None
    within_facts: Interval | None
    verdict: str

    def ranked(
        self, num_texts: int | None = None, *, kind: str = "", relation: str = "", subject: str = ""
    ) -> pa.Table:
        """Rank texts by the sum of their neurons' values, the most active first.

        Args:
            num_texts: so many from the top and so many from the bottom; all when left out.
            kind: of the texts; all kinds when left out. No shapes.
            relation: of their facts.
            subject: of their facts.

        Raises:
            VesaliusError: no such text.

        Source: section 4.5 of arXiv 2104.08696.
        """
        wanted = {"kind": kind, "relation": relation, "subject": subject}
        rows = [
            row
            for row in self.texts.to_pylist()
            if all(value in ("", row[name]) for name, value in wanted.items())
        ]
        if not rows or (num_texts is not None and num_texts < 1):
            asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items() if value)
            raise VesaliusError(
                given=f"num_texts={num_texts}" if rows else f"{asked}: no such text",
                expected="at least one text of this kind and fact",
                fix=f"kinds are {', '.join(each.kind for each in self.kinds)}",
            )
        rows.sort(key=lambda row: -row["total"])
        ranked = [{"rank": rank, **row} for rank, row in enumerate(rows, start=1)]
        if num_texts is not None and 2 * num_texts < len(ranked):
            ranked = ranked[:num_texts] + ranked[-num_texts:]
        return pa.Table.from_pylist(ranked)

    def to_table(self) -> pa.Table:
        """One row per kind of text: how many, mean activation with its interval, correlation.

        Source: section 4.5 of arXiv 2104.08696.
        """
        return pa.Table.from_pylist(
            [
                {
                    "kind": each.kind,
                    "texts": each.num_texts,
                    "facts": each.num_facts,
                    "relations": each.num_relations,
                    "activation": each.mean.estimate,
                    "low": each.mean.low,
                    "high": each.mean.high,
                    "prob": each.prob,
                    "correlation": each.correlation,
                }
                for each in self.kinds
            ]
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the mean activation by kind of text; returns matplotlib Axes.

        Source: this project, plots/means.py.
        """
        from vesalius.methods.knowledge_neurons.activation_report import plot_kinds

        return plot_kinds(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page with the most and least active texts.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.knowledge_neurons.activation_report import write_activations

        return write_activations(self, path, force=force)


def text_table(values: Sequence[TextValues]) -> pa.Table:
    """Lay the values out as a table, a row per text; no shapes.

    Source: this project.
    """
    names = ("text", "kind", "relation", "subject", "answer", "num_tokens", "cut")
    columns: dict[str, Any] = {name: [getattr(v, name) for v in values] for name in names}
    columns["prob"] = pa.array([value.prob for value in values], pa.float64(), from_pandas=True)
    columns["total"] = np.array([value.measured.sum() for value in values])
    columns["mean"] = np.array([value.measured.mean() for value in values])
    columns["neurons"] = [[f"{layer}:{n}" for layer, n in value.neurons] for value in values]
    columns["activations"] = [value.values.tolist() for value in values]
    return pa.table(columns)


def summarise(values: Sequence[TextValues], *, seed: int) -> dict[str, Any]:
    """Average the texts by fact, relation and kind, and correlate; fields of Activations.

    Shapes do not matter here.

    Source: arXiv 2104.08696, section 4.5; intervals, paired differences and correlations are ours.
    """
    present = dict.fromkeys(value.kind for value in values)
    ordered = [kind for kind in _ORDER if kind in present]
    ordered += [kind for kind in present if kind not in _ORDER]
    by_kind = {kind: [value for value in values if value.kind == kind] for kind in ordered}
    kinds = tuple(_kind_mean(kind, of_kind, seed) for kind, of_kind in by_kind.items())
    differences = tuple(_differences({k: fact_means(v) for k, v in by_kind.items()}, seed))
    return {
        "kinds": kinds,
        "differences": differences,
        "correlation": _correlation(values),
        "within_facts": _within_facts(values, seed),
        "verdict": _verdict(kinds, differences),
    }


def fact_means(values: Sequence[TextValues]) -> Means:
    """Average the texts of each fact; no shapes.

    Source: arXiv 2104.08696's code.
    """
    return {
        fact: float(np.mean([value.measured.mean() for value in of_fact]))
        for fact, of_fact in _by_fact(values).items()
    }


def _by_fact(values: Sequence[TextValues]) -> dict[tuple[str, str, str], list[TextValues]]:
    facts: dict[tuple[str, str, str], list[TextValues]] = {}
    for value in values:
        facts.setdefault(value.fact, []).append(value)
    return facts


def _relation_means(means: Means) -> list[Float[np.ndarray, " _"]]:
    """The means of the facts of each relation, an array [fact] per relation."""
    ordered = sorted(means, key=lambda fact: fact[0])
    return [
        np.array([means[fact] for fact in facts])
        for _, facts in groupby(ordered, key=lambda fact: fact[0])
    ]


def _kind_mean(kind: str, values: Sequence[TextValues], seed: int) -> KindMean:
    means = fact_means(values)
    generator = np.random.default_rng(derive_seed(seed, "activations", kind))
    if len(means) == 1:
        texts = np.array([value.measured.mean() for value in values])
        mean = bootstrap_interval(texts, generator=generator, level=_LEVEL)
    else:
        mean = _stratified_interval(_relation_means(means), generator)
    probs: Means = {}
    for fact, of_fact in _by_fact(values).items():
        known = [value.prob for value in of_fact if np.isfinite(value.prob)]
        if known:
            probs[fact] = float(np.mean(known))
    return KindMean(
        kind=kind,
        num_texts=len(values),
        num_facts=len(means),
        num_relations=len({relation for relation, *_ in means}),
        mean=mean,
        prob=float(np.mean([each.mean() for each in _relation_means(probs)])) if probs else None,
        correlation=_correlation(values),
    )


def _stratified_interval(
    relations: Sequence[Float[np.ndarray, " _"]], generator: np.random.Generator
) -> Interval:
    """Bracket the mean over relations by drawing facts anew inside each relation."""
    drawn = [
        means[generator.integers(len(means), size=(_RESAMPLES, len(means)))].mean(axis=1)
        for means in relations
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(
        estimate=float(np.mean([means.mean() for means in relations])),
        low=float(low),
        high=float(high),
        level=_LEVEL,
        num_resamples=_RESAMPLES,
    )


def _differences(means: Mapping[str, Means], seed: int) -> list[KindDifference]:
    """Compare the first kind with each other one, over the facts that have texts of both."""
    first, *others = means
    found: list[KindDifference] = []
    for other in others:
        shared = [fact for fact in means[first] if fact in means[other]]
        if len(shared) < 2:
            continue
        difference = paired_difference(
            np.array([means[first][fact] for fact in shared]),
            np.array([means[other][fact] for fact in shared]),
            generator=np.random.default_rng(derive_seed(seed, "difference", first, other)),
        )
        found.append(
            KindDifference(kind=first, other=other, num_facts=len(shared), difference=difference)
        )
    return found


def _correlation(values: Sequence[TextValues]) -> float | None:
    known = [value for value in values if np.isfinite(value.prob)]
    means = np.array([value.measured.mean() for value in known])
    probs = np.array([value.prob for value in known])
    if len(known) < _LEAST_TEXTS or np.ptp(means) == 0 or np.ptp(probs) == 0:
        return None
    return rank_correlation(means, probs)


def _within_facts(values: Sequence[TextValues], seed: int) -> Interval | None:
    found = [_correlation(of_fact) for of_fact in _by_fact(values).values()]
    known = np.array([rho for rho in found if rho is not None])
    if not len(known):
        return None
    generator = np.random.default_rng(derive_seed(seed, "within facts"))
    return bootstrap_interval(known, generator=generator, level=_LEVEL)


def _verdict(kinds: Sequence[KindMean], differences: Sequence[KindDifference]) -> str:
    """Say in plain words where the neurons are more active."""
    means = ", ".join(f"{each.mean.estimate:.3f} in {each.kind} texts" for each in kinds)
    words = [f"Mean activation: {means}."]
    for each in differences:
        mean = each.difference.mean
        sure = mean.low > 0 or mean.high < 0
        more = "higher" if mean.estimate > 0 else "lower"
        told = (
            f"clearly {more} in {each.kind} than"
            if sure
            else f"not clearly different in {each.kind} and"
        )
        words.append(
            f"It is {told} in {each.other} texts (difference {mean.estimate:+.3f}, "
            f"{mean.low:+.3f} to {mean.high:+.3f}, {each.num_facts} facts)."
        )
    return " ".join(words)
