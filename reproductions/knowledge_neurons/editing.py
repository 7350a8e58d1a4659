"""Facts updated and relations erased, each edit alone on the untouched model."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from study import Study

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.bags import FactBag
from vesalius.methods.knowledge_neurons import (
    Edit,
    JudgeConfig,
    control_edits,
    erase,
    judge_erasure,
    judge_many,
    rank_one,
    read_sets,
    update,
)
from vesalius.methods.knowledge_neurons.rank_one import reference_texts
from vesalius.methods.knowledge_neurons.verdict import AbstractVerdict
from vesalius.models.activity import second_moments
from vesalius.parallel.folder import SweepResult

QUIET = JudgeConfig(neutral=(), fluency_prompts=0)
ERASED = ("P19", "P27", "P106", "P103", "P36", "P449", "P413", "P140")  # the paper's three first


def bags_of(facts: Sequence[dict[str, Any]]) -> list[FactBag]:
    return [
        FactBag(
            name=fact["name"], relation=fact["relation"], subject=fact["subject"],
            answer=fact["answer"], prompts=tuple(fact["prompts"]),
        )
        for fact in facts
    ]  # fmt: skip


def cases(study: Study, bags: Sequence[FactBag]) -> Iterator[list[FactBag]]:
    """Give each relation's facts in a random order with a new answer of another of its facts.

    A third of the prompts, where there are three or more, is held out of the edit.
    """
    groups: dict[str, list[FactBag]] = defaultdict(list)
    for bag in bags:
        groups[bag.relation].append(bag)
    for relation, group in groups.items():
        draw = random.Random(derive_seed(study.seed, "cases", relation))
        made: list[FactBag] = []
        for bag in draw.sample(group, len(group)):
            others = [other.answer for other in group if other.answer != bag.answer]
            if not others:
                continue
            prompts = draw.sample(bag.prompts, len(bag.prompts))
            num_held_out = len(prompts) // 3
            made.append(
                replace(
                    bag,
                    new_answer=draw.choice(others),
                    prompts=tuple(prompts[num_held_out:]),
                    rephrased=tuple(prompts[:num_held_out]),
                )
            )
        yield made


def updates(
    study: Study,
    located: SweepResult,
    facts: Sequence[dict[str, Any]],
    *,
    count: int,
    filtered: bool = True,
    by_sign: bool = True,
) -> dict[str, Any]:
    """The paper's update; ``filtered`` drops neurons that the relation's facts share."""
    sets = read_sets(located, config=study.config)
    bags = bags_of(facts)
    by_relation: dict[str, list[Any]] = defaultdict(list)
    for bag in bags:
        if bag.name in sets:
            by_relation[bag.relation].append(sets[bag.name])

    def plan(case: FactBag) -> Edit:
        return update(
            study.specimen,
            case.prompts,
            case.answer,
            case.new_answer,
            sets.get(case.name, ()),
            relation_sets=by_relation[case.relation] if filtered else (),
            by_sign=by_sign,
        )

    return _judged(study, bags, plan, count, num_controls=1)


def rank_ones(study: Study, facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    specimen = study.specimen
    texts = reference_texts(masks=specimen.task == "masked-lm")
    moments = second_moments(specimen, texts, layers=range(specimen.num_layers))

    def plan(case: FactBag) -> Edit:
        return rank_one(
            specimen,
            case.prompts,
            case.answer,
            case.new_answer,
            subject=case.subject,
            moments=moments,
        )

    bags = bags_of(facts)
    return _judged(study, bags, plan, study.sizes.rank_one_per_relation, num_controls=0)


def _judged(
    study: Study,
    bags: Sequence[FactBag],
    plan: Callable[[FactBag], Edit],
    per_relation: int,
    *,
    num_controls: int,
) -> dict[str, Any]:
    edits: list[Edit] = []
    chosen: list[FactBag] = []
    refused: dict[str, int] = defaultdict(int)
    for group in cases(study, bags):
        count = 0
        for case in group:
            if count == per_relation:
                break
            try:
                edits.append(plan(case))
            except VesaliusError as error:
                refused[_reason(error)] += 1
                continue
            chosen.append(case)
            count += 1
    verdicts = judge_many(
        study.specimen, edits, chosen, bags=bags, num_controls=num_controls, config=QUIET,
        seed=study.seed,
    )  # fmt: skip
    return {
        "num_edits": len(edits),
        "num_relations": len({case.relation for case in chosen}),
        "refused": dict(refused),
        "neurons": float(np.mean([len(edit.slots) for edit in edits])),
        "dropped": float(np.mean([len(edit.dropped) for edit in edits])),
        "layers": np.bincount(
            np.concatenate([np.unique(edit.layers) for edit in edits]),
            minlength=study.specimen.num_layers,
        ).tolist(),
        "size": float(np.median([edit.size for edit in edits])),
        "measures": _measures(verdicts),
    }


def _reason(error: VesaliusError) -> str:
    if error.given.startswith("no neurons"):
        return "no stable set"
    if "each in more than" in error.given:
        return "all neurons are shared"
    return f"{error.given} ({error.expected})"[:120]


def _measures(verdict: AbstractVerdict) -> dict[str, dict[str, Any]]:
    return {
        f"{each.name}, {each.way}": {
            "count": each.count,
            "before": each.before,
            "after": each.after,
            "interval": _finite([each.low, each.high]),
            "control": _finite([each.control, each.control_low, each.control_high]),
        }
        for each in verdict.measures
    }


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values]


def erasures(
    study: Study, located: SweepResult, facts: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Erase relations one by one; perplexity of the erased one and of the others."""
    bags, sizes = bags_of(facts), study.sizes
    present = [r for r in ERASED if any(bag.relation == r for bag in bags)]
    told: list[dict[str, Any]] = []
    for relation in present[: sizes.erased_relations]:
        own = [bag for bag in bags if bag.relation == relation]
        others: dict[str, list[FactBag]] = defaultdict(list)
        draw = random.Random(derive_seed(study.seed, "others", relation))
        for bag in draw.sample(bags, len(bags)):
            if bag.relation != relation and len(others[bag.relation]) < sizes.others_per_relation:
                others[bag.relation].append(bag)
        edit = erase(
            study.specimen,
            read_sets(located, relation, config=study.config).values(),
            relation=relation,
        )
        verdict = judge_erasure(
            study.specimen,
            edit,
            own,
            [bag for group in others.values() for bag in group],
            controls=control_edits(study.specimen, edit, num_controls=2, seed=study.seed),
            config=QUIET,
        )
        told.append(
            {
                "relation": relation,
                "num_slots": len(edit.slots),
                "num_facts": len(own),
                "sentence": verdict.sentence,
                "measures": _measures(verdict),
            }
        )
    return told
