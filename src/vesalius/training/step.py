"""One optimiser step: micro-batches, global token counts, clipping, and the check of numbers."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.training.config import TrainingOptions
from vesalius.training.optimizers import scale_learning_rates
from vesalius.training.prefetch import Batch
from vesalius.training.processes import Processes
from vesalius.training.schedule import lr_factor

IGNORE = -100  # the label that the loss leaves out, torch's own default


@dataclass(kw_only=True)
class Progress:
    """How far a run is; saved with every checkpoint.

    Tokens are those of all processes, padding left out; seconds are those at work.

    Source: this project.
    """

    step: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    loss_nats: float = math.nan
    grad_norm: float = math.nan
    lr_factor: float = 0.0


@final
class Stepper:
    """Takes optimiser steps with one model and counts them.

    Source: this project; losses are normalised by the number of labels of all micro-batches of
    all processes, so that the gradient is that of one large batch.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizers: Sequence[torch.optim.Optimizer],
        options: TrainingOptions,
        processes: Processes,
        progress: Progress,
    ) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._device = self._parameters[0].device
        compiled: Any = torch.compile(model, dynamic=False) if options.compile else model
        self._model = processes.wrap(compiled)
        self._optimizers = optimizers
        self._options = options
        self._processes = processes
        self.progress = progress

    def take(self, group: Sequence[Batch]) -> None:
        """Take one step on this process's micro-batches.

        Raises: VesaliusError when no label is to be learned, or when the loss or the gradient
        is not finite; the weights are then those before the step.
        """
        start = time.perf_counter()
        counts = [int((batch["labels"] != IGNORE).sum()) for batch in group]
        tokens = sum(_count_tokens(batch) for batch in group)
        sums = torch.tensor([sum(counts), tokens], dtype=torch.float64)  # on CPU: no transfer
        num_labels, num_tokens = (int(value) for value in self._processes.total(sums).tolist())
        if num_labels == 0 or 0 in counts:
            raise VesaliusError(
                given=f"step {self.progress.step}: a batch without a label",
                expected=f"at least one label other than {IGNORE} in every batch",
                fix="leave such texts out of the data",
            )
        loss_nats, norm = self._backward(group, shares=[count / num_labels for count in counts])
        self._check(loss_nats, norm)
        factor = lr_factor(self.progress.step, options=self._options)
        scale_learning_rates(self._optimizers, factor=factor, options=self._options)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done = self.progress
        done.step += 1
        done.num_tokens += num_tokens
        done.loss_nats, done.grad_norm, done.lr_factor = loss_nats, norm, factor
        done.seconds += time.perf_counter() - start

    def _backward(self, group: Sequence[Batch], *, shares: Sequence[float]) -> tuple[float, float]:
        """Return the loss over all processes in nats and the norm of its gradient."""
        total = torch.zeros(1, dtype=torch.float64, device=self._device)
        averaged = self._processes.count  # DDP takes the mean over the processes, we need the sum
        for i, (batch, share) in enumerate(zip(group, shares, strict=True)):
            inputs = {
                name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()
            }
            held = i + 1 < len(group)
            with self._processes.unsynchronised(self._model, when=held):
                with torch.autocast(
                    self._device.type, dtype=torch.bfloat16, enabled=self._options.autocast_bf16
                ):
                    loss = self._model(**inputs).loss
                (loss * (share * averaged)).backward()
            total += loss.detach() * share
        norm = nn.utils.clip_grad_norm_(self._parameters, self._options.max_grad_norm)
        total = self._processes.total(total)
        both = torch.cat([total, norm.detach().double().reshape(1)])  # one transfer per step
        loss_nats, norm_value = both.tolist()
        return loss_nats, norm_value

    def _check(self, loss_nats: float, norm: float) -> None:
        if math.isfinite(loss_nats) and math.isfinite(norm):
            return
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        raise VesaliusError(
            given=f"step {self.progress.step}: loss {loss_nats}, gradient norm {norm}",
            expected="finite numbers",
            fix="look at the data of this step, or train in another folder with a lower learning "
            "rate; the last checkpoint is kept, but the same command comes here again",
        )


def _count_tokens(batch: Batch) -> int:
    """Count the tokens that are no padding; of packed rows, with their mask of pairs, all."""
    mask = batch.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        return int(mask.sum())
    return batch.get("input_ids", batch["labels"]).numel()
