"""A model moved about in weight space: origin + sum of coefficient times axis, in place.

The moved parameters look into one flat buffer while the context is open; the model's own tensors
are never written to, so that it comes back bit for bit, whatever happens. Sums are taken in
float32 (float64 for a float64 model) and rounded once to the model's type.

Source: arXiv 1908.05620, section 3 (the points); this project (the buffer).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.flat_weights import FlatWeights

Weights = Mapping[str, Tensor]
Move = Callable[[Sequence[float]], None]
# Numbers that are summed over all axes before the next ones: 1 MiB, which stays in a core's cache.
_BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """Parameters of one device and type: what they are made of, and where they look meanwhile."""

    parameters: tuple[nn.Parameter, ...]
    own: tuple[Tensor, ...]
    views: tuple[Tensor, ...]
    target: Tensor
    origin: Tensor
    axes: tuple[Tensor, ...]

    def move(self, coefficients: Sequence[float]) -> None:
        """Write the point into the buffer, and let the parameters look into it."""
        size = self.target.numel()
        block = _BLOCK if self.target.device.type == "cpu" else max(1, size)
        for start in range(0, size, block):
            part = slice(start, start + block)
            _write(self, part, coefficients)
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.data = view

    def home(self) -> None:
        """Let the parameters be the model's own tensors again."""
        for parameter, own in zip(self.parameters, self.own, strict=True):
            parameter.data = own


def _write(piece: _Piece, part: slice, coefficients: Sequence[float]) -> None:
    target, origin = piece.target[part], piece.origin[part]
    terms = [(c, axis[part]) for c, axis in zip(coefficients, piece.axes, strict=True) if c != 0]
    if not terms:
        target.copy_(origin)
        return
    scratch = target if target.dtype == origin.dtype else torch.empty_like(origin)
    first, axis = terms[0]
    torch.add(origin, axis, alpha=first, out=scratch)
    for coefficient, axis in terms[1:]:
        scratch.add_(axis, alpha=coefficient)
    if scratch is not target:
        target.copy_(scratch)


@contextmanager
def displaced(
    model: nn.Module,
    origin: Weights,
    axes: Sequence[Weights] = (),
    *,
    home: Sequence[float] | None = None,
) -> Generator[Move, None, None]:
    """Hand over a function that moves the model to a point of a frame.

    ``move((0.5, -1.0))`` puts the parameters that ``origin`` names at origin + 0.5 axes[0] -
    axes[1]; all others stay. On exit, also after an exception, the model holds its own tensors.

    Args:
        model: moved as a whole by one thread at a time (``Specimen.at_rest``).
        origin: tensors by parameter name, of the parameters' shapes.
        axes: the same names and shapes, one mapping each.
        home: where the model's own weights stand in the frame; there they are used as they are.

    Raises:
        VesaliusError: a name that the model does not have, or another shape.

    Source: arXiv 1908.05620, equations 1 and 2.
    """
    pieces = _pieces(model, origin, axes)
    at_home = None if home is None else tuple(float(c) for c in home)

    def move(coefficients: Sequence[float]) -> None:
        point = tuple(float(c) for c in coefficients)
        assert len(point) == len(axes), "one coefficient for each axis"
        with torch.no_grad():
            for piece in pieces:
                piece.home() if point == at_home else piece.move(point)

    try:
        yield move
    finally:
        for piece in pieces:
            piece.home()


def _pieces(model: nn.Module, origin: Weights, axes: Sequence[Weights]) -> tuple[_Piece, ...]:
    named = dict(model.named_parameters())
    _check(named, origin, axes)
    kinds: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    for name in origin:
        kinds.setdefault((named[name].device, named[name].dtype), []).append(name)
    return tuple(_piece([named[n] for n in names], names, origin, axes) for names in kinds.values())


def _piece(
    parameters: list[nn.Parameter], names: list[str], origin: Weights, axes: Sequence[Weights]
) -> _Piece:
    dtype, device = parameters[0].dtype, parameters[0].device
    wide = torch.promote_types(dtype, torch.float32)
    first = FlatWeights.of(origin, names=names, dtype=wide, device=device)
    target = first.like(torch.empty_like(first.flat, dtype=dtype))
    return _Piece(
        parameters=tuple(parameters),
        own=tuple(parameter.data for parameter in parameters),
        views=tuple(target.values()),
        target=target.flat,
        origin=first.flat,
        axes=tuple(
            FlatWeights.of(axis, names=names, dtype=wide, device=device).flat for axis in axes
        ),
    )


def _check(named: Mapping[str, Tensor], origin: Weights, axes: Sequence[Weights]) -> None:
    for what, weights in (("origin", origin), *((f"axis {i}", a) for i, a in enumerate(axes))):
        for name in origin:
            found = tuple(weights[name].shape) if name in weights else None
            wanted = tuple(named[name].shape) if name in named else None
            if found is None or found != wanted:
                state = "is missing" if found is None else f"has shape {found}"
                raise VesaliusError(
                    given=f"{what}: {name} {state}",
                    expected="no such parameter" if wanted is None else f"shape {wanted}",
                    fix="make the frame with the model that it moves",
                )
