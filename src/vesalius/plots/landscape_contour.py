"""A landscape from above: filled contours, the path of the training, the low region.

Source: figures 2 to 5 of arXiv 1908.05620 and 1712.09913, section 6, draw such maps; that the
dots have the colour of the checkpoints' own loss, and that holes stay holes, is ours.
"""

from collections.abc import Sequence
from textwrap import fill
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float

from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import plain_label
from vesalius.plots.landscape_path import Mark, TracePath, axis_labels, mark_style, path_name
from vesalius.plots.landscape_scale import COLOUR_MAP, ValueScale, check_grid, value_scale
from vesalius.plots.score_plane import legend_below
from vesalius.plots.style import INK, QUIET, RULE, new_axes, tidy

_COLOURS: Final = 40  # steps of the filled contours: the eye sees none
_LEVEL_COLOUR: Final = "#ff7f50"  # nowhere in viridis
_BORDER: Final = 0.05  # a number keeps such a share of the picture away from its border
_APART: Final = 0.07  # and from what lies on the map
_BESIDE: Final = 0.05  # of the range: a line nearer to the level than this is left out
_HOLE: Final = "not finite"


def contour_map(
    values: Float[np.ndarray, "x y"],
    *,
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
    unit: str,
    axes: tuple[str, str] = ("", ""),
    title: str = "",
    path: TracePath | None = None,
    marks: Sequence[Mark] = (),
    level: float | None = None,
    level_name: str = "",
    evaluated: Bool[np.ndarray, "x y"] | None = None,
    scale: ValueScale | None = None,
    log: bool | None = None,
    percent: bool = False,
    legend: bool = True,
    ax: Any = None,
) -> Any:
    """Draw a surface as filled contours; what is not finite is a hatched hole.

    Args:
        values: values[i, j] at (alphas[i], betas[j]).
        alphas, betas: growing, two places or more each.
        unit: of the values, for the colour bar.
        axes: their names.
        title: of the Axes.
        path: of a training; its dots have the colours of their own values.
        marks: places with names, such as start and solution.
        level, level_name: the region of values up to it is outlined, and what it is called.
        evaluated: where values were measured, if not everywhere: small dots.
        scale, log, percent: how values become colours; see value_scale.
        legend: whether path, marks and level are named below.
        ax: matplotlib Axes, or None for a new figure.

    Returns: The matplotlib Axes.
    Raises: VesaliusError for shapes that differ, an axis that does not grow, or a logarithmic
    scale for values that are not above 0.
    """
    check_grid(values, alphas, betas)
    scale = scale or value_scale([values], log=log, percent=percent)
    ax = new_axes(ax, width=5.6, height=4.9)
    taken = _taken(values, alphas, betas, path, marks)
    colours = _filled(ax, values, alphas, betas, scale, taken, level)
    handles = _hole(ax, values) + _low_region(ax, values, alphas, betas, level, level_name, scale)
    if evaluated is not None and not bool(evaluated.all()):
        handles += _measured(ax, evaluated, alphas, betas)
    if path is not None and len(path.coordinates):
        handles += _path(ax, path, scale, path_name(path, alphas, betas))
    for mark in marks:
        handles += ax.plot(*mark.place, **mark_style(mark, alphas, betas), zorder=7)
    ax.set(xlim=(alphas[0], alphas[-1]), ylim=(betas[0], betas[-1]))
    _bar(ax, colours, scale, unit)
    ax.set(**dict(zip(("xlabel", "ylabel"), map(plain_label, axis_labels(axes)), strict=True)))
    title_above(ax, title)
    if legend and handles:
        _legend(ax, handles)
    tidy(ax)
    ax.tick_params(length=3)
    return ax


def _taken(
    values: Float[np.ndarray, "x y"],
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
    path: TracePath | None,
    marks: Sequence[Mark],
) -> Float[np.ndarray, "place 2"]:
    """Places that numbers keep away from: marks, the path, holes."""
    rows, columns = np.nonzero(~np.isfinite(values))
    holes = np.stack([alphas[rows], betas[columns]], axis=1)
    named = np.array([mark.place for mark in marks], dtype=np.float64).reshape(-1, 2)
    way = np.empty((0, 2)) if path is None else path.coordinates
    return np.concatenate([named, way, holes])


