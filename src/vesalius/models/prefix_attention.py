"""Attention over a shared prefix and over the query, taken apart and merged by log-sum-exp.

Every query of a batch reads the same keys and values of the prefix: their queries are laid end to
end and meet it as one long sequence, so the prefix is never copied.

Source: Hydragen, arXiv 2402.05099, section 3; this project for the rest.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vesalius.models.attention import AttentionCall

# Options that change nothing here: scaling is obeyed, the others are off or say what is known.
_HARMLESS: Final = frozenset(
    ("scaling", "dropout", "is_causal", "sliding_window", "position_ids", "cache_position",
     "use_cache", "output_attentions", "output_hidden_states", "past_key_values", "layer_idx",
     "return_dict")
)  # fmt: skip
_PLAIN_BYTES: Final = 1 << 27  # scores held at once where no fused kernel gives the log-sum-exp
Part = tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head query"]]


@final
@dataclass(slots=True, kw_only=True)
class PrefixReader:
    """What one forward pass needs to read a shared prefix of ``num_prefix`` tokens.

    ``allowed`` [batch, own, own] says which own token sees which, None where that is plain causal
    order. ``num_merged`` counts the calls that were merged, ``num_joined`` those that had to join
    keys and values.
    """

    num_prefix: int
    allowed: Bool[Tensor, "batch own own"] | None = None
    num_merged: int = 0
    num_joined: int = 0
    _plain: dict[int, tuple[Tensor, bool]] = field(default_factory=dict)

    def attend(self, call: AttentionCall, key: Tensor, value: Tensor) -> Tensor:
        """Attend to ``key`` and ``value`` [1, kv_head, key, d_head] and to those of the call.

        Returns:
            Shape [batch, query, head, d_head], as a tap of the seam gives it.
        """
        options = {name for name, given in call.options.items() if given is not None}
        if options <= _HARMLESS and self._is_causal(call.mask):
            self.num_merged += 1
            return self._merged(call, key, value)
        self.num_joined += 1
        return self._joined(call, key, value)

    def attend_alone(self, call: AttentionCall) -> Tensor:
        """Attend where there is no prefix; shape [batch, query, head, d_head] as above."""
        if self.allowed is None:
            return call.output()
        return replace(call, mask=self._masked(call)).output()

    def _merged(self, call: AttentionCall, key: Tensor, value: Tensor) -> Tensor:
        scale = call.options.get("scaling") or call.query.shape[-1] ** -0.5
        first = _shared_part(call.query, key, value, scale)
        own = _own_part(call, self.allowed, scale)
        # exp(a) / (exp(a) + exp(b)) without overflow: the share of attention that the prefix gets
        share = torch.sigmoid(first[1] - own[1]).to(call.query.dtype).unsqueeze(-1)
        return torch.lerp(own[0], first[0], share).transpose(1, 2)

    def _joined(self, call: AttentionCall, key: Tensor, value: Tensor) -> Tensor:
        batch = call.query.shape[0]
        joined = replace(
            call,
            key=torch.cat((key.expand(batch, -1, -1, -1), call.key), dim=2),
            value=torch.cat((value.expand(batch, -1, -1, -1), call.value), dim=2),
            mask=self._masked(call),
        )
        return joined.output()

    def _masked(self, call: AttentionCall) -> Tensor | None:
        if self.allowed is None:
            return call.mask
        own = call.query.shape[2]
        # half of the lowest number: two of them added up still are one
        closed = torch.finfo(call.query.dtype).min / 2
        mask = call.query.new_zeros(self.allowed.shape[0], 1, own, self.num_prefix + own)
        mask[..., self.num_prefix :].masked_fill_(~self.allowed.unsqueeze(1), closed)
        return mask if call.mask is None else mask + call.mask.clamp_min(closed)

    def _is_causal(self, mask: Tensor | None) -> bool:
        """Whether a mask is plain causal order over prefix and own tokens; looked at once."""
        if mask is None:
            return True
        known = self._plain.get(id(mask))
        if known is None:
            own = mask.shape[-2]
            is_open = (mask if mask.dtype == torch.bool else mask == 0).view(-1, *mask.shape[-2:])
            order = torch.ones(own, own, dtype=torch.bool, device=mask.device).tril()
            plain = mask.shape[-1] == self.num_prefix + own
            plain = plain and bool(is_open[..., : self.num_prefix].all())
            plain = plain and bool((is_open[..., self.num_prefix :] == order).all())
            self._plain[id(mask)] = known = (mask, plain)  # held, so that no other takes its id
        return known[1]


def _shared_part(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Part:
    """Attend from all queries of the batch to one prefix, [1, kv_head, key, d_head]."""
    batch, heads, length, size = query.shape
    groups = heads // key.shape[1]
    # [batch, head, query] -> one sequence per key head: its queries of all texts end to end
    flat = query.view(batch, key.shape[1], groups, length, size).permute(1, 2, 0, 3, 4)
    flat = flat.reshape(1, key.shape[1], groups * batch * length, size)
    out, log_sum = _attend(flat, key, value, scale)
    out = out.view(key.shape[1], groups, batch, length, value.shape[-1])
    log_sum = log_sum.view(key.shape[1], groups, batch, length)
    return (
        out.permute(2, 0, 1, 3, 4).reshape(batch, heads, length, value.shape[-1]),
        log_sum.permute(2, 0, 1, 3).reshape(batch, heads, length),
    )


def _own_part(call: AttentionCall, allowed: Tensor | None, scale: float) -> Part:
    heads, kv_heads = call.query.shape[1], call.key.shape[1]
    key, value = call.key, call.value
    if heads != kv_heads:
        key = key.repeat_interleave(heads // kv_heads, dim=1)
        value = value.repeat_interleave(heads // kv_heads, dim=1)
    if allowed is None:
        return _attend(call.query, key, value, scale, causal=True)
    mask = call.query.new_zeros(allowed.shape).masked_fill_(~allowed, -torch.inf).unsqueeze(1)
    return _attend(call.query, key, value, scale, mask=mask)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *,
    causal: bool = False, mask: Tensor | None = None,
) -> Part:  # fmt: skip
    """Attend, and give the log-sum-exp of the scores: by a fused kernel on CPU, else plainly."""
    if query.device.type == "cpu" and query.shape[-1] == value.shape[-1]:
        kernel: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return kernel(query, key, value, is_causal=causal, attn_mask=mask, scale=scale)
    length = query.shape[2]
    per_query = query.shape[0] * query.shape[1] * key.shape[2] * 4
    at_once = max(1, min(length, _PLAIN_BYTES // per_query))
    outs: list[Tensor] = []
    sums: list[Tensor] = []
    for start in range(0, length, at_once):
        rows = slice(start, min(start + at_once, length))
        scores = (query[:, :, rows] @ key.transpose(2, 3)).float() * scale
        if mask is not None:
            scores += mask[:, :, rows]
        if causal:
            later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
            scores.masked_fill_(later[rows], -torch.inf)
        log_sum = scores.logsumexp(-1)
        outs.append((scores - log_sum.unsqueeze(-1)).exp_().to(value.dtype) @ value)
        sums.append(log_sum)
    return torch.cat(outs, dim=2), torch.cat(sums, dim=2)
