"""A grid of expensive values, evaluated where it bends and interpolated where it does not.

A coarse grid is laid first. Each cell is tested at the points that halve it. Where the bilinear
prediction from its four corners misses one of them by more than twice the tolerance, or a value
there is not finite, its halves are tested in turn, down to single steps; else its halves are
finished, for halving divides the miss by four where the surface is smooth, and by two at a kink.
A finished cell is halved after all where a finer neighbour evaluated a point on their common side
that it misses by more than the tolerance. All other points are filled bilinearly; how far that is
off is measured at random points, not promised.

Source: this project; the misses are the surpluses of a hierarchical basis, Bungartz & Griebel 2004,
Sparse Grids.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError

Evaluate = Callable[[Int[np.ndarray, "point 2"]], Float[np.ndarray, "point value"]]
_Place = tuple[int, int]
_Cell = tuple[int, int, int, int]  # first and last index along x, then along y


@final
@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """How much of a grid was evaluated, and how far the rest is off where that was measured."""

    tolerance: float  # in the unit of the value that was refined on
    num_evaluated: int  # the checks included
    num_points: int
    largest_miss: float  # NaN where points were filled and none was checked
    mean_miss: float
    num_checks: int  # random filled points that were evaluated afterwards


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """The whole grid, and which of its points are true."""

    values: Float[np.ndarray, "x y value"]
    evaluated: Bool[np.ndarray, "x y"]
    interpolation: Interpolation


def refine(
    evaluate: Evaluate,
    shape: tuple[int, int],
    *,
    tolerance: float,
    stride: int = 8,
    seeds: Sequence[tuple[int, int]] = (),
    num_checks: int = 24,
    generator: np.random.Generator,
) -> Refined:
    """Fill a grid of ``shape`` to a tolerance, with as few evaluations as its bends allow.

    ``evaluate`` takes grid indices [point, 2] and gives one or more values a point, [point, value];
    the grid is refined on the first of them, the others are filled alike. NaN stands for a value
    that is not finite; a point among NaN alone is filled with NaN. ``stride`` is the width of the
    coarsest cells in steps; the last ones of an axis may be narrower. ``seeds`` are places to
    evaluate in any case, such as a known minimum that the coarse grid could step over.

    Raises:
        VesaliusError: a grid without cells, or a tolerance or stride out of range.
    """
    check_count("stride", stride, lowest=1, usual=8)
    check_count("num_checks", num_checks, lowest=0, usual=24)
    if min(shape) < 2 or not 0 <= tolerance < np.inf:
        raise VesaliusError(
            given=f"shape {shape}, tolerance={tolerance!r}",
            expected="at least two points an axis, and a finite tolerance from 0",
            fix="measure a line instead, or take tolerance=0.01",
        )
    grid = _Grid(evaluate, shape)
    grid.ask(seeds)
    # the finer of two neighbours is filled last: the rim that they share is its own
    for cell in sorted(_finished_cells(grid, tolerance, stride), key=_size, reverse=True):
        grid.fill(cell)
    return _checked(grid, tolerance, num_checks, generator)


class _Grid:
    """Values by place, asked for once each."""

    def __init__(self, evaluate: Evaluate, shape: tuple[int, int]) -> None:
        self.evaluate = evaluate
        self.evaluated: Bool[np.ndarray, "x y"] = np.zeros(shape, dtype=np.bool_)
        self.values: Float[np.ndarray, "x y value"] = np.empty((*shape, 0))

    def ask(self, places: Iterable[_Place]) -> None:
        new = sorted({place for place in places if not self.evaluated[place]})
        if not new:
            return
        found = np.asarray(self.evaluate(np.array(new, dtype=np.int64)), dtype=np.float64)
        if not self.evaluated.any():
            self.values = np.full((*self.evaluated.shape, found.shape[1]), np.nan)
        x, y = np.array(new).T
        self.values[x, y] = np.where(np.isfinite(found), found, np.nan)
        self.evaluated[x, y] = True

    def misses(self, cell: _Cell, tolerance: float) -> bool:
        """Whether a true value in a cell, rim included, is far from what its corners predict."""
        part = _part(cell)
        true = self.values[part][self.evaluated[part]][:, 0]
        predicted = self.predicted(cell)[self.evaluated[part]][:, 0]
        all_lost = bool(np.isnan(true).all())  # finer steps would find nothing
        return not all_lost and not bool((np.abs(true - predicted) <= tolerance).all())

    def predicted(self, cell: _Cell) -> Float[np.ndarray, "x y value"]:
        left, right, low, high = cell
        u = np.linspace(0, 1, right - left + 1)[:, None, None]
        v = np.linspace(0, 1, high - low + 1)[None, :, None]
        a, b, c, d = (self.values[corner] for corner in _corners(cell))
        return (1 - u) * ((1 - v) * a + v * b) + u * ((1 - v) * c + v * d)

    def fill(self, cell: _Cell) -> None:
        part = _part(cell)
        true = self.evaluated[part][..., None]
        self.values[part] = np.where(true, self.values[part], self.predicted(cell))


def _finished_cells(grid: _Grid, tolerance: float, stride: int) -> list[_Cell]:
    """Halve the cells of a coarse grid until each predicts what was evaluated in it."""
    xs, ys = ([*range(0, size - 1, stride), size - 1] for size in grid.evaluated.shape)
    cells = [(*x, *y) for x in pairwise(xs) for y in pairwise(ys)]
    finished: list[_Cell] = []
    while cells:
        grid.ask(corner for cell in cells for corner in _corners(cell))
        finished += [cell for cell in cells if not _is_wide(cell)]
        wide = {cell: _halves(cell) for cell in cells if _is_wide(cell)}
        grid.ask(c for halves in wide.values() for half in halves for c in _corners(half))
        cells = []
        for cell, halves in wide.items():
            (cells if grid.misses(cell, 2 * tolerance) else finished).extend(halves)
        late = {cell for cell in finished if _is_wide(cell) and grid.misses(cell, tolerance)}
        finished = [cell for cell in finished if cell not in late]
        cells += late
    return finished


def _checked(
    grid: _Grid, tolerance: float, num_checks: int, generator: np.random.Generator
) -> Refined:
    """Evaluate some filled points and keep their true values."""
    filled = np.argwhere(~grid.evaluated)
    count = min(num_checks, len(filled))
    chosen = filled[generator.choice(len(filled), size=count, replace=False)] if count else filled
    places = [(int(x), int(y)) for x, y in chosen[:count]]
    before = grid.values[..., 0].copy()
    grid.ask(places)
    misses = np.array([_miss(grid.values[place][0], before[place]) for place in places])
    unknown = np.nan if len(filled) else 0.0  # nothing filled, nothing missed
    return Refined(
        values=grid.values,
        evaluated=grid.evaluated,
        interpolation=Interpolation(
            tolerance=tolerance,
            num_evaluated=int(grid.evaluated.sum()),
            num_points=grid.evaluated.size,
            largest_miss=float(misses.max()) if count else unknown,
            mean_miss=float(misses.mean()) if count else unknown,
            num_checks=count,
        ),
    )


def _miss(true: float, filled: float) -> float:
    if np.isnan(true) or np.isnan(filled):
        return 0.0 if np.isnan(true) and np.isnan(filled) else np.inf
    return abs(float(true) - float(filled))


def _part(cell: _Cell) -> tuple[slice, slice]:
    left, right, low, high = cell
    return slice(left, right + 1), slice(low, high + 1)


def _corners(cell: _Cell) -> list[_Place]:
    left, right, low, high = cell
    return [(left, low), (left, high), (right, low), (right, high)]


def _is_wide(cell: _Cell) -> bool:
    left, right, low, high = cell
    return max(right - left, high - low) > 1


def _size(cell: _Cell) -> int:
    left, right, low, high = cell
    return (right - left) * (high - low)


def _halves(cell: _Cell) -> list[_Cell]:
    """Four parts, or two of a cell that is one step wide."""
    left, right, low, high = cell
    xs = sorted({left, (left + right) // 2, right})
    ys = sorted({low, (low + high) // 2, high})
    return [(*x, *y) for x in pairwise(xs) for y in pairwise(ys)]
