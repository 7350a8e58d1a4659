"""The scores behind every verb: attributions of all heads, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vesalius.methods.attention_attribution.config import AttributeConfig
from vesalius.methods.attention_attribution.inputs import (
    encode_inputs,
    plan_batches,
    site_masks,
    trimmed_part,
)
from vesalius.methods.attention_attribution.targets import Asked, settle
from vesalius.models.attention_replay import read_attention, visible_keys
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.integrals import Staircase, StaircaseOptions, complete
from vesalius.models.reading import row_logits
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import attribute_attention
from vesalius.parallel.memory import parse_bytes


@final
@dataclass(frozen=True, kw_only=True)
class Scored:
    """Attributions of one batch.

    ``texts`` [batch] are their numbers among all texts, ``batch`` what was read, ``targets`` and
    ``foils`` [batch] what was attributed; ``found.signal`` and ``found.attribution`` hold, by site,
    probabilities and attributions [batch, head, query, key]; ``whole`` [site, batch] says where the
    sums are complete.
    """

    texts: Int[Tensor, " batch"]
    batch: Batch
    targets: Int[Tensor, " batch"]
    foils: Int[Tensor, " batch"] | None
    found: Staircase
    whole: Bool[Tensor, "site batch"]


def scored_batches(
    specimen: Specimen, batch: Batch, asked: Asked, config: AttributeConfig
) -> Iterator[Scored]:
    """Attribute the attention of all texts in batches of like length that fit the memory.

    Half of the memory is for the attention matrices of a batch, half for the streams of the
    staircase.

    Raises:
        VesaliusError: attention that can be reached in no known way, a reference text that cannot
            be encoded, or a head with one class.

    Source: arXiv 2004.11207, section 3. Shapes as in :class:`Scored`.
    """
    half = parse_bytes(config.memory) // 2
    trimmed = config.pad_to is None
    reference = _reference(specimen, config, half) if config.baseline == "mean" else []
    for texts in plan_batches(specimen, batch, memory_bytes=half, trimmed=trimmed):
        part = trimmed_part(batch, texts, trimmed=trimmed)
        start, logits = _start(specimen, part, config, reference)
        targets, foils, objective = settle(
            asked.select(texts), logits, kind=config.target, name=specimen.name
        )
        found = attribute_attention(
            specimen,
            part,
            objective=objective,
            options=StaircaseOptions(
                rules=config.rules(), tolerance=config.tolerance, memory_bytes=half
            ),
            start=start,
        )
        yield Scored(
            texts=texts,
            batch=part,
            targets=targets,
            foils=foils,
            found=found,
            whole=_whole(found, config, specimen.dtype),
        )


def _start(
    specimen: Specimen, batch: Batch, config: AttributeConfig, reference: list[Tensor]
) -> tuple[list[Tensor] | None, Float[Tensor, "batch vocab"]]:
    """Where the lines begin, by site [batch, head, query, key], and the clean logits."""
    if config.baseline == "zero":
        return None, row_logits(specimen, batch)
    if config.baseline == "without-words":
        start, _ = read_attention(specimen, batch, without_words=True)
        return start, row_logits(specimen, batch)
    visible = [_uniform(seen, specimen.dtype) for seen in visible_keys(specimen, batch)]
    if config.baseline == "mean":
        sites = zip(attention_sites(specimen), reference, visible, strict=True)
        visible = [
            _fitted(mean, uniform, *site_masks(specimen, batch, site, uniform.shape))
            for site, mean, uniform in sites
        ]
    return visible, row_logits(specimen, batch)


def _uniform(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Every token reads all that it can see alike; what it cannot see has probability 0."""
    return seen.to(dtype) / seen.sum(-1, keepdim=True).clamp_min(1).to(dtype)


def _reference(specimen: Specimen, config: AttributeConfig, memory_bytes: int) -> list[Tensor]:
    """The mean attention of the reference texts by site, [head, query, key], padding left out.

    A position counts the texts that have it; one that none has is 0, and becomes uniform later.
    """
    batch = encode_inputs(
        specimen, list(config.reference), pairs=list(config.reference_pairs) or None
    )
    sites = attention_sites(specimen)
    totals: list[Tensor] = []
    counts: list[Tensor] = []
    for texts in plan_batches(specimen, batch, memory_bytes=memory_bytes):  # shortest first
        part = trimmed_part(batch, texts, trimmed=True)
        matrices, _ = read_attention(specimen, part)
        totals = totals or [m.new_zeros(m.shape[1], 0, 0) for m in matrices]
        counts = counts or [m.new_zeros(0) for m in matrices]
        for index, (site, matrix) in enumerate(zip(sites, matrices, strict=True)):
            marks = site_masks(specimen, part, site, matrix.shape)
            for one, queries, keys in zip(matrix, *marks, strict=True):
                real = one[:, queries][:, :, keys]
                totals[index] = _added(totals[index], real)
                counts[index] = _added(counts[index], real.new_ones(real.shape[1]))
    return [t / c.clamp_min(1).unsqueeze(1) for t, c in zip(totals, counts, strict=True)]


def _added(total: Tensor, new: Tensor) -> Tensor:
    """Add what may be longer or shorter along every axis, from the start of each."""
    found = total.new_zeros([max(sizes) for sizes in zip(total.shape, new.shape, strict=True)])
    for part in (total, new):
        found[tuple(map(slice, part.shape))] += part
    return found


def _fitted(
    mean: Tensor,
    uniform: Tensor,
    queries: Bool[Tensor, "batch query"],
    keys: Bool[Tensor, "batch key"],
) -> Tensor:
    """The mean attention [head, query, key] on the tokens of a batch, rows that sum to one.

    The first token of a text is that of a reference, wherever padding puts it. Shorter references
    are filled up with nothing; a row with nothing becomes uniform.
    """
    fitted = torch.zeros_like(uniform)
    for one, real_queries, real_keys in zip(fitted, queries, keys, strict=True):
        rows = real_queries.nonzero()[: mean.shape[1]]
        columns = real_keys.nonzero()[: mean.shape[2], 0]
        one[:, rows, columns] = mean[:, : len(rows), : len(columns)]
    fitted = fitted * (uniform > 0)
    total = fitted.sum(-1, keepdim=True)
    return torch.where(total > 0, fitted / total.clamp_min(1e-30), uniform)


def _whole(
    found: Staircase, config: AttributeConfig, dtype: torch.dtype
) -> Bool[Tensor, "site batch"]:
    """Judge every integral by the rule that the climber refines them by."""
    sites = zip(found.gap, found.start_value, found.attribution, strict=True)
    return torch.stack(
        [
            complete(
                gap,
                end_value=found.end_value,
                start_value=start,
                attribution=attribution,
                tolerance=config.tolerance,
                dtype=dtype,
            )
            for gap, start, attribution in sites
        ]
    )
