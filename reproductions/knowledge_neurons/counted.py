"""Statistics of the located sets: how many neurons, in which layers, shared by whom."""

from typing import Any

import numpy as np
from pyarrow import parquet
from study import Study

from vesalius.methods.knowledge_neurons import Corpus, corpus_statistics
from vesalius.methods.knowledge_neurons.corpus import SetStatistics
from vesalius.numerics.statistics import Interval
from vesalius.parallel.folder import SweepResult


def count(study: Study, located: SweepResult) -> dict[str, Any]:
    corpus = corpus_statistics(located, config=study.config)
    rows = parquet.read_table(located.folder / "table.parquet").to_pylist()
    answered = [row for row in rows if row["answered"] >= study.config.min_answered]
    stability = [row["stability"] for row in answered if row["stability"] is not None]
    return {
        "relations": list(corpus.relations),
        "num_facts": corpus.num_facts.tolist(),
        "num_prompts": sum(row["num_prompts"] for row in answered),
        "mean_prob": float(np.mean([row["prob"] for row in answered])),
        "saturated": float(np.mean(np.concatenate([r["prompt_probs"] for r in answered]) > 0.99)),
        "stability": float(np.mean(stability)),
        "largest_gap": max(row["gap"] for row in answered),
        "no_set_alone": float(np.mean([not row["neurons"] for row in answered])),
        "attribution": _told(corpus.attribution),
        "activation": _told(corpus.activation),
        **_empty(corpus),
    }


def _empty(corpus: Corpus) -> dict[str, float]:
    """The share of the facts in which no neuron is left at their relation's share of prompts."""
    facts = corpus.facts.to_pylist()
    return {
        "no_set": float(np.mean([not fact["neurons"] for fact in facts])),
        "no_set_activation": float(np.mean([not fact["activation_neurons"] for fact in facts])),
    }


def _told(found: SetStatistics) -> dict[str, Any]:
    return {
        "share": found.share.tolist(),
        "in_range": found.found.tolist(),
        "size": found.size.tolist(),
        "layers": found.layers.sum(axis=0).tolist(),
        "shared": _plain(found.shared),
        "across": found.across.tolist(),
        "relation_neurons": [len(each) for each in found.common],
        "num_neurons": interval(found.num_neurons),
        "intra": interval(found.intra),
        "inter": interval(found.inter),
    }


def interval(found: Interval | None) -> list[float] | None:
    """Estimate, low, high."""
    return None if found is None else [found.estimate, found.low, found.high]


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[v if np.isfinite(v) else None for v in row] for row in values.tolist()]
