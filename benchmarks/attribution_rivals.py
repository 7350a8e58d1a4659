"""Other ways to the same numbers: the papers' own way, and captum.

Written from the description of what the papers' code computes, on the same model object as ours.
Where the description leaves a choice, the faster one is taken for the rival: the output layer runs
at the target position only, states are overwritten in place, attention that is not scaled runs on
torch's fused kernel, and the forward that reads the neurons keeps no graph.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Inputs = dict[str, Tensor]


def paper_neurons(
    model: nn.Module, inputs: Inputs, row: int, answer: int, *, num_points: int = 20
) -> list[Tensor]:
    """Left Riemann sums layer by layer, each a full pass from the embeddings (2104.08696).

    Parameters keep ``requires_grad``, so autograd stores the activations of all layers; gradients
    are asked for the scaled neurons alone.
    """
    found = []
    for layer in model.bert.encoder.layer:
        clean = _read_neurons(model, layer, inputs, row)
        step = clean / num_points
        points = torch.cat([step * k for k in range(num_points)]).requires_grad_()
        value = _probability_with(model, layer, points, inputs, row, answer)
        (gradient,) = torch.autograd.grad(torch.unbind(value), points)
        found.append(gradient.sum(0) * step[0])
    return found


def captum_neurons(
    model: nn.Module, inputs: Inputs, row: int, answer: int, *, num_points: int = 50
) -> list[Tensor]:
    """captum's IntegratedGradients on a function of one layer's neurons at the mask.

    Its LayerIntegratedGradients scales a layer at every position, which is another quantity. The
    rule is its default, Gauss-Legendre. Parameters are frozen, which spares autograd work.
    """
    from captum.attr import IntegratedGradients

    found = []
    with frozen(model):
        for layer in model.bert.encoder.layer:
            clean = _read_neurons(model, layer, inputs, row)

            def value(points: Tensor, layer: nn.Module = layer) -> Tensor:
                return _probability_with(model, layer, points, inputs, row, answer)

            method = IntegratedGradients(value)
            found.append(method.attribute(clean, n_steps=num_points)[0].detach())
    return found


def _read_neurons(model: nn.Module, layer: nn.Module, inputs: Inputs, row: int) -> Tensor:
    """One full pass for the neurons of one layer, [1, neuron]."""
    seen: list[Tensor] = []
    hook = layer.output.dense.register_forward_pre_hook(
        lambda _m, args: seen.append(args[0][:, row].clone())
    )
    with torch.no_grad():
        model.bert(**inputs)
    hook.remove()
    return seen[0]


def _probability_with(
    model: nn.Module, layer: nn.Module, points: Tensor, inputs: Inputs, row: int, answer: int
) -> Tensor:
    """A full pass with other neurons at one position of one layer, one stream for each point."""

    def put(_module: nn.Module, args: tuple[Any, ...]) -> None:
        args[0][:, row] = points

    hook = layer.output.dense.register_forward_pre_hook(put)
    try:
        return _probability(model, inputs, row, answer, num_streams=len(points))
    finally:
        hook.remove()


def _probability(
    model: nn.Module, inputs: Inputs, row: int, answer: int, *, num_streams: int
) -> Tensor:
    repeated = {name: value.repeat(num_streams, 1) for name, value in inputs.items()}
    hidden = model.bert(**repeated).last_hidden_state[:, row]
    return model.cls(hidden).softmax(-1)[:, answer]


def paper_attention(
    model: nn.Module,
    inputs: Inputs,
    row: int,
    answer: int,
    *,
    num_points: int = 20,
    chunk: int = 20,
) -> list[Tensor]:
    """Left Riemann sums of attention, layer by layer, full passes from the embeddings (2004.11207).

    ``chunk`` points share a pass: 20 in one for the pruning setting, 4 times 16 for explanations.
    """
    found = []
    with paper_attention_seam(model) as replaced:
        for layer in range(len(model.bert.encoder.layer)):
            module = model.bert.encoder.layer[layer].attention.self
            clean = clean_attention(model, inputs, layer)
            step = clean / num_points
            total = torch.zeros_like(clean)
            for start in range(0, num_points, chunk):
                size = min(chunk, num_points - start)
                points = torch.stack([step * k for k in range(start, start + size)])
                replaced[module] = points.requires_grad_()
                value = _probability(model, inputs, row, answer, num_streams=size)
                del replaced[module]
                (gradient,) = torch.autograd.grad(torch.unbind(value), points)
                total += gradient.sum(0)
            found.append(total * step)
    return found


def clean_attention(model: nn.Module, inputs: Inputs, layer: int) -> Tensor:
    """One full pass for the attention probabilities of one layer, [head, query, key]."""
    module = model.bert.encoder.layer[layer].attention.self
    _SEEN[module] = None
    with torch.no_grad():
        model.bert(**inputs)
    weights = _SEEN.pop(module)
    assert weights is not None, "the attention module never reached its kernel"
    return weights[0]


_PAPER = "benchmark_paper_way"
_REPLACED: dict[nn.Module, Tensor] = {}
_SEEN: dict[nn.Module, Tensor | None] = {}


def _kernel(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    if module in _REPLACED:
        return (_REPLACED[module] @ value).transpose(1, 2).contiguous(), None
    if module in _SEEN:
        scores = query @ key.transpose(2, 3) * options["scaling"]
        weights = (scores if mask is None else scores + mask).softmax(-1)
        _SEEN[module] = weights
        return (weights @ value).transpose(1, 2).contiguous(), None
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **options)


AttentionInterface.register(_PAPER, _kernel)
AttentionMaskInterface.register(_PAPER, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


@contextmanager
def paper_attention_seam(model: nn.Module) -> Iterator[dict[nn.Module, Tensor]]:
    """Let the attention probabilities of modules be replaced by what stands in the dictionary."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_PAPER)
    try:
        yield _REPLACED
    finally:
        _REPLACED.clear()
        _SEEN.clear()
        model.set_attn_implementation(before)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Keep autograd from following the parameters."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
