"""A fine-tuning's whole path in little room: the base model, a few directions, coefficients.

theta_t = theta_0 + sum_k c[t, k] direction_k, with theta_0 the weights of a bundled model and
direction_0 = theta_T - theta_0, so that the last point is exact up to rounding. The others are the
leading principal components of what direction_0 leaves over. Direction 0 is stored as int8, the
others as signed 4-bit numbers, both with a scale per row. Weights that the base does not have
(a new head) are stored for every point.

Source: Li et al. 2018, arXiv 1712.09913, section 7.2 (principal components of a trajectory); this
project (the format).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int8, Num, UInt8

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder

FILE: Final = "trajectory.safetensors"
_FORMAT: Final = "vesalius-trajectory-1"
_LIMITS: Final = (127, 7, 7, 7, 7, 7)  # largest stored number of each direction: int8, then 4 bits


@final
@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The points of a fine-tuning; iterate over it for ``(step, state)``.

    ``base`` are the weights at step 0 by name, ``directions`` one dict each, ``coefficients``
    [point, direction], ``heads`` the weights of each point that the base does not have.
    """

    base: Mapping[str, Float[np.ndarray, "..."]]
    directions: tuple[Mapping[str, Float[np.ndarray, "..."]], ...]
    coefficients: Float[np.ndarray, "point direction"]
    heads: tuple[Mapping[str, Float[np.ndarray, "..."]], ...]
    steps: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return ((step, self.state_dict(point)) for point, step in enumerate(self.steps))

    def weights(self, point: int) -> dict[str, Float[np.ndarray, "..."]]:
        """Give the weights of a point as arrays in float32; shapes are the model's."""
        found = {name: array.astype(np.float32) for name, array in self.base.items()}
        for factor, direction in zip(self.coefficients[point], self.directions, strict=True):
            for name, delta in direction.items():
                found[name] = found[name] + np.float32(factor) * delta
        return found | {k: v.astype(np.float32) for k, v in self.heads[point].items()}

    def state_dict(self, point: int) -> dict[str, Any]:
        """Give the weights of a point as torch tensors, for ``model.load_state_dict``."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.weights(point).items()}


def compress_points(
    points: Mapping[int, Mapping[str, Float[np.ndarray, "..."]]],
    *,
    base: Mapping[str, Float[np.ndarray, "..."]],
    num_directions: int,
    everywhere: int = 1,
) -> Trajectory:
    """Fit directions to the weights at several steps, with the rounding they will be stored with.

    The first ``everywhere`` directions cover every weight of the base, the others all but
    embeddings (names with ``embed`` in them), of which most rows hardly move.

    Raises:
        VesaliusError: fewer than two points, or as many directions as points.
    """
    steps = sorted(points)
    if len(steps) < 2 or not 1 <= num_directions <= min(len(steps) - 1, len(_LIMITS)):
        raise VesaliusError(
            given=f"{len(steps)} points, {num_directions} directions",
            expected="at least two points, and fewer directions than points",
            fix="keep more snapshots",
        )
    shared = [name for name in points[steps[0]] if name in base]
    moved = [{name: points[s][name] - base[name] for name in shared} for s in steps]
    found = [_rounded(moved[-1], limit=_LIMITS[0])]
    for k in range(1, num_directions):
        names = shared if k < everywhere else [n for n in shared if "embed" not in n]
        factors = _fit(moved, found)
        rest = [
            {n: m[n] - sum(c * d[n] for c, d in zip(row, found, strict=True)) for n in names}
            for m, row in zip(moved, factors, strict=True)
        ]
        gram = np.array([[_dot(one, other) for other in rest] for one in rest])
        leading = np.linalg.eigh(gram)[1][:, -1]
        component = {n: np.tensordot(leading, [r[n] for r in rest], axes=1) for n in names}
        missing = {n: np.zeros_like(moved[0][n]) for n in shared if n not in component}
        found.append(_rounded(component | missing, limit=_LIMITS[k]))
    factors = _fit(moved, found)
    factors[-1] = np.eye(num_directions)[0]
    factors[0] *= steps[0] != 0  # the start is the base itself
    return Trajectory(
        base=dict(base),
        directions=tuple(found),
        coefficients=factors.astype(np.float32),
        heads=tuple({n: a for n, a in points[s].items() if n not in base} for s in steps),
        steps=tuple(steps),
    )


def _fit(
    moved: list[dict[str, np.ndarray]], directions: list[dict[str, np.ndarray]]
) -> Float[np.ndarray, "point direction"]:
    """Give the coefficients of least squares of every point."""
    gram = np.array([[_dot(one, other) for other in directions] for one in directions])
    shadow = np.array([[_dot(m, d) for d in directions] for m in moved])
    return np.linalg.solve(gram, shadow.T).T


def _dot(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    return sum(float(np.vdot(one[n], other[n])) for n in one)


def _scales(array: Num[np.ndarray, "..."], limit: int) -> Float[np.ndarray, " row"]:
    rows = np.abs(array.reshape(-1, array.shape[-1])).max(axis=1)
    return (rows / limit).astype(np.float32)


def _whole(array: Num[np.ndarray, "..."], limit: int) -> Int8[np.ndarray, "row column"]:
    flat, scales = array.reshape(-1, array.shape[-1]), _scales(array, limit)
    return np.rint(flat / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)


def _rounded(direction: Mapping[str, np.ndarray], *, limit: int) -> dict[str, np.ndarray]:
    """Round a direction as the file will."""
    return {
        name: (_whole(array, limit) * _scales(array, limit)[:, None]).reshape(array.shape)
        for name, array in direction.items()
    }


def _pack(whole: Int8[np.ndarray, "row column"]) -> UInt8[np.ndarray, " byte"]:
    """Put two numbers from -7 to 7 into a byte."""
    flat = (whole.reshape(-1) + 8).astype(np.uint8)
    flat = np.append(flat, np.zeros(len(flat) % 2, dtype=np.uint8))
    return flat[0::2] | flat[1::2] << 4


def _unpack(packed: UInt8[np.ndarray, " byte"], size: int) -> Int8[np.ndarray, " number"]:
    flat = np.stack((packed & 15, packed >> 4), axis=1).reshape(-1)[:size]
    return flat.astype(np.int8) - np.int8(8)


def write_trajectory(trajectory: Trajectory, path: Path, *, base_name: str, base_hash: str) -> None:
    """Write directions, coefficients, steps and heads to a safetensors file, not the base."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {
        "coefficients": trajectory.coefficients,
        "steps": np.array(trajectory.steps, dtype=np.int64),
    }
    for k, direction in enumerate(trajectory.directions):
        for name, array in direction.items():
            if not array.any():
                continue
            scales, whole = _scales(array, _LIMITS[k]), _whole(array, _LIMITS[k])
            arrays[f"scale/{k}/{name}"] = scales
            arrays[f"direction/{k}/{name}"] = whole if _LIMITS[k] > 7 else _pack(whole)
    for name in trajectory.heads[0]:
        stacked = np.stack([head[name] for head in trajectory.heads])
        arrays[f"head/{name}"] = stacked.astype(np.float32)
    names = json.dumps(list(trajectory.base))  # some of them may never have moved
    about = {"format": _FORMAT, "base": base_name, "base_sha256": base_hash, "names": names}
    path.write_bytes(save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, metadata=about))


