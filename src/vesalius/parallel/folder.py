"""The folder of a sweep: its manifest, its lock, its shards and the table gathered from them.

    manifest.json          what is being done: another command is refused by the key that differs
    shards/00017.parquet   one finished shard; appears by a rename, whole or not at all
    skipped.jsonl          the items that failed, with the reason; written at the end
    table.parquet          all rows in the order of the items; when it stands, the sweep is done

Only the process that holds the lock writes. The kernel releases the lock of a killed process.

Source: the design of this project, docs/decisions.md.
"""

import io
import json
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, final

import numpy as np
from jaxtyping import Shaped

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import write_file
from vesalius.parallel.task import Skipped, join, mixed_column, unpack

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST: Final = "manifest.json"
TABLE: Final = "table.parquet"
SKIPPED: Final = "skipped.jsonl"
SHARDS: Final = "shards"
_LOCK: Final = ".lock"
_LEFTOVER: Final = re.compile(r"\..+\.[0-9a-f]{8}\.partial")  # what core.paths.write_file leaves


@final
@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep: its folder, how much came out, and what was skipped and why.

    ``num_new_items`` and ``work_seconds`` tell of this run alone: the items done in it, and the
    time from the moment when all workers were ready to the last shard on the disk.
    """

    folder: Path
    num_items: int
    num_rows: int
    skipped: tuple[Skipped, ...]
    num_new_items: int = 0
    work_seconds: float = 0.0

    def table(self) -> "pa.Table":
        """Read all rows, in the order of the items; column ``item`` holds each one's index."""
        from pyarrow import parquet

        return parquet.read_table(self.folder / TABLE)

    def array(self, column: str) -> Shaped[np.ndarray, "row *cell"]:
        """Stack a column of numbers, or of arrays of one shape, into one array.

        Raises:
            VesaliusError: no such column, empty cells, text, or arrays of different shapes.
        """
        table = self.table()
        if column not in table.column_names:
            raise VesaliusError(
                given=f"column {column!r}",
                expected=f"one of {', '.join(table.column_names)}",
                fix="choose a column that the worker returned",
            )
        return _stacked(table[column].combine_chunks(), column)


def _stacked(cells: Any, column: str) -> Shaped[np.ndarray, "row *cell"]:
    import pyarrow as pa

    shape = [len(cells)]
    while pa.types.is_list(cells.type):
        lengths = np.unique(cells.value_lengths().to_numpy(zero_copy_only=False))
        if cells.null_count or len(lengths) > 1:
            raise _ragged(column)
        shape.append(int(lengths[0]) if len(lengths) else 0)
        cells = cells.flatten()
    numbers = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    if cells.null_count or not any(test(cells.type) for test in numbers):
        raise _ragged(column)
    return cells.to_numpy(zero_copy_only=False).reshape(shape)


def _ragged(column: str) -> VesaliusError:
    return VesaliusError(
        given=f"column {column!r}, with empty cells, text or arrays of different shapes",
        expected="numbers, or arrays of one shape, in every row",
        fix="read it with .table()[column].to_pylist()",
    )


