"""Batches made one step ahead in a thread, in the order of their numbers."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from jaxtyping import Shaped
from torch import Tensor

Batch = dict[str, Shaped[Tensor, "..."]]


@runtime_checkable
class NumberedBatches(Protocol):
    """Batches that are a pure function of their number."""

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return batch `number`: labels, and what else the model takes, [batch, ...]."""
        ...


def prefetch(
    batches: NumberedBatches, numbers: Sequence[Sequence[int]], *, depth: int = 2
) -> Iterator[list[Batch]]:
    """Yield, for each group of `numbers`, its batches; `depth` groups are made ahead.

    One thread makes them, so `batches` is never asked twice at a time. What it raises is raised
    here, when its group is due.

    Shapes: as `batches` gives them.

    Source: this project.
    """

    def make(group: Sequence[int]) -> list[Batch]:
        return [batches[number] for number in group]

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    waiting: deque[Future[list[Batch]]] = deque()
    try:
        for group in numbers:
            waiting.append(pool.submit(make, group))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
