"""Geometry in the space of a network's weights: lengths, angles, random axes, projections.

A point or a direction is a mapping from parameter names to tensors and never becomes one long
vector: dots run over blocks of entries in float64, so the memory beside the weights is bounded.

Sources: Li et al. 2018, Visualizing the Loss Landscape of Neural Nets (random directions and their
normalisation, principal axes of a trajectory); Hao et al. 2019, arXiv 1908.05620 (the coordinates
of :func:`project_paper`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.checks import check_word, words_of
from vesalius.core.errors import VesaliusError

Weights = Mapping[str, Tensor]
Normalisation = Literal["filter", "layer", "weight", "none"]

_BLOCK_ENTRIES: Final = 1 << 21  # doubles held at once, all directions together: 16 MiB
# Axes closer than this to a dependent set have no coordinates that float32 weights could carry.
_DEPENDENT: Final = 1e-10


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Where some points lie on a few axes, and how far beside them."""

    coordinates: Float[np.ndarray, "point axis"]
    off_plane: Float[np.ndarray, " point"]  # share of the length outside the axes; 0 at the origin
    lengths: Float[np.ndarray, " point"]  # Euclidean


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PrincipalAxes:
    """Unit axes along which some points spread most, each with its share of the variance."""

    axes: tuple[Weights, ...]
    shares: Float[np.ndarray, " axis"]


def dot(a: Weights, b: Weights) -> float:
    """Multiply two directions entry by entry and sum, in float64.

    Raises:
        VesaliusError: the two differ in their names or shapes.
    """
    return sum(float(torch.dot(*block)) for block in _blocks([a, b]))


def norm(a: Weights) -> float:
    """Give the Euclidean length of a direction."""
    return float(np.sqrt(dot(a, a)))