def read_sweep(folder: str | os.PathLike[str]) -> SweepResult:
    """Open the folder of a finished sweep.

    Raises:
        VesaliusError: no sweep is there, it is not finished, or a file of it is damaged.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    if not (folder / TABLE).is_file():
        raise VesaliusError(
            given=f"{str(folder)!r}, a sweep that is not finished",
            expected=f"a folder with {TABLE}",
            fix="run the same command again: it goes on where it stopped",
        )
    try:
        with (folder / SKIPPED).open(encoding="utf-8") as lines:
            skipped = tuple(Skipped(**json.loads(line)) for line in lines)
        num_rows = _parquet(folder / TABLE).metadata.num_rows
    except (OSError, ValueError, TypeError) as error:
        raise VesaliusError(
            given=f"{str(folder)!r}: {error}",
            expected=f"the {TABLE} and {SKIPPED} that the sweep wrote",
            fix=f"delete {TABLE} and run the same command again: it is gathered anew",
        ) from error
    return SweepResult(
        folder=folder, num_items=int(manifest["num_items"]), num_rows=num_rows, skipped=skipped
    )


@contextmanager
def claimed_folder(
    out: str | os.PathLike[str], manifest: Mapping[str, Any]
) -> Generator[Path, None, None]:
    """Make or resume the folder of a sweep, and keep every other process out meanwhile.

    Raises:
        VesaliusError: the folder holds something else, or a sweep with another manifest (the
            first key that differs is named), another process works in it, or the operating
            system refuses.
    """
    from filelock import FileLock, Timeout

    folder = Path(out)
    _refuse_foreign(folder)
    try:
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise VesaliusError(
            given=f"{str(folder)!r}, in which another process works at this moment",
            expected="one process for each sweep",
            fix="wait for it, or choose another output folder",
        ) from None
    except OSError as error:
        raise VesaliusError(
            given=f"output folder {str(folder)!r}: {error.strerror or error}",
            expected="a place that can be written",
            fix="choose another output folder",
        ) from error
    try:
        for place in (folder, folder / SHARDS):
            for path in place.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    path.unlink()
        if (folder / MANIFEST).exists():
            _compare(_read_manifest(folder), manifest, folder)
        else:
            text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
            write_file(folder / MANIFEST, text.encode())
        yield folder
    finally:
        lock.release()


def _refuse_foreign(folder: Path) -> None:
    """Refuse a file, and a folder that holds anything but a sweep or the beginnings of one."""
    if not os.path.lexists(folder):
        return
    beginnings = folder.is_dir() and all(
        path.name == _LOCK
        or _LEFTOVER.fullmatch(path.name)
        or (path.name == SHARDS and not any(path.iterdir()))
        for path in folder.iterdir()
    )
    if (folder / MANIFEST).is_file():
        _read_manifest(folder)  # that of another command is refused before anything is touched
    elif not beginnings:
        raise VesaliusError(
            given=f"output folder {str(folder)!r}, which holds something else",
            expected="a new folder, or that of the same sweep",
            fix="choose another output folder",
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VesaliusError(
            given=f"{str(folder)!r}: {error}",
            expected=f"the folder of a sweep, with its {MANIFEST}",
            fix="give the folder that sweep() wrote",
        ) from error
    if not isinstance(manifest, dict) or cast("Any", manifest).get("kind") != "vesalius.sweep":
        raise VesaliusError(
            given=f"{str(folder / MANIFEST)!r}, which no sweep wrote",
            expected="the manifest of a sweep",
            fix="choose another folder",
        )
    return cast("dict[str, Any]", manifest)


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    ours, theirs = dict(_flat(wanted)), dict(_flat(found))
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key):
            raise VesaliusError(
                given=f"{key} = {ours.get(key)!r}",
                expected=f"{key} = {theirs.get(key)!r}, with which {str(folder)!r} was begun",
                fix="repeat the old command, or choose another output folder",
            )


def _flat(value: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        if isinstance(part, dict):
            yield from _flat(cast("dict[str, Any]", part), f"{place}{key}.")
        else:
            yield f"{place}{key}", part


def shard_path(folder: Path, index: int) -> Path:
    """Name the file of a shard."""
    return folder / SHARDS / f"{index:05d}.parquet"


def gather(folder: Path, num_shards: int) -> None:
    """Write ``skipped.jsonl``, then ``table.parquet``, from all shards in their order.

    Raises:
        VesaliusError: a shard is damaged, two of them fit into no common table, or the
            operating system refuses: all shards stay.
    """
    import pyarrow as pa
    from pyarrow import parquet

    paths = [shard_path(folder, index) for index in range(num_shards)]
    schemas = [_parquet(path).schema_arrow for path in paths]
    skipped = [entry for schema in schemas for entry in unpack(schema)]
    text = "".join(json.dumps(vars(entry), ensure_ascii=False) + "\n" for entry in skipped)
    write_file(folder / SKIPPED, text.encode("utf-8", "backslashreplace"), force=True)
    try:
        bare = [schema.remove_metadata() for schema in schemas]
        common = pa.unify_schemas(bare, promote_options="permissive")
    except pa.ArrowException as error:
        raise mixed_column(error) from error
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, common) as writer:
        for table in _read_shards(paths):
            writer.write_table(join([common.empty_table(), table]))
    write_file(folder / TABLE, buffer.getvalue(), force=True)


def _read_shards(paths: Sequence[Path]) -> "Iterator[pa.Table]":
    return (_parquet(path).read().replace_schema_metadata(None) for path in paths)


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(io.BytesIO(path.read_bytes()))
    except (OSError, pa.ArrowException) as error:
        raise VesaliusError(
            given=f"{path.name!r}: {error}",
            expected="the file that the sweep wrote",
            fix=f"delete {path.name} and run the same command again: only that is done anew",
        ) from error
