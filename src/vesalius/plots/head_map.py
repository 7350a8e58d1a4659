"""The layer x head map: which attention heads matter."""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import bar_below, coloured_cells, title_above
from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK, QUIET, new_axes, tidy

MOST_NUMBERED: Final = 12  # layers or heads whose cells have room for a number
_MARKERS: Final = {"ring": "o", "cross": "x"}


def head_map(
    values: Float[np.ndarray, "layer head"],
    *,
    unit: str,
    marked: Collection[tuple[int, int]] = (),
    mark: Literal["ring", "cross"] = "ring",
    mark_name: str = "",
    rows: Sequence[str] = (),
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a cell per head, layer 0 at the bottom; numbers too where there is room for them.

    Args:
        values: shape [layer, head], red above zero and blue below it; a head whose value is
            not finite does not exist, and is hatched.
        unit: of the values, for the colour bar.
        marked: (layer, head) pairs to ring, or to cross out.
        mark: which of the two.
        mark_name: what it means, written above the map.
        rows: names of the layers from the bottom, instead of their numbers.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the map.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for an empty map, a name too many or too few, an unknown mark, or a
    marked head that is not there.

    Source: the head importances of arXiv 2004.11207.
    """
    _check(values, marked, mark, rows)
    num_layers, num_heads = values.shape
    longest = max(map(len, rows), default=2)
    numbered = max(values.shape) <= MOST_NUMBERED
    cell = 0.33 if numbered else 0.24
    ax = new_axes(
        ax,
        width=max(0.65 + 0.075 * longest + cell * num_heads, 3.2),
        height=1.45 + cell * num_layers + (0.3 if title else 0) + (0.25 if mark_name else 0),
    )
    image = coloured_cells(ax, values, lines=True)
    ax.invert_yaxis()
    _hatch(ax, values)
    if numbered:
        _number(ax, values, image, hidden=marked if mark == "cross" else ())
    _mark(ax, marked, mark, mark_name, size=(20 if mark == "ring" else 11) if numbered else 9)
    _name(ax, num_layers, num_heads, rows)
    title_above(ax, title, pad=19 if mark_name else 6)
    bar_below(ax, image, unit)
    return ax


def _hatch(ax: Any, values: Float[np.ndarray, "layer head"]) -> None:
    from matplotlib.patches import Rectangle

    for layer, head in np.argwhere(~np.isfinite(values)).tolist():
        place = (head - 0.5, layer - 0.5)
        hatched = Rectangle(place, 1, 1, facecolor="none", edgecolor=QUIET, linewidth=0)
        hatched.set_hatch("/////")
        ax.add_patch(hatched)


def _number(
    ax: Any,
    values: Float[np.ndarray, "layer head"],
    image: Any,
    *,
    hidden: Collection[tuple[int, int]],
) -> None:
    """Write every value in ink, or in white where the cell is dark, all in one power of ten."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if not 0.095 <= largest < 999.5:
        return  # the numbers would be too long: the colour bar has them
    digits = 2 if largest < 9.995 else 1 if largest < 99.95 else 0
    for (layer, head), value in np.ndenumerate(values):
        if not np.isfinite(value) or (layer, head) in hidden:
            continue
        red, green, blue = image.cmap(image.norm(value))[:3]
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        text = f"{value:.{digits}f}"
        text = "0" if float(text) == 0 else text.replace("-", "−")
        if abs(value) < 1 and digits == 2:
            text = text.replace("0.", ".")  # as in a table of correlations
        ax.text(
            head, layer, text, ha="center", va="center", fontsize=7.5,
            color="white" if dark else INK,
        )  # fmt: skip


def _mark(
    ax: Any, marked: Collection[tuple[int, int]], mark: str, name: str, *, size: float
) -> None:
    from matplotlib import patheffects

    places = sorted(marked)
    look = {"facecolors": "none", "edgecolors": INK} if mark == "ring" else {"color": INK}
    dots = ax.scatter(
        [head for _, head in places], [layer for layer, _ in places], s=size**2, linewidths=1.3,
        marker=_MARKERS[mark], label=plain_label(name), zorder=3, gid="marked", **look,
    )  # fmt: skip
    # dark cells would hide a dark mark
    dots.set_path_effects([patheffects.withStroke(linewidth=2.8, foreground="white")])
    if name:
        ax.legend(
            handles=[dots], frameon=False, fontsize=8.5, loc="lower right",
            bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, handletextpad=0.3, markerscale=9 / size,
        )  # fmt: skip


def _name(ax: Any, num_layers: int, num_heads: int, rows: Sequence[str]) -> None:
    ax.set_xticks(range(num_heads), [str(head) for head in range(num_heads)])
    names = [plain_label(row) for row in rows] or [str(layer) for layer in range(num_layers)]
    ax.set_yticks(range(num_layers), names)
    ax.set(xlabel="head", ylabel="" if rows else "layer")
    tidy(ax)
    ax.tick_params(length=0, labelsize=8.5)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def _check(
    values: Float[np.ndarray, "layer head"],
    marked: Collection[tuple[int, int]],
    mark: str,
    rows: Sequence[str],
) -> None:
    if values.ndim != 2 or not values.size or len(rows) not in (0, len(values)):
        raise VesaliusError(
            given=f"values of shape {list(values.shape)} with {len(rows)} names of layers",
            expected="at least one layer and head, and a name for each layer or none",
            fix="take names and values from the same model",
        )
    if mark not in _MARKERS:
        raise VesaliusError(given=f"mark={mark!r}", expected="ring or cross", fix="leave it out")
    num_layers, num_heads = values.shape
    for layer, head in marked:
        if not (0 <= layer < num_layers and 0 <= head < num_heads):
            raise VesaliusError(
                given=f"a marked head ({layer}, {head})",
                expected=f"a layer in 0..{num_layers - 1} and a head in 0..{num_heads - 1}",
                fix="take marked heads and values from the same model",
            )
