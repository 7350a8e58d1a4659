"""Pictures of `verify-variance`: how the ratios spread over slots, and one slot in full.

Source: this project.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.methods.electra.result import GENERATOR, LOSS, OPTIMA, QUANTITIES, VarianceResult
from vesalius.plots.candidate_bars import MOST_SAMPLERS, candidate_bars
from vesalius.plots.panels import beside
from vesalius.plots.ratio_steps import MOST_STEPS, ratio_steps


def plot_variance(result: VarianceResult, *, ax: Any = None) -> Any:
    """Draw the slots' ratios of every learned sampler and of the best possible, by quantity.

    The best possible for the loss, always 0, is not drawn.

    Args:
        result: from `verify_variance`.
        ax: matplotlib Axes, or None for a new figure; several panels stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given; no shapes.

    Raises:
        VesaliusError: the generator has no variance at any slot.
    """
    panels = {quantity: _ratios(result, quantity) for quantity in QUANTITIES}
    panels = {quantity: ratios for quantity, ratios in panels.items() if ratios}
    if not panels:
        raise VesaliusError(
            given="slots at which the generator has no variance",
            expected="one at least where two tokens can be drawn",
            fix="take more slots, or another pair",
        )
    outer, places = beside(ax, len(panels), width=4.6, height=4.2, gap=0.3)
    for (quantity, ratios), place in zip(panels.items(), places, strict=True):
        ratio_steps(
            ratios,
            x_label="variance over the generator's",
            item_name="slots",
            title=quantity,
            legend_below=ax is None,
            ax=place,
        )
        if place is not places[0]:
            place.set_ylabel("")
    return outer


def plot_example(result: VarianceResult, *, ax: Any = None) -> Any:
    """Draw the candidates of one slot: how likely, and what a draw of each would count.

    Args:
        result: from `verify_variance`.
        ax: matplotlib Axes, or None for a new figure; two pictures stand inside of it.

    Returns:
        The matplotlib Axes: the left one, or those that were given; no shapes.
    """
    example = result.example
    names = [GENERATOR, *result.learned[: MOST_SAMPLERS - 2], OPTIMA[LOSS]]
    places = {name: result.samplers.index(name) for name in names}
    first = f"{example.tokens[0]} (original)" if _has_original(result) else example.tokens[0]
    return candidate_bars(
        [first, *example.tokens[1:]],
        {name: example.probs[place] for name, place in places.items()},
        {name: example.weights[place] * example.nats for name, place in places.items()},
        mean=example.mean_nats,
        unit="weight times loss, if drawn (nats)",
        ax=ax,
    )


def _ratios(result: VarianceResult, quantity: str) -> dict[str, Float[np.ndarray, " slot"]]:
    names = [*result.learned[: MOST_STEPS - 1]]
    if quantity != LOSS and OPTIMA[quantity] in result.samplers:
        names.append(OPTIMA[quantity])
    found = {name: result.slot_ratios(name, quantity) for name in names}
    return {
        "best possible" if name == OPTIMA[quantity] else name: ratios
        for name, ratios in found.items()
        if np.isfinite(ratios).any()
    }


def _has_original(result: VarianceResult) -> bool:
    example = result.example
    return int(example.ids[0]) == int(result.originals[example.slot])
