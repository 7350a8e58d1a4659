"""`landscape trajectory`: where a training went, in the coordinates of a frame.

A checkpoint hardly ever lies in the plane that a surface is drawn over. So its coordinates come
with the share of its way that leads out of the plane, and with the loss of its own weights, which
need not be the height of the surface below it.

Sources: arXiv 1908.05620, section 3.2 (trajectories; its formula is the mode ``paper``); Li et al.
2018, arXiv 1712.09913, section 7; least squares on axes that need not be orthogonal: this project.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from tqdm import tqdm

from vesalius.core.card import Stopwatch
from vesalius.core.checks import check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.loss_landscape.cards import frame_card
from vesalius.methods.loss_landscape.examples import Examples, Values
from vesalius.methods.loss_landscape.frame import Frame, Source
from vesalius.methods.loss_landscape.points import check_frame
from vesalius.methods.loss_landscape.result import Measured, pick, summarise
from vesalius.models import zoo
from vesalius.models.displaced import Weights, displaced
from vesalius.models.flat_weights import FlatWeights
from vesalius.models.recorder import checkpoints_in
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups
from vesalius.models.weights import fit_weights, read_weights
from vesalius.numerics.weight_directions import (
    Projection,
    difference,
    project_least_squares,
    project_paper,
)

ProjectionWord = Literal["least-squares", "paper"]
Heads = Literal["own", "solution"]
Checkpoints = str | Path | Iterable[tuple[int, Source]]
BESIDE: Final = "away from the first axis (length)"  # the paper's second coordinate


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory(AbstractResult):
    """The checkpoints of a training, as points of a frame.

    ``coordinates`` [point, axis] of each step; ``off_plane`` [point] is the share of the way from
    the origin that leads out of the axes' span (of the first axis, with the projection ``paper``),
    ``lengths`` [point] the length of that way in lengths of the first axis. ``values`` and
    ``standard_errors`` hold, by split and measure, what the checkpoints themselves reach [point],
    with their ``own`` heads or the ``solution``'s; empty where they were not measured.
    """

    kind: ClassVar[str] = "loss_landscape.trajectory"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    axes: tuple[str, ...]
    solution: tuple[float, ...]  # where the model's own weights stand
    steps: Int[np.ndarray, " point"]
    coordinates: Float[np.ndarray, "point axis"]
    off_plane: Float[np.ndarray, " point"]
    lengths: Float[np.ndarray, " point"]
    projection: ProjectionWord
    heads: Heads
    values: Measured
    standard_errors: Measured
    num_examples: dict[str, int]

    def measured(self, split: str, measure: str) -> Float[np.ndarray, " point"]:
        """Give the mean of a measure at every checkpoint.

        Raises:
            VesaliusError: a split or measure that was not taken.
        """
        return pick(self.values, split, measure)

    def to_table(self) -> pa.Table:
        """One row for each checkpoint: step, coordinates, way out of the plane, every measure.

        Source: this project.
        """
        letters = ("alpha", "beta")[: self.coordinates.shape[1]]
        columns: dict[str, Any] = {"step": self.steps}
        columns |= {letter: self.coordinates[:, k] for k, letter in enumerate(letters)}
        columns |= {"off_plane": self.off_plane, "length": self.lengths}
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
        """Draw the path over the axes of its frame; returns matplotlib Axes.

        Source: arXiv 1908.05620, figure 3.
        """
        from vesalius.methods.loss_landscape.plot import plot_trajectory

        return plot_trajectory(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.report import write_trajectory

        return write_trajectory(self, path, force=force)


def trajectory(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    checkpoints: Checkpoints,
    *,
    projection: ProjectionWord = "least-squares",
    heads: Heads = "own",
    evaluate: bool = True,
) -> Trajectory:
    """Find the checkpoints of a training in a frame, and measure them; one is read at a time.

    Args:
        specimen: the model; it is itself again afterwards, bit for bit.
        examples: what the checkpoints are measured on.
        frame: one or two axes.
        checkpoints: a folder (see ``checkpoints_in``), a model bundled with its training, or
            pairs of a rising step and weights as ``read_weights`` takes them.
        projection: ``least-squares`` gives the nearest point of the axes' span; ``paper`` uses
            the first axis, towards the solution, and the length of all that is beside it.
        heads: ``own`` measures each checkpoint as it is, ``solution`` with the model's head.
        evaluate: measure the checkpoints, not only place them.

    Raises:
        VesaliusError: no checkpoints, one that does not fit, axes without a projection.

    Source: arXiv 1908.05620, section 3.2; least squares and true losses: this project.
    """
    stopwatch = Stopwatch.start()
    check_word("projection", projection, words_of(ProjectionWord))
    check_word("heads", heads, words_of(Heads))
    check_frame(specimen, frame)
    _check_projection(projection, frame)
    visit = _Visit(specimen, examples, frame, heads=heads, evaluate=evaluate)
    with closing(visit.deltas(checkpoints)) as deltas:
        found = (
            project_paper(deltas, frame.directions[0])
            if projection == "paper"
            else project_least_squares(deltas, frame.directions)
        )
    means, errors = summarise(visit.measured())
    return Trajectory(
        card=frame_card(
            "landscape trajectory",
            specimen=specimen,
            examples=examples,
            frame=frame,
            stopwatch=stopwatch,
            options={"projection": projection, "heads": heads, "steps": visit.steps},
            values=means,
        ),
        axes=_names(frame, projection),
        solution=(1.0, 0.0) if projection == "paper" else frame.solution,
        **_places(found, visit.steps, frame),
        projection=projection,
        heads=heads,
        values=means,
        standard_errors=errors,
        num_examples=examples.num_examples if evaluate else {},
    )


@final
class _Visit:
    """Goes from checkpoint to checkpoint: reads it, measures it, gives its way from the origin."""

    def __init__(
        self, specimen: Specimen, examples: Examples, frame: Frame, *, heads: Heads, evaluate: bool
    ) -> None:
        groups = weight_groups(specimen)
        self._specimen, self._examples, self._frame = specimen, examples, frame
        self._evaluate = evaluate
        self._heads = tuple(groups.head) if heads == "own" and evaluate else ()
        body = groups.encoder if evaluate else ()
        self._names = tuple(dict.fromkeys((*frame.names, *body)))
        self.steps: list[int] = []
        self._rows: list[Values] = []

    def deltas(self, checkpoints: Checkpoints) -> Generator[Weights, None, None]:
        """Give the way of each checkpoint from the frame's origin, by name."""
        with ExitStack() as held:
            measure = None
            if self._evaluate:
                measure = held.enter_context(self._examples.measuring(self._specimen))
            for pair in tqdm(_pairs(checkpoints), desc="checkpoints", disable=None):
                weights = self._fitted(*self._checked(pair))
                if measure is not None:
                    self._rows.append(self._measured_at(weights, measure))
                delta = self._from_origin(weights)
                del weights
                yield delta
                delta.clear()  # whoever had it may still hold the name: the next one is read now
        if not self.steps:
            raise VesaliusError(
                given="no checkpoint", expected="at least one", fix="name the folder of a training"
            )

    def measured(self) -> Measured:
        """Give what was measured, by split and measure [point, example]."""
        first: Values = self._rows[0] if self._rows else {}
        return {
            split: {name: np.stack([row[split][name] for row in self._rows]) for name in measures}
            for split, measures in first.items()
        }

    def _measured_at(self, weights: Weights, measure: Callable[[], Values]) -> Values:
        with displaced(self._specimen.model, weights) as move:
            move(())
            return measure()

    def _from_origin(self, weights: Weights) -> dict[str, torch.Tensor]:
        origin = self._frame.origin
        here = FlatWeights.of(
            weights, names=self._frame.names, dtype=origin.flat.dtype, device=origin.flat.device
        )
        return difference(here, origin)

    def _checked(self, pair: Any) -> tuple[int, Source]:
        """A step and its weights, if the step is later than the one before."""
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], int):
            raise VesaliusError(
                given=f"a checkpoint given as {type(pair).__name__}",
                expected="pairs of a step and weights",
                fix="checkpoints=[(0, first), (100, second)], or the folder that holds them",
            )
        step, source = pair
        if self.steps and step <= self.steps[-1]:
            raise VesaliusError(
                given=f"step {step} after step {self.steps[-1]}",
                expected="checkpoints in the order of their steps",
                fix="sort the pairs, and give each step once",
            )
        self.steps.append(step)
        return step, source

    def _fitted(self, step: int, source: Source) -> dict[str, torch.Tensor]:
        model, what = self._specimen.model, f"step {step}"
        found = read_weights(source)
        weights = fit_weights(found, model, self._names, what=what)
        try:
            return weights | fit_weights(found, model, self._heads, what=what)
        except VesaliusError as error:
            raise VesaliusError(
                given=error.given,
                expected=f"{error.expected}; a checkpoint is measured with its own head",
                fix="heads='solution' (--heads solution) measures all of them with the model's",
            ) from error


def _pairs(checkpoints: Checkpoints) -> Iterable[tuple[int, Source]]:
    if not isinstance(checkpoints, str | Path):
        return checkpoints
    if str(checkpoints) in zoo.names() and not Path(checkpoints).is_dir():
        return zoo.trajectory(str(checkpoints))
    return checkpoints_in(checkpoints)


def _check_projection(projection: ProjectionWord, frame: Frame) -> None:
    if projection == "paper" and frame.axes[0].word != "solution":
        raise VesaliusError(
            given=f"projection='paper' with the first axis {frame.axes[0].name!r}",
            expected="a first axis from the start towards the solution",
            fix="make the frame with axes=('solution', ...), or use least-squares",
        )


def _names(frame: Frame, projection: ProjectionWord) -> tuple[str, ...]:
    if projection == "paper":
        return (frame.axes[0].name, BESIDE)
    return tuple(axis.name for axis in frame.axes)


def _places(found: Projection, steps: list[int], frame: Frame) -> dict[str, Any]:
    return {
        "steps": np.array(steps, dtype=np.int64),
        "coordinates": found.coordinates,
        "off_plane": found.off_plane,
        "lengths": found.lengths / frame.axes[0].norm,
    }
