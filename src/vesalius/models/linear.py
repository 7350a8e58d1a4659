"""Linear maps of every storage: who the input axis is, and the value slot of a neuron."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """A linear layer found in a model, with its orientation.

    ``torch.nn.Linear`` stores ``[out, in]``; GPT-2's ``Conv1D`` stores ``[in, out]``. Only this
    class asks which one it is. ``num_inputs`` and ``num_outputs`` count units.

    Source: the neuron seam of docs/architecture.md.
    """

    name: str
    module: nn.Module
    num_inputs: int
    num_outputs: int
    input_axis: int

    @property
    def weight(self) -> nn.Parameter:
        """The parameter that holds the map, in the model's own storage order.

        Raises:
            VesaliusError: quantised weights, which cannot be read column by column.
        """
        owner = getattr(self.module, "base_layer", self.module)  # PEFT wraps the layer it adapts
        weight = owner.weight
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
            raise VesaliusError(
                given=f"{self.name}: a {type(owner).__name__} with weights of {weight.dtype}",
                expected="floating-point weights for reading value slots or editing",
                fix="load the model without quantisation; quantised weights are read-only here",
            )
        return weight

    def value_slots(self, neurons: Tensor) -> Float[Tensor, "neuron d_model"]:
        """Copy what each neuron writes into the residual stream.

        Args:
            neurons: integer tensor, shape [neuron].

        Returns:
            Shape [neuron, d_model], in the model's dtype.

        Source: arXiv 2104.08696, section 3 (value slots of the feed-forward memory).
        """
        chosen = self.weight.detach().index_select(self.input_axis, neurons.to(self.weight.device))
        return chosen if self.input_axis == 0 else chosen.T


def as_linear_map(name: str, module: nn.Module) -> LinearMap | None:
    """Recognise a linear layer by its attributes, quantised and PEFT-wrapped ones included.

    Returns:
        The map, or None when ``module`` is something else.

    Source: ``torch.nn.Linear`` and ``transformers.pytorch_utils.Conv1D``.
    """
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
        weight: Any = module.weight
        num_inputs, num_outputs = weight.shape
        return LinearMap(
            name=name, module=module, num_inputs=num_inputs, num_outputs=num_outputs, input_axis=0
        )
    num_inputs = getattr(module, "in_features", None)
    num_outputs = getattr(module, "out_features", None)
    if not isinstance(num_inputs, int) or not isinstance(num_outputs, int):
        return None
    return LinearMap(
        name=name, module=module, num_inputs=num_inputs, num_outputs=num_outputs, input_axis=1
    )


def is_finite(model: nn.Module) -> bool:
    """Tell whether every floating-point parameter is finite (no shapes change hands).

    Source: the bad-input table of this project.
    """
    return all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.is_floating_point())


def stored_transposed(model: nn.Module) -> frozenset[str]:
    """Name the weights that are stored ``[in, out]``, no shapes change hands.

    Source: ``transformers.pytorch_utils.Conv1D``.
    """
    found = ((name, as_linear_map(name, module)) for name, module in model.named_modules())
    return frozenset(f"{name}.weight" for name, linear in found if linear and not linear.input_axis)
