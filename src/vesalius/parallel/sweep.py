"""One task over many items, in shards that survive being killed.

Source: the design of this project, docs/decisions.md.
"""

import hashlib
import json
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, cast

from vesalius.core.codec import plain
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import write_file
from vesalius.core.seeds import derive_seed
from vesalius.parallel.crew import limit_threads, run_crew, start_crew
from vesalius.parallel.folder import TABLE, SweepResult, claimed_folder, gather, read_sweep
from vesalius.parallel.folder import shard_path as _shard_path
from vesalius.parallel.task import AbstractTask, Shard, open_task, places, run_shard

Engine = Literal["local", "ray"]
Finished = Iterator[tuple[Shard, bytes]]


def sweep(
    task: AbstractTask,
    items: Sequence[Mapping[str, Any]],
    out: str | os.PathLike[str],
    *,
    engine: Engine = "local",
    workers: int = 1,
    address: str | None = None,
    shard_size: int = 16,
    seed: int = 0,
    name: str = "sweep",
) -> SweepResult:
    """Do a task for every item and gather the rows; go on where an earlier run stopped.

    A killed run loses at most the shards in flight. The table has the same bytes whatever the
    interruptions, the engine and the number of workers: every worker computes on one thread.

    Args:
        items: mappings that JSON can say; a failing one is skipped and noted.
        out: a new folder, or that of the same sweep.
        engine: ``local`` (in this process; separate processes for more than one worker) or ``ray``.
        address: a Ray cluster; without it a Ray is started on this machine.
        name: the word before the progress bar.

    Raises:
        VesaliusError: a wrong option or item, a folder that holds something else, a task that
            does not open, a cluster that does not answer, a disk that is full.
    """
    _check_options(task, engine, workers, address, shard_size, seed)
    texts = [_item_text(item, index) for index, item in enumerate(_listed(items))]
    shards = _cut(texts, shard_size, seed)
    with claimed_folder(out, _manifest(task, texts, shard_size, seed)) as folder:
        if (folder / TABLE).is_file():
            return read_sweep(folder)
        missing = [shard for shard in shards if not _shard_path(folder, shard.index).is_file()]
        seconds, num_new = 0.0, sum(len(shard.items) for shard in missing)
        if missing:
            num_done = len(shards) - len(missing)
            workers = min(workers, len(missing))  # a model that never works costs memory
            with _engine(task, missing, engine, workers, address, num_done) as finished:
                start = time.perf_counter()  # all workers are ready
                _store(finished, folder, num_items=len(texts), num_new=num_new, name=name)
                seconds = time.perf_counter() - start
        gather(folder, len(shards))
        return replace(read_sweep(folder), num_new_items=num_new, work_seconds=seconds)


def _store(finished: Finished, folder: Path, *, num_items: int, num_new: int, name: str) -> None:
    """Put every finished shard on the disk; on a terminal, show items/s and the time left."""
    from tqdm import tqdm

    with tqdm(
        total=num_items, initial=num_items - num_new, desc=name, unit="item", disable=None
    ) as bar:
        for shard, content in finished:
            write_file(_shard_path(folder, shard.index), content, force=True)
            bar.update(len(shard.items))


@contextmanager
def _engine(
    task: AbstractTask,
    shards: Sequence[Shard],
    engine: Engine,
    workers: int,
    address: str | None,
    num_done: int,
) -> Generator[Finished, None, None]:
    """Give the finished shards, lazily, from workers that are ready when this hands over."""
    if engine == "local" and workers == 1:
        before = limit_threads(1)
        try:
            worker = open_task(task)
            now = limit_threads(1)  # opening may have loaded torch
            before = now if before is None else before
            yield ((shard, run_shard(worker, shard)) for shard in shards)
        finally:
            if before is not None:
                limit_threads(before)
    elif engine == "local":
        from vesalius.parallel.local import local_crew

        with local_crew(task) as crew:
            yield run_crew(crew, start_crew(crew, workers), shards, num_done=num_done)
    else:
        from vesalius.parallel.ray_engine import ray_crew

        with ray_crew(task, workers=workers, address=address) as crew:
            yield run_crew(crew, start_crew(crew, workers), shards, num_done=num_done)


def _cut(texts: Sequence[str], size: int, seed: int) -> list[Shard]:
    items = [json.loads(text) for text in texts]
    return [
        Shard(
            index=index,
            first=first,
            items=tuple(items[first : first + size]),
            seeds=tuple(
                derive_seed(seed, "sweep", item)
                for item in range(first, min(first + size, len(items)))
            ),
        )
        for index, first in enumerate(range(0, len(items), size))
    ]


def _manifest(
    task: AbstractTask, texts: Sequence[str], shard_size: int, seed: int
) -> dict[str, Any]:
    """Say what is done, in the order in which a difference is named."""
    kind = type(task)
    options = {k: v for k, v in plain(task).items() if k not in places(task)}
    digest = hashlib.blake2b("\n".join(texts).encode("utf-8", "surrogatepass"), digest_size=16)
    manifest = {
        "kind": "vesalius.sweep",
        "schema_version": 1,
        "task": {"class": f"{kind.__module__}.{kind.__qualname__}", "options": options},
        "num_items": len(texts),
        "items": digest.hexdigest(),
        "shard_size": int(shard_size),
        "seed": int(seed),
        "vesalius": version("vesalius"),
    }
    return json.loads(json.dumps(manifest))


def _listed(items: object) -> list[object]:
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence) or not items:
        raise VesaliusError(
            given=f"items of type {type(items).__name__}{'' if items else ', none of them'}",
            expected="a list of at least one mapping",
            fix="pass [{'subject': ...}, ...]",
        )
    return list(cast("Sequence[object]", items))


def _item_text(item: object, index: int) -> str:
    """Write an item as JSON: what is hashed is what the workers get, whatever the engine."""
    try:
        if isinstance(item, Mapping):
            return json.dumps(dict(cast("Mapping[str, Any]", item)), allow_nan=False)
        reason = f"a {type(item).__name__}"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise VesaliusError(
        given=f"item {index}: {reason}",
        expected="a mapping that JSON can say: text, finite numbers, lists",
        fix="convert it first, for instance with dataclasses.asdict",
    )


def _check_options(
    task: object, engine: object, workers: object, address: object, shard_size: object, seed: object
) -> None:
    if not isinstance(task, AbstractTask):
        raise VesaliusError(
            given=f"a task of type {getattr(task, '__name__', type(task).__name__)}",
            expected="a frozen dataclass derived from vesalius.parallel.task.AbstractTask",
            fix="define one with a method open() that returns the worker, and pass an instance",
        )
    if engine not in ("local", "ray"):
        raise VesaliusError(
            given=f"engine={engine!r}", expected="'local' or 'ray'", fix="leave it at 'local'"
        )
    if address is not None and engine != "ray":
        raise VesaliusError(
            given=f"address={address!r} with engine={engine!r}",
            expected="an address only for engine='ray'",
            fix="add engine='ray' (--engine ray)",
        )
    for word, value, least in (("workers", workers, 1), ("shard_size", shard_size, 1)):
        if type(value) is bool or not isinstance(value, Integral) or value < least:
            raise VesaliusError(
                given=f"{word}={value!r}", expected=f"a whole number from {least}", fix=f"{word}=1"
            )
    if type(seed) is bool or not isinstance(seed, Integral):
        raise VesaliusError(given=f"seed={seed!r}", expected="a whole number", fix="use seed=0")
