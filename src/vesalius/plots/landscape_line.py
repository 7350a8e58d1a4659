"""A landscape along one axis: loss and error between two places, each with its band.

Source: figure 1 of arXiv 1908.05620 draws such lines; bands, widths and barriers are ours.
Colours of Okabe and Ito 2008, Color Universal Design.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.landscape_scale import ValueScale, value_scale
from vesalius.plots.panels import beside
from vesalius.plots.score_plane import legend_below
from vesalius.plots.style import INK, QUIET, RULE, tidy

_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 1)))
MOST_LINES: Final = len(COLOURS)
_NORMAL: Final = 1.96  # standard errors that hold the middle 95 % of a normal distribution
_LOG_FROM: Final = 50.0  # ratio of values: a line is read by its form, which log scales change
_CLOSE: Final = 0.12  # of the axis: names of two places nearer than this stand aside


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LineSeries:
    """Values at growing alphas with their standard errors, each of shape [x].

    Raises: VesaliusError for arrays of unequal length, or alphas that do not grow.
    """

    alphas: Float[np.ndarray, " x"]
    values: Float[np.ndarray, " x"]
    standard_errors: Float[np.ndarray, " x"] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        parts = [self.alphas, self.values, self.standard_errors]
        shapes = {part.shape for part in parts if part is not None}
        one_axis = len(shapes) == 1 and self.alphas.ndim == 1 and len(self.alphas) > 0
        if not one_axis or bool((np.diff(self.alphas) <= 0).any()):
            raise VesaliusError(
                given=f"arrays of shapes {sorted(shapes)}, alphas {self.alphas.tolist()}"[:160],
                expected="one value for each of one or more growing alphas",
                fix="take all arrays from the same line",
            )


@final
@dataclass(frozen=True, kw_only=True)
class LevelSpan:
    """The stretch from low to high where a line stays up to a level."""

    low: float
    high: float
    level: float
    name: str


@final
@dataclass(frozen=True, kw_only=True)
class Rise:
    """How far a line stands above the straight way between alpha 0 and 1, at its worst place."""

    alpha: float
    height: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LossPanel:
    """One picture: lines of one unit by name, and what to add to them."""

    series: Mapping[str, LineSeries]
    unit: str
    percent: bool = False
    log: bool | None = None
    span: LevelSpan | None = None
    rises: Mapping[str, Rise] = field(default_factory=dict[str, Rise])
    title: str = ""


def loss_lines(
    series: Mapping[str, LineSeries],
    *,
    axis: str,
    unit: str,
    places: Mapping[str, float] | None = None,
    span: LevelSpan | None = None,
    rises: Mapping[str, Rise] | None = None,
    percent: bool = False,
    log: bool | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw lines in their bands, two standard errors wide to each side.

    Args:
        series: by name; arrays [x]. What is not finite leaves a hatched stretch.
        axis: name of the axis.
        unit: of the values.
        places: alphas with names, such as start and solution.
        span: a stretch to shade, such as the width of the minimum.
        rises: of some of the series over the straight way from alpha 0 to 1.
        percent: whether values are shares, written as per cent.
        log: whether the values' axis is logarithmic; None decides by their range.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no series, more than can be told apart, rises of others, or a
    logarithmic axis for values that are not above 0.
    """
    panel = LossPanel(
        series=series, unit=unit, percent=percent, log=log, span=span, rises=rises or {},
        title=title,
    )  # fmt: skip
    return loss_panels([panel], axis=axis, places=places, ax=ax)


def loss_panels(
    panels: Sequence[LossPanel],
    *,
    axis: str,
    places: Mapping[str, float] | None = None,
    ax: Any = None,
) -> Any:
    """Draw panels beside each other, such as loss and error; no shapes.

    Args:
        panels: from left to right.
        axis: name of the axis, the same for all.
        places: alphas with names, such as start and solution.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given.

    Raises: VesaliusError for no panel, no series, more than can be told apart, rises of others,
    or a logarithmic axis for values that are not above 0.
    """
    for panel in panels:
        _check(panel)
    if not panels:
        raise VesaliusError(given="no panels", expected="at least one", fix="draw a line first")
    outer, drawn = beside(ax, len(panels), width=4.6, height=3.7)
    for place, panel in zip(drawn, panels, strict=True):
        _draw(place, panel, dict(places or {}))
        place.set_xlabel(plain_label(f"alpha: {axis}" if axis else "alpha"))
        title_above(place, panel.title, pad=20.0 if places else 6.0)
    return outer


def _draw(ax: Any, panel: LossPanel, places: Mapping[str, float]) -> None:
    scale = value_scale(
        [line.values for line in panel.series.values()], log=panel.log, percent=panel.percent,
        log_from=_LOG_FROM,
    )  # fmt: skip
    for number, (name, line) in enumerate(panel.series.items()):
        colour = COLOURS[number]
        if line.standard_errors is not None:
            margin = _NORMAL * line.standard_errors
            low = line.values - margin
            if scale.log:
                low = np.maximum(low, 0.5 * scale.low)
            ax.fill_between(line.alphas, low, line.values + margin, color=colour, alpha=0.18,
                            linewidth=0)  # fmt: skip
        ax.plot(
            line.alphas, line.values, color=colour, linestyle=_LINES[number], linewidth=1.8,
            marker="o" if len(line.alphas) < 16 else "", markersize=3.2, label=plain_label(name),
            zorder=3,
        )  # fmt: skip
        if name in panel.rises:
            _raise(ax, line, panel.rises[name], colour)
    if panel.span is not None:
        _shade(ax, panel.span, scale)
    holes = _holes(ax, list(panel.series.values()))
    _limits(ax, panel, scale)
    for name, place in places.items():
        _place(ax, name, place, list(places.values()))
    handles = [*ax.get_legend_handles_labels()[0], *holes]
    legend_below(ax, handles=handles, frameon=False, fontsize=8.5, ncols=2, handlelength=2.6)
    tidy(ax)


