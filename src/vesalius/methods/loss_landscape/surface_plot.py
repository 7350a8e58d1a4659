"""Pictures of lines and surfaces.

Source: arXiv 1908.05620, figures 1 to 5; Li et al. 2018, arXiv 1712.09913.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape.barrier import BarrierResult
from vesalius.methods.loss_landscape.measures import ERROR, LOSS
from vesalius.methods.loss_landscape.result import Line, Measured, Surface, pick
from vesalius.methods.loss_landscape.trajectory import Trajectory
from vesalius.methods.loss_landscape.wording import (
    FLOOR,
    axis_places,
    floor_level,
    floor_name,
    split_name,
    unit,
)
from vesalius.numerics.surface_measures import width_at
from vesalius.plots.landscape_contour import contour_map
from vesalius.plots.landscape_line import LevelSpan, LineSeries, LossPanel, loss_panels
from vesalius.plots.landscape_path import Mark, TracePath
from vesalius.plots.landscape_scale import value_scale
from vesalius.plots.landscape_surface import surface_figure, surface_picture
from vesalius.plots.panels import beside

SURFACE_KINDS: Final = ("contour", "3d")
PANELS: Final = (("train", LOSS), ("held_out", LOSS), ("held_out", ERROR))


def plot_line(result: Line, *, measures: Sequence[str] = (LOSS, ERROR), ax: Any = None) -> Any:
    """Draw loss and error along an axis, beside each other; no shapes.

    The bands are two standard errors of the mean over examples wide to each side. The stretch
    around the lowest training loss that stays within 0.1 nats of it is shaded.

    Args:
        result: the line.
        measures: one panel each; those that were not taken are left out.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given.

    Raises:
        VesaliusError: none of these measures was taken.
    """
    panels = [_panel(result, name) for name in taken_measures(result.values, measures)]
    places = {name: at[0] for name, at in axis_places([result.axis], [result.solution]).items()}
    return loss_panels(panels, axis=result.axis, places=places, ax=ax)


def plot_surface(
    result: Surface,
    *,
    split: str = "train",
    measure: str = LOSS,
    kind: str = "contour",
    trajectory: Trajectory | None = None,
    log: bool | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw one surface; no shapes.

    The outline holds what lies within 0.1 nats (0.02 of the error) of the lowest point.

    Args:
        result: the surface.
        split: train or held_out.
        measure: loss, error or another that was taken.
        kind: ``contour``, or ``3d``.
        trajectory: a Trajectory in the same plane; its dots show the checkpoints' own values.
        log: whether colours and heights are logarithmic; None decides by their range.
        title: of the Axes.
        ax: matplotlib Axes (of three dimensions for 3d), or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: an unknown kind, a split or measure that was not taken, a trajectory in
            other axes, or Axes of other dimensions.
    """
    check_word("kind", kind, SURFACE_KINDS)
    values = result.measured(split, measure)
    known = _known(result, split, measure, trajectory)
    known |= {"log": log, "title": title or f"{split_name(split)} {measure}", "ax": ax}
    if kind == "3d":
        return surface_picture(values, **known)
    return contour_map(
        values,
        level=floor_level(values, measure),
        level_name=floor_name(measure),
        evaluated=result.evaluated,
        **known,
    )


def plot_surfaces(
    result: Surface,
    *,
    panels: Sequence[tuple[str, str]] = PANELS,
    trajectory: Trajectory | None = None,
    log: bool | None = None,
    ax: Any = None,
) -> Any:
    """Draw surfaces of one plane beside each other, equal measures on one scale; no shapes.

    Args:
        result: the surface.
        panels: split and measure of each, from left to right; those not taken are left out.
        trajectory: a Trajectory in the same plane.
        log: whether colours are logarithmic; None decides by their range.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given.

    Raises:
        VesaliusError: none of these was taken, or a trajectory in other axes.
    """
    shown = [(s, m) for s, m in panels if m in result.values.get(s, {})]
    if not shown:
        pick(result.values, *(panels[0] if panels else ("", "")))  # says what there is
    outer, places = beside(ax, len(shown), width=5.0, height=4.7, gap=0.55)
    for number, (place, (split, measure)) in enumerate(zip(places, shown, strict=True)):
        values = result.measured(split, measure)
        alike = [result.measured(s, m) for s, m in shown if m == measure]
        contour_map(
            values,
            level=floor_level(values, measure),
            level_name=" or ".join(dict.fromkeys(floor_name(m) for _, m in shown)),
            evaluated=result.evaluated,
            scale=value_scale(alike, log=log, percent=measure == ERROR),
            title=f"{split_name(split)} {measure}",
            legend=number == len(shown) // 2,
            ax=place,
            **_known(result, split, measure, trajectory),
        )
    return outer


