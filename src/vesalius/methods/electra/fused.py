"""The same draws as `sampling.py`, without ever holding the logits of all slots.

Forward, some slots at a time over the whole vocabulary: softmax, statistics and the draw. Backward,
all slots over some of the vocabulary at a time, so that each row of the table's gradient is written
once: the logits are made again, which costs one product and holds for any gradient from above.

With k the gradient from above times the slope of the loss in log p, a slot's gradient in its logits
is k (onehot - p); states, table and bias take theirs from it. The head's is the same with p_S.

Source: this project; making logits again as in Dao et al. 2022, arXiv 2205.14135.
"""

from typing import Any, Final, NamedTuple, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding

from vesalius.methods.electra.config import ElectraOptions
from vesalius.methods.electra.pieces import (
    Room,
    Work,
    block_sums,
    draw_in_blocks,
    pieces_of,
    within,
    write_logits,
)
from vesalius.methods.electra.sampling import Draw, HeadScores, focal_loss, predicted_hardness

# From here on pieces are faster, see `is_worth_fusing`.
_WORTH_VOCAB: Final = 256
_WORTH_LOGITS: Final = 2**18


def is_worth_fusing(num_slots: int, vocab_size: int) -> bool:
    """Tell whether pieces are faster than all logits at once.

    Source: this project, benchmarks/electra.py.

    >>> is_worth_fusing(600, 30522), is_worth_fusing(6000, 64)
    (True, False)
    """
    return vocab_size >= _WORTH_VOCAB and num_slots * vocab_size > _WORTH_LOGITS


def draw_replacements_fused(
    states: Float[Tensor, "slot embedding"],
    table: Float[Tensor, "vocab embedding"],
    bias: Float[Tensor, " vocab"],
    *,
    originals: Int64[Tensor, " slot"],
    uniforms: Float64[Tensor, " slot"],
    options: ElectraOptions,
    head: HeadScores | None = None,
    temperature: float | Float[Tensor, ""] = 1.0,
) -> Draw:
    """Draw a replacement for every slot, as `sampling.draw_replacements` does, piece by piece.

    Numbers and gradients agree up to rounding, and so do the draws: where a uniform number lies
    within rounding of a border between two tokens, the other one may come. Logits are products in
    autocast's type, everything else is single precision (double for double states).

    Source: this project, paper.md.
    """
    work = Work(
        originals=originals,
        uniforms=uniforms,
        options=options,
        temperature=temperature,
        product=_product_type(states, table),
        is_plain=not options.exclude_original
        and not isinstance(temperature, Tensor)
        and temperature == 1,
        has_head=head is not None,
    )
    with torch.autocast(states.device.type, enabled=False):
        heads = (None, None) if head is None else (head.states, head.bias)
        found = _Found(*_Sweep.apply(states, table, bias, *heads, work))
        predicted = None
        if head is not None:
            predicted = found.log_prob
            if not work.is_distribution:
                predicted = _hardness_of(head, table, found.candidates, options=options)
    return Draw(
        candidates=found.candidates,
        generator_loss=found.generator_loss,
        log_weight=found.log_weight,
        predicted=predicted,
        prob_original=found.prob_original,
        sampler_prob_original=found.sampler_prob_original,
        is_first_choice=found.is_first_choice,
        entropy_nats=found.entropy_nats,
    )


class _Found(NamedTuple):
    """What a sweep returns, each [slot]; only the first two take gradients."""

    generator_loss: Tensor
    log_prob: Tensor  # of the candidate under the sampler; zeros unless that is learned
    candidates: Tensor
    log_weight: Tensor
    prob_original: Tensor
    sampler_prob_original: Tensor
    is_first_choice: Tensor
    entropy_nats: Tensor


class _Piece(NamedTuple):
    """What is found out about the slots of one piece, each [slot]."""

    log_original: Tensor
    log_prob: Tensor
    candidates: Tensor
    log_weight: Tensor
    sampler_prob_original: Tensor
    is_first_choice: Tensor
    entropy_nats: Tensor
    log_total: Tensor  # of the generator's logits
    log_sampler_total: Tensor


