"""The words and levels that pictures and pages of landscapes share.

Source: this project.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from vesalius.methods.loss_landscape.measures import ERROR, LOSS

# What belongs to the floor of a landscape: values up to so much above its lowest point.
FLOOR: Final = {LOSS: 0.1, ERROR: 0.02}
_OTHER: Final = "towards the other solution"


def split_name(split: str) -> str:
    """Write the name of a split as a page does.

    >>> split_name("held_out")
    'held-out'
    """
    return split.replace("_", "-")


def unit(measure: str) -> str:
    """Name what a measure counts."""
    return "loss (nats)" if measure == LOSS else measure


def axis_places(axes: Sequence[str], solution: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """Name the places of a frame: where training began, where it ended.

    >>> axis_places(("towards the solution", "random"), (1.0, 0.0))
    {'start': (0.0, 0.0), 'solution': (1.0, 0.0)}
    """
    origin = tuple(0.0 for _ in solution)
    if any(solution):
        return {"start": origin, "solution": tuple(solution)}
    return {"start" if _OTHER in axes else "solution": origin}


def floor_level(values: Float[np.ndarray, "..."], measure: str) -> float | None:
    """Give the level up to which values [x] or [x, y] belong to the floor; None without one."""
    if measure not in FLOOR or not np.isfinite(values).any():
        return None
    return float(np.nanmin(values)) + FLOOR[measure]


def floor_name(measure: str) -> str:
    """Say what the floor of a measure is.

    >>> floor_name("loss")
    'within 0.1 nats of the lowest point'
    """
    if measure not in FLOOR:
        return ""
    far = f"{FLOOR[measure]:.0%}" if measure == ERROR else f"{FLOOR[measure]:g} nats"
    return f"within {far} of the lowest point"
