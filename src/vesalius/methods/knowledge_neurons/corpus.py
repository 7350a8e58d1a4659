"""Statistics of the knowledge neurons of many facts.

Source: arXiv 2104.08696, section 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.located import (
    CorpusConfig,
    LocatedCorpus,
    LocatedFact,
    Selector,
    answered_facts,
    read_located,
    refined_sets,
)
from vesalius.methods.knowledge_neurons.overlap import (
    across_relations,
    common_neurons,
    layer_counts,
    shared_neurons,
)
from vesalius.methods.knowledge_neurons.refine import Neuron, Refined
from vesalius.numerics.statistics import Interval, bootstrap_interval
from vesalius.parallel.folder import SweepResult


@final
@dataclass(frozen=True, kw_only=True)
class SetStatistics:
    """What one way of choosing neurons gives, by relation and on the whole.

    ``share`` [relation] is the part of the prompts that must agree, ``found`` [relation] whether
    it leaves the wanted number of neurons, ``size`` [relation] the mean neurons per fact,
    ``layers`` [relation, layer] their number in each layer. ``shared`` [relation, relation] are
    the neurons that two facts share, mean over all pairs; ``across`` [relation] those shared
    with facts of other relations. ``common`` are the neurons of many of a relation's facts.
    ``num_neurons``, ``intra`` and ``inter`` are means in which each relation counts once, with a
    bootstrap interval over relations; None where no relation has two facts, or a partner.
    """

    share: Float[np.ndarray, " relation"]
    found: Bool[np.ndarray, " relation"]
    size: Float[np.ndarray, " relation"]
    layers: Int[np.ndarray, "relation layer"]
    shared: Float[np.ndarray, "relation relation"]
    across: Float[np.ndarray, " relation"]
    common: tuple[tuple[Neuron, ...], ...]
    num_neurons: Interval
    intra: Interval | None
    inter: Interval | None


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus(AbstractResult):
    """The knowledge neurons of many facts: how many, in which layers, shared by whom.

    ``num_facts`` [relation] are the facts that count, ``num_unknown`` [relation] those that the
    model does not answer; ``dropped`` are relations without a fact that it answers, and
    ``num_skipped`` facts failed in the sweep. ``activation`` is the baseline that takes neurons
    by their values. ``facts`` holds a row per fact with its sets as "layer:index".
    """

    kind: ClassVar[str] = "knowledge_neurons.corpus"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    relations: tuple[str, ...]
    num_facts: Int[np.ndarray, " relation"]
    num_unknown: Int[np.ndarray, " relation"]
    dropped: tuple[str, ...]
    num_skipped: int
    attribution: SetStatistics
    activation: SetStatistics
    facts: pa.Table
    verdict: str

    def to_table(self) -> pa.Table:
        """One row per relation: facts, share, neurons per fact, overlaps, and the baseline's.

        Source: section 4.3 of arXiv 2104.08696, by relation.
        """
        columns: dict[str, Any] = {
            "relation": list(self.relations),
            "facts": self.num_facts,
            "not_answered": self.num_unknown,
        }
        for prefix, found in (("", self.attribution), ("activation_", self.activation)):
            columns |= {
                f"{prefix}share": found.share,
                f"{prefix}in_range": found.found,
                f"{prefix}neurons_per_fact": found.size,
                # from_pandas: what cannot be told is empty, not nan
                f"{prefix}intra": pa.array(np.diag(found.shared), from_pandas=True),
                f"{prefix}inter": pa.array(found.across, from_pandas=True),
                f"{prefix}relation_neurons": np.array([len(each) for each in found.common]),
            }
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the layer histogram beside the baseline's; returns matplotlib Axes.

        Source: figure 3 of arXiv 2104.08696.
        """
        from vesalius.methods.knowledge_neurons.corpus_report import plot_layers

        return plot_layers(self, ax=ax)

    def plot_shared(self, ax: Any = None) -> Any:
        """Draw the neurons that facts share, relation by relation; returns matplotlib Axes.

        Source: this project, plots/heat.py.
        """
        from vesalius.methods.knowledge_neurons.corpus_report import plot_shared

        return plot_shared(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page about the relations.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.knowledge_neurons.corpus_report import write_corpus

        return write_corpus(self, path, force=force)


def corpus_statistics(
    sweep: SweepResult | LocatedCorpus | str | Path, *, config: CorpusConfig | None = None
) -> Corpus:
    """Count the neurons of many located facts, by layer, and how far facts share them.

    Args:
        sweep: the result of ``vesalius neurons sweep``, its folder, or facts that were read.
        config: thresholds; facts that the model does not answer are left out.

    Returns:
        Statistics by relation, shapes [relation], [relation, layer] and [relation, relation].

    Raises:
        VesaliusError: no finished sweep, faulty rows, or no fact that the model answers.

    Source: arXiv 2104.08696, section 4.3.
    """
    stopwatch = Stopwatch.start()
    config = config or CorpusConfig()
    located = sweep if isinstance(sweep, LocatedCorpus) else read_located(sweep)
    facts = answered_facts(located.facts, config=config)
    refined = {
        "attribution": refined_sets(facts, config=config),
        "activation": refined_sets(facts, config=config, selector="activation"),
    }
    relations = tuple(dict.fromkeys(fact.relation for fact in facts))
    everyone = [fact.relation for fact in located.facts]
    kept = np.array([sum(f.relation == r for f in facts) for r in relations])
    chosen = _statistics(facts, refined["attribution"], located.num_layers, config, "attribution")
    baseline = _statistics(facts, refined["activation"], located.num_layers, config, "activation")
    return Corpus(
        card=make_card(
            "neurons statistics",
            stopwatch=stopwatch,
            config=config,
            model=located.model,
            model_fingerprint=located.model_fingerprint,
            seed=config.seed,
            warnings=_warnings(relations, chosen, config),
        ),
        relations=relations,
        num_facts=kept,
        num_unknown=np.array([everyone.count(r) for r in relations]) - kept,
        dropped=tuple(r for r in dict.fromkeys(everyone) if r not in relations),
        num_skipped=located.num_skipped,
        attribution=chosen,
        activation=baseline,
        facts=_fact_table(facts, refined["attribution"], refined["activation"]),
        verdict=_verdict(len(facts), len(relations), chosen, baseline),
    )


def read_sets(
    sweep: SweepResult | str | Path, relation: str = "", *, config: CorpusConfig | None = None
) -> dict[str, tuple[Neuron, ...]]:
    """Read the refined set of every fact that the model answers, by the fact's name; no shapes.

    The share of prompts that must agree is the relation's own, not that of the fact alone: these
    are the sets whose overlap an update or an erasure looks at.

    Args:
        sweep: the result of ``vesalius neurons sweep``, or its folder.
        relation: of the facts; all relations when left out.
        config: thresholds; ``CorpusConfig(min_answered=0)`` keeps facts that are not answered.

    Raises:
        VesaliusError: no finished sweep, an unknown relation, or no fact that is answered.

    Source: arXiv 2104.08696, section 3.3 and its code.
    """
    config = config or CorpusConfig()
    facts = answered_facts(read_located(sweep).facts, config=config, relation=relation)
    refined = refined_sets(facts, config=config)
    return {fact.name: found.neurons for fact, found in zip(facts, refined, strict=True)}


def _statistics(
    facts: Sequence[LocatedFact],
    refined: Sequence[Refined],
    num_layers: int,
    config: CorpusConfig,
    selector: Selector,
) -> SetStatistics:
    groups: dict[str, list[tuple[Neuron, ...]]] = {}
    shares: dict[str, tuple[float, bool]] = {}
    for fact, found in zip(facts, refined, strict=True):
        groups.setdefault(fact.relation, []).append(found.neurons)
        shares[fact.relation] = (found.share, found.found)
    size = np.array([np.mean([len(found) for found in sets]) for sets in groups.values()])
    shared = shared_neurons(groups)
    generator = np.random.default_rng(derive_seed(config.seed, "partners", selector))
    across = across_relations(groups, num_partners=config.num_partners, generator=generator)
    highest = max((layer for s in groups.values() for n in s for layer, _ in n), default=-1)
    whole = _interval(size, config.seed)
    assert whole is not None  # every relation here has a fact
    return SetStatistics(
        share=np.array([share for share, _ in shares.values()]),
        found=np.array([found for _, found in shares.values()]),
        size=size,
        layers=layer_counts(groups, num_layers=max(num_layers, highest + 1)),
        shared=shared,
        across=across,
        common=tuple(common_neurons(s, share=config.relation_share) for s in groups.values()),
        num_neurons=whole,
        intra=_interval(np.diag(shared), config.seed),
        inter=_interval(across, config.seed),
    )


def _interval(values: Float[np.ndarray, " relation"], seed: int) -> Interval | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return bootstrap_interval(known, generator=np.random.default_rng(derive_seed(seed, "relation")))


def _fact_table(
    facts: Sequence[LocatedFact], chosen: Sequence[Refined], baseline: Sequence[Refined]
) -> pa.Table:
    names = pa.list_(pa.string())
    return pa.table(
        {
            **{
                column: [getattr(fact, column) for fact in facts]
                for column in ("name", "relation", "subject", "answer", "prob", "answered")
            },
            "num_prompts": [len(fact.attribution) for fact in facts],
            "neurons": pa.array([_names(found.neurons) for found in chosen], names),
            "activation_neurons": pa.array([_names(found.neurons) for found in baseline], names),
        }
    )


def _names(neurons: Sequence[Neuron]) -> list[str]:
    return [f"{layer}:{neuron}" for layer, neuron in neurons]


def _warnings(
    relations: Sequence[str], chosen: SetStatistics, config: CorpusConfig
) -> tuple[str, ...]:
    missed = [
        f"{relation} ({size:.1f} at {share:.0%})"
        for relation, found, size, share in zip(
            relations, chosen.found, chosen.size, chosen.share, strict=True
        )
        if not found
    ]
    if not missed:
        return ()
    wanted = f"{config.min_neurons} to {config.max_neurons}"
    return (
        f"in {len(missed)} of {len(relations)} relations no share of the prompts leaves {wanted} "
        f"neurons per fact: {', '.join(missed)}",
    )


def _verdict(
    num_facts: int, num_relations: int, chosen: SetStatistics, baseline: SetStatistics
) -> str:
    """The paper's three numbers and the baseline's in plain words."""
    counted = f"{_many(num_facts, 'fact')} of {_many(num_relations, 'relation')}"
    words = [f"{counted}: {chosen.num_neurons.estimate:.2f} neurons per fact"]
    beside = [f"{baseline.num_neurons.estimate:.2f}"]
    for name, mine, other in (
        ("two facts of one relation share", chosen.intra, baseline.intra),
        ("facts of different relations", chosen.inter, baseline.inter),
    ):
        if mine is not None:
            words.append(f"{name} {mine.estimate:.2f}")
            beside.append("-" if other is None else f"{other.estimate:.2f}")
    return f"{', '.join(words)} (chosen by activation value: {', '.join(beside)})."


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