def _legend(ax: Any, handles: list[Any]) -> None:
    words = max(len(handle.get_label()) for handle in handles)
    legend_below(
        ax, handles=handles, frameon=False, fontsize=8.5, ncols=1 if words > 44 else 2,
        handlelength=2.2,
    )  # fmt: skip


def _filled(
    ax: Any,
    values: Float[np.ndarray, "x y"],
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
    scale: ValueScale,
    taken: Float[np.ndarray, "place 2"],
    level: float | None,
) -> Any:
    """Fill the contours, write values on a few lines, and give what the colour bar needs."""
    from matplotlib import patheffects
    from matplotlib.cm import ScalarMappable

    mappable = ScalarMappable(norm=scale.norm(), cmap=COLOUR_MAP)
    shown = np.ma.masked_invalid(np.clip(values, scale.low, scale.high)).T
    if not _has_triangle(values):
        return mappable
    # the outermost levels reach a little further: rounding must not make holes of its own
    levels = scale.levels(_COLOURS + 1)
    levels[0] -= 1e-6 * abs(levels[1] - levels[0])
    levels[-1] += 1e-6 * abs(levels[-1] - levels[-2])
    ax.contourf(alphas, betas, shown, levels=levels, norm=scale.norm(), cmap=COLOUR_MAP, zorder=1)
    # a line beside the outline of the low region would only blur it
    near = scale.heights(np.array([np.nan if level is None else level]))
    beside = np.abs(scale.heights(scale.ticks()) - near) < _BESIDE * np.ptp(scale.heights(levels))
    inside = (scale.ticks() > shown.min()) & (scale.ticks() < min(shown.max(), scale.high))
    lines = scale.ticks()[inside & ~beside]
    if not len(lines):
        return mappable
    drawn = ax.contour(
        alphas, betas, shown, levels=lines, colors="white", linewidths=0.7, alpha=0.75, zorder=2
    )
    halo = [patheffects.withStroke(linewidth=1.6, foreground=INK, alpha=0.55)]
    span = ((alphas[0], betas[0]), (alphas[-1], betas[-1]))
    lines = [np.asarray(path.vertices) for path in drawn.get_paths()]
    spots = label_spots(lines, np.array(span), taken)
    if not spots:
        return mappable
    for label in ax.clabel(
        drawn, fmt=scale.word, fontsize=7.5, colors="white", inline_spacing=3, manual=spots
    ):
        label.set(path_effects=halo, zorder=3, alpha=1.0)
    return mappable


def label_spots(
    lines: Sequence[Float[np.ndarray, "_ 2"]],
    span: Float[np.ndarray, "2 2"],
    taken: Float[np.ndarray, "place 2"],
) -> list[tuple[float, float]]:
    """Find a place on each contour line for its number, far from the border and what lies there.

    Args:
        lines: the vertices of each line [vertex, axis].
        span: the lowest and highest place of the picture, [end, axis].
        taken: places to keep away from, [place, axis].
    """
    origin, size = span[0], span[1] - span[0]
    near = (taken - origin) / size
    spots: list[tuple[float, float]] = []
    for line in lines:
        if not len(line):
            continue
        places = (line - origin) / size
        room = np.minimum(places, 1 - places).min(axis=1) / _BORDER
        if len(near):
            away = np.linalg.norm(places[:, None] - near, axis=-1).min(axis=1)
            room = np.minimum(room, away / _APART)
        best = int(np.argmax(np.minimum(room, 2.0)))
        if room[best] >= 1:
            spots.append((float(line[best, 0]), float(line[best, 1])))
            near = np.concatenate([near, places[best : best + 1]])
    return spots


def _has_triangle(values: Float[np.ndarray, "x y"]) -> bool:
    """Whether anything can be filled: three finite corners of one cell."""
    finite = np.isfinite(values).astype(int)
    corners = finite[1:, 1:] + finite[1:, :-1] + finite[:-1, 1:] + finite[:-1, :-1]
    return bool((corners >= 3).any())


