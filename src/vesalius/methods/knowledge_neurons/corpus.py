"""Statistics of the knowledge neurons of many facts.

Source: arXiv 2104.08696, sections 4.2 and 4.3.
"""

from pathlib import Path

from vesalius.methods.knowledge_neurons.located import (
    CorpusConfig,
    answered_facts,
    read_located,
    refined_sets,
)
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.parallel.folder import SweepResult


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
