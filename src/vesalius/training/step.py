"""One optimiser step: micro-batches, global token counts, clipping, and the check of numbers."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.training.config import TrainingOptions
from vesalius.training.optimizers import scale_learning_rates
from vesalius.training.prefetch import Batch
from vesalius.training.processes import Processes
from vesalius.training.schedule import lr_factor
from vesalius.training.spread import Spread, whole_tensor
from vesalius.training.terms import LossOfTerms, Window, count_terms, count_tokens


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

    Source: this project; every term of the loss is normalised by its count over all
    micro-batches of all processes, so that the gradient is that of one large batch.
    """

    def __init__(
        self,
        spread: Spread,
        *,
        optimizers: Sequence[torch.optim.Optimizer],
        options: TrainingOptions,
        processes: Processes,
        progress: Progress,
        window: Window,
    ) -> None:
        self._spread, self._model = spread, spread.trained
        self._parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._device = self._parameters[0].device
        self._optimizers = optimizers
        self._options = options
        self._processes = processes
        self.progress, self._window = progress, window

    def take(self, group: Sequence[Batch]) -> None:
        """Take one step on this process's micro-batches.

        Raises: VesaliusError when a batch has nothing to learn from, or when the loss or the
        gradient is not finite; the weights are then those before the step.
        """
        start = time.perf_counter()
        counts = [count_terms(self._model, batch) for batch in group]
        tokens = sum(count_tokens(self._model, batch) for batch in group)
        here = [*map(sum, zip(*counts, strict=True)), tokens]
        sums = torch.tensor(here, dtype=torch.float64)  # on CPU: no transfer
        *totals, num_tokens = (int(value) for value in self._processes.total(sums).tolist())
        if any(0 in count for count in counts):
            raise VesaliusError(
                given=f"step {self.progress.step}: a batch without a label",
                expected="in every batch at least one label (other than -100) for each loss",
                fix="leave such texts out of the data",
            )
        shares = [[n / all_ for n, all_ in zip(count, totals, strict=True)] for count in counts]
        losses_nats, norm = self._backward(group, shares=shares)
        self._check(losses_nats, norm)
        factor = lr_factor(self.progress.step, options=self._options)
        scale_learning_rates(self._optimizers, factor=factor, options=self._options)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done = self.progress
        done.step += 1
        done.num_tokens += num_tokens
        done.loss_nats, done.grad_norm, done.lr_factor = sum(losses_nats), norm, factor
        done.seconds += time.perf_counter() - start

    def _backward(
        self, group: Sequence[Batch], *, shares: Sequence[Sequence[float]]
    ) -> tuple[list[float], float]:
        """Return each term over all processes in nats and the norm of the gradient of their sum."""
        total = torch.zeros(len(shares[0]), dtype=torch.float64, device=self._device)
        averaged = self._processes.count  # the mean is taken over the processes, we need the sum
        for i, (batch, share) in enumerate(zip(group, shares, strict=True)):
            inputs = {
                name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()
            }
            held = i + 1 < len(group)
            with self._spread.unsynchronised(when=held):
                with torch.autocast(
                    self._device.type, dtype=torch.bfloat16, enabled=self._options.autocast_bf16
                ):
                    terms = self._terms(inputs)
                parts = [term * (part * averaged) for term, part in zip(terms, share, strict=True)]
                torch.stack(parts).sum().backward()
            with torch.no_grad():
                total += torch.stack([term * part for term, part in zip(terms, share, strict=True)])
        norm = nn.utils.clip_grad_norm_(self._parameters, self._options.max_grad_norm)
        total = self._processes.total(total)
        norm = whole_tensor(norm.detach()).double().reshape(1)
        both = torch.cat([total, norm])  # one transfer per step
        *losses_nats, norm_value = both.tolist()
        return losses_nats, norm_value

    def _terms(self, inputs: Batch) -> Sequence[Float[Tensor, ""]]:
        """Return the terms of the loss on one batch, and note what the model measured."""
        output = self._spread.call(inputs)
        if not isinstance(self._model, LossOfTerms):
            return [output.loss]
        self._window.add(output.sums, output.maxima)
        return output.terms.unbind()

    def _check(self, losses_nats: Sequence[float], norm: float) -> None:
        if math.isfinite(sum(losses_nats)) and math.isfinite(norm):
            return
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        terms = f" (terms {', '.join(map(str, losses_nats))})" if len(losses_nats) > 1 else ""
        loss = f"loss {sum(losses_nats)}{terms}"
        raise VesaliusError(
            given=f"step {self.progress.step}: {loss}, gradient norm {norm}",
            expected="finite numbers",
            fix="look at the data of this step, or train in another folder with a lower learning "
            "rate; the last checkpoint is kept, but the same command comes here again",
        )
