"""Pictures of everything about landscapes; those of lines and surfaces come from surface_plot.

Source: arXiv 1908.05620, figures 1 to 6 and table 2.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape.barrier import BarrierResult
from vesalius.methods.loss_landscape.flatness_result import Flatness, Sharpness
from vesalius.methods.loss_landscape.measures import ERROR, LOSS
from vesalius.methods.loss_landscape.rollback import ENCODER, Rollback, RollbackRow
from vesalius.methods.loss_landscape.surface_plot import (
    frame_marks,
    line_series,
    plot_line,
    plot_surface,
    plot_surfaces,
    taken_measures,
    turning_surface,
)
from vesalius.methods.loss_landscape.trajectory import Trajectory
from vesalius.methods.loss_landscape.wording import split_name, unit
from vesalius.plots.curves import Series, evaluation_curves
from vesalius.plots.landscape_line import LossPanel, Rise, loss_panels
from vesalius.plots.landscape_path import TracePath
from vesalius.plots.landscape_trail import training_trail
from vesalius.plots.panels import beside
from vesalius.plots.rollback_bars import RollbackBar, rollback_bars
from vesalius.plots.sharpness_bars import Reading, Stretch, relative_bars, width_spans

__all__ = [
    "TRAJECTORY_PARTS",
    "plot_barrier",
    "plot_flatness",
    "plot_line",
    "plot_rollback",
    "plot_surface",
    "plot_surfaces",
    "plot_trajectory",
    "turning_surface",
]

TRAJECTORY_PARTS: Final = ("path", "reached", "away")


def plot_trajectory(
    result: Trajectory,
    *,
    split: str = "train",
    measure: str = LOSS,
    parts: Sequence[str] = TRAJECTORY_PARTS,
    ax: Any = None,
) -> Any:
    """Draw the path in its plane, what the checkpoints reach, and how far off the plane they are.

    Args:
        result: the trajectory; with one axis, its place on it over the steps.
        split: whose values colour the dots; without values they are white.
        measure: of these values and of the curves.
        parts: which of ``path``, ``reached`` and ``away``; reached is left out without values.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given; no shapes.

    Raises:
        VesaliusError: an unknown part, or nothing to draw.
    """
    for part in parts:
        check_word("part", part, TRAJECTORY_PARTS)
    reached = {split_name(s): m[measure] for s, m in result.values.items() if measure in m}
    shown = [part for part in parts if part != "reached" or reached]
    if not shown:
        raise VesaliusError(
            given=f"parts {', '.join(parts) or '(none)'} of {measure} that was not measured",
            expected="something to draw",
            fix="name another measure, or place the checkpoints with evaluate=True",
        )
    outer, places = beside(ax, len(shown), width=4.9, height=4.2, gap=0.45)
    for part, place in zip(shown, places, strict=True):
        if part == "path":
            _path(result, split, measure, place)
        elif part == "reached":
            evaluation_curves(_over_steps(result, reached), unit=unit(measure), ax=place)
        else:
            _away(result, place)
    return outer


def plot_rollback(result: Rollback, *, ax: Any = None) -> Any:
    """Draw the accuracy with each group's weights exchanged, and the intervals of its change.

    Args:
        result: the roll-back.
        ax: matplotlib Axes, or None for a new figure that grows with the groups.

    Returns:
        The matplotlib Axes; no shapes.
    """
    back = result.direction == "back"
    rows = sorted(result.rows, key=lambda row: row.group.startswith("layer "))
    weights = "start's weights" if back else "fine-tuned weights"
    return rollback_bars(
        [_bar(row) for row in rows],
        fine_tuned=result.fine_tuned_accuracy,
        start=result.start_accuracy,
        majority=result.majority_accuracy,
        x_label=f"{split_name(result.split)} accuracy with the {weights} in these layers",
        ax=ax,
    )


def plot_barrier(result: BarrierResult, *, measures: Sequence[str] = (LOSS, ERROR),
                 ax: Any = None) -> Any:  # fmt: skip
    """Draw loss and error on the straight way to another model, with the barriers as arrows.

    Args:
        result: the barrier.
        measures: one panel each; those that were not taken are left out.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given; no shapes.

    Raises:
        VesaliusError: none of these measures was taken.
    """
    panels = [
        LossPanel(
            series=line_series(result, name),
            unit=unit(name),
            percent=name == ERROR,
            rises={
                split_name(high.split): Rise(alpha=high.alpha, height=high.height)
                for high in result.heights
                if high.measure == name
            },
        )
        for name in taken_measures(result.values, measures)
    ]
    places = {"this model": 0.0, "the other": 1.0}
    return loss_panels(panels, axis="towards the other model", places=places, ax=ax)


def plot_flatness(result: Flatness, *, ax: Any = None) -> Any:
    """Draw the measures of both geometries, and the widths where a frame was given; no shapes.

    Args:
        result: the flatness.
        ax: matplotlib Axes, or None for a new figure; two pictures stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given.
    """
    readings = _readings(result)
    if not result.widths:
        return relative_bars(readings, ax=ax)
    rows = sum(map(len, readings.values())) + 1.3 * len(readings)
    outer, (left, right) = beside(ax, 2, width=5.4, height=0.8 + 0.25 * rows, gap=0.75)
    relative_bars(readings, ax=left)
    stretches = [
        Stretch(
            name=each.axis, low=each.low, high=each.high, open_low=each.open_low,
            open_high=each.open_high,
        )
        for each in result.widths
    ]  # fmt: skip
    width_spans(
        stretches,
        x_label=f"shift from the model (loss rises by at most {result.tau_nats:g} nats)",
        ax=right,
    )
    return outer


def _path(result: Trajectory, split: str, measure: str, ax: Any) -> None:
    """The plane of two axes, or the place on a single one over the steps."""
    places = result.coordinates.astype(np.float64)
    if len(result.axes) != 2:
        name = f"alpha: {result.axes[0]}"
        evaluation_curves(_over_steps(result, {name: places[:, 0]}), unit=name, ax=ax)
        return
    training_trail(
        TracePath(coordinates=places, values=result.values.get(split, {}).get(measure)),
        result.steps,
        unit=f"{split_name(split)} {unit(measure)}",
        axes=(result.axes[0], result.axes[1]),
        marks=frame_marks(result.axes, result.solution),
        percent=measure == ERROR,
        ax=ax,
    )


def _away(result: Trajectory, ax: Any) -> None:
    in_plane = len(result.axes) == 2 and result.projection != "paper"
    curves = {
        f"share of the way off the {'plane' if in_plane else 'first axis'}": result.off_plane,
        "length of the way (first axis: 1)": result.lengths,
    }
    unit_name = "share, or lengths of the first axis"
    evaluation_curves(_over_steps(result, curves), unit=unit_name, ax=ax)


def _over_steps(
    result: Trajectory, values: Mapping[str, Float[np.ndarray, " point"]]
) -> dict[str, Series]:
    steps = result.steps.astype(np.float64)
    return {name: Series(step=steps, value=value) for name, value in values.items()}


def _readings(result: Flatness) -> dict[str, dict[str, Reading]]:
    """Measures by name and geometry, those that were taken."""

    def each(name: str) -> dict[str, Reading]:
        return {
            geometry: found
            for geometry, sharpness in result.geometries.items()
            if (found := _reading(sharpness, name)) is not None
        }

    names = {
        f"average rise, shifts of {result.sigma:g} (nats)": "average",
        "rise after climbing the gradient (nats)": "worst",
        "length of the gradient": "gradient",
        "largest eigenvalue of the Hessian": "eigenvalue",
        "trace of the Hessian": "trace",
    }
    return {name: found for name, key in names.items() if (found := each(key))}


def _reading(found: Sharpness, name: str) -> Reading | None:
    if name == "average":
        return Reading(value=found.average_nats, standard_error=found.average_standard_error)
    if name == "worst":
        return Reading(value=found.worst_nats)
    if name == "gradient":
        return Reading(value=found.gradient_norm)
    if name == "eigenvalue":
        return Reading(value=float(found.eigenvalues[0])) if len(found.eigenvalues) else None
    if found.trace is None:
        return None
    error = found.trace_standard_error
    return Reading(value=found.trace, standard_error=np.nan if error is None else error)


def _bar(row: RollbackRow) -> RollbackBar:
    change = row.accuracy_change.mean
    name = "whole encoder" if row.group == ENCODER else row.group
    if row.layers and row.group in ("low", "middle", "high"):
        ends = "\u2013".join(dict.fromkeys(map(str, (row.layers[0], row.layers[-1]))))
        name = f"{name} ({ends})"
    return RollbackBar(
        name=name,
        accuracy=row.accuracy,
        change=change.estimate,
        low=change.low,
        high=change.high,
        moved=row.weight_change,
        block="single layers" if row.group.startswith("layer ") else "groups of layers",
    )
