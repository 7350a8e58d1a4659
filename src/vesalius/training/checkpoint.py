"""Checkpoints in safetensors and JSON, written under a temporary name and renamed."""

import json
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.training.optimizers import load_optimizer_tensors, optimizer_tensors
from vesalius.training.processes import Processes
from vesalius.training.random_state import capture_random_state, restore_random_state

NAME: Final = "checkpoint"


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: dict[str, Any],
    processes: Processes | None = None,
) -> None:
    """Write model, optimisers, every process's random state and `state` to `folder`/checkpoint.

    The former checkpoint stays until the new one is whole: after a kill at any moment one of
    the two can be loaded.

    Raises: VesaliusError when the disk is full or not to be written to; the former checkpoint
    is intact.

    Source: this project.
    """
    here = processes or Processes()
    new, old, target = folder / f"{NAME}.new", folder / f"{NAME}.old", folder / NAME
    try:
        if here.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in (new, old):
                if leftover.exists() and (leftover == new or target.exists()):
                    shutil.rmtree(leftover)
            new.mkdir()
        here.wait()
        save_file(capture_random_state(), new / f"random-{here.rank}.safetensors")
        tensors = optimizer_tensors(optimizers)
        here.wait()
        if here.is_main:
            _write(new, model=model, tensors=tensors, state=state)
            if target.exists():
                target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        here.wait()
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        kept = target.exists() or old.exists()
        raise VesaliusError(
            given=f"a checkpoint that could not be written to {folder} ({error})",
            expected="room on the disk and the right to write there",
            fix="make room, then repeat the command; "
            + ("it goes on from the former checkpoint" if kept else "there is no earlier one"),
        ) from error


def _write(
    new: Path,
    *,
    model: nn.Module,
    tensors: Mapping[str, Shaped[Tensor, "..."]],
    state: dict[str, Any],
) -> None:
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    weights |= {f"buffer/{name}": b.contiguous() for name, b in model.named_buffers()}
    save_file(weights, new / "model.safetensors")
    save_file({name: t.contiguous() for name, t in tensors.items()}, new / "optimizer.safetensors")
    (new / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in new.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return the `state` of the checkpoint in `folder`, None when there is no checkpoint.

    Raises: VesaliusError when what is called a checkpoint there cannot be read.

    Source: this project.
    """
    found = _found(folder)
    if found is None:
        return None
    with _readable(found):
        return json.loads((found / "state.json").read_text(encoding="utf-8"))


def load_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer] = (),
    processes: Processes | None = None,
) -> dict[str, Any] | None:
    """Fill the model and return the saved `state`; None when there is no checkpoint.

    With `optimizers` they and this process's random state are put back too.

    Raises: VesaliusError when it belongs to another model, or when it cannot be read.

    Source: this project.
    """
    found = _found(folder)
    if found is None:
        return None
    with _readable(found):
        weights = load_file(found / "model.safetensors")
    targets = dict(model.named_parameters())
    targets |= {f"buffer/{name}": buffer for name, buffer in model.named_buffers()}
    shapes = {name: tuple(tensor.shape) for name, tensor in targets.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in weights.items()}:
        raise VesaliusError(
            given=f"{found}: weights of another model",
            expected="a checkpoint of the model that is to be trained",
            fix="choose another output folder, or give back the former options",
        )
    with torch.no_grad():
        for name, tensor in targets.items():
            tensor.copy_(weights[name])
    if optimizers:
        rank = (processes or Processes()).rank
        with _readable(found):
            tensors = load_file(found / "optimizer.safetensors")
            random = load_file(found / f"random-{rank}.safetensors")
        load_optimizer_tensors(optimizers, tensors=tensors)
        restore_random_state(random)
    return read_state(folder)


@contextmanager
def _readable(found: Path) -> Generator[None, None, None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise VesaliusError(
            given=f"{found}, which cannot be read ({type(error).__name__}: {error})",
            expected="a whole checkpoint, as training writes it",
            fix="copy the folder again, or train anew in another output folder",
        ) from error


def _found(folder: Path) -> Path | None:
    for path in (folder / NAME, folder / f"{NAME}.old"):
        if path.exists():
            return path
    return None
