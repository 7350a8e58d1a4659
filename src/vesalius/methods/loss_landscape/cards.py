"""The run card of what was measured on a frame, and what it warns of.

Source: this project.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.result import Measured
from vesalius.models.specimen import Specimen


def frame_card(
    method: str,
    *,
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    stopwatch: Stopwatch,
    options: Mapping[str, Any],
    values: Measured,
) -> RunCard:
    """Fill in the card of values [point] or [x, y] that were measured on a frame."""
    return make_card(
        method,
        stopwatch=stopwatch,
        config={
            "axes": [axis.name for axis in frame.axes],
            "moved": frame.moved,
            "axes_fingerprint": frame.fingerprint,
            "data": examples.name,
            "data_fingerprint": examples.fingerprint,
            **options,
        },
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        warnings=not_finite_notes(values),
    )


def not_finite_notes(values: Measured) -> tuple[str, ...]:
    """Say at how many points a measure is not finite."""
    return tuple(
        f"{split} {measure}: {missing} of {means.size} points are not finite"
        for split, measures in values.items()
        for measure, means in measures.items()
        if (missing := int(np.isnan(means).sum()))
    )
