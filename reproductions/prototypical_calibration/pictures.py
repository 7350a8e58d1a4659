"""The pictures of the page, from the stored numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from counted import Cells
from sets import SETS

from vesalius.core.paths import write_file
from vesalius.plots.boxes import box_groups
from vesalius.plots.size_curves import SizeCurve, size_curves
from vesalius.plots.style import figure_bytes

SHOWN = ("none", "contextual", "batch", "prototypical")
Rows = list[Mapping[str, Any]]


def draw(result: Mapping[str, Any], cells: Mapping[str, Cells], folder: Path) -> list[Path]:
    """Draw the sets at four shots, and every axis of robustness."""
    first = next(iter(cells))
    drawn = [_write(_main(cells[first], first), folder, "main")]
    sets = result["sets"]
    rows: Rows = sets["sst2"]["robust"]["rows"]
    for axis, label in (("template", "template"), ("order", ""), ("proportion", "share negative")):
        drawn.append(_write(_boxes(rows, axis, label), folder, axis))
    drawn.append(_write(_shares(sets), folder, "estimate-proportion"))
    drawn.append(_write(_sizes(sets), folder, "estimate-size"))
    return drawn


def _write(axes: Any, folder: Path, name: str) -> Path:
    path = folder / "figures" / f"{name}.png"
    return write_file(path, figure_bytes(axes, dots_per_inch=100), force=True)


def _main(cells: Cells, model: str) -> Any:
    groups = {
        s.told: {
            method: np.array([
                c["accuracy"] for c in cells
                if (c["set"], c["shots"], c["method"]) == (s.name, 4, method)
            ])
            for method in SHOWN
        }
        for s in SETS
    }  # fmt: skip
    return box_groups(groups, unit="accuracy", percent=True, title=f"{model}, 4 demonstrations")


def _boxes(rows: Rows, axis: str, label: str) -> Any:
    conditions = dict.fromkeys(row["condition"] for row in rows if row["axis"] == axis)
    if axis == "order":  # an order is one cell: all of them together
        groups = {"12 orders": {m: _of(rows, axis, m) for m in SHOWN}}
    else:
        groups = {str(c): {m: _of(rows, axis, m, c) for m in SHOWN} for c in conditions}
    return box_groups(groups, unit="accuracy", x_label=label, percent=True, title=f"SST-2, {axis}")


def _of(rows: Rows, axis: str, method: str, condition: str | None = None) -> np.ndarray:
    return np.array([
        row["accuracy"] for row in rows
        if (row["axis"], row["method"]) == (axis, method)
        and condition in (None, row["condition"]) and row["accuracy"] is not None
    ], dtype=np.float64)  # fmt: skip


def _shares(sets: Mapping[str, Any]) -> Any:
    rows: Rows = sets["sst2"]["robust"]["rows"]
    return _boxes(rows, "estimate-proportion", "share negative in the estimate set")


def _sizes(sets: Mapping[str, Any]) -> Any:
    curves: dict[str, SizeCurve] = {}
    for name, method in (("sst2", "batch"), ("sst2", "prototypical"), ("trec", "batch"),
                         ("trec", "prototypical")):  # fmt: skip
        rows: Rows = sets[name]["robust"]["rows"]
        found = [r for r in rows if (r["axis"], r["method"]) == ("estimate-size", method)]
        places = sorted({r["place"] for r in found if r["accuracy"] is not None})
        each = [
            np.array([r["accuracy"] for r in found
                      if r["place"] == place and r["accuracy"] is not None])
            for place in places
        ]  # fmt: skip
        told = next(s.told for s in SETS if s.name == name)
        curves[f"{told}, {method}"] = SizeCurve(
            size=np.array(places, dtype=np.float64) / len(sets[name]["suited"]["words"]),
            value=np.array([v.mean() for v in each]),
            low=np.array([v.min() for v in each]),
            high=np.array([v.max() for v in each]),
        )
    return size_curves(
        curves,
        x_label="texts for each class in the estimate set",
        y_label="accuracy (five draws)",
        percent=True,
    )