@final
class _Sweep(torch.autograd.Function):
    """Forward over slots, backward over the vocabulary."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        table: Tensor,
        bias: Tensor,
        head_states: Tensor | None,
        head_bias: Tensor | None,
        work: Work,
    ) -> tuple[Tensor, ...]:
        rows, heads = states.to(work.product), _cast(head_states, work.product)
        biases = (bias.to(work.dtype), _cast(head_bias, work.dtype))
        weights = table.to(work.product)
        pieces = [
            _look(room, rows, weights, heads, biases, work)
            for room in pieces_of(len(rows), len(table), cut="slots", **work.memory)
        ]
        found = _Piece(*(torch.cat(column) for column in zip(*pieces, strict=True)))
        with torch.enable_grad():
            log_original = found.log_original.detach().requires_grad_()
            loss = focal_loss(log_original, gamma=work.options.focal_gamma)
            (slope,) = torch.autograd.grad(loss.sum(), log_original)
        ctx.save_for_backward(
            states, table, bias, head_states, head_bias,
            found.log_total, slope, found.log_sampler_total, found.candidates,
        )  # fmt: skip
        ctx.work = work
        ctx.set_materialize_grads(False)
        returned = _Found(
            loss.detach(),
            found.log_prob,
            found.candidates,
            found.log_weight,
            found.log_original.exp(),
            found.sampler_prob_original,
            found.is_first_choice,
            found.entropy_nats,
        )
        ctx.mark_non_differentiable(*returned[2:])
        return tuple(returned)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        loss_grad, log_prob_grad, *_ = grad_outputs
        states, table, bias, head_states, head_bias, *rest = ctx.saved_tensors
        log_total, slope, log_sampler_total, candidates = rest
        work: Work = ctx.work
        with torch.autocast(states.device.type, enabled=False):
            own = _Side(
                states, bias, work, targets=work.originals, log_total=log_total,
                scale=None if loss_grad is None else -loss_grad.to(work.dtype) * slope,
                needs=ctx.needs_input_grad[:3],
            )  # fmt: skip
            other = None
            if work.is_distribution and log_prob_grad is not None:
                other = _Side(
                    head_states, head_bias, work, targets=candidates, log_total=log_sampler_total,
                    scale=-log_prob_grad.to(work.dtype),
                    needs=(True, ctx.needs_input_grad[1] and not work.options.detach_head, True),
                )  # fmt: skip
            table_grad = _sweep_back(table, own, other, work)
        found = own.gradients(like=(states, bias))
        heads = (None, None) if other is None else other.gradients(like=(head_states, head_bias))
        return found[0], _cast(table_grad, table.dtype), found[1], *heads, None


@final
class _Side:
    """One softmax of the backward sweep: the generator's, or the learned sampler's."""

    def __init__(
        self,
        states: Tensor,
        bias: Tensor,
        work: Work,
        *,
        targets: Tensor,
        log_total: Tensor,
        scale: Tensor | None,
        needs: tuple[bool, ...],
    ) -> None:
        self.rows, self.bias = states.to(work.product), bias.to(work.dtype)
        self.targets, self.log_total, self.scale = targets, log_total[:, None], scale
        self.is_wanted = scale is not None and any(needs)
        self.needs_table = self.is_wanted and needs[1]
        self.scaled = None
        if scale is not None and self.needs_table:
            self.scaled = (states.to(work.dtype) * scale[:, None]).to(work.product)
        wanted = self.is_wanted
        self._state_grad = torch.zeros_like(states, dtype=work.dtype) if wanted else None
        self._bias_grad = torch.zeros_like(self.bias) if wanted else None

    def take(self, logits: Tensor, tile: slice, weights: Tensor) -> Tensor | None:
        """Add a tile's part; return the table's gradient there. ``logits`` is written over."""
        if self.scale is None or self._state_grad is None or self._bias_grad is None:
            return None
        probs = logits.sub_(self.log_total).exp_()
        places, inside = within(self.targets, tile)
        probs.scatter_add_(1, places, -inside.to(probs.dtype))
        self._bias_grad[tile] = probs.T @ self.scale
        narrow = probs.to(weights.dtype)
        if narrow.dtype == self._state_grad.dtype:
            self._state_grad.addmm_(narrow, weights)
        else:
            self._state_grad.add_(narrow @ weights)
        return None if self.scaled is None else narrow.T @ self.scaled

    def gradients(self, *, like: tuple[Tensor, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of states and bias, in their types."""
        if self.scale is None or self._state_grad is None:
            return None, None
        by_state = self._state_grad.mul_(self.scale[:, None])
        return by_state.to(like[0].dtype), _cast(self._bias_grad, like[1].dtype)


