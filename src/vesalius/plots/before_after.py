"""Several measures before and after, side by side, with the range of their controls."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from vesalius.plots.curves import plain_label
from vesalius.plots.style import CONTROL, INK, PLAIN, RAISED, new_axes, tidy


@final
@dataclass(frozen=True, kw_only=True)
class Pair:
    """One measure: before, after, and its control; intervals as (low, high), NaN where unknown."""

    name: str
    before: float
    after: float
    after_range: tuple[float, float] = (math.nan, math.nan)
    control: float = math.nan
    control_range: tuple[float, float] = (math.nan, math.nan)


def before_after_bars(
    pairs: Sequence[Pair], *, title: str = "", unit: str = "", log: bool = False, ax: Any = None
) -> Any:
    """Draw measures as groups of bars lying down: before, after, and the control where known.

    Args:
        pairs: the measures, first one on top; single numbers, no shapes.
        title: of the Axes.
        unit: of the values; shares reach from 0 to 1.
        log: whether the values stand on a logarithmic axis, which then begins at 1.
        ax: matplotlib Axes, or None for new ones.

    Returns:
        The matplotlib Axes.

    Source: this project.
    """
    ax = new_axes(ax, width=6.0, height=1.2 + 0.75 * len(pairs))
    controlled = any(not math.isnan(pair.control) for pair in pairs)
    for place, pair in enumerate(pairs):
        _bar(ax, place - 0.27, pair.before, PLAIN)
        _bar(ax, place, pair.after, RAISED, pair.after_range)
        if not math.isnan(pair.control):
            _bar(ax, place + 0.27, pair.control, CONTROL, pair.control_range)
    names = {"before": PLAIN, "after": RAISED, "random control": CONTROL}
    for name, colour in names.items():
        if controlled or colour != CONTROL:
            ax.barh([0], [0], color=colour, label=name)
    ax.set_yticks(range(len(pairs)), [plain_label(pair.name) for pair in pairs])
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    if log:
        ax.set_xscale("log")
    ax.set(xlabel=plain_label(unit), title=plain_label(title))
    ax.margins(x=0.16)
    ax.set_xlim(left=1 if log else 0)  # a perplexity is at least 1
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return tidy(ax)


def _bar(
    ax: Any,
    place: float,
    value: float,
    colour: str,
    bounds: tuple[float, float] = (math.nan, math.nan),
) -> None:
    low, high = bounds
    shown = math.isfinite(value)
    if shown:
        ax.barh(place, value, height=0.25, color=colour)
    if math.isfinite(low) and math.isfinite(high):
        ax.hlines(place, low, high, color=INK, linewidth=1)
    ax.annotate(
        f"{value:.2f}" if 0.005 <= value < 100 or value == 0 else f"{value:.3g}",
        # what has no place on the axis stands at its left end, as a word
        (max(value, high) if shown and math.isfinite(high) else value if shown else 0.0, place),
        xycoords="data" if shown else ("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK,
    )
