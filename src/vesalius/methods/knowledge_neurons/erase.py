"""Erase a relation: the value slots that most of its facts share become zero.

Source: arXiv 2104.08696, section 5.2.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral

import torch

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons.edits import Edit, distinct_slots, plan_edit
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.models.edits import SlotEdit
from vesalius.models.specimen import Specimen


def erase(
    specimen: Specimen,
    fact_sets: Iterable[Sequence[Neuron]],
    *,
    num_neurons: int = 20,
    relation: str = "",
    seed: int = 0,
) -> Edit:
    """Plan to set the value slots of a relation's most frequent neurons to zero.

    Args:
        specimen: the opened model; it is not touched.
        fact_sets: the neurons of each fact of the relation, (layer, neuron) pairs.
        num_neurons: how many slots; the paper's 20. Where the sets hold fewer, all are taken,
            and the card says so.
        relation: its name; it is only noted in the card, for ``judge``.
        seed: of neurons drawn at random; it is only noted in the card.

    Returns:
        An edit whose ``after`` [slot, d_model] is zero.

    Raises:
        VesaliusError: no sets, only empty ones, or no number of neurons.
    """
    stopwatch = Stopwatch.start()
    sets = [tuple(each) for each in fact_sets]
    counted = most_frequent(specimen, sets, num_neurons=num_neurons)
    by_layer: dict[int, list[int]] = {}
    for (layer, neuron), _ in counted:
        by_layer.setdefault(layer, []).append(neuron)
    values = {
        layer: SlotEdit(
            neurons=torch.tensor(sorted(chosen)),
            values=torch.zeros(len(chosen), specimen.plan.calls[layer].feed_forward.num_outputs),
        )
        for layer, chosen in by_layer.items()
    }
    counts = {f"{layer}:{neuron}": count for (layer, neuron), count in counted}
    few = f"the sets hold {len(counted)} neurons, fewer than the {num_neurons} asked for"
    card = make_card(
        "neurons erase",
        stopwatch=stopwatch,
        config={
            "relation": relation,
            "num_neurons": num_neurons,
            "num_facts": len(sets),
            "counts": counts,
        },
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=seed,
        warnings=[few] if len(counted) < num_neurons else [],
    )
    return plan_edit(specimen, values, card=card, method="erase")


def most_frequent(
    specimen: Specimen, fact_sets: Sequence[Sequence[Neuron]], *, num_neurons: int = 20
) -> list[tuple[Neuron, int]]:
    """Count in how many facts each neuron stands, most frequent first, lower layers before ties.

    Raises:
        VesaliusError: no sets, only empty ones, or no number of neurons. No shapes.

    Source: arXiv 2104.08696, section 5.2; the order of ties is ours.
    """
    if not isinstance(num_neurons, Integral) or num_neurons < 1:
        raise VesaliusError(
            given=f"num_neurons={num_neurons!r}",
            expected="a whole number from 1",
            fix="use 20, the paper's",
        )
    sets = [set(distinct_slots(specimen, each)) for each in fact_sets]
    counts = Counter(neuron for found in sets for neuron in found)
    if not counts:
        raise VesaliusError(
            given=f"{len(sets)} sets of neurons, {'all empty' if sets else 'none'}",
            expected="the neurons of at least one fact of the relation",
            fix="locate facts that the model answers, and pass their neurons",
        )
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: int(num_neurons)]