def read_trajectory(path: Path, *, base: Path, base_hash: str) -> Trajectory:
    """Read a file that :func:`write_trajectory` wrote, over the weights file of its base.

    Raises:
        VesaliusError: another format, or a base other than the one it was made over.
    """
    from safetensors import safe_open
    from safetensors.numpy import load

    with safe_open(path, framework="numpy") as file:
        about: Mapping[str, str] = file.metadata() or {}
    if about.get("format") != _FORMAT or about.get("base_sha256") != base_hash:
        raise VesaliusError(
            given=f"{path.name}: format {about.get('format')!r}, made over "
            f"{about.get('base')!r} {str(about.get('base_sha256'))[:12]}",
            expected=f"{_FORMAT!r}, and the base {base_hash[:12]} of this installation",
            fix="install the package again",
        )
    stored, weights = load(path.read_bytes()), load(base.read_bytes())
    directions: list[dict[str, np.ndarray]] = [{} for _ in range(stored["coefficients"].shape[1])]
    for key, scales in stored.items():
        kind, _, rest = key.partition("/")
        if kind == "scale":
            k, _, name = rest.partition("/")
            shape, limit = weights[name].shape, _LIMITS[int(k)]
            whole = stored[f"direction/{rest}"]
            whole = whole if limit > 7 else _unpack(whole, int(np.prod(shape)))
            rows = whole.reshape(len(scales), -1)
            directions[int(k)][name] = (rows * scales[:, None]).reshape(shape)
    heads = {k.removeprefix("head/"): a for k, a in stored.items() if k.startswith("head/")}
    return Trajectory(
        base={name: weights[name] for name in json.loads(about["names"])},
        directions=tuple(directions),
        coefficients=stored["coefficients"],
        heads=tuple({n: a[i] for n, a in heads.items()} for i in range(len(stored["steps"]))),
        steps=tuple(stored["steps"].tolist()),
    )


def materialise(trajectory: Trajectory, folder: Path, *, config: Path, base: Path) -> Path:
    """Write the last point as an ordinary checkpoint in float16, whole or not at all.

    ``config`` is the classifier's config.json, ``base`` the folder whose tokenizer it has. A
    damaged folder is replaced; ``sha256`` beside the weights says what they should be. When
    another process was faster its folder is taken: both hold the same bytes.

    Raises:
        VesaliusError: the folder cannot be written.
    """
    from safetensors.numpy import save

    weights = trajectory.weights(len(trajectory) - 1)
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    content = save(half, metadata={"format": "pt"})
    settings = json.loads(config.read_text(encoding="utf-8")) | {"dtype": "float16"}
    digest = hashlib.sha256(content).hexdigest()
    try:
        with new_folder(folder, force=True, marker="sha256") as partial:
            (partial / "model.safetensors").write_bytes(content)
            (partial / "config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (partial / name).write_bytes((base / name).read_bytes())
            (partial / "sha256").write_text(digest + "\n", "utf-8")
    except VesaliusError:
        note = folder / "sha256"
        if not (note.is_file() and note.read_text("utf-8").strip() == digest):
            raise
    return folder
