"""Candidates for one place: how likely each is under several samplers, and what each weighs.

Source: this project; Owen 2013, Monte Carlo theory, chapter 9: the best sampler makes all
weighted values equal.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.panels import beside
from vesalius.plots.style import CONTROL, INK, LOWERED, PLAIN, RAISED, tidy

_COLOURS: Final = (PLAIN, RAISED, LOWERED, CONTROL)
_HATCHES: Final = ("", "////", "....", "xxxx")  # samplers stay apart on grey paper too
_MARKERS: Final = "osD^"
MOST_SAMPLERS: Final = len(_COLOURS)
_SPREAD: Final = 0.8  # share of a candidate's row that its bars take


def candidate_bars(
    tokens: Sequence[str],
    probs: Mapping[str, Float[np.ndarray, " candidate"]],
    values: Mapping[str, Float[np.ndarray, " candidate"]],
    *,
    mean: float,
    unit: str,
    ax: Any = None,
) -> Any:
    """Draw the probability of each candidate, and its weighted value, for several samplers.

    Args:
        tokens: names of the candidates, from top to bottom.
        probs: by sampler; probabilities [candidate].
        values: by sampler; weighted values [candidate].
        mean: of the values, the same under every sampler: a vertical line.
        unit: of the values.
        ax: matplotlib Axes, or None for a new figure; two pictures stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given.

    Raises: VesaliusError for no candidates, unequal samplers, or more than can be told apart.
    """
    if not tokens or not 1 <= len(probs) <= MOST_SAMPLERS or probs.keys() != values.keys():
        raise VesaliusError(
            given=f"{len(tokens)} candidates, {len(probs)} and {len(values)} samplers",
            expected=f"a candidate or more, and the same 1 to {MOST_SAMPLERS} samplers twice",
            fix="leave some of them out",
        )
    inches = (0.12 + 0.085 * len(probs)) * len(tokens)
    outer, (left, right) = beside(ax, 2, width=4.4, height=1.5 + inches, gap=0.25)
    rows = np.arange(len(tokens))
    for number, name in enumerate(probs):
        _sampler(left, right, probs[name], values[name], name, (number, len(probs)))
    right.axvline(mean, color=INK, linewidth=0.9, linestyle=":", zorder=1)
    right.annotate(
        f"mean {mean:.3g}", (mean, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha="center", fontsize=8, color=INK,
    )  # fmt: skip
    left.set_yticks(rows, [plain_label(token) for token in tokens])
    left.set_xlabel("probability of drawing it")
    right.set_yticks(rows, [])
    right.set_xlabel(plain_label(unit))
    for axes in (left, right):
        _finish(axes, len(tokens))
    right.tick_params(left=False)
    # below the picture: inside, it would hide what it explains
    place = {"loc": "outside lower center"} if ax is None else {"loc": "lower right"}
    (left.figure if ax is None else left).legend(
        handles=left.get_legend_handles_labels()[0], frameon=False, fontsize=8.5,
        ncols=len(probs) if ax is None else 1, **place,
    )  # fmt: skip
    return outer


def _sampler(
    left: Any,
    right: Any,
    probs: Float[np.ndarray, " candidate"],
    values: Float[np.ndarray, " candidate"],
    name: str,
    place: tuple[int, int],
) -> None:
    """Draw bars and dots of a sampler, which is number `place[0]` of `place[1]`."""
    number, count = place
    rows = np.arange(len(probs)) + (number - (count - 1) / 2) * _SPREAD / count
    style = {"color": _COLOURS[number], "label": plain_label(name)}
    left.barh(
        rows, probs, height=0.92 * _SPREAD / count, edgecolor="white", hatch=_HATCHES[number],
        linewidth=0, **style,
    )  # fmt: skip
    right.plot(
        values, rows, _MARKERS[number], markersize=5, linestyle="", markeredgecolor="white",
        markeredgewidth=0.4, zorder=3, **style,
    )  # fmt: skip


def _finish(ax: Any, num_candidates: int) -> None:
    ax.set_ylim(num_candidates - 0.5, -0.5)  # the first on top
    ax.set_xlim(left=0)
    ax.set_axisbelow(True)
    ax.grid(axis="x", alpha=0.25)
    for line in range(1, num_candidates):
        ax.axhline(line - 0.5, color=INK, alpha=0.08, linewidth=0.8, zorder=0)
    tidy(ax)
