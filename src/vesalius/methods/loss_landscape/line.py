"""`landscape line`: loss and error along one axis.

Source: arXiv 1908.05620, section 3.1 (one-dimensional curves).
"""

from collections.abc import Sequence

from vesalius.core.card import Stopwatch
from vesalius.methods.loss_landscape.cards import frame_card
from vesalius.methods.loss_landscape.config import LINE_STEPS, grid_axis
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.inputs import RESULT, write_inputs
from vesalius.methods.loss_landscape.points import Run, check_frame, measure_points
from vesalius.methods.loss_landscape.result import Line, summarise
from vesalius.models.specimen import Specimen


def line(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    *,
    bounds: Sequence[float] | None = None,
    steps: int = LINE_STEPS,
    keep_examples: bool = False,
    run: Run | None = None,
) -> Line:
    """Measure a model along an axis through its weights.

    Args:
        specimen: the model; it is itself again afterwards, bit for bit.
        examples: what is measured, train and held-out data in the same pass.
        frame: one axis, or two of which the first is taken.
        bounds: first and last coefficient of the axis; None takes the usual ones of its kind.
        steps: points, both bounds among them.
        keep_examples: keep the measures of every example, for subsets, classes and bands.
        run: a folder to go on with, workers, memory; None does it here and now.

    Raises:
        VesaliusError: bounds without meaning, a frame of another model, or what the run refuses.

    Source: arXiv 1908.05620, equation 1.
    """
    stopwatch, run = Stopwatch.start(), run or Run()
    frame = frame if len(frame.axes) == 1 else frame.along(0)
    alphas = grid_axis("bounds", frame.bounds[0] if bounds is None else bounds, steps)
    check_frame(specimen, frame)
    grid = {"bounds": [float(alphas[0]), float(alphas[-1])], "steps": len(alphas)}
    if run.out is not None:
        write_inputs(run.out, specimen=specimen, examples=examples, frame=frame, grid=grid)
        if (run.out / RESULT).is_dir():
            return Line.load(run.out / RESULT)
    found = measure_points(specimen, examples, frame, alphas[:, None], run=run, name="line")
    means, errors = summarise(found)
    result = Line(
        card=frame_card(
            "landscape line",
            specimen=specimen,
            examples=examples,
            frame=frame,
            stopwatch=stopwatch,
            options=grid,
            values=means,
        ),
        axis=frame.axes[0].name,
        norm=frame.axes[0].norm,
        alphas=alphas,
        solution=frame.solution[0],
        values=means,
        standard_errors=errors,
        num_examples=examples.num_examples,
        examples=found if keep_examples else {},
        labels=examples.labels if keep_examples else {},
    )
    if run.out is not None:
        result.save(run.out / RESULT)
    return result
