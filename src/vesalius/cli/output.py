"""Data on stdout: tables for people, JSON for programs.

Source: the design of this project, docs/decisions.md.
"""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, cast

_PIPE_WIDTH = 200  # columns of a table that no terminal cuts


def emit(text: str) -> None:
    """Print data; when the reader of a pipe has seen enough, say nothing more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; JSON has no NaN, so a number that is not finite is null."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=1, default=str, allow_nan=False)
    emit(text)


def _finite(value: object) -> object:
    """Put None for numbers that JSON cannot say, however deep they stand."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {name: _finite(each) for name, each in items}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in cast("Sequence[object]", value)]
    return value


def emit_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Print a table, its numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=Text(title) if title else None)
    table.title_justify, table.title_style = "left", "bold"
    for number, column in enumerate(columns):
        numeric = all(isinstance(row[number], int | float) for row in rows)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    paper = StringIO()
    terminal = sys.stdout.isatty()
    Console(
        file=paper,
        width=None if terminal else _PIPE_WIDTH,
        force_terminal=terminal,
        no_color="NO_COLOR" in os.environ,
    ).print(table)
    emit("\n".join(line.rstrip() for line in paper.getvalue().splitlines()))


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