def _hole(ax: Any, values: Float[np.ndarray, "x y"]) -> list[Any]:
    """Hatch the ground, which shows wherever there are no contours."""
    from matplotlib.patches import Patch

    if bool(np.isfinite(values).all()):
        return []
    looks: dict[str, Any] = {"facecolor": "#f3f1ec", "edgecolor": QUIET, "hatch": "////"}
    ax.patch.set(**looks, linewidth=0)
    return [Patch(**looks, linewidth=0.5, label=_HOLE)]


def _low_region(
    ax: Any,
    values: Float[np.ndarray, "x y"],
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
    level: float | None,
    name: str,
    scale: ValueScale,
) -> list[Any]:
    from matplotlib.lines import Line2D

    if level is None or not _has_triangle(values):
        return []
    finite = values[np.isfinite(values)]
    name = name or f"up to {scale.word(level)}"
    if level < finite.min():
        name = f"{name}: nowhere"
    elif level >= finite.max():
        name = f"{name}: everywhere"
    else:
        shown = np.ma.masked_invalid(values).T
        for colour, width in (("white", 3.4), (_LEVEL_COLOUR, 1.9)):
            ax.contour(alphas, betas, shown, levels=[level], colors=colour, linewidths=width,
                       zorder=4)  # fmt: skip
    return [Line2D([], [], color=_LEVEL_COLOUR, linewidth=1.9, label=plain_label(name))]


def _measured(
    ax: Any,
    evaluated: Bool[np.ndarray, "x y"],
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
) -> list[Any]:
    from matplotlib.lines import Line2D

    rows, columns = np.nonzero(evaluated)
    name = f"measured ({len(rows)} of {evaluated.size}), the rest interpolated"
    ax.plot(alphas[rows], betas[columns], "o", color="white", markersize=1.5, alpha=0.9, zorder=3,
            markeredgewidth=0)  # fmt: skip
    return [Line2D([], [], marker="o", linestyle="", color=QUIET, markersize=2.5, label=name)]


def _path(ax: Any, path: TracePath, scale: ValueScale, name: str) -> list[Any]:
    """Draw the way as a line, and each checkpoint as a dot in the colour of its own value."""
    from matplotlib import patheffects
    from matplotlib.lines import Line2D

    size = float(np.clip(900 / len(path.coordinates), 10, 34))
    ax.plot(
        *path.coordinates.T, color="white", linewidth=1.5, zorder=5,
        path_effects=[patheffects.withStroke(linewidth=3.0, foreground=INK)],
    )  # fmt: skip
    own = path.values
    known = np.isfinite(own) if own is not None else np.zeros(len(path.coordinates), dtype=bool)
    colour: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.9, "s": size, "zorder": 6}
    if own is not None:
        ax.scatter(*path.coordinates[known].T, c=np.clip(own[known], scale.low, scale.high),
                   norm=scale.norm(), cmap=COLOUR_MAP, **colour)  # fmt: skip
    ax.scatter(*path.coordinates[~known].T, color=RULE if own is None else QUIET, **colour)
    told = f"{name}, true values as dots" if own is not None else name
    return [
        Line2D(
            [], [], color="white", linewidth=1.5, marker="o", markersize=5.5,
            markerfacecolor="#35b779", markeredgecolor="white", label=plain_label(told),
            path_effects=[patheffects.withStroke(linewidth=2.6, foreground=INK)],
        )
    ]  # fmt: skip


def _bar(ax: Any, colours: Any, scale: ValueScale, unit: str) -> None:
    """Put the colour bar to the right, inside of what belongs to the Axes."""
    from matplotlib.ticker import NullLocator

    place = ax.inset_axes((1.03, 0, 0.035, 1))
    bar = ax.figure.colorbar(
        colours, cax=place, extend="max" if scale.clipped else "neither", extendfrac=0.03
    )
    ticks = scale.ticks()
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_ticks(list(ticks), labels=[scale.word(tick) for tick in ticks])
    bar.set_label(plain_label(fill(scale.label(unit), 46)), fontsize=9)
    bar.ax.tick_params(labelsize=8.5, length=2, colors=INK)
    bar.outline.set_visible(False)
