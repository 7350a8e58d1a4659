"""Reversible edits of value slots: only the touched columns are kept, restored bit for bit."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.linear import LinearMap
from vesalius.models.specimen import Specimen


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEdit:
    """New value slots for some neurons of one layer.

    ``neurons`` [neuron] are indices into the layer's d_ff; ``values`` [neuron, d_model] is what
    those neurons write into the residual stream from now on.
    """

    neurons: Int[Tensor, " neuron"]
    values: Float[Tensor, "neuron d_model"]


@dataclass(slots=True)
class OpenEdit:
    """An edit that is in force. ``commit`` keeps it when the context ends."""

    committed: bool = field(default=False)

    def commit(self) -> None:
        """Make the edit permanent; ``save_pretrained`` then writes an ordinary checkpoint.

        Source: seam 5 of docs/architecture.md.
        """
        self.committed = True


@dataclass(slots=True, kw_only=True, eq=False)
class _Held:
    """What an open edit puts back into one layer: ``before`` [neuron, d_model]."""

    slot: LinearMap
    neurons: Int[Tensor, " neuron"]
    before: Float[Tensor, "neuron d_model"]


# What the open edits of each model hold, in the order in which they were opened.
_OPEN: "WeakKeyDictionary[nn.Module, list[tuple[_Held, ...]]]" = WeakKeyDictionary()


@contextmanager
def slots_edited(
    specimen: Specimen, edits: Mapping[int, SlotEdit]
) -> Generator[OpenEdit, None, None]:
    """Replace value slots by layer while the context is open.

    The old columns come back bit for bit on exit, also when the body raises, unless it called
    ``commit()`` on what the context yields. Contexts may close in any order: what a later one that
    is still open has changed stays until that one closes. A layer that shares its block with others
    (ALBERT) changes for all of them, so only one of these may be edited at a time.

    Args:
        specimen: the opened model.
        edits: by layer, counted as in the results of ``neurons.locate``, what its neurons write.

    Raises:
        VesaliusError: no such layer or neuron, another shape, quantised weights, or edits of two
            layers that share their weights.

    Source: arXiv 2104.08696, section 5 (update and erase); undo: docs/architecture.md.
    """
    slots = _slots(specimen)
    chosen = {layer: _checked(slots, layer, edit) for layer, edit in edits.items()}
    _refuse_shared(chosen)
    held = tuple(
        _Held(
            slot=slot,
            neurons=edits[layer].neurons.cpu(),
            before=slot.value_slots(edits[layer].neurons),
        )
        for layer, slot in chosen.items()
    )
    opened = _OPEN.setdefault(specimen.model, [])
    opened.append(held)
    handle = OpenEdit()
    try:
        for layer, slot in chosen.items():
            _write(slot, edits[layer].neurons, edits[layer].values)
        yield handle
    except BaseException:
        handle.committed = False
        raise
    finally:
        place = next(i for i, other in enumerate(opened) if other is held)
        later = [each for other in opened[place + 1 :] for each in other]
        del opened[place]
        if not handle.committed:
            for each in held:
                _put_back(each, later)


def slot_layers(specimen: Specimen) -> tuple[int, ...]:
    """Name for each layer the first one with the same value slots: itself, but for ALBERT.

    Neurons of layers that run one shared block (0, 0, 0, ... here) write through the same slots,
    so an edit counts them once.

    Raises:
        VesaliusError: quantised weights, or parts that were not found. No shapes.

    Source: the parts table of docs/architecture.md.
    """
    first: dict[int, int] = {}
    return tuple(
        first.setdefault(id(slot.weight), layer) for layer, slot in enumerate(_slots(specimen))
    )


def read_slots(
    specimen: Specimen, layer: int, neurons: Int[Tensor, " neuron"]
) -> Float[Tensor, "neuron d_model"]:
    """Copy the value slots of some neurons of a layer, shape [neuron, d_model].

    Raises:
        VesaliusError: no such layer or neuron, or weights that cannot be read.

    Source: arXiv 2104.08696, section 3.
    """
    slots = _slots(specimen)
    slot = _layer(slots, layer)
    _check_neurons(slot, layer, neurons)
    return slot.value_slots(neurons)


def _slots(specimen: Specimen) -> tuple[LinearMap, ...]:
    """What each layer's neurons write through, in the order the blocks run."""
    try:
        slots = tuple(call.feed_forward for call in specimen.plan.calls)
    except VesaliusError:
        for block in specimen.parts.blocks:
            _ = block.feed_forward.weight  # weights that cannot be edited are the clearer reason
        raise
    if away := [slot.name for slot in slots if slot.weight.is_meta]:
        raise VesaliusError(
            given=f"{away[0]}: weights that are not in memory (offloaded)",
            expected="weights on a device",
            fix="open the model without offloading",
        )
    return slots


def _refuse_shared(chosen: Mapping[int, LinearMap]) -> None:
    first: dict[int, int] = {}
    for layer, slot in chosen.items():
        other = first.setdefault(id(slot.weight), layer)
        if other != layer:
            raise VesaliusError(
                given=f"edits of layers {other} and {layer}, which share their weights",
                expected="one edit for a block that runs several times",
                fix="put all neurons into one edit: it changes the block wherever it runs",
            )


def _layer(slots: Sequence[LinearMap], layer: int) -> LinearMap:
    if not 0 <= layer < len(slots):
        raise VesaliusError(
            given=f"layer {layer}",
            expected=f"a layer from 0 to {len(slots) - 1}",
            fix="count layers from 0, from the input upwards",
        )
    return slots[layer]


def _check_neurons(slot: LinearMap, layer: int, neurons: Tensor) -> None:
    inside = bool(((neurons >= 0) & (neurons < slot.num_inputs)).all())
    distinct = neurons.unique().numel() == neurons.numel()
    if not inside or not distinct:
        raise VesaliusError(
            given=f"neurons {neurons.tolist()[:8]} of layer {layer}",
            expected=f"distinct indices from 0 to {slot.num_inputs - 1}",
            fix="take them from a result of neurons.locate on this model",
        )


def _checked(slots: Sequence[LinearMap], layer: int, edit: SlotEdit) -> LinearMap:
    slot = _layer(slots, layer)
    _check_neurons(slot, layer, edit.neurons)
    wanted = (len(edit.neurons), slot.num_outputs)
    if tuple(edit.values.shape) != wanted or not bool(torch.isfinite(edit.values).all()):
        raise VesaliusError(
            given=f"value slots of shape {tuple(edit.values.shape)}",
            expected=f"finite numbers of shape {wanted}, [neuron, d_model]",
            fix="start from specimen.plan.calls[layer].feed_forward.value_slots(neurons)",
        )
    return slot


def _put_back(held: _Held, later: Sequence[_Held]) -> None:
    """Restore slots; those that a later edit holds are handed to it, to put back in its turn."""
    free = torch.ones(len(held.neurons), dtype=torch.bool)
    for other in later:
        if other.slot.weight is not held.slot.weight:
            continue
        both = free & torch.isin(held.neurons, other.neurons)
        places = (held.neurons[both].unsqueeze(1) == other.neurons).int().argmax(dim=1)
        other.before[places.to(other.before.device)] = held.before[both.to(held.before.device)]
        free &= ~both
    kept = free.to(held.before.device)
    _write(held.slot, held.neurons[free], held.before[kept])


def _write(slot: LinearMap, neurons: Tensor, values: Tensor) -> None:
    weight = slot.weight
    with torch.no_grad():
        given = values.to(weight)
        index = neurons.to(weight.device)
        if slot.input_axis == 0:
            weight.data[index] = given
        else:
            weight.data[:, index] = given.T
