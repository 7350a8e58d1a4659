"""An edit of value slots: planned, saved, put in force, undone, or written as a checkpoint.

Source: arXiv 2104.08696, section 5; reversible edits: seam 5 of docs/architecture.md.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.card import RunCard
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.models.edits import OpenEdit, SlotEdit, read_slots, slot_layers, slots_edited
from vesalius.models.replay import check_neurons
from vesalius.models.specimen import Specimen

NOTE: Final = "vesalius_edit.json"  # stands in a checkpoint: what was edited, and that it is ours


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Edit(AbstractResult):
    """New value slots for some neurons of one model; making it leaves the model alone.

    ``method`` is "update", "erase" or "rank-one". ``layers`` and ``neurons`` [slot] name the slots,
    ``before`` and ``after`` [slot, d_model] are what they hold, as the model's own type rounds it.
    ``answer`` should become ``new_answer`` (both "" where a relation is erased). ``dropped`` holds
    the neurons that were left alone because the facts of the relation share them.
    """

    kind: ClassVar[str] = "knowledge_neurons.edit"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("knowledge_neurons",)

    method: str
    prompts: tuple[str, ...]
    answer: str
    new_answer: str
    layers: Int[np.ndarray, " slot"]
    neurons: Int[np.ndarray, " slot"]
    before: Float[np.ndarray, "slot d_model"]
    after: Float[np.ndarray, "slot d_model"]
    dropped: tuple[Neuron, ...]

    def __post_init__(self) -> None:
        """Cite the other paper for the other method."""
        if self.method == "rank-one":
            object.__setattr__(self, "citations", ("rank_one_editing",))

    @property
    def slots(self) -> tuple[Neuron, ...]:
        """The edited slots as (layer, neuron) pairs."""
        return tuple(zip(self.layers.tolist(), self.neurons.tolist(), strict=True))

    @property
    def size(self) -> float:
        """How far the slots move: |after - before| over |before|, both over all slots."""
        length = float(np.linalg.norm(self.before))
        moved = float(np.linalg.norm(self.after - self.before))
        if not length:  # slots erased before: nothing moved, or they moved from nothing
            return np.inf if moved else 0.0
        return moved / length

    def to_table(self) -> pa.Table:
        """The slots with the length of their vector before, after, and of the change.

        Source: arXiv 2104.08696, section 5.
        """
        return pa.table(
            {
                "layer": self.layers,
                "neuron": self.neurons,
                "norm_before": np.linalg.norm(self.before, axis=1),
                "norm_after": np.linalg.norm(self.after, axis=1),
                "norm_change": np.linalg.norm(self.after - self.before, axis=1),
            }
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()


def plan_edit(
    specimen: Specimen,
    values: Mapping[int, SlotEdit],
    *,
    card: RunCard,
    method: str,
    prompts: Sequence[str] = (),
    answer: str = "",
    new_answer: str = "",
    dropped: Sequence[Neuron] = (),
) -> Edit:
    """Turn new value slots by layer, each [neuron, d_model], into an edit of this model.

    Raises:
        VesaliusError: a slot that is not there, or values that the weights' type cannot hold.

    Source: arXiv 2104.08696, section 5.
    """
    layers = sorted(values)
    before = [read_slots(specimen, layer, values[layer].neurons) for layer in layers]
    after = [values[layer].values.to(old) for layer, old in zip(layers, before, strict=True)]
    if not all(bool(torch.isfinite(new).all()) for new in after):
        raise VesaliusError(
            given=f"new value slots that are no finite numbers in {specimen.dtype}",
            expected="an edit that the type of the weights can hold",
            fix="open the model in float32, or take smaller weights for the edit",
        )
    counts = [len(values[layer].neurons) for layer in layers]
    return Edit(
        card=card,
        method=method,
        prompts=tuple(prompts),
        answer=answer,
        new_answer=new_answer,
        layers=np.repeat(np.array(layers, dtype=np.int64), counts),
        neurons=np.concatenate([values[layer].neurons.cpu().numpy() for layer in layers]),
        before=_stored(before),
        after=_stored(after),
        dropped=tuple(dropped),
    )


def _stored(slots: Sequence[Tensor]) -> Float[np.ndarray, "slot d_model"]:
    """Half precision goes into single precision, which holds it exactly."""
    stacked = torch.cat(list(slots)).cpu()
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32)).numpy()


@contextmanager
def edited(
    specimen: Specimen, edit: Edit, *, stacked: bool = False
) -> Generator[OpenEdit, None, None]:
    """Put an edit in force while the context is open; undone bit for bit, unless committed.

    Edits nest, and may close in any order: plan the second while the first is in force, or, where
    both were planned for the untouched model, open the second with ``stacked=True``. Then a slot
    that is as the edit found it gets the planned value, and one that has changed since gets the
    planned change on top (an erased one is zero in any case). Where an edit that is undone has
    slots in common with one that was committed inside it, those go back too: commit both.

    Args:
        specimen: the opened model.
        edit: what ``update``, ``erase`` or ``rank_one`` planned.
        stacked: whether the model may have other weights than those the edit was planned for.

    Raises:
        VesaliusError: another model or other weights, or slots that are not there. The slots
            [slot, d_model] then stay as they are.

    Source: seam 5 of docs/architecture.md.
    """
    if not stacked:
        _insist_on_the_weights(specimen, edit)
    with slots_edited(specimen, _by_layer(specimen, edit)) as handle:
        yield handle


def _insist_on_the_weights(specimen: Specimen, edit: Edit) -> None:
    found = specimen.fingerprint
    if found != edit.card.model_fingerprint:
        raise VesaliusError(
            given=f"an edit of {edit.card.model} with the weights {edit.card.model_fingerprint}, "
            f"for {specimen.name} with the weights {found}",
            expected="the weights for which the edit was planned",
            fix="plan it again on this model; to put it on top of other edits of the same model, "
            "pass stacked=True",
        )


def _by_layer(specimen: Specimen, edit: Edit) -> dict[int, SlotEdit]:
    by_layer: dict[int, SlotEdit] = {}
    for layer in dict.fromkeys(edit.layers.tolist()):
        chosen = edit.layers == layer
        neurons = torch.from_numpy(edit.neurons[chosen])
        now = read_slots(specimen, layer, neurons)
        if now.shape[1] != edit.before.shape[1]:
            raise VesaliusError(
                given=f"value slots of width {edit.before.shape[1]} for {specimen.name}",
                expected=f"slots of width {now.shape[1]}",
                fix="plan the edit on this model",
            )
        before, after = (
            torch.from_numpy(part[chosen]).to(now) for part in (edit.before, edit.after)
        )
        if edit.method != "erase":
            changed = (now != before).any(dim=1, keepdim=True)
            after = torch.where(changed, now + (after - before), after)
        by_layer[layer] = SlotEdit(neurons=neurons, values=after)
    return by_layer


def write_checkpoint(
    specimen: Specimen,
    edit: Edit,
    folder: str | Path,
    *,
    force: bool = False,
    stacked: bool = False,
) -> Path:
    """Write the edited model as an ordinary checkpoint; the opened model comes back untouched.

    ``AutoModelFor...from_pretrained(folder)`` of plain transformers gives the edited logits. The
    tokenizer goes along, and a note ``vesalius_edit.json`` of what was edited. No shapes.

    Args:
        specimen: the opened model.
        edit: what ``update``, ``erase`` or ``rank_one`` planned.
        folder: a new folder.
        force: whether a checkpoint that this function wrote may be replaced.
        stacked: see :func:`edited`.

    Returns:
        The path.

    Raises:
        VesaliusError: the folder exists, other weights, an adapter (PEFT) model, or one that
            cannot save itself.

    Source: seam 5 of docs/architecture.md.
    """
    if hasattr(specimen.model, "peft_config") or not hasattr(specimen.model, "save_pretrained"):
        raise VesaliusError(
            given=f"{specimen.name}, a {type(specimen.model).__name__}",
            expected="a transformers model that saves all of its weights",
            fix="merge an adapter first, with model.merge_and_unload(), and plan the edit again",
        )
    saved: Any = specimen.model
    with (
        new_folder(folder, force=force, marker=NOTE) as partial,
        edited(specimen, edit, stacked=stacked),
    ):
        saved.save_pretrained(partial)
        if specimen.tokenizer is not None:
            specimen.tokenizer.save_pretrained(partial)
        text = json.dumps(_note(specimen, edit), ensure_ascii=False, indent=1)
        (partial / NOTE).write_text(text + "\n", encoding="utf-8")
    return Path(folder)


def _note(specimen: Specimen, edit: Edit) -> dict[str, Any]:
    return {
        "method": edit.method,
        "prompts": list(edit.prompts),
        "answer": edit.answer,
        "new_answer": edit.new_answer,
        "slots": [list(slot) for slot in edit.slots],
        "config": edit.card.config,
        "model": edit.card.model,
        "planned_for_fingerprint": edit.card.model_fingerprint,
        "fingerprint": specimen.fingerprint,
        "versions": edit.card.versions,
    }


def distinct_slots(specimen: Specimen, neurons: Sequence[Neuron]) -> tuple[Neuron, ...]:
    """Name the value slots of some neurons, each once; layers that share a block share slots.

    Raises:
        VesaliusError: no pairs of whole numbers, or a neuron that is not there. No shapes.

    Source: arXiv 2104.08696, section 3; ALBERT's shared block is our own case.
    """
    try:
        pairs = [(index(layer), index(neuron)) for layer, neuron in neurons]
    except (TypeError, ValueError) as error:
        raise VesaliusError(
            given=f"neurons={neurons!r}"[:200],
            expected="(layer, neuron) pairs of whole numbers",
            fix="write them as [(3, 117), (3, 410)], or take those of neurons.locate",
        ) from error
    check_neurons(specimen, [pairs])
    first = slot_layers(specimen)
    return tuple(dict.fromkeys((first[layer], neuron) for layer, neuron in pairs))
