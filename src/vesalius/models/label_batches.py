"""Share texts of unlike lengths out to runs that fit in memory.

Source: this project.
"""

from collections.abc import Iterator, Sequence
from typing import Final

_LOGIT_BYTES: Final = 1 << 27  # logits of one run: 42 texts of 15 places over 50,000 words


def length_batches(
    lengths: Sequence[int],
    *,
    tokens_per_batch: int,
    places_per_text: int = 1,
    num_vocab: int = 1,
) -> Iterator[list[int]]:
    """Share texts out to runs, shortest first: at most so many tokens, padding in, and logits.

    Without ``places_per_text`` and ``num_vocab`` tokens alone count.

    Source: this project. No shapes.
    """
    most = max(1, _LOGIT_BYTES // (4 * num_vocab * places_per_text))
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        wide = lengths[number] * (len(batch) + 1)  # the longest so far
        if batch and (wide > tokens_per_batch or len(batch) == most):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
