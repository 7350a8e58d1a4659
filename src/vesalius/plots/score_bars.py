"""Named scores as bars lying down, the first one on top."""

from collections.abc import Sequence
from typing import Any

from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK, PLAIN, new_axes, tidy


def score_bars(
    names: Sequence[str],
    scores: Sequence[float],
    *,
    unit: str = "score",
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw scores, single numbers, as bars with their names beside them.

    Args:
        names: of the bars, the first on top.
        scores: one for each name.
        unit: of the scores.
        title: of the Axes.
        ax: matplotlib Axes, or None for new ones.

    Returns:
        The matplotlib Axes.

    Source: this project.
    """
    longest = max(map(len, names), default=0)
    ax = new_axes(ax, width=4.5 + 0.062 * longest, height=1.1 + 0.3 * max(len(names), 1))
    for place, score in enumerate(scores):
        ax.barh(place, score, height=0.7, color=PLAIN)
        ax.annotate(f"{score:.3g}", (max(score, 0.0), place), xytext=(3, 0), fontsize=7.5,
                    textcoords="offset points", va="center", color=INK)  # fmt: skip
    ax.set_yticks(range(len(names)), [plain_label(name) for name in names], fontsize=8)
    ax.set_ylim(max(len(names), 1) - 0.4, -0.6)
    ax.set_xlabel(plain_label(unit))
    ax.set_title(plain_label(title), loc="left", fontsize=10)
    ax.margins(x=0.12)
    return tidy(ax)
