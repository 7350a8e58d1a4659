"""Pictures of located neurons and of what turning them does."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vesalius.methods.knowledge_neurons.result import Evidence, Intervention, Location
from vesalius.plots.bars import Group, intervention_bars
from vesalius.plots.effect_curve import Band, effect_curve
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


def plot_evidence(evidence: Evidence, *, factor: float | None = None, ax: Any = None) -> Any:
    """Draw the change of the answer's probability against the size of the set, with its controls.

    Args:
        evidence: from ``neurons.evidence``, arrays of shape [factor, size].
        factor: one of its factors; the first (suppression) where left out.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Source: the size sweep that arXiv 2405.02421 asks for.
    """
    number = 0 if factor is None else evidence.factors.tolist().index(factor)
    several = len(evidence.prompts) > 1
    return effect_curve(
        evidence.sizes,
        evidence.change[number],
        low=evidence.low[number] if several else None,
        high=evidence.high[number] if several else None,
        controls=[
            Band(
                name=name,
                low=getattr(evidence, f"{key}_low")[number],
                mean=getattr(evidence, f"{key}_mean")[number],
                high=getattr(evidence, f"{key}_high")[number],
            )
            for name, key in (("random neurons", "random"), ("neurons as active", "active"))
        ],
        name="neurons by score",
        title=f"{evidence.answer}: neurons \N{MULTIPLICATION SIGN} {evidence.factors[number]:g}",
        ax=ax,
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
