"""Control edits: the same change on neurons that have nothing to do with it.

Source: the random neurons of arXiv 2104.08696, section 5.1, here matched by layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.knowledge_neurons.edits import Edit, plan_edit
from vesalius.methods.knowledge_neurons.intervene import random_sets
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.update import update
from vesalius.models.edits import SlotEdit, read_slots
from vesalius.models.specimen import Specimen


def control_edits(
    specimen: Specimen, edit: Edit, *, num_controls: int = 5, seed: int = 0
) -> list[Edit]:
    """Plan the same edit for random neurons, as many in each layer and none of the edited ones.

    An update is planned anew for random neurons, with its own weights. An erasure sets random slots
    to zero. A rank-one edit touches all slots of its layer: its control hands the same changes out
    to the neurons of the layer at random.

    Args:
        specimen: the model that the edit was planned for, untouched.
        edit: what ``update``, ``erase`` or ``rank_one`` planned.
        num_controls: how many.
        seed: of the random neurons; more controls begin with the same ones.

    Returns:
        Edits of value slots [slot, d_model] like the given one.

    Raises:
        VesaliusError: a negative number, an update without its options, or a layer without enough
            other neurons.
    """
    if num_controls < 0:
        raise VesaliusError(
            given=f"num_controls={num_controls}",
            expected="a number of control edits from 0",
            fix="use 5",
        )
    if not num_controls:
        return []
    if edit.method == "rank-one":
        return [
            _dealt_out(specimen, edit, derive_seed(seed, "deal", i)) for i in range(num_controls)
        ]
    plan = _zeroed if edit.method == "erase" else _again
    sets = random_sets(specimen, edit.slots, num_sets=num_controls, seed=seed)
    return [plan(specimen, edit, drawn, seed) for drawn in sets]


def _again(specimen: Specimen, edit: Edit, drawn: Sequence[Neuron], seed: int) -> Edit:
    """Plan the update anew for other neurons, each by its own sign and length."""
    names = ("weight_old", "weight_new", "by_sign")
    options: dict[str, Any] = {n: edit.card.config[n] for n in names if n in edit.card.config}
    if len(options) < len(names):
        raise VesaliusError(
            given=f"an update whose card names {sorted(edit.card.config)}",
            expected=f"its options {', '.join(names)}, to plan the same for random neurons",
            fix="plan it with neurons.update, or judge it without controls",
        )
    return update(specimen, edit.prompts, edit.answer, edit.new_answer, drawn, seed=seed, **options)


def _zeroed(specimen: Specimen, edit: Edit, drawn: Sequence[Neuron], seed: int) -> Edit:
    values: dict[int, SlotEdit] = {}
    for layer in sorted({layer for layer, _ in drawn}):
        neurons = torch.tensor([neuron for own, neuron in drawn if own == layer])
        zeros = torch.zeros_like(read_slots(specimen, layer, neurons))
        values[layer] = SlotEdit(neurons=neurons, values=zeros)
    return _planned(specimen, edit, values, seed)


def _dealt_out(specimen: Specimen, edit: Edit, seed: int) -> Edit:
    generator = torch.Generator().manual_seed(seed)
    values: dict[int, SlotEdit] = {}
    for layer in sorted(set(edit.layers.tolist())):
        given = np.flatnonzero(edit.layers == layer)
        dealt = given[torch.randperm(len(given), generator=generator).numpy()]
        before: Float[np.ndarray, "slot d_model"] = edit.before[given]
        change = edit.after[dealt] - edit.before[dealt]
        values[layer] = SlotEdit(
            neurons=torch.from_numpy(edit.neurons[given]), values=torch.from_numpy(before + change)
        )
    return _planned(specimen, edit, values, seed)


def _planned(specimen: Specimen, edit: Edit, values: dict[int, SlotEdit], seed: int) -> Edit:
    card = make_card(
        f"neurons control of {edit.method}",
        stopwatch=Stopwatch.start(),
        config=edit.card.config,
        model=specimen.name,
        model_fingerprint=edit.card.model_fingerprint,
        seed=seed,
    )
    return plan_edit(
        specimen,
        values,
        card=card,
        method=edit.method,
        prompts=edit.prompts,
        answer=edit.answer,
        new_answer=edit.new_answer,
    )
