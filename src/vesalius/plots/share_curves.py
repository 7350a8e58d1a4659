"""What a measure does while a growing share of something is taken away, or given back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.style import INK, new_axes, tidy

_MARKERS: Final = "osD^vP"
_LINES: Final = ("-", "--", "-.", (0, (5, 1.5)), (0, (6, 2, 1, 2, 1, 2)), (0, (3, 1)))
_REFERENCE_LINES: Final = (":", (0, (1, 4)), (0, (4, 4)))
MOST_CURVES: Final = len(COLOURS)
MOST_REFERENCES: Final = len(_REFERENCE_LINES)
_MOST_MARKED: Final = 26  # more marks than this would run into one another


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShareCurve:
    """A value at growing shares between 0 and 1, and bounds of it; each of shape [point].

    A value that is not finite leaves a gap.

    Raises: VesaliusError for arrays of unequal length, shares outside of 0..1 or out of order,
    or one bound without the other.

    Source: this project.
    """

    share: Float[np.ndarray, " point"]
    value: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"] | None = None
    high: Float[np.ndarray, " point"] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        _check_curve(self)


def share_curves(
    curves: Mapping[str, ShareCurve],
    *,
    x_label: str,
    y_label: str,
    references: Mapping[str, float] | None = None,
    percent: bool = False,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw curves over a share from 0 to 100 %, each with a colour, line and mark of its own.

    Args:
        curves: by name, such as the order in which heads were removed; arrays [point].
        x_label: of what it is the share, such as "heads removed".
        y_label: of the values.
        references: constants to compare with, by name: at most three, as dotted level lines.
        percent: whether the values are shares too, written as per cent.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes; the value's axis starts at 0 unless there are negative values.

    Raises: VesaliusError for no curves, or for more of them or of references than can be told
    apart.

    Source: the pruning curves of arXiv 2004.11207; colours of Okabe and Ito 2008, Color
    Universal Design.
    """
    levels = dict(references or {})
    _check_numbers(curves, levels)
    ax = new_axes(ax, width=4.8, height=3.4)
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number]
        if curve.low is not None and curve.high is not None:
            ax.fill_between(
                curve.share, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0
            )
        ax.plot(
            curve.share, curve.value, color=colour, linestyle=_LINES[number], linewidth=1.6,
            marker=_MARKERS[number] if len(curve.share) <= _MOST_MARKED else "", markersize=4,
            label=plain_label(name), clip_on=False, zorder=3,
        )  # fmt: skip
    for number, (name, level) in enumerate(levels.items()):
        ax.axhline(
            level, color=INK, linestyle=_REFERENCE_LINES[number], linewidth=1.1,
            label=plain_label(name), zorder=2,
        )  # fmt: skip
    _finish(ax, curves, levels, percent=percent)
    ax.set(xlabel=plain_label(x_label), ylabel=plain_label(y_label))
    title_above(ax, title)
    return ax


def _finish(
    ax: Any, curves: Mapping[str, ShareCurve], levels: Mapping[str, float], *, percent: bool
) -> None:
    from matplotlib.ticker import PercentFormatter

    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    arrays = [(curve.value, curve.low, curve.high) for curve in curves.values()]
    drawn = [part for parts in arrays for part in parts if part is not None]
    values = np.concatenate([*drawn, [*levels.values()]])
    finite = values[np.isfinite(values)]
    if len(finite) and float(finite.min()) >= 0:
        ax.set_ylim(0, 1.05 * float(finite.max()) or 1.0)
    ax.grid(axis="y", alpha=0.25)
    names = [*curves, *levels]
    # below the picture: inside, it would hide what it explains
    ax.legend(
        frameon=False, fontsize=8.5, ncols=1 if max(map(len, names)) > 24 else 2,
        loc="upper center", bbox_to_anchor=(0.5, -0.17), handlelength=3.2,
    )  # fmt: skip
    tidy(ax)


def _check_curve(curve: ShareCurve) -> None:
    arrays = {"share": curve.share, "value": curve.value, "low": curve.low, "high": curve.high}
    shapes = {name: list(array.shape) for name, array in arrays.items() if array is not None}
    if curve.share.ndim != 1 or any(shape != shapes["share"] for shape in shapes.values()):
        raise VesaliusError(
            given=", ".join(f"{name} of shape {shape}" for name, shape in shapes.items()),
            expected="one value for each share, in one dimension",
            fix="take all arrays from the same run",
        )
    if (curve.low is None) != (curve.high is None):
        raise VesaliusError(
            given="one bound of an interval",
            expected="low and high, or neither",
            fix="give the other bound too",
        )
    inside = bool(((curve.share >= 0) & (curve.share <= 1)).all())
    if not inside or bool((np.diff(curve.share) <= 0).any()):
        raise VesaliusError(
            given=f"shares {curve.share.tolist()}"[:120],
            expected="growing numbers between 0 and 1",
            fix="divide the number that was removed by the number there was",
        )


def _check_numbers(curves: Mapping[str, ShareCurve], levels: Mapping[str, float]) -> None:
    if not 1 <= len(curves) <= MOST_CURVES or len(levels) > MOST_REFERENCES:
        raise VesaliusError(
            given=f"{len(curves)} curves and {len(levels)} references in one picture",
            expected=f"1 to {MOST_CURVES} curves and at most {MOST_REFERENCES} references, which "
            "have lines of their own",
            fix="draw them in several pictures",
        )
