"""A small training loop: any module that returns a loss, batches by number, exact resume."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from tqdm import tqdm

from vesalius.core.errors import VesaliusError
from vesalius.training.checkpoint import load_checkpoint, save_checkpoint
from vesalius.training.config import TrainingOptions
from vesalius.training.optimizers import build_optimizers, scale_learning_rates
from vesalius.training.random_state import seeded
from vesalius.training.schedule import lr_factor

IGNORE = -100  # the label that the loss leaves out, torch's own default


@runtime_checkable
class NumberedBatches(Protocol):
    """Batches that are a pure function of their number."""

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return batch `number`: at least input_ids and labels, [batch, position]."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """What a run did: steps, tokens (padding left out), seconds at work, last loss in nats.

    Source: this project.
    """

    num_steps: int
    num_tokens: int
    seconds: float
    loss_nats: float


@dataclass(kw_only=True)
class _Progress:
    step: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    loss_nats: float = math.nan


def train(
    model: nn.Module,
    *,
    batches: NumberedBatches,
    options: TrainingOptions,
    out: Path,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    stop_after_step: int | None = None,
) -> TrainingSummary:
    """Train `model` in place; log and checkpoint into `out`, and resume if it holds one.

    `batches[n]` for n = 0, 1, ... are passed as keyword arguments; the model returns an object
    with `.loss`, the mean over the labels that are not -100. Losses of the micro-batches of one
    step are weighted by their number of labels. `stop_after_step` ends early with a checkpoint.

    Shapes: the tensors of a batch are [batch, position].

    Raises: VesaliusError when the loss or the gradient is not finite (the last checkpoint
    stays), or when `out` holds a run with other options.

    Source: this project.
    """
    with seeded(options.seed):
        optimizers = build_optimizers(model, options=options)
        state = load_checkpoint(out, model=model, optimizers=optimizers)
        if state is not None and state["options"] != _plain(options):
            raise VesaliusError(
                given=f"{out}: a run with other options",
                expected="the options of the first start",
                fix="choose another output folder, or repeat the first command",
            )
        progress = _Progress(**(state["progress"] if state else {}))
        _cut_log(out / "log.jsonl", step=progress.step)
        last = min(options.num_steps, stop_after_step or options.num_steps)
        model.train()
        with tqdm(total=options.num_steps, initial=progress.step, mininterval=5.0) as bar:
            while progress.step < last:
                _advance(model, optimizers, batches=batches, options=options, progress=progress)
                done = progress.step == last
                bar.update()
                if progress.step % options.log_every == 0 or done:
                    rate = progress.num_tokens / progress.seconds
                    bar.set_postfix_str(f"loss {progress.loss_nats:.3f}, {rate:,.0f} tokens/s")
                    _log(out / "log.jsonl", {**asdict(progress), "tokens_per_second": rate})
                if evaluate and (progress.step % options.evaluate_every == 0 or done):
                    model.eval()
                    scores = dict(evaluate(model))
                    model.train()
                    _log(out / "log.jsonl", {"step": progress.step, "evaluation": scores})
                if progress.step % options.checkpoint_every == 0 or done:
                    saved = {"progress": asdict(progress), "options": _plain(options)}
                    save_checkpoint(out, model=model, optimizers=optimizers, state=saved)
    return TrainingSummary(
        num_steps=progress.step,
        num_tokens=progress.num_tokens,
        seconds=progress.seconds,
        loss_nats=progress.loss_nats,
    )


def _advance(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    *,
    batches: NumberedBatches,
    options: TrainingOptions,
    progress: _Progress,
) -> None:
    """Take one optimiser step and count it."""
    start = time.perf_counter()
    device = next(model.parameters()).device
    first = progress.step * options.micro_batches
    group = [batches[first + i] for i in range(options.micro_batches)]
    num_labels = sum(int((batch["labels"] != IGNORE).sum()) for batch in group)
    loss_nats = 0.0
    for batch in group:
        share = int((batch["labels"] != IGNORE).sum()) / num_labels
        inputs = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=options.autocast_bf16):
            loss = model(**inputs).loss
        (loss * share).backward()
        loss_nats += loss.item() * share
        progress.num_tokens += _count_tokens(batch)
    norm = nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
    if not (math.isfinite(loss_nats) and math.isfinite(norm.item())):
        raise VesaliusError(
            given=f"step {progress.step}: loss {loss_nats}, gradient norm {norm.item()}",
            expected="finite numbers",
            fix="lower the learning rate; the last checkpoint can be resumed",
        )
    scale_learning_rates(
        optimizers, factor=lr_factor(progress.step, options=options), options=options
    )
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    progress.step += 1
    progress.loss_nats = loss_nats
    progress.seconds += time.perf_counter() - start


def _count_tokens(batch: dict[str, Int64[Tensor, "batch position"]]) -> int:
    if "attention_mask" in batch:
        return int(batch["attention_mask"].sum())
    return batch["input_ids"].numel()


def _plain(options: TrainingOptions) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(options)))


def _log(path: Path, entry: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _cut_log(path: Path, *, step: int) -> None:
    """Drop the lines of steps after the checkpoint: they are about to be run again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
