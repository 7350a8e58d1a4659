"""Corrupted rows that are the same for every discriminator, and how well one tells them."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from corpus import ROW, SPECIAL, Corpus
from torch.nn.functional import binary_cross_entropy_with_logits

from vesalius.core.paths import write_file
from vesalius.core.seeds import derive_seed
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.models.kernels import short_attention

SLOTS: Final = 9  # of a row, as in training
SWAPS: Final = 4  # pairs of neighbours of a row
SETS: Final = {
    "noise": "characters by their frequency",
    "swaps": "neighbours swapped",
    "generator": "a generator that is no arm's",
}
_AT_ONCE: Final = 64


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """Rows [row, position], and which places differ from the text."""

    ids: np.ndarray
    replaced: np.ndarray


def make_sets(
    corpus: Corpus, third: ReplacedTokenObjective, *, num_rows: int
) -> dict[str, Corrupted]:
    """Corrupt the same held-out rows in three ways; ``third`` draws for one of them."""
    rows = corpus.held_out[:num_rows]
    made = {
        "noise": add_noise(rows, corpus.counts, random=_random("noise")),
        "swaps": swap_neighbours(rows, random=_random("swaps")),
        "generator": draw_from(third, rows, random=_random("generator")),
    }
    return {name: Corrupted(ids=ids, replaced=ids != rows) for name, ids in made.items()}


def stored_sets(path: Path, make: Any) -> dict[str, Corrupted]:
    """Read the sets, or make and store them: they stay the same for every run that follows."""
    if not path.is_file():
        file, made = io.BytesIO(), make()
        arrays = {f"{name}_ids": each.ids.astype(np.uint8) for name, each in made.items()}
        arrays |= {f"{name}_replaced": each.replaced for name, each in made.items()}
        np.savez_compressed(file, **arrays)
        write_file(path, file.getvalue())
    with np.load(path, allow_pickle=False) as found:
        return {
            name: Corrupted(
                ids=found[f"{name}_ids"].astype(np.int64), replaced=found[f"{name}_replaced"]
            )
            for name in SETS
        }


def add_noise(rows: np.ndarray, counts: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """Draw characters by their frequency for 9 ordinary places of every row."""
    found = rows.copy()
    places = choose_places(rows, random=random)
    drawn = random.choice(len(counts), size=places.shape, p=counts / counts.sum())
    np.put_along_axis(found, places, drawn, axis=1)
    return found


def swap_neighbours(rows: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """Swap up to 4 pairs of neighbours of every row, ordinary and different ones, none twice."""
    found = rows.copy()
    for row in found:
        is_open = row >= len(SPECIAL)
        left = SWAPS
        for place in random.permutation(ROW - 1).tolist():
            pair = slice(place, place + 2)
            if left and is_open[pair].all() and row[place] != row[place + 1]:
                row[pair] = row[pair][::-1].copy()
                is_open[pair] = False
                left -= 1
    return found


def draw_from(
    third: ReplacedTokenObjective, rows: np.ndarray, *, random: np.random.Generator
) -> np.ndarray:
    """Let a generator fill 9 places of every row, all of them masked."""
    found: list[np.ndarray] = []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        places = np.sort(choose_places(part, random=random), axis=1)
        slots = torch.from_numpy((places + ROW * np.arange(len(part))[:, None]).reshape(-1))
        ids = torch.from_numpy(part)
        with torch.no_grad(), short_attention("cpu"):
            drawn = third.draw(
                ids,
                slots=slots,
                masked=torch.ones(len(slots), dtype=torch.bool),
                uniforms=torch.from_numpy(random.random(len(slots))),
            )
        filled = ids.reshape(-1).index_copy(0, slots, drawn.candidates)
        found.append(filled.view_as(ids).numpy())
    return np.concatenate(found)


def choose_places(rows: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """Choose 9 ordinary places of every row, none twice."""
    order = random.random(rows.shape)
    order[rows < len(SPECIAL)] = 2.0
    return order.argsort(axis=1)[:, :SLOTS]


def score(model: ReplacedTokenObjective, each: Corrupted) -> Mapping[str, float]:
    """Score a discriminator on a set: its loss in nats over all characters, and the AUC."""
    logits: list[torch.Tensor] = []
    with torch.no_grad(), short_attention("cpu"):
        for part in torch.from_numpy(each.ids).split(_AT_ONCE):
            logits.append(model.pair.discriminator_logits(part).double())
    scores, truth = torch.cat(logits)[:, 1:-1], torch.from_numpy(each.replaced)[:, 1:-1]
    nats = binary_cross_entropy_with_logits(scores, truth.double(), reduction="none")
    return {
        "loss": float(nats.mean()),
        "loss_replaced": float(nats[truth].mean()),
        "loss_original": float(nats[~truth].mean()),
        "auc": area(scores.reshape(-1).numpy(), truth.reshape(-1).numpy()),
    }


def area(scores: np.ndarray, truth: np.ndarray) -> float:
    """Give the chance that a replaced place scores above another one, ties counting half.

    Source: Hanley and McNeil 1982, section II (the Wilcoxon statistic).
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    positive = int(truth.sum())
    below = ranks[truth].sum() - positive * (positive + 1) / 2
    return float(below / (positive * (len(truth) - positive)))


def _random(word: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(0, "corruption", word))
