"""The folder from which every worker of a landscape takes model, frame and examples.

Source: docs/architecture.md (long work); this project.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Axis, Frame
from vesalius.methods.loss_landscape.measures import (
    classification,
    find_metric,
    masked_tokens,
    next_tokens,
)
from vesalius.methods.loss_landscape.splits import Split
from vesalius.models.flat_weights import FlatWeights
from vesalius.models.specimen import Specimen

INPUTS: Final = "inputs"
RESULT: Final = "result"
MODEL: Final = "model"
MARKER: Final = "run.json"
_FRAME, _EXAMPLES = "frame.safetensors", "examples.safetensors"


def write_inputs(
    out: Path, *, specimen: Specimen, examples: Examples, frame: Frame, grid: Mapping[str, Any]
) -> None:
    """Write what workers need into ``out``/inputs, or see that the same is there already.

    Raises:
        VesaliusError: a run with another model, frame, data, grid or version stands there (the
            first that differs is named), something else does, or functions of the user's at hand
            measure the examples, which no other process has.
    """
    run = json.loads(json.dumps(_identity(specimen, examples, frame) | dict(grid)))
    folder = out / INPUTS
    if (folder / MARKER).is_file():
        _compare(out, json.loads((folder / MARKER).read_text(encoding="utf-8")), run)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VesaliusError(
            given=f"output folder {out.name!r}, which holds something else",
            expected="a new folder, or that of the same run",
            fix="choose another output folder",
        )
    _check_portable(specimen, examples)
    with new_folder(folder, marker=MARKER) as partial:
        model: Any = specimen.model
        model.save_pretrained(partial / MODEL)
        if specimen.tokenizer is not None:
            specimen.tokenizer.save_pretrained(partial / MODEL)
        _save(partial / _FRAME, _frame_tensors(frame))
        _save(partial / _EXAMPLES, _example_tensors(examples))
        text = json.dumps({**run, "about": _about(examples, frame)}, indent=1)
        (partial / MARKER).write_text(text + "\n", encoding="utf-8")


def read_inputs(
    folder: Path, *, specimen: Specimen, frame_fingerprint: str, examples_fingerprint: str
) -> tuple[Frame, Examples]:
    """Read frame and examples that :func:`write_inputs` wrote, tensors of the model's shapes.

    Raises:
        VesaliusError: files that are missing or damaged, or not those of the run.
    """
    try:
        about = json.loads((folder / MARKER).read_text(encoding="utf-8"))["about"]
        frame = _frame_of(_load(folder / _FRAME), about["frame"], specimen)
        examples = _examples_of(_load(folder / _EXAMPLES), about["examples"])
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(folder, str(error)) from error
    if (frame.fingerprint, examples.fingerprint) != (frame_fingerprint, examples_fingerprint):
        raise _damaged(folder, "another frame or other examples")
    return frame, examples


def _identity(specimen: Specimen, examples: Examples, frame: Frame) -> dict[str, Any]:
    return {
        "weights": specimen.fingerprint,
        "moved": frame.moved,
        "axes": frame.fingerprint,
        "data": examples.fingerprint,
        "vesalius": version("vesalius"),
    }


def _compare(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key, value in now.items():
        if before.get(key) != value:
            raise VesaliusError(
                given=f"{out.name}: a run with {key} = {before.get(key)!r}, now {value!r}",
                expected="the model, axes, data and grid of the first start",
                fix="repeat the old command, or choose another output folder",
            )


def _check_portable(specimen: Specimen, examples: Examples) -> None:
    if not examples.is_portable:
        raise VesaliusError(
            given="a run in a folder, of examples that a function at hand measures",
            expected="measures that other processes can find",
            fix="name metrics as package.module:function, or leave the output folder out",
        )
    if type(specimen.model).__name__.startswith("Peft") or not hasattr(specimen.model, "config"):
        raise VesaliusError(
            given=f"a run in a folder, of a {type(specimen.model).__name__}",
            expected="a model that save_pretrained writes as a whole",
            fix="merge its adapters first, or leave the output folder out",
        )


def _about(examples: Examples, frame: Frame) -> dict[str, Any]:
    return {
        "frame": {
            "axes": [{"word": a.word, "name": a.name, "norm": a.norm} for a in frame.axes],
            "names": list(frame.names),
            "solution": list(frame.solution),
            "moved": frame.moved,
        },
        "examples": {
            "name": examples.name,
            "kind": examples.kind,
            "metrics": dict(examples.metrics),
            "batches": {name: len(split.batches) for name, split in examples.splits.items()},
        },
    }


def _frame_tensors(frame: Frame) -> dict[str, torch.Tensor]:
    whole = {"origin": frame.origin} | {f"axis {i}": d for i, d in enumerate(frame.directions)}
    return {name: weights.flat for name, weights in whole.items()}


def _frame_of(
    tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any], specimen: Specimen
) -> Frame:
    shapes = {name: specimen.model.get_parameter(name).shape for name in about["names"]}
    axes = tuple(
        Axis(weights=FlatWeights(shapes, tensors[f"axis {i}"].to(specimen.device)), **axis)
        for i, axis in enumerate(about["axes"])
    )
    return Frame(
        origin=FlatWeights(shapes, tensors["origin"].to(specimen.device)),
        axes=axes,
        solution=tuple(about["solution"]),
        moved=about["moved"],
    )


def _example_tensors(examples: Examples) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, split in examples.splits.items():
        found[f"{name}/order"] = torch.from_numpy(split.order)
        if split.labels is not None:
            found[f"{name}/labels"] = torch.from_numpy(np.asarray(split.labels))
        for place, batch in enumerate(split.batches):
            found |= {f"{name}/{place}/{key}": value for key, value in batch.items()}
    return found


def _examples_of(tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> Examples:
    metrics = {name: find_metric(name, path) for name, path in about["metrics"].items()}
    measures = {"masked-lm": masked_tokens, "causal-lm": next_tokens}
    splits: dict[str, Split] = {}
    for name, count in about["batches"].items():
        starts = [f"{name}/{place}/" for place in range(count)]
        labels = tensors.get(f"{name}/labels")
        splits[name] = Split(
            batches=tuple(
                {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}
                for start in starts
            ),
            order=tensors[f"{name}/order"].numpy(),
            labels=None if labels is None else labels.numpy(),
        )
    return Examples(
        name=about["name"],
        kind=about["kind"],
        splits=splits,
        measure_of=measures.get(about["kind"]) or classification(metrics),
        metrics=about["metrics"],
    )


def _save(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    path.write_bytes(save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def _load(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _damaged(folder: Path, reason: str) -> VesaliusError:
    return VesaliusError(
        given=f"the inputs of a run in {folder.parent.name!r}: {reason}",
        expected="the files that the first start wrote",
        fix="delete the folder and run the same command again",
    )
