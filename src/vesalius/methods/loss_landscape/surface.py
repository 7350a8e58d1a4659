"""`landscape surface`: loss and error over a plane of two axes.

Source: arXiv 1908.05620, section 3.2 (two-dimensional surfaces), 3.4 (generalization error).
"""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.card import Stopwatch
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.loss_landscape.cards import frame_card
from vesalius.methods.loss_landscape.config import SURFACE_STEPS, Bounds, grid_axis
from vesalius.methods.loss_landscape.examples import TRAIN, Examples
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.inputs import RESULT, write_inputs
from vesalius.methods.loss_landscape.measures import LOSS
from vesalius.methods.loss_landscape.points import Run, check_frame, measure_points
from vesalius.methods.loss_landscape.result import Measured, Surface, summarise
from vesalius.models.specimen import Specimen
from vesalius.numerics.adaptive_grid import Interpolation, refine


def surface(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    *,
    bounds: Sequence[Bounds] | None = None,
    steps: tuple[int, int] = SURFACE_STEPS,
    adaptive: float | None = None,
    keep_examples: bool = False,
    run: Run | None = None,
    seed: int = 0,
) -> Surface:
    """Measure a model over a plane in weight space.

    Args:
        specimen: the model; it is itself again afterwards, bit for bit.
        examples: what is measured, train and held-out data in the same pass.
        frame: two axes.
        bounds: first and last coefficient of both axes; None takes the usual ones.
        steps: points along both axes, bounds among them; they may differ.
        adaptive: None evaluates every point. A number of nats evaluates where the training loss
            bends by more than that and interpolates the rest; how far that is off is measured.
        keep_examples: keep the measures of every example, for subsets, classes and bands.
        run: a folder to go on with, workers, memory; None does it here and now.
        seed: of the points at which an adaptive surface is checked.

    Raises:
        VesaliusError: bounds without meaning, one axis, a frame of another model, single examples
            of an adaptive surface, or what the run refuses.

    Source: arXiv 1908.05620, equation 2.
    """
    stopwatch, run = Stopwatch.start(), run or Run()
    _check(frame, adaptive, keep_examples=keep_examples)
    first, second = frame.bounds if bounds is None else bounds
    alphas = grid_axis("first bounds", first, steps[0])
    betas = grid_axis("second bounds", second, steps[1])
    check_frame(specimen, frame)
    grid: dict[str, Any] = {
        "bounds": [[float(axis[0]), float(axis[-1])] for axis in (alphas, betas)],
        "steps": [len(alphas), len(betas)],
        "adaptive": adaptive,
    } | ({} if adaptive is None else {"seed": seed})
    if run.out is not None:
        write_inputs(run.out, specimen=specimen, examples=examples, frame=frame, grid=grid)
        if (run.out / RESULT).is_dir():
            return Surface.load(run.out / RESULT)
    painter = _Painter(specimen, examples, frame, alphas, betas, run)
    drawn = painter.exact() if adaptive is None else painter.refined(adaptive, seed=seed)
    result = painter.result(drawn, stopwatch, grid, keep_examples=keep_examples)
    if run.out is not None:
        result.save(run.out / RESULT)
    return result


_Drawn = tuple[Measured, Measured, np.ndarray, Interpolation | None, Measured]


@final
class _Painter:
    """Fills a grid, point by point or where it bends."""

    def __init__(
        self,
        specimen: Specimen,
        examples: Examples,
        frame: Frame,
        alphas: Float[np.ndarray, " x"],
        betas: Float[np.ndarray, " y"],
        run: Run,
    ) -> None:
        self._specimen, self._examples, self._frame = specimen, examples, frame
        self._alphas, self._betas, self._run = alphas, betas, run
        self._round = 0
        self._names: list[tuple[str, str]] = []

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._alphas), len(self._betas)

    def measured(self, places: Int[np.ndarray, "point 2"]) -> Measured:
        """Measure at grid places: split -> measure -> [point, example]."""
        points = np.stack([self._alphas[places[:, 0]], self._betas[places[:, 1]]], axis=1)
        found = measure_points(
            self._specimen,
            self._examples,
            self._frame,
            points,
            run=self._run,
            name="surface" if self._round == 0 else f"surface, round {self._round + 1}",
            round_number=self._round,
        )
        self._round += 1
        return found

    def exact(self) -> _Drawn:
        places = np.argwhere(np.ones(self.shape, dtype=bool))
        flat = self.measured(places)
        found = {
            split: {m: v.reshape(*self.shape, -1) for m, v in measures.items()}
            for split, measures in flat.items()
        }
        means, errors = summarise(found)
        return means, errors, np.ones(self.shape, dtype=bool), None, found

    def refined(self, tolerance: float, *, seed: int) -> _Drawn:
        generator = np.random.default_rng(derive_seed(seed, "adaptive"))
        alpha, beta = self._frame.solution
        solution = (
            int(np.abs(self._alphas - alpha).argmin()),
            int(np.abs(self._betas - beta).argmin()),
        )
        drawn = refine(
            self._columns, self.shape, tolerance=tolerance, seeds=[solution], generator=generator
        )
        means: Measured = {}
        errors: Measured = {}
        for place, (split, measure) in enumerate(self._names):
            means.setdefault(split, {})[measure] = drawn.values[:, :, 2 * place]
            errors.setdefault(split, {})[measure] = drawn.values[:, :, 2 * place + 1]
        return means, errors, drawn.evaluated, drawn.interpolation, {}

    def result(
        self, drawn: _Drawn, stopwatch: Stopwatch, grid: dict[str, Any], *, keep_examples: bool
    ) -> Surface:
        means, errors, evaluated, interpolation, found = drawn
        frame, examples = self._frame, self._examples
        return Surface(
            card=frame_card(
                "landscape surface",
                specimen=self._specimen,
                examples=examples,
                frame=frame,
                stopwatch=stopwatch,
                options=grid,
                values=means,
            ),
            axes=(frame.axes[0].name, frame.axes[1].name),
            norms=(frame.axes[0].norm, frame.axes[1].norm),
            cosine=float(frame.cosines[0, 1]),
            alphas=self._alphas,
            betas=self._betas,
            solution=(frame.solution[0], frame.solution[1]),
            values=means,
            standard_errors=errors,
            num_examples=examples.num_examples,
            evaluated=evaluated,
            interpolation=interpolation,
            examples=found if keep_examples else {},
            labels=examples.labels if keep_examples else {},
        )

    def _columns(self, places: Int[np.ndarray, "point 2"]) -> Float[np.ndarray, "point value"]:
        """Means and standard errors of all measures, the training loss first."""
        means, errors = summarise(self.measured(places))
        names = [(split, measure) for split, measures in means.items() for measure in measures]
        self._names = sorted(names, key=lambda name: name != (TRAIN, LOSS))
        pairs = [(means[s][m], errors[s][m]) for s, m in self._names]
        return np.stack([column for pair in pairs for column in pair], axis=1)


def _check(frame: Frame, adaptive: float | None, *, keep_examples: bool) -> None:
    if len(frame.axes) != 2:
        raise VesaliusError(
            given=f"a frame of one axis ({frame.axes[0].name})",
            expected="two axes for a surface",
            fix="make a frame with a second axis, or measure a line",
        )
    if adaptive is not None and keep_examples:
        raise VesaliusError(
            given="the losses of single examples on an adaptive surface",
            expected="every point evaluated, where examples are kept",
            fix="leave adaptive or keep_examples out",
        )
