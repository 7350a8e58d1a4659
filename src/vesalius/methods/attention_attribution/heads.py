"""How much every head matters: attributions pooled over texts, beside the usual baselines."""

import hashlib
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.attribute import score_warnings, site_names
from vesalius.methods.attention_attribution.config import AttributeConfig, chosen_config
from vesalius.methods.attention_attribution.head_measures import (
    MEASURES,
    pooled_heads,
    token_marks,
)
from vesalius.methods.attention_attribution.head_result import (
    ACCURACY,
    ATTENTION,
    TAYLOR,
    HeadImportance,
)
from vesalius.methods.attention_attribution.inputs import Inputs, encode_inputs
from vesalius.methods.attention_attribution.scores import Scored, scored_batches
from vesalius.methods.attention_attribution.targets import Target, ask
from vesalius.models.attention_replay import head_sensitivity, replay_heads
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.batch import Batch
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import parse_bytes

BASELINES: Final = (TAYLOR, ACCURACY)
# a rank needs no fourth digit, and a mean over texts evens out what is missing
HEADS_CONFIG: Final = AttributeConfig(refine=False)


def head_importance(
    specimen: Specimen,
    texts: Inputs,
    *,
    pairs: Sequence[str] | None = None,
    labels: Target | Sequence[Target] | None = None,
    baselines: Sequence[str] = BASELINES,
    config: AttributeConfig | None = None,
    preset: str | None = None,
) -> HeadImportance:
    """Measure how much every head matters, over some texts.

    Args:
        specimen: the opened model.
        texts: as in :func:`attribute`.
        pairs: the second texts.
        labels: the right classes (the paper attributes the right one); the predicted ones where
            left out.
        baselines: of ``taylor`` and ``accuracy-difference``, those to take as well.
        config: as in :func:`attribute`; without refinement where left out.
        preset: instead of ``config``, the name of one.

    Returns:
        Measures [measure, text, site, head] with ``importance(by)`` as their mean.

    Raises:
        VesaliusError: texts or labels that do not fit the model, or an unknown baseline.

    Source: arXiv 2004.11207, section 4.3; Taylor and accuracy difference: arXiv 1905.10650.
    """
    config = HEADS_CONFIG if config is preset is None else chosen_config(config, preset)
    if unknown := sorted(set(baselines) - set(BASELINES)):
        raise VesaliusError(
            given=f"baseline {unknown[0]!r}",
            expected=f"some of {', '.join(BASELINES)}",
            fix="leave it out; raw attention is always taken",
        )
    stopwatch = Stopwatch.start()
    batch = encode_inputs(specimen, texts, pairs=pairs, pad_to=config.pad_to)
    asked = ask(specimen, batch.num_prompts, targets=labels, foils=None, kind=config.target)
    found = _Measured(specimen, batch.num_prompts, baselines, parse_bytes(config.memory))
    start = time.perf_counter()
    for scored in scored_batches(specimen, batch, asked, config):
        found.add(scored)
        found.seconds += time.perf_counter() - start
        found.add_baselines(scored)
        start = time.perf_counter()
    card = make_card(
        "attention heads",
        stopwatch=stopwatch,
        config=config,
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        warnings=score_warnings(
            specimen, config, num_open=found.num_open, num_texts=batch.num_prompts
        ),
    )
    return found.result(card, text_hashes(texts, pairs))


class _Measured:
    """What was measured so far: arrays over all texts, filled in batch by batch."""

    def __init__(
        self, specimen: Specimen, num_texts: int, baselines: Sequence[str], memory: int
    ) -> None:
        self.specimen, self.baselines, self.memory = specimen, baselines, memory
        self.sites = attention_sites(specimen)
        self.widest = max(site.num_heads for site in self.sites)
        self.measures = (*MEASURES, ATTENTION, *((TAYLOR,) if TAYLOR in baselines else ()))
        shape = (len(self.measures), num_texts, len(self.sites), self.widest)
        self.values = np.full(shape, np.nan, np.float32)
        self.right = np.zeros(num_texts, dtype=bool)
        num_tried = len(self.sites) if ACCURACY in baselines else 0
        self.without = np.zeros((num_tried, self.widest, num_texts), dtype=bool)
        self.num_open = np.zeros(len(self.sites), dtype=np.int64)
        self.max_gap, self.seconds = 0.0, 0.0

    def add(self, scored: Scored) -> None:
        """Pool the attributions of a batch."""
        where = scored.texts.cpu().numpy()
        pooled = _pooled(self.specimen, scored, self.sites, self.widest)
        self.values[: len(pooled), where] = pooled
        self.max_gap = max(self.max_gap, float(scored.found.gap.max()))
        self.num_open += (~scored.whole).sum(1).cpu().numpy()

    def add_baselines(self, scored: Scored) -> None:
        """Take the other measures of the same texts."""
        where = scored.texts.cpu().numpy()
        shared = (self.specimen, scored, self.sites, self.widest, self.memory)
        if TAYLOR in self.baselines:
            self.values[-1][where] = _taylor(*shared)
        if ACCURACY in self.baselines:
            self.right[where], self.without[:, :, where] = _accuracy(*shared)

    def result(self, card: RunCard, hashes: tuple[str, ...]) -> HeadImportance:
        """Give what was measured."""
        return HeadImportance(
            card=card,
            sites=site_names(self.sites),
            measures=self.measures,
            values=self.values,
            right=self.right,
            right_without=self.without,
            text_hashes=hashes,
            max_gap=self.max_gap,
            num_open=self.num_open,
            texts_per_second=len(self.right) / max(self.seconds, 1e-9),
        )


