"""Pictures of located neurons and of what turning them does."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vesalius.methods.knowledge_neurons.result import Intervention, Location
from vesalius.plots.bars import Group, intervention_bars
from vesalius.plots.neuron_map import neuron_map


def plot_location(location: Location, *, ax: Any = None) -> Any:
    """Draw the mean score of every neuron over the paraphrases, the refined set ringed.

    Returns:
        The matplotlib Axes.

    Source: figure 3 of arXiv 2104.08696.
    """
    return neuron_map(
        location.mean_scores,
        marked=location.neurons,
        title=f"{location.prompts[0]}  →  {location.answer}",
        unit="attribution",
        ax=ax,
    )


def plot_interventions(interventions: Sequence[Intervention], *, ax: Any = None) -> Any:
    """Draw the answer's probability, mean over the prompts, before and after each intervention.

    Returns:
        The matplotlib Axes.

    Source: figure 4 of arXiv 2104.08696.
    """
    first = interventions[0]
    groups = [
        Group(
            name=f"× {each.factor:g}",
            after=float(each.prob_after.mean()),
            controls=np.asarray(each.control_after.mean(axis=1)),
        )
        for each in interventions
    ]
    return intervention_bars(
        float(first.prob_before.mean()), groups, title=f"{first.answer}", ax=ax
    )


def plot_story(location: Location, interventions: Sequence[Intervention]) -> Any:
    """Draw the neuron map above and the interventions beside it, in one figure.

    Returns:
        The matplotlib Axes of the map; its figure holds both.

    Source: this project.
    """
    from matplotlib.figure import Figure

    num_layers = location.scores.shape[1]
    figure = Figure(figsize=(12, max(3.6, 1.6 + 0.3 * num_layers)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    plot_interventions(interventions, ax=right)
    return plot_location(location, ax=left)
