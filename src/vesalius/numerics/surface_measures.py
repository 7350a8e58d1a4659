"""Numbers that say what a loss curve or a loss surface looks like: width, area, barrier, agreement.

Grids are indexed [x, y]: ``values[i, j]`` belongs to ``(alphas[i], betas[j])``. A value that is
not finite counts as above every level, so no low region reaches across it.

Sources: Hao et al. 2019, arXiv 1908.05620 (width of an optimum, training surface against
generalisation surface, there judged by eye); Frankle et al. 2020, Linear Mode Connectivity and the
Lottery Ticket Hypothesis (the barrier).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int, Num

from vesalius.core.errors import VesaliusError
from vesalius.numerics.statistics import rank_correlation


@final
@dataclass(frozen=True, kw_only=True)
class Width:
    """The interval around a centre in which a curve stays at or below a level, in axis units."""

    low: float
    high: float
    width: float  # a lower bound where an end is open
    open_low: bool  # the curve was still below the level where it was last measured
    open_high: bool


@final
@dataclass(frozen=True, kw_only=True)
class Region:
    """The part of a surface around a centre that stays at or below a level."""

    area: float  # alpha units times beta units; a lower bound where open
    open: bool  # the region reaches the rim of the grid


@final
@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike two surfaces over the same grid are."""

    spearman: float  # NaN where one of them is the same everywhere
    argmin_distance: float  # between the lowest points, in axis units
    overlap: float  # of the low regions: grid points in both over grid points in either


@final
@dataclass(frozen=True, kw_only=True)
class Barrier:
    """The most that a path between two ends rises above the straight line between their losses."""

    height: float  # at least 0; infinite where the loss on the path is not finite
    alpha: float


def width_at(
    alphas: Num[np.ndarray, " x"], losses: Num[np.ndarray, " x"], *, centre: float, level: float
) -> Width:
    """Measure how far a curve stays at or below ``level`` on both sides of ``centre``.

    The curve is linear between its points; next to a NaN the last finite point is the end. Where
    the centre itself is above the level the width is 0.

    Raises:
        VesaliusError: alphas that do not rise, or a centre outside of them.
    """
    _check_axis("alphas", alphas, len(losses))
    _check_inside("centre", centre, alphas)
    heights = _heights(losses)
    at_centre = _interpolated(centre, alphas, heights)
    if at_centre > level:
        return Width(low=centre, high=centre, width=0.0, open_low=False, open_high=False)
    ends: list[tuple[float, bool]] = []
    for side in (alphas < centre, alphas > centre):
        away = np.argsort(np.abs(alphas[side] - centre))
        places = np.concatenate([[centre], alphas[side][away]])
        ends.append(_end(places, np.concatenate([[at_centre], heights[side][away]]), level))
    (low, open_low), (high, open_high) = ends
    return Width(low=low, high=high, width=high - low, open_low=open_low, open_high=open_high)


