"""The models and texts of ``benchmarks/attention.py``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from attribution_cases import BLOCK_STD, FULL, QUICK, SEED

import vesalius
from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a benchmark is run."""

    quick: bool
    rounds: int
    threads: int
    data: Path | None = None


def classifier(*, quick: bool, positions: int = 512) -> Specimen:
    """A BERT-base-shaped classifier of two classes with random weights, its plan made.

    Weights as in ``attribution_cases``: larger than the library's own, so that curves bend.
    """
    shape = QUICK if quick else FULL
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        config = hf.BertConfig(
            **shape.config, num_labels=2, max_position_embeddings=max(positions, 64)
        )
        model = hf.BertForSequenceClassification(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=BLOCK_STD)
    specimen = vesalius.open(model)
    specimen.plan  # noqa: B018 - probed now, not in a timed part
    return specimen


def random_texts(specimen: Specimen, num_texts: int, num_tokens: int) -> Batch:
    """Random token ids, as many for each text, no padding."""
    generator = torch.Generator().manual_seed(SEED)
    num_vocab: Any = specimen.model.config.vocab_size
    ids = torch.randint(5, num_vocab, (num_texts, num_tokens), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Batch(inputs=inputs, row=torch.zeros(num_texts, dtype=torch.long))


def picked(batch: Batch, text: int) -> Batch:
    """One text of a batch."""
    return batch.select(torch.tensor([text]))
