"""Scores of two classes on a line, a histogram of each class, and where each is answered.

Source: the decision threshold of arXiv 2205.10183, figures 1 and 7; the picture is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.score_plane import class_colour, legend_below
from vesalius.plots.style import INK, tidy

_MOST_BINS: Final = 60
_FEWEST_BINS: Final = 15
_TINT: Final = 0.18


@final
@dataclass(frozen=True, kw_only=True)
class Bell:
    """A normal distribution on the line, of the cluster of a class."""

    mean: float
    deviation: float
    label: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LinePanel:
    """One picture of the same values: the class answered [point] at growing places [point]."""

    title: str = ""
    places: Float[np.ndarray, " point"]
    answers: Int[np.ndarray, " point"]
    bells: tuple[Bell, ...] = ()


def score_line(
    values: Float[np.ndarray, " text"],
    classes: Int[np.ndarray, " text"],
    *,
    names: Sequence[str],
    panels: Sequence[LinePanel],
    x_label: str,
    ax: Any = None,
) -> Any:
    """Draw values of two classes as histograms, class 1 up, class 0 down; panels one below another.

    Args:
        values: of the texts, [text]; one that is not finite is left out.
        classes: 0 or 1 of each text, [text]; one of -1 is not known, and is drawn up, in grey.
        names: of the two classes.
        panels: what is answered where, such as before and after calibration.
        x_label: of the values.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the uppermost, or those that were given.

    Raises: VesaliusError for other than two names, no panel, or values without classes.
    """
    _check(values, classes, names, len(panels))
    shown = np.isfinite(values)
    drawn, kinds = values[shown], classes[shown]
    first, last = float(panels[0].places[0]), float(panels[0].places[-1])
    num_bins = min(max(int(2 * np.sqrt(len(drawn))), _FEWEST_BINS), _MOST_BINS)
    edges = np.linspace(first, last, num_bins + 1)
    outer, places = _stacked(ax, len(panels))
    for place, panel in zip(places, panels, strict=True):
        _answered(place, panel)
        tops = [_histogram(place, drawn[kinds == kind], kind, edges) for kind in (-1, 0, 1)]
        for bell in panel.bells:
            _bell(place, bell, edges, int((kinds == bell.label).sum()))
        place.axhline(0, color=INK, linewidth=0.8)
        top = 1.15 * max(*tops, 1.0)
        place.set(xlim=(first, last), ylim=(-top, top), ylabel="texts")
        place.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        place.set_title(plain_label(panel.title), fontsize=11)
        tidy(place)
    for place in places[:-1]:
        place.tick_params(labelbottom=False)
    places[-1].set_xlabel(plain_label(x_label))
    _legend(places[-1], names, kinds, any(panel.bells for panel in panels))
    return outer


def _stacked(ax: Any, count: int) -> tuple[Any, list[Any]]:
    """The Axes to hand back and those to draw in, from the top."""
    if ax is not None and count == 1:
        return ax, [ax]
    if ax is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.0, 1.1 + 2.3 * count), layout="constrained")
        places = [figure.add_subplot(count, 1, number + 1) for number in range(count)]
        return places[0], places
    ax.set_axis_off()
    height = 1 / (count + 0.3 * (count - 1))
    bottoms = [1 - height - 1.3 * i * height for i in range(count)]
    return ax, [ax.inset_axes((0, bottom, 1, height)) for bottom in bottoms]


def _answered(ax: Any, panel: LinePanel) -> None:
    """Tint the stretches in the colour of the class that is answered, a line between them."""
    places, answers = panel.places, panel.answers
    middles = (places[1:] + places[:-1]) / 2
    changes = np.flatnonzero(np.diff(answers))
    bounds = np.array([places[0], *middles[changes], places[-1]])
    for number, start in enumerate(np.concatenate([[0], changes + 1])):
        colour = class_colour(int(answers[start]))
        ax.axvspan(bounds[number], bounds[number + 1], color=colour, alpha=_TINT, linewidth=0)
    for change in changes:
        ax.axvline(middles[change], color=INK, linewidth=1.2)


def _histogram(ax: Any, values: Float[np.ndarray, " text"], kind: int, edges: np.ndarray) -> float:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    way = -1 if kind == 0 else 1
    ax.bar(
        edges[:-1], way * counts, width=np.diff(edges), align="edge", color=class_colour(kind),
        edgecolor="white", linewidth=0.3, zorder=2, alpha=0.6 if kind < 0 else 1,
    )  # fmt: skip
    return float(counts.max(initial=0))


def _bell(ax: Any, bell: Bell, edges: np.ndarray, num_texts: int) -> None:
    """Draw a cluster's density as a histogram of as many texts would follow it."""
    places = np.linspace(edges[0], edges[-1], 400)
    deviation = max(bell.deviation, 1e-9)
    density = np.exp(-0.5 * ((places - bell.mean) / deviation) ** 2)
    height = num_texts * (edges[1] - edges[0]) / (deviation * np.sqrt(2 * np.pi))
    way = -1 if bell.label == 0 else 1
    for colour, width in (("white", 3.2), (INK, 1.4)):
        line = "-" if colour == "white" else "--"
        ax.plot(places, way * height * density, color=colour, linewidth=width, linestyle=line,
                zorder=3)  # fmt: skip


def _legend(
    ax: Any, names: Sequence[str], kinds: Int[np.ndarray, " text"], has_bells: bool
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ways = ("down", "up")
    handles: list[Any] = [
        Patch(color=class_colour(kind), label=plain_label(f"{names[kind]} ({ways[kind]})"))
        for kind in (1, 0)
    ]
    if (kinds < 0).any():
        handles.append(Patch(color=class_colour(-1), alpha=0.6, label="not known"))
    if has_bells:
        handles.append(Line2D([], [], color=INK, linestyle="--", label="cluster"))
    legend_below(
        ax, handles=handles, frameon=False, fontsize=8.5,
        ncols=2 if max(map(len, names)) > 24 else 4,
    )  # fmt: skip


def _check(
    values: Float[np.ndarray, " _"],
    classes: Int[np.ndarray, " _"],
    names: Sequence[str],
    num_panels: int,
) -> None:
    if len(names) != 2 or num_panels < 1:
        raise VesaliusError(
            given=f"{num_panels} panels of {len(names)} classes",
            expected="a panel or more, and two classes",
            fix="draw more classes with score_plane",
        )
    if len(values) != len(classes) or bool((classes > 1).any()):
        raise VesaliusError(
            given=f"{len(values)} values with {len(classes)} classes",
            expected="a class of -1, 0 or 1 for each value",
            fix="take values and classes from the same texts",
        )
