"""Losses of several terms, each a mean over its own count, and the numbers measured beside them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.training.prefetch import Batch
from vesalius.training.processes import Processes

IGNORE = -100  # the label that the loss leaves out, torch's own default


@runtime_checkable
class LossOfTerms(Protocol):
    """A module whose loss is a sum of terms and which measures what it does.

    Its output has `.terms` [term], each the mean over its own count in this batch with its
    coefficient, `.sums` [statistic], which add up over batches, and `.maxima` [maximum].

    Source: this project.
    """

    def count_terms(self, batch: Batch) -> tuple[int, ...]:
        """Return over how many things each term is a mean, from the batch on the CPU."""
        ...

    def count_tokens(self, batch: Batch) -> int:
        """Return the tokens of the batch that are no padding."""
        ...

    def describe(
        self, sums: Float[Tensor, " statistic"], maxima: Float[Tensor, " maximum"]
    ) -> dict[str, float]:
        """Return named measures of all batches since the last log.

        Shapes: sums [statistic] added up over them, maxima [maximum] the largest of them.
        """
        ...


def count_terms(model: nn.Module, batch: Batch) -> tuple[int, ...]:
    """Return the count of every term of the model's loss; that of one term is its labels.

    Source: this project.
    """
    if isinstance(model, LossOfTerms):
        return model.count_terms(batch)
    return (int((batch["labels"] != IGNORE).sum()),)


def count_tokens(model: nn.Module, batch: Batch) -> int:
    """Count the tokens that are no padding; of packed rows, with their mask of pairs, all.

    Source: this project.
    """
    if isinstance(model, LossOfTerms):
        return model.count_tokens(batch)
    mask = batch.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        return int(mask.sum())
    return batch.get("input_ids", batch["labels"]).numel()


def measure_names(model: nn.Module) -> dict[str, str]:
    """Return what each measure means, in a line, if the model's `describe_names()` says so.

    Source: this project.
    """
    return dict(getattr(model, "describe_names", dict)())


def measure_alarms(model: nn.Module, measures: Mapping[str, float]) -> list[str]:
    """Return what is wrong with the measures, if the model's `alarms(measures)` says so.

    Source: this project.
    """
    alarms: Callable[[Mapping[str, float]], list[str]] | None = getattr(model, "alarms", None)
    return list(alarms(measures)) if alarms and measures else []


def alarm_kind(alarm: str) -> str:
    """Return an alarm without its numbers: the same one of another step is of its kind.

    Source: this project.

    >>> alarm_kind("weights average 0.73, not 1") == alarm_kind("weights average 1.2, not 1")
    True
    """
    return re.sub(r"\d[\d.,]*(e[-+]?\d+)?", "#", alarm)


@final
class Window:
    """The statistics of the steps since the last log, on the device until they are read.

    Source: this project.
    """

    def __init__(self) -> None:
        self._sums: Float[Tensor, " statistic"] | None = None
        self._maxima: Float[Tensor, " maximum"] | None = None

    def add(self, sums: Float[Tensor, " statistic"], maxima: Float[Tensor, " maximum"]) -> None:
        """Take in the statistics of one batch.

        Shapes: sums [statistic] and maxima [maximum].
        """
        sums, maxima = sums.detach().double(), maxima.detach().double()
        if self._sums is None or self._maxima is None:
            self._sums, self._maxima = sums, maxima
        else:
            self._sums = sums + self._sums.to(sums.device)
            self._maxima = torch.maximum(maxima, self._maxima.to(maxima.device))

    def gather(self, processes: Processes) -> None:
        """Move what all processes hold to the main one."""
        if self._sums is None or self._maxima is None:
            return
        self._sums = processes.total(self._sums).to(self._sums.device)
        self._maxima = processes.most(self._maxima).to(self._maxima.device)
        if not processes.is_main:
            self._sums, self._maxima = None, None

    def describe(self, model: nn.Module) -> dict[str, float]:
        """Return the model's measures of what was gathered, none if there is nothing; forget it."""
        if self._sums is None or self._maxima is None or not isinstance(model, LossOfTerms):
            return {}
        sums, maxima = self._sums.cpu(), self._maxima.cpu()
        self._sums, self._maxima = None, None
        return {name: float(value) for name, value in model.describe(sums, maxima).items()}

    def state(self) -> dict[str, list[float]]:
        """Return what was gathered, for a checkpoint."""
        if self._sums is None or self._maxima is None:
            return {}
        return {"sums": self._sums.tolist(), "maxima": self._maxima.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        if state:
            self._sums, self._maxima = (
                torch.tensor(state[name], dtype=torch.float64) for name in ("sums", "maxima")
            )
