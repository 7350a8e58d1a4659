"""The steps of the study of one task; each gives what JSON can say."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from study import Study

from vesalius.methods.attention_attribution import (
    AttributeConfig,
    HeadImportance,
    faithfulness,
    head_importance,
    head_study,
    prune_curve,
)
from vesalius.methods.attention_attribution.faithfulness_result import CURVE_ORDERS, DIRECTIONS
from vesalius.methods.attention_attribution.head_study import STUDY_ORDERS
from vesalius.methods.attention_attribution.inputs import encode_inputs, plan_batches
from vesalius.models.reading import row_logits
from vesalius.numerics.statistics import Interval, PairedDifference, bootstrap_interval

BASELINES = ("zero", "uniform")


def entered(study: Study) -> dict[str, Any]:
    """Does the model beat the commonest class by five points, with 95 % confidence?"""
    found = study.texts("evaluated")
    batch = encode_inputs(study.specimen, found.texts, pairs=found.pairs)
    right = np.zeros(len(found.labels), dtype=bool)
    labels = np.array(found.labels)
    for chosen in plan_batches(study.specimen, batch, memory_bytes=1 << 29):
        logits = row_logits(study.specimen, batch.select(chosen).trimmed())
        right[chosen.numpy()] = logits.argmax(1).numpy() == labels[chosen.numpy()]
    accuracy = bootstrap_interval(right.astype(float), generator=np.random.default_rng(study.seed))
    majority = float(np.bincount(labels).max() / len(labels))
    return {
        "accuracy": bracket(accuracy),
        "majority": majority,
        "enters": accuracy.low - majority >= 0.05,
        "texts": len(labels),
        "classes": list(study.labelled.label_names),
        "train": len(study.texts("train").texts),
    }


def heads(study: Study) -> dict[str, Any]:
    """Importance of every head with the right class, from two baselines."""
    found = {name: _measured(study, name) for name in BASELINES}
    zero = found["zero"]
    return {
        "texts": zero.values.shape[1],
        "importance": {
            **{name: each.importance("max") for name, each in found.items()},
            **{name: zero.importance(name) for name in zero.names},
        },
        "open": {name: each.num_open for name, each in found.items()},
    }


def _measured(study: Study, baseline: Any) -> HeadImportance:
    asked = study.texts("measured").first(study.sizes["importance"])
    return study.importance(
        baseline,
        lambda: head_importance(
            study.specimen,
            asked.texts,
            pairs=asked.pairs,
            labels=asked.labels,
            baselines=("taylor", "accuracy-difference") if baseline == "zero" else (),
            config=AttributeConfig(baseline=baseline, refine=False),
        ),
    )


def prune(study: Study) -> dict[str, Any]:
    """Accuracy against the share of heads removed, on texts that importance has not seen."""
    asked = study.texts("evaluated").first(study.sizes["evaluated"])
    curves: dict[str, Any] = {}
    taken: dict[str, np.ndarray] = {}
    for baseline in BASELINES:
        orders = ("max", "taylor", "accuracy-difference", "attention")
        found = prune_curve(
            study.specimen,
            asked.texts,
            _measured(study, baseline),
            labels=asked.labels,
            pairs=asked.pairs,
            orders=orders if baseline == "zero" else ("max",),
            num_random=study.sizes["random"] if baseline == "zero" else 0,
            seed=study.seed,
        )
        for number, order in enumerate(found.orders):
            name = "uniform" if baseline == "uniform" else order
            curves[name] = [bracket(each) for each in found.accuracy(order)]
            taken[name] = found.right[number]
        if baseline == "zero":
            curve = found
    inner = (curve.shares > 0) & (curve.shares < 1)
    return {
        "texts": len(asked.texts),
        "shares": curve.shares,
        "majority": curve.majority,
        "curves": curves,
        "mean": {name: float(right[inner].mean()) for name, right in taken.items()},
        "against": {
            f"{mine} - {other}": _paired(taken[mine][inner], taken[other][inner], study.seed)
            for mine in ("max", "uniform")
            for other in ("taylor", "accuracy-difference", "attention", "random")
        },
    }


def _paired(first: np.ndarray, second: np.ndarray, seed: int) -> Any:
    from vesalius.numerics.statistics import paired_difference

    found = paired_difference(
        first.mean(axis=0), second.mean(axis=0), generator=np.random.default_rng(seed)
    )
    return difference(found)


def study_heads(study: Study) -> dict[str, Any]:
    """The paper's first figure on heads: each text's own order."""
    asked = study.texts("evaluated").first(study.sizes["studied"])
    found = head_study(
        study.specimen, asked.texts, labels=asked.labels, pairs=asked.pairs, seed=study.seed
    )
    removed = range(found.right.shape[1])
    return {
        "texts": len(asked.texts),
        "curves": {o: [bracket(found.accuracy(o, r)) for r in removed] for o in STUDY_ORDERS},
    }


def links(study: Study) -> dict[str, Any]:
    """Are the tree's links those that the prediction hangs on?"""
    asked = study.texts("evaluated").first(study.sizes["told"])
    told: dict[str, Any] = {"texts": len(asked.texts)}
    for baseline in BASELINES:
        found = faithfulness(
            study.specimen,
            asked.texts,
            pairs=asked.pairs,
            config=AttributeConfig(baseline=baseline),  # pyright: ignore[reportArgumentType]
            seed=study.seed,
        )
        told[baseline] = {
            "links": float(found.num_links.mean()),
            "drop": {way: bracket(found.drop(way)) for way in ("tree", "attention", "random")},
            "against": {way: difference(found.difference(way)) for way in ("attention", "random")},
            "area": {
                direction: {o: bracket(found.area(o, direction=direction)) for o in CURVE_ORDERS}
                for direction in DIRECTIONS
            },
            "shuffled": float(np.nanmean(found.agreement)),
            "open": found.card.warnings,
        }
    return told


def triggers(study: Study) -> dict[str, Any]:
    """Patterns found in train, put into other texts, beside three controls."""
    from triggering import attacked

    return attacked(study)


def bracket(found: Interval) -> list[float]:
    return [found.estimate, found.low, found.high]


def difference(found: PairedDifference) -> list[float]:
    return [*bracket(found.mean), found.p_value]


def correlations(found: Mapping[str, Any]) -> dict[str, Any]:
    """How alike the tasks that entered rank the heads."""
    from vesalius.numerics.statistics import rank_correlation

    names = [name for name, task in found.items() if task["entered"]["enters"]]
    told: dict[str, Any] = {"tasks": names}
    for kind in ("zero", "uniform", "taylor"):
        flat = [np.ravel(found[name]["heads"]["importance"][kind]) for name in names]
        told[kind] = {
            "pearson": np.corrcoef(flat).tolist() if len(names) > 1 else [],
            "spearman": [[rank_correlation(a, b) for b in flat] for a in flat],
        }
    return told


STEPS: dict[str, Callable[[Study], dict[str, Any]]] = {
    "entered": entered,
    "heads": heads,
    "prune": prune,
    "study": study_heads,
    "links": links,
    "triggers": triggers,
}
