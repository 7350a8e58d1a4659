"""The log of a run: one JSON object per line, cut back to the checkpoint on resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesalius.core.errors import VesaliusError

NAME = "log.jsonl"


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to the log in `folder`.

    Source: this project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of the log in `folder`; a last line that a kill cut short is left out.

    Raises: VesaliusError for any other line that is not JSON.

    Source: this project.
    """
    path = folder / NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            if number + 1 < len(lines):
                raise VesaliusError(
                    given=f"{path}, line {number + 1}: {line[:60]!r}",
                    expected="one JSON object per line",
                    fix="delete that line, or choose another output folder",
                ) from error
    return entries


def cut_log(folder: Path, *, step: int) -> None:
    """Drop the lines of steps after `step`: they are about to be run again.

    Source: this project.
    """
    kept = [entry for entry in read_log(folder) if entry["step"] <= step]
    path = folder / NAME
    if path.exists():
        new = path.with_suffix(".new")
        new.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
        new.replace(path)
