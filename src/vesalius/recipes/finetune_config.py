"""Options of `vesalius finetune`."""

import math
from dataclasses import dataclass
from typing import Final, Literal, final

from vesalius.core.errors import VesaliusError

METRICS: Final = ("accuracy", "macro_f1", "matthews")
# What a resumed command may change: seeds are added, the rest does not touch the weights.
FREE: Final = frozenset({"seeds", "checkpoint_every", "device"})


@final
@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How to fine-tune a classifier.

    ``lr`` 0 means 3e-4 below a width of 512 and 5e-5 from there. ``layer_decay`` multiplies the
    learning rate once per block below the top one, and once more for the embeddings; 1 is none.
    ``min_steps`` lengthens the training of small sets beyond ``epochs``. ``snapshots`` N keeps
    N + 1 evenly spaced copies, step 0 among them. ``keep`` exports the last step of each seed,
    or the one that is best on dev by ``metric``. ``checkpoint_every`` 0 means four times a run,
    and not more often than every 100 steps. ``pooling`` is for architectures that let a head
    choose what it reads (ModernBERT): a model that was only pretrained has learned nothing for
    its first token.

    Source: Devlin et al. 2019 (batch 32, 3 epochs, 5e-5, warm-up of 10 %); Clark et al. 2020,
    arXiv 2003.10555 (layer-wise decay; here the top block is not decayed); Mosbach et al. 2021,
    arXiv 2006.04884 (more steps on small sets). 3e-4 was measured on mini-bert.
    """

    seeds: tuple[int, ...] = (0,)
    epochs: float = 3.0
    min_steps: int = 200
    batch_size: int = 32
    lr: float = 0.0
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    schedule: Literal["linear", "warmup-stable-decay"] = "linear"
    max_length: int = 128
    from_scratch: bool = False
    freeze_embeddings: bool = False
    pooling: Literal["mean", "cls"] = "mean"
    bf16: bool = False
    snapshots: int = 0
    keep: Literal["last", "best"] = "last"
    metric: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"
    checkpoint_every: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        seeds = self.seeds
        self._expect(bool(seeds), "seeds", "at least one seed", "0")
        self._expect(len(set(seeds)) == len(seeds), "seeds", "different seeds", "0,1,2")
        self._expect(all(0 <= s < 2**31 for s in seeds), "seeds", "seeds from 0", "0,1,2")
        for name, usual in (("epochs", "3"), ("lr", "3e-4"), ("weight_decay", "0.01")):
            value = getattr(self, name)
            self._expect(0 <= value < math.inf, name, "a finite number from 0", usual)
        for name, usual in (("batch_size", "32"), ("max_length", "128")):
            self._expect(getattr(self, name) >= 1, name, "at least 1", usual)
        for name in ("min_steps", "snapshots", "checkpoint_every"):
            self._expect(getattr(self, name) >= 0, name, "0 or more", "0")
        self._expect(self.epochs > 0 or self.min_steps > 0, "epochs", "some steps", "3")
        self._expect(0 < self.layer_decay <= 1, "layer_decay", "above 0, at most 1", "0.8")
        self._expect(0 <= self.warmup_share < 1, "warmup_share", "from 0 up to 1", "0.1")
        choices = {
            "schedule": ("linear", "warmup-stable-decay"),
            "keep": ("last", "best"),
            "metric": METRICS,
            "pooling": ("mean", "cls"),
        }
        for name, words in choices.items():
            self._expect(getattr(self, name) in words, name, " or ".join(words), words[0])

    def _expect(self, holds: bool, name: str, expected: str, usual: str) -> None:
        """Refuse a value.

        Raises:
            VesaliusError: it does not hold.
        """
        if not holds:
            raise VesaliusError(
                given=f"{name}={getattr(self, name)!r}", expected=expected, fix=f"use {usual}"
            )

    def peak_lr(self, *, width: int) -> float:
        """Give the learning rate for a model of a width."""
        return self.lr or (3e-4 if width < 512 else 5e-5)

    def num_steps(self, *, batches_per_epoch: int) -> int:
        """Give the steps of one seed."""
        return max(1, self.min_steps, round(self.epochs * batches_per_epoch))
