"""The log of a run: one JSON object per line, cut back to the checkpoint on resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "log.jsonl"


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to the log in `folder`.

    Source: this project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of the log in `folder`; a line that a kill cut short is left out.

    Source: this project.
    """
    path = folder / NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


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
