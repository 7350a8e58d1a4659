"""Texts out of files and hub data sets, one document at a time: nothing is read as a whole.

Source: this project.
"""

import codecs
import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

from vesalius.core.errors import VesaliusError

GUESSED_COLUMNS: Final = ("text", "texts")  # the second of lists: each text is a document
SPLIT_COLUMN: Final = "split"
_HUB_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_CHUNK_BYTES: Final = 1 << 20
_LONGEST_FIELD: Final = 1 << 30

Boundary = Literal["blank-line", "line", "file"]


@final
@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where in a source its documents stand.

    `column` of a table, "" for `text`, `texts` (of lists) or the only one of text; `split`: rows
    of a table whose column `split` says so, or that part of a hub data set, "" for all rows and
    the part "train"; `boundary` between the documents of a .txt file: a blank line, the end of a
    line, or the end of the file.

    Source: this project.
    """

    column: str = ""
    split: str = ""
    boundary: Boundary = "blank-line"


@final
@dataclass(frozen=True, kw_only=True)
class TextSource:
    """A file or a hub data set: its name, what is read of it, and what pins its contents.

    `pin` is the SHA-256 of a file, the commit of a data set; `num_bytes` is 0 for the latter.

    Source: this project.
    """

    name: str
    kind: str
    pin: str
    num_bytes: int


def find_sources(names: Sequence[str | Path]) -> list[TextSource]:
    """Return the files and data sets that the names mean, in order; a folder gives its files.

    The files of a folder are all of a known kind in it and below it, sorted.

    Raises:
        VesaliusError: no name, a file that is missing, empty or of an unknown kind, a folder
            without a known file, a source named twice, or a data set that cannot be reached.
    """
    paths: list[TextSource] = []
    if isinstance(names, str) or "" in names:  # the letters of a name, and this very folder
        raise VesaliusError(
            given=f"sources {names!r}",
            expected="a list of names, none of them empty",
            fix="pass ['texts.txt', 'folder']",
        )
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file()
            )
            if not inside:
                raise _unknown(f"folder {str(path)!r} without such a file")
            paths += map(_file_source, inside)
        elif path.is_file():
            paths.append(_file_source(path))
        elif path.suffix.lower() not in READERS and _HUB_NAME.fullmatch(str(name)):
            paths.append(_hub_source(str(name)))
        else:
            raise VesaliusError(
                given=f"source {str(name)!r}, which does not exist",
                expected="a file, a folder, or the name of a data set on the hub",
                fix="look at the path again",
            )
    known = Counter(s.name if s.kind == "hub" else str(Path(s.name).resolve()) for s in paths)
    twice = sorted(name for name, count in known.items() if count > 1)
    if twice or not paths:
        raise VesaliusError(
            given=f"source {twice[0]!r} twice" if twice else "no source",
            expected="at least one source, each once",
            fix="name every file, folder or data set once",
        )
    return paths


def read_documents(source: TextSource, *, options: SourceOptions) -> Iterator[str]:
    """Yield the documents of a source in order, empty ones too, with little in memory.

    Raises:
        VesaliusError: the file is not UTF-8 or not what its ending says (with the line), the
            column or the split is not there, there is no document, or `boundary` is another word.
    """
    if options.boundary not in get_args(Boundary):
        raise VesaliusError(
            given=f"boundary={options.boundary!r}",
            expected=f"one of {', '.join(get_args(Boundary))}",
            fix="leave it out for the first of them",
        )
    reader = _read_hub if source.kind == "hub" else READERS[source.kind]
    number = -1
    try:
        for number, text in enumerate(reader(source, options)):  # noqa: B007
            text.encode()  # JSON can write halves of characters, which no encoding knows
            yield text
    except UnicodeError as error:
        raise VesaliusError(
            given=f"{source.name!r}, document {number + 1}: {error}",
            expected="text in UTF-8",
            fix="mend or remove that document",
        ) from error
    except OSError as error:
        raise _unreadable(source.name, error) from error
    if number < 0:
        split = f" with split {options.split!r}" if options.split else ""
        raise VesaliusError(
            given=f"{source.name!r}, which has no document{split}",
            expected="at least one",
            fix="leave it out, or look at --split" if split else "leave it out",
        )


def _file_source(path: Path) -> TextSource:
    if path.suffix.lower() not in READERS:
        raise _unknown(f"file {str(path)!r}")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise _unreadable(str(path), error) from error
    size = path.stat().st_size
    if not size:
        raise VesaliusError(
            given=f"empty file {str(path)!r}",
            expected="a file with text in it",
            fix="leave it out, or make it again",
        )
    return TextSource(
        name=str(path), kind=path.suffix.lower(), pin=digest.hexdigest(), num_bytes=size
    )


def _unknown(what: str) -> VesaliusError:
    return VesaliusError(
        given=what,
        expected=f"one of {', '.join(READERS)}",
        fix="unpack it, or write its texts as JSON lines with a key `text`",
    )


def _unreadable(name: str, error: Exception) -> VesaliusError:
    return VesaliusError(
        given=f"{name!r}: {type(error).__name__}: {error}",
        expected="a source that can be read",
        fix="look at the file, its permissions, or the connection",
    )


def _lines(source: TextSource) -> Iterator[str]:
    """Yield the lines without their ends."""
    with Path(source.name).open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield _decode(line, number=number, source=source)


def _decode(line: bytes, *, number: int, source: TextSource) -> str:
    if number == 1:  # the mark that some editors put first
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise VesaliusError(
            given=f"{source.name!r}, line {number}: byte 0x{line[error.start]:02x} at "
            f"column {error.start + 1}",
            expected="text in UTF-8",
            fix=f"convert it: iconv -f latin1 -t utf-8 {Path(source.name).name} > utf8.txt, "
            "with the encoding it really has",
        ) from error


def _read_text(source: TextSource, options: SourceOptions) -> Iterator[str]:
    if options.split or options.column:
        raise VesaliusError(
            given=f"{source.name!r} with a column or a split",
            expected="a table: plain text has neither",
            fix="leave --column and --split out",
        )
    if options.boundary == "line":
        yield from (line for line in _lines(source) if line.strip())
        return
    held: list[str] = []
    for line in _lines(source):
        if line.strip() or options.boundary == "file":
            held.append(line)
        elif held:
            yield "\n".join(held)
            held = []
    if any(line.strip() for line in held):
        yield "\n".join(held)


def _read_json_lines(source: TextSource, options: SourceOptions) -> Iterator[str]:
    def rows() -> Iterator[Mapping[str, Any]]:
        for number, line in enumerate(_lines(source), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise _bad_row(source, number, str(error)) from error
            if not isinstance(row, dict):
                raise _bad_row(source, number, f"a {type(row).__name__}")
            yield row

    return _column_of(rows(), source=source, options=options)


def _read_separated(source: TextSource, options: SourceOptions) -> Iterator[str]:
    def rows() -> Iterator[Mapping[str, Any]]:
        # line ends go back on: a quoted field may go over several lines
        lines = (line + "\n" for line in _lines(source))
        # a quote in a TSV is a sign like any other; in a CSV one that never ends is a mistake
        tabs: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
        commas: dict[str, Any] = {"strict": True}
        table = csv.DictReader(lines, **(tabs if source.kind == ".tsv" else commas))
        try:
            for row in table:
                if None in row or None in row.values():
                    raise _bad_row(
                        source, table.line_num, "another number of fields than the header"
                    )
                yield row
        except csv.Error as error:
            raise _bad_row(source, table.line_num, str(error)) from error

    csv.field_size_limit(_LONGEST_FIELD)  # the module's own is 128 KiB, less than a book
    return _column_of(rows(), source=source, options=options)


def _read_parquet(source: TextSource, options: SourceOptions) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source.name) as file:
            schema = file.schema_arrow
            textual = [
                field.name
                for field in schema
                if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
            ]
            column = _choose_column(source, options, names=schema.names, textual=textual)
            columns = [column, *([SPLIT_COLUMN] if options.split else [])]
            for batch in file.iter_batches(batch_size=256, columns=columns):
                yield from _texts(batch.to_pylist(), column, source=source, options=options)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(source.name, error) from error


def _hub_source(name: str) -> TextSource:
    try:
        from huggingface_hub import HfApi

        commit = HfApi().dataset_info(name).sha
    except Exception as error:  # whatever the network has to say
        raise VesaliusError(
            given=f"source {name!r}: no such file, and the hub: {type(error).__name__}: {error}",
            expected="a file, a folder, or the name of a data set on the hub",
            fix="look at the name, or at the connection",
        ) from error
    return TextSource(name=name, kind="hub", pin=str(commit), num_bytes=0)


def _read_hub(source: TextSource, options: SourceOptions) -> Iterator[str]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise VesaliusError(
            given=f"data set {source.name!r} without the package `datasets`",
            expected="an installation with the extra `train`",
            fix="pip install 'vesalius[train]'",
        ) from error
    try:
        rows: Any = load_dataset(
            source.name, split=options.split or "train", streaming=True, revision=source.pin
        )
    except Exception as error:  # the libraries behind it raise what they like
        raise _unreadable(source.name, error) from error
    whole = SourceOptions(column=options.column, boundary=options.boundary)
    yield from _column_of(iter(rows), source=source, options=whole)


def _column_of(
    rows: Iterator[Mapping[str, Any]], *, source: TextSource, options: SourceOptions
) -> Iterator[str]:
    """Yield the texts of one column, chosen by the first row."""
    first = next(rows, None)
    if first is None:
        return
    textual = [name for name, value in first.items() if isinstance(value, str)]
    column = _choose_column(source, options, names=list(first), textual=textual)
    yield from _texts([first], column, source=source, options=options)
    yield from _texts(rows, column, source=source, options=options)


def _texts(
    rows: Iterable[Mapping[str, Any]], column: str, *, source: TextSource, options: SourceOptions
) -> Iterator[str]:
    for row in rows:
        if options.split and row.get(SPLIT_COLUMN) != options.split:
            continue
        if column not in row:
            raise VesaliusError(
                given=f"{source.name!r}, a row that has {', '.join(row) or 'nothing'}",
                expected=f"the key {column!r} in every row, null where there is no text",
                fix="choose another --column, or mend or remove that row",
            )
        cell = row[column]
        for text in cell if isinstance(cell, list) else [cell]:
            if text is not None and not isinstance(text, str):
                raise VesaliusError(
                    given=f"{source.name!r}, column {column!r} with a {type(text).__name__}",
                    expected="a column of texts, or of lists of texts",
                    fix="choose another --column",
                )
            yield text or ""


def _choose_column(
    source: TextSource, options: SourceOptions, *, names: Sequence[str], textual: Sequence[str]
) -> str:
    if options.split and SPLIT_COLUMN not in names:
        raise _no_column(source, SPLIT_COLUMN, names)
    if options.column:
        if options.column not in names:
            raise _no_column(source, options.column, names)
        return options.column
    for guessed in GUESSED_COLUMNS:
        if guessed in names:
            return guessed
    if len(textual) == 1:
        return textual[0]
    raise _no_column(source, GUESSED_COLUMNS[0], names)


def _no_column(source: TextSource, column: str, names: Sequence[str]) -> VesaliusError:
    return VesaliusError(
        given=f"column {column!r} of {source.name!r}",
        expected=f"one of {', '.join(names)}",
        fix="say which holds the texts: --column NAME"
        if column != SPLIT_COLUMN
        else "leave --split out: the rows name no split",
    )


def _bad_row(source: TextSource, number: int, what: str) -> VesaliusError:
    return VesaliusError(
        given=f"{source.name!r}, line {number}: {what}",
        expected="one JSON object per line" if source.kind == ".jsonl" else "a row of the table",
        fix="mend or remove that line",
    )


READERS: Final[dict[str, Callable[[TextSource, SourceOptions], Iterator[str]]]] = {
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".csv": _read_separated,
    ".tsv": _read_separated,
}
