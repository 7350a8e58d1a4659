"""The definitions of the papers, written plainly: one layer, one node, one full forward at a time.

Slow on purpose. Nothing of the staircase is used; hooks are set on modules by hand.
"""

import torch
from torch import Tensor, nn

from vesalius.models.attention import AttentionCall, attention_seam, tapped
from vesalius.models.batch import Batch
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.softmax_watch import watched
from vesalius.models.specimen import Specimen
from vesalius.numerics.quadrature import Rule


def neuron_attributions(
    specimen: Specimen, batch: Batch, objective: object, rule: Rule, *, start: list | None = None
) -> list[Tensor]:
    """Attr(w) = (w - b) * sum_k c_k dF(b + a_k (w - b))/dw by layer, b = 0 in arXiv 2104.08696."""
    clean = clean_neurons(specimen, batch)
    begun = [torch.zeros_like(w) for w in clean] if start is None else start
    return [
        _integral(specimen, batch, objective, rule, layer, w, b)
        for layer, (w, b) in enumerate(zip(clean, begun, strict=True))
    ]


def clean_neurons(specimen: Specimen, batch: Batch) -> list[Tensor]:
    seen: list[Tensor] = []
    hooks = [
        part.feed_forward.module.register_forward_pre_hook(
            lambda _m, args, part=part: seen.append(
                _unfold(args[0], batch.num_prompts)[
                    torch.arange(batch.num_prompts), batch.rows_of(part.stack)
                ]
            )
        )
        for part in specimen.parts.blocks
    ]
    with torch.no_grad():
        run_model(specimen.model, batch)
    for hook in hooks:
        hook.remove()
    return seen


def _unfold(states: Tensor, num_prompts: int) -> Tensor:
    """OPT folds batch and position into one axis."""
    return states.reshape(num_prompts, -1, states.shape[-1])


def _integral(
    specimen: Specimen,
    batch: Batch,
    objective: object,
    rule: Rule,
    layer: int,
    w: Tensor,
    start: Tensor,
) -> Tensor:
    total = torch.zeros_like(w)
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        point = (start + node * (w - start)).detach().requires_grad_()
        calls = iter(range(100))

        def put(_m: nn.Module, args: tuple, rows: Tensor, point=point, calls=calls) -> tuple:
            if next(calls) != layer:
                return args
            states = _unfold(args[0], len(rows)).clone()
            states[torch.arange(len(rows)), rows] = point
            return (states.reshape(args[0].shape),)

        hooks = [
            part.feed_forward.module.register_forward_pre_hook(
                lambda m, args, part=part, put=put: put(m, args, batch.rows_of(part.stack))
            )
            for part in specimen.parts.blocks
        ]
        value = _value(specimen, batch, objective)
        for hook in hooks:
            hook.remove()
        total += weight * torch.autograd.grad(value.sum(), point)[0]
    return (w - start) * total


def attention_attributions(
    specimen: Specimen, batch: Batch, objective: object, rule: Rule, *, start: list | None = None
) -> list[Tensor]:
    """Attr_h(A) = (A_h - B_h) * sum_k c_k dF(B + a_k (A - B))/dA_h, B = 0 in arXiv 2004.11207."""
    modules = [a.module for p in specimen.parts.blocks for a in p.attentions]
    registry = specimen.plan.seam == "registry"
    with attention_seam(specimen.model, modules=modules):
        clean: list[Tensor] = []
        _run_with(specimen, batch, registry, lambda _i, a: clean.append(a.detach()) or a)
        begun = [torch.zeros_like(a) for a in clean] if start is None else start
        return [
            _attention_integral(specimen, batch, objective, rule, i, a, b, registry)
            for i, (a, b) in enumerate(zip(clean, begun, strict=True))
        ]


def _attention_integral(specimen, batch, objective, rule, index, weights, start, registry):
    total = torch.zeros_like(weights)
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        point = (start + node * (weights - start)).detach().requires_grad_()
        logits = _run_with(specimen, batch, registry, lambda i, a, p=point: p if i == index else a)
        value = objective(logits, torch.arange(batch.num_prompts))
        total += weight * torch.autograd.grad(value.sum(), point)[0]
    return (weights - start) * total


def _run_with(specimen, batch, registry, change) -> Tensor:
    """One forward in which ``change(call number, probabilities)`` takes the place of each A."""
    modules = [a.module for p in specimen.parts.blocks for a in p.attentions]
    count = iter(range(1000))

    def tap(call: AttentionCall) -> Tensor:
        weights = change(next(count), call.weights())
        return (weights @ call.values()).transpose(1, 2).contiguous()

    def watch(weights: Tensor) -> Tensor:
        return change(next(count), weights)

    context = (
        tapped(dict.fromkeys(modules, tap)) if registry else watched(dict.fromkeys(modules, watch))
    )
    with context:
        return logits_row(run_model(specimen.model, batch).logits, batch)


def _value(specimen: Specimen, batch: Batch, objective) -> Tensor:
    logits = logits_row(run_model(specimen.model, batch).logits, batch)
    return objective(logits, torch.arange(batch.num_prompts))
