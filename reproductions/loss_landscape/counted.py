"""Numbers of the page from the stored ones, a value for each seed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tasks import PRETRAINED, SCRATCH, TASKS, TRAININGS, task_of

from vesalius.numerics.surface_measures import (
    Agreement,
    Region,
    Width,
    agreement,
    barrier,
    largest_rise,
    region_area,
    width_at,
)

Result = Mapping[str, Any]
Results = Mapping[str, Result]
ENTERS = 0.05  # above the commonest class
TAU, FAR_TAU = 0.1, 0.5  # nats above the solution
REACHED = 0.5  # nats of training loss
LAST = 5  # entries of the log, ten steps each, that the loss is averaged over


def read(folder: Path) -> dict[str, Result]:
    """Read the results of all trainings that there are, in their order."""
    paths = {each.name: folder / "results" / f"{each.name}.json" for each in TRAININGS}
    return {
        name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.is_file()
    }


def enters(found: Result) -> bool:
    """Whether a model beats the commonest class by enough, on average over seeds."""
    return float(np.mean(found["accuracy"])) - found["majority"] >= ENTERS


def entered(results: Results) -> list[str]:
    """Names of the tasks that the pretrained model learned."""
    names = [task.name for task in TASKS]
    return [n for n in names if (r := results.get(f"{n}-{PRETRAINED}")) and enters(r)]


def pairs(results: Results) -> dict[str, tuple[Result, Result]]:
    """Give what is compared: results of both starts, by what the page calls them.

    TREC from scratch stands against the short training, as on the other tasks, and against its
    twin of as many epochs.
    """
    told: dict[str, tuple[Result, Result]] = {}
    for training in TRAININGS:
        theirs = results.get(f"{training.task}-{SCRATCH}")
        is_asked = training.start == PRETRAINED and training.task in entered(results)
        if is_asked and theirs is not None and training.name in results:
            name = task_of(training.task).told
            suffix = f", {training.epochs:g} epochs both" if training.is_twin else ""
            told[name + suffix] = (results[training.name], theirs)
    return dict(sorted(told.items(), key=lambda each: _task_place(each[0])))


def _task_place(name: str) -> tuple[int, str]:
    return [task.told for task in TASKS].index(name.split(",")[0]), name


def mapped(results: Results) -> list[str]:
    """Names of the results that lines and all the rest were taken of, in the page's order."""
    known = entered(results)
    order = {task.name: place for place, task in enumerate(TASKS)}
    names = [t for t in TRAININGS if t.task in known and t.name in results and t.is_mapped]
    names.sort(key=lambda each: (order[each.task], each.start == SCRATCH, each.is_twin))
    return [training.name for training in names]


def per_seed(found: Result, step: str) -> list[Result]:
    """What a step gave, by seed; nothing where it was not done."""
    steps = found["steps"].get(step, {})
    return [steps[seed] for seed in sorted(steps) if steps[seed]]


def array(values: Any) -> np.ndarray:
    """Stored numbers as an array; null is NaN."""
    return np.array(values, dtype=np.float64)


def widths(found: Result, tau: float, step: str = "line") -> list[Width]:
    """How far the line stays within tau of the solution's training loss, for each seed."""
    told: list[Width] = []
    for each in per_seed(found, step):
        alphas, losses = array(each["alphas"]), array(each["values"]["train"]["loss"])
        level = float(losses[_place(alphas, 1.0)]) + tau
        told.append(width_at(alphas, losses, centre=1.0, level=level))
    return told


def norms(found: Result) -> list[float]:
    """How far it is from start to solution, for each seed."""
    return [each["norm"] for each in per_seed(found, "line")]


def rises(found: Result) -> list[float]:
    """The largest climb of the training loss on the straight way from start to solution."""
    told: list[float] = []
    for each in per_seed(found, "line"):
        alphas, losses = array(each["alphas"]), array(each["values"]["train"]["loss"])
        told.append(largest_rise(losses[_place(alphas, 0.0) : _place(alphas, 1.0) + 1]))
    return told


