"""Means of several kinds beside each other, each with its interval and what it is the mean of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK, PLAIN, QUIET, RAISED, new_axes, tidy

_SPREAD: Final = 0.3  # half the height over which the points of a kind lie


@final
@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean between two bounds, and the values [item] that it is the mean of.

    Source: this project.
    """

    name: str
    estimate: float
    low: float
    high: float
    points: Float[np.ndarray, " item"]


def mean_dots(
    means: Sequence[Mean],
    *,
    unit: str,
    point_name: str = "",
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw each mean as a dot on its interval, over light dots for its values.

    Args:
        means: from top to bottom; values of shape [item].
        unit: of all of them.
        point_name: what a light dot is, such as "a fact"; not said where it is empty.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no means.

    Source: section 4.5 of arXiv 2104.08696, with intervals.
    """
    if not means:
        raise VesaliusError(
            given="no means to draw", expected="at least one", fix="measure something first"
        )
    ax = new_axes(ax, width=6.0, height=1.1 + 0.55 * len(means))
    ax.axvline(0, color=INK, linewidth=0.8)
    for row, mean in enumerate(means):
        colour = RAISED if row == 0 else PLAIN
        finite = mean.points[np.isfinite(mean.points)]
        # spread evenly and not at random: the same picture every time
        heights = row + _SPREAD * np.linspace(-1, 1, max(len(finite), 2))[: len(finite)]
        order = np.argsort(finite * 7919 % 1.0, kind="stable")
        ax.scatter(finite[order], heights, s=9, color=QUIET, alpha=0.4, linewidths=0)
        ax.hlines(row, mean.low, mean.high, color=colour, linewidth=2.4)
        ax.plot([mean.estimate], [row], "o", color=colour, markersize=7, zorder=3)
        ax.annotate(
            f"{mean.estimate:.3g}", (mean.estimate, row), xytext=(0, 8), ha="center",
            textcoords="offset points", fontsize=8, color=INK,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.8},
        )  # fmt: skip
    ax.set_yticks(range(len(means)), [plain_label(mean.name) for mean in means])
    ax.set_ylim(len(means) - 0.4, -0.6)
    dots = f"\na light dot is {point_name}" if point_name else ""
    ax.set(xlabel=plain_label(f"{unit}{dots}"), title=plain_label(title))
    ax.title.set_fontsize(11)
    return tidy(ax)