def turning_surface(
    result: Surface,
    *,
    split: str = "train",
    measure: str = LOSS,
    trajectory: Trajectory | None = None,
) -> Any:
    """Make a plotly figure of a surface that can be turned; no shapes.

    Args:
        result: the surface.
        split: train or held_out.
        measure: loss, error or another that was taken.
        trajectory: a Trajectory in the same plane.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        VesaliusError: a split or measure that was not taken, or a trajectory in other axes.
    """
    return surface_figure(
        result.measured(split, measure), **_known(result, split, measure, trajectory)
    )


def _known(
    result: Surface, split: str, measure: str, trajectory: Trajectory | None
) -> dict[str, Any]:
    """What all pictures of a surface are told."""
    path = None if trajectory is None else trace(result.axes, trajectory, split, measure)
    return {
        "alphas": result.alphas,
        "betas": result.betas,
        "unit": unit(measure),
        "axes": result.axes,
        "percent": measure == ERROR,
        "path": path,
        "marks": frame_marks(result.axes, result.solution),
    }


def frame_marks(axes: Sequence[str], solution: Sequence[float]) -> list[Mark]:
    """Give marks for start and solution of a frame; no shapes."""
    symbols: dict[str, Any] = {"start": "start", "solution": "solution"}
    return [
        Mark(name=name, place=(at[0], at[1]), symbol=symbols[name])
        for name, at in axis_places(axes, solution).items()
    ]


def trace(axes: Sequence[str], trajectory: Trajectory, split: str, measure: str) -> TracePath:
    """Take the path of a trajectory [point, axis], with its own values where they were measured.

    Raises:
        VesaliusError: the trajectory lies in other axes.
    """
    # the paper draws its own coordinates over any plane that begins with the same axis
    papers = trajectory.projection == "paper" and trajectory.axes[:1] == tuple(axes[:1])
    if len(trajectory.axes) != 2 or not (papers or tuple(trajectory.axes) == tuple(axes)):
        raise VesaliusError(
            given=f"a trajectory along {' and '.join(trajectory.axes)}",
            expected=f"one in the plane of the surface: {' and '.join(axes)}",
            fix="project it on the same frame",
        )
    return TracePath(
        coordinates=trajectory.coordinates.astype(np.float64),
        values=trajectory.values.get(split, {}).get(measure),
        name="training path (beta as in the paper)" if papers else "training path",
    )


def _splits(values: Measured, measure: str) -> list[str]:
    return [split for split, measures in values.items() if measure in measures]


def taken_measures(values: Measured, measures: Sequence[str]) -> list[str]:
    """Give those of some measures that were taken.

    Raises:
        VesaliusError: none was.
    """
    found = [name for name in measures if _splits(values, name)]
    if not found:
        raise VesaliusError(
            given=f"measures {', '.join(measures) or '(none)'}",
            expected="; ".join(f"{split}: {', '.join(m)}" for split, m in values.items()),
            fix="name one of these",
        )
    return found


def line_series(result: Line | BarrierResult, measure: str) -> dict[str, LineSeries]:
    """Take the lines of a measure, one for each split, arrays [x]."""
    return {
        split_name(split): LineSeries(
            alphas=result.alphas,
            values=result.values[split][measure],
            standard_errors=result.standard_errors[split][measure],
        )
        for split in _splits(result.values, measure)
    }


def _panel(result: Line, measure: str) -> LossPanel:
    return LossPanel(
        series=line_series(result, measure),
        unit=unit(measure),
        percent=measure == ERROR,
        span=_floor_span(result, _splits(result.values, measure)[0], measure),
    )


def _floor_span(result: Line, split: str, measure: str) -> LevelSpan | None:
    """The stretch around the lowest training loss that stays on the floor."""
    values = result.values[split][measure]
    level = floor_level(values, measure)
    if measure != LOSS or level is None:
        return None
    centre = float(result.alphas[np.nanargmin(values)])
    found = width_at(result.alphas, values, centre=centre, level=level)
    least = "at least " if found.open_low or found.open_high else ""
    name = f"{split_name(split)}: within {FLOOR[measure]:g} nats, {least}{found.width:.2g} wide"
    return LevelSpan(low=found.low, high=found.high, level=level, name=name)
