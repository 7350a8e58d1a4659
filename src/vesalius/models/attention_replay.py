"""What a model says when its attention is changed: heads gated, links taken out, many ways at once.

A clean pass is recorded; a stream for each way leaves it at the lowest layer that the way changes,
so that nothing below is computed again, and only the row that is read goes through the head.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.attention_changes import (
    AbstractChange,
    ChangedLinks,
    HeadGates,
    LinkChange,
    ZeroLeaves,
    climb_changed,
)
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.costs import stream_cost
from vesalius.models.ladder import Ladder, record
from vesalius.models.objectives import Objective
from vesalius.models.plan import Plan
from vesalius.models.sites import SoftmaxNotes
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import open_seam
from vesalius.parallel.memory import DEFAULT_BYTES

# autograd keeps every block of a stream; without it about two blocks' worth is alive at a time
_ALIVE: Final = 2
_SQUARES: Final = 3  # matrices [head, query, key] alive while links are changed


def read_attention(
    specimen: Specimen, batch: Batch, *, without_words: bool = False
) -> tuple[list[Tensor], Float[Tensor, "batch vocab"]]:
    """Read the attention probabilities of every site in one pass without gradients.

    Args:
        specimen: the opened model.
        batch: what it reads.
        without_words: whether the vectors of its input tokens (or patches) are zero, so that only
            positions and segments tell them apart.

    Returns:
        By site, shape [batch, head, query, key]; and the logits, shape [batch, vocab].

    Raises:
        VesaliusError: attention that can be reached in no known way.

    Source: seam 2 of docs/architecture.md; without words: a baseline of the code of
    arXiv 2004.11207.
    """
    _need_seam(specimen)
    batch = batch.to(specimen.device)
    plan = specimen.plan  # before a hook is set: a plan belongs to the hooks it was made with
    notes = SoftmaxNotes(specimen.parts)
    with specimen.at_rest(), torch.no_grad(), open_seam(specimen, plan, neurons=False):
        with _silenced(specimen.model, without_words):
            if plan.seam == "registry":
                ladder = _recorded(specimen, plan, batch)
                calls = [call for c in ladder.calls for call in ladder.seam_calls[c.index]]
                return [call.weights() for call in calls], ladder.logits
            with notes.watching():
                ladder = _recorded(specimen, plan, batch)
        return [site.signal for site in notes.sites(ladder)], ladder.logits


def visible_keys(specimen: Specimen, batch: Batch) -> list[Bool[Tensor, "batch head query key"]]:
    """Tell by site which keys a query can see: what a mask or a window leaves it.

    A probability may underflow to 0 though its key can be seen, so on registered classes the
    kernel is asked again with queries of zero, which like all keys alike. Watched classes are
    judged by their probabilities.

    Returns:
        By site, shape [batch, head, query, key].

    Raises:
        VesaliusError: attention that can be reached in no known way.

    Source: seam 2 of docs/architecture.md.
    """
    _need_seam(specimen)
    plan = specimen.plan
    if plan.seam != "registry":
        return [weights > 0 for weights in read_attention(specimen, batch)[0]]
    with specimen.at_rest(), torch.no_grad(), open_seam(specimen, plan, neurons=False):
        ladder = _recorded(specimen, plan, batch.to(specimen.device))
        calls = [call for c in ladder.calls for call in ladder.seam_calls[c.index]]
        return [replace(call, query=torch.zeros_like(call.query)).weights() > 0 for call in calls]


def replay_heads(
    specimen: Specimen,
    batch: Batch,
    gates: Float[Tensor, "set batch_or_one site head"],
    *,
    memory_bytes: int = DEFAULT_BYTES,
) -> Float[Tensor, "set batch vocab"]:
    """Read the logits with the attention of every head multiplied by a gate: 0 removes the head.

    Args:
        specimen: the opened model; nothing of it changes.
        batch: what it reads.
        gates: shape [set, batch, site, head], or [set, 1, site, head] for all prompts alike; what
            stands beyond the heads of a site is ignored.
        memory_bytes: what the streams may take at once.

    Returns:
        Shape [set, batch, vocab], in single precision or better.

    Raises:
        VesaliusError: attention that can be reached in no known way, or gates of other sites.

    Source: pruning by masking, arXiv 2004.11207, section 4.3; the climb: docs/architecture.md.
    """
    sites = attention_sites(specimen)
    widest = max(site.num_heads for site in sites)
    if gates.shape[2] != len(sites) or gates.shape[3] < widest:
        raise VesaliusError(
            given=f"gates of shape {list(gates.shape)}",
            expected=f"[set, prompt, site, head] with {len(sites)} sites and {widest} heads",
            fix="start from torch.ones and set removed heads to 0",
        )
    gates = gates.to(specimen.device).expand(-1, batch.num_prompts, -1, -1)
    closed = [[bool((gates[i, :, s.index] != 1).any()) for s in sites] for i in range(len(gates))]
    lowest = [
        min((s.layer for s in sites if shut[s.index]), default=specimen.num_layers - 1)
        for shut in closed
    ]
    return _replayed(specimen, batch, lowest, lambda sets, prompt: HeadGates(gates[sets, prompt]),
                     memory_bytes=memory_bytes, squares=False)  # fmt: skip


def replay_links(
    specimen: Specimen,
    batch: Batch,
    change: LinkChange,
    *,
    num_sets: int,
    memory_bytes: int = DEFAULT_BYTES,
) -> Float[Tensor, "set batch vocab"]:
    """Read the logits with the attention probabilities of every site changed, in several ways.

    Args:
        specimen: the opened model; nothing of it changes.
        batch: what it reads.
        change: from a site, its probabilities [stream, head, query, key], and set and prompt of
            every stream [stream], to the probabilities that take their place.
        num_sets: number of ways.
        memory_bytes: what the streams may take at once.

    Returns:
        Shape [set, batch, vocab], in single precision or better.

    Raises:
        VesaliusError: attention that can be reached in no known way.

    Source: deletion tests of arXiv 2004.11207, section 4.2; the climb: docs/architecture.md.
    """
    return _replayed(
        specimen, batch, [0] * num_sets, lambda sets, prompt: ChangedLinks(change, sets, prompt),
        memory_bytes=memory_bytes, squares=True,
    )  # fmt: skip


def head_sensitivity(
    specimen: Specimen, batch: Batch, *, objective: Objective, memory_bytes: int = DEFAULT_BYTES
) -> list[Float[Tensor, "batch head query"]]:
    """Multiply every head's output by its gradient, summed over the head's width, query by query.

    That is the sum over keys of A dF/dA, the first-order estimate of what the head adds to F.

    Args:
        specimen: the opened model.
        batch: what it reads.
        objective: from logits [stream, vocab] and prompt [stream] to values [stream].
        memory_bytes: bounds what autograd keeps.

    Returns:
        By site, shape [batch, head, query].

    Raises:
        VesaliusError: attention that can be reached in no known way.

    Source: Michel et al. 2019, arXiv 1905.10650, equation 2.
    """
    _need_seam(specimen)
    batch = batch.to(specimen.device)
    plan = specimen.plan
    cost = stream_cost(specimen, plan, batch)
    everyone = torch.arange(batch.num_prompts, device=batch.row.device)
    found: list[list[Tensor]] = []
    with specimen.at_rest(), open_seam(specimen, plan, neurons=False):
        for prompts in everyone.split(cost.prompts_at_once(memory_bytes, num_nodes=1)):
            ladder = _recorded(specimen, plan, batch.select(prompts))
            leaves = ZeroLeaves()
            with torch.enable_grad():
                own = torch.arange(len(prompts), device=prompts.device)
                logits = climb_changed(specimen, ladder, 0, own, leaves)
                values = objective(_wide(logits), prompts)
                gradients = torch.autograd.grad(values.sum(), [leaf for leaf, _ in leaves.seen])
            found.append(
                [
                    _per_query(value * gradient, heads_last=leaves.heads_last)
                    for (_, value), gradient in zip(leaves.seen, gradients, strict=True)
                ]
            )
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _per_query(product: Tensor, *, heads_last: bool) -> Tensor:
    """Sum [batch, query, head, d_head] or [batch, head, query, key] to [batch, head, query]."""
    summed = _wide(product).sum(-1)
    return summed.transpose(1, 2) if heads_last else summed


def _replayed(
    specimen: Specimen,
    batch: Batch,
    lowest: Sequence[int],
    make: Callable[[Int[Tensor, " stream"], Int[Tensor, " stream"]], AbstractChange],
    *,
    memory_bytes: int,
    squares: bool,
) -> Tensor:
    """Climb with every set, those that begin in like layers together; [set, batch, vocab]."""
    _need_seam(specimen)
    batch = batch.to(specimen.device)
    order = sorted(range(len(lowest)), key=lowest.__getitem__)
    plan = specimen.plan
    parts: list[Tensor] = []
    with specimen.at_rest(), torch.no_grad(), open_seam(specimen, plan, neurons=False):
        everyone = torch.arange(batch.num_prompts, device=batch.row.device)
        for prompts in everyone.split(_at_once(specimen, batch, memory_bytes, squares=squares)):
            ladder = _recorded(specimen, plan, batch.select(prompts))
            at_once = _at_once(specimen, batch, memory_bytes, squares=squares) // len(prompts)
            rows: dict[int, Tensor] = {}
            for first in range(0, len(order), max(1, at_once)):
                chosen = order[first : first + max(1, at_once)]
                sets = torch.tensor(chosen, device=prompts.device).repeat_interleave(len(prompts))
                within = torch.arange(len(prompts), device=prompts.device).repeat(len(chosen))
                change = make(sets, prompts[within])
                logits = climb_changed(specimen, ladder, lowest[chosen[0]], within, change)
                rows |= dict(
                    zip(chosen, _wide(logits).unflatten(0, (len(chosen), -1)), strict=True)
                )
            nothing = ladder.logits.new_zeros(0, len(prompts), ladder.logits.shape[1])
            parts.append(torch.stack([rows[i] for i in range(len(lowest))]) if rows else nothing)
    return torch.cat(parts, dim=1)


def _at_once(specimen: Specimen, batch: Batch, memory_bytes: int, *, squares: bool) -> int:
    """How many streams fit the memory, at least one."""
    cost = stream_cost(specimen, specimen.plan, batch)
    each = _ALIVE * max(cost.blocks) + cost.head
    if squares:
        lengths = [v.shape[1] for v in batch.inputs.values() if v.dim() == 2]
        positions = max(lengths, default=specimen.plan.num_positions)
        heads = max(site.num_heads for site in attention_sites(specimen))
        each += _SQUARES * heads * positions**2 * specimen.dtype.itemsize
    return max(1, memory_bytes // max(1, each))


def _recorded(specimen: Specimen, plan: Plan, batch: Batch) -> Ladder:
    return record(
        specimen.model,
        specimen.parts,
        batch,
        seam=plan.seam == "registry",
        first_axes=plan.first_axes,
        slices_tail=plan.slices(batch),
    )


@contextmanager
def _silenced(model: Any, wanted: bool) -> Generator[None, None, None]:
    """Let the input embedding give zeros, and what shares its weight in encoder and decoder."""
    if not wanted:
        yield
        return

    def hush(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    embedding = model.get_input_embeddings()
    weight = getattr(embedding, "weight", None)
    twins = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.weight is weight]
    hooks = [module.register_forward_hook(hush) for module in twins or [embedding]]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _need_seam(specimen: Specimen) -> None:
    plan = specimen.plan
    if plan.seam == "none" or plan.unclimbable:
        raise VesaliusError(
            given=f"{specimen.name}: "
            + (plan.unclimbable or "attention that neither calls the registry nor one softmax"),
            expected="an attention class that `vesalius check` lists as supported",
            fix="open another architecture, or register this class with AttentionInterface",
        )


def _wide(numbers: Tensor) -> Tensor:
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
