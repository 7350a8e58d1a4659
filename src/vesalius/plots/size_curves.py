"""A measure against a growing number of things, such as the size of an estimate set.

Source: this project; colours of Okabe and Ito 2008, Color Universal Design.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.score_plane import legend_below
from vesalius.plots.style import INK, new_axes, tidy

_MARKERS: Final = "osD^vP"
_LINES: Final = ("-", "--")  # one for each turn through the colours
MOST_CURVES: Final = len(COLOURS) * len(_LINES)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SizeCurve:
    """Values between bounds at growing numbers of things; each of shape [point].

    Raises: VesaliusError for arrays of unequal length, or numbers below 0 or out of order.
    """

    size: Float[np.ndarray, " point"]
    value: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]
    high: Float[np.ndarray, " point"]

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        shapes = {part.shape for part in (self.size, self.value, self.low, self.high)}
        growing = bool((np.diff(self.size) > 0).all()) and bool((self.size >= 0).all())
        if len(shapes) != 1 or self.size.ndim != 1 or not len(self.size) or not growing:
            raise VesaliusError(
                given=f"arrays of shapes {sorted(shapes)}, numbers {self.size.tolist()}"[:160],
                expected="a value with its bounds for each of one or more growing numbers from 0",
                fix="sort the numbers, and take each once",
            )


def size_curves(
    curves: Mapping[str, SizeCurve],
    *,
    x_label: str,
    y_label: str,
    log: bool = True,
    percent: bool = False,
    references: Mapping[str, float] | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw curves in their bands, the numbers on a logarithmic axis or an even one.

    Args:
        curves: by name; arrays [point].
        x_label: what is counted.
        y_label: of the values.
        log: whether the numbers stand on a logarithmic axis; it needs numbers above 0.
        percent: whether the values are shares, written as per cent.
        references: at most two constants to compare with, by name, as dotted lines.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no curves, for more of them or of references than can be told apart,
    or for a 0 on a logarithmic axis.
    """
    levels = dict(references or {})
    _check(curves, len(levels), log=log)
    ax = new_axes(ax, width=5.4, height=3.8)
    for number, (name, curve) in enumerate(curves.items()):
        turn, which = divmod(number, len(COLOURS))
        colour = COLOURS[which]
        ax.fill_between(curve.size, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(
            curve.size, curve.value, color=colour, linestyle=_LINES[turn], linewidth=1.6,
            marker=_MARKERS[which], markersize=4, label=plain_label(name), zorder=3,
        )  # fmt: skip
    for number, (name, level) in enumerate(levels.items()):
        line = (":", (0, (1, 4)))[number]
        ax.axhline(level, color=INK, linestyle=line, linewidth=1.1, label=plain_label(name))
    _finish(ax, curves, log=log, percent=percent)
    ax.set(xlabel=plain_label(x_label), ylabel=plain_label(y_label))
    title_above(ax, title)
    return ax


def _finish(ax: Any, curves: Mapping[str, SizeCurve], *, log: bool, percent: bool) -> None:
    from matplotlib.ticker import NullLocator, PercentFormatter

    sizes = np.unique(np.concatenate([curve.size for curve in curves.values()]))
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        if len(sizes) == 1:
            ax.set_xlim(sizes[0] / 2, sizes[0] * 2)
    ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
    if percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="y", alpha=0.25)
    # below the picture: inside, it would hide what it explains
    legend_below(
        ax, frameon=False, fontsize=8.5, ncols=1 if max(map(len, curves)) > 24 else 3,
        handlelength=3.2,
    )  # fmt: skip
    tidy(ax)


def _check(curves: Mapping[str, SizeCurve], num_references: int, *, log: bool) -> None:
    if not 1 <= len(curves) <= MOST_CURVES or num_references > 2:
        raise VesaliusError(
            given=f"{len(curves)} curves and {num_references} references in one picture",
            expected=f"1 to {MOST_CURVES} curves and at most two references",
            fix="draw them in several pictures",
        )
    if log and any(float(curve.size[0]) <= 0 for curve in curves.values()):
        raise VesaliusError(
            given="the number 0 on a logarithmic axis", expected="numbers above 0", fix="log=False"
        )
