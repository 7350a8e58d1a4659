"""The memory planner: how much of a job may be on its way at once."""

import re
from collections.abc import Sequence

from vesalius.core.errors import VesaliusError

DEFAULT_BYTES = 2 * 2**30
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str | int) -> int:
    """Read a size such as ``2GiB``, ``512M`` or ``1000000`` (bytes).

    >>> parse_bytes("1.5 GiB") == 3 * 2**29
    True

    Raises:
        VesaliusError: not a positive size.

    Source: IEC 80000-13 units; K, KB and KiB all mean 1024 here.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?b)?\s*", str(text).lower())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size <= 0:
        raise VesaliusError(
            given=f"memory={text!r}",
            expected="a positive size in bytes",
            fix="write 2GiB or 512MiB",
        )
    return size


def fill(costs: Sequence[int], budget: int) -> list[range]:
    """Cut consecutive jobs into the fewest runs that each fit the budget, in order.

    A job that alone exceeds the budget gets a run of its own.

    Args:
        costs: bytes of each job.
        budget: bytes that one run may take.

    >>> fill([3, 3, 3, 9, 1], 6)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]

    Source: greedy next-fit packing.
    """
    runs: list[range] = []
    start, held = 0, 0
    for index, cost in enumerate(costs):
        if index > start and held + cost > budget:
            runs.append(range(start, index))
            start, held = index, 0
        held += cost
    if costs:
        runs.append(range(start, len(costs)))
    return runs
