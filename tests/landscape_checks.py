"""What tests of walks in weight space look at before and after."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def bits_of(model: nn.Module) -> dict[str, tuple[int, bytes, bool]]:
    """Place, bits and wish for a gradient of every parameter; the mode of every module."""
    found = {
        name: (p.data_ptr(), p.detach().numpy().tobytes(), p.requires_grad)
        for name, p in model.named_parameters()
    }
    modes = {f"mode of {name}": (0, b"", m.training) for name, m in model.named_modules()}
    return found | modes


class Failing:
    """A measure that raises at its ``at``-th call."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._left -= 1
        if self._left < 0:
            raise ZeroDivisionError("in the measure")
        zeros = torch.zeros(len(batch["labels"]))
        return {"loss": zeros, "error": zeros}
