"""`vesalius landscape line | surface | barrier`: runs over points of weight space.

Source: arXiv 1908.05620, section 3.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.landscape_flags import AbstractRunFlags, BarrierFlags, LineFlags, SurfaceFlags
from vesalius.cli.landscape_grid import line_grid, surface_grid
from vesalius.cli.landscape_inputs import (
    PAGE,
    TRACE,
    axis_words,
    check_frame_flags,
    check_run,
    find_sources,
    lay_axes,
    make_examples,
    make_run,
    read_material,
)
from vesalius.cli.landscape_show import (
    barrier_as_json,
    line_as_json,
    saved_files,
    show_barrier,
    show_line,
    show_surface,
    show_warnings,
    surface_as_json,
    tell,
    trajectory_as_json,
)
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit_json

if TYPE_CHECKING:
    from vesalius.methods.loss_landscape import Examples, Frame, Surface, Trajectory
    from vesalius.models.specimen import Specimen

_OTHER: Final = "solution,other"
_RANDOM: Final = "solution,random"


def run_line(flags: LineFlags) -> None:
    """Measure a model along one axis; print, save and draw it.

    Raises:
        VesaliusError: data, sources or options that do not fit the model, or files that exist.
        WrongUsage: flags that do not go together.
    """
    check_run(flags)
    words = axis_words("axis", flags.axis, counts=(1,))
    check_frame_flags(flags, words)
    bounds, steps = line_grid(flags)
    material = read_material(flags)
    sources = find_sources(flags, words)
    from vesalius.methods.loss_landscape import line

    specimen = open_model(flags.model, flags)
    examples = make_examples(specimen, material, flags)
    frame = lay_axes(specimen, examples, words, sources, flags)
    if flags.dry_run:
        _forecast(specimen, examples, frame, flags, num_points=steps)
        return
    was_there = _is_finished(flags)
    found = line(
        specimen,
        examples,
        frame,
        bounds=bounds,
        steps=steps,
        keep_examples=flags.keep_examples,
        run=make_run(flags),
    )
    _check_kept(found, flags.keep_examples, flags.out)
    _write(flags, found.to_html, found.plot)
    tell(found, flags, "line", line_as_json, show_line)
    _close(found, flags, was_there=was_there)


def run_surface(flags: SurfaceFlags) -> None:
    """Measure a model over a plane of two axes; print, save and draw it, perhaps with a path.

    Raises:
        VesaliusError: data, sources or options that do not fit the model, or files that exist.
        WrongUsage: flags that do not go together.
    """
    check_run(flags)
    words = axis_words("axes", flags.axes or (_OTHER if flags.other else _RANDOM), counts=(2,))
    check_frame_flags(flags, words)
    _check_adaptive(flags)
    bounds, steps = surface_grid(flags)
    material = read_material(flags)
    sources = find_sources(flags, words)
    from vesalius.methods.loss_landscape import surface, trajectory
    from vesalius.models.training_path import checkpoints_of

    checkpoints = checkpoints_of(flags.trajectory) if flags.trajectory else None
    specimen = open_model(flags.model, flags)
    examples = make_examples(specimen, material, flags)
    frame = lay_axes(specimen, examples, words, sources, flags)
    if flags.dry_run:
        _forecast(specimen, examples, frame, flags, num_points=steps[0] * steps[1])
        return
    was_there = _is_finished(flags)
    found = surface(
        specimen,
        examples,
        frame,
        bounds=bounds,
        steps=steps,
        adaptive=flags.adaptive,
        keep_examples=flags.keep_examples,
        run=make_run(flags),
        seed=flags.seed,
    )
    _check_kept(found, flags.keep_examples, flags.out)
    path = None if checkpoints is None else trajectory(specimen, examples, frame, checkpoints)
    _write_surface(found, path, flags)
    if flags.json:
        told = {"surface": surface_as_json(found)}
        told |= {} if path is None else {"trajectory": trajectory_as_json(path)}
        emit_json({**told, "saved": saved_files(flags)})
    else:
        show_surface(found, path)
    _close(found, flags, was_there=was_there)


def run_barrier(flags: BarrierFlags) -> None:
    """Measure a model on its straight way to another; print, save and draw it.

    Raises:
        VesaliusError: data or models that do not fit each other, or files that exist.
        WrongUsage: flags that do not go together.
    """
    check_run(flags)
    material = read_material(flags)
    from vesalius.methods.loss_landscape import barrier

    specimen = open_model(flags.model, flags)
    examples = make_examples(specimen, material, flags)
    if flags.dry_run:
        _forecast(specimen, examples, None, flags, num_points=flags.steps)
        return
    was_there = _is_finished(flags)
    found = barrier(
        specimen,
        examples,
        flags.other,
        steps=flags.steps,
        moved=flags.moved,
        run=make_run(flags),
    )
    _write(flags, found.to_html, found.plot)
    tell(found, flags, "barrier", barrier_as_json, show_barrier)
    _close(found, flags, was_there=was_there)


def _check_adaptive(flags: SurfaceFlags) -> None:
    if flags.adaptive is None:
        return
    if not 0 < flags.adaptive < float("inf"):
        wrong_usage(
            given=f"--adaptive {flags.adaptive:g}",
            expected="a number of nats above 0",
            fix="write --adaptive 0.05, or leave it out to measure every point",
        )
    if flags.keep_examples:
        wrong_usage(
            given="--adaptive with --keep-examples",
            expected="every point measured, where examples are kept",
            fix="leave one of them out",
        )


def _check_kept(found: Any, wanted: bool, out: Path | None) -> None:
    """Say that a stored result lacks what is asked for now: it was made without it."""
    if wanted and not found.examples:
        say(f"vesalius: {out} was made without --keep-examples, and has no single examples")


def _forecast(
    specimen: "Specimen",
    examples: "Examples",
    frame: "Frame | None",
    flags: AbstractRunFlags,
    *,
    num_points: int,
) -> None:
    from vesalius.cli.landscape_forecast import show_forecast

    moved: str = getattr(flags, "moved", "encoder")
    show_forecast(
        specimen,
        examples,
        num_points=num_points,
        moved=moved,
        num_axes=1 if frame is None else len(frame.axes),
        workers=flags.workers,
        json=flags.json,
    )


def _is_finished(flags: AbstractRunFlags) -> bool:
    from vesalius.methods.loss_landscape.inputs import RESULT

    return flags.out is not None and (flags.out / RESULT).is_dir()


def _write(flags: AbstractRunFlags, page: Callable[..., Any], picture: Callable[[], Any]) -> None:
    """Write the page of the run, then what was asked for beside it."""
    if flags.out is not None:
        page(flags.out / PAGE, force=True)  # it is the run's own
    if flags.html is not None:
        page(flags.html, force=flags.force)
    if flags.plot is not None:
        from vesalius.core.paths import write_file
        from vesalius.plots.style import figure_bytes

        kind = flags.plot.suffix[1:]
        write_file(flags.plot, figure_bytes(picture(), format=kind), force=flags.force)


def _write_surface(found: "Surface", path: "Trajectory | None", flags: SurfaceFlags) -> None:
    from vesalius.methods.loss_landscape.plot import plot_surfaces
    from vesalius.methods.loss_landscape.report import write_surface

    if flags.out is not None and path is not None:
        path.save(flags.out / TRACE, force=True)

    def page(place: Path, *, force: bool) -> Path:
        return write_surface(found, place, trajectory=path, force=force)

    _write(flags, page, lambda: plot_surfaces(found, trajectory=path))


def _close(found: Any, flags: AbstractRunFlags, *, was_there: bool) -> None:
    show_warnings(found)
    if was_there:
        say(f"vesalius: {flags.out} was finished before; this is its result")
    for path in saved_files(flags).values():
        say(f"vesalius: wrote {path}")
