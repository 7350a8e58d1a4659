"""Attention heads masked as plainly as can be: what pruned models are compared with.

The calls of the attention modules are counted, and what a removed head reads is set to zero.
"""

from collections.abc import Collection

import torch
from torch import Tensor

import families
from vesalius.models.attention import AttentionCall, attention_seam, tapped
from vesalius.models.attention_sites import attention_sites
from vesalius.models.ladder import run_model
from vesalius.models.plan import eager
from vesalius.models.pruned import head_groups
from vesalius.models.softmax_watch import watched
from vesalius.models.specimen import Specimen, task_of

Heads = list[tuple[int, int]]


def specimen_of(
    family: str, dtype: torch.dtype = torch.float32, *, kernel: str = "", seed: int = 0
) -> Specimen:
    model = families.make(family, dtype=dtype, seed=seed)
    if kernel:
        model.set_attn_implementation(kernel)
    return Specimen(model=model, tokenizer=None, name=family, task=task_of(model))


def uneven(specimen: Specimen) -> Heads:
    """From site 0 nothing, from the next a group, from the next two, and so on, one always left."""
    groups = head_groups(specimen)
    if len({id(site.module) for site in attention_sites(specimen)}) == 1:
        return [(site, head) for site in range(len(groups)) for head in (0, 2)]  # ALBERT
    return [
        (site, head)
        for site, own in enumerate(groups)
        for group in own[len(own) - site % len(own) :]
        for head in group
    ]


def logits_of(specimen: Specimen) -> Tensor:
    """The logits of every row that is no padding: a padded one sees what its kernel pleases."""
    batch = specimen.probe()
    with torch.no_grad():
        logits = run_model(specimen.model, batch).logits
    mask = batch.inputs.get("attention_mask")
    by_token = mask is not None and logits.shape[:2] == mask.shape
    return logits[mask.bool()] if by_token else logits


def masked_logits(specimen: Specimen, removed: Collection[tuple[int, int]]) -> Tensor:
    modules = [site.module for site in attention_sites(specimen)]
    calls = iter(range(1000))

    def silenced(states: Tensor, axis: int) -> Tensor:
        call = next(calls)
        states = states.clone()
        for site, head in removed:
            if site == call:
                states.select(axis, head).zero_()
        return states

    def tap(call: AttentionCall) -> Tensor:
        return silenced(call.output(), 2)

    if specimen.plan.seam == "softmax":
        taps = dict.fromkeys(modules, lambda weights: silenced(weights, 1))
        with eager(specimen.model), watched(taps):
            return logits_of(specimen)
    with attention_seam(specimen.model, modules=modules), tapped(dict.fromkeys(modules, tap)):
        return logits_of(specimen)


def num_weights(specimen: Specimen) -> int:
    return sum(p.numel() for p in specimen.model.parameters())
