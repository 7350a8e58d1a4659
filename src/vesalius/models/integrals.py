"""How the staircase is climbed, what it gives, and how much memory a copy takes."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vesalius.numerics.line_integral import TOLERANCE, rounding_noise
from vesalius.numerics.quadrature import Rule, gauss_radau
from vesalius.parallel.memory import DEFAULT_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StaircaseOptions:
    """How the integrals are taken.

    ``rules`` are tried in turn on the prompts and sites whose gap exceeds ``tolerance`` times
    |F(1) - F(0)|; one rule means no refinement. ``memory_bytes`` bounds what autograd keeps.
    ``shortcuts=False`` re-runs whole blocks on every row: slower, for checking.
    """

    rules: tuple[Rule, ...]
    tolerance: float = TOLERANCE
    memory_bytes: int = DEFAULT_BYTES
    shortcuts: bool = True


# Gauss-Radau has 0 among its nodes: F(0), and with it the gap, costs nothing more
NEURON_OPTIONS = StaircaseOptions(rules=tuple(gauss_radau(n) for n in (5, 8, 16, 32)))
ATTENTION_OPTIONS = StaircaseOptions(rules=tuple(gauss_radau(n) for n in (8, 16, 32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """Integrated gradients of every site of a model, for a batch of prompts.

    ``names`` [site] are qualified names of what was scaled; ``signal`` and ``attribution`` hold one
    tensor per site, [batch, neuron] or [batch, head, query, key]; ``end_value`` [batch] is F(1),
    ``start_value`` [site, batch] is F(0), at the start of the line, ``gap`` [site, batch] is
    |sum of attributions - (F(1) - F(0))| and ``num_nodes`` [site, batch] the nodes it took.
    ``logits`` [batch, vocab] are those of the clean pass, at the row that is read.
    """

    names: tuple[str, ...]
    signal: tuple[Tensor, ...]
    attribution: tuple[Tensor, ...]
    end_value: Float[Tensor, " batch"]
    start_value: Float[Tensor, "site batch"]
    gap: Float[Tensor, "site batch"]
    num_nodes: Int[Tensor, "site batch"]
    logits: Float[Tensor, "batch vocab"]


# A probability carries the rounding of its logits, which are an order of magnitude larger than 1,
# gathered over the layers: on mini-bert gaps of 1e-5 of F stay in fp32 whatever the rule.
_OF_LOGITS = 32


def complete(
    gap: Float[Tensor, " batch"],
    *,
    end_value: Float[Tensor, " batch"],
    start_value: Float[Tensor, " batch"],
    attribution: Float[Tensor, "batch *axes"],
    tolerance: float,
    dtype: torch.dtype,
) -> Bool[Tensor, " batch"]:
    """Tell for which prompts a site's sum is complete, up to the rounding of what was summed.

    Args:
        gap: what the sum misses, shape [batch].
        end_value: F(1), shape [batch].
        start_value: F(0) of the site, shape [batch].
        attribution: the terms of the sum, shape [batch, ...].
        tolerance: share of |F(1) - F(0)| that may be missing.
        dtype: in which the model computed.

    Source: ``vesalius.numerics.line_integral.is_complete``, for a batch.
    """
    scale = torch.maximum(end_value.abs(), start_value.abs())
    scale = torch.maximum(scale, attribution.abs().flatten(1).sum(1).to(scale))
    noise = _OF_LOGITS * rounding_noise(dtype) * scale
    return gap <= torch.maximum(tolerance * (end_value - start_value).abs(), noise)
