"""The steps of the study, each a function of a model (and a set) to plain numbers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sets import METHODS, SELECTED, SHARES, SIZES_OF
from sklearn.metrics import roc_auc_score
from study import Rows, Study

from vesalius.core.seeds import derive_seed
from vesalius.data.label_draws import draw_evaluation
from vesalius.methods.calibration.robustness import run_study
from vesalius.methods.calibration.robustness_design import StudyDesign
from vesalius.methods.calibration.robustness_result import Robustness

KEPT = ("accuracy", "macro_f1", "nll_nats", "brier", "calibration_error")
# the authors' mixture: full covariances, no guards; batched, which agrees with scikit-learn's
PAPER = {"covariance": "full", "guards": False}


def choose(study: Study, name: str) -> dict[str, Any]:
    """Choose the template whose label words carry most signal, by the areas on train rows."""
    rows = study.rows(name)
    seed = derive_seed(0, "choice", name)
    asked = draw_evaluation(rows.train, num=study.sizes.choice, seed=seed)
    labels = np.array([row.label for row in asked])
    areas: list[float] = []
    for variant in range(len(rows.task.templates)):
        scores = study.scorer(rows.task.prompt(variant=variant), [row.texts for row in asked])
        areas.append(_area(scores, labels))
    return {"areas": areas, "variant": int(np.argmax(areas)), "num_rows": len(asked)}


def describe(study: Study, name: str) -> dict[str, Any]:
    """Say what the rows are."""
    rows = study.rows(name)
    counts = np.bincount([row.label for row in rows.test], minlength=rows.task.num_labels)
    return {
        "num_train": len(rows.train),
        "num_test": len(rows.test),
        "majority": float(counts.max() / counts.sum()),
        "notes": list(rows.notes),
    }


def main_table(study: Study, name: str, variant: int) -> dict[str, Any]:
    """Judge every method at every number of demonstrations and seed."""
    found = _studied(study, name, variant, axes=("shots",), methods=METHODS)
    return {
        "rows": _cells(found),
        "notes": [*found.notes, *found.card.warnings],
        "prompt": study.rows(name).task.prompt(variant=variant).query(_blank(study, name)),
        "words": study.rows(name).task.templates[variant].words,
    }


def paper_mixture(study: Study, name: str, variant: int) -> dict[str, Any]:
    """The same cells with the authors' mixture, and the restart chosen by likelihood."""
    paper = _studied(
        study, name, variant, axes=("shots",), methods=("prototypical",), options=PAPER
    )
    found = {"paper": _cells(paper)}
    if name in SELECTED:
        for label, options in (("likelihood", {}), ("paper likelihood", PAPER)):
            by = {**options, "selection": "likelihood"}
            other = _studied(
                study, name, variant, axes=("shots",), methods=("prototypical",), options=by
            )
            found[label] = _cells(other)
    return found


def robust(study: Study, name: str, variant: int) -> dict[str, Any]:
    """Templates, orders, class proportions and the estimate set, as far as asked for a set."""
    axes = ("template", "order", "proportion") if name == "sst2" else ()
    axes += ("estimate-proportion",) if name in SHARES else ()
    axes += ("estimate-size",) if name in SIZES_OF else ()
    if not axes:
        return {}
    methods = ("none", "contextual", "batch", "prototypical")
    found = _studied(study, name, variant, axes=axes, methods=methods, num_test=600)
    return {
        "rows": _cells(found),
        "notes": [*found.notes, *found.card.warnings],
        "left_out": found.left_out,
        "templates": found.templates,
        "num_prompts": found.num_prompts,
        "num_texts": found.num_texts,
    }


def given(study: Study, name: str, _variant: int) -> dict[str, Any]:
    """The main table with the paper's template and label words, the first of every set."""
    return _tables(study, name, 0)


def suited(study: Study, name: str, variant: int) -> dict[str, Any]:
    """The main table with the template and label words that suit the model best."""
    return _tables(study, name, variant)


def _tables(study: Study, name: str, variant: int) -> dict[str, Any]:
    return main_table(study, name, variant) | {"mixtures": paper_mixture(study, name, variant)}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "given": given,
    "suited": suited,
    "robust": robust,
}


def _studied(
    study: Study,
    name: str,
    variant: int,
    *,
    axes: tuple[str, ...],
    methods: tuple[str, ...],
    options: dict[str, Any] | None = None,
    num_test: int = 0,
) -> Robustness:
    rows: Rows = study.rows(name)
    sizes = study.sizes
    design = StudyDesign(
        axes=axes,
        methods=methods,
        shots=rows.chosen.shots,
        num_seeds=sizes.seeds,
        num_orders=sizes.orders,
        proportion_draws=sizes.proportion_draws,
        estimate_per_class=sizes.per_class,
        estimate_sizes=tuple(
            size for size in StudyDesign().estimate_sizes if size <= sizes.per_class
        ),
    )
    variants = {
        f"{number}": template.prompt() for number, template in enumerate(rows.task.templates)
    }
    mixture = {"num_restarts": sizes.restarts, **(options or {})}
    return run_study(
        design,
        prompt=rows.task.prompt(variant=variant),
        train=rows.train,
        test=draw_evaluation(rows.test, num=num_test, seed=1),
        score_texts=study.scorer,
        variants=variants if "template" in axes else None,
        label_names=rows.task.label_names,
        options={"prototypical": mixture},
        num_resamples=200,
        model=study.specimen.name,
    )


def _cells(found: Robustness) -> list[dict[str, Any]]:
    names = ["axis", "condition", "place", "seed", "method", *KEPT]
    return [
        {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}
        for row in found.table.select(names).to_pylist()
    ]


def _area(scores: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of the area under the curve of one class against the rest."""
    known = ~np.isnan(scores).any(axis=1)
    features, labels = log_softmax(scores[known], axis=1), labels[known]
    areas = [
        roc_auc_score(labels == label, features[:, label])
        for label in range(features.shape[1])
        if 0 < (labels == label).sum() < len(labels)
    ]
    return float(np.mean(areas))


def _blank(study: Study, name: str) -> tuple[str, ...]:
    return ("...",) * len(study.rows(name).test[0].texts)


def plain_sizes(study: Study) -> dict[str, Any]:
    """How much of everything, for the page."""
    return vars(replace(study.sizes)) | {"model": study.model}
