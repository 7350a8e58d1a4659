"""How far the tokens that read each other stand apart, layer by layer."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK, PLAIN, QUIET, RULE, new_axes, tidy

MOST_BINS: Final = 14  # distances that have a bar each; of more, far ones share one
_ALONE: Final = 6  # then, the distances below it still have one each
_TALLEST: Final = 0.82  # bar, as a share of the height of a row
_ROW_INCHES: Final = 0.27


def distance_histograms(
    counts: Float[np.ndarray, "layer distance"],
    *,
    names: Sequence[str] = (),
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a row of bars per layer: which share of its links spans each distance.

    All rows have one scale, written above them; at their ends stand the numbers of links. Where
    there are many distances, the far ones share a bar: 7–8, 9–12, 13–16, 17–24 and so on.

    Args:
        counts: shape [layer, distance]: how many links of a layer have the distance 0, 1, 2...
        names: of the layers from the bottom, instead of their numbers.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the layers.

    Returns:
        The matplotlib Axes, layer 0 at the bottom.

    Raises: VesaliusError for no layers or distances, a negative count or one that is no number,
    or a name too many or too few.

    Source: the receptive fields of arXiv 2004.11207.
    """
    _check(counts, names)
    num_layers = len(counts)
    starts = distance_bins(int(np.flatnonzero(counts.sum(axis=0)).max(initial=0)) + 1)
    totals = counts.sum(axis=1)
    binned = np.add.reduceat(counts[:, : starts[-1]], starts[:-1], axis=1)
    shares = binned / np.where(totals > 0, totals, 1.0)[:, None]
    highest = float(shares.max()) or 1.0
    longest = max(map(len, names), default=2)
    ax = new_axes(
        ax,
        width=max(1.2 + 0.075 * longest + 0.3 * len(binned[0]), 4.0),
        height=1.25 + _ROW_INCHES * num_layers + (0.3 if title else 0),
    )
    for layer in range(num_layers):
        ax.axhline(layer, color=RULE, linewidth=0.7, zorder=1)
        ax.bar(
            range(len(shares[layer])), _TALLEST * shares[layer] / highest, bottom=layer,
            width=0.8, color=PLAIN, linewidth=0, zorder=2,
        )  # fmt: skip
        ax.annotate(
            f"{totals[layer]:.4g}", (1, layer + 0.35), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=QUIET,
            annotation_clip=False,
        )  # fmt: skip
    _finish(ax, num_layers, starts, highest, names=names)
    title_above(ax, title, pad=19)
    return ax


def distance_bins(num_distances: int) -> list[int]:
    """Return where the bins of the distances 0 .. `num_distances` - 1 start, and the end.

    Source: this project.

    >>> distance_bins(5), distance_bins(30)
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6, 7, 9, 13, 17, 25, 30])
    """
    if num_distances <= MOST_BINS:
        return [*range(num_distances + 1)]
    starts, power = [*range(_ALONE + 1)], 4
    while starts[-1] < num_distances:
        starts += [start for start in (power * 3 // 2 + 1, 2 * power + 1) if start > starts[-1]]
        power *= 2
    return [*(start for start in starts if start < num_distances), num_distances]


def _finish(
    ax: Any, num_layers: int, starts: Sequence[int], highest: float, *, names: Sequence[str]
) -> None:
    words = [str(a) if b == a + 1 else f"{a}–{b - 1}" for a, b in pairwise(starts)]
    ax.set_xticks(range(len(words)), words)
    if len(words) > 8:
        for label in ax.get_xticklabels():
            label.set_rotation(90 if max(map(len, words)) > 3 else 0)
    rows = [plain_label(name) for name in names] or [str(layer) for layer in range(num_layers)]
    ax.set_yticks([layer + 0.35 for layer in range(num_layers)], rows)
    ax.set_xlim(-0.6, len(words) - 0.4)
    ax.set_ylim(-0.15, num_layers)
    ax.set(xlabel="distance in tokens", ylabel="" if names else "layer")
    tidy(ax)
    ax.tick_params(length=0, labelsize=8.5)
    ax.spines["bottom"].set_visible(False)
    for x, align, text in ((0, "left", f"tallest bar: {highest:.0%}"), (1, "right", "links")):
        ax.annotate(
            text, (x, 1), xycoords="axes fraction", xytext=(3 if align == "left" else 22, 2),
            textcoords="offset points", ha=align, va="bottom", fontsize=8, color=INK,
        )  # fmt: skip


def _check(counts: Float[np.ndarray, "layer distance"], names: Sequence[str]) -> None:
    if counts.ndim != 2 or not counts.size or len(names) not in (0, len(counts)):
        raise VesaliusError(
            given=f"counts of shape {list(counts.shape)} with {len(names)} names of layers",
            expected="at least one layer and one distance, and a name for each layer or none",
            fix="take names and counts from the same model",
        )
    if not bool(((counts >= 0) & np.isfinite(counts)).all()):
        raise VesaliusError(
            given="a count that is negative or no number",
            expected="how many links have each distance",
            fix="count the links with np.bincount(abs(reader - read), minlength=n)",
        )
