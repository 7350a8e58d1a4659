"""Scores of texts in a plane, coloured by class: clusters, and where each class is answered.

Source: figures 1 to 3 of arXiv 2205.10183 draw such planes; the regions are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.style import INK, QUIET, tidy

_MARKERS: Final = "osD"  # one for each turn through the colours
_HATCHES: Final = ("", "////", "....")  # of the regions, likewise
MOST_CLASSES: Final = len(COLOURS) * len(_MARKERS)
_TINT: Final = 0.82  # share of white in the colour of a region
_SIGMAS: Final[tuple[tuple[float, Any], ...]] = ((1.0, "-"), (2.0, "--"))
_MANY: Final = 6  # clusters, from which on two ellipses each would hide the texts


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cluster:
    """A normal distribution in the plane: its mean [axis], covariance [axis, axis] and class."""

    mean: Float[np.ndarray, "2"]
    covariance: Float[np.ndarray, "2 2"]
    label: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """The class that is answered at the points of a grid: labels [y, x], x and y growing."""

    x: Float[np.ndarray, " x"]
    y: Float[np.ndarray, " y"]
    labels: Int[np.ndarray, "y x"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """One picture of the same points: what is answered where, and the clusters behind it."""

    title: str = ""
    regions: Regions | None = None
    clusters: tuple[Cluster, ...] = ()


def class_colour(label: int) -> str:
    """Give the colour of a class number; grey where it is not known (below 0).

    Source: Okabe and Ito 2008, Color Universal Design.
    """
    return QUIET if label < 0 else COLOURS[label % len(COLOURS)]


def legend_below(ax: Any, **options: Any) -> None:
    """Put a legend under matplotlib Axes of any height, below the name of their x axis.

    Source: matplotlib.
    """
    from matplotlib.transforms import ScaledTranslation

    lower = ax.transAxes + ScaledTranslation(0, -0.42, ax.figure.dpi_scale_trans)  # inches
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=lower, **options)


def score_plane(
    points: Float[np.ndarray, "text 2"],
    classes: Int[np.ndarray, " text"],
    *,
    names: Sequence[str],
    panels: Sequence[Panel] = (Panel(),),
    x_label: str,
    y_label: str,
    note: str = "",
    ax: Any = None,
) -> Any:
    """Draw points as panels side by side, such as before and after calibration.

    Args:
        points: of the texts, [text, axis]; one that is not finite is left out.
        classes: of the texts, [text], for colour and mark; -1 where not known.
        names: of the classes.
        panels: what to draw behind the points, and over them, from left to right.
        x_label, y_label: of the axes.
        note: under the classes, such as what the plane is.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given.

    Raises: VesaliusError for no panel, points without classes, or more classes than can be told
    apart.
    """
    _check(points, classes, names, len(panels))
    shown = np.isfinite(points).all(axis=1)
    drawn, kinds = points[shown], classes[shown]
    outer, places = _side_by_side(ax, len(panels), len(names))
    limits = _limits(drawn, panels)
    for number, (place, panel) in enumerate(zip(places, panels, strict=True)):
        if panel.regions is not None:
            _colour_regions(place, panel.regions)
        _scatter(place, drawn, kinds)
        for cluster in panel.clusters:
            _ellipses(place, cluster, _sigmas(panel))
        place.set(xlim=limits[0], ylim=limits[1], xlabel=plain_label(x_label))
        place.set_title(plain_label(panel.title), fontsize=11)
        if number == 0:
            place.set_ylabel(plain_label(y_label))
        else:
            place.tick_params(labelleft=False)
        tidy(place)
    _legend(outer, places, kinds, names, panels, note)
    return outer


def _side_by_side(ax: Any, count: int, num_names: int) -> tuple[Any, list[Any]]:
    """The Axes to hand back and those to draw in, from left to right."""
    if ax is not None and count == 1:
        return ax, [ax]
    if ax is None:
        from matplotlib.figure import Figure

        size = (1.0 + 3.6 * count, 4.2 + 0.05 * num_names)  # the legend's lines take height
        figure = Figure(figsize=size, layout="constrained")
        places = [figure.add_subplot(1, count, number + 1) for number in range(count)]
        return places[0], places
    ax.set_axis_off()
    width = 1 / (count + 0.1 * (count - 1))
    return ax, [ax.inset_axes((1.1 * i * width, 0, width, 1)) for i in range(count)]


def _limits(
    points: Float[np.ndarray, "text 2"], panels: Sequence[Panel]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The same for all panels: those of the regions, else all points with a margin."""
    for panel in panels:
        if panel.regions is not None:
            x, y = panel.regions.x, panel.regions.y
            return (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1]))
    low, high = (
        (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
    )
    margin = 0.06 * np.where(high > low, high - low, 1.0)
    first, last = low - margin, high + margin
    return (float(first[0]), float(last[0])), (float(first[1]), float(last[1]))


def _colour_regions(ax: Any, regions: Regions) -> None:
    """Tint every region in the colour of its class, ink between two of them."""
    from matplotlib.colors import to_rgb

    half = [(axis[1] - axis[0]) / 2 for axis in (regions.x, regions.y)]
    extent = (
        regions.x[0] - half[0],
        regions.x[-1] + half[0],
        regions.y[0] - half[1],
        regions.y[-1] + half[1],
    )
    colours = np.zeros((*regions.labels.shape, 3))
    for label in np.unique(regions.labels):
        where = regions.labels == label
        colours[where] = _TINT + (1 - _TINT) * np.array(to_rgb(class_colour(int(label))))
    ax.imshow(colours, extent=extent, origin="lower", aspect="auto", zorder=0)
    for label in np.unique(regions.labels):
        inside = (regions.labels == label).astype(float)
        if inside.all():
            continue
        ax.contour(regions.x, regions.y, inside, levels=[0.5], colors=INK, linewidths=0.8, zorder=1)
        if hatch := _HATCHES[int(label) // len(COLOURS) % len(_HATCHES)]:
            ax.contourf(
                regions.x, regions.y, inside, levels=[0.5, 1.5], colors="none", hatches=[hatch],
                alpha=0, zorder=1,
            )  # fmt: skip


def _scatter(
    ax: Any, points: Float[np.ndarray, "text 2"], classes: Int[np.ndarray, " text"]
) -> None:
    size = float(np.clip(3000 / max(len(points), 1), 8, 22))
    turns = np.maximum(classes, 0) // len(COLOURS)
    for turn in np.unique(turns):
        mine = turns == turn
        # one call for all colours, in the order of the texts: no class lies on top of another
        colours = [class_colour(int(label)) for label in classes[mine]]
        ax.scatter(
            *points[mine].T, s=size, c=colours, marker=_MARKERS[int(turn)], alpha=0.75,
            edgecolors="white", linewidths=0.25, zorder=2,
        )  # fmt: skip


def _sigmas(panel: Panel) -> tuple[tuple[float, Any], ...]:
    return _SIGMAS[:1] if len(panel.clusters) > _MANY else _SIGMAS[: len(panel.clusters) and 2]


def _ellipses(ax: Any, cluster: Cluster, sigmas: tuple[tuple[float, Any], ...]) -> None:
    """Draw one and two standard deviations of a cluster, and its mean as a cross."""
    from matplotlib.patches import Ellipse

    values, vectors = np.linalg.eigh(cluster.covariance)
    widths = 2 * np.sqrt(np.maximum(values, 0))
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    centre = (float(cluster.mean[0]), float(cluster.mean[1]))
    for sigma, line in sigmas:
        for colour, width in (("white", 3.4), (class_colour(cluster.label), 1.8)):
            ellipse = Ellipse(
                centre, sigma * widths[1], sigma * widths[0], angle=angle,
                fill=False, edgecolor=colour, linewidth=width,
                linestyle="-" if colour == "white" else line, zorder=3,
            )  # fmt: skip
            ax.add_patch(ellipse)
    for colour, size, width in (("white", 9, 4.0), (class_colour(cluster.label), 8, 2.2)):
        ax.plot(*cluster.mean, "x", color=colour, markersize=size, markeredgewidth=width, zorder=4)


def _legend(
    outer: Any,
    places: Sequence[Any],
    classes: Int[np.ndarray, " text"],
    names: Sequence[str],
    panels: Sequence[Panel],
    note: str,
) -> None:
    from matplotlib.lines import Line2D

    def dot(label: int, name: str) -> Any:
        mark = _MARKERS[max(label, 0) // len(COLOURS)]
        return Line2D(
            [], [], marker=mark, markersize=6, linestyle="", color=class_colour(label),
            label=plain_label(name),
        )  # fmt: skip

    shown = [dot(label, name) for label, name in enumerate(names)]
    if (classes < 0).any():
        shown.append(dot(-1, "not known"))
    shown += [
        Line2D([], [], color=INK, linestyle=line, label=f"{sigma:g} standard deviation{plural}")
        for sigma, line in max(map(_sigmas, panels), key=len)
        for plural in ("" if sigma == 1 else "s",)
    ]
    options: dict[str, Any] = {
        "frameon": False,
        "fontsize": 8.5,
        "ncols": min(len(shown), 2 if max(map(len, names)) > 24 else 4),
        "handles": shown,
        "title": plain_label(fill(note, int(13 * _inches(outer, places)))) or None,
        "title_fontsize": 8.5,
    }
    if outer is places[0] and len(outer.figure.axes) == len(places):
        outer.figure.legend(loc="outside lower center", **options)
    else:
        legend_below(outer, **options)


def _inches(outer: Any, places: Sequence[Any]) -> float:
    """The width that a legend may take."""
    whole = float(outer.figure.get_size_inches()[0])
    return whole if outer is places[0] else whole * float(outer.get_position().width)


def _check(
    points: Float[np.ndarray, "text 2"],
    classes: Int[np.ndarray, " _"],
    names: Sequence[str],
    num_panels: int,
) -> None:
    if num_panels < 1 or not 1 <= len(names) <= MOST_CLASSES:
        raise VesaliusError(
            given=f"{num_panels} panels, {len(names)} classes",
            expected=f"a panel or more, and 1 to {MOST_CLASSES} classes, which can be told apart",
            fix="draw the scores of fewer classes",
        )
    highest = int(classes.max()) if len(classes) else -1
    if len(points) != len(classes) or highest >= len(names):
        raise VesaliusError(
            given=f"{len(points)} points with {len(classes)} classes up to {highest}, "
            f"{len(names)} names",
            expected="a class for each point, and a name for each class",
            fix="take points, classes and names from the same texts",
        )
