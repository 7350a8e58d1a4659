"""Rows of a file of records with the place of each: JSON, JSON lines, TSV, CSV or parquet.

Source: RFC 4180 (CSV); RFC 8259 (JSON); jsonlines.org.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, cast, final

from vesalius.core.errors import VesaliusError

SUFFIXES: Final = (".jsonl", ".tsv", ".csv", ".json", ".parquet")


@final
@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of a file: ``place`` is what a user needs to find it, ``values`` its columns."""

    place: str
    values: Mapping[str, Any]

    def text(self, *names: str) -> str:
        """Return the text of a column, by the first of its names that the row has.

        Raises:
            VesaliusError: the row has none of them, or no text there.
        """
        value = self.optional_text(*names)
        if not value:
            self.refuse(names, "a text", fix="complete the row")
        return value

    def optional_text(self, *names: str) -> str:
        """Return the text of a column; empty where the row has none.

        Raises:
            VesaliusError: something that is no text.
        """
        value = next((self.values[n] for n in names if self.values.get(n) is not None), "")
        if not isinstance(value, str):
            self.refuse(names, "a text", fix="write it between quotes")
        return value.strip()

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of a column that holds a list; none where the row has no such column.

        Raises:
            VesaliusError: no list, or one with something else than texts in it.
        """
        listed = self._listed(name)
        if listed is None or not all(isinstance(text, str) and text.strip() for text in listed):
            self.refuse((name,), "a list of texts", fix='write ["...", "..."]')
        return tuple(text.strip() for text in listed)

    def part(self, name: str) -> "Record":
        """Return an object inside the row as a record of its own.

        Raises:
            VesaliusError: no object of that name.
        """
        value = self.values.get(name)
        if not isinstance(value, dict):
            self.refuse((name,), "an object", fix="write {...}")
        return Record(place=f"{self.place}, {name}", values=cast("dict[str, Any]", value))

    def parts(self, name: str) -> "tuple[Record, ...]":
        """Return the objects of a list inside the row; none where the row has no such column.

        Raises:
            VesaliusError: no list of objects.
        """
        listed = self._listed(name)
        if listed is None or not all(isinstance(part, dict) for part in listed):
            self.refuse((name,), "a list of objects", fix="write [{...}, {...}]")
        return tuple(
            Record(place=f"{self.place}, {name} {number}", values=part)
            for number, part in enumerate(listed, start=1)
        )

    def refuse(self, names: tuple[str, ...], expected: str, *, fix: str) -> NoReturn:
        """Raise the error that names row and column, and shows what stands there.

        Raises:
            VesaliusError: always.
        """
        name = next((name for name in names if name in self.values), names[0])
        raise VesaliusError(
            given=f"{self.place}, column {name}: {self._shown(name)}", expected=expected, fix=fix
        )

    def _listed(self, name: str) -> "list[Any] | None":
        """The list in a column, empty where the row has no such column; None for anything else."""
        value = self.values.get(name)
        if value is None:
            return []
        return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else None

    def _shown(self, name: str) -> str:
        if name in self.values:
            return repr(self.values[name])[:80]
        return f"not there; the row has {', '.join(map(str, self.values)) or 'no columns'}"[:160]


def read_records(path: Path) -> list[Record]:
    """Read all rows of a file; every one is a mapping, and there is at least one.

    JSON holds a list of objects, JSON lines one object per line; the other kinds have column names.

    Raises:
        VesaliusError: no file, another kind, not UTF-8, broken, or without rows; the error names
            the row.
    """
    if not path.is_file():
        raise VesaliusError(
            given=str(path), expected="a file of facts", fix="check the path and its spelling"
        )
    if path.suffix not in SUFFIXES:
        raise VesaliusError(
            given=str(path),
            expected=f"a folder, or a name that ends in {', '.join(SUFFIXES)}",
            fix='write one {"relation": ..., "subject": ..., "answer": ...} per line to a .jsonl',
        )
    readers = {".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}
    records = list(readers.get(path.suffix, _separated)(path))
    if not records:
        raise VesaliusError(
            given=f"{path}: no facts", expected="at least one row", fix="add a row per fact"
        )
    return records


def _utf8(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")  # a mark of byte order, as spreadsheets write it
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise VesaliusError(
            given=f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8",
            expected="UTF-8 text",
            fix="save the file as UTF-8, for instance with iconv -f latin1 -t utf-8",
        ) from error


def _json_lines(path: Path) -> Iterator[Record]:
    # not splitlines: JSON may hold U+2028, which Python counts as the end of a line
    for number, line in enumerate(_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise VesaliusError(
                given=f"{place}: {getattr(error, 'msg', error)}: {line[:80]!r}",
                expected="one JSON object",
                fix='write {"relation": "P36", "subject": "Peru", "answer": "Lima"}',
            ) from error
        yield _record(row, place)


def _json(path: Path) -> Iterator[Record]:
    text = _utf8(path)
    try:
        rows = json.loads(text) if text.strip() else []
    except ValueError as error:
        raise VesaliusError(
            given=f"{path}: {error}",
            expected="a list of JSON objects",
            fix="mend that line, or write the file again",
        ) from error
    if not isinstance(rows, list):
        raise VesaliusError(
            given=f"{path}: {type(rows).__name__}, no list",
            expected="a list of JSON objects",
            fix="write [{...}, {...}], or one object per line to a .jsonl",
        )
    for number, row in enumerate(cast("list[Any]", rows), start=1):
        yield _record(row, f"{path}, record {number}")


def _record(row: object, place: str) -> Record:
    if not isinstance(row, dict):
        raise VesaliusError(
            given=f"{place}: {type(row).__name__}, no object: {str(row)[:80]!r}",
            expected="one JSON object",
            fix='write {"relation": "P36", "subject": "Peru", "answer": "Lima"}',
        )
    return Record(place=place, values=cast("dict[str, Any]", row))


def _separated(path: Path) -> Iterator[Record]:
    tabs = path.suffix == ".tsv"
    # a quote in a TSV is a sign like any other
    reader = csv.reader(
        io.StringIO(_utf8(path), newline=""),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=not tabs,
    )
    head: list[str] = []
    try:
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if not head:
                head = [name.strip() for name in row]
                if len(set(head)) != len(head):
                    _refuse_line(place, "two columns of one name")
                continue
            if len(row) > len(head):
                _refuse_line(place, f"{len(row)} fields, the first row names {len(head)}")
            values = dict(zip(head[: len(row)], row, strict=True))
            yield Record(place=place, values=values)
    except csv.Error as error:
        _refuse_line(f"{path}, line {reader.line_num}", str(error))


def _refuse_line(place: str, what: str) -> NoReturn:
    raise VesaliusError(
        given=f"{place}: {what}",
        expected="a first row that names the columns, and rows with as many fields",
        fix="mend that line",
    )


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            rows = parquet.read_table(file).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise VesaliusError(
            given=f"{path}: {str(error).splitlines()[0][:160]}",
            expected="a complete parquet file",
            fix="copy or write the file again",
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Record(place=f"{path}, row {number}", values=row)
