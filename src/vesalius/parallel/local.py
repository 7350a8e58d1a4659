"""A crew of processes on this machine, one torch thread each.

Source: the design of this project, docs/decisions.md.
"""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, final

from vesalius.parallel.crew import ONE_THREAD, AbstractCrew, Report, Seat
from vesalius.parallel.task import AbstractTask, Shard


@final
class LocalCrew(AbstractCrew):
    """Processes started afresh (spawn): a forked torch hangs in its thread pool."""

    def __init__(self, task: AbstractTask) -> None:
        self._task = task
        self._seats: dict[int, tuple[BaseProcess, Connection]] = {}
        self._num_hired = 0

    def hire(self) -> int:
        """Start a process; the task travels through the pipe, after the threads are set."""
        ours, theirs = get_context("spawn").Pipe()
        # daemon: ends with this process, too, when that ends in good order
        process = get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()  # so that the death of the process ends our side
        self._num_hired += 1
        self._seats[self._num_hired] = process, ours
        self._send(self._num_hired, self._task)
        return self._num_hired

    def give(self, worker: int, shard: Shard) -> None:
        """Send a shard to a process."""
        self._send(worker, shard)

    def _send(self, worker: int, what: AbstractTask | Shard) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # dead: next_report says so
            self._seats[worker][1].send(what)

    def next_report(self) -> tuple[int, Report]:
        """Wait for a message; the end of a pipe is the death of its process."""
        numbers = {pipe: number for number, (_, pipe) in self._seats.items()}
        ready: Any = connection.wait(list(numbers))[0]
        number = numbers[ready]
        try:
            return number, ready.recv()
        except (EOFError, OSError):
            self._dismiss(number)
            return number, Report(kind="died")

    def _dismiss(self, number: int) -> None:
        process, pipe = self._seats.pop(number)
        pipe.close()
        process.kill()
        process.join()

    def close(self) -> None:
        """Stop all processes at once: what they were doing is done again by the next run."""
        for number in list(self._seats):
            self._dismiss(number)


@contextmanager
def local_crew(task: AbstractTask) -> Generator[LocalCrew, None, None]:
    """Give a crew of local processes, and stop them at the end."""
    crew = LocalCrew(task)
    try:
        yield crew
    finally:
        crew.close()


def _serve(pipe: Connection) -> None:
    """Run in each process: open the task, do shards, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ |= ONE_THREAD  # before torch loads with the task
    seat = Seat()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            message = pipe.recv()
            pipe.send(seat.work(message) if isinstance(message, Shard) else seat.open(message))


def _die_with_parent() -> None:
    """End with the parent, however it ends: a killed sweep leaves no process behind."""
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
