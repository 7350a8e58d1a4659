"""The attention sites of a model: one for every call of an attention module, in running order.

Heads are named by (site, head), both from 0. In encoders and decoders a site is a layer; an
encoder-decoder has those of the encoder first, then self- and cross-attention of each decoder
block; ALBERT's one module is a site for every time it runs.

Source: seam 2 of docs/architecture.md.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from vesalius.models.parts import AttentionPart, Stack
from vesalius.models.specimen import Specimen


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSite:
    """One call of an attention module: its place among the sites, and what it reads.

    ``layer`` is the block call it belongs to, ``stack`` whose it is, ``kind`` whether its keys are
    the same sequence's or the encoder's.
    """

    index: int
    layer: int
    name: str
    module: nn.Module
    num_heads: int
    kind: Literal["self", "cross"]
    stack: Stack


def attention_sites(specimen: Specimen) -> tuple[AttentionSite, ...]:
    """List the attention sites of a model in the order they run; no shapes.

    Raises:
        VesaliusError: parts that cannot be found.

    Source: the parts table of docs/architecture.md.
    """
    found: list[tuple[int, Stack, AttentionPart]] = [
        (layer, block.stack, part)
        for layer, block in enumerate(specimen.plan.calls)
        for part in block.attentions
    ]
    return tuple(
        AttentionSite(
            index=index,
            layer=layer,
            name=part.name,
            module=part.module,
            num_heads=part.num_heads,
            kind=part.kind,
            stack=stack,
        )
        for index, (layer, stack, part) in enumerate(found)
    )
