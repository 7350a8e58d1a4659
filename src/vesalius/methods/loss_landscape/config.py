"""Options of lines and surfaces.

Source: arXiv 1908.05620, section 3; Li et al. 2018, arXiv 1712.09913, section 5.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError

LINE_STEPS: Final = 31
SURFACE_STEPS: Final = (25, 25)
# The paper's range and resolution; 1,600 points.
PAPER_BOUNDS: Final = (-4.0, 4.0)
PAPER_STEPS: Final = 40
_DECIMALS: Final = 12  # so that 0 and 1 are met exactly where the grid holds them

Bounds = tuple[float, float]


def grid_axis(name: str, bounds: Sequence[float], steps: int) -> Float[np.ndarray, " point"]:
    """Give evenly spaced coordinates, both bounds among them; a bound may be 0.

    Raises:
        VesaliusError: bounds that are not finite or not in order, or fewer than two points.

    >>> grid_axis("bounds", (-1, 2), 4).tolist()
    [-1.0, 0.0, 1.0, 2.0]
    """
    check_count(f"steps of {name}", steps, lowest=2, usual=SURFACE_STEPS[0])
    low, high = (float(bounds[0]), float(bounds[1])) if len(bounds) == 2 else (math.nan, 0.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise VesaliusError(
            given=f"{name}={tuple(bounds)}",
            expected="two finite numbers, the lower one first",
            fix="use -1 and 2",
        )
    return np.round(np.linspace(low, high, steps), _DECIMALS)
