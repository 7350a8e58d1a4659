"""Tables of logits taken piece by piece, and draws from rows of weights in two levels.

Source: this project; two levels as in Devroye 1986, Non-Uniform Random Variate Generation, chapter
III.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from vesalius.methods.electra.config import ElectraOptions

CPU_LOGITS: Final = 2**21  # logits held at a time: a few pieces of 8 MB stay in a cache
GPU_LOGITS: Final = 2**26
LEAST: Final = 64  # tokens or slots of a piece, or products are slow
BLOCK: Final = 128  # tokens whose weights are added up first


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """What a sweep needs beside the numbers that take gradients."""

    originals: Int64[Tensor, " slot"]
    uniforms: Float64[Tensor, " slot"]
    options: ElectraOptions
    temperature: float | Float[Tensor, ""]
    product: torch.dtype
    is_plain: bool  # q is the generator's own distribution
    has_head: bool

    @property
    def is_distribution(self) -> bool:
        """Whether the head learns the sampler itself."""
        return self.has_head and self.options.sampler == "hardness-distribution"

    @property
    def dtype(self) -> torch.dtype:
        """The type of logits and probabilities."""
        return torch.promote_types(self.product, torch.float32)

    @property
    def memory(self) -> dict[str, Any]:
        """How the pieces are held."""
        device = self.originals.device
        return {"dtype": self.dtype, "product": self.product, "device": device}


@final
class Room(NamedTuple):
    """A part of the slots or of the vocabulary, and room for its logits, each [slot, token]."""

    part: slice
    logits: Tensor
    probs: Tensor
    spare: Tensor
    narrow: Tensor | None  # in the type of products, where that is another one


def pieces_of(
    num_slots: int,
    vocab_size: int,
    *,
    cut: Literal["slots", "vocab"],
    dtype: torch.dtype,
    product: torch.dtype,
    device: torch.device,
) -> Iterator[Room]:
    """Cut the table of logits along its slots or its vocabulary, and give room for each part.

    The room is the same memory for every part. Without slots there is one part, an empty one.
    """
    most = CPU_LOGITS if device.type == "cpu" else GPU_LOGITS
    length, across = (num_slots, vocab_size) if cut == "slots" else (vocab_size, num_slots)
    size = max(1, min(length, max(LEAST, most // max(1, across))))
    flats = list(torch.empty(3, size * across, dtype=dtype, device=device))
    if product != dtype:
        flats.append(torch.empty(size * across, dtype=product, device=device))
    for start in range(0, max(1, length), size):
        part = slice(start, min(start + size, length))
        count = part.stop - part.start
        shape = (count, across) if cut == "slots" else (across, count)
        logits, probs, spare, *rest = (flat[: count * across].view(shape) for flat in flats)
        yield Room(part, logits, probs, spare, rest[0] if rest else None)


def write_logits(
    rows: Float[Tensor, "slot embedding"],
    table: Float[Tensor, "token embedding"],
    bias: Float[Tensor, " token"],
    *,
    out: Float[Tensor, "slot token"],
    narrow: Float[Tensor, "slot token"] | None,
) -> Float[Tensor, "slot token"]:
    """Write rows @ table.T + bias into ``out``; ``narrow`` takes products of a narrower type."""
    if narrow is None:
        torch.mm(rows, table.T, out=out)
    else:
        out.copy_(torch.mm(rows, table.T, out=narrow))
    return out.add_(bias)


def within(
    tokens: Int64[Tensor, " slot"], part: slice
) -> tuple[Int64[Tensor, "slot 1"], Bool[Tensor, "slot 1"]]:
    """Return tokens counted from where a part of the vocabulary starts, and whether it has them."""
    found = tokens[:, None] - part.start
    size = part.stop - part.start
    return found.clamp(0, size - 1), (found >= 0) & (found < size)


def block_sums(values: Float[Tensor, "slot vocab"]) -> Float[Tensor, "slot block"]:
    """Add up blocks of tokens; the last one may be shorter."""
    whole = values.shape[1] // BLOCK * BLOCK
    sums = values[:, :whole].unflatten(1, (whole // BLOCK, BLOCK)).sum(-1)
    if whole == values.shape[1]:
        return sums
    return torch.cat([sums, values[:, whole:].sum(1, keepdim=True)], dim=1)


def draw_in_blocks(
    values: Float[Tensor, "slot vocab"],
    blocks: Float[Tensor, "slot block"],
    uniforms: Float64[Tensor, "slot 1"],
) -> Int64[Tensor, "slot 1"]:
    """Draw a token per slot in proportion to its value: a block by its sum, then inside it.

    >>> values = torch.tensor([[1.0, 0.0, 3.0]])
    >>> draw_in_blocks(values, block_sums(values), torch.tensor([[0.25]], dtype=torch.float64))
    tensor([[2]])
    """
    block, share = _invert(blocks, uniforms)
    columns = block * BLOCK + torch.arange(BLOCK, device=values.device)
    last = values.shape[1] - 1
    inside = values.gather(1, columns.clamp_max(last)) * (columns <= last)
    place, _ = _invert(inside, share)
    return (block * BLOCK + place).clamp_max(last)


def _invert(
    values: Float[Tensor, "slot column"], uniforms: Float64[Tensor, "slot 1"]
) -> tuple[Int64[Tensor, "slot 1"], Float64[Tensor, "slot 1"]]:
    """Invert cumulative sums in double precision: the place, never an empty one, and what is left.

    What is left is where in the place the uniform number fell: uniform on [0, 1] again.
    """
    sums = values.double().cumsum(1)
    total = sums[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))  # the last border is none
    wanted = torch.minimum(uniforms * total, below)
    place = torch.searchsorted(sums, wanted, right=True).clamp_max(values.shape[1] - 1)
    before = torch.where(place > 0, sums.gather(1, (place - 1).clamp_min(0)), 0.0)
    return place, (wanted - before) / (sums.gather(1, place) - before)
