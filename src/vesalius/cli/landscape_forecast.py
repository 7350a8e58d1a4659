"""What a run over points of weight space would take: forwards, bytes of the axes, seconds.

Source: this project; the seconds are a guess from one measured point.
"""

import time
from typing import TYPE_CHECKING, Any

from vesalius.cli.output import emit_json, emit_table

if TYPE_CHECKING:
    from vesalius.methods.loss_landscape import Examples
    from vesalius.models.specimen import Specimen


def show_forecast(
    specimen: "Specimen",
    examples: "Examples",
    *,
    num_points: int,
    moved: str,
    num_axes: int,
    workers: int,
    json: bool,
) -> None:
    """Print a table of one row; two points are all that is measured.

    An adaptive surface measures fewer points. Several workers are taken to be as fast as one
    each, which they are while there are cores.

    Raises:
        VesaliusError: an unknown group of weights.
    """
    from vesalius.models.weight_groups import weight_groups

    names = weight_groups(specimen).named(moved)
    weights = sum(specimen.model.get_parameter(name).numel() for name in names)
    batches = [batch for split in examples.splits for batch in examples.batches(split)]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    with examples.measuring(specimen) as measure:
        measure()  # the first pass also sets things up
        start = time.perf_counter()
        measure()
        seconds = time.perf_counter() - start
    row: dict[str, Any] = {
        "points": num_points,
        **{f"{split}_examples": number for split, number in examples.num_examples.items()},
        "tokens_per_point": tokens,
        "forwards": num_points * len(batches),
        "moved_weights": weights,
        "axes_bytes": 4 * weights * (1 + num_axes),
        "seconds_about": float(f"{seconds * num_points / workers:.2g}"),
    }
    if json:
        emit_json({"forecast": row})
    else:
        emit_table(list(row), [list(row.values())])
