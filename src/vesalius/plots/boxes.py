"""Box plots of several kinds for each of several conditions, every value a dot as well.

Source: Tukey 1977, Exploratory Data Analysis, section 2C (whiskers to the outermost value within
1.5 widths of the box); colours of Okabe and Ito 2008, Color Universal Design.
"""

from collections.abc import Mapping
from textwrap import fill
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.style import INK, new_axes, tidy

_HATCHES: Final = ("", "////")  # the second turn through the colours
MOST_KINDS: Final = len(COLOURS) * len(_HATCHES)
_FEWEST: Final = 5  # a box of fewer values would show more than is known: they stand alone
_MANY: Final = 30  # from here on dots are smaller
_GROUP: Final = 0.84  # share of a condition's place that its boxes take
_LETTERS_PER_INCH: Final = 13


def box_groups(
    groups: Mapping[str, Mapping[str, Float[np.ndarray, " item"]]],
    *,
    unit: str,
    x_label: str = "",
    percent: bool = False,
    references: Mapping[str, float] | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a box for each condition and kind; under five values, dots and their median alone.

    Args:
        groups: values [item] by condition and then by kind, such as a calibrator; a value that
            is not finite is left out.
        unit: of the values.
        x_label: of the conditions.
        percent: whether the values are shares, written as per cent.
        references: at most two constants to compare with, by name, as dotted lines.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the boxes.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no values, or more kinds or references than can be told apart.
    """
    kinds = list(dict.fromkeys(kind for values in groups.values() for kind in values))
    levels = dict(references or {})
    _check(groups, kinds, len(levels))
    wide = 1.6 + max(0.55, 0.26 * len(kinds)) * len(groups)
    ax = new_axes(ax, width=min(max(wide, 4.8), 13.0), height=3.6)
    width = _GROUP / len(kinds)
    for place, values in enumerate(groups.values()):
        for number, kind in enumerate(kinds):
            if kind in values:
                known = values[kind][np.isfinite(values[kind])]
                centre = place + (number - (len(kinds) - 1) / 2) * width
                _box(ax, known, centre, 0.86 * width, number)
    for number, (name, level) in enumerate(levels.items()):
        line = (":", (0, (1, 4)))[number]
        ax.axhline(level, color=INK, linestyle=line, linewidth=1.1, label=plain_label(name))
    _finish(ax, list(groups), kinds, percent=percent)
    ax.set(xlabel=plain_label(x_label), ylabel=plain_label(unit))
    title_above(ax, title)
    return ax


def _box(
    ax: Any, values: Float[np.ndarray, " item"], centre: float, width: float, number: int
) -> None:
    colour, hatch = COLOURS[number % len(COLOURS)], _HATCHES[number // len(COLOURS)]
    if not len(values):
        ax.plot([centre], [0.02], "x", color=colour, markersize=5, clip_on=False,
                transform=ax.get_xaxis_transform())  # fmt: skip
        return
    if len(values) >= _FEWEST:
        ax.boxplot(
            values, positions=[centre], widths=width, patch_artist=True, showfliers=False,
            manage_ticks=False, zorder=2,
            boxprops={"facecolor": _light(colour), "edgecolor": colour, "hatch": hatch},
            medianprops={"color": INK, "linewidth": 1.6},
            whiskerprops={"color": colour}, capprops={"color": colour},
        )  # fmt: skip
    else:
        ax.hlines(np.median(values), centre - width / 2, centre + width / 2, color=INK,
                  linewidth=1.6, zorder=3)  # fmt: skip
    # spread evenly and not at random: the same picture every time
    aside = 0.5 * width * (np.argsort(np.argsort(values * 7919 % 1.0)) + 0.5) / len(values)
    ax.scatter(
        centre - 0.25 * width + aside, values, s=9 if len(values) < _MANY else 4, color=colour,
        edgecolors="white", linewidths=0.3, zorder=4,
    )  # fmt: skip


def _light(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (0.7 + 0.3 * part for part in to_rgb(colour))
    return red, green, blue


def _finish(ax: Any, conditions: list[str], kinds: list[str], *, percent: bool) -> None:
    from matplotlib.patches import Patch
    from matplotlib.ticker import PercentFormatter

    ax.set_xlim(-0.55, len(conditions) - 0.45)
    # a name has the width of its boxes, and as many lines as it needs
    alone = len(ax.figure.axes) == 1
    part = 0.9 if alone else ax.get_position().width
    inches = part * float(ax.figure.get_size_inches()[0]) / len(conditions)
    longest = max((len(word) for name in conditions for word in name.split()), default=1)
    letters = max(int(_LETTERS_PER_INCH * inches), min(longest, int(15 * inches)), 5)
    shown = [plain_label(fill(name, letters)) for name in conditions]
    ax.set_xticks(range(len(conditions)), shown)
    for line in np.arange(len(conditions) - 1) + 0.5:
        ax.axvline(line, color=INK, alpha=0.08, linewidth=0.8, zorder=0)
    if percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="y", alpha=0.25)
    ax.set_axisbelow(True)
    handles = [
        Patch(
            facecolor=_light(COLOURS[i % len(COLOURS)]), edgecolor=COLOURS[i % len(COLOURS)],
            hatch=_HATCHES[i // len(COLOURS)], label=plain_label(kind),
        )
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    handles += ax.get_legend_handles_labels()[0]
    widest = max(len(handle.get_label()) for handle in handles) + 6
    columns = int(_LETTERS_PER_INCH * ax.figure.get_size_inches()[0] / widest)
    # above the picture: below stand the names of the conditions, of any length
    place = {"loc": "outside upper center"} if alone else {}
    (ax.figure if place else ax).legend(
        handles=handles, frameon=False, fontsize=8.5, handlelength=1.4,
        ncols=min(max(columns, 1), len(handles)), **place,
    )  # fmt: skip
    tidy(ax)


def _check(
    groups: Mapping[str, Mapping[str, Float[np.ndarray, " item"]]],
    kinds: list[str],
    num_references: int,
) -> None:
    if not groups or not 1 <= len(kinds) <= MOST_KINDS or num_references > 2:
        raise VesaliusError(
            given=f"{len(groups)} conditions, {len(kinds)} kinds and {num_references} references",
            expected=f"a condition or more, 1 to {MOST_KINDS} kinds and at most two references",
            fix="draw them in several pictures",
        )
