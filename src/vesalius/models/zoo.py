"""The bundled models: their names, folders and cards. Imports nothing heavy."""

import hashlib
import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.models.compact import Trajectory

_FOLDER = "zoo_files"
_WEIGHTS, _COMPACT = "model.safetensors", "trajectory.safetensors"


def names() -> list[str]:
    """Return the names of the bundled models, sorted.

    Source: this project.

    >>> "mini-bert" in names()
    True
    """
    return sorted(entry.name for entry in _root().iterdir() if (entry / "card.json").is_file())


def path(name: str) -> Path:
    """Return the folder of a bundled model, an ordinary Hugging Face checkpoint.

    A model that is bundled as the path of its training is written out once, into the folder
    that VESALIUS_CACHE names, else into vesalius/ of XDG_CACHE_HOME or of ~/.cache.

    Raises: VesaliusError for an unknown name, with the known ones, or a cache that cannot be
    written.

    Source: this project.
    """
    folder = stored(name)
    return folder if (folder / _WEIGHTS).is_file() else _written_out(name, folder)


def stored(name: str) -> Path:
    """Return the folder of a bundled model as it is bundled: with card, log and curves.

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


def trajectory(name: str) -> "Trajectory":
    """Return the weights along a bundled model's fine-tuning: iterate for ``(step, state_dict)``.

    The first point is the model it started from, with a new head; the last is `path(name)`.

    Raises: VesaliusError for an unknown name, or a model bundled without its training.

    Source: this project, models/compact.py.
    """
    from vesalius.models.compact import read_trajectory

    folder = stored(name)
    if not (folder / _COMPACT).is_file():
        known = [other for other in names() if (stored(other) / _COMPACT).is_file()]
        raise VesaliusError(
            given=f"the training of bundled model {name!r}",
            expected=f"a model bundled with its training: {', '.join(known) or 'none is'}",
            fix="keep your own with vesalius finetune --snapshots 20",
        )
    base = stored(card(name)["base"]) / _WEIGHTS
    return read_trajectory(folder / _COMPACT, base=base, base_hash=_hash(base))


def _written_out(name: str, folder: Path) -> Path:
    """Write a compact model to the cache, under the hash of all that decides its bytes."""
    base = stored(card(name)["base"])
    sources = (folder / _COMPACT, folder / "config.json", base / _WEIGHTS)
    key = hashlib.sha256("".join(map(_hash, sources)).encode()).hexdigest()[:16]
    target = _cache() / "zoo" / f"{name}-{key}"
    if not _is_whole(target):
        from vesalius.models.compact import materialise

        materialise(trajectory(name), target, config=folder / "config.json", base=base)
    return target


def _is_whole(folder: Path) -> bool:
    """Look whether the weights are those that were written, whoever touched the cache since."""
    note, weights = folder / "sha256", folder / _WEIGHTS
    return (
        note.is_file()
        and weights.is_file()
        and note.read_text(encoding="utf-8").strip() == _hash(weights)
    )


def _cache() -> Path:
    own, shared = os.environ.get("VESALIUS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(shared or Path.home() / ".cache") / "vesalius"


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def card(name: str) -> dict[str, Any]:
    """Return the card of a bundled model: corpus, licence, command, seed, metrics, limits.

    Raises: VesaliusError for an unknown name.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    return json.loads((stored(name) / "card.json").read_text(encoding="utf-8"))


@cache
def _root() -> Path:
    return Path(str(files("vesalius"))) / _FOLDER