def region_area(
    alphas: Num[np.ndarray, " x"],
    betas: Num[np.ndarray, " y"],
    losses: Num[np.ndarray, "x y"],
    *,
    centre: tuple[float, float],
    level: float,
) -> Region:
    """Measure the connected region at or below ``level`` around ``centre``.

    Each cell is cut into four triangles that meet in its middle, where the value is the mean of
    its corners; the surface is linear in each, and the area exact for that surface. Cells with a
    NaN corner add nothing. Where the centre itself is above the level the area is 0.

    Raises:
        VesaliusError: alphas or betas that do not rise, or a centre outside of them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _check_axis("alphas", alphas, losses.shape[0])
    _check_axis("betas", betas, losses.shape[1])
    _check_inside("centre", centre[0], alphas)
    _check_inside("centre", centre[1], betas)
    heights, triangles = _triangles(losses)
    below = heights <= level
    # in a triangle the low part is convex: its low corners belong together, and to no others
    links = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (0, 2))])
    links = links[below[links].all(axis=1)]
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(below),) * 2)
    _, part_of = connected_components(graph, directed=False)

    at_centre, corners = _in_triangle(alphas, betas, heights, centre)
    low_corners = corners[below[corners]]
    if not at_centre <= level or not len(low_corners):
        return Region(area=0.0, open=False)
    inside = below & (part_of == part_of[low_corners[0]])
    areas = np.repeat(np.outer(np.diff(alphas), np.diff(betas)).ravel() / 4, 4)
    reached = inside[triangles].any(axis=1)
    area = (areas[reached] * _share_below(heights[triangles[reached]], level)).sum()
    grid = inside[: losses.size].reshape(losses.shape)
    rim = np.concatenate([grid[0], grid[-1], grid[:, 0], grid[:, -1]])
    return Region(area=float(area), open=bool(rim.any()))


def agreement(
    train_loss: Num[np.ndarray, "*grid"],
    held_out: Num[np.ndarray, "*grid"],
    *,
    alphas: Num[np.ndarray, " x"],
    betas: Num[np.ndarray, " y"] | None = None,
    tau_nats: float = 0.1,
    margin: float = 0.02,
) -> Agreement:
    """Compare a training surface [x, y], or curve [x], with a held-out one of any measure.

    Rank correlation runs over the points where both are finite. A low region is all points within
    ``tau_nats`` of the training minimum, or within ``margin`` of the held-out minimum.

    Raises:
        VesaliusError: axes that do not fit, or no point where both are finite.
    """
    axes = {"alphas": alphas} if betas is None else {"alphas": alphas, "betas": betas}
    both = np.isfinite(train_loss) & np.isfinite(held_out)
    if train_loss.ndim != len(axes) or not both.any():
        raise VesaliusError(
            given=f"surfaces of shape {train_loss.shape} over {len(axes)} axes, finite together"
            f" at {int(both.sum())} points",
            expected="two surfaces over the same axes with points where both are finite",
            fix="leave betas out for a curve; narrow the bounds where losses overflow",
        )
    for (name, axis), size in zip(axes.items(), train_loss.shape, strict=True):
        _check_axis(name, axis, size)
    heights = _heights(train_loss), _heights(held_out)
    lowest = [np.unravel_index(int(surface.argmin()), surface.shape) for surface in heights]
    gaps = [axis[a] - axis[b] for axis, a, b in zip(axes.values(), *lowest, strict=True)]
    first = heights[0] <= heights[0].min() + tau_nats
    second = heights[1] <= heights[1].min() + margin
    varied = all(np.ptp(surface[both]) > 0 for surface in (train_loss, held_out))
    return Agreement(
        spearman=rank_correlation(train_loss[both], held_out[both]) if varied else float("nan"),
        argmin_distance=float(np.linalg.norm(gaps)),
        overlap=float((first & second).sum() / (first | second).sum()),
    )


def barrier(alphas: Num[np.ndarray, " x"], losses: Num[np.ndarray, " x"]) -> Barrier:
    """Find the largest J(a) - ((1 - a) J(0) + a J(1)) for a in [0, 1]; at the ends it is 0.

    Raises:
        VesaliusError: alphas that do not rise or do not reach from 0 to 1, or a loss at one of
            the ends that is not finite.
    """
    _check_axis("alphas", alphas, len(losses))
    for end in (0.0, 1.0):
        _check_inside("an end of the path", end, alphas)
    heights = _heights(losses)
    ends = [_interpolated(end, alphas, heights) for end in (0.0, 1.0)]
    if not np.isfinite(ends).all():
        raise VesaliusError(
            given=f"losses {ends[0]:g} and {ends[1]:g} at the ends of the path",
            expected="finite losses at alpha = 0 and alpha = 1",
            fix="check the two models: one of them does not work on these examples",
        )
    between = (alphas > 0) & (alphas < 1)
    places = np.concatenate([[0.0], alphas[between], [1.0]])
    path = np.concatenate([ends[:1], heights[between], ends[1:]])
    rises = path - ((1 - places) * ends[0] + places * ends[1])
    top = int(rises.argmax())
    return Barrier(height=float(rises[top]), alpha=float(places[top]))


def largest_rise(values: Num[np.ndarray, " step"]) -> float:
    """Give the largest climb of a path above the lowest point before it: 0 where it only falls.

    NaN after a finite value is an infinite climb.

    Raises:
        VesaliusError: no finite value.

    >>> largest_rise(np.array([3.0, 1.0, 1.5, 0.5, 0.75]))
    0.5
    """
    if not np.isfinite(values).any():
        raise VesaliusError(
            given=f"{len(values)} values, none of them finite",
            expected="a path with a finite value",
            fix="narrow its bounds",
        )
    start = int(np.isfinite(values).argmax())
    heights = _heights(values)[start:]
    return float((heights - np.minimum.accumulate(heights)).max())


def _end(
    places: Float[np.ndarray, " x"], heights: Float[np.ndarray, " x"], level: float
) -> tuple[float, bool]:
    """Walk from the first place until the curve crosses the level: where, and whether it never."""
    above = np.flatnonzero(heights > level)
    if not len(above):
        return float(places[-1]), True
    k = int(above[0])
    share = (level - heights[k - 1]) / (heights[k] - heights[k - 1])  # 0 before an infinite one
    return float(places[k - 1] + share * (places[k] - places[k - 1])), False


def _interpolated(place: float, alphas: np.ndarray, heights: Float[np.ndarray, " x"]) -> float:
    """Linear interpolation that is exact at the points, also beside an infinite one."""
    k = int(np.searchsorted(alphas, place))
    if alphas[k] == place:
        return float(heights[k])
    share = (place - alphas[k - 1]) / (alphas[k] - alphas[k - 1])
    return float((1 - share) * heights[k - 1] + share * heights[k])


def _triangles(
    losses: Num[np.ndarray, "x y"],
) -> tuple[Float[np.ndarray, " corner"], Int[np.ndarray, "triangle 3"]]:
    """Values of the grid points, then of the cells' middles; and the corners of every triangle."""
    grid = _heights(losses)
    places = np.arange(grid.size).reshape(grid.shape)
    around = [places[:-1, :-1], places[1:, :-1], places[1:, 1:], places[:-1, 1:]]  # in a ring
    ring = np.stack([corner.ravel() for corner in around], axis=1)
    heights = np.concatenate([grid.ravel(), grid.ravel()[ring].mean(axis=1)])
    middle = grid.size + np.arange(len(ring))
    sides = [np.stack([ring[:, k], ring[:, (k + 1) % 4], middle], axis=1) for k in range(4)]
    return heights, np.stack(sides, axis=1).reshape(-1, 3)