def cosines(directions: Sequence[Weights]) -> Float[np.ndarray, "axis axis"]:
    """Give the cosine of the angle between every two directions.

    Raises:
        VesaliusError: one of them has no length, or they differ in their names or shapes.
    """
    gram = _gram(directions)
    lengths = np.sqrt(np.diag(gram))
    if not (lengths > 0).all():
        raise _no_length("a direction of length 0 among those to compare")
    found = np.clip(gram / np.outer(lengths, lengths), -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return found


def difference(end: Weights, start: Weights) -> dict[str, Tensor]:
    """Give the direction that leads from ``start`` to ``end``, in the type of ``end``.

    Raises:
        VesaliusError: the two differ in their names or shapes.
    """
    _check_alike([end, start])
    return {name: tensor - start[name].to(tensor) for name, tensor in end.items()}


def rescaled(direction: Weights, *, length: float) -> dict[str, Tensor]:
    """Stretch a direction to a Euclidean length; names and shapes stay.

    Raises:
        VesaliusError: the direction has no length.
    """
    now = norm(direction)
    if not 0 < now < np.inf:
        raise _no_length(f"a direction of length {now:g}")
    return {name: tensor * (length / now) for name, tensor in direction.items()}


def random_direction(
    like: Weights,
    *,
    generator: torch.Generator,
    normalisation: Normalisation = "filter",
    keep_vectors: bool = False,
    transposed: Collection[str] = (),
) -> dict[str, Tensor]:
    """Draw a Gaussian direction that is as large as the weights ``like`` in some respect.

    ``filter`` gives each row of a tensor (its first axis: an output of a linear map or a
    convolution, a word of an embedding) the length of the same row of ``like``; ``layer`` gives
    each tensor the length of its like; ``weight`` multiplies every entry by the size of its like;
    ``none`` only stretches the whole to the length of all of ``like``.

    Tensors of one axis (biases, scales of normalisations) stay zero, as in the source, unless
    ``keep_vectors``: then each is one filter. ``transposed`` names the matrices that are stored
    [input, output], whose filters are columns. The draws are the same on every device.

    Raises:
        VesaliusError: an unknown normalisation, or ``none`` where the direction is all zero.
    """
    check_word("normalisation", normalisation, words_of(Normalisation))
    direction: dict[str, Tensor] = {}
    for name, tensor in like.items():
        if tensor.ndim < 2 and not keep_vectors:
            direction[name] = torch.zeros_like(tensor)
            continue
        drawn = torch.randn(tensor.shape, generator=generator, device=generator.device).to(tensor)
        if normalisation == "weight":
            drawn = drawn * tensor.abs()
        elif normalisation != "none":
            kept = 1 if name in transposed else 0
            whole = normalisation == "layer" or tensor.ndim < 2
            axes = [axis for axis in range(tensor.ndim) if whole or axis != kept]
            drawn = drawn * (_lengths(tensor, axes) / _lengths(drawn, axes)).to(tensor)
        direction[name] = drawn
    return rescaled(direction, length=norm(like)) if normalisation == "none" else direction


def project_least_squares(deltas: Iterable[Weights], axes: Sequence[Weights]) -> Projection:
    """Find the coordinates of the point of the axes' span that is nearest to each delta.

    Solves G c = (d . a_1, d . a_2, ...) with the Gram matrix G of the axes, which need not be
    orthogonal. ``off_plane`` is |d - sum c_k a_k| / |d|, from the residual itself. One delta is in
    use at a time: a generator may read them from files.

    Raises:
        VesaliusError: no axis, linearly dependent axes, or names or shapes that differ.
    """
    if not axes:
        raise VesaliusError(given="no axis", expected="at least one", fix="give the frame's axes")
    gram = _gram(axes)
    lengths = np.sqrt(np.diag(gram))
    if not (lengths > 0).all():
        raise _no_length("an axis of length 0")
    if np.linalg.eigvalsh(gram / np.outer(lengths, lengths))[0] < _DEPENDENT:
        raise VesaliusError(
            given="axes that are linearly dependent",
            expected="axes that point in different directions",
            fix="leave one of them out, or take another second axis",
        )
    points = [_projected(delta, axes) for delta in deltas]
    return _projection(points, num_axes=len(axes))


def project_paper(deltas: Iterable[Weights], first_axis: Weights) -> Projection:
    """Give each delta the two coordinates of Hao et al. 2019, which use the first axis alone.

    a = cos(d, d1) |d| / |d1| and b = sqrt((|d| / |d1|)^2 - a^2): b is the length of all that is
    not along the first axis, never negative, and no projection on a second axis. ``off_plane`` is
    therefore that share of the length. The first axis itself lies at exactly (1, 0).

    Raises:
        VesaliusError: the first axis has no length, or names or shapes differ.
    """
    unit = norm(first_axis)
    if not unit > 0:
        raise _no_length("a first axis of length 0")
    points = [_projected(delta, [first_axis]) for delta in deltas]
    beside = [np.append(along, share * length / unit) for along, share, length in points]
    rows = [(place, *point[1:]) for place, point in zip(beside, points, strict=True)]
    return _projection(rows, num_axes=2)


def principal_axes(deltas: Sequence[Weights], *, num: int, centred: bool = True) -> PrincipalAxes:
    """Find the axes along which points spread most, by way of their Gram matrix.

    ``centred`` measures the spread about the mean of the points, else about the origin. Each axis
    has length 1 and points to the side of the last point.

    Raises:
        VesaliusError: more axes than the points span, or names or shapes that differ.
    """
    gram = _gram(deltas)
    keep = np.eye(len(gram)) - (1 / max(len(gram), 1) if centred else 0.0)
    spread = keep @ gram @ keep
    values, vectors = np.linalg.eigh((spread + spread.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > _DEPENDENT * max(float(np.diag(gram).max(initial=0)), 1e-300)).sum())
    if not 1 <= num <= rank:
        raise VesaliusError(
            given=f"num={num} principal axes of {len(deltas)} points",
            expected=f"from 1 to {rank}, the number of directions in which the points differ",
            fix="give more points, or ask for fewer axes",
        )
    axes: list[Weights] = []
    for k in range(num):
        towards = 1.0 if vectors[-1, k] >= 0 else -1.0
        factors = keep @ vectors[:, k] * (towards / np.sqrt(values[k]))
        axes.append(rescaled(_combined(deltas, factors), length=1.0))
    return PrincipalAxes(axes=tuple(axes), shares=values[:num] / values[:rank].sum())


def _projected(
    delta: Weights, axes: Sequence[Weights]
) -> tuple[Float[np.ndarray, " axis"], float, float]:
    """Coordinates, share of the length outside the axes, and length of one point."""
    gram = _gram([delta, *axes])
    found = np.linalg.solve(gram[1:, 1:], gram[0, 1:])
    factors = torch.tensor([1.0, *-found], dtype=torch.float64)
    residual = sum(float((factors.to(b) @ b).square().sum()) for b in _blocks([delta, *axes]))
    length = float(np.sqrt(gram[0, 0]))
    return found, float(np.sqrt(residual)) / length if length > 0 else 0.0, length


def _projection(points: Sequence[tuple[np.ndarray, float, float]], *, num_axes: int) -> Projection:
    return Projection(
        coordinates=np.array([place for place, _, _ in points]).reshape(len(points), num_axes),
        off_plane=np.array([share for _, share, _ in points], dtype=np.float64),
        lengths=np.array([length for _, _, length in points], dtype=np.float64),
    )


def _combined(
    directions: Sequence[Weights], factors: Float[np.ndarray, " direction"]
) -> dict[str, Tensor]:
    total = {name: tensor * float(factors[0]) for name, tensor in directions[0].items()}
    for direction, factor in zip(directions[1:], factors[1:], strict=True):
        for name, tensor in total.items():
            tensor.add_(direction[name].to(tensor), alpha=float(factor))
    return total


def _lengths(tensor: Tensor, axes: list[int]) -> Float[Tensor, "..."]:
    """Euclidean lengths over some axes, which stay as axes of size 1."""
    return torch.linalg.vector_norm(tensor, dim=axes or None, keepdim=True, dtype=torch.float64)


def _gram(directions: Sequence[Weights]) -> Float[np.ndarray, "direction direction"]:
    total = np.zeros((len(directions), len(directions)))
    for block in _blocks(directions):
        total += (block @ block.T).numpy(force=True)
    return total


def _blocks(directions: Sequence[Weights]) -> Iterator[Float[Tensor, "direction entry"]]:
    """Walk through all entries of some directions side by side, in float64, a block at a time."""
    _check_alike(directions)
    width = max(1, _BLOCK_ENTRIES // max(1, len(directions)))
    for name, first in directions[0].items() if directions else ():
        flat = [direction[name].detach().reshape(-1) for direction in directions]
        for begin in range(0, first.numel(), width):
            parts = [entries[begin : begin + width] for entries in flat]
            yield torch.stack([part.to(first.device, torch.float64) for part in parts])


def _check_alike(directions: Sequence[Weights]) -> None:
    shapes = [{n: tuple(t.shape) for n, t in direction.items()} for direction in directions]
    for other in shapes[1:]:
        differing = [n for n in {**shapes[0], **other} if shapes[0].get(n) != other.get(n)]
        if differing:
            name = differing[0]
            raise VesaliusError(
                given=f"{name!r} of shape {shapes[0].get(name)} and of shape {other.get(name)}",
                expected="directions over the same weights",
                fix="take both from models of one architecture, over the same moved weights",
            )


def _no_length(given: str) -> VesaliusError:
    return VesaliusError(
        given=given,
        expected="a direction of finite length above 0",
        fix="take two different models: between equal weights there is no direction",
    )
