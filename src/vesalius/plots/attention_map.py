"""Who reads whom in one attention head, as a matrix; and how tokens are written on an axis."""

import textwrap
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.style import DIVERGING, INK, QUIET, RULE, new_axes, tidy

LONGEST_LABEL: Final = 16  # letters of a token that are shown

_MADE_VISIBLE: Final = {"\n": "⏎", "\r": "⏎", "\t": "⇥", " ": "␣"}


def attention_map(
    values: Float[np.ndarray, "query key"],
    *,
    tokens_read: Sequence[str],
    tokens_reading: Sequence[str] = (),
    unit: str = "attribution",
    special: Collection[int] = (),
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw the matrix of one head: a row per token that reads, a column per token that is read.

    Args:
        values: shape [query, key], of any sign; what is not finite is grey.
        tokens_read: the names of the columns.
        tokens_reading: those of the rows, the first on top; the columns' when left out.
        unit: of the values, for the colour bar.
        special: places in both texts whose names are grey, such as that of [SEP].
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the text.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no tokens, or a name too many or too few.

    Source: the heads shown in arXiv 2004.11207, with signs.
    """
    tokens_reading = tokens_reading or tokens_read
    if not values.size or values.shape != (len(tokens_reading), len(tokens_read)):
        raise VesaliusError(
            given=f"values of shape {list(values.shape)} with {len(tokens_reading)} tokens that "
            f"read and {len(tokens_read)} that are read",
            expected="at least one cell, a row per token that reads, a column per token read",
            fix="take tokens and values from the same run",
        )
    size = label_size(max(values.shape))
    across = min(max(3.4 / max(values.shape), 0.16 if max(values.shape) <= 56 else 0.115), 0.55)
    beside = max(label_width(token_label(token), size) for token in tokens_reading)
    below = label_inches(tokens_read, size, across)
    ax = new_axes(
        ax,
        width=max(0.6 + beside + across * len(tokens_read), 3.4),
        height=1.35 + below + across * len(tokens_reading) + (0.3 if title else 0),
    )
    image = coloured_cells(ax, values, lines=max(values.shape) <= 64)
    name_tokens(ax, tokens_read, size=size, across=across, quiet=set(special))
    names = [plain_label(token_label(token)) for token in tokens_reading]
    ax.set_yticks(range(len(names)), names, fontsize=size)
    for place, label in enumerate(ax.get_yticklabels()):
        label.set_color(QUIET if place in special else INK)
    ax.tick_params(axis="y", length=0, pad=3)
    ax.set(xlabel="is read", ylabel="reads")
    title_above(ax, title)
    bar_below(ax, image, unit)
    return ax


def name_tokens(
    ax: Any,
    tokens: Sequence[str],
    *,
    size: float,
    across: float,
    quiet: set[int],
) -> None:
    """Write the text under matplotlib Axes, upright where it is long; some of it in grey.

    Source: this project.
    """
    labels = [token_label(token) for token in tokens]
    ax.set_xticks(range(len(tokens)), [plain_label(label) for label in labels])
    tidy(ax)
    ax.tick_params(axis="x", length=0, labelsize=size, pad=3)
    ax.tick_params(axis="y", length=0, labelsize=9)
    upright = label_inches(tokens, size, across) > 0.3
    for place, label in enumerate(ax.get_xticklabels()):
        label.set(rotation=90 if upright else 0, color=QUIET if place in quiet else INK)


def label_size(num_tokens: int) -> float:
    """Return the size of letters, in points, that so many tokens leave room for.

    Source: this project.

    >>> [label_size(number) for number in (5, 40, 128)]
    [10.0, 9.0, 7.0]
    """
    return 10.0 if num_tokens <= 24 else 9.0 if num_tokens <= 56 else 7.0


def token_label(token: str) -> str:
    """Return a token as one short word that can be seen: white space by its signs.

    Source: this project.

    >>> [token_label(token) for token in (" man", "\\n", " ", "", "a" * 40)]
    ['man', '⏎', '␣', '∅', 'aaaaaaaaaaaaaaa…']
    """
    word = token.strip() or token
    shown = "".join(_MADE_VISIBLE.get(sign, sign) for sign in word)
    # what cannot be drawn, and what no XML file may hold
    shown = "".join("\ufffd" if unicodedata.category(s) in ("Cc", "Cs") else s for s in shown)
    if len(shown) > LONGEST_LABEL:
        shown = shown[: LONGEST_LABEL - 1] + "…"
    return shown or "∅"


def label_inches(tokens: Sequence[str], size: float, across: float) -> float:
    """Return how high the labels of a text are: of one line, or upright where they are long.

    Source: this project.
    """
    widest = max(label_width(token_label(token), size) for token in tokens)
    return 0.25 if widest + 0.08 <= across else widest + 0.1


def label_width(text: str, size: float) -> float:
    """Guess the width of a word in inches, rather too wide.

    Source: the letters of DejaVu Sans.
    """
    ems = 0.0
    for sign in text:
        if unicodedata.east_asian_width(sign) in "WF":
            ems += 1.05
        elif sign in "mwMW@%…—":
            ems += 0.95
        else:
            ems += 0.36 if sign in "iljtfr.,:;'|![]() " else 0.72 if sign.isupper() else 0.62
    return ems * size / 72


def wrapped(text: str, ax: Any, size: float) -> str:
    """Break a text into lines that are about as wide as matplotlib Axes.

    Source: this project.
    """
    inches = 1.15 * ax.get_position().width * float(ax.figure.get_size_inches()[0])
    letters = max(int(inches * 72 / size / 0.53), 12)
    return textwrap.fill(text, width=letters) if text else ""


def title_above(ax: Any, title: str, *, pad: float = 6.0) -> None:
    """Write a title over matplotlib Axes, in as many lines as it needs; `pad` points above.

    Source: this project.
    """
    ax.set_title(plain_label(wrapped(title, ax, 11)), fontsize=11, pad=pad)


def bar_below(ax: Any, colours: Any, unit: str) -> None:
    """Put the colour bar of some colours under matplotlib Axes: beside, it would narrow them.

    Source: this project.
    """
    from matplotlib.ticker import MaxNLocator

    inches = ax.get_position().width * float(ax.figure.get_size_inches()[0])
    bar = ax.figure.colorbar(
        colours, ax=ax, location="bottom", fraction=0.05, shrink=min(0.6, 3.2 / inches),
        aspect=28, pad=0.02, ticks=MaxNLocator(nbins=4),
    )  # fmt: skip
    bar.set_label(plain_label(unit), fontsize=9)
    bar.ax.tick_params(labelsize=8.5, length=2, colors=INK)
    bar.outline.set_visible(False)


def coloured_cells(ax: Any, values: Float[np.ndarray, "row column"], *, lines: bool) -> Any:
    """Colour cells by their sign and size, grey where there is no value; return the image.

    Zero is white, and the largest size has the darkest colour, whatever its sign.

    Shapes: values [row, column].

    Source: this project.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    finite = values[np.isfinite(values)]
    largest = (float(np.abs(finite).max()) if finite.size else 0.0) or 1.0
    colours = colormaps[DIVERGING]
    lowest = -largest
    if not bool((finite < 0).any()):
        # the half above zero: a value has the same colour whether or not others are below
        half = [colours(0.5 + step / 64) for step in range(33)]
        colours, lowest = LinearSegmentedColormap.from_list("above zero", half), 0.0
    image = ax.imshow(
        np.ma.masked_invalid(values), cmap=colours.with_extremes(bad=RULE), aspect="auto",
        norm=Normalize(vmin=lowest, vmax=largest), interpolation="nearest",
    )  # fmt: skip
    if lines:
        ax.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=0.6)
        ax.tick_params(which="minor", length=0)
    return image
