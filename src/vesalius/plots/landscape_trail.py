"""The path of a training in the plane of two axes, without the landscape under it.

Source: figure 3 of arXiv 1908.05620; that dots have the colours of their own values is ours.
"""

from collections.abc import Sequence
from textwrap import fill
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import plain_label
from vesalius.plots.landscape_path import Mark, TracePath, axis_labels, mark_style
from vesalius.plots.landscape_scale import COLOUR_MAP, value_scale
from vesalius.plots.score_plane import legend_below
from vesalius.plots.style import INK, QUIET, RULE, new_axes, tidy

_NAMED: Final = 5  # steps whose numbers are written
_APART: Final = (0.17, 0.07)  # of the picture: numbers nearer than this run into each other
_ROOM: Final = 0.1  # of the path's extent, around it


def training_trail(
    path: TracePath,
    steps: Int[np.ndarray, " point"],
    *,
    unit: str,
    axes: tuple[str, str] = ("", ""),
    marks: Sequence[Mark] = (),
    percent: bool = False,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a path through the plane, a dot for each checkpoint, its step beside some of them.

    Args:
        path: coordinates [point, axis], and the checkpoints' own values [point] for the colours.
        steps: of the checkpoints, [point].
        unit: of the values.
        axes: names of the two axes.
        marks: places with names, such as start and solution.
        percent: whether values are shares, written as per cent.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no point, or another number of steps than points.
    """
    points = path.coordinates
    if not len(points) or len(steps) != len(points):
        raise VesaliusError(
            given=f"{len(steps)} steps for {len(points)} points",
            expected="one point or more, and a step for each",
            fix="take both from the same trajectory",
        )
    ax = new_axes(ax, width=5.4, height=4.4)
    ax.axhline(0, color=RULE, linewidth=0.8, zorder=0)
    ax.axvline(0, color=RULE, linewidth=0.8, zorder=0)
    ax.plot(*points.T, color=QUIET, linewidth=1.4, zorder=2)
    _dots(ax, path, unit, percent=percent)
    low, high = _limits(points, marks)
    for mark in marks:
        style = mark_style(mark, np.array([low[0], high[0]]), np.array([low[1], high[1]]))
        ax.plot(*mark.place, **style, zorder=1)  # under the dots, which stand in the same places
    _number(ax, points, steps, high - low)
    x_label, y_label = axis_labels(axes)
    ax.set(
        xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=plain_label(x_label),
        ylabel=plain_label(fill(y_label, 42)),
    )  # fmt: skip
    title_above(ax, title)
    if marks:
        legend_below(ax, frameon=False, fontsize=8.5, ncols=3)
    return tidy(ax)


def _limits(
    points: Float[np.ndarray, "point 2"], marks: Sequence[Mark]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Room around the path and the marks: the lowest and the highest place."""
    shown = np.concatenate([points, np.array([mark.place for mark in marks]).reshape(-1, 2)])
    low, high = shown.min(axis=0), shown.max(axis=0)
    widest = float((high - low).max()) or 1.0
    # a path that hardly leaves one axis is not blown up to the height of the picture
    room = np.maximum(_ROOM * (high - low), 0.06 * widest)
    return low - room, high + room


def _dots(ax: Any, path: TracePath, unit: str, *, percent: bool) -> None:
    looks: dict[str, Any] = {"s": 34, "edgecolors": INK, "linewidths": 0.5, "zorder": 3}
    if path.values is None:
        ax.scatter(*path.coordinates.T, color="white", **looks)
        return
    scale = value_scale([path.values], percent=percent)
    known = np.isfinite(path.values)
    ax.scatter(*path.coordinates[~known].T, color=RULE, **looks)
    colours = ax.scatter(
        *path.coordinates[known].T, c=np.clip(path.values[known], scale.low, scale.high),
        cmap=COLOUR_MAP, norm=scale.norm(), **looks,
    )  # fmt: skip
    place = ax.inset_axes((1.03, 0, 0.035, 1))
    bar = ax.figure.colorbar(
        colours, cax=place, extend="max" if scale.clipped else "neither", extendfrac=0.03
    )
    ticks = scale.ticks()
    bar.ax.minorticks_off()
    bar.set_ticks(list(ticks), labels=[scale.word(tick) for tick in ticks])
    bar.set_label(plain_label(fill(scale.label(unit), 46)), fontsize=9)
    bar.ax.tick_params(labelsize=8.5, length=2, colors=INK)
    bar.outline.set_visible(False)


def _number(
    ax: Any,
    points: Float[np.ndarray, "point 2"],
    steps: Int[np.ndarray, " point"],
    size: Float[np.ndarray, "2"],
) -> None:
    """Write the steps of the first, the last and some points between, none beside another."""
    order = np.unique(np.linspace(0, len(points) - 1, _NAMED).round().astype(int))
    first = [order[0], order[-1], *order[1:-1]]
    taken: list[np.ndarray] = []
    for point in dict.fromkeys(first):
        here = points[point] / size
        if any(bool((np.abs(here - other) < _APART).all()) for other in taken):
            continue
        taken.append(here)
        ax.annotate(
            f"step {steps[point]:,}" if point in (order[0], order[-1]) else f"{steps[point]:,}",
            points[point], xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8,
            color=INK, zorder=4,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.6},
        )  # fmt: skip
