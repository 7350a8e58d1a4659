"""The neuron seam: read or replace the input of a feed-forward block's last linear map.

The same object in every dense family: ``act(x W1)`` of BERT and GPT-2, ``act(gate) * up`` of gated
ones. A forward pre-hook sees it; nothing of the model is copied or patched.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.calls import take_rows
from vesalius.models.ladder import run_model
from vesalius.models.parts import BlockPart, Parts

Replace = Callable[[int, Tensor], Tensor]


@contextmanager
def neurons_replaced(
    parts: Parts, replace: Replace, *, num_prompts: int
) -> Generator[list[int], None, None]:
    """Pass every block's neurons through ``replace(layer, neurons)`` while the context is open.

    ``neurons`` has shape [batch, position, neuron]; ``layer`` counts block calls from 0, so the
    context holds one forward pass. Yields a list that grows by one layer index for each
    replacement, so that a caller can hold it against the plan.

    Args:
        parts: the parts table of the model.
        replace: returns a tensor of the same shape.
        num_prompts: batch size, for blocks that fold batch and position into one axis.

    Source: seam 1 of docs/architecture.md.
    """
    fired: list[int] = []

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        states = args[0]
        unfolded = states.reshape(num_prompts, -1, states.shape[-1])
        replaced = replace(len(fired), unfolded)
        fired.append(len(fired))
        return (replaced.reshape(states.shape), *args[1:])

    handles = [part.feed_forward.module.register_forward_pre_hook(hook) for part in parts.blocks]
    try:
        yield fired
    finally:
        for handle in handles:
            handle.remove()


def row_replaced(
    neurons: Float[Tensor, "batch position neuron"],
    rows: Int[Tensor, " batch"],
    values: Float[Tensor, "batch neuron"],
) -> Float[Tensor, "batch position neuron"]:
    """Put other values on one row of every prompt, differentiably.

    Source: ``torch.Tensor.index_put``.
    """
    rows = rows.to(neurons.device)
    return neurons.index_put((torch.arange(len(rows), device=rows.device), rows), values)


def read_neurons(
    model: nn.Module, parts: Parts, batch: Batch, *, calls: Sequence[BlockPart]
) -> list[Float[Tensor, "batch neuron"]]:
    """Read the neurons of every layer at the row of interest, without gradients.

    Args:
        model: the model, in evaluation mode.
        parts: its parts table.
        batch: prompts and rows.
        calls: the blocks in the order they run, ``specimen.plan.calls``.

    Raises:
        VesaliusError: a different number of feed-forward layers fired.

    Source: arXiv 2104.08696, section 3.1.
    """
    seen: list[Tensor] = []

    def keep(layer: int, neurons: Tensor) -> Tensor:
        seen.append(take_rows(neurons, batch.rows_of(calls[layer].stack))[:, 0])
        return neurons

    with torch.no_grad(), neurons_replaced(parts, keep, num_prompts=batch.num_prompts) as fired:
        run_model(model, batch)
    check_fired(fired, len(calls), model)
    return seen


def check_fired(fired: Sequence[int], expected: int, model: nn.Module) -> None:
    """Hold the number of hooks that fired against the plan.

    Raises:
        VesaliusError: the two differ; the class of the model is named. No shapes.

    Source: seam 3 of docs/architecture.md.
    """
    if len(fired) != expected:
        raise VesaliusError(
            given=f"{type(model).__name__}: {len(fired)} feed-forward layers fired in one pass",
            expected=f"{expected} layers, one for each block call",
            fix="run `vesalius check MODEL`; a fused or skipped feed-forward cannot be hooked",
        )
