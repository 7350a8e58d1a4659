"""The steps of the study, each a function of a training and a seed to plain numbers."""

import json
from collections.abc import Callable
from typing import Any

import torch
from study import Study

from vesalius.methods.loss_landscape import (
    Flatness,
    Frame,
    Rollback,
    Sharpness,
    Surface,
    barrier,
    flatness,
    line,
    make_frame,
    rollback,
    surface,
    trajectory,
)
from vesalius.models.weight_groups import weight_groups
from vesalius.models.weights import read_weights

NEAR, WIDE = (-1.0, 2.0), (-4.0, 4.0)
FEW = 5  # pairs of Gaussian shifts, and probes of the trace


def trained(study: Study, seed: int) -> dict[str, Any]:
    """Copy the log of the training: loss of every tenth batch."""
    text = (study.folder(seed) / "log.jsonl").read_text("utf-8")
    rows = [json.loads(row) for row in text.splitlines()]
    batches = [row for row in rows if "loss_nats" in row]
    return {
        "steps": [row["step"] for row in batches],
        "loss": [row["loss_nats"] for row in batches],
    }


def near(study: Study, seed: int) -> dict[str, Any]:
    """Measure the line through start and solution."""
    return _line(study, seed, "line", NEAR)


def wide(study: Study, seed: int) -> dict[str, Any]:
    """Measure the same line as far out as the paper draws it; the first seed alone."""
    return _line(study, seed, "wide", WIDE) if seed == 0 else {}


def _line(study: Study, seed: int, step: str, bounds: tuple[float, float]) -> dict[str, Any]:
    found = line(
        study.model(seed),
        study.examples(step, seed),
        _frame(study, seed),
        bounds=bounds,
        steps=study.points(step),
    )
    return {"alphas": found.alphas, "norm": found.norm, **_values(found)}


def _frame(study: Study, seed: int) -> Frame:
    return make_frame(study.model(seed), ("solution",), start=study.start(seed))


def _values(found: Any) -> dict[str, Any]:
    """Means of all measures, and the standard error of the training loss."""
    return {
        "examples": found.num_examples,
        "values": found.values,
        "train_loss_error": found.standard_errors["train"]["loss"],
    }


def path(study: Study, seed: int) -> dict[str, Any]:
    """Measure every snapshot, and how far along the line and off it it lies."""
    found = trajectory(
        study.model(seed),
        study.examples("path", seed),
        _frame(study, seed),
        study.folder(seed) / "snapshots",
    )
    return {
        "steps": found.steps,
        "alphas": found.coordinates[:, 0],
        "off_line": found.off_plane,
        "lengths": found.lengths,
        **_values(found),
    }


def maps(study: Study, seed: int) -> dict[str, Any]:
    """Measure the plane of two solutions from one start, and lay the snapshots into it."""
    model, others = study.model(seed), study.beside(_other(study))
    if not _same_encoder(study, others, seed):
        raise SystemExit(f"{study.training.name} and {others.training.name} start apart")
    frame = make_frame(
        model,
        ("solution", "other"),
        start=study.start(seed),
        other=others.folder(seed) / "model",
    )
    examples, steps = study.examples("surface", seed), study.points("surface")
    found: Surface = surface(model, examples, frame, bounds=(NEAR, NEAR), steps=(steps, steps))
    way = trajectory(model, examples, frame, study.folder(seed) / "snapshots", evaluate=False)
    return {
        "other": others.training.name,
        "alphas": found.alphas,
        "betas": found.betas,
        "cosine": found.cosine,
        "norms": found.norms,
        **_values(found),
        "path": {
            "steps": way.steps,
            "coordinates": way.coordinates,
            "off_plane": way.off_plane,
        },
    }


def _same_encoder(study: Study, others: Study, seed: int) -> bool:
    """Whether both trainings began with the same bits in all that a surface moves."""
    names = weight_groups(study.model(seed)).encoder
    mine, theirs = (read_weights(each.start(seed)) for each in (study, others))
    return all(torch.equal(mine[name], theirs[name]) for name in names)


def back(study: Study, seed: int) -> dict[str, Any]:
    """Roll groups of layers back to the start, on held-out examples."""
    found: Rollback = rollback(
        study.model(seed), study.examples("rollback", seed), study.start(seed)
    )
    return {
        "examples": found.num_examples,
        "accuracy": found.fine_tuned_accuracy,
        "start": found.start_accuracy,
        "majority": found.majority_accuracy,
        "rows": [
            {
                "group": row.group,
                "layers": row.layers,
                "moved": row.weight_change,
                "accuracy": row.accuracy,
                "change": _interval(row.accuracy_change.mean),
                "loss_change": _interval(row.loss_change.mean),
            }
            for row in found.rows
        ],
    }


def _interval(found: Any) -> list[float]:
    return [found.estimate, found.low, found.high]


def flat(study: Study, seed: int) -> dict[str, Any]:
    """Measure sharpness around the solution, raw and in units of the weights' own size."""
    found: Flatness = flatness(
        study.model(seed), study.examples("flatness", seed), num_gaussian=FEW, num_probes=FEW
    )
    told = {
        "examples": found.num_examples,
        "loss": found.loss_nats,
        "weights_norm": found.weights_norm,
    }
    return told | {name: _sharpness(each) for name, each in found.geometries.items()}


def _sharpness(found: Sharpness) -> dict[str, Any]:
    return {
        "average": found.average_nats,
        "worst": found.worst_nats,
        "gradient": found.gradient_norm,
        "eigenvalue": found.eigenvalues[0],
        "converged": found.eigenvalues_converged,
        "trace": found.trace,
        "trace_error": found.trace_standard_error,
    }


def between_seeds(study: Study, seed: int) -> dict[str, Any]:
    """Measure the way from the first seed's solution to the second's; heads move too."""
    return _barrier(study, seed, "barrier", study.folder(1) / "model") if seed == 0 else {}


def basin(study: Study, seed: int) -> dict[str, Any]:
    """Measure the way from the short training's solution to the long one's."""
    return _barrier(study, seed, "basin", study.beside(_longer(study)).folder(seed) / "model")


def _barrier(study: Study, seed: int, step: str, other: Any) -> dict[str, Any]:
    found = barrier(study.model(seed), study.examples(step, seed), other, steps=study.points(step))
    return {
        "alphas": found.alphas,
        "distance": found.distance,
        **_values(found),
        "heights": {
            f"{high.split} {high.measure}": [high.height, high.alpha, high.standard_error]
            for high in found.heights
        },
    }


Step = Callable[[Study, int], dict[str, Any]]
# in the order of their worth, should time run out; the names are those of the results
STEPS: dict[str, Step] = {
    "log": trained,
    "line": near,
    "path": path,
    "rollback": back,
    "basin": basin,
    "barrier": between_seeds,
    "surface": maps,
    "flatness": flat,
    "wide": wide,
}


def needed(study: Study, step: str) -> list[Study]:
    """Give the trainings that a step needs; none where the step is not made of this one."""
    if step == "log":
        return [study]
    left_out = ("barrier", "wide", "basin", "surface", "flatness") if study.training.is_twin else ()
    if not study.training.is_mapped or step in left_out:
        return []
    if step == "surface":
        return [study, study.beside(_other(study))]
    if step == "basin":
        has_twin = study.training.name == "trec-pretrained"
        return [study, study.beside(_longer(study))] if has_twin else []
    return [study]


def _other(study: Study) -> str:
    """The training of the other task from the same kind of start."""
    return f"{study.task.other}-{study.training.start}"


def _longer(study: Study) -> str:
    return f"{study.training.name}-long"
