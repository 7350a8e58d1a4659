"""Weights in one piece of memory: by name for reading, flat for fast sums over all of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.models.specimen import Specimen


@final
class FlatWeights(Mapping[str, Tensor]):
    """Named tensors that are views, one behind the other, of one flat tensor.

    ``flat`` [n] holds all numbers in the order of the names; ``weights[name]`` has its own shape.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], flat: Float[Tensor, " n"]) -> None:
        """Give names and shapes to the parts of ``flat`` [n]."""
        self.flat = flat
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        sizes = [shape.numel() for shape in self.shapes.values()]
        pieces = flat.split(sizes) if sizes else ()
        self._views = {
            name: piece.view(shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @classmethod
    def of(
        cls,
        weights: Mapping[str, Tensor],
        *,
        names: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "FlatWeights":
        """Copy tensors of any shape into one piece; what is in one piece already is given back.

        Source: this project.
        """
        names = tuple(weights) if names is None else tuple(names)
        if isinstance(weights, FlatWeights) and tuple(weights) == names:
            same = weights.flat.dtype == dtype and weights.flat.device == torch.device(device)
            if same:
                return weights
        shapes = {name: weights[name].shape for name in names}
        size = sum(shape.numel() for shape in shapes.values())
        made = cls(shapes, torch.empty(size, dtype=dtype, device=device))
        with torch.no_grad():
            for name in names:
                made[name].copy_(weights[name])
        return made

    def like(self, flat: Float[Tensor, " n"]) -> "FlatWeights":
        """Give another flat tensor [n] the same names and shapes.

        Source: this project.
        """
        return FlatWeights(self.shapes, flat)


def own_weights(specimen: Specimen, names: Sequence[str]) -> FlatWeights:
    """Copy parameters of a model into one piece; their shapes stay.

    Source: this project.
    """
    parameters = {name: specimen.model.get_parameter(name).detach() for name in names}
    return widened(specimen, parameters)


def widened(specimen: Specimen, weights: Mapping[str, Tensor]) -> FlatWeights:
    """Put weights of any shapes into one piece on a model's device, float32 or the wider own type.

    Source: this project.
    """
    dtype = torch.promote_types(specimen.dtype, torch.float32)
    return FlatWeights.of(weights, dtype=dtype, device=specimen.device)
