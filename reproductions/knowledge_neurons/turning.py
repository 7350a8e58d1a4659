"""Neurons suppressed and amplified: by relation, by gold probability, in log-odds, by size."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from counted import interval
from study import Study

from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons import (
    HeldFact,
    evidence,
    held_facts,
    intervene_relations,
    locate,
    probs_scaled,
    read_located,
)
from vesalius.methods.knowledge_neurons.intervene import random_sets
from vesalius.methods.knowledge_neurons.located import Selector
from vesalius.models.answers import encode_answers
from vesalius.numerics.statistics import bootstrap_interval
from vesalius.parallel.folder import SweepResult

SELECTORS: tuple[Selector, Selector] = ("attribution", "activation")
FACTORS = (0.0, 2.0)
EDGES = (0.0, 0.5, 0.9, 0.99, 1.0)  # of the gold probability
_LEAST = 1e-7  # what 1 - p can be told from in single precision


def held(study: Study, located: SweepResult, selector: Selector = "attribution") -> list[HeldFact]:
    return held_facts(read_located(located).facts, config=study.config, selector=selector)


def turn(study: Study, located: SweepResult, selector: Selector, factor: float) -> dict[str, Any]:
    """The paper's measure by relation: the library's own table, and its split by probability."""
    facts = held(study, located, selector)
    found = intervene_relations(
        study.specimen, facts, factor=factor, selector=selector, seed=study.seed
    )
    return {
        "relations": list(found.relations),
        "num_facts": int(found.num_facts.sum()),
        "num_empty": found.num_empty,
        "change": found.change.tolist(),
        "low": found.low.tolist(),
        "high": found.high.tolist(),
        "overall": [interval(each) for each in found.overall],
        "split": _split(found.facts, seed=study.seed),
    }


def _split(table: pa.Table, *, seed: int) -> list[dict[str, Any]]:
    """The ratio of means over facts whose mean gold probability lies between two edges."""
    rows = [row for row in table.to_pylist() if row["kind"] in ("own", "random")]
    told: list[dict[str, Any]] = []
    for low, high in pairwise(EDGES):
        entry: dict[str, Any] = {"from": low, "to": high}
        for kind in ("own", "random"):
            of = [r for r in rows if r["kind"] == kind and low <= r["prob_before"] < high + 1e-9]
            entry["num_facts"] = len(of)
            if of:
                moved = np.array([row["prob_change"] * row["num_prompts"] for row in of])
                before = np.array([row["prob_before"] * row["num_prompts"] for row in of])
                entry[kind] = _ratio(moved, before, seed=derive_seed(seed, kind, low))
        told.append(entry)
    return told


def _ratio(moved: np.ndarray, before: np.ndarray, *, seed: int) -> list[float]:
    """sum(moved) / sum(before) with its interval over facts."""

    def ratio(drawn: Any, axis: int) -> Any:
        places = drawn.astype(int)
        return moved[places].sum(axis=axis) / before[places].sum(axis=axis)

    found = bootstrap_interval(
        np.arange(len(moved), dtype=float),
        generator=np.random.default_rng(seed),
        statistic=ratio,
        num_resamples=1000,
    )
    return [found.estimate, found.low, found.high]


def sampled(facts: Sequence[HeldFact], count: int, *, seed: int) -> list[HeldFact]:
    """Draw so many facts with neurons of each relation."""
    groups: dict[str, list[HeldFact]] = defaultdict(list)
    for fact in facts:
        if fact.neurons:
            groups[fact.relation].append(fact)
    generator = np.random.default_rng(seed)
    return [
        group[i]
        for group in groups.values()
        for i in sorted(generator.permutation(len(group))[:count])
    ]


def odds(study: Study, located: SweepResult) -> dict[str, Any]:
    """Move the same facts prompt by prompt, and compare log-odds: they do not saturate."""
    chosen = sampled(held(study, located), study.sizes.tried_per_relation, seed=study.seed)
    baseline = {fact.name: fact.neurons for fact in held(study, located, "activation")}
    kinds: dict[str, list[np.ndarray]] = defaultdict(list)
    before: list[np.ndarray] = []
    for place, fact in enumerate(chosen):
        steps = encode_answers(study.specimen, fact.prompts, [fact.answer] * len(fact.prompts))
        seed = derive_seed(study.seed, "odds", place)
        (random,) = random_sets(study.specimen, fact.neurons, num_sets=1, seed=seed)
        sets = {"attribution": fact.neurons, "random": random, "activation": baseline[fact.name]}
        asked = [(kind, each, factor) for kind, each in sets.items() for factor in FACTORS if each]
        probs = probs_scaled(
            study.specimen,
            steps,
            [(), *(each for _, each, _ in asked)],
            factor=[1.0, *(factor for _, _, factor in asked)],
        ).astype(float)
        before.append(probs[0])
        for (kind, _, factor), after in zip(asked, probs[1:], strict=True):
            kinds[f"{kind} x{factor:g}"].append(np.stack([probs[0], after]))
    return {
        "num_facts": len(chosen),
        "quantiles": np.quantile(np.concatenate(before), [0.1, 0.25, 0.5, 0.75, 0.9]).tolist(),
        "kinds": {kind: _odds_of(pairs, seed=study.seed) for kind, pairs in kinds.items()},
    }


def _odds_of(pairs: Sequence[np.ndarray], *, seed: int) -> dict[str, Any]:
    """The mean change of the log-odds over facts (nats), and the share of prompts that fall."""
    means = np.array([(_logit(after) - _logit(before)).mean() for before, after in pairs])
    moved = np.array([(after - before).sum() for before, after in pairs])
    whole = np.array([before.sum() for before, _ in pairs])
    flat = np.concatenate([_logit(after) - _logit(before) for before, after in pairs])
    found = bootstrap_interval(means, generator=np.random.default_rng(seed))
    return {
        "num_facts": len(pairs),
        "log_odds": interval(found),
        "probability": _ratio(moved, whole, seed=seed),
        "falls": float((flat < 0).mean()),
    }


def _logit(probs: np.ndarray) -> np.ndarray:
    held_in = np.clip(probs, _LEAST, 1 - _LEAST)
    return np.log(held_in) - np.log1p(-held_in)


def whole_layers(study: Study, located: SweepResult) -> dict[str, Any]:
    """Set all neurons of a layer to zero, and of all layers: how much could any set of them do?"""
    specimen = study.specimen
    chosen = sampled(held(study, located), study.sizes.sized_per_relation, seed=study.seed + 1)
    widths = [call.feed_forward.num_inputs for call in specimen.plan.calls]
    layers = [[(layer, n) for n in range(width)] for layer, width in enumerate(widths)]
    sets = [[], *layers, [neuron for layer in layers for neuron in layer]]
    before: list[float] = []
    moved: list[np.ndarray] = []
    for fact in chosen:
        steps = encode_answers(specimen, fact.prompts, [fact.answer] * len(fact.prompts))
        probs = probs_scaled(specimen, steps, sets, factor=0.0).astype(float)
        before.append(float(probs[0].sum()))
        moved.append((probs[1:] - probs[0]).sum(axis=1))
    return {
        "num_facts": len(chosen),
        "change": [
            _ratio(values, np.array(before), seed=study.seed) for values in np.stack(moved, axis=1)
        ],
    }


def size_sweep(study: Study, located: SweepResult) -> dict[str, Any]:
    """Pool the evidence of many facts: effect against the number of neurons, beside controls."""
    chosen = sampled(held(study, located), study.sizes.sized_per_relation, seed=study.seed + 1)
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    sizes: list[int] = []
    for fact in chosen:
        location = locate(study.specimen, fact.prompts, fact.answer)
        found = evidence(
            study.specimen, location, num_controls=study.sizes.num_controls, seed=study.seed
        )
        if len(found.sizes) < 7:
            continue
        sizes = found.sizes.tolist()
        before = found.prob_before
        parts["before"].append(before.sum(keepdims=True))
        parts["located"].append((found.prob_after - before).sum(axis=-1))
        for name in ("random", "active"):
            after = getattr(found, f"{name}_after").mean(axis=2)
            parts[name].append((after - before).sum(axis=-1))
    stacked = {name: np.stack(values) for name, values in parts.items()}
    whole = stacked.pop("before")[:, 0]
    return {
        "num_facts": len(whole),
        "num_asked": len(chosen),
        "sizes": sizes,
        "factors": list(FACTORS),
        "kinds": {
            name: [
                [_ratio(values[:, f, s], whole, seed=study.seed) for s in range(len(sizes))]
                for f in range(len(FACTORS))
            ]
            for name, values in stacked.items()
        },
    }
