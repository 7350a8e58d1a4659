"""Accuracy after some layers got their old weights back, a bar for each group of layers.

Source: table 2 of arXiv 1908.05620 as a picture, with intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Final, final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import COLOURS, plain_label
from vesalius.plots.score_plane import legend_below
from vesalius.plots.style import INK, QUIET, new_axes, tidy

_ROW_INCHES: Final = 0.25
_COLUMNS: Final = (0.75, 1.3, 1.85)  # right ends of the numbers, in inches from the bars' end


@final
@dataclass(frozen=True, kw_only=True)
class RollbackBar:
    """Accuracy (0 to 1) with the old weights in some layers.

    ``change``, ``low`` and ``high`` compare it with the untouched model: the difference and its
    interval, paired over examples. ``moved`` is how far training moved these weights, relative to
    their length; NaN where it is not known. ``block`` is the heading the bar stands under.
    """

    name: str
    accuracy: float
    change: float
    low: float
    high: float
    moved: float
    block: str


def rollback_bars(
    rows: Sequence[RollbackBar],
    *,
    fine_tuned: float,
    start: float | None = None,
    majority: float | None = None,
    x_label: str = "accuracy with the old weights in these layers",
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a bar for each group of layers, headings between the blocks; no shapes.

    Args:
        rows: from top to bottom; rows of one block follow each other.
        fine_tuned: accuracy of the whole fine-tuned model, 0 to 1.
        start: accuracy with all of the old weights.
        majority: accuracy of always answering the commonest class.
        x_label: of the bars.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure that grows with the rows.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no rows.
    """
    if not rows:
        raise VesaliusError(
            given="no rows to draw", expected="at least one", fix="roll something back first"
        )
    blocks = list(dict.fromkeys(row.block for row in rows))
    num_lines = len(rows) + len(blocks)
    ax = new_axes(ax, width=7.4, height=1.5 + _ROW_INCHES * num_lines)
    names: list[tuple[float, str]] = []
    line = 0.0
    for number, block in enumerate(blocks):
        ax.text(0.0, line, plain_label(block), transform=ax.get_yaxis_transform(), fontsize=9,
                fontweight="bold", va="center", color=INK)  # fmt: skip
        line += 1
        for row in rows:
            if row.block == block:
                _bar(ax, row, line, COLOURS[number % len(COLOURS)])
                _write(ax, line, _words(row), INK)
                names.append((line, row.name))
                line += 1
        line += 0.4
    levels = {"fine-tuned": fine_tuned, "start": start, "commonest class": majority}
    for (name, level), dashes in zip(levels.items(), ("-", (0, (5, 2)), ":"), strict=True):
        if level is not None:
            ax.axvline(level, color=INK, linewidth=1.2, linestyle=dashes, zorder=3,
                       label=f"{name} ({level:.1%})")  # fmt: skip
    _finish(ax, names, line, x_label)
    _write(ax, 0.0, ("accuracy", "change", "moved"), QUIET)
    title_above(ax, title, pad=8.0)
    return ax


def _bar(ax: Any, row: RollbackBar, line: float, colour: str) -> None:
    ax.barh(line, row.accuracy, height=0.72, color=colour, alpha=0.55, linewidth=0, zorder=2)
    bounds = [row.accuracy - row.change + bound for bound in (row.low, row.high)]
    if np.isfinite(bounds).all():
        ax.hlines(line, *bounds, color=INK, linewidth=1.3, zorder=4)
        for bound in bounds:
            ax.vlines(bound, line - 0.16, line + 0.16, color=INK, linewidth=1.3, zorder=4)


def _words(row: RollbackBar) -> tuple[str, str, str]:
    moved = f"{row.moved:.1%}" if np.isfinite(row.moved) else "–"
    change = f"{round(100 * row.change, 1) + 0.0:+.1f}".replace("-", "\u2212")
    return f"{row.accuracy:.1%}", change, moved


def _write(ax: Any, line: float, words: Sequence[str], colour: str) -> None:
    from matplotlib.transforms import ScaledTranslation

    for inches, word in zip(_COLUMNS, words, strict=True):
        # in inches, for which the layout can make room: it does not find room for a share
        beside = ScaledTranslation(inches, 0, ax.figure.dpi_scale_trans)
        ax.text(1.0, line, word, transform=ax.get_yaxis_transform() + beside, ha="right",
                va="center", fontsize=8.5, color=colour)  # fmt: skip


def _finish(ax: Any, names: Sequence[tuple[float, str]], end: float, x_label: str) -> None:
    from matplotlib.ticker import PercentFormatter

    ax.set_yticks([place for place, _ in names], [plain_label(fill(name, 24)) for _, name in names])
    ax.set_ylim(end - 0.8, -0.7)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="x", alpha=0.25)
    ax.set_axisbelow(True)
    ax.set_xlabel(plain_label(x_label))
    legend_below(ax, frameon=False, fontsize=8.5, ncols=3, handlelength=2.4)
    tidy(ax)
    ax.tick_params(axis="y", length=0, labelsize=8.5)
