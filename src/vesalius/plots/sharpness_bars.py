"""Measures of several units as bars of one picture, and widths of a minimum as stretches.

Source: this project; colours of Okabe and Ito 2008, Color Universal Design.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Final, final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.style import INK, QUIET, RULE, new_axes, tidy

_ROW_INCHES: Final = 0.25
_NORMAL: Final = 1.96  # standard errors that hold the middle 95 % of a normal distribution


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """A value and its standard error; NaN where there is none."""

    value: float
    standard_error: float = float("nan")


@final
@dataclass(frozen=True, kw_only=True)
class Stretch:
    """An interval around 0 along an axis; an open end is as far as was looked."""

    name: str
    low: float
    high: float
    open_low: bool = False
    open_high: bool = False


def relative_bars(
    groups: Mapping[str, Mapping[str, Reading]], *, title: str = "", ax: Any = None
) -> Any:
    """Draw each measure as bars in lengths of its largest, with the numbers beside them.

    Args:
        groups: readings by measure and then by kind, such as raw and normalised; a value that is
            not finite is a dash. Bars of different measures have no common scale.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the bars.

    Returns:
        The matplotlib Axes; no shapes.

    Raises: VesaliusError for no readings, or more kinds than can be told apart.
    """
    kinds = list(dict.fromkeys(kind for bars in groups.values() for kind in bars))
    if not 1 <= len(kinds) <= len(COLOURS):
        raise VesaliusError(
            given=f"{len(groups)} measures of {len(kinds)} kinds",
            expected=f"a measure or more, of 1 to {len(COLOURS)} kinds",
            fix="draw them in several pictures",
        )
    num_lines = sum(map(len, groups.values())) + 1.3 * len(groups)
    ax = new_axes(ax, width=5.6, height=0.6 + _ROW_INCHES * num_lines)
    names: list[tuple[float, str]] = []
    line, lowest = 0.0, 0.0
    for measure, bars in groups.items():
        ax.text(0.0, line, plain_label(measure), transform=ax.get_yaxis_transform(), fontsize=9,
                fontweight="bold", va="center", color=INK)  # fmt: skip
        known = [abs(bar.value) for bar in bars.values() if np.isfinite(bar.value)]
        longest = max(known, default=0.0) or 1.0
        for kind, bar in bars.items():
            line += 1
            _bar(ax, bar, line, longest, COLOURS[kinds.index(kind)])
            names.append((line, kind))
            lowest = min(lowest, bar.value / longest)
        line += 1.3
    ax.axvline(0, color=RULE, linewidth=1.0)
    ax.set(xlim=(lowest - 0.15 if lowest < 0 else 0.0, 1.15), ylim=(line - 0.6, -0.8), xticks=[])
    ax.set_yticks([place for place, _ in names], [plain_label(fill(name, 24)) for _, name in names])
    title_above(ax, title)
    tidy(ax)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="y", length=0, labelsize=8.5)
    return ax


def _bar(ax: Any, bar: Reading, line: float, longest: float, colour: str) -> None:
    """Draw one bar, its interval, and its number to the right of the picture."""
    from matplotlib.transforms import ScaledTranslation

    word = "–"
    if np.isfinite(bar.value):
        share = bar.value / longest
        ax.barh(line, share, height=0.72, color=colour, alpha=0.55, linewidth=0, zorder=2)
        word = _number(bar.value, 3)
        if np.isfinite(bar.standard_error):
            margin = _NORMAL * bar.standard_error / longest
            ax.hlines(line, max(share - margin, -1.15), min(share + margin, 1.15), color=INK,
                      linewidth=1.2, zorder=3)  # fmt: skip
            word = f"{word} ± {_number(bar.standard_error, 2)}"
    # in inches, for which the layout can make room
    beside = ScaledTranslation(1.15, 0, ax.figure.dpi_scale_trans)
    ax.text(1.0, line, word.replace("-", "\u2212"), transform=ax.get_yaxis_transform() + beside,
            ha="right", va="center", fontsize=8.5, color=INK)  # fmt: skip


def _number(value: float, digits: int) -> str:
    """So many digits that count, without an exponent where it can be avoided."""
    rounded = float(f"{value:.{digits - 1}e}")
    whole = 10**digits <= abs(rounded) < 1e6
    return f"{rounded:.0f}" if whole else f"{value:.{digits}g}"


def width_spans(stretches: Sequence[Stretch], *, x_label: str, title: str = "",
                ax: Any = None) -> Any:  # fmt: skip
    """Draw how far one can go along each axis, an arrow where the end was not found.

    Args:
        stretches: from top to bottom.
        x_label: of the axis.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the stretches.

    Returns:
        The matplotlib Axes; no shapes.

    Raises: VesaliusError for no stretches.
    """
    if not stretches:
        raise VesaliusError(
            given="no widths to draw", expected="at least one", fix="measure along a frame"
        )
    ax = new_axes(ax, width=5.4, height=1.0 + 0.55 * len(stretches))
    ax.axvline(0, color=QUIET, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
    for row, each in enumerate(stretches):
        ax.plot([each.low, each.high], [row, row], color=COLOURS[0], linewidth=3.2, zorder=2,
                solid_capstyle="butt")  # fmt: skip
        for end, is_open, arrow in (
            (each.low, each.open_low, "<"), (each.high, each.open_high, ">"),
        ):  # fmt: skip
            ax.plot([end], [row], marker=arrow if is_open else "|", color=COLOURS[0],
                    markersize=8 if is_open else 12, markeredgewidth=2, zorder=3)  # fmt: skip
        least = "at least " if each.open_low or each.open_high else ""
        ax.annotate(f"{least}{each.high - each.low:.3g}", ((each.low + each.high) / 2, row),
                    xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8.5,
                    color=INK)  # fmt: skip
    ax.plot([0] * len(stretches), range(len(stretches)), "o", color="white", markeredgecolor=INK,
            markersize=6, zorder=4)  # fmt: skip
    ends = [end for each in stretches for end in (each.low, each.high)]
    room = 0.08 * (max(ends) - min(ends)) or 0.5
    ax.set(xlim=(min(*ends, 0) - room, max(*ends, 0) + room), ylim=(len(stretches) - 0.4, -0.7))
    ax.set_yticks(range(len(stretches)), [plain_label(fill(each.name, 24)) for each in stretches])
    ax.set_xlabel(plain_label(fill(x_label, 40)))
    ax.grid(axis="x", alpha=0.25)
    title_above(ax, title)
    tidy(ax)
    ax.tick_params(axis="y", length=0, labelsize=8.5)
    return ax
