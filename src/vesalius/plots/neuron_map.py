"""The layer x neuron map: where in a model the scores are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import MaxNLocator

from vesalius.plots.style import DIVERGING, INK, QUIET, RAISED, new_axes, tidy

SHOWN = 0.05  # scores under this share of the largest would be a grey carpet


def neuron_map(
    scores: Float[np.ndarray, "layer neuron"],
    *,
    marked: Sequence[tuple[int, int]] = (),
    title: str = "",
    unit: str = "attribution",
    ax: Any = None,
) -> Any:
    """Draw scores as dots, area and colour by size, one row per layer; ring and name some.

    Args:
        scores: shape [layer, neuron].
        marked: (layer, neuron) pairs to ring.
        title: of the Axes.
        unit: of the scores, for the colour bar.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Source: figure 3 of arXiv 2104.08696, with every neuron in its place.
    """
    num_layers, num_neurons = scores.shape
    ax = new_axes(ax, width=8.0, height=1.2 + 0.3 * num_layers)
    largest = float(np.abs(scores).max()) or 1.0
    layers, neurons = np.nonzero(np.abs(scores) >= SHOWN * largest)
    values = scores[layers, neurons]
    for layer in range(num_layers):
        ax.axhline(layer, color=QUIET, linewidth=0.4, alpha=0.35, zorder=0)
    dots = ax.scatter(
        neurons,
        layers,
        s=8 + 110 * np.abs(values) / largest,
        c=values,
        cmap=DIVERGING,
        vmin=-largest,
        vmax=largest,
        edgecolors=INK,
        linewidths=0.3,
        zorder=2,
    )
    _ring(ax, marked, num_neurons)
    ax.figure.colorbar(dots, ax=ax, label=unit, shrink=0.85, pad=0.01)
    ax.set(xlabel="neuron", ylabel="layer", title=title)
    ax.set_xlim(-0.02 * num_neurons, 1.02 * num_neurons)
    ax.set_ylim(-0.7, num_layers - 0.1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return tidy(ax)


def _ring(ax: Any, marked: Sequence[tuple[int, int]], num_neurons: int) -> None:
    """Ring neurons; names of close neighbours are put one above the other."""
    previous: tuple[int, int] | None = None
    rise = 0
    for layer, neuron in sorted(marked):
        near = previous is not None and previous[0] == layer
        close = near and previous is not None and neuron - previous[1] < 0.06 * num_neurons
        rise = rise + 1 if close else 0
        ax.scatter([neuron], [layer], s=190, facecolors="none", edgecolors=RAISED, linewidths=1.4)
        ax.annotate(
            f"{layer}:{neuron}",
            (neuron, layer),
            xytext=(0, 9 + 9 * rise),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=RAISED,
        )
        previous = (layer, neuron)
