"""A heat map with a number on every cell, for tables that compare many things with many."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK, QUIET, RULE, new_axes, tidy

_COLOURS: Final = "Blues"  # one hue that only darkens: any colour vision reads it, and grey paper
_CELL_INCHES: Final = 0.34
_LOG_RANGE: Final = 1000.0  # what is smaller beside the largest gets the lightest colour
_FEW: Final = 12  # up to so many columns their names stand slanted, more stand upright


def heat_map(
    values: Float[np.ndarray, "row column"],
    *,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    unit: str,
    scale: Literal["linear", "log"] = "linear",
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a table as coloured cells with their numbers; what is not finite is a grey dash.

    Args:
        values: shape [row, column], none below zero.
        rows: their names, the first on top.
        columns: their names; those of the rows when left out.
        unit: of the values, for the colour bar.
        scale: of the colours; with ``log`` a zero stays white, and what is under a thousandth
            of the largest looks like a thousandth.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the table.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for an empty table, names of another number, a negative value or an
    unknown scale.

    Source: this project.
    """
    columns = columns or rows
    _check(values, rows, columns, scale)
    longest = max(map(len, [*rows, *columns]))
    ax = new_axes(
        ax,
        width=max(1.9 + 0.065 * longest + _CELL_INCHES * len(columns), 3.4),
        height=max(0.9 + 0.065 * longest + _CELL_INCHES * len(rows), 2.2),
    )
    image = _coloured(ax, values, scale)
    _number(ax, values, image)
    ax.set_xticks(range(len(columns)), [plain_label(name) for name in columns])
    ax.set_yticks(range(len(rows)), [plain_label(name) for name in rows])
    ax.figure.colorbar(image, ax=ax, label=plain_label(unit), shrink=0.7, pad=0.02)
    ax.set_title(plain_label(title), fontsize=11)
    tidy(ax)
    ax.tick_params(length=0, labelsize=8)
    slanted = len(columns) <= _FEW
    for label in ax.get_xticklabels():
        label.set(rotation=40 if slanted else 90, ha="right" if slanted else "center")
        label.set_rotation_mode("anchor" if slanted else "default")
    return ax


def _coloured(ax: Any, values: Float[np.ndarray, "row column"], scale: str) -> Any:
    """Colour the cells, thin white lines between them."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    finite = values[np.isfinite(values)]
    highest = float(finite.max()) if len(finite) and finite.max() > 0 else 1.0
    above = finite[finite > 0]
    colours = colormaps[_COLOURS].with_extremes(bad=RULE, under="#ffffff")
    if scale == "log":
        lowest = max(float(above.min()), highest / _LOG_RANGE) if len(above) else highest / 10
        # the lowest value would be as white as a zero, and equal bounds are no range
        norm: Any = LogNorm(vmin=lowest / 3, vmax=highest, clip=False)
        shown = np.where(values == 0, lowest / 30, np.maximum(values, lowest))
    else:
        norm, shown = Normalize(vmin=0.0, vmax=highest), values
    image = ax.imshow(np.ma.masked_invalid(shown), cmap=colours, norm=norm, aspect="auto")
    ax.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="minor", length=0)
    return image


def _number(ax: Any, values: Float[np.ndarray, "row column"], image: Any) -> None:
    """Write every number in ink, or in white where the cell is dark."""
    size = 7.5 if max(values.shape) <= _FEW else 6.5
    for (row, column), value in np.ndenumerate(values):
        known = bool(np.isfinite(value))
        red, green, blue = image.cmap(image.norm(value))[:3] if known and value > 0 else (1, 1, 1)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        colour = "white" if dark else INK if known else QUIET
        text = short_number(float(value))
        ax.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def short_number(value: float) -> str:
    """Write a number that is not negative in at most four signs; a dash where there is none.

    Source: this project.

    >>> [short_number(value) for value in (0.0, 0.004, 0.127, 1.04, 23.4, 12345.0, float("nan"))]
    ['0', '<.01', '.13', '1.0', '23', '12k', '–']
    """
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if value < 0.005:
        return "<.01"
    if value < 0.995:
        return f"{value:.2f}"[1:]
    if value < 9.95:
        return f"{value:.1f}"
    return f"{value:.0f}" if value < 9999.5 else f"{value / 1000:.0f}k"


def _check(
    values: Float[np.ndarray, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    scale: str,
) -> None:
    if not values.size or values.shape != (len(rows), len(columns)):
        raise VesaliusError(
            given=f"values of shape {list(values.shape)} with {len(rows)} names of rows and "
            f"{len(columns)} of columns",
            expected="at least one cell, and a name for each row and column",
            fix="take names and values from the same table",
        )
    if bool((values < 0).any()):
        raise VesaliusError(
            given=f"a value of {float(np.nanmin(values)):g}",
            expected="values from 0",
            fix="draw what falls below zero as a curve or as bars",
        )
    if scale not in ("linear", "log"):
        raise VesaliusError(
            given=f"scale={scale!r}", expected="linear or log", fix="leave it at linear"
        )
