"""How something spreads over the layers of a model, several kinds side by side."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.style import CONTROL, LOWERED, PLAIN, RAISED, new_axes, tidy

_COLOURS: Final = (RAISED, CONTROL, PLAIN, LOWERED)
_HATCHES: Final = ("", "////", "....", "xxxx")  # kinds stay apart on grey paper too
MOST_SERIES: Final = len(_COLOURS)


def layer_histogram(
    series: Mapping[str, Float[np.ndarray, " layer"]],
    *,
    unit: str = "share of the neurons",
    percent: bool = True,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw a bar per layer and kind, the kinds of a layer beside each other.

    Args:
        series: by name; values of shape [layer], layer 0 first, as many in each.
        unit: of the values.
        percent: whether they are shares, written as per cent.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no series, more than can be told apart, or unequal numbers of layers.

    Source: figure 3 of arXiv 2104.08696.
    """
    _check(series)
    num_layers = len(next(iter(series.values())))
    ax = new_axes(ax, width=min(max(2.4 + 0.34 * num_layers, 4.8), 11.0), height=3.0)
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        places = np.arange(num_layers) + (number - (len(series) - 1) / 2) * width
        ax.bar(
            places, values, width=0.92 * width, color=_COLOURS[number], hatch=_HATCHES[number],
            edgecolor="white", linewidth=0, label=plain_label(name),
        )  # fmt: skip
    return _finish(ax, num_layers, unit=unit, percent=percent, title=title)


def _finish(ax: Any, num_layers: int, *, unit: str, percent: bool, title: str) -> Any:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=24, integer=True))
    ax.set_xlim(-0.6, num_layers - 0.4)
    ax.set_ylim(bottom=0)
    if percent:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    ax.set(xlabel="layer", ylabel=plain_label(unit), title=plain_label(title))
    ax.title.set_fontsize(11)
    ax.set_axisbelow(True)
    ax.grid(axis="y", alpha=0.25)
    # below the picture: inside, it would hide what it explains
    ax.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.19))
    return tidy(ax)


def _check(series: Mapping[str, Float[np.ndarray, " layer"]]) -> None:
    if not 1 <= len(series) <= MOST_SERIES:
        raise VesaliusError(
            given=f"{len(series)} kinds in one histogram",
            expected=f"1 to {MOST_SERIES}, which have colours of their own",
            fix="draw them in several pictures",
        )
    lengths = {name: len(values) for name, values in series.items()}
    if len(set(lengths.values())) > 1 or not any(lengths.values()):
        raise VesaliusError(
            given="numbers of layers: " + ", ".join(f"{n} {name}" for name, n in lengths.items()),
            expected="the same number of layers in each, at least one",
            fix="take all of them from the same model",
        )
