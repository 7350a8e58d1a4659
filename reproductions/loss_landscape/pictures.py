"""The pictures of the page, from the stored numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from counted import Result, Results, array, entered, groups, on_path, per_seed
from tasks import task_of, training_of

from vesalius.core.paths import write_file
from vesalius.plots.landscape_contour import contour_map
from vesalius.plots.landscape_line import LineSeries, LossPanel, loss_panels
from vesalius.plots.landscape_path import Mark, TracePath
from vesalius.plots.landscape_scale import value_scale
from vesalius.plots.rollback_bars import RollbackBar, rollback_bars
from vesalius.plots.size_curves import SizeCurve, size_curves
from vesalius.plots.style import figure_bytes

STARTS = {"pretrained": "pretrained", "scratch": "from scratch"}
MARKS = (
    Mark(name="start", place=(0.0, 0.0), symbol="start"),
    Mark(name="solution", place=(1.0, 0.0), symbol="solution"),
)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what there is: lines, planes, the long trainings, roll-back."""
    drawn: list[Path] = []
    for task in entered(results):
        if _measured(results, task, "line"):
            drawn.append(_write(_lines(results, task, "line"), folder, f"{task}-line"))
        if _measured(results, task, "wide"):
            drawn.append(_write(_lines(results, task, "wide"), folder, f"{task}-wide"))
        if _measured(results, task, "surface"):
            drawn.append(_write(_planes(results, task), folder, f"{task}-plane"))
        if per_seed(results[f"{task}-pretrained"], "rollback"):
            drawn.append(_write(_rolled_back(results, task), folder, f"{task}-rollback"))
    if long_runs(results):
        drawn.append(_write(_long(results), folder, "trec-long"))
    return drawn


def long_runs(results: Results) -> dict[str, Result]:
    """The trainings of 20 epochs, by what the page calls them."""
    names = {"pretrained": "trec-pretrained-long", "from scratch": "trec-scratch"}
    return {
        told: results[name]
        for told, name in names.items()
        if name in results and per_seed(results[name], "path")
    }


def _measured(results: Results, task: str, step: str) -> dict[str, Result]:
    """The trainings of a task that a step was made of, by what the page calls them."""
    names = {told: f"{task}-{start}" for start, told in STARTS.items()}
    return {
        told: results[name]
        for told, name in names.items()
        if name in results and per_seed(results[name], step)
    }


def _write(axes: Any, folder: Path, name: str) -> Path:
    path = folder / "figures" / f"{name}.png"
    return write_file(path, figure_bytes(axes, dots_per_inch=90), force=True)


def _lines(results: Results, task: str, step: str) -> Any:
    """Mean over seeds, and two standard errors of it to each side."""
    found = _measured(results, task, step)
    panels = [
        LossPanel(
            series={told: _series(each, step, split, measure) for told, each in found.items()},
            unit="loss (nats)" if measure == "loss" else measure,
            percent=measure == "error",
            log=False if step == "line" else None,
            title=f"{task_of(task).told}: {split.replace('_', '-')} {measure}",
        )
        for split, measure in (("train", "loss"), ("held_out", "loss"), ("held_out", "error"))
    ]
    places = {"start": 0.0, "solution": 1.0}
    return loss_panels(panels, axis="towards the solution", places=places)


def _series(found: Result, step: str, split: str, measure: str) -> LineSeries:
    seeds = per_seed(found, step)
    values = array([each["values"][split][measure] for each in seeds])
    error = values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
    return LineSeries(
        alphas=array(seeds[0]["alphas"]), values=values.mean(axis=0), standard_errors=error
    )


