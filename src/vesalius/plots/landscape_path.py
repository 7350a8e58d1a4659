"""What lies on a landscape: the path of a training, and single places with names.

Source: this project.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK

_SYMBOLS: Final = {"start": ("o", 9.0), "solution": ("*", 15.0), "other": ("D", 7.5)}
SYMBOLS: Final = tuple(_SYMBOLS)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TracePath:
    """Places of a training in the plane, in order, and what was truly measured there.

    ``coordinates`` [point, axis]: alpha and beta; ``values`` [point]: of the checkpoints
    themselves, which need not lie in the plane; None where they were not measured.

    Raises: VesaliusError for other shapes.
    """

    coordinates: Float[np.ndarray, "point 2"]
    values: Float[np.ndarray, " point"] | None = None
    name: str = "training path"

    def __post_init__(self) -> None:
        """Refuse what is no path in a plane."""
        points = self.coordinates.shape
        given = None if self.values is None else list(self.values.shape)
        if len(points) != 2 or points[1] != 2 or given not in (None, [points[0]]):
            raise VesaliusError(
                given=f"coordinates of shape {list(points)}, values of shape {given}",
                expected="coordinates [point, 2], and a value for each point or none at all",
                fix="take both from the same trajectory",
            )


@final
@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place with a name: alpha and beta.

    Raises: VesaliusError for an unknown symbol.
    """

    name: str
    place: tuple[float, float]
    symbol: Literal["start", "solution", "other"] = "other"

    def __post_init__(self) -> None:
        """Refuse a symbol that is not there."""
        if self.symbol not in _SYMBOLS:
            raise VesaliusError(
                given=f"symbol={self.symbol!r}",
                expected=f"one of {', '.join(_SYMBOLS)}",
                fix="use other",
            )


def mark_style(
    mark: Mark, alphas: Float[np.ndarray, " x"], betas: Float[np.ndarray, " y"]
) -> dict[str, Any]:
    """Give the matplotlib options of a mark; its name says where it lies outside of the axes.

    Shapes: the axes [x] and [y].
    """
    shape, size = _SYMBOLS[mark.symbol]
    is_inside = bool(inside(np.array([mark.place], dtype=np.float64), alphas, betas)[0])
    return {
        "marker": shape, "markersize": size, "linestyle": "", "color": "white",
        "markeredgecolor": INK, "markeredgewidth": 1.2,
        "label": plain_label(mark.name) if is_inside else f"{plain_label(mark.name)} (outside)",
        "clip_on": not is_inside,  # one on the border is drawn whole
    }  # fmt: skip


def path_name(
    path: TracePath, alphas: Float[np.ndarray, " x"], betas: Float[np.ndarray, " y"]
) -> str:
    """Name a path; say how many of its points lie outside of the picture.

    Shapes: the axes [x] and [y].
    """
    num_outside = int((~inside(path.coordinates, alphas, betas)).sum())
    if not num_outside:
        return path.name
    return f"{path.name} ({num_outside} of {len(path.coordinates)} points outside)"


def inside(
    places: Float[np.ndarray, "point 2"],
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
) -> Bool[np.ndarray, " point"]:
    """Tell which places lie within the axes."""
    low, high = np.array([alphas[0], betas[0]]), np.array([alphas[-1], betas[-1]])
    room = 1e-6 * (high - low)  # a training that ends on the border is not outside
    return np.all((places >= low - room) & (places <= high + room), axis=1)


def axis_labels(axes: Sequence[str]) -> tuple[str, str]:
    """Name the two axes with their letters; no shapes.

    >>> axis_labels(("towards the solution", ""))
    ('alpha: towards the solution', 'beta')
    """
    first, second = (
        f"{letter}: {name}" if name else letter
        for letter, name in zip(("alpha", "beta"), axes, strict=True)
    )
    return first, second