def _shade(ax: Any, span: LevelSpan, scale: ValueScale) -> None:
    ax.axvspan(span.low, span.high, color=RULE, alpha=0.5, linewidth=0, zorder=0,
               label=plain_label(span.name))  # fmt: skip
    name = f"level {scale.word(span.level)}"
    ax.axhline(span.level, color=QUIET, linestyle=(0, (1, 1.5)), linewidth=1.2, label=name)


def _raise(ax: Any, line: LineSeries, rise: Rise, colour: str) -> None:
    """Draw the straight way from alpha 0 to 1, and the height over it as an arrow."""
    ends = np.interp([0.0, 1.0], line.alphas, line.values)
    ax.plot([0, 1], ends, color=colour, linewidth=0.9, alpha=0.7, zorder=2)
    foot = float(ends[0] + rise.alpha * (ends[1] - ends[0]))
    if np.isfinite(foot) and np.isfinite(rise.height) and rise.height > 0:
        ends_of_arrow = {"xy": (rise.alpha, foot + rise.height), "xytext": (rise.alpha, foot)}
        ax.annotate("", **ends_of_arrow, zorder=4,
                    arrowprops={"arrowstyle": "<->", "color": colour, "shrinkA": 0, "shrinkB": 0,
                                "linewidth": 1.2})  # fmt: skip


def _holes(ax: Any, lines: list[LineSeries]) -> list[Any]:
    """Hatch the stretches on which some line has no finite value."""
    from matplotlib.patches import Patch

    spans = [span for line in lines for span in _missing(line.alphas, np.isfinite(line.values))]
    looks: dict[str, Any] = {"facecolor": "#f3f1ec", "edgecolor": QUIET, "hatch": "////"}
    for low, high in dict.fromkeys(spans):
        ax.axvspan(low, high, **looks, linewidth=0, zorder=0)
    return [Patch(**looks, linewidth=0.5, label="not finite")] if spans else []


def _missing(
    alphas: Float[np.ndarray, " x"], known: Bool[np.ndarray, " x"]
) -> list[tuple[float, float]]:
    """The stretches of alphas around values that are missing, up to half-way to the next one."""
    middles = (alphas[1:] + alphas[:-1]) / 2
    edges = np.concatenate([alphas[:1], middles, alphas[-1:]])
    changes = np.flatnonzero(np.diff(np.concatenate([[True], known, [True]]).astype(int)))
    return [
        (float(edges[first]), float(edges[last]))
        for first, last in zip(changes[::2], changes[1::2], strict=True)
    ]


def _limits(ax: Any, panel: LossPanel, scale: ValueScale) -> None:
    from matplotlib.ticker import NullLocator

    alphas = np.concatenate([line.alphas for line in panel.series.values()])
    if alphas.min() < alphas.max():
        ax.set_xlim(alphas.min(), alphas.max())
    ax.grid(axis="y", alpha=0.25)
    if scale.log:
        ax.set_yscale("log")
        ax.set_ylim(scale.low / 1.25, scale.high * (1.0 if scale.clipped else 1.25))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        room = 0.06 * (scale.high - scale.low)
        bottom = 0.0 if 0 <= scale.low < 0.5 * scale.high else scale.low - room
        ax.set_ylim(bottom, scale.high + (0.0 if scale.clipped else room))
    bottom, top = ax.get_ylim()
    ticks = ValueScale(low=bottom, high=top, log=scale.log).ticks()
    ax.set_yticks(ticks, [scale.word(tick) for tick in ticks])
    ax.set_ylabel(plain_label(scale.label(panel.unit)))


def _place(ax: Any, name: str, place: float, all_places: list[float]) -> None:
    """Name an alpha above the picture, where no line runs through it."""
    left, right = ax.get_xlim()
    if not left <= place <= right:
        return
    ax.axvline(place, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), alpha=0.6, zorder=1)
    near = [other for other in all_places if 0 < abs(other - place) < _CLOSE * (right - left)]
    side = "center" if not near else "right" if near[0] > place else "left"
    ax.text(
        place, 1.015, plain_label(name), transform=ax.get_xaxis_transform(), ha=side, va="bottom",
        fontsize=8.5, color=INK,
    )  # fmt: skip


def _check(panel: LossPanel) -> None:
    if not 1 <= len(panel.series) <= MOST_LINES:
        raise VesaliusError(
            given=f"{len(panel.series)} lines in one picture",
            expected=f"1 to {MOST_LINES}, which have colours of their own",
            fix="draw them in several pictures",
        )
    if strangers := [name for name in panel.rises if name not in panel.series]:
        raise VesaliusError(
            given=f"a rise of {strangers[0]!r}, which is no line",
            expected=f"names among {', '.join(panel.series)}",
            fix="leave it out, or draw its line too",
        )
