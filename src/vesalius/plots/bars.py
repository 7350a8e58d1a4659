"""Before and after, beside the same done to others at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float

from vesalius.plots.style import CONTROL, INK, LOWERED, PLAIN, RAISED, new_axes, tidy


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """One intervention: its name, the value after it, and those of its controls [control]."""

    name: str  # of what was done, such as "doubled"
    after: float
    controls: Float[np.ndarray, " control"]


def intervention_bars(
    before: float,
    groups: Sequence[Group],
    *,
    title: str = "",
    unit: str = "probability of the answer",
    ax: Any = None,
) -> Any:
    """Draw the value before, then each intervention beside the spread of its controls.

    Args:
        before: the value of the untouched model.
        groups: the interventions, controls of shape [control].
        title: of the Axes.
        unit: of the values.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Source: figure 4 of arXiv 2104.08696, with the controls' whole range.
    """
    ax = new_axes(ax, width=1.6 + 1.6 * len(groups), height=3.0)
    _bar(ax, 0, before, PLAIN)
    ticks, names = [0.0], ["untouched"]
    for number, group in enumerate(groups):
        place = 1.1 + 1.6 * number
        _bar(ax, place, group.after, RAISED if group.after >= before else LOWERED)
        ticks.append(place)
        names.append(f"neurons\n{group.name}")
        if len(group.controls):
            low, high = float(group.controls.min()), float(group.controls.max())
            _bar(ax, place + 0.7, float(group.controls.mean()), CONTROL, top=high)
            ax.vlines(place + 0.7, low, high, color=INK, linewidth=1)
            ticks.append(place + 0.7)
            names.append(f"random\n{group.name}")
    ax.axhline(before, color=PLAIN, linewidth=0.8, linestyle=":")
    ax.set_xticks(ticks, names, fontsize=8)
    ax.set(ylabel=unit, title=title)
    ax.margins(y=0.12)
    ax.set_ylim(bottom=0)
    return tidy(ax)


def _bar(ax: Any, place: float, height: float, colour: str, *, top: float = 0.0) -> None:
    """A bar with its value above it, or above ``top`` where something stands there."""
    ax.bar(place, height, width=0.6, color=colour)
    ax.annotate(
        f"{height:.2f}" if height >= 0.005 else f"{height:.1e}",
        (place, max(height, top)),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=INK,
    )
