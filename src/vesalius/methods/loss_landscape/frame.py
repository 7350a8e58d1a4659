"""Axes in weight space: an origin and one or two directions along which a model is moved.

    point(alpha, beta) = origin + alpha axis_1 + beta axis_2

An axis is named by one word:

- ``solution``: from the start of the training to the model's own weights;
- ``other``: from the start to a second solution, rescaled to the first axis' length (the paper);
- ``random``: Gaussian, normalised by filters (Li et al. 2018), layers, entries or not at all;
- ``pca``: along the model's path, the direction in which its checkpoints spread most;
- ``hessian``: the steepest bowl: the top eigenvector of the Hessian of the training loss;
- ``gradient``: the steepest slope of the training loss at the model's weights: the worst case.

Beside ``solution`` every other axis is rescaled to the length of that one, so that one step is
equally far along both. By themselves random, curved and steep axes are as long as the weights.

Sources: arXiv 1908.05620, section 3; Li et al. 2018, arXiv 1712.09913; this project.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from vesalius.core.checks import check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.loss_landscape.curvature_axes import gradient_axis, hessian_axes
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.models.displaced import Weights
from vesalius.models.flat_weights import FlatWeights, own_weights, widened
from vesalius.models.linear import stored_transposed
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups
from vesalius.models.weights import fit_weights, read_weights
from vesalius.numerics.weight_directions import (
    Normalisation,
    cosines,
    difference,
    norm,
    principal_axes,
    random_direction,
    rescaled,
)

AxisWord = Literal["solution", "other", "random", "pca", "hessian", "gradient"]
Source = str | Path | nn.Module | Weights
# Where along an axis it is usual to look; Li et al. 2018 for random ones. Curved and steep axes
# leave every sensible region within a hundredth of the weights' own length.
BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "solution": (-1.0, 2.0),
    "other": (-1.0, 2.0),
    "random": (-1.0, 1.0),
    "pca": (-1.5, 1.5),
    "hessian": (-0.05, 0.05),
    "gradient": (-0.05, 0.05),
}
BESIDE: Final = (-1.5, 1.5)
FROM_START: Final = ("solution", "other")
_SAME: Final = 1 - 1e-6  # the cosine from which two axes are one


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Axis:
    """A direction: its word, what it is in a sentence, its tensors by name, its length."""

    word: str
    name: str
    weights: FlatWeights
    norm: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """An origin and axes over the parameters that are moved; all others stay.

    ``solution`` are the coordinates of the model's own weights; ``moved`` is the group's word.
    """

    origin: FlatWeights
    axes: tuple[Axis, ...]
    solution: tuple[float, ...]
    moved: str

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are moved."""
        return tuple(self.origin)

    @property
    def directions(self) -> tuple[FlatWeights, ...]:
        """The axes' tensors."""
        return tuple(axis.weights for axis in self.axes)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Where along each axis it is usual to look."""
        if "solution" in (words := [axis.word for axis in self.axes]):
            return tuple(BESIDE if word not in FROM_START else BOUNDS[word] for word in words)
        return tuple(BOUNDS[word] for word in words)

    @cached_property
    def cosines(self) -> Float[np.ndarray, "axis axis"]:
        """The cosine between every two axes."""
        return cosines(self.directions)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names and of every bit of origin and axes, in 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.names, self.solution)).encode())
        for weights in (self.origin, *self.directions):
            digest.update(weights.flat.detach().cpu().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def along(self, axis: int) -> "Frame":
        """Give the frame of one axis alone, through the same solution where it lies on it.

        Raises:
            VesaliusError: no such axis.
        """
        if not 0 <= axis < len(self.axes):
            raise VesaliusError(
                given=f"axis {axis}",
                expected=f"an axis from 0 to {len(self.axes) - 1}",
                fix="count axes from 0",
            )
        others = [c for place, c in enumerate(self.solution) if place != axis]
        if any(others):
            raise VesaliusError(
                given=f"axis {axis} alone, on which the solution {self.solution} does not lie",
                expected="the axis towards the solution, or a frame with its origin there",
                fix="make a frame of that axis alone",
            )
        return Frame(
            origin=self.origin,
            axes=(self.axes[axis],),
            solution=(self.solution[axis],),
            moved=self.moved,
        )


def make_frame(
    specimen: Specimen,
    axes: Sequence[AxisWord] = ("solution", "random"),
    *,
    start: Source | None = None,
    other: Source | None = None,
    checkpoints: Sequence[Source] = (),
    examples: Examples | None = None,
    moved: str = "encoder",
    normalisation: Normalisation = "filter",
    seed: int = 0,
) -> Frame:
    """Lay axes through a model's weights; the origin is the start where an axis begins there.

    Args:
        specimen: the model; its own weights are the solution.
        axes: one or two words, as at the top of this module. Two of ``random``, ``pca`` or
            ``hessian`` are two draws, components or eigenvectors.
        start: weights that the training began with, for ``solution`` and ``other``.
        other: a second solution, for ``other``; its head may be another one.
        checkpoints: weights along the training, for ``pca``, the latest last.
        examples: what the training loss is measured on, for ``hessian`` and ``gradient``.
        moved: what moves: ``encoder`` (all but the head), ``all``, ``low``, ``middle``, ``high``,
            ``embeddings``, ``layer 3``, ...
        normalisation: of random axes.
        seed: of random axes and of the search for eigenvectors.

    Raises:
        VesaliusError: an unknown word, a source that is missing or does not fit (the first
            tensor is named), two identical solutions, an axis of no length.

    Source: arXiv 1908.05620, equations 1 and 2; Li et al. 2018, section 4.
    """
    words = _checked(axes)
    names = weight_groups(specimen).named(moved)
    own = own_weights(specimen, names)
    begin = None
    if set(FROM_START) & set(words):
        begin = widened(specimen, _fitted(specimen, names, start, what="start"))
    maker = _Maker(specimen, names, own, begin, normalisation, seed)
    sources = {"other": other, "checkpoints": checkpoints, "examples": examples}
    made = list(maker.make(words, sources))
    frame = Frame(
        origin=own if begin is None else begin,
        axes=tuple(made),
        solution=tuple(float(word == "solution") for word in words),
        moved=moved,
    )
    if len(made) == 2 and abs(frame.cosines[0, 1]) > _SAME:
        raise VesaliusError(
            given=f"two axes that are one ({made[0].name}; {made[1].name})",
            expected="directions that differ",
            fix="give another second solution, or a random second axis",
        )
    return frame


@final
class _Maker:
    """Makes the axes of one frame, each in its turn."""

    def __init__(
        self,
        specimen: Specimen,
        names: tuple[str, ...],
        own: FlatWeights,
        begin: FlatWeights | None,
        normalisation: Normalisation,
        seed: int,
    ) -> None:
        self._specimen, self._names, self._own = specimen, names, own
        self._begin, self._seed = begin, seed
        self._normalisation: Normalisation = normalisation

    def make(self, words: Sequence[str], sources: dict[str, Any]) -> Iterator[Axis]:
        """Make one axis for each word; equal words are draws or components of one kind."""
        makers: dict[str, Callable[[int], list[tuple[str, Weights]]]] = {
            "solution": lambda _: [("towards the solution", self._to_solution)],
            "other": lambda _: [("towards the other solution", self._to_other(sources["other"]))],
            "random": self._random,
            "pca": lambda count: self._pca(sources["checkpoints"], count),
            "hessian": lambda count: self._hessian(sources["examples"], count),
            "gradient": lambda _: [self._gradient(sources["examples"])],
        }
        found = {word: makers[word](words.count(word)) for word in dict.fromkeys(words)}
        for word in words:
            name, weights = found[word].pop(0)
            if "solution" in words and word not in FROM_START:
                weights = rescaled(weights, length=norm(self._to_solution))
            flat = widened(self._specimen, weights)
            yield Axis(word=word, name=name, weights=flat, norm=norm(flat))

    @cached_property
    def _to_solution(self) -> Weights:
        assert self._begin is not None, "make_frame read the start"
        found = difference(self._own, self._begin)
        _check_length(found, "the start and the model, which have the same weights")
        return found

    def _to_other(self, other: Source | None) -> Weights:
        assert self._begin is not None, "make_frame read the start"
        fitted = _fitted(self._specimen, self._names, other, what="other")
        found = difference(widened(self._specimen, fitted), self._begin)
        _check_length(found, "the start and the other solution, which have the same weights")
        return rescaled(found, length=norm(self._to_solution))

    def _random(self, count: int) -> list[tuple[str, Weights]]:
        drawn: list[tuple[str, Weights]] = []
        for number in range(count):
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "axis", number))
            direction = random_direction(
                self._own,
                generator=generator,
                normalisation=self._normalisation,
                transposed=stored_transposed(self._specimen.model),
            )
            drawn.append((f"random ({self._normalisation}), draw {number + 1}", direction))
        return drawn

    def _pca(self, checkpoints: Sequence[Source], count: int) -> list[tuple[str, Weights]]:
        if len(checkpoints) < 2:
            raise _needed("checkpoints", "pca", "the folder of a run with snapshots")
        points = [
            difference(
                _fitted(self._specimen, self._names, point, what=f"checkpoint {i}"), self._own
            )
            for i, point in enumerate(checkpoints)
        ]
        found = principal_axes(points, num=count)
        longest = max(norm(point) for point in points)
        return [
            (f"principal component {k + 1} ({share:.0%} of the spread)",
             rescaled(axis, length=longest))
            for k, (axis, share) in enumerate(zip(found.axes, found.shares, strict=True))
        ]  # fmt: skip

    def _hessian(self, examples: Examples | None, count: int) -> list[tuple[str, Weights]]:
        if examples is None:
            raise _needed("examples", "hessian", "the data that the model was trained on")
        found = hessian_axes(self._specimen, examples, self._names, num=count, seed=self._seed)
        length = norm(self._own)
        return [
            (f"Hessian eigenvector {k + 1} (eigenvalue {value:.3g})", rescaled(axis, length=length))
            for k, (value, axis) in enumerate(found)
        ]

    def _gradient(self, examples: Examples | None) -> tuple[str, Weights]:
        if examples is None:
            raise _needed("examples", "gradient", "the data that the model was trained on")
        found = gradient_axis(self._specimen, examples, self._names)
        _check_length(found, "a gradient that is zero everywhere")
        return "uphill along the gradient", rescaled(found, length=norm(self._own))


def _checked(axes: Sequence[str]) -> tuple[str, ...]:
    words = (axes,) if isinstance(axes, str) else tuple(axes)
    for word in words:
        check_word("axis", word, words_of(AxisWord))
    if "other" in words and "solution" not in words:
        raise VesaliusError(
            given="axis 'other' without axis 'solution'",
            expected="the axis towards the model's own weights beside the one to another solution",
            fix="write solution and other",
        )
    single = next((w for w in ("solution", "other", "gradient") if words.count(w) > 1), None)
    if single or not 1 <= len(words) <= 2:
        raise VesaliusError(
            given=f"axes {', '.join(words) or 'none'}",
            expected=f"one {single}" if single else "one axis, or two",
            fix="write solution and random",
        )
    return words


def _fitted(
    specimen: Specimen, names: Sequence[str], source: Source | None, *, what: str
) -> Weights:
    if source is None:
        raise _needed(what, "other" if what == "other" else "solution", "mini-bert, or a folder")
    return fit_weights(read_weights(source), specimen.model, names, what=what)


def _check_length(direction: Weights, given: str) -> None:
    if not norm(direction) > 0:
        raise VesaliusError(
            given=given, expected="two different points in weight space", fix="name another one"
        )


def _needed(what: str, word: str, example: str) -> VesaliusError:
    return VesaliusError(
        given=f"axis {word!r} without {what}",
        expected=f"{what} for this axis",
        fix=f"give {what}, such as {example} (--{what})",
    )
