"""How ratios spread: the share of items at or below each ratio, on a logarithmic axis.

Source: this project.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.style import INK, new_axes, tidy

_LINES: Final = ("-", "--", "-.", (0, (5, 1.5)), (0, (6, 2, 1, 2, 1, 2)), (0, (3, 1)))
MOST_STEPS: Final = len(COLOURS)
_LOWEST: Final = 1e-3  # what is smaller, zero as well, is drawn here
_BULK: Final = 0.02  # share of the ratios beyond either end that the axis need not show


def ratio_steps(
    ratios: Mapping[str, Float[np.ndarray, " item"]],
    *,
    x_label: str,
    item_name: str,
    title: str = "",
    legend_below: bool = True,
    ax: Any = None,
) -> Any:
    """Draw a rising line for each kind, its median marked; 1 is a vertical line.

    Args:
        ratios: by kind; values [item], those that are not finite left out. The few that lie
            beyond an end of the axis are drawn at it.
        x_label: what is divided by what.
        item_name: of the items, such as "slots".
        title: of the Axes.
        legend_below: whether there is room for the names below; else they stand inside.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no ratios, or more kinds than can be told apart.
    """
    known = {name: np.sort(values[np.isfinite(values)]) for name, values in ratios.items()}
    known = {name: values for name, values in known.items() if len(values)}
    if not 1 <= len(known) <= MOST_STEPS:
        raise VesaliusError(
            given=f"{len(known)} kinds of ratios",
            expected=f"1 to {MOST_STEPS}, each with a finite one",
            fix="draw them in several pictures",
        )
    ax = new_axes(ax, width=4.8, height=3.6)
    low, high = _limits(list(known.values()))
    ax.axvline(1.0, color=INK, linewidth=0.9, linestyle=":", zorder=1)
    for number, (name, values) in enumerate(known.items()):
        shown = np.clip(values, low, high)
        shares = np.arange(len(shown) + 1) / len(shown)
        colour, median = COLOURS[number], float(np.median(values))
        ax.plot(
            [low, *np.repeat(shown, 2), high], np.repeat(shares, 2), color=colour,
            linestyle=_LINES[number], linewidth=1.8, zorder=3, clip_on=False,
            label=plain_label(f"{name} (median {median:.2f})"),
        )  # fmt: skip
        ax.plot([min(max(median, low), high)], [0.5], "o", color=colour, markersize=6,
                markeredgecolor="white", clip_on=False, zorder=4)  # fmt: skip
    _finish(ax, low, high)
    # inside, it may hide what it explains
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)} if legend_below else {}
    ax.legend(frameon=False, fontsize=8.5, **below)
    ax.set(xlabel=plain_label(x_label), ylabel=plain_label(f"share of the {item_name}, at most so"))
    title_above(ax, title)
    return ax


def _limits(kinds: list[Float[np.ndarray, " item"]]) -> tuple[float, float]:
    """The ends of the axis: around 1, and around the bulk of each kind."""
    lows = [float(np.quantile(np.maximum(values, _LOWEST), _BULK)) for values in kinds]
    highs = [float(np.quantile(values, 1 - _BULK)) for values in kinds]
    return max(_LOWEST, min(0.8, *lows) / 1.1), max(1.25, *highs) * 1.1


def _finish(ax: Any, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(alpha=0.25)
    tidy(ax)
