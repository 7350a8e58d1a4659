"""Workers outside this process: who does which shard, and what happens when one dies.

A crew starts workers, hands out shards and reports; where its workers live is its own affair
(processes of this machine, actors of a Ray cluster). Everything else is here, once.

Source: the design of this project, docs/decisions.md.
"""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from vesalius.core.errors import VesaliusError
from vesalius.parallel.task import AbstractTask, Shard, Worker, lost_shard, open_task, run_shard

MAX_DEATHS: Final = 3  # workers that one shard may cost before its items are skipped
ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
_MAX_LOST: Final = 3  # lost shards after which it is the machine, not the items


@final
@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker has to say: it is ready, a shard is done, it cannot go on, or it died."""

    kind: Literal["ready", "done", "refused", "died"]
    content: bytes = b""
    error: VesaliusError | None = None


@final
class Seat:
    """What every worker of a crew does, wherever it lives: open the task once, do shards."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def open(self, task: AbstractTask) -> Report:
        """Open the task with one torch thread."""
        try:
            self._worker = open_task(task)
        except VesaliusError as error:
            return Report(kind="refused", error=error)
        limit_threads(1)
        return Report(kind="ready")

    def work(self, shard: Shard) -> Report:
        """Do a shard."""
        assert self._worker is not None
        try:
            return Report(kind="done", content=run_shard(self._worker, shard))
        except VesaliusError as error:
            return Report(kind="refused", error=error)


def limit_threads(count: int) -> int | None:
    """Set the number of torch threads where torch is in use; return the number before."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None:
        return None
    before: int = torch.get_num_threads()
    torch.set_num_threads(count)
    return before


class AbstractCrew(ABC):
    """Workers that open one task each, and do one shard at a time."""

    @abstractmethod
    def hire(self) -> int:
        """Start a worker, which opens the task and reports; return its number."""

    @abstractmethod
    def give(self, worker: int, shard: Shard) -> None:
        """Give a worker a shard to do; it reports."""

    @abstractmethod
    def next_report(self) -> tuple[int, Report]:
        """Wait for the next report of any worker. One that died reports no more."""


def start_crew(crew: AbstractCrew, count: int) -> list[int]:
    """Start workers and wait until all are ready.

    Raises:
        VesaliusError: the task does not open, or a worker died while opening it.
    """
    workers = [crew.hire() for _ in range(count)]
    for _ in workers:
        _check_ready(crew.next_report()[1])
    return workers


def _check_ready(report: Report) -> None:
    if report.error is not None:
        raise report.error
    if report.kind == "died":
        raise VesaliusError(
            given="a worker that died while it opened the task",
            expected="memory for one model in each worker",
            fix="use fewer workers, or a smaller model",
        )


def run_crew(
    crew: AbstractCrew, workers: Sequence[int], shards: Sequence[Shard], *, num_done: int = 0
) -> Iterator[tuple[Shard, bytes]]:
    """Yield every shard with its file, in the order in which they are finished.

    The shard of a worker that dies is done again by a new one, up to ``MAX_DEATHS`` times. Then
    it is lost: its items are skipped, provided that other shards got through, in this run or in
    an earlier one (``num_done``).

    Raises:
        VesaliusError: a worker cannot go on, or so many shards are lost that it is not they.
    """
    waiting, busy = deque(shards), dict[int, Shard]()
    idle, deaths, lost = list(workers), Counter[int](), list[Shard]()
    while waiting or busy:
        while idle and waiting:
            worker = idle.pop()
            busy[worker] = waiting.popleft()
            crew.give(worker, busy[worker])
        worker, report = crew.next_report()
        if report.kind == "ready":  # the successor of one that died
            idle.append(worker)
        elif report.error is not None:
            raise report.error
        elif report.kind == "done":
            idle.append(worker)
            num_done += 1
            yield busy.pop(worker), report.content
        elif worker in idle:  # there is nothing left to give to its successor
            idle.remove(worker)
        elif worker in busy:
            shard = busy.pop(worker)
            deaths[shard.index] += 1
            (lost if deaths[shard.index] >= MAX_DEATHS else waiting).append(shard)
            if len(lost) > _MAX_LOST:
                break
            if waiting:
                crew.hire()
        else:
            _check_ready(report)
    if lost and (len(lost) > _MAX_LOST or not num_done):
        raise VesaliusError(
            given=f"{MAX_DEATHS} dead workers for each of {len(lost)} shards",
            expected="workers that are not killed, mostly for want of memory",
            fix="use fewer workers, then repeat the command: what is done is kept",
        )
    reason = f"{MAX_DEATHS} workers died at the shard that holds this item"
    yield from ((shard, lost_shard(shard, reason)) for shard in lost)
