"""The bundled models: their names, folders and cards. Imports nothing heavy."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from vesalius.core.errors import VesaliusError

_FOLDER = "zoo_files"


def names() -> list[str]:
    """Return the names of the bundled models, sorted.

    Source: this project.

    >>> "mini-bert" in names()
    True
    """
    return sorted(entry.name for entry in _root().iterdir() if (entry / "card.json").is_file())


def path(name: str) -> Path:
    """Return the folder of a bundled model, an ordinary Hugging Face checkpoint.

    Raises: VesaliusError for an unknown name, with the known ones.

    Source: this project.
    """
    known = names()
    if name not in known:
        raise VesaliusError(
            given=f"bundled model {name!r}",
            expected=f"one of {', '.join(known)}",
            fix=f"use {known[0]!r}" if known else "install the package again: it has no models",
        )
    return _root() / name


def card(name: str) -> dict[str, Any]:
    """Return the card of a bundled model: corpus, licence, command, seed, metrics, limits.

    Raises: VesaliusError for an unknown name.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    return json.loads((path(name) / "card.json").read_text(encoding="utf-8"))


@cache
def _root() -> Path:
    return Path(str(files("vesalius"))) / _FOLDER
