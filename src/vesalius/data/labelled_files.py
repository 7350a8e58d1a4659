"""Read a table of rows from parquet, CSV, TSV or JSON lines, as columns of plain values.

Source: RFC 4180 (CSV); jsonlines.org.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, cast

from vesalius.core.errors import VesaliusError

Columns: TypeAlias = dict[str, list[Any]]  # column -> its values, all equally many

SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".jsonl")


def read_columns(path: Path) -> Columns:
    """Read a file by its suffix: ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl``.

    CSV and TSV have a line of column names; every value of theirs is text.

    Raises:
        VesaliusError: no such file, another suffix, a file that is empty, damaged or not UTF-8
            (with the line number), or a row of another length than the head.
    """
    if path.suffix not in SUFFIXES:
        raise VesaliusError(
            given=f"data file {str(path)!r}",
            expected=f"a file that ends in {', '.join(SUFFIXES)}",
            fix="convert it, for instance to .jsonl: one JSON object per line",
        )
    if not path.is_file():
        raise VesaliusError(
            given=f"data file {str(path)!r}, which does not exist",
            expected="a file with labelled texts",
            fix="check its name",
        )
    if path.suffix == ".parquet":
        return _parquet(path)
    text = _utf8(path)
    if not text.strip():
        _refuse_empty(path)
    return _json_lines(text, path) if path.suffix == ".jsonl" else _separated(text, path)


def _parquet(path: Path) -> Columns:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            table = parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise VesaliusError(
            given=f"{str(path)!r}: {str(error).splitlines()[0][:160]}",
            expected="a complete parquet file",
            fix="copy or write the file again",
        ) from error
    if table.num_rows == 0:
        _refuse_empty(path)
    return {str(name): table.column(name).to_pylist() for name in table.column_names}


def _utf8(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")  # a mark of byte order, as spreadsheets write it
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise VesaliusError(
            given=f"{str(path)!r}, line {line}: byte {content[error.start]:#04x} is not UTF-8",
            expected="a text file in UTF-8",
            fix="convert it, for instance with iconv -f latin1 -t utf-8",
        ) from error


def _separated(text: str, path: Path) -> Columns:
    tabs = path.suffix == ".tsv"
    # a quote in a TSV is a sign like any other: GLUE's files have single ones
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=not tabs,
    )
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        _refuse_line(path, reader.line_num, str(error))
    head = rows[0]
    if len(set(head)) != len(head):
        _refuse_line(path, lines[0], "two columns of one name")
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(head):
            _refuse_line(path, line, f"{len(row)} fields, the head has {len(head)}")
    if len(rows) == 1:
        _refuse_empty(path)
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(head)}


def _json_lines(text: str, path: Path) -> Columns:
    rows: list[Mapping[str, Any]] = []
    # not splitlines: JSON may hold U+2028, which Python counts as the end of a line
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            _refuse_line(path, number, str(error))
        if not isinstance(row, dict):
            _refuse_line(path, number, f"{type(row).__name__}, no object")
        rows.append(cast("Mapping[str, Any]", row))
        if rows[0].keys() != row.keys():
            _refuse_line(path, number, f"keys {sorted(row)}, the first row has {sorted(rows[0])}")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _refuse_line(path: Path, line: int, what: str) -> NoReturn:
    raise VesaliusError(
        given=f"{str(path)!r}, line {line}: {what}",
        expected="rows that all have the same named columns",
        fix="mend that line",
    )


def _refuse_empty(path: Path) -> NoReturn:
    raise VesaliusError(
        given=f"{str(path)!r}, which has no rows",
        expected="at least a few labelled texts",
        fix="give another file",
    )
