"""One scale of heights for all pictures of a landscape: its bounds, colours, levels and words.

A landscape has a floor where everything happens and walls that are many times higher. The scale
turns logarithmic where the walls would flatten the floor, and it ends where nine tenths of the
values end if the rest stands far above; pictures then say so.

Source: this project; viridis: Smith and van der Walt 2015, the colours of matplotlib.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError

COLOUR_MAP: Final = "viridis"
_BULK: Final = 0.9  # quantile up to which values always keep their own colour
_FAR: Final = 3.0  # so many times the range of the bulk and the highest value is cut off
_ROOM: Final = 1.5  # the range that is kept then, in ranges of the bulk
_MOST_TICKS: Final = 8


@final
@dataclass(frozen=True, kw_only=True)
class ValueScale:
    """The range of values that colours and heights show.

    Raises: VesaliusError for bounds that are no range, or from 0 down on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False
    clipped: bool = False  # whether some value lies above ``high``
    percent: bool = False  # whether values are shares, written as per cent

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        finite = np.isfinite(self.low) and np.isfinite(self.high)
        if not finite or self.low >= self.high or (self.log and self.low <= 0):
            raise VesaliusError(
                given=f"a scale from {self.low:g} to {self.high:g}, log={self.log}",
                expected="two finite bounds, the lower one first; above 0 where log is true",
                fix="let value_scale choose it",
            )

    def heights(self, values: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
        """Cut values off at the upper bound, and take log10 of them on a logarithmic scale."""
        cut = np.minimum(values, self.high)
        return np.log10(np.maximum(cut, self.low)) if self.log else cut

    def levels(self, num: int) -> Float[np.ndarray, " num"]:
        """Give so many bounds of colours, evenly spread from low to high."""
        if self.log:
            return np.geomspace(self.low, self.high, num)
        return np.linspace(self.low, self.high, num)

    def ticks(self) -> Float[np.ndarray, " tick"]:
        """Give a few round values inside of the range, [tick]."""
        from matplotlib.ticker import MaxNLocator

        if self.log:
            decades = range(int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high))))
            for steps in ((1, 2, 5), (1, 3), (1,)):
                every = np.array([step * 10.0**decade for decade in decades for step in steps])
                inside = every[(every >= self.low) & (every <= self.high)]
                if 3 <= len(inside) <= _MOST_TICKS:
                    return inside
        every = np.asarray(MaxNLocator(nbins=6).tick_values(self.low, self.high))
        return every[(every >= self.low) & (every <= self.high)]

    def word(self, value: float) -> str:
        """Write a value as the pictures write it.

        >>> ValueScale(low=0, high=1).word(0.25), ValueScale(low=0, high=1, percent=True).word(0.25)
        ('0.25', '25%')
        """
        return f"{100 * value:.3g}%" if self.percent else f"{value:.3g}"

    def label(self, unit: str) -> str:
        """Name the unit, and say where the scale ends short of the highest value."""
        return f"{unit}; above {self.word(self.high)}: cut off" if self.clipped else unit

    def norm(self) -> Any:
        """Give the matplotlib norm of the colours."""
        from matplotlib.colors import LogNorm, Normalize

        return (LogNorm if self.log else Normalize)(self.low, self.high, clip=False)


def value_scale(
    arrays: Sequence[Float[np.ndarray, "..."]],
    *,
    log: bool | None = None,
    percent: bool = False,
    log_from: float = 10.0,
) -> ValueScale:
    """Choose the scale on which all of some arrays can be compared.

    Args:
        arrays: of any shapes; what is not finite is left out.
        log: whether it is logarithmic; None decides by the ratio of the high to the lowest, and
            keeps shares linear.
        percent: whether values are shares, written as per cent.
        log_from: this ratio.

    Raises:
        VesaliusError: a logarithmic scale for a value of 0 or below.
    """
    flat = np.concatenate([np.asarray(each, dtype=np.float64).ravel() for each in arrays])
    finite = flat[np.isfinite(flat)]
    if not len(finite):
        return ValueScale(low=1.0 if log else 0.0, high=10.0 if log else 1.0, log=bool(log))
    low, top = float(finite.min()), float(finite.max())
    if log and low <= 0:
        raise VesaliusError(
            given=f"a logarithmic scale for a value of {low:g}",
            expected="values above 0",
            fix="leave log out, or use log=False",
        )
    bulk = float(np.quantile(finite, _BULK))
    if log is None:
        log = low > 0 and not percent and bulk / low >= log_from
    if top - low <= 1e-9 * max(abs(top), 1e-12):  # a plain: some room around its one value
        margin = 0.05 * abs(top) or 0.5
        return ValueScale(low=low - margin, high=top + margin, percent=percent)
    high = _upper_bound(low, bulk, top, log=log)
    return ValueScale(low=low, high=high, log=log, clipped=high < top, percent=percent)


def _upper_bound(low: float, bulk: float, top: float, *, log: bool) -> float:
    """The highest value, or less where it stands far above nine tenths of them."""
    first, middle, last = np.log10([low, bulk, top]) if log else (low, bulk, top)
    if middle <= first or last - first <= _FAR * (middle - first):
        return top
    end = first + _ROOM * (middle - first)
    high = float(10.0**end if log else end)
    digits = 1 - int(np.floor(np.log10(abs(high) or 1.0)))
    return min(round(high, digits), top) if round(high, digits) > bulk else high


def check_grid(
    values: Float[np.ndarray, "_ _"],
    alphas: Float[np.ndarray, " _"],
    betas: Float[np.ndarray, " _"],
) -> None:
    """Insist on values [x, y] over two growing axes of two places or more each.

    Raises:
        VesaliusError: other shapes, or an axis that does not grow.
    """
    shape = (len(alphas), len(betas))
    if values.shape != shape or min(shape) < 2:
        raise VesaliusError(
            given=f"values of shape {list(values.shape)} over {shape[0]} alphas and {shape[1]} "
            "betas",
            expected="values[i, j] at (alphas[i], betas[j]), two places or more on each axis",
            fix="draw a single row of values with loss_lines",
        )
    for name, axis in (("alphas", alphas), ("betas", betas)):
        if not bool(np.isfinite(axis).all()) or bool((np.diff(axis) <= 0).any()):
            raise VesaliusError(
                given=f"{name} {axis.tolist()}"[:120],
                expected="finite numbers that grow",
                fix="sort the axis, and the values with it",
            )
