"""`vesalius landscape trajectory | rollback | flatness`: studies of a fine-tuned model.

Source: arXiv 1908.05620, sections 3.2 and 4.2.
"""

from typing import Any, Final

from vesalius.cli.errors import wrong_usage
from vesalius.cli.landscape_flags import (
    AbstractExamplesFlags,
    FlatnessFlags,
    RollbackFlags,
    TrajectoryFlags,
)
from vesalius.cli.landscape_inputs import (
    axis_words,
    check_files,
    check_frame_flags,
    find_sources,
    find_start,
    lay_axes,
    make_examples,
    read_material,
)
from vesalius.cli.landscape_show import (
    flatness_as_json,
    rollback_as_json,
    show_flatness,
    show_rollback,
    show_trajectory,
    show_warnings,
    tell,
    trajectory_as_json,
)
from vesalius.cli.neuron_corpus import write_outputs
from vesalius.cli.opening import open_model
from vesalius.core.checks import check_word, words_of

_NO_AXES: Final = "none"
_SPLITS: Final = ("train", "held_out")


def run_trajectory(flags: TrajectoryFlags) -> None:
    """Place the checkpoints of a training in a frame, and measure them.

    Raises:
        VesaliusError: data or checkpoints that do not fit the model, or files that exist.
        WrongUsage: flags that do not go together.
    """
    from vesalius.methods.loss_landscape.trajectory import Heads, ProjectionWord

    check_files(flags, flags.out)
    words = axis_words("axes", flags.axes, counts=(1, 2))
    check_frame_flags(flags, words, reads_checkpoints=True)
    check_word("projection", flags.projection, words_of(ProjectionWord))
    check_word("heads", flags.heads, words_of(Heads))
    if flags.projection == "paper" and words[0] != "solution":
        wrong_usage(
            given=f"--projection paper with --axes {flags.axes}",
            expected="a first axis from the start towards the solution",
            fix="write --axes solution,random, or --projection least-squares",
        )
    material = read_material(flags)
    sources = find_sources(flags, words)
    from vesalius.methods.loss_landscape import trajectory
    from vesalius.models.training_path import checkpoints_of

    checkpoints = checkpoints_of(flags.checkpoints or flags.model)
    specimen = open_model(flags.model, flags)
    examples = make_examples(specimen, material, flags)
    frame = lay_axes(specimen, examples, words, sources, flags)
    asked: Any = {"projection": flags.projection, "heads": flags.heads}
    found = trajectory(
        specimen, examples, frame, checkpoints, evaluate=not flags.no_losses, **asked
    )
    _end(found, flags, flags.out)
    tell(found, flags, "trajectory", trajectory_as_json, show_trajectory)


def run_rollback(flags: RollbackFlags) -> None:
    """Give groups of layers their old weights back, and measure what that costs.

    Raises:
        VesaliusError: data or a start that do not fit the model, or files that exist.
        WrongUsage: flags that do not go together.
    """
    from vesalius.methods.loss_landscape.rollback import Direction, Groups

    check_files(flags, flags.out)
    check_word("groups", flags.groups, words_of(Groups))
    check_word("direction", flags.direction, words_of(Direction))
    check_word("split", flags.split, _SPLITS)
    material = read_material(flags)
    start = find_start(flags)
    from vesalius.methods.loss_landscape import rollback

    specimen = open_model(flags.model, flags)
    examples = make_examples(specimen, material, flags)
    asked: Any = {"groups": flags.groups, "direction": flags.direction}
    found = rollback(
        specimen,
        examples,
        start,
        split=flags.split,
        num_resamples=flags.resamples,
        memory=flags.memory,
        seed=flags.seed,
        **asked,
    )
    _end(found, flags, flags.out)
    tell(found, flags, "rollback", rollback_as_json, show_rollback)


def run_flatness(flags: FlatnessFlags) -> None:
    """Measure how sharply the loss rises around a model.

    Raises:
        VesaliusError: data, axes or options that do not fit the model, or files that exist.
        WrongUsage: flags that do not go together.
    """
    check_files(flags, flags.out)
    words = () if flags.axes == _NO_AXES else axis_words("axes", flags.axes, counts=(1, 2))
    check_frame_flags(flags, words)
    check_word("split", flags.split, _SPLITS)
    _check_sizes(flags)
    material = read_material(flags)
    sources = find_sources(flags, words)
    from vesalius.methods.loss_landscape import flatness

    specimen = open_model(flags.model, flags)
    examples = make_examples(specimen, material, flags)
    frame = lay_axes(specimen, examples, words, sources, flags) if words else None
    found = flatness(
        specimen,
        examples,
        frame,
        moved=flags.moved,
        split=flags.split,
        tau_nats=flags.tau,
        sigma=flags.sigma,
        rho=flags.rho,
        rho_normalised=flags.rho_normalised,
        num_gaussian=flags.draws,
        num_steps=flags.climb,
        num_probes=flags.probes,
        num_eigenvalues=flags.eigenvalues,
        seed=flags.seed,
        memory=flags.memory,
    )
    _end(found, flags, flags.out)
    tell(found, flags, "flatness", flatness_as_json, show_flatness)


def _check_sizes(flags: FlatnessFlags) -> None:
    for name in ("tau", "sigma", "rho", "rho_normalised"):
        if not 0 < getattr(flags, name) < float("inf"):
            wrong_usage(
                given=f"--{name.replace('_', '-')} {getattr(flags, name):g}",
                expected="a number above 0",
                fix="leave it out",
            )
    if flags.probes == 1:
        wrong_usage(
            given="--probes 1",
            expected="at least 2, for a standard error; or 0 for no trace",
            fix="leave it at 10",
        )


def _end(found: Any, flags: AbstractExamplesFlags, out: Any) -> None:
    show_warnings(found)
    write_outputs(found, out, flags.html, flags.plot, force=flags.force)
