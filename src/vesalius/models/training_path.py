"""Where the training of a model began and which way it went, as far as its place tells.

A bundled model may carry its training; a checkpoint that `vesalius finetune` or a Recorder wrote
has its predecessors beside it.

Source: the folders of vesalius finetune, of Recorder and of the transformers Trainer.
"""

import filecmp
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vesalius.core.errors import VesaliusError
from vesalius.models import zoo
from vesalius.models.recorder import checkpoints_in

Point = tuple[int, "Path | Mapping[str, Any]"]  # a step and its weights, or where they are
_WEIGHTS: Final = "model.safetensors"
_SNAPSHOTS: Final = "snapshots"


def checkpoints_of(source: str | Path) -> Iterable[Point]:
    """Find the checkpoints of a training: ``(step, weights)``, the earliest first; no shapes.

    Those of a bundled model are made while they are iterated over, as often as one likes.

    Args:
        source: a model that is bundled with its training, a folder of checkpoints (see
            ``checkpoints_in``), ``model`` or ``seed-0/model`` of a `vesalius finetune` run with
            snapshots, or one checkpoint among others, at which the path then ends.

    Raises:
        VesaliusError: nothing of the training is there.
    """
    if str(source) in zoo.names() and not Path(source).is_dir():
        return zoo.trajectory(str(source))
    for folder, last in _places(Path(source)):
        try:
            found = checkpoints_in(folder)
        except VesaliusError:
            continue
        return [(step, place) for step, place in found if last is None or step <= last]
    raise VesaliusError(
        given=f"{_shown(source)}: no checkpoints of its training in it or beside it",
        expected="a folder of checkpoints, or a model that is bundled with its training",
        fix="name the folder that holds step-* or checkpoint-* (--checkpoints), such as seed-0 of "
        "vesalius finetune --snapshots 20",
    )


def start_of(source: str | Path) -> "Path | Mapping[str, Any]":
    """Find the weights that a model's training began with: step 0 of its checkpoints.

    Raises:
        VesaliusError: they are not there.
    """
    try:
        step, weights = next(iter(checkpoints_of(source)))
    except VesaliusError as error:
        raise _unknown(source, "no checkpoints of its training beside it") from error
    if step != 0:
        raise _unknown(source, f"the first checkpoint beside it is that of step {step}")
    return weights


def _unknown(source: str | Path, reason: str) -> VesaliusError:
    return VesaliusError(
        given=f"{_shown(source)} without its start: {reason}",
        expected="the weights that its training began with",
        fix="name them (--start): the pretrained model, such as mini-bert, or step-000000",
    )


def _places(path: Path) -> Iterator[tuple[Path, int | None]]:
    """Folders that may hold the training, and its last step where that is known."""
    yield path, None
    if not (path / _WEIGHTS).is_file():
        return
    place = path.resolve()
    name, _, step = place.name.partition("-")
    if name in ("step", "checkpoint") and step.isdecimal():
        yield place.parent, int(step)
    for seed in (place.parent, *sorted(place.parent.glob("seed-*"))):
        # several seeds may be there, and only one of them ended in these weights
        if (seed / _SNAPSHOTS).is_dir() and _is_same(seed / "model", place):
            yield seed, None


def _is_same(one: Path, other: Path) -> bool:
    mine, yours = one / _WEIGHTS, other / _WEIGHTS
    return mine.is_file() and filecmp.cmp(mine, yours, shallow=False)


def _shown(source: str | Path) -> str:
    path = Path(source)
    return path.name if path.is_absolute() else str(source)
