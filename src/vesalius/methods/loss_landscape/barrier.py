"""`landscape barrier`: whether two solutions lie in one basin, before their weights are averaged.

Sources: Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis (the
barrier); Juneja et al. 2023, arXiv 2205.12411 (basins of fine-tuned text classifiers).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from vesalius.core.card import Stopwatch
from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.loss_landscape.cards import frame_card
from vesalius.methods.loss_landscape.config import grid_axis
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Axis, Frame, Source
from vesalius.methods.loss_landscape.inputs import RESULT, write_inputs
from vesalius.methods.loss_landscape.points import Run, measure_points
from vesalius.methods.loss_landscape.result import Measured, pick, summarise
from vesalius.models.flat_weights import FlatWeights
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups
from vesalius.models.weights import fit_weights, read_weights
from vesalius.numerics import surface_measures
from vesalius.numerics.weight_directions import difference, norm

BARRIER_STEPS: Final = 25
_WHOLE: Final = "all"


@final
@dataclass(frozen=True, kw_only=True)
class BarrierHeight:
    """How far the path rises above the straight line between its ends, at most, and where.

    ``standard_error`` is over examples, of the rise at that place; NaN at an end and where the
    rise is not finite.
    """

    split: str
    measure: str
    height: float
    alpha: float
    standard_error: float


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BarrierResult(AbstractResult):
    """Loss and other measures on the straight way from one model to another.

    ``values`` and ``standard_errors`` hold, by split and measure, the mean over examples at every
    alpha [x] and its standard error: alpha 0 is the model, 1 the other. ``distance`` is the
    Euclidean one between the moved weights. ``heights`` are the barriers.
    """

    kind: ClassVar[str] = "loss_landscape.barrier"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    moved: str
    distance: float
    alphas: Float[np.ndarray, " x"]
    values: Measured
    standard_errors: Measured
    num_examples: dict[str, int]
    heights: tuple[BarrierHeight, ...]

    def measured(self, split: str, measure: str) -> Float[np.ndarray, " x"]:
        """Give the mean of a measure at every point.

        Raises:
            VesaliusError: a split or measure that was not taken.
        """
        return pick(self.values, split, measure)

    def barrier(self, split: str, measure: str = "loss") -> BarrierHeight:
        """Give the barrier of a measure.

        Raises:
            VesaliusError: a split or measure that was not taken.
        """
        pick(self.values, split, measure)
        return next(h for h in self.heights if (h.split, h.measure) == (split, measure))

    def to_table(self) -> pa.Table:
        """One row for each alpha: mean and standard error of every measure.

        Source: this project.
        """
        columns: dict[str, Any] = {"alpha": self.alphas}
        for split, measures in self.values.items():
            for measure, means in measures.items():
                columns[f"{split}_{measure}"] = means
                errors = self.standard_errors[split][measure]
                columns[f"{split}_{measure}_standard_error"] = errors
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw loss and error on the way, with their barriers; returns matplotlib Axes.

        Source: Frankle et al. 2020, figure 2.
        """
        from vesalius.methods.loss_landscape.plot import plot_barrier

        return plot_barrier(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.report import write_barrier

        return write_barrier(self, path, force=force)


def barrier(
    specimen: Specimen,
    examples: Examples,
    other: Source,
    *,
    steps: int = BARRIER_STEPS,
    moved: str = _WHOLE,
    run: Run | None = None,
) -> BarrierResult:
    """Measure a model on its straight way to another: (1 - alpha) itself + alpha the other.

    Args:
        specimen: the model; it is itself again afterwards, bit for bit.
        examples: what is measured.
        other: the other model's weights, of the same architecture.
        steps: points, both ends among them; at least three.
        moved: what moves. ``all`` leads to the other model itself; ``encoder`` keeps the model's
            head all the way, for another one that was trained on another task.
        run: a folder to go on with, workers, memory; None does it here and now.

    Raises:
        VesaliusError: a model that does not fit or has the same weights, a loss at an end that is
            not finite, or what the run refuses.

    Source: Frankle et al. 2020, section 2.
    """
    stopwatch, run = Stopwatch.start(), run or Run()
    check_count("steps", steps, lowest=3, usual=BARRIER_STEPS)
    alphas = grid_axis("the way", (0.0, 1.0), steps)
    frame = _frame(specimen, other, moved)
    grid = {"bounds": [0.0, 1.0], "steps": len(alphas)}
    if run.out is not None:
        write_inputs(run.out, specimen=specimen, examples=examples, frame=frame, grid=grid)
        if (run.out / RESULT).is_dir():
            return BarrierResult.load(run.out / RESULT)
    found = measure_points(specimen, examples, frame, alphas[:, None], run=run, name="barrier")
    means, errors = summarise(found)
    result = BarrierResult(
        card=frame_card(
            "landscape barrier",
            specimen=specimen,
            examples=examples,
            frame=frame,
            stopwatch=stopwatch,
            options=grid,
            values=means,
        ),
        moved=moved,
        distance=frame.axes[0].norm,
        alphas=alphas,
        values=means,
        standard_errors=errors,
        num_examples=examples.num_examples,
        heights=_heights(alphas, found),
    )
    if run.out is not None:
        result.save(run.out / RESULT)
    return result


def _frame(specimen: Specimen, other: Source, moved: str) -> Frame:
    names = weight_groups(specimen).named(moved)
    try:
        fitted = fit_weights(read_weights(other), specimen.model, names, what="the other model")
    except VesaliusError as error:
        if moved != _WHOLE:
            raise
        raise VesaliusError(
            given=error.given,
            expected=f"{error.expected}, its head too",
            fix=f"{error.fix}; moved='encoder' (--moved encoder) leaves the heads out of it",
        ) from error
    own: dict[str, torch.Tensor] = {n: specimen.model.get_parameter(n).detach() for n in names}
    dtype = torch.promote_types(specimen.dtype, torch.float32)
    begin, end = (
        FlatWeights.of(weights, names=names, dtype=dtype, device=specimen.device)
        for weights in (own, fitted)
    )
    towards = FlatWeights.of(difference(end, begin), dtype=dtype, device=specimen.device)
    if not (length := norm(towards)) > 0:
        raise VesaliusError(
            given=f"another model with the same weights as {specimen.name} ({moved})",
            expected="two different models",
            fix="name another one",
        )
    axis = Axis(word="other", name="towards the other model", weights=towards, norm=length)
    return Frame(origin=begin, axes=(axis,), solution=(0.0,), moved=moved)


def _heights(alphas: Float[np.ndarray, " x"], found: Measured) -> tuple[BarrierHeight, ...]:
    return tuple(
        _height(split, measure, alphas, kept)
        for split, measures in found.items()
        for measure, kept in measures.items()
    )


def _height(
    split: str,
    measure: str,
    alphas: Float[np.ndarray, " x"],
    kept: Float[np.ndarray, "x example"],
) -> BarrierHeight:
    """The barrier of a measure, and the standard error of the rise of its examples there."""
    found = surface_measures.barrier(alphas, kept.mean(axis=1, dtype=np.float64))
    top = int(np.abs(alphas - found.alpha).argmin())
    wide = kept[[0, top, -1]].astype(np.float64)
    error = float("nan")
    if 0 < found.alpha < 1 and np.isfinite(wide).all() and wide.shape[1] > 1:
        rises = wide[1] - ((1 - found.alpha) * wide[0] + found.alpha * wide[2])
        error = float(rises.std(ddof=1) / np.sqrt(len(rises)))
    return BarrierHeight(
        split=split,
        measure=measure,
        height=found.height,
        alpha=found.alpha,
        standard_error=error,
    )