def text_hashes(texts: Inputs, pairs: Sequence[str] | None) -> tuple[str, ...]:
    """Hash each text with its second one, to find the same text in another set; no shapes.

    A ready batch is known by its numbers, padding left out.

    Source: SHA-256, 16 hexadecimal digits.
    """
    if isinstance(texts, Batch):
        first = texts.inputs.get("input_ids", texts.inputs.get("pixel_values"))
        mask = texts.inputs.get("attention_mask")
        rows = [] if first is None else list(first)
        if mask is not None:
            rows = [row[real.bool()] for row, real in zip(rows, mask, strict=True)]
        rows = [row.cpu().numpy().tobytes() for row in rows]
        return tuple(hashlib.sha256(row).hexdigest()[:16] for row in rows)
    both = [(t, "") for t in texts] if pairs is None else zip(texts, pairs, strict=True)
    return tuple(hashlib.sha256("\0".join(each).encode()).hexdigest()[:16] for each in both)


def _pooled(
    specimen: Specimen, scored: Scored, sites: Sequence[AttentionSite], widest: int
) -> Float[np.ndarray, "measure text site head"]:
    """The poolings of every site of a batch, and the largest attention probability."""
    shape = (len(MEASURES) + 1, len(scored.texts), len(sites), widest)
    found = np.full(shape, np.nan, dtype=np.float32)
    matrices = zip(sites, scored.found.attribution, scored.found.signal, strict=True)
    for site, attribution, weights in matrices:
        marks = token_marks(specimen, scored.batch, site, attribution.shape)
        real_query, real_key, plain_query, plain_key = marks
        pooled = torch.cat(
            (
                pooled_heads(attribution, queries=real_query, keys=real_key),
                pooled_heads(attribution, queries=plain_query, keys=plain_key),
                pooled_heads(weights.to(attribution), queries=real_query, keys=real_key)[:1],
            )
        )
        found[:, :, site.index, : pooled.shape[2]] = pooled.cpu().numpy()
    return found


def _taylor(
    specimen: Specimen, scored: Scored, sites: Sequence[AttentionSite], widest: int, memory: int
) -> Float[np.ndarray, "text site head"]:
    """|A dL/dA| of every head, token by token, mean over tokens; L is the cross entropy."""
    log_prob = token_objective(scored.targets, kind="log-probability")
    products = head_sensitivity(specimen, scored.batch, objective=log_prob, memory_bytes=memory)
    found = np.full((len(scored.texts), len(sites), widest), np.nan, dtype=np.float32)
    for site, product in zip(sites, products, strict=True):
        real = token_marks(specimen, scored.batch, site, (*product.shape, product.shape[2]))[0]
        mean = (product.abs() * real[:, None]).sum(2) / real.sum(1, keepdim=True).clamp_min(1)
        found[:, site.index, : mean.shape[1]] = mean.cpu().numpy()
    return found


def _accuracy(
    specimen: Specimen, scored: Scored, sites: Sequence[AttentionSite], widest: int, memory: int
) -> tuple[Bool[np.ndarray, " text"], Bool[np.ndarray, "site head text"]]:
    """Which texts are right, and which without each head in turn."""
    heads = [(site.index, head) for site in sites for head in range(site.num_heads)]
    gates = torch.ones(1 + len(heads), 1, len(sites), widest)
    for number, (site, head) in enumerate(heads, start=1):
        gates[number, 0, site, head] = 0
    logits = replay_heads(specimen, scored.batch, gates, memory_bytes=memory)
    right: Tensor = (logits.argmax(-1) == scored.targets).cpu()
    without = np.zeros((len(sites), widest, len(scored.texts)), dtype=bool)
    for number, place in enumerate(heads, start=1):
        without[place] = right[number].numpy()
    return right[0].numpy(), without
