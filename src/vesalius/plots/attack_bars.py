"""Accuracy before an attack, after it, and after its controls, group by group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from vesalius.plots.curves import plain_label
from vesalius.plots.style import CONTROL, INK, LOWERED, PLAIN, QUIET, RULE, new_axes, tidy

_SHADES: Final = (CONTROL, QUIET, RULE)  # of the kinds of controls, in their order
_WIDEST: Final = 26  # signs of a name on one line


@final
@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: what it stands for, its height, and the ends of its line."""

    name: str
    value: float
    low: float
    high: float


@final
@dataclass(frozen=True, kw_only=True)
class AttackGroup:
    """One attack: its name, accuracy clean and attacked, and with each kind of control."""

    name: str
    clean: Bar
    attacked: Bar
    controls: tuple[Bar, ...]


def attack_bars(
    groups: Sequence[AttackGroup], *, title: str = "", unit: str = "accuracy", ax: Any = None
) -> Any:
    """Draw accuracy clean, attacked and with controls, as groups of bars; single numbers.

    Args:
        groups: the attacks, from left to right; all with the same kinds of controls.
        title: of the Axes.
        unit: of the values, shares from 0 to 1.
        ax: matplotlib Axes, or None for new ones.

    Returns:
        The matplotlib Axes.

    Source: table 5 of arXiv 2004.11207 as a picture, with controls.
    """
    from matplotlib.ticker import PercentFormatter

    kinds = tuple(dict.fromkeys(bar.name for group in groups for bar in group.controls))
    colours = {name: _SHADES[i % len(_SHADES)] for i, name in enumerate(kinds)}
    num_bars = 2 + len(kinds)
    ax = new_axes(ax, width=1.2 + 0.55 * (num_bars + 1) * len(groups), height=3.6)
    named: set[str] = set()
    for number, group in enumerate(groups):
        bars = [(group.clean, PLAIN), (group.attacked, LOWERED)]
        bars += [(bar, colours[bar.name]) for bar in group.controls]
        for place, (bar, colour) in enumerate(bars):
            _draw(ax, number * (num_bars + 1) + place, bar, colour, labelled=bar.name not in named)
            named.add(bar.name)
    centres = [number * (num_bars + 1) + (num_bars - 1) / 2 for number in range(len(groups))]
    ax.set_xticks(centres, [_folded(group.name) for group in groups], fontsize=8)
    ax.set(ylabel=unit, ylim=(0, 1.08))
    ax.set_title(plain_label(title), loc="left", fontsize=10, pad=22)
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    ax.legend(
        frameon=False, fontsize=8, ncols=num_bars, loc="lower left", bbox_to_anchor=(0, 1),
        handlelength=1, columnspacing=1,
    )  # fmt: skip
    return tidy(ax)


def _draw(ax: Any, place: float, bar: Bar, colour: str, *, labelled: bool) -> None:
    name = plain_label(bar.name) if labelled else None
    ax.bar(place, bar.value, width=0.85, color=colour, label=name)
    ax.vlines(place, bar.low, bar.high, color=INK, linewidth=1)
    ax.annotate(
        f"{bar.value:.0%}",
        (place, max(bar.value, bar.high)),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
        color=INK,
    )


def _folded(name: str) -> str:
    """A name on lines of a bearable length, cut between its words."""
    lines = [""]
    for word in name.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= _WIDEST:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(plain_label(line) for line in lines)
