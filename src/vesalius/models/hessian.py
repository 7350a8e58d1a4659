"""Products of the Hessian of a model's mean loss with vectors, in the memory of one batch.

A product is the gradient of (gradient . v): two backward passes a batch. Attention runs through
the plain kernel meanwhile, for the fast ones have no second derivative on CPU.

With a scale T (one number a weight), all vectors are in the coordinates z of theta = T z: products
are T H T v, the gradient is T g. With T = |theta| no rescaling of the weights that leaves the
network's function alone changes what is measured.

Sources: Pearlmutter 1994, Fast Exact Multiplication by the Hessian; Kwon et al. 2021, ASAM,
arXiv 2102.11600 (weight-normalised curvature).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vesalius.core.errors import VesaliusError
from vesalius.models.flat_weights import FlatWeights
from vesalius.numerics.weight_directions import Weights

Batch = Mapping[str, Tensor]
Losses = Callable[[nn.Module, Batch], Float[Tensor, " example"]]


@final
class HessianProduct:
    """The Hessian of the mean loss per example over some batches, as a function of a flat vector.

    Vectors [n] hold the weights ``names`` one after another, in this order. The model is in
    evaluation mode while it works, and left as it was found.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Batch],
        loss: Losses,
        names: Sequence[str],
        weights_scale: Weights | None = None,
    ) -> None:
        """Look up the weights by their names in ``model.named_parameters()``, each tied one once.

        ``loss`` gives the loss of each example of a batch, [example], differentiable; batches
        are brought to the model's device one at a time.

        Raises:
            VesaliusError: no batch, no name, a name that the model lacks or that is given twice,
                or one that the scale lacks.
        """
        own = dict(model.named_parameters())
        wrong = [name for name in names if name not in own or names.count(name) > 1]
        wrong += [name for name in names if weights_scale and name not in weights_scale]
        if wrong or not names or not batches:
            raise VesaliusError(
                given=f"{len(batches)} batches, {len(names)} names"
                + (f", among them {wrong[0]!r}" if wrong else ""),
                expected="some batches, and names of model.named_parameters(), each once, all of"
                " them with a scale where one is given",
                fix="take the names from model.named_parameters(); tied weights have one name",
            )
        self.model, self.batches, self.loss, self.names = model, batches, loss, tuple(names)
        self.shapes = {name: own[name].shape for name in names}
        self.size = sum(shape.numel() for shape in self.shapes.values())
        self.dtype = torch.promote_types(own[names[0]].dtype, torch.float32)  # of all vectors
        self.device = own[names[0]].device
        self.scale = None if weights_scale is None else self.flat(weights_scale)

    def __call__(self, vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Multiply the Hessian with a vector [n]."""
        parts = self.weights(vector if self.scale is None else self.scale * vector).values()

        def product(total: Tensor, own: list[nn.Parameter]) -> tuple[Tensor, ...]:
            slopes = torch.autograd.grad(total, own, create_graph=True, materialize_grads=True)
            along = sum((s * v).sum() for s, v in zip(slopes, parts, strict=True))
            if not isinstance(along, Tensor) or not along.requires_grad:  # linear in the weights
                return tuple(torch.zeros_like(weight) for weight in own)
            return torch.autograd.grad(along, own, materialize_grads=True)

        return self._mean(product)

    def gradient(self) -> Float[Tensor, " n"]:
        """Give the gradient [n] of the mean loss."""
        return self._mean(
            lambda total, own: torch.autograd.grad(total, own, materialize_grads=True)
        )

    def flat(self, weights: Weights) -> Float[Tensor, " n"]:
        """Lay weights one after another: [n], in the order of ``names``."""
        named = FlatWeights.of(weights, names=self.names, dtype=self.dtype, device=self.device)
        return named.flat

    def weights(self, vector: Float[Tensor, " n"]) -> FlatWeights:
        """Give the parts of a vector [n] the names and shapes of the model's weights."""
        return FlatWeights(self.shapes, vector)

    def _mean(
        self, derive: Callable[[Tensor, list[nn.Parameter]], Sequence[Tensor]]
    ) -> Float[Tensor, " n"]:
        """The mean over examples of what is derived from the summed loss of each batch."""
        num_examples, whole = 0, torch.zeros(self.size, dtype=self.dtype, device=self.device)
        with _differentiable(self.model, self.names) as own:
            for batch in self.batches:
                here = {key: value.to(self.device) for key, value in batch.items()}
                losses = self.loss(self.model, here)
                num_examples += len(losses)
                parts = derive(losses.sum(), own)
                for total, part in zip(self.weights(whole).values(), parts, strict=True):
                    total += part.detach()
        whole /= num_examples
        return whole if self.scale is None else self.scale * whole


@contextmanager
def _differentiable(
    model: nn.Module, names: Sequence[str]
) -> Generator[list[nn.Parameter], None, None]:
    """Hold a model in evaluation mode with gradients for some weights only; undone on exit."""
    own = dict(model.named_parameters())
    training = {module: module.training for module in model.modules()}
    wanted = {name: weight.requires_grad for name, weight in own.items()}
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        try:
            model.eval()
            for name, weight in own.items():
                weight.requires_grad_(name in names)
            yield [own[name] for name in names]
        finally:
            for name, weight in own.items():
                weight.requires_grad_(wanted[name])
            for module, mode in training.items():
                module.training = mode