def _planes(results: Results, task: str) -> Any:
    """Training loss and held-out error of the first seed, a row for each start."""
    from matplotlib.figure import Figure

    found = _measured(results, task, "surface")
    figure = Figure(figsize=(10.4, 4.6 * len(found)), layout="constrained")
    shown = (("train", "loss"), ("held_out", "error"))
    places = figure.subplots(len(found), len(shown), squeeze=False)
    other = training_of(f"{task_of(task).other}-pretrained").task
    for row, (told, each) in zip(places, found.items(), strict=True):
        first = per_seed(each, "surface")[0]
        for ax, (split, measure) in zip(row, shown, strict=True):
            values = array(first["values"][split][measure])
            percent = measure == "error"
            contour_map(
                values,
                alphas=array(first["alphas"]),
                betas=array(first["betas"]),
                unit="loss (nats)" if measure == "loss" else measure,
                axes=("towards the solution", f"towards the solution of {task_of(other).told}"),
                title=f"{task_of(task).told}, {told}: {split.replace('_', '-')} {measure}",
                path=_path(each, first, split, measure),
                marks=MARKS,
                level=float(np.nanmin(values)) + (0.02 if percent else 0.1),
                level_name=f"within {'2 %' if percent else '0.1 nats'} of the lowest point",
                scale=value_scale([values], percent=percent),
                percent=percent,
                ax=ax,
            )
    return places[0, 0]


def _path(found: Result, plane: Result, split: str, measure: str) -> TracePath:
    places = array(plane["path"]["coordinates"])
    measured = per_seed(found, "path")
    values = array(measured[0]["values"][split][measure]) if measured else None
    return TracePath(coordinates=places, values=values)


def _long(results: Results) -> Any:
    """Loss and dev accuracy after every epoch, mean and range over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    found = long_runs(results)
    losses = {
        f"{told}, {name}": _curve(on_path(each, split, "loss"))
        for told, each in found.items()
        for split, name in (("train", "train"), ("held_out", "dev"))
    }
    rights = {told: _curve(1 - on_path(each, "held_out", "error")) for told, each in found.items()}
    size_curves(losses, x_label="epochs", y_label="loss (nats)", log=False, title="TREC", ax=left)
    size_curves(
        rights, x_label="epochs", y_label="dev accuracy", log=False, percent=True, title="TREC",
        ax=right,
    )  # fmt: skip
    for ax in (left, right):
        ax.set_xticks([0, 4, 8, 12, 16, 20], ["0", "4", "8", "12", "16", "20"])
    return left


def _curve(values: np.ndarray) -> SizeCurve:
    """Values [seed, epoch] as mean and range."""
    return SizeCurve(
        size=np.arange(values.shape[1], dtype=np.float64),
        value=values.mean(axis=0),
        low=values.min(axis=0),
        high=values.max(axis=0),
    )


def _rolled_back(results: Results, task: str) -> Any:
    """Means over seeds of the pretrained model, with the range of the change."""
    found = results[f"{task}-pretrained"]
    seeds = per_seed(found, "rollback")
    accuracy, change, moved = (groups(found, key) for key in ("accuracy", "change", "moved"))
    layers = {row["group"]: row["layers"] for row in seeds[0]["rows"]}
    names = sorted(accuracy, key=lambda name: name.startswith("layer "))
    rows = [
        RollbackBar(
            name=_told(name, layers[name]),
            accuracy=float(np.mean(accuracy[name])),
            change=float(np.mean(change[name])),
            low=min(change[name]),
            high=max(change[name]),
            moved=float(np.mean(moved[name])),
            block="single layers" if name.startswith("layer ") else "groups of layers",
        )
        for name in names
    ]
    return rollback_bars(
        rows,
        fine_tuned=float(np.mean([each["accuracy"] for each in seeds])),
        start=float(np.mean([each["start"] for each in seeds])),
        majority=seeds[0]["majority"],
        x_label="dev accuracy with the start's weights in these layers",
        title=f"{task_of(task).told}, pretrained: mean of three seeds, range of the change",
    )


def _told(name: str, layers: list[int]) -> str:
    if name == "encoder":
        return "whole encoder"
    if name not in ("low", "middle", "high"):
        return name
    ends = dict.fromkeys((str(layers[0]), str(layers[-1])))
    return f"{name} ({' to '.join(ends)})"
