"""One number for each head of each text, from its matrix of attributions."""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vesalius.methods.attention_attribution.inputs import num_heading, site_masks, written_ids
from vesalius.models.attention_sites import AttentionSite
from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen
from vesalius.models.token_words import special_ids

POOLINGS: Final = ("max", "mean-abs", "sum", "top-k")
CONTENT: Final = "content"  # special tokens neither read nor are read
TOP_LINKS: Final = 10  # of top-k
MEASURES: Final = (*POOLINGS, *(f"{name}-{CONTENT}" for name in POOLINGS))


def pooled_heads(
    matrix: Float[Tensor, "batch head query key"],
    *,
    queries: Bool[Tensor, "batch query"],
    keys: Bool[Tensor, "batch key"],
    top_links: int = TOP_LINKS,
) -> Float[Tensor, "pooling batch head"]:
    """Pool every head's links among the marked queries and keys, in the order of POOLINGS.

    ``mean-abs`` divides by the number of marked links; a text without any gives zeros.

    Source: arXiv 2004.11207, section 4.3 (max); the others: this project.
    """
    counted = (queries[:, :, None] & keys[:, None, :]).unsqueeze(1)
    number = counted.sum((2, 3)).clamp_min(1)
    flat = matrix.masked_fill(~counted, -torch.inf).flatten(2)
    strongest = flat.topk(min(top_links, flat.shape[2]), dim=2).values
    real = strongest.isfinite()
    top = strongest.masked_fill(~real, 0).sum(2) / real.sum(2).clamp_min(1)
    within = matrix * counted
    largest = torch.where(real[:, :, 0], strongest[:, :, 0], 0)
    return torch.stack((largest, within.abs().sum((2, 3)) / number, within.sum((2, 3)), top))


def token_marks(
    specimen: Specimen, batch: Batch, site: AttentionSite, shape: Sequence[int]
) -> tuple[
    Bool[Tensor, "batch query"],
    Bool[Tensor, "batch key"],
    Bool[Tensor, "batch query"],
    Bool[Tensor, "batch key"],
]:
    """Mark the real tokens that a site reads with and from, then those that are not special.

    ``shape`` is that of the site's matrices, [batch, head, query, key].

    Source: the masks of the batch and the special tokens of the tokenizer.
    """
    real_query, real_key = site_masks(specimen, batch, site, shape)
    source = _special(specimen, batch.inputs.get("input_ids"), shape)
    written = source
    if site.stack == "decoder":
        written = _special(specimen, written_ids(specimen, batch), shape)
    keys = source if site.kind == "cross" else written
    return real_query, real_key, real_query & ~written, real_key & ~keys


def _special(specimen: Specimen, ids: Tensor | None, shape: Sequence[int]) -> Bool[Tensor, "..."]:
    """Which tokens are special; of an image those before its patches."""
    if ids is None:
        return torch.arange(shape[2], device=specimen.device).expand(shape[0], -1) < num_heading(
            shape[2]
        )
    if specimen.tokenizer is None:
        return torch.zeros_like(ids, dtype=torch.bool)
    special = sorted(special_ids(specimen.tokenizer))
    return torch.isin(ids, torch.tensor(special, device=ids.device, dtype=ids.dtype))
