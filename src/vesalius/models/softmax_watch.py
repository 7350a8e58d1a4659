"""The fall-back of the attention seam: the one 4-D softmax of classes outside the registry."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_SOFTMAX = (torch.softmax, torch.nn.functional.softmax, Tensor.softmax)

WatchTap = Callable[[Tensor], Tensor]


class _SoftmaxWatch(TorchFunctionMode):
    """Hands every 4-D softmax inside a watched module to the tap of that module."""

    def __init__(self, taps: dict[nn.Module, WatchTap]) -> None:
        super().__init__()
        self.taps = taps
        self.inside: list[nn.Module] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.inside and func in _SOFTMAX and result.dim() == 4:
            return self.taps[self.inside[-1]](result)
        return result


@contextmanager
def watched(taps: dict[nn.Module, WatchTap]) -> Generator[None, None, None]:
    """Read or replace attention probabilities [batch, head, query, key] of the given modules.

    A tap receives the probabilities and returns what takes their place.

    Source: seam 2 of docs/architecture.md (DeBERTa-v2, GPT-J, Bloom, Falcon).
    """
    watch = _SoftmaxWatch(taps)

    def enter(module: nn.Module, _args: Any) -> None:
        watch.inside.append(module)

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        watch.inside.pop()

    hooks = [m.register_forward_pre_hook(enter) for m in taps]
    hooks += [m.register_forward_hook(leave) for m in taps]
    try:
        with watch:
            yield
    finally:
        for hook in hooks:
            hook.remove()
