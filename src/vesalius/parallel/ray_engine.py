"""A crew of actors on a Ray cluster, one model and one torch thread in each. Extra ``ray``.

Every node needs the same vesalius and the module of the task. This process writes all files:
the nodes share no disk with it.

Source: the design of this project, docs/decisions.md.
"""

import importlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, final

from vesalius.core.errors import VesaliusError
from vesalius.parallel.crew import ONE_THREAD, AbstractCrew, Report, Seat
from vesalius.parallel.task import AbstractTask, Shard

_KNOCK_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 30.0  # a good cluster takes 2 or 3; Ray itself waits for minutes
_TRY: Final = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
_STORE_BYTES: Final = 100 * 2**20  # a local Ray's object store; Ray refuses less than 75 MiB


def _ray() -> Any:
    """Import Ray; untyped, for the type check runs where the extra is not installed, too."""
    if importlib.util.find_spec("ray") is None:
        raise VesaliusError(
            given="engine='ray', but Ray is not installed",
            expected="the extra 'ray'",
            fix="pip install 'vesalius[ray]', or use engine='local'",
        )
    return importlib.import_module("ray")


@final
class RayCrew(AbstractCrew):
    """Actors that Ray never restarts by itself: a death is reported and counted like any other."""

    def __init__(self, task: AbstractTask, environment: Mapping[str, str]) -> None:
        ray = _ray()
        remote: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Seat)
        self._make = remote.options(runtime_env={"env_vars": dict(environment)}).remote
        self._task = ray.put(task)
        self._seats: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self._num_hired = 0

    def hire(self) -> int:
        """Start an actor and let it open the task."""
        self._num_hired += 1
        seat = self._seats[self._num_hired] = self._make()
        self._pending[seat.open.remote(self._task)] = self._num_hired
        return self._num_hired

    def give(self, worker: int, shard: Shard) -> None:
        """Let an actor do a shard."""
        self._pending[self._seats[worker].work.remote(shard)] = worker

    def next_report(self) -> tuple[int, Report]:
        """Wait for any actor; Ray's own errors become a death or a refusal."""
        ray = _ray()
        ready = ray.wait(list(self._pending), num_returns=1)[0][0]
        number = self._pending.pop(ready)
        try:
            return number, ray.get(ready)
        except ray.exceptions.RayError as error:
            ray.kill(self._seats.pop(number))
            if isinstance(error, _deaths()) and "its creation task" not in str(error):
                return number, Report(kind="died")
            return number, Report(kind="refused", error=_refusal(error))

    def close(self) -> None:
        """Stop all actors."""
        ray = _ray()
        for seat in self._seats.values():
            ray.kill(seat)
        self._seats.clear()


def _deaths() -> tuple[type[Exception], ...]:
    """Name the errors that mean: this actor is lost, another one may do better."""
    errors = _ray().exceptions
    return errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError


def _refusal(error: Exception) -> VesaliusError:
    last = str(error).strip().splitlines()[-1]
    return VesaliusError(
        given=f"a Ray worker that failed: {last}",
        expected="nodes that have the same vesalius and the module of the task",
        fix="install them on every node; Ray's log on that node says more",
    )


@contextmanager
def ray_crew(
    task: AbstractTask, *, workers: int, address: str | None
) -> Generator[RayCrew, None, None]:
    """Give a crew of actors on the cluster at ``address``, or on a Ray started for them here.

    A Ray that was running in this process before is used and left running.

    Raises:
        VesaliusError: Ray is not installed, the address does not answer, or the cluster is too
            small for the workers.
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(workers, address)
    elif address not in (None, "auto", ray.get_runtime_context().gcs_address):
        raise VesaliusError(
            given=f"address={address!r}, while this process is connected to another Ray",
            expected="one cluster at a time",
            fix="call ray.shutdown() first, or leave the address out",
        )
    try:
        _check_size(workers)
        # a Ray of our own finds what this process finds; the paths of a cluster are its own affair
        own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        crew = RayCrew(task, ONE_THREAD | (own if ours and address is None else {}))
        try:
            yield crew
        finally:
            crew.close()
    finally:
        if ours:
            ray.shutdown()


def _connect(workers: int, address: str | None) -> None:
    ray = _ray()
    if address is None:
        ray.init(
            address="local",  # never a cluster that an environment variable names
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=_STORE_BYTES,
            logging_level="WARNING",
        )
        return
    _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    except Exception as error:  # Ray has no common class for a failed connection
        raise _unreachable(address, str(error)) from error


def _knock(address: str) -> None:
    """Try first, the port, then Ray in a process that can be stopped: its waiting cannot."""
    if address == "auto":  # looks for a Ray on this machine, and gives up at once
        return
    match = re.fullmatch(r"(?:ray://)?(?P<host>[^/]+):(?P<port>[0-9]{1,5})", address)
    if match is None:
        raise VesaliusError(
            given=f"address={address!r}",
            expected="host:port of a Ray head, ray://host:port, or 'auto'",
            fix="use the address that `ray start --head` printed",
        )
    try:
        place = match["host"].strip("[]"), int(match["port"])
        socket.create_connection(place, timeout=_KNOCK_SECONDS).close()
        subprocess.run(
            [sys.executable, "-c", _TRY, address],
            check=True,
            capture_output=True,
            timeout=_CONNECT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"something listens there, but no Ray answered in {_CONNECT_SECONDS:.0f} s"
        raise _unreachable(address, reason) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip() or f"exit code {error.returncode}"
        raise _unreachable(address, said.splitlines()[-1]) from error
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> VesaliusError:
    return VesaliusError(
        given=f"address={address!r}: {reason.strip().splitlines()[0] if reason.strip() else ''}",
        expected="a Ray cluster that answers",
        fix="check the address with `ray status --address ...`; nothing of the sweep is lost",
    )


def _check_size(workers: int) -> None:
    ray = _ray()
    found = int(ray.cluster_resources().get("CPU", 0))
    if found < workers:
        raise VesaliusError(
            given=f"workers={workers} on a Ray cluster with {found} CPUs",
            expected="at most one worker for each CPU",
            fix=f"use workers={max(found, 1)}",
        )
