"""Checkpoints in safetensors and JSON, written under a temporary name and renamed."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.training.optimizers import load_optimizer_tensors, optimizer_tensors

NAME = "checkpoint"


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: dict[str, Any],
) -> None:
    """Write model, optimisers, torch's random state and `state` to `folder`/checkpoint.

    The former checkpoint stays until the new one is whole: after a kill at any moment one of
    the two can be loaded.

    Source: this project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new, old, target = folder / f"{NAME}.new", folder / f"{NAME}.old", folder / NAME
    for leftover in (new, old):
        if leftover.exists() and (leftover == new or target.exists()):
            shutil.rmtree(leftover)
    new.mkdir()
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    weights |= {f"buffer/{name}": b.contiguous() for name, b in model.named_buffers()}
    save_file(weights, new / "model.safetensors")
    tensors = {name: t.contiguous() for name, t in optimizer_tensors(optimizers).items()}
    save_file(tensors | {"random": torch.get_rng_state()}, new / "optimizer.safetensors")
    (new / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in new.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if target.exists():
        target.rename(old)
    new.rename(target)
    if old.exists():
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, Any] | None:
    """Fill model, optimisers and torch's random state, and return the saved `state`.

    None when there is no checkpoint.

    Raises: VesaliusError when it belongs to another model.

    Source: this project.
    """
    found = [path for path in (folder / NAME, folder / f"{NAME}.old") if path.exists()]
    if not found:
        return None
    weights = load_file(found[0] / "model.safetensors")
    targets = dict(model.named_parameters())
    targets |= {f"buffer/{name}": buffer for name, buffer in model.named_buffers()}
    shapes = {name: tuple(tensor.shape) for name, tensor in targets.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in weights.items()}:
        raise VesaliusError(
            given=f"{found[0]}: weights of another model",
            expected="a checkpoint of the model that is to be trained",
            fix="choose another output folder, or give back the former options",
        )
    with torch.no_grad():
        for name, tensor in targets.items():
            tensor.copy_(weights[name])
    tensors = load_file(found[0] / "optimizer.safetensors")
    torch.set_rng_state(tensors.pop("random"))
    load_optimizer_tensors(optimizers, tensors=tensors)
    return json.loads((found[0] / "state.json").read_text(encoding="utf-8"))
