"""What `landscape flatness` returns: how sharply the loss rises around a model, in numbers.

Sources: as in flatness.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from vesalius.core.result import AbstractResult, register_result


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sharpness:
    """Sharpness in one geometry: that of the weights (raw), or of weights in units of their size.

    With the diagonal scale T (ones where raw, |theta| where normalised) a shift of the weights is
    T z, lengths are those of z, and curvatures are those of T H T.
    """

    radius: float  # expected length of z for ``average``
    average_nats: float  # E[J(theta + T z)] - J(theta) for Gaussian z
    average_standard_error: float  # over draws
    rho: float  # length of z for ``worst``
    worst_nats: float  # J - J(theta) after climbing the gradient to that length
    gradient_norm: float  # |T g|, nats
    eigenvalues: Float[np.ndarray, " k"]  # of T H T, the largest first
    residuals: Float[np.ndarray, " k"]  # |T H T v - value v|
    eigenvalues_converged: bool
    trace: float | None  # of T H T; None where it was not asked for
    trace_standard_error: float | None  # over probes


@final
@dataclass(frozen=True, kw_only=True)
class AxisWidth:
    """How far one can go from the model along an axis while the loss rises by at most tau.

    ``low``, ``high`` and ``width`` are in units of the axis, from the model; times ``norm`` they
    are Euclidean. Where an end is open the line ended first, and the width is a lower bound.
    """

    axis: str
    norm: float
    low: float
    high: float
    width: float
    open_low: bool
    open_high: bool


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Flatness(AbstractResult):
    """How flat the loss is around a model, by several measures, raw and weight-normalised.

    ``loss_nats`` is the mean loss of the ``split`` at the model itself; ``weights_norm`` the
    Euclidean length of the moved weights.
    """

    kind: ClassVar[str] = "loss_landscape.flatness"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    moved: str
    split: str
    num_examples: int
    num_weights: int
    weights_norm: float
    loss_nats: float
    tau_nats: float
    sigma: float
    num_gaussian: int  # pairs of draws
    num_steps: int  # of the climb to the worst case
    raw: Sharpness
    normalised: Sharpness
    widths: tuple[AxisWidth, ...]  # none without a frame

    @property
    def geometries(self) -> Mapping[str, Sharpness]:
        """Both kinds of sharpness by name."""
        return {"raw": self.raw, "normalised": self.normalised}

    def to_table(self) -> pa.Table:
        """One row for each measure and geometry, then one for each width.

        ``error`` is a standard error for averages and traces, the residual for eigenvalues; null
        where there is none. ``converged`` is false for eigenvalues that are still rough, and for
        widths whose line ended first.

        Source: this project.
        """
        rows = [row for name, found in self.geometries.items() for row in _rows(name, found)]
        rows += [
            _row("width", w.axis, w.width, converged=not (w.open_low or w.open_high))
            for w in self.widths
        ]
        return pa.Table.from_pylist(rows)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the measures of both geometries as bars; returns matplotlib Axes.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.plot import plot_flatness

        return plot_flatness(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.report import write_flatness

        return write_flatness(self, path, force=force)


def _rows(geometry: str, found: Sharpness) -> list[dict[str, Any]]:
    rows = [
        _row("average rise", geometry, found.average_nats, found.average_standard_error),
        _row("worst rise", geometry, found.worst_nats),
        _row("gradient norm", geometry, found.gradient_norm),
    ]
    for k, (value, residual) in enumerate(zip(found.eigenvalues, found.residuals, strict=True)):
        name, converged = f"eigenvalue {k + 1}", found.eigenvalues_converged
        rows.append(_row(name, geometry, value, residual, converged=converged))
    if found.trace is not None:
        rows.append(_row("trace", geometry, found.trace, found.trace_standard_error))
    return rows


def _row(
    measure: str, of: str, value: float, error: float | None = None, *, converged: bool = True
) -> dict[str, Any]:
    return {
        "measure": measure,
        "of": of,
        "value": float(value),
        "error": None if error is None else float(error),
        "converged": converged,
    }