def _in_triangle(
    alphas: np.ndarray,
    betas: np.ndarray,
    heights: Float[np.ndarray, " corner"],
    centre: tuple[float, float],
) -> tuple[float, Int[np.ndarray, " part"]]:
    """The value of the surface at a place, and the corners that take part in it."""
    num_y = len(betas)
    i = min(int(np.searchsorted(alphas, centre[0], side="right")) - 1, len(alphas) - 2)
    j = min(int(np.searchsorted(betas, centre[1], side="right")) - 1, num_y - 2)
    u = (centre[0] - alphas[i]) / (alphas[i + 1] - alphas[i])
    v = (centre[1] - betas[j]) / (betas[j + 1] - betas[j])
    middle = len(alphas) * num_y + i * (num_y - 1) + j
    # how near each side is, its two corners, and the place along it
    sides = [
        (u, ((0, 0), (0, 1)), v),
        (v, ((0, 0), (1, 0)), u),
        (1 - u, ((1, 0), (1, 1)), v),
        (1 - v, ((0, 1), (1, 1)), u),
    ]
    near, ends, along = min(sides)
    corners = np.array([(i + a) * num_y + j + b for a, b in ends] + [middle])
    weights = np.array([1 - along - near, along - near, 2 * near])
    part = weights > 0  # an infinite corner with no weight has no say
    return float(weights[part] @ heights[corners[part]]), corners[part]


def _share_below(
    heights: Float[np.ndarray, "triangle 3"], level: float
) -> Float[np.ndarray, " triangle"]:
    """The share of each triangle at or below a level; 0 where a corner is infinite."""
    low, middle, high = np.sort(heights, axis=1).T
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (level - low) ** 2 / ((middle - low) * (high - low))
        last = 1 - (high - level) ** 2 / ((high - middle) * (high - low))
    partly = np.where(level < middle, first, last)
    share = np.where(level >= high, 1.0, np.where(level < low, 0.0, partly))
    return np.where(np.isinf(high), 0.0, share)


def _heights(values: Num[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """What is not finite lies above every level."""
    return np.where(np.isfinite(values), values, np.inf).astype(np.float64)


def _check_axis(name: str, axis: Num[np.ndarray, " x"], size: int) -> None:
    if len(axis) != size or size < 2 or not (np.diff(axis) > 0).all():
        raise VesaliusError(
            given=f"{len(axis)} {name} for {size} values",
            expected="at least two, rising, one for each value",
            fix="take the axes of the result that the values came from",
        )


def _check_inside(name: str, place: float, axis: Num[np.ndarray, " x"]) -> None:
    if not axis[0] <= place <= axis[-1]:
        raise VesaliusError(
            given=f"{name} at {place:g}, outside of {axis[0]:g} to {axis[-1]:g}",
            expected="a place that was measured",
            fix="widen the bounds so that they hold it",
        )
