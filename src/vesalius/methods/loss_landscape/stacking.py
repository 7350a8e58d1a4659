"""Many points in one pass, where a net is so small that launching its kernels costs most.

Source: models/stacked.py, whose rule decides.
"""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.measures import Inputs
from vesalius.methods.loss_landscape.result import Measured
from vesalius.methods.loss_landscape.splits import Split
from vesalius.models.specimen import Specimen
from vesalius.models.stacked import count_launches, stacked_measure, worth_stacking

_MOST_MOVED: Final = 1_000_000  # weights above which no net was found to gain: not even counted


def is_worth_stacking(
    specimen: Specimen, examples: Examples, frame: Frame, *, num_points: int
) -> bool:
    """Tell from counts whether points are faster together; one pass over a tiny net, or none.

    Source: models/stacked.py.
    """
    num_moved = frame.origin.flat.numel()
    if num_moved > _MOST_MOVED:
        return False
    with specimen.at_rest():
        return all(
            worth_stacking(
                count_launches(specimen.model, _here(specimen, batch), examples.measure_of),
                num_moved=num_moved,
                num_points=num_points,
            )
            for split in examples.splits.values()
            for batch in split.batches
        )


def measure_stacked(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    points: Float[np.ndarray, "point axis"],
    *,
    memory_bytes: int,
) -> Measured | None:
    """Measure all examples at all points together: split -> measure -> [point, example].

    None where the model or its measure cannot run on stacked weights.

    Source: models/stacked.py.
    """
    coordinates = torch.from_numpy(points)

    def stacked(batch: Inputs) -> dict[str, Tensor]:
        return stacked_measure(
            specimen.model,
            _here(specimen, batch),
            examples.measure_of,
            origin=frame.origin,
            axes=frame.directions,
            coordinates=coordinates,
            memory_bytes=memory_bytes,
        )

    try:
        with specimen.at_rest():
            parts = {n: [stacked(b) for b in s.batches] for n, s in examples.splits.items()}
    except Exception:  # a measure fails on stacked weights in ways of its own; alone it may not
        return None
    return {name: _in_order(parts[name], split) for name, split in examples.splits.items()}


def _in_order(
    parts: list[dict[str, Float[Tensor, "point _"]]], split: Split
) -> dict[str, Float[np.ndarray, "point example"]]:
    """Put what was measured batch by batch into the order of the examples."""
    joined: dict[str, Float[np.ndarray, "point example"]] = {}
    for measure in parts[0]:
        columns = torch.cat([part[measure].float() for part in parts], dim=1).cpu().numpy()
        ordered = np.empty_like(columns)
        ordered[:, split.order] = columns
        joined[measure] = ordered
    return joined


def _here(specimen: Specimen, batch: Inputs) -> Inputs:
    return {key: value.to(specimen.device) for key, value in batch.items()}
