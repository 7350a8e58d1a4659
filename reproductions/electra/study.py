"""Finished steps of the evaluation on disk: the same command goes on where it was stopped."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from arms import PLAIN, QUICK, THIRD_PARTY, Scale
from corpus import PAD, ROW, SPECIAL, Corpus, load_corpus
from corruptions import Corrupted, make_sets, stored_sets
from pretraining import build, is_finished, reopen

from vesalius.core.paths import write_file
from vesalius.core.seeds import derive_seed
from vesalius.data.replaced import ReplacedBatches
from vesalius.data.shards import Documents
from vesalius.methods.electra.objective import ReplacedTokenObjective

SCRATCH: Final = "scratch"  # a discriminator that was never trained, beside the arms
NUM_ROWS: Final = 1024  # held out, for the corruptions
NUM_SLOTS: Final = 256  # held out, for the variances


@dataclass(frozen=True, kw_only=True)
class Study:
    """Where everything is, and how much is measured.

    Args:
        data: folder of the sets.
        out: folder of runs and of finished steps.
        scale: of the runs.
    """

    data: Path
    out: Path
    scale: Scale

    @property
    def is_quick(self) -> bool:
        """Whether little is measured: does it run?"""
        return self.scale.width == QUICK.width

    @cached_property
    def corpus(self) -> Corpus:
        """The text, read once."""
        return load_corpus(self.data, self.out)

    @cached_property
    def sets(self) -> dict[str, Corrupted]:
        """The corrupted rows, the same for all; they need the plain pair of seed 99."""
        if not is_finished(self.out, PLAIN, THIRD_PARTY):
            raise SystemExit(f"run pretrain --arms {PLAIN} --seeds {THIRD_PARTY} first")
        num_rows = 64 if self.is_quick else NUM_ROWS

        def make() -> dict[str, Corrupted]:
            return make_sets(self.corpus, self.model(PLAIN, THIRD_PARTY), num_rows=num_rows)

        return stored_sets(self.out / "steps" / "corruptions.npz", make)

    @cached_property
    def held_out(self) -> ReplacedBatches:
        """Batches of held-out rows, the same for all."""
        return ReplacedBatches(
            Documents.from_lists(list(self.corpus.held_out)),
            context_length=ROW,
            rows_per_batch=32,
            seed=derive_seed(0, "held out"),
            special_ids=range(len(SPECIAL)),
            pad_id=PAD,
        )

    @property
    def num_slots(self) -> int:
        """At how many held-out slots variances are taken."""
        return 8 if self.is_quick else NUM_SLOTS

    def model(self, arm: str, seed: int) -> ReplacedTokenObjective:
        """Open a finished run; an untrained pair for the arm "scratch"."""
        size = self.corpus.vocab_size
        if arm == SCRATCH:
            return build(PLAIN, seed, scale=self.scale, vocab_size=size)
        return _reopened(self.out, arm, seed, self.scale, size)

    def has(self, arm: str, seed: int, step: str) -> bool:
        """Whether a step was done."""
        return self._path(arm, seed, step).is_file()

    def _path(self, arm: str, seed: int, step: str) -> Path:
        return self.out / "steps" / arm / f"seed-{seed}" / f"{step}.json"

    def once(self, arm: str, seed: int, step: str, make: Callable[[], Any]) -> Any:
        """Give what a step made, and make it if no earlier run did: written whole or not at all."""
        path = self._path(arm, seed, step)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps(plain(make())).encode())
        return json.loads(path.read_text("utf-8"))


def plain(value: Any) -> Any:
    """Numpy as JSON, six digits of every number; NaN as null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


@lru_cache(maxsize=2)
def _reopened(
    out: Path, arm: str, seed: int, scale: Scale, vocab_size: int
) -> ReplacedTokenObjective:
    return reopen(out, arm, seed, scale=scale, vocab_size=vocab_size)
