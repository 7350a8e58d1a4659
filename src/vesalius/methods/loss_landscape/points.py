"""Measure a model at points of a frame: here and now, or as a sweep that can be gone on with.

A run's folder holds all that a worker needs, so that it can be resumed by anyone who has it:

    inputs/   the model, frame.safetensors, examples.safetensors and run.json, their fingerprints
    points/   the sweep, one folder for each round of points
    result/   what came out

Source: docs/architecture.md (long work); this project.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape.examples import Examples, Values
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.inputs import INPUTS, MODEL, read_inputs
from vesalius.methods.loss_landscape.result import Measured
from vesalius.methods.loss_landscape.stacking import is_worth_stacking, measure_stacked
from vesalius.models.displaced import displaced
from vesalius.models.opening import open_same
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups
from vesalius.numerics.weight_directions import norm
from vesalius.parallel.memory import DEFAULT_BYTES, parse_bytes
from vesalius.parallel.sweep import Engine, sweep
from vesalius.parallel.task import PLACE, AbstractTask, Worker

POINTS: Final = "points"
_NEAR: Final = 1e-5  # of the lengths involved: rounding stays below, one optimiser step does not
TILE: Final = 16  # points that are written together
Points = Float[np.ndarray, "point axis"]


@final
@dataclass(frozen=True, kw_only=True)
class Run:
    """How points are measured.

    Without ``out`` it is done in this process, on all threads, and many points at once where a
    net is tiny (equal up to rounding). With it, ``out`` becomes a folder
    that the same call goes on with; workers compute on one thread each, so that their number and
    the ``engine`` (``local`` or ``ray``) change no bit.
    """

    out: Path | None = None
    workers: int = 1
    engine: Engine = "local"
    address: str | None = None
    memory: str | int = DEFAULT_BYTES


@final
@dataclass(frozen=True, kw_only=True)
class PointTask(AbstractTask):
    """Measure all examples at one point; a row holds a column [example] per split and measure.

    An item has ``coefficients`` [axis].

    Source: arXiv 1908.05620, section 3.
    """

    model_fingerprint: str
    frame_fingerprint: str
    examples_fingerprint: str
    device: str
    dtype: str
    memory_bytes: int
    inputs: str = field(metadata=PLACE)

    def open(self) -> Worker:
        """Open model, frame and examples from the folder of the run.

        Raises:
            VesaliusError: one of them is missing, damaged or another one.
        """
        folder = Path(self.inputs)
        specimen = open_same(
            str(folder / MODEL),
            fingerprint=self.model_fingerprint,
            revision="main",
            device=self.device,
            dtype=self.dtype,
            with_tokenizer=False,
        )
        frame, examples = read_inputs(
            folder,
            specimen=specimen,
            frame_fingerprint=self.frame_fingerprint,
            examples_fingerprint=self.examples_fingerprint,
        )
        return _Worker(specimen, examples, frame, self.memory_bytes)


@final
class _Worker:
    """Holds the model open for moving, and measures it at one point after another."""

    def __init__(
        self, specimen: Specimen, examples: Examples, frame: Frame, memory_bytes: int
    ) -> None:
        self._held = ExitStack()
        self._measure = self._held.enter_context(
            measuring_points(specimen, examples, frame, memory_bytes=memory_bytes)
        )

    def __call__(self, item: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
        return {
            f"{split}.{measure}": values
            for split, measures in self._measure(item["coefficients"]).items()
            for measure, values in measures.items()
        }


@contextmanager
def measuring_points(
    specimen: Specimen, examples: Examples, frame: Frame, *, memory_bytes: int = DEFAULT_BYTES
) -> Generator[Callable[[Sequence[float]], Values], None, None]:
    """Hand over a function that measures the model at coefficients [axis] of a frame.

    The model is itself again afterwards, bit for bit, also after an exception.

    Source: arXiv 1908.05620, section 3.
    """
    lowest = weight_groups(specimen).first_layer(frame.names)
    with (
        examples.measuring(specimen, first_layer=lowest, memory_bytes=memory_bytes) as measured,
        displaced(specimen.model, frame.origin, frame.directions, home=frame.solution) as move,
    ):

        def at(coefficients: Sequence[float]) -> Values:
            move(coefficients)
            return measured()

        yield at


def check_frame(specimen: Specimen, frame: Frame) -> None:
    """See that the model stands where the frame has its solution.

    Raises:
        VesaliusError: the frame was made with other weights.
    """
    reach = norm(frame.origin) + sum(axis.norm for axis in frame.axes)
    beside = 0.0
    for name, begin in frame.origin.items():
        place = begin.detach().clone()
        for coefficient, axis in zip(frame.solution, frame.directions, strict=True):
            place += coefficient * axis[name]
        own = specimen.model.get_parameter(name).detach()
        beside += float((own.to(place) - place).square().sum())
    if not beside**0.5 <= _NEAR * reach:
        raise VesaliusError(
            given=f"a frame whose solution is not where {specimen.name} stands",
            expected="the model that the frame was made with, its weights unchanged",
            fix="make the frame again",
        )


def measure_points(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    points: Points,
    *,
    run: Run,
    name: str = "points",
    round_number: int = 0,
) -> Measured:
    """Measure all examples at coefficients [point, axis]: split -> measure -> [point, example].

    With ``run.out``, whose ``inputs/`` must be there, it is a sweep that goes on where it stopped.

    Raises:
        VesaliusError: what the sweep or the model refuses, or points that could not be measured.
    """
    if run.out is not None:
        return _swept(specimen, examples, frame, points, run, name, round_number)
    memory_bytes = parse_bytes(run.memory)
    if is_worth_stacking(specimen, examples, frame, num_points=len(points)):
        stacked = measure_stacked(specimen, examples, frame, points, memory_bytes=memory_bytes)
        if stacked is not None:
            return stacked
    with measuring_points(specimen, examples, frame, memory_bytes=memory_bytes) as at:
        rows = [at(coefficients) for coefficients in tqdm(points.tolist(), desc=name, disable=None)]
    return {
        split: {measure: np.stack([row[split][measure] for row in rows]) for measure in measures}
        for split, measures in rows[0].items()
    }


def _swept(
    specimen: Specimen,
    examples: Examples,
    frame: Frame,
    points: Points,
    run: Run,
    name: str,
    round_number: int,
) -> Measured:
    assert run.out is not None
    task = PointTask(
        model_fingerprint=specimen.fingerprint,
        frame_fingerprint=frame.fingerprint,
        examples_fingerprint=examples.fingerprint,
        device=str(specimen.device),
        dtype=str(specimen.dtype).removeprefix("torch."),
        memory_bytes=parse_bytes(run.memory),
        inputs=str((run.out / INPUTS).resolve()),
    )
    done = sweep(
        task,
        [{"coefficients": row} for row in points.tolist()],
        run.out / POINTS / f"{round_number:02d}",
        engine=run.engine,
        workers=run.workers,
        address=run.address,
        shard_size=TILE,
        name=name,
    )
    if done.skipped:
        first = done.skipped[0]
        raise VesaliusError(
            given=f"{len(done.skipped)} points that could not be measured, the first: "
            f"{first.error}: {first.reason}",
            expected="a measure for every point",
            fix="mend the cause, delete the folder of points and run the same command again",
        )
    found: Measured = {}
    for split, measures in measured_names(examples, done.table().column_names).items():
        found[split] = {measure: done.array(f"{split}.{measure}") for measure in measures}
    return found


def measured_names(examples: Examples, columns: Sequence[str]) -> dict[str, list[str]]:
    """Sort the columns ``split.measure`` of a sweep by split."""
    return {
        split: [c.removeprefix(f"{split}.") for c in columns if c.startswith(f"{split}.")]
        for split in examples.splits
    }
