"""What a sweep does with one item, and with one shard of items: a task, a worker, a shard's bytes.

A shard is one Parquet file: the rows of its items, and in the file's metadata the items that
failed. So rows and failures appear together or not at all, whenever the process is killed.

Source: the design of this project, docs/decisions.md.
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, cast, final

import numpy as np

from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    import pyarrow as pa

ITEM: Final = "item"  # the column that says from which item a row comes
# field(metadata=PLACE): where a worker finds something, which may change when a sweep is resumed
PLACE: Final[Mapping[str, bool]] = {"place": True}
_SKIPPED: Final = b"vesalius.skipped"
Row = Mapping[str, Any]
Worker = Callable[..., Row | Sequence[Row]]  # worker(item, seed=...)


@dataclass(frozen=True, kw_only=True)
class AbstractTask(ABC):
    """Declare the work of a sweep: a frozen dataclass whose fields say everything about it.

    The fields are written into the manifest and sent to other processes, so they are text,
    numbers, tuples and dicts of those, never a model. Whatever decides the numbers stands among
    them: a model's fingerprint, too, where its name does not pin it. A field with the metadata
    ``PLACE`` is left out of the manifest: a folder that was moved is the same sweep. The class is
    importable: defined at the top of a module.
    """

    @abstractmethod
    def open(self) -> Worker:
        """Load what is heavy, once per worker, and return the function that does one item.

        ``worker(item, seed=...)`` returns one row or a list of rows. A row maps column names to
        None, text, numbers, lists or numpy arrays of numbers. An error it raises skips the item.
        The seed depends on the sweep's seed and the item's index alone.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Shard:
    """Consecutive items with their seeds; ``first`` is the index of the first one."""

    index: int
    first: int
    items: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An item that gave no rows: its index, the type of the error and what it said."""

    item: int
    error: str
    reason: str


def places(task: AbstractTask) -> frozenset[str]:
    """Name the fields of a task that only say where something is."""
    return frozenset(field.name for field in fields(task) if field.metadata.get("place"))


def open_task(task: AbstractTask) -> Worker:
    """Open a task in this process.

    Raises:
        VesaliusError: the task's own, or one that tells of any other error.
    """
    try:
        return task.open()
    except VesaliusError:
        raise
    except Exception as error:
        raise VesaliusError(
            given=f"{type(task).__name__}.open() raised {type(error).__name__}: {error}",
            expected="a task that opens in every worker",
            fix="call open() once by hand to see where it fails",
        ) from error


def run_shard(worker: Worker, shard: Shard) -> bytes:
    """Do every item of a shard and return its Parquet file; a failing item is noted in it.

    Raises:
        VesaliusError: two items gave values of one column that no column can hold together.
    """
    tables: list[pa.Table] = []
    skipped: list[Skipped] = []
    pairs = zip(shard.items, shard.seeds, strict=True)
    for index, (item, seed) in enumerate(pairs, start=shard.first):
        try:
            rows = worker(item, seed=seed)
            tables.append(_table(_listed(rows), index))
        except Exception as error:
            skipped.append(_skip(index, error))
    return pack(join(tables or [_table([], 0)]), skipped)


def lost_shard(shard: Shard, reason: str) -> bytes:
    """Make the file of a shard that no worker survived: all of its items are skipped."""
    items = range(shard.first, shard.first + len(shard.items))
    lost = [Skipped(item=index, error="WorkerDied", reason=reason) for index in items]
    return pack(_table([], 0), lost)


def _skip(index: int, error: Exception) -> Skipped:
    return Skipped(item=index, error=type(error).__name__, reason=str(error) or repr(error))


def pack(table: "pa.Table", skipped: Sequence[Skipped]) -> bytes:
    """Write rows and skipped items into one Parquet file in memory."""
    from pyarrow import parquet

    text = json.dumps([vars(entry) for entry in skipped])
    buffer = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({_SKIPPED: text.encode()}), buffer)
    return buffer.getvalue()


def unpack(schema: "pa.Schema") -> list[Skipped]:
    """Read the skipped items from the schema of a shard's file."""
    text = cast("dict[bytes, bytes]", schema.metadata or {}).get(_SKIPPED, b"[]")
    return [Skipped(**entry) for entry in json.loads(text)]


def join(tables: "Sequence[pa.Table]") -> "pa.Table":
    """Stack tables: columns in order of appearance, missing cells empty, integers as floats.

    Raises:
        VesaliusError: a column that holds, say, text in one table and numbers in another.
    """
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except (pa.ArrowException, ValueError) as error:
        raise mixed_column(error) from error


def mixed_column(error: Exception) -> VesaliusError:
    """Make the error that tells of two items that do not fit into one table."""
    return VesaliusError(
        given=f"rows that fit into no table: {error}",
        expected="values of one type in each column, the same for all items",
        fix="let the worker return the same columns, of the same types, for every item",
    )


def _table(rows: Sequence[Any], index: int) -> "pa.Table":
    """Turn the rows of one item into a table."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in _checked(row)))
    columns: dict[str, Any] = {ITEM: pa.array([index] * len(rows), pa.int64())}
    columns |= {name: _column([row.get(name) for row in rows], name) for name in names}
    return pa.table(columns)


def _listed(rows: object) -> Sequence[Any]:
    return cast("Sequence[Any]", rows) if isinstance(rows, list | tuple) else [rows]


def _checked(row: object) -> Row:
    if not isinstance(row, Mapping) or not all(isinstance(name, str) for name in row):
        raise VesaliusError(
            given=f"a row of type {type(row).__name__}",
            expected="a mapping from column names to values",
            fix="return a dict, or a list of dicts, from the worker",
        )
    if ITEM in row:
        raise VesaliusError(
            given=f"a column named {ITEM!r}",
            expected=f"another name: {ITEM!r} holds the item's index",
            fix="rename the column",
        )
    return cast("Row", row)


def _column(values: list[Any], name: str) -> "pa.Array":
    """Make a column; arrays become nested lists that keep the type of their numbers."""
    import pyarrow as pa

    for value in values:
        _check_cell(value, name)
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if not arrays:
        return pa.array([_python(value) for value in values])
    if len({array.ndim for array in arrays}) > 1:
        raise mixed_column(ValueError(f"arrays of different rank in column {name!r}"))
    kind: pa.DataType = pa.from_numpy_dtype(np.result_type(*arrays))
    for _ in range(arrays[0].ndim):
        kind = pa.list_(kind)
    return pa.array([_python(value) for value in values], type=kind)


def _python(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_python(part) for part in value] if isinstance(value, list | tuple) else value


def _check_cell(value: Any, name: str) -> None:
    if isinstance(value, list | tuple):
        for part in cast("Sequence[Any]", value):
            _check_cell(part, name)
        return
    plain = value is None or isinstance(value, bool | int | float | str)
    if not plain and not (
        isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf"
    ):
        raise VesaliusError(
            given=f"{type(value).__name__} in column {name!r}",
            expected="None, text, a number, or a list or numpy array of numbers",
            fix="convert it first, for instance a tensor with tensor.numpy(force=True)",
        )
