"""How fast steps follow each other: against the machine's own speed, and how long they wait."""

import time
from collections.abc import Iterator
from typing import Final, TypeVar, final

import torch
from torch import nn

from vesalius.training.config import TrainingOptions
from vesalius.training.step import Progress

_SECONDS: Final = 0.1  # of repeated products; they and the first one stay below 0.3 s
_SIDES: Final = (256, 768)  # least and most rows of the product on a CPU
_SIDES_CUDA: Final = (4096, 8192)  # a smaller one would not fill an accelerator

T = TypeVar("T")


@final
class Pace:
    """Times the steps since the last log and the waiting for their batches.

    `flops_per_token` counts the additions and multiplications of training on one token, backward
    included; without it there is no utilisation and nothing is measured at the start.

    Source: this project; utilisation as of Chowdhery et al. 2022 (arXiv 2204.02311, appendix B),
    but against the rate of a matrix product measured on this machine.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        options: TrainingOptions,
        flops_per_token: float,
        count: int,
        progress: Progress,
    ) -> None:
        self._flops_per_token = flops_per_token
        self._rate = count * _model_rate(model, options=options) if flops_per_token else 0.0
        self._tokens, self._seconds, self._waited = progress.num_tokens, progress.seconds, 0.0

    def timed(self, groups: Iterator[T]) -> Iterator[T]:
        """Yield the groups, and note how long each was waited for."""
        while True:
            start = time.perf_counter()
            group = next(groups, None)
            self._waited += time.perf_counter() - start
            if group is None:
                return
            yield group

    def read(self, progress: Progress) -> dict[str, float]:
        """Return shares since the last call: waited, and `mfu` of the machine's rate; start anew.

        All time between two logs counts but that of evaluations and checkpoints.
        """
        seconds = progress.seconds - self._seconds + self._waited
        shares = {"waited": self._waited / seconds}
        if self._rate:
            done = self._flops_per_token * (progress.num_tokens - self._tokens)
            shares["mfu"] = done / (seconds * self._rate)
        self._tokens, self._seconds, self._waited = progress.num_tokens, progress.seconds, 0.0
        return shares


def matmul_rate(*, device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return the operations per second of the fastest of some products [side, side].

    Source: this project; 2 side^3 operations each.
    """
    draws = torch.Generator(device).manual_seed(0)  # constant numbers would be faster on GPUs
    matrix = torch.randn(side, side, generator=draws, device=device).to(dtype)
    best, start = float("inf"), 0.0
    while not start or time.perf_counter() - start < _SECONDS:
        begun = time.perf_counter()
        torch.mm(matrix, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        # the first one loads kernels
        best, start = (min(best, ended - begun), start) if start else (best, ended)
    return 2 * side**3 / best


def _model_rate(model: nn.Module, *, options: TrainingOptions) -> float:
    """Measure with a product near the model's width, in the type that it trains in."""
    parameter = next(model.parameters())
    width = max((min(p.shape) for p in model.parameters() if p.ndim == 2), default=1)
    least, most = _SIDES_CUDA if parameter.device.type == "cuda" else _SIDES
    dtype = torch.bfloat16 if options.autocast_bf16 else parameter.dtype
    return matmul_rate(device=parameter.device, dtype=dtype, side=min(max(width, least), most))
