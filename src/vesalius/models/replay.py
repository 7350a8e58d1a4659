"""What a model says when neurons are scaled: many sets of them at once.

A clean pass is recorded; streams for each set leave it at the set's lowest layer, so that nothing
below is computed again, and only the row that is read goes through the head.
"""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.calls import of_streams, take_rows
from vesalius.models.costs import stream_cost
from vesalius.models.ladder import Ladder, Streams, record
from vesalius.models.neurons import check_fired, neurons_replaced
from vesalius.models.objectives import Objective
from vesalius.models.plan import Plan
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import open_seam
from vesalius.parallel.memory import DEFAULT_BYTES

Neurons = Sequence[tuple[int, int]]
# autograd keeps every block of a stream; without it about two blocks' worth is alive at a time
_ALIVE: Final = 2


def replay_scaled(
    specimen: Specimen,
    batch: Batch,
    sets: Sequence[Neurons],
    *,
    factor: float | Sequence[float],
    objective: Objective,
    memory_bytes: int = DEFAULT_BYTES,
) -> Float[Tensor, "set batch"]:
    """Read an objective with each set of neurons multiplied at the row of interest.

    Args:
        specimen: the opened model; nothing of it changes.
        batch: prompts; their row of interest is where neurons are scaled.
        sets: (layer, index) pairs of each set; an empty one gives the clean value.
        factor: what a set's neurons are multiplied by, one for all or one for each set.
        objective: from logits [stream, vocab] and prompt [stream] to values [stream].
        memory_bytes: what the streams may take at once.

    Returns:
        Shape [set, batch].

    Raises:
        VesaliusError: the model cannot be climbed block by block, a neuron that is not there, or
            another number of factors than of sets.

    Source: arXiv 2104.08696, section 4.4; the climb is the staircase's, docs/architecture.md.
    """
    plan = specimen.plan
    factors = _factors(factor, len(sets))
    if plan.unclimbable:
        raise VesaliusError(
            given=f"{specimen.name}: {plan.unclimbable}",
            expected="a model whose blocks hand hidden states straight to each other",
            fix="run `vesalius check MODEL` and report the architecture",
        )
    check_neurons(specimen, sets)
    batch = batch.to(specimen.device)
    cost = stream_cost(specimen, plan, batch)
    each = max(1, batch.num_prompts * (_ALIVE * max(cost.blocks) + cost.head))
    at_once = max(1, memory_bytes // each)
    lowest = [min((layer for layer, _ in found), default=0) for found in sets]
    order = sorted(range(len(sets)), key=lowest.__getitem__)
    values: dict[int, Tensor] = {}
    with specimen.at_rest(), torch.no_grad(), open_seam(specimen, plan, neurons=True):
        ladder = record(
            specimen.model,
            specimen.parts,
            batch,
            seam=plan.seam == "registry",
            first_axes=plan.first_axes,
            slices_tail=plan.slices(batch),
        )
        for first in range(0, len(order), at_once):
            chosen = order[first : first + at_once]
            climb = _Climb(plan, ladder, [sets[i] for i in chosen], [factors[i] for i in chosen])
            found = climb.run(specimen, lowest[chosen[0]], objective)
            values |= dict(zip(chosen, found, strict=True))
    empty = torch.zeros((0, batch.num_prompts), device=batch.row.device)
    return torch.stack([values[i] for i in range(len(sets))]) if sets else empty


class _Climb:
    """One run of streams, set by set, from a layer to the logits."""

    def __init__(
        self, plan: Plan, ladder: Ladder, sets: Sequence[Neurons], factors: Sequence[float]
    ) -> None:
        self.ladder = ladder
        self.num_sets = len(sets)
        device = ladder.logits.device
        self.prompt = torch.arange(ladder.batch.num_prompts, device=device).repeat(len(sets))
        last = ladder.calls[0].num_positions - 1
        self.one_row = plan.last_row and bool((ladder.batch.row == last).all())
        self.scales: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for layer in {layer for found in sets for layer, _ in found}:
            here = [
                (i, n, factors[i]) for i, found in enumerate(sets) for k, n in found if k == layer
            ]
            number, neuron, scale = zip(*here, strict=True)
            self.scales[layer] = (
                torch.tensor(number, device=device),
                torch.tensor(neuron, device=device),
                torch.tensor(scale, device=device),
            )

    def run(
        self, specimen: Specimen, start: int, objective: Objective
    ) -> Float[Tensor, "set batch"]:
        """Climb from layer ``start`` and read the objective, shape [set, batch]."""
        ladder = self.ladder
        call = ladder.calls[start]
        hidden = call.hidden
        if self.one_row:
            hidden = take_rows(hidden, ladder.rows(start))
        memory = None if call.memory is None else of_streams(call.memory, self.prompt)
        streams = Streams(hidden=of_streams(hidden, self.prompt), prompt=self.prompt, memory=memory)
        for index in range(start, len(ladder.calls)):
            streams = self._step(specimen, index, ladder.enter(index, streams))
        logits = ladder.finish(streams)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return objective(wide, self.prompt).reshape(self.num_sets, -1)

    def _step(self, specimen: Specimen, index: int, streams: Streams) -> Streams:
        climb = self.ladder.climb_last_row if self.one_row else self.ladder.climb
        if index not in self.scales:
            return climb(index, streams)

        def scale(_layer: int, neurons: Tensor) -> Tensor:
            return self._scaled(index, neurons)

        part = specimen.parts
        with neurons_replaced(part, scale, num_prompts=len(self.prompt)) as fired:
            climbed = climb(index, streams)
        check_fired(fired, 1, specimen.model)
        return climbed

    def _scaled(self, index: int, neurons: Tensor) -> Tensor:
        """Multiply the neurons of every set in the streams of that set."""
        number, neuron, scale = self.scales[index]
        num_prompts = self.ladder.batch.num_prompts
        each = torch.arange(num_prompts, device=number.device)
        stream = number.unsqueeze(1) * num_prompts + each
        rows = torch.zeros_like(each) if self.one_row else self.ladder.rows(index)
        place = (stream, rows.expand_as(stream), neuron.unsqueeze(1).expand_as(stream))
        return neurons.index_put(place, neurons[place] * scale.unsqueeze(1).to(neurons))


def check_neurons(specimen: Specimen, sets: Sequence[Neurons]) -> None:
    """Refuse neurons that a model does not have; no shapes.

    Raises:
        VesaliusError: a layer or an index outside the model.

    Source: this project.
    """
    calls = specimen.plan.calls
    for layer, neuron in (each for found in sets for each in found):
        if not (0 <= layer < len(calls) and 0 <= neuron < calls[layer].feed_forward.num_inputs):
            raise VesaliusError(
                given=f"neuron {neuron} of layer {layer}",
                expected=f"layers 0 to {len(calls) - 1} and neurons 0 to "
                f"{calls[0].feed_forward.num_inputs - 1}",
                fix="count both from 0, from the input upwards",
            )


def _factors(factor: float | Sequence[float], num_sets: int) -> list[float]:
    if isinstance(factor, Sequence):
        factors = [float(each) for each in factor]
    else:
        factors = [float(factor)] * num_sets
    if len(factors) != num_sets:
        raise VesaliusError(
            given=f"{len(factors)} factors for {num_sets} sets",
            expected="one factor, or one for each set",
            fix="pass factor=0 to suppress all of them",
        )
    return factors