def _look(
    room: Room,
    rows: Tensor,
    table: Tensor,
    heads: Tensor | None,
    biases: tuple[Tensor, Tensor | None],
    work: Work,
) -> _Piece:
    """Take some slots over the whole vocabulary: softmax, statistics, draw."""
    some, logits, probs, spare, narrow = room
    originals = work.originals[some, None]
    write_logits(rows[some], table, biases[0], out=logits, narrow=narrow)
    largest, blocks, total = _exponentials(logits, out=probs)
    log_total = largest + total.log()
    at_original = logits.gather(1, originals)
    entropy = log_total - torch.mul(probs, logits, out=spare).sum(1, keepdim=True) / total
    is_first = at_original >= largest
    log_base = log_total
    if not work.is_plain:
        base = _base(logits, originals, work, out=probs)
        largest, blocks, total = _exponentials(base, out=probs)
        log_base = largest + total.log()
    log_sampler, base_total = log_base, total
    if heads is not None and biases[1] is not None:
        scores = write_logits(heads[some], table, biases[1], out=spare, narrow=narrow)
        if work.is_distribution:
            mixed = _base(logits, originals, work, out=probs).add_(scores)
            largest, blocks, total = _exponentials(mixed, out=probs)
            log_sampler = largest + total.log()
        else:
            probs.mul_(_relative_hardness_(scores, options=work.options))
            blocks = block_sums(probs)
            total = blocks.sum(1, keepdim=True)
    candidates = draw_in_blocks(probs, blocks, work.uniforms[some, None])
    log_weight, log_prob = torch.zeros_like(log_total), torch.zeros_like(log_total)
    if work.is_distribution:
        at_candidate = _base_at(logits, candidates, work)
        log_prob = at_candidate + spare.gather(1, candidates) - log_sampler
        log_weight = at_candidate - log_base - log_prob
    elif heads is not None:
        log_weight = (total / base_total).log() - spare.gather(1, candidates).log()
    found = (
        at_original - log_total, log_prob, candidates, log_weight,
        probs.gather(1, originals) / total, is_first, entropy, log_total, log_sampler,
    )  # fmt: skip
    return _Piece(*(column.squeeze(1) for column in found))


def _sweep_back(table: Tensor, own: _Side, other: _Side | None, work: Work) -> Tensor | None:
    """Go over the vocabulary and fill both sides' gradients; return the table's, if wanted."""
    needs_table = own.needs_table or (other is not None and other.needs_table)
    found = torch.empty_like(table, dtype=work.dtype) if needs_table else None
    if not own.is_wanted and other is None:
        return None
    rooms = pieces_of(len(own.rows), len(table), cut="vocab", **work.memory)
    for tile, logits, _, spare, narrow in rooms:
        weights = table[tile].to(work.product)
        write_logits(own.rows, weights, own.bias[tile], out=logits, narrow=narrow)
        parts: list[Tensor | None] = [None]
        if other is not None:
            write_logits(other.rows, weights, other.bias[tile], out=spare, narrow=narrow)
            spare.add_(logits if work.is_plain else logits / work.temperature)
            if work.options.exclude_original:
                places, inside = within(work.originals, tile)
                spare.scatter_add_(1, places, torch.where(inside, -torch.inf, 0.0).to(spare))
            parts = [other.take(spare, tile, weights)]
        parts.append(own.take(logits, tile, weights))
        if found is not None:
            first, *more = (part for part in parts if part is not None)
            found[tile] = first
            for part in more:
                found[tile] += part
    return found


def _base(logits: Tensor, originals: Tensor, work: Work, *, out: Tensor) -> Tensor:
    """Write the logits of q into ``out``."""
    if work.is_plain:
        return out.copy_(logits)
    torch.div(logits, work.temperature, out=out)
    return out.scatter_(1, originals, -torch.inf) if work.options.exclude_original else out


def _base_at(logits: Tensor, candidates: Tensor, work: Work) -> Tensor:
    """Return the logits of q at candidates, which are never left out."""
    found = logits.gather(1, candidates)
    return found if work.is_plain else found / work.temperature


def _exponentials(logits: Tensor, *, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write exp(logits - largest); return the largest, the sums of blocks, the sum of each slot."""
    largest = logits.amax(1, keepdim=True)
    blocks = block_sums(torch.sub(logits, largest, out=out).exp_())
    return largest, blocks, blocks.sum(1, keepdim=True)


def _relative_hardness_(scores: Tensor, *, options: ElectraOptions) -> Tensor:
    """Turn scores into hardness over that of score 0, in place."""
    start = predicted_hardness(scores.new_zeros(()), options=options)
    torch.nn.functional.softplus(scores, out=scores)  # pyright: ignore[reportCallIssue]
    return scores.add_(options.hardness_floor).div_(start)


def _hardness_of(
    head: HeadScores, table: Tensor, candidates: Tensor, *, options: ElectraOptions
) -> Tensor:
    """Return the predicted hardness of one candidate per slot; gradients cost no vocabulary."""
    chosen = embedding(candidates, table.detach() if options.detach_head else table)
    dtype = torch.promote_types(torch.promote_types(head.states.dtype, chosen.dtype), torch.float32)
    scores = (head.states.to(dtype) * chosen.to(dtype)).sum(1) + head.bias[candidates]
    return predicted_hardness(scores, options=options)


def _product_type(states: Tensor, table: Tensor) -> torch.dtype:
    """Return the type that a product of the two has here."""
    device = states.device.type
    if torch.is_autocast_enabled(device) and states.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return torch.promote_types(states.dtype, table.dtype)


def _cast(tensor: Tensor | None, dtype: torch.dtype) -> Any:
    return None if tensor is None else tensor.to(dtype)