def hills(found: Result) -> list[float]:
    """How far that way rises above the straight line between the losses of its ends."""
    told: list[float] = []
    for each in per_seed(found, "line"):
        alphas, losses = array(each["alphas"]), array(each["values"]["train"]["loss"])
        inside = slice(_place(alphas, 0.0), _place(alphas, 1.0) + 1)
        told.append(barrier(alphas[inside], losses[inside]).height)
    return told


def at(each: Result, alpha: float, split: str = "train", measure: str = "loss") -> float:
    """A measure of a line at one of its points."""
    return each["values"][split][measure][_place(array(each["alphas"]), alpha)]


def steps_to(found: Result, loss: float = REACHED) -> list[float]:
    """The step from which the mean loss of 50 batches is low enough; infinite if it never is."""
    told: list[float] = []
    for each in per_seed(found, "log"):
        losses = array(each["loss"])
        means = np.convolve(losses, np.full(LAST, 1 / LAST), mode="valid")
        low = np.flatnonzero(means <= loss) if len(losses) >= LAST else np.empty(0, dtype=int)
        told.append(float(each["steps"][low[0] + LAST - 1]) if len(low) else np.inf)
    return told


def on_path(found: Result, split: str, measure: str) -> np.ndarray:
    """A measure of every snapshot, [seed, snapshot]."""
    return array([each["values"][split][measure] for each in per_seed(found, "path")])


def climbs(found: Result) -> list[float]:
    """How far the dev loss ends above its lowest snapshot, for each seed."""
    losses = on_path(found, "held_out", "loss")
    return [float(row[-1] - row.min()) for row in losses]


def lost(found: Result) -> list[float]:
    """Points of dev accuracy from the best snapshot to the last, for each seed."""
    errors = on_path(found, "held_out", "error")
    return [100 * float(row[-1] - row.min()) for row in errors]


def agreements(found: Result, measure: str = "error") -> list[Agreement]:
    """How alike training loss and a held-out measure are over the plane, for each seed."""
    return [
        agreement(
            array(each["values"]["train"]["loss"]),
            array(each["values"]["held_out"][measure]),
            alphas=array(each["alphas"]),
            betas=array(each["betas"]),
        )
        for each in per_seed(found, "surface")
    ]


def areas(found: Result, tau: float = TAU) -> list[Region]:
    """The region around the solution within tau of its training loss, for each seed."""
    told: list[Region] = []
    for each in per_seed(found, "surface"):
        alphas, betas = array(each["alphas"]), array(each["betas"])
        losses = array(each["values"]["train"]["loss"])
        level = float(losses[_place(alphas, 1.0), _place(betas, 0.0)]) + tau
        told.append(region_area(alphas, betas, losses, centre=(1.0, 0.0), level=level))
    return told


def groups(found: Result, key: str) -> dict[str, list[float]]:
    """A number of every rolled back group, for each seed; intervals give their estimate."""
    told: dict[str, list[float]] = {}
    for each in per_seed(found, "rollback"):
        for row in each["rows"]:
            value = row[key]
            told.setdefault(row["group"], []).append(value[0] if isinstance(value, list) else value)
    return told


def flatness(found: Result, geometry: str, key: str) -> list[float]:
    """A measure of sharpness, for each seed."""
    return [each[geometry][key] for each in per_seed(found, "flatness")]


def spread(values: Sequence[float], digits: int | None = 2, *, sign: bool = False) -> str:
    """Mean and range over seeds; without ``digits`` as many as tell three of them."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    plus = "+" if sign else ""

    def shown(value: float) -> str:
        if digits is None:
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return f"{value + 0.0:{plus}.{digits}f}" if np.isfinite(value) else "never"

    if len(known) == 1:
        return shown(known[0])
    mean = float(np.mean(known))
    return f"{shown(mean)} ({shown(min(known))} to {shown(max(known))})"


def _place(alphas: np.ndarray, wanted: float) -> int:
    return int(np.abs(alphas - wanted).argmin())
