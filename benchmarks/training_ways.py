"""Ours and transformers' Trainer on the same texts: time and tokens of the steps after warm-up."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from training_cases import MASKED_SHARE, Case, synchronize
from transformers import (
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from vesalius.data.masking import Document, MaskedBatches, MaskingOptions
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train

# the same share of labels as the Trainer's collator, nothing hidden as an answer
MASKING = MaskingOptions(answer_share=0.0, random_share=MASKED_SHARE, keep_share=0.1)
LEARNING_RATE = 1e-4
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the steps after warm-up took, and what they worked on."""

    seconds: float
    tokens: int  # padding left out
    slots: int  # padding included
    squares: int  # sum of squared lengths
    steps: int


@dataclass(kw_only=True)
class Meter:
    """Counts the tokens of batches and reads the clock at two steps."""

    case: Case
    device: str
    batches: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    clock: dict[int, float] = field(default_factory=dict)

    def count(self, number: int, batch: dict[str, Tensor]) -> None:
        """Note tokens, places and squared lengths of a batch."""
        slots = batch["input_ids"].numel()
        mask = batch.get("attention_mask")
        rows, length = batch["input_ids"].shape
        lengths = mask.sum(dim=1) if mask is not None else torch.full((rows,), length)
        self.batches[number] = (int(lengths.sum()), slots, int((lengths**2).sum()))

    def step(self, step: int) -> bool:
        """Read the clock after the last warm-up step and the last one; True after the last."""
        last = self.case.warmup_steps + self.case.num_steps
        if step in (self.case.warmup_steps, last):
            synchronize(self.device)
            self.clock[step] = time.perf_counter()
        return step >= last

    def measured(self) -> Measured:
        """Sum up the steps between the two readings of the clock."""
        first = self.case.warmup_steps
        last = first + self.case.num_steps
        counts = [self.batches[number] for number in range(first, last)]
        tokens, slots, squares = (sum(column) for column in zip(*counts, strict=True))
        return Measured(
            seconds=self.clock[last] - self.clock[first],
            tokens=tokens,
            slots=slots,
            squares=squares,
            steps=last - first,
        )


class _Counted:
    """Our batches, counted where they are made: in the thread that makes them ahead."""

    def __init__(self, batches: MaskedBatches, meter: Meter) -> None:
        self._batches, self._meter = batches, meter

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        batch = self._batches[number]
        self._meter.count(number, batch)
        return batch


class _Enough(Exception):
    """The last step that is measured is done."""


def our_batches(
    documents: list[Document], case: Case, *, tokenizer: Any, seed: int
) -> MaskedBatches:
    """Batches of texts of like length, of at most the step's tokens."""
    return MaskedBatches(
        documents,
        tokenizer=tokenizer,
        tokens_per_batch=case.tokens_per_step,
        seed=seed,
        options=MASKING,
    )


def run_ours(
    model: nn.Module,
    case: Case,
    *,
    documents: list[Document],
    tokenizer: Any,
    folder: Path,
    device: str,
    seed: int,
) -> Measured:
    """`vesalius.training.loop.train`, left after the last measured step, before its checkpoint."""
    AcceleratorState._reset_state(reset_partial_state=True)  # what the Trainer has set
    meter = Meter(case=case, device=device)
    options = TrainingOptions(
        num_steps=1_000_000,  # the learning rate stays
        lr=LEARNING_RATE,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        warmup_steps=0,
        seed=seed,
        log_every=1_000_000,
        checkpoint_every=1_000_000,
    )

    def on_step(_: nn.Module, step: int) -> None:
        if meter.step(step):
            raise _Enough

    batches = our_batches(documents, case, tokenizer=tokenizer, seed=seed)
    try:
        train(
            model,
            batches=_Counted(batches, meter),
            options=options,
            out=folder,
            on_step=on_step,
            stop_after_step=case.warmup_steps + case.num_steps + 1,
        )
    except _Enough:
        return meter.measured()
    raise AssertionError("the run ended before its last measured step")


class _Clock(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._meter.step(state.global_step)


class _Texts(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Token ids with the mask of special tokens, as the library's example for masked words."""

    def __init__(self, documents: list[Document], special: frozenset[int]) -> None:
        self._rows = [
            {
                "input_ids": list(document.token_ids),
                "special_tokens_mask": [int(token in special) for token in document.token_ids],
            }
            for document in documents
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        return self._rows[place]


class _SampledTrainer(Trainer):
    """Takes random batches of an epoch's order.

    The library's order by length puts the 50 batches that it sorts together one after the other,
    longest first, so the first few steps alone would not stand for an epoch.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        order = list(super()._get_train_sampler(train_dataset))
        size = self.args.train_batch_size
        groups = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
        chosen = np.random.default_rng(self.args.seed).permutation(len(groups))
        return [place for number in chosen.tolist() for place in groups[number]]


def run_trainer(
    model: nn.Module,
    case: Case,
    *,
    documents: list[Document],
    tokenizer: Any,
    folder: Path,
    device: str,
    seed: int,
    rows: int,
    sampling: str,
) -> Measured:
    """`transformers.Trainer` with its collator, `rows` texts a batch, padded to the longest."""
    meter = Meter(case=case, device=device)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=rows,
        max_steps=case.warmup_steps + case.num_steps,
        bf16=True,
        optim="adamw_torch_fused",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=1.0,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        train_sampling_strategy=sampling,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,  # or the mask of special tokens is made again
        disable_tqdm=True,
        seed=seed,
    )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED_SHARE)

    def collate(some: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = dict(collator(some))
        meter.count(len(meter.batches), batch)
        return batch

    special = frozenset(int(token) for token in tokenizer.all_special_ids)
    trainer = _SampledTrainer(
        model=model,
        args=arguments,
        train_dataset=_Texts(documents, special),
        data_collator=collate,
        callbacks=[_Clock(meter)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return meter.measured()
