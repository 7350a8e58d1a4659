"""The distant-supervision test: are a fact's neurons active where texts mention it?"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from counted import interval
from pyarrow import parquet
from study import Study
from turning import held, sampled

from vesalius.core.seeds import derive_seed
from vesalius.data.facts import Fact
from vesalius.data.mentions import MaskedText, mask_texts
from vesalius.methods.knowledge_neurons import activations
from vesalius.methods.knowledge_neurons.activation_result import TextValues, summarise
from vesalius.methods.knowledge_neurons.located import Selector
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.parallel.folder import SweepResult

Key = tuple[str, str, str]


def tell(
    study: Study, located: SweepResult, facts: Sequence[dict[str, Any]], selector: Selector
) -> dict[str, Any]:
    """Read the neurons of facts, and their sizes without the sign, at the gaps of web texts."""
    keys = {fact["name"]: (fact["relation"], fact["subject"], fact["answer"]) for fact in facts}
    drawn = sampled(held(study, located), study.sizes.told_per_relation, seed=study.seed + 2)
    of_selector = {fact.name: fact.neurons for fact in held(study, located, selector)}
    neurons = {keys[fact.name]: of_selector[fact.name] for fact in drawn}
    texts = masked_texts(study, neurons)
    found = activations(study.specimen, texts, neurons, seed=study.seed)
    sizes = summarise([_sized(row) for row in found.texts.to_pylist()], seed=study.seed)
    return {
        "num_facts": len({(row["relation"], row["subject"]) for row in found.texts.to_pylist()}),
        "signed": _told(vars(found)),
        "magnitude": _told(sizes),
    }


def masked_texts(study: Study, neurons: Mapping[Key, Sequence[Neuron]]) -> list[MaskedText]:
    """Sentences with subject and answer, with the subject alone, and as many about other facts."""
    table = parquet.read_table(study.data / "facts.parquet").to_pylist()
    ids = {row["fact_id"]: (row["relation"], row["subject"], row["object"]) for row in table}
    sentences: dict[Key, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    pool: list[str] = []
    for row in parquet.read_table(study.data / "bing_sentences.parquet").to_pylist():
        pool.append(row["text"])
        if ids[row["fact_id"]] in neurons:
            sentences[ids[row["fact_id"]]][row["kind"]].append(row["text"])
    made: list[MaskedText] = []
    for (relation, subject, answer), by_kind in sentences.items():
        fact = Fact(relation=relation, subject=subject, answer=answer)
        draw = random.Random(derive_seed(study.seed, "texts", relation, subject, answer))
        told = mask_texts(fact, by_kind["head_tail"], kind="head-and-tail", seed=study.seed)
        others = [t for t in draw.sample(pool, 4 * len(told) + 1) if subject not in t]
        made += told
        made += mask_texts(fact, by_kind["head_only"], kind="head-only", seed=study.seed)
        made += mask_texts(fact, others[: len(told)], kind="random", seed=study.seed)
    if study.specimen.task == "causal-lm":
        made = [text for text in made if len(text.text.partition("[MASK]")[0].split()) >= 2]
    return made


def _sized(row: Mapping[str, Any]) -> TextValues:
    """A row of the table again as what it was made of, its signs left out."""
    names = ("text", "kind", "relation", "subject", "answer", "num_tokens", "cut")
    pairs = [name.split(":") for name in row["neurons"]]
    return TextValues(
        **{name: row[name] for name in names},
        prob=float("nan") if row["prob"] is None else row["prob"],
        neurons=tuple((int(layer), int(neuron)) for layer, neuron in pairs),
        values=np.array(row["activations"]),
        magnitude=True,
    )


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kinds": [
            {
                "kind": each.kind,
                "num_texts": each.num_texts,
                "num_facts": each.num_facts,
                "mean": interval(each.mean),
                "prob": each.prob,
                "correlation": each.correlation,
            }
            for each in found["kinds"]
        ],
        "differences": [asdict(each) for each in found["differences"]],
        "correlation": found["correlation"],
        "within_facts": interval(found["within_facts"]),
        "verdict": found["verdict"],
    }
