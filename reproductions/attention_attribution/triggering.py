"""Triggers: the strongest pattern of texts told as one class, put into texts of the others."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from study import Study

import vesalius
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    Triggers,
    attack,
    find_triggers,
)
from vesalius.numerics.statistics import bootstrap_interval, paired_difference

TRIED = 5  # patterns that are tried on dev
NAMES = ("random", "frequency", "attention")


def attacked(study: Study) -> dict[str, Any]:
    """Attack with the first trigger of every class, found from the uniform baseline.

    From zero the scores of the lowest layer are not complete, and the ranking of patterns is noise.
    """
    found = {label: _class(study, label, "uniform") for label in study.labelled.label_names}
    told = (
        f"of the {TRIED} strongest patterns in {study.sizes['searched']} train texts told as one "
        f"class, the one that does most harm to {study.sizes['tuned']} dev texts of the other "
        f"classes, put into up to {study.sizes['attacked']} other texts of these classes"
    )
    return {"told": told, "names": list(NAMES), "classes": {k: v for k, v in found.items() if v}}


def _class(study: Study, label: str, baseline: Any) -> dict[str, Any]:
    number = study.labelled.label_names.index(label)
    searched, labels = _rows(study, "train", lambda gold: gold == number, "searched")
    read, gold_labels = _rows(study, "evaluated", lambda gold: gold != number, "attacked")
    triggers = find_triggers(
        study.specimen,
        **searched,
        labels=labels,
        target=label,
        min_score=0.0,
        config=AttributeConfig(baseline=baseline, refine=False),
    )
    if not triggers.triggers:
        return {}
    chosen = triggers.triggers[_most_harmful(study, triggers, number)]
    outcome = attack(
        study.specimen,
        read["texts"],
        replace(triggers, triggers=(chosen,)),
        pairs=read.get("pairs"),
        labels=gold_labels,
        num_triggers=1,
        num_controls=study.sizes["controls"],
        language_model=vesalius.open("mini-gpt"),
        seed=study.seed,
    )
    gold = outcome.gold
    right = {
        "clean": (outcome.clean == gold).astype(float),
        "attacked": (outcome.attacked[0] == gold).astype(float),
    }
    for name in NAMES:
        rows = [i for i, control in enumerate(outcome.controls) if control.kind == name]
        if rows:
            right[name] = (outcome.controlled[rows] == gold).mean(axis=0)
    clean, moved = outcome.fluency.medians() if outcome.fluency else (np.nan, [np.nan])
    generator = np.random.default_rng(study.seed)
    return {
        "trigger": " - ".join(outcome.triggers[0].words),
        "texts": len(gold),
        **{name: _bracket(right[name], study.seed) for name in ("clean", "attacked")},
        "controls": {n: float(right[n].mean()) if n in right else None for n in NAMES},
        "hardest random": float(
            (outcome.controlled[[c.kind == "random" for c in outcome.controls]] == gold)
            .mean(axis=1)
            .min()
        ),
        "against": {
            name: _difference(right[name], right["attacked"], generator)
            for name in NAMES
            if name in right
        },
        "perplexity": [float(clean), float(moved[0])],
    }


def _most_harmful(study: Study, triggers: Triggers, number: int) -> int:
    """The one of the strongest patterns that does most harm to dev texts of the other classes."""
    tuned, labels = _rows(study, "measured", lambda gold: gold != number, "tuned")
    tried = attack(
        study.specimen,
        tuned["texts"],
        triggers,
        pairs=tuned.get("pairs"),
        labels=labels,
        num_triggers=TRIED,
        controls=(),
    )
    return int((tried.attacked == tried.gold).mean(axis=1).argmin())


def _rows(
    study: Study, purpose: str, wanted: Callable[[int], bool], size: str
) -> tuple[dict[str, Any], list[str]]:
    """The first texts whose right class is wanted, and the names of these classes."""
    asked = study.texts(purpose)
    rows = [i for i, label in enumerate(asked.labels) if wanted(label)][: study.sizes[size]]
    found: dict[str, Any] = {"texts": [asked.texts[i] for i in rows]}
    if asked.pairs is not None:
        found["pairs"] = [asked.pairs[i] for i in rows]
    return found, [study.labelled.label_names[asked.labels[i]] for i in rows]


def _bracket(right: np.ndarray, seed: int) -> list[float]:
    found = bootstrap_interval(right, generator=np.random.default_rng(seed))
    return [found.estimate, found.low, found.high]


def _difference(
    control: np.ndarray, trigger: np.ndarray, generator: np.random.Generator
) -> list[float]:
    found = paired_difference(control, trigger, generator=generator)
    return [found.mean.estimate, found.mean.low, found.mean.high, found.p_value]
