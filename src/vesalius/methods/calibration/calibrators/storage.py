"""Fitted calibrators as JSON: what was asked for, and what was learnt, to the last bit.

Source: this project. Python writes a double so that it reads back as the same double.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import write_file
from vesalius.methods.calibration.calibrators.base import AbstractCalibrator
from vesalius.methods.calibration.calibrators.registry import METHODS, make_calibrator

KIND: Final = "vesalius.calibrator"
SCHEMA_VERSION: Final = 1
_TYPES: Final = ("float64", "int64", "bool")


def save_calibrator(
    calibrator: AbstractCalibrator, path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write a fitted calibrator as one JSON file, and return its path; no shapes.

    Raises:
        VesaliusError: the file exists and ``force`` is not given.
    """
    names = ("notes_", *calibrator.fitted_names)
    content = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "method": calibrator.method,
        "params": {name: _encode(value) for name, value in calibrator.get_params().items()},
        "num_labels": len(calibrator.classes_),
        "fitted": {name: _encode(getattr(calibrator, name)) for name in names},
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    return write_file(path, text.encode("utf-8"), force=force)


def load_calibrator(path: str | os.PathLike[str]) -> AbstractCalibrator:
    """Read a calibrator that :meth:`AbstractCalibrator.save` wrote; no shapes.

    Raises:
        VesaliusError: no such file, no calibrator in it, another schema, an unknown method, or
            numbers that do not belong together.
    """
    path = Path(path)
    content = _read(path)
    version, method = content.get("schema_version"), content.get("method")
    if version != SCHEMA_VERSION:
        raise VesaliusError(
            given=f"{path.name} of schema {version!r}",
            expected=f"schema {SCHEMA_VERSION}",
            fix="read it with the version of vesalius that wrote it, or fit and save again",
        )
    if not isinstance(method, str) or method not in METHODS:
        raise VesaliusError(
            given=f"{path.name} of method {method!r}",
            expected=f"one of {', '.join(METHODS)}",
            fix="read it with the version of vesalius that wrote it",
        )
    try:
        return _rebuild(content)
    except (
        KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError,
    ) as error:  # fmt: skip
        raise _broken(path, f"{type(error).__name__}: {error}") from error
    except VesaliusError as error:
        raise _broken(path, error.given) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise VesaliusError(
            given=f"calibrator {str(path)!r}: {error.strerror or error}",
            expected="a JSON file that a calibrator's save() wrote",
            fix="check the path",
        ) from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise _broken(path, str(error)) from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise _broken(path, "it is not marked as one")
    return content


def _rebuild(content: dict[str, Any]) -> AbstractCalibrator:
    params = {name: _decode(value) for name, value in content["params"].items()}
    calibrator = make_calibrator(content["method"], **params)
    fitted = {name: _decode(value) for name, value in content["fitted"].items()}
    if set(fitted) != {"notes_", *calibrator.fitted_names}:
        raise ValueError(f"fitted parts {sorted(fitted)}")
    num_labels = content["num_labels"]
    calibrator.classes_ = np.arange(num_labels)
    calibrator.n_features_in_ = num_labels
    for name, value in fitted.items():
        _insist_on_numbers(name, value)
        setattr(calibrator, name, value)
    # one text tells whether shapes and numbers belong together
    width = num_labels or 2
    tried = calibrator.transform(np.full((1, width), -np.log(width)))
    if tried.shape != (1, width) or not np.isfinite(tried).all():
        raise ValueError("numbers that give no probabilities")
    return calibrator


def _insist_on_numbers(name: str, value: Any) -> None:
    """Refuse a fitted part with NaN in it: JSON has none, but a file may be written by others."""
    parts = value.values() if isinstance(value, dict) else [value]
    for part in parts:
        floating = isinstance(part, np.ndarray) and part.dtype.kind == "f"
        if floating and np.isnan(part).any():
            raise ValueError(f"{name} with NaN")


def _encode(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return {"array": str(value.dtype), "shape": value.shape, "values": value.ravel().tolist()}
    if isinstance(value, dict):
        return {"columns": {name: _encode(part) for name, part in value.items()}}
    if isinstance(value, tuple | list):
        return [_encode(part) for part in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(part) for part in value)
    if not isinstance(value, dict):
        return value
    if "columns" in value:
        return {name: _decode(part) for name, part in value["columns"].items()}
    if value["array"] not in _TYPES:
        raise ValueError(f"an array of {value['array']}")
    return np.array(value["values"], dtype=value["array"]).reshape(value["shape"])


def _broken(path: Path, reason: str) -> VesaliusError:
    return VesaliusError(
        given=f"{path.name}, which holds no calibrator that can be read: {reason[:120]}",
        expected="a JSON file that a calibrator's save() wrote, unchanged",
        fix="fit the calibrator again and save it",
    )
