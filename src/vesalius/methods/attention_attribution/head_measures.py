"""One number for each head of each text, from its matrix of attributions."""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vesalius.models.attention_sites import AttentionSite
from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen

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
    source = _marks(specimen, batch, "input_ids", "attention_mask")
    written = _marks(specimen, batch, "decoder_input_ids", "decoder_attention_mask")
    if written is None:
        written = source
    queries = written if site.stack == "decoder" else source
    keys = source if site.kind == "cross" else queries
    everything = torch.ones(shape[0], shape[2], dtype=torch.bool, device=batch.row.device)
    all_keys = torch.ones(shape[0], shape[3], dtype=torch.bool, device=batch.row.device)
    real_query, plain_query = queries or (everything, everything)
    real_key, plain_key = keys or (all_keys, all_keys)
    return real_query, real_key, plain_query, plain_key


def _marks(
    specimen: Specimen, batch: Batch, ids_name: str, mask_name: str
) -> tuple[Tensor, Tensor] | None:
    """Which tokens are no padding, and which of them are not special; None without texts."""
    ids = batch.inputs.get(ids_name)
    if ids is None:
        return None
    mask = batch.inputs.get(mask_name)
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    if specimen.tokenizer is None:
        return real, real
    special = set(specimen.tokenizer.all_special_ids) - {specimen.tokenizer.unk_token_id}
    marked = torch.isin(ids, torch.tensor(sorted(special), device=ids.device))
    return real, real & ~marked
