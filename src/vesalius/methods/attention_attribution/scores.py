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
    trimmed_part,
)
from vesalius.methods.attention_attribution.targets import Asked, settle
from vesalius.models.attention_replay import read_attention
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
    reference = _reference(specimen, config)
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
    clean, logits = read_attention(specimen, batch)
    if config.baseline == "uniform":
        return [_uniform(weights) for weights in clean], logits
    if config.baseline == "without-words":
        return read_attention(specimen, batch, without_words=True)[0], logits
    pairs = zip(reference, clean, strict=True)
    return [_fitted(mean, weights) for mean, weights in pairs], logits


def _uniform(weights: Tensor) -> Tensor:
    """Every token reads all that it can see alike; what it cannot see has probability 0."""
    seen = weights > 0
    return seen.to(weights) / seen.sum(-1, keepdim=True).clamp_min(1).to(weights)


def _reference(specimen: Specimen, config: AttributeConfig) -> list[Tensor]:
    """The mean attention of the reference texts by site, [head, query, key].

    A position counts the texts that have it; one that none has is 0, and becomes uniform later.
    """
    if config.baseline != "mean":
        return []
    batch = encode_inputs(
        specimen, list(config.reference), pairs=list(config.reference_pairs) or None
    )
    mask = batch.inputs["attention_mask"]
    batch = Batch(inputs=batch.inputs, row=batch.row, decoder_row=batch.decoder_row)
    weights, _ = read_attention(specimen, batch)
    means: list[Tensor] = []
    for site in weights:
        real = torch.ones_like(site[:, 0, :, 0], dtype=torch.bool)
        if real.shape == mask.shape:
            real = mask.bool()
        counted = real[:, None, :, None].to(site)
        means.append((site * counted).sum(0) / counted.sum(0).clamp_min(1))
    return means


def _fitted(mean: Tensor, weights: Tensor) -> Tensor:
    """The mean attention [head, query, key] on the positions of a batch, rows that sum to one.

    Shorter references are filled up with nothing; a row with nothing becomes uniform.
    """
    queries, keys = weights.shape[2:]
    fitted = weights.new_zeros(weights.shape)
    rows, columns = min(queries, mean.shape[1]), min(keys, mean.shape[2])
    fitted[:, :, :rows, :columns] = mean[:, :rows, :columns]
    fitted = fitted * (weights > 0)
    total = fitted.sum(-1, keepdim=True)
    return torch.where(total > 0, fitted / total.clamp_min(1e-30), _uniform(weights))


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
