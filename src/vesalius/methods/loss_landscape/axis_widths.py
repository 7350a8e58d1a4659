"""How far a model can go along the axes of a frame before its loss rises by tau.

Source: arXiv 1908.05620, section 3 (wide optima, there judged by eye); this project.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import numpy as np

from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.flatness_result import AxisWidth
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.line import line
from vesalius.methods.loss_landscape.measures import LOSS
from vesalius.models.flat_weights import own_weights
from vesalius.models.specimen import Specimen
from vesalius.numerics.surface_measures import Width, width_at

_FEWEST_STEPS: Final = 8  # of a line that a width must span to be read off it
_ZOOMS: Final = 8


def widths_along(
    specimen: Specimen, examples: Examples, frame: Frame, *, loss: float, tau_nats: float
) -> tuple[AxisWidth, ...]:
    """Measure lines through the model's weights along every axis, within its usual bounds.

    ``examples`` have one split, and ``loss`` is its mean at the model itself. A valley of few
    steps is measured again from nearer.

    Raises:
        VesaliusError: a frame of another model.
    """
    return tuple(
        _width(specimen, examples, alone, bounds, loss, tau_nats)
        for alone, bounds in _through_model(specimen, frame)
    )


def _through_model(specimen: Specimen, frame: Frame) -> Iterator[tuple[Frame, tuple[float, float]]]:
    """Each axis alone, with the model's own weights as its origin, and where to look."""
    own = own_weights(specimen, frame.names)
    for axis, place, (low, high) in zip(frame.axes, frame.solution, frame.bounds, strict=True):
        alone = Frame(origin=own, axes=(axis,), solution=(0.0,), moved=frame.moved)
        yield alone, (low - place, high - place)


def _width(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    bounds: tuple[float, float],
    loss: float,
    tau_nats: float,
) -> AxisWidth:
    (split,), (axis,) = examples.splits, frame.axes
    found = Width(low=0, high=0, width=0, open_low=True, open_high=True)
    for _ in range(_ZOOMS):
        seen = line(specimen, examples, frame, bounds=bounds)
        alphas, first = np.unique(np.append(seen.alphas, 0.0), return_index=True)
        losses = np.append(seen.measured(split, LOSS), loss)[first]
        found = width_at(alphas, losses, centre=0.0, level=loss + tau_nats)
        if found.width >= _FEWEST_STEPS * (bounds[1] - bounds[0]) / (len(seen.alphas) - 1):
            break
        # nearer, up to the first points that are above the level
        low = bounds[0] if found.open_low else float(alphas[alphas < found.low][-1])
        high = bounds[1] if found.open_high else float(alphas[alphas > found.high][0])
        bounds = (low, high)
    return AxisWidth(axis=axis.name, norm=axis.norm, **asdict(found))
