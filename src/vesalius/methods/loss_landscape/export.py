"""Lines, surfaces and trajectories for other programs: CSV, NumPy's npz, and VTK for ParaView.

Source: the legacy VTK file format, version 3.0 (binary, big endian), of The VTK User's Guide.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import write_file
from vesalius.methods.loss_landscape.measures import LOSS
from vesalius.methods.loss_landscape.result import Line, Surface
from vesalius.methods.loss_landscape.trajectory import Trajectory

Exportable = Line | Surface | Trajectory
_HIDDEN_POINT, _HIDDEN_CELL = 2, 32  # of vtkDataSetAttributes; filters heed the one or the other


def export_csv(result: Exportable, path: str | Path, *, force: bool = False) -> Path:
    """Write the rows of ``to_table`` as CSV, UTF-8, numbers with all of their digits; no shapes.

    What is not finite reads ``nan``.

    Args:
        result: a line, a surface or a trajectory.
        path: of the file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    table = result.to_table()
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(list(row.values()) for row in table.to_pylist())
    return write_file(path, buffer.getvalue().encode(), force=force)


def export_npz(result: Exportable, path: str | Path, *, force: bool = False) -> Path:
    """Write all arrays as a compressed ``.npz`` that ``numpy.load`` opens without pickle.

    Grids keep their order: ``train.loss`` [x, y] belongs to ``alphas`` [x] and ``betas`` [y].
    Standard errors are ``train.loss.standard_error``; examples that were kept are
    ``train.loss.examples``, their classes ``train.labels``.

    Args:
        result: a line, a surface or a trajectory.
        path: of the file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    arrays: dict[str, np.ndarray] = dict(_own_arrays(result))
    for split, measures in result.values.items():
        for measure, means in measures.items():
            arrays[f"{split}.{measure}"] = means
            errors = result.standard_errors[split][measure]
            arrays[f"{split}.{measure}.standard_error"] = errors
    if not isinstance(result, Trajectory):
        for split, measures in result.examples.items():
            arrays |= {f"{split}.{name}.examples": kept for name, kept in measures.items()}
        arrays |= {f"{split}.labels": labels for split, labels in result.labels.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return write_file(path, buffer.getvalue(), force=force)


def export_vtk(
    result: Exportable,
    path: str | Path,
    *,
    split: str = "train",
    measure: str = LOSS,
    height: float = 1.0,
    force: bool = False,
) -> Path:
    """Write a legacy VTK file for ParaView: x is alpha, y is beta, z the height of a measure.

    A surface becomes a structured grid, a line or a trajectory a polyline. All measures come along
    as point data. A surface and a trajectory of one plane fit together where split, measure and
    height are equal. What is not finite stays NaN in the data; such a point stands at the height
    of its nearest neighbour, and is hidden, with the cells around it, by ``vtkGhostType``.

    Args:
        result: a line, a surface, or a trajectory in two axes.
        path: of the file; ParaView expects it to end in ``.vtk``.
        split, measure: what z shows.
        height: z of one nat, or of whatever the measure counts.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: a split or measure that was not taken, a height that is no positive number,
            a file name that does not end in .vtk, or a file that exists, without ``force``.
    """
    if not (np.isfinite(height) and height > 0):
        raise VesaliusError(
            given=f"height={height}", expected="a finite number above 0", fix="use height=1"
        )
    if Path(path).suffix != ".vtk":
        raise VesaliusError(
            given=f"file {Path(path).name!r}",
            expected="a name that ends in .vtk, by which ParaView knows the format",
            fix="end it in .vtk",
        )
    values = result.measured(split, measure)
    finite = np.isfinite(values)
    heights = height * _nearest(values, finite)
    title = f"vesalius {result.kind}: z is {height:g} times {split} {measure}"
    if isinstance(result, Surface):
        content = _grid(result, title, heights, finite)
    else:
        content = _polyline(result, title, heights, finite)
    return write_file(path, content, force=force)


def _nearest(
    values: Float[np.ndarray, "*grid"], finite: Bool[np.ndarray, "*grid"]
) -> Float[np.ndarray, "*grid"]:
    """The value of the nearest finite point: a coordinate that is NaN breaks every viewer."""
    from scipy.ndimage import distance_transform_edt

    if not finite.any():
        return np.zeros(values.shape)
    places = distance_transform_edt(~finite, return_distances=False, return_indices=True)
    return values[tuple(np.asarray(places))]


def _own_arrays(result: Exportable) -> Mapping[str, Any]:
    """Axes, and what else a result has beside its measures."""
    solution = np.array(result.solution, dtype=np.float64)
    if isinstance(result, Line):
        return {"axis": np.array(result.axis), "alphas": result.alphas, "solution": solution}
    axes = {"axes": np.array(result.axes), "solution": solution}
    if isinstance(result, Surface):
        grid = {"alphas": result.alphas, "betas": result.betas, "evaluated": result.evaluated}
        return axes | grid
    path = {"steps": result.steps, "coordinates": result.coordinates}
    return axes | path | {"off_plane": result.off_plane, "lengths": result.lengths}


def _grid(
    result: Surface, title: str, heights: Float[np.ndarray, "x y"], finite: Bool[np.ndarray, "x y"]
) -> bytes:
    """A structured grid; VTK counts alpha fastest."""
    x, y = np.meshgrid(result.alphas, result.betas, indexing="ij")
    points = np.stack([_flat(x), _flat(y), _flat(heights)], axis=1)
    data = {**_measures(result), "evaluated": result.evaluated.astype(np.float64)}
    ghosts = np.where(_flat(finite), 0, _HIDDEN_POINT).astype(np.uint8)
    whole = finite[1:, 1:] & finite[1:, :-1] & finite[:-1, 1:] & finite[:-1, :-1]
    cells = np.where(_flat(whole), 0, _HIDDEN_CELL).astype(np.uint8)
    size = f"DIMENSIONS {len(result.alphas)} {len(result.betas)} 1\n"
    head = [_head(title), b"DATASET STRUCTURED_GRID\n", size.encode(), _points(points)]
    flat = {name: _flat(each) for name, each in data.items()}
    return b"".join([*head, _data(flat, ghosts), _hidden("CELL_DATA", cells)])


def _polyline(
    result: Line | Trajectory,
    title: str,
    heights: Float[np.ndarray, " point"],
    finite: Bool[np.ndarray, " point"],
) -> bytes:
    """Lines between neighbours that are finite; a point that is not has none."""
    data = _measures(result)
    if isinstance(result, Line):
        places = np.stack([result.alphas, np.zeros_like(result.alphas)], axis=1)
    else:
        places = np.zeros((len(result.steps), 2))
        places[:, : result.coordinates.shape[1]] = result.coordinates
        data |= {"step": result.steps, "off_plane": result.off_plane, "length": result.lengths}
    pairs = np.flatnonzero(finite[:-1] & finite[1:])
    lines = np.stack([np.full(len(pairs), 2), pairs, pairs + 1], axis=1).astype(">i4")
    ghosts = np.where(finite, 0, _HIDDEN_POINT).astype(np.uint8)
    cells = f"LINES {len(lines)} {lines.size}\n".encode() + lines.tobytes() + b"\n"
    points = _points(np.column_stack([places, heights]))
    return b"".join(
        [_head(title), b"DATASET POLYDATA\n", points, cells if len(lines) else b"",
         _data(data, ghosts)]
    )  # fmt: skip


def _measures(result: Exportable) -> dict[str, np.ndarray]:
    """All means and standard errors; a name in VTK has no space."""
    found: dict[str, np.ndarray] = {}
    for split, measures in result.values.items():
        for measure, means in measures.items():
            name = "_".join(f"{split}_{measure}".split())
            found[name] = means
            found[f"{name}_standard_error"] = result.standard_errors[split][measure]
    return found


def _flat(values: np.ndarray) -> np.ndarray:
    return values.T.ravel()


def _head(title: str) -> bytes:
    safe = title.encode("ascii", "replace").replace(b"\n", b" ")[:250]  # the format's limit: 256
    return b"# vtk DataFile Version 3.0\n" + safe + b"\nBINARY\n"


def _points(points: Float[np.ndarray, "point 3"]) -> bytes:
    return f"POINTS {len(points)} double\n".encode() + points.astype(">f8").tobytes() + b"\n"


def _data(arrays: Mapping[str, np.ndarray], ghosts: np.ndarray) -> bytes:
    """Point data: one array of doubles each, and which points are hidden."""
    parts = [
        f"SCALARS {name} double 1\nLOOKUP_TABLE default\n".encode()
        + values.astype(">f8").tobytes()
        + b"\n"
        for name, values in arrays.items()
    ]
    # the hidden points open the part, and the measures go on with it
    return b"".join([_hidden("POINT_DATA", ghosts), *parts])


def _hidden(part: str, ghosts: np.ndarray) -> bytes:
    head = f"{part} {len(ghosts)}\nSCALARS vtkGhostType unsigned_char 1\nLOOKUP_TABLE default\n"
    return head.encode() + ghosts.tobytes() + b"\n"
