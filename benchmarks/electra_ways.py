"""Our training loop and a plain one, timed from the end of the last warm-up step."""

import contextlib
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from electra_cases import Batch, Case
from torch import nn
from training_cases import synchronize

from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train
from vesalius.training.run_log import read_log

LEARNING_RATE, BETAS, WEIGHT_DECAY, MAX_NORM = 5e-4, (0.9, 0.999), 0.01, 1.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the steps after warm-up took, and what they worked on."""

    seconds: float
    tokens: int  # padding left out
    places: int  # padding included
    steps: int
    waited_share: float = 0.0  # of the time, for batches

    @property
    def tokens_per_second(self) -> float:
        """Real tokens a second."""
        return self.tokens / self.seconds


@dataclass(kw_only=True)
class Meter:
    """Counts the tokens of batches and reads the clock at two steps."""

    case: Case
    device: str
    counts: dict[int, tuple[int, int]] = field(default_factory=dict)
    clock: dict[int, float] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last step that is measured."""
        return self.case.warmup_steps + self.case.num_steps

    def count(self, number: int, batch: Batch) -> None:
        """Note tokens and places of a batch."""
        real = batch["real"] if "real" in batch else batch["attention_mask"]
        self.counts[number] = (int(real.sum()), real.numel())

    def step(self, step: int) -> bool:
        """Read the clock after the last warm-up step and the last one; True after the last."""
        if step in (self.case.warmup_steps, self.last):
            synchronize(self.device)
            self.clock[step] = time.perf_counter()
        return step >= self.last

    def measured(self, *, waited_share: float = 0.0) -> Measured:
        """Sum up the steps between the two readings of the clock."""
        first = self.case.warmup_steps
        counts = [self.counts[number] for number in range(first, self.last)]
        tokens, places = (sum(column) for column in zip(*counts, strict=True))
        return Measured(
            seconds=self.clock[self.last] - self.clock[first],
            tokens=tokens,
            places=places,
            steps=self.last - first,
            waited_share=waited_share,
        )


class _Counted:
    """Batches, counted where they are made: in the thread that makes them ahead."""

    def __init__(self, batches: Any, meter: Meter) -> None:
        self._batches, self._meter = batches, meter

    def __getitem__(self, number: int) -> Batch:
        batch = self._batches[number]
        self._meter.count(number, batch)
        return batch


class _Enough(Exception):
    """The last step that is measured is done."""


def run_ours(objective: nn.Module, case: Case, batches: Any, *, device: str) -> Measured:
    """`vesalius.training.loop.train`, left after the last measured step, before its checkpoint."""
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
    meter = Meter(case=case, device=device)
    options = TrainingOptions(
        num_steps=1_000_000,  # the learning rate stays
        lr=LEARNING_RATE,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_NORM,
        warmup_steps=0,
        log_every=1,  # tells how long each step waited for its batch
        checkpoint_every=1_000_000,
    )

    def on_step(_: nn.Module, step: int) -> None:
        if meter.step(step):
            raise _Enough

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with contextlib.suppress(_Enough):
            train(
                objective,
                batches=_Counted(batches, meter),
                options=options,
                out=out,
                on_step=on_step,
                stop_after_step=meter.last + 1,
            )
        rows = [row for row in read_log(out) if row["step"] > case.warmup_steps]
        waited = sum(row["waited"] for row in rows) / len(rows)
    return meter.measured(waited_share=waited)


def run_plain(model: nn.Module, case: Case, batches: Sequence[Batch], *, device: str) -> Measured:
    """A loop as one writes it: autocast, backward, clipping, fused AdamW, one batch a step.

    The batches are there before the clock runs, and no loss is read.
    """
    gc.collect()
    meter = Meter(case=case, device=device)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    for step in range(meter.last):
        meter.count(step, batches[step])
        inputs = {name: tensor.to(device) for name, tensor in batches[step].items()}
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(**inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.step(step + 1)
    return meter.measured()


def in_turns(
    ways: dict[str, Callable[[int], Measured]], *, rounds: int, log: Callable[[str], None]
) -> dict[str, list[Measured]]:
    """Run all ways round by round; who goes first alternates."""
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for index in range(rounds):
        for name in ways if index % 2 == 0 else reversed(ways):
            log(f"round {index + 1} of {rounds}, {name}")
            found[name].append(ways[name](index))
    return found
