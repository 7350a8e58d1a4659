"""A pretraining that ends in a second: a few words, a few weights, a few steps."""

from pathlib import Path
from typing import Any

import numpy as np

from vesalius.recipes.pretrain_card import flag_of
from vesalius.recipes.pretrain_config import PretrainOptions, pretrain_preset

SMALL: dict[str, Any] = {
    "width": 16,
    "num_layers": 1,
    "num_heads": 2,
    "ffn_width": 24,
    "generator_width": 8,
    "generator_layers": 1,
    "generator_heads": 1,
    "generator_ffn_width": 12,
    "max_length": 32,
    "context_length": 16,
    "rows_per_batch": 4,
    "num_steps": 6,
    "warmup_steps": 1,
    "log_every": 2,
    "evaluate_every": 3,
    "checkpoint_every": 2,
}
WORDS = ("Paris", "London", "Rome", "Tokyo", "France", "Japan", "the", "capital", "city", "of")


def options(recipe: str = "plain", **changes: Any) -> PretrainOptions:
    """The smallest run, with changes."""
    return pretrain_preset("tiny", recipe=recipe, **(SMALL | changes))


def sentences(count: int = 120) -> list[str]:
    """Sentences of the tiny tokenizer's words: the first one says what the last one is."""
    random = np.random.default_rng(0)
    rows = random.integers(len(WORDS), size=(count, 4))
    return [" ".join(WORDS[i] for i in (*row, row[0])) + " ." for row in rows.tolist()]


def write_text(path: Path, count: int = 120) -> Path:
    """A file of sentences, a blank line between two."""
    path.write_text("\n\n".join(sentences(count)) + "\n", encoding="utf-8")
    return path


def flags() -> list[str]:
    """The smallest run as words of the command line."""
    return [word for name, value in SMALL.items() for word in flag_of(name, value).split()]
