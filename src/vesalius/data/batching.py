"""Which examples stand in which batch when examples are padded: like lengths together.

Source: this project; buckets of like length as in fairseq's `--max-tokens`.
"""

import numpy as np
from jaxtyping import Int64

from vesalius.core.errors import VesaliusError


def plan_by_length(
    lengths: Int64[np.ndarray, "example"], *, tokens_per_batch: int, generator: np.random.Generator
) -> list[list[int]]:
    """Return the examples of each batch: every example once, in batches of random order.

    A batch holds at most `tokens_per_batch` tokens, padding to its longest included; an example
    longer than that stands alone. Ties of length are broken at random, so that other examples
    meet in each epoch; the number of batches depends on the lengths alone.

    Raises:
        VesaliusError: there is no example, or `tokens_per_batch` is below 1.
    """
    if not len(lengths) or tokens_per_batch < 1:
        raise VesaliusError(
            given=f"{len(lengths)} examples and tokens_per_batch={tokens_per_batch}",
            expected="at least one example, and tokens_per_batch >= 1",
            fix="add examples (those longer than max_length are left out), or raise the budget",
        )
    order = np.lexsort((generator.random(len(lengths)), lengths))
    batches: list[list[int]] = []
    current: list[int] = []
    for i, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if current and (len(current) + 1) * length > tokens_per_batch:
            batches.append(current)
            current = []
        current.append(i)
    batches.append(current)
    return [batches[i] for i in generator.permutation(len(batches)).tolist()]
