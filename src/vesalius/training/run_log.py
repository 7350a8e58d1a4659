"""The log of a run: one JSON object per line, cut back to the checkpoint on resume."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vesalius.core.errors import VesaliusError

NAME = "log.jsonl"


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to the log in `folder`.

    Raises: VesaliusError when it cannot be written.

    Source: this project.
    """
    with _writable(folder), (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of the log in `folder`; a last line that a kill cut short is left out.

    Raises: VesaliusError for any other line that is not an object with a step.

    Source: this project.
    """
    path = folder / NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            float(entry["step"])
            entries.append(entry)
        except (ValueError, TypeError, KeyError) as error:
            # of a line of ours that was cut short none is whole JSON
            if number + 1 < len(lines) or not isinstance(error, ValueError):
                raise VesaliusError(
                    given=f"{path}, line {number + 1}: {line[:60]!r}",
                    expected='one JSON object per line, with a "step"',
                    fix="delete that line, or choose another output folder",
                ) from error
    return entries


def cut_log(folder: Path, *, step: int) -> None:
    """Drop the lines of steps after `step`, which are about to be run again; make the folder.

    Raises: VesaliusError when the folder cannot be made or written, or when its log is not ours.

    Source: this project.
    """
    entries = read_log(folder)
    path = folder / NAME
    with _writable(folder):
        if path.exists():
            kept = [entry for entry in entries if entry["step"] <= step]
            new = path.with_suffix(".new")
            new.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
            new.replace(path)


@contextmanager
def _writable(folder: Path) -> Generator[None, None, None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise VesaliusError(
            given=f"output folder {str(folder)!r}: {error.strerror or error}",
            expected="a folder with free space that can be written",
            fix="free some space and repeat the command, or choose another output folder",
        ) from error
