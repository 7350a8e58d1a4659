"""What the commands of `landscape` read: axes, grids, examples, sources of weights.

What can be refused is refused here, before a model is opened or anything is measured.

Source: the commands of docs/architecture.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from vesalius.cli.attention_data import check_apart, open_data, read_lines
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.landscape_flags import (
    AbstractExamplesFlags,
    AbstractFrameFlags,
    AbstractRunFlags,
    AbstractStartFlags,
)
from vesalius.cli.neuron_corpus import check_outputs
from vesalius.core.checks import check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.data.labelled import LabelledData
    from vesalius.methods.loss_landscape import Examples, Frame, Run
    from vesalius.methods.loss_landscape.frame import Source
    from vesalius.models.specimen import Specimen

OPINIONS: Final = "opinions"
TRACE: Final = "trajectory"  # beside the result in the folder of a surface
PAGE: Final = "page.html"


@final
@dataclass(frozen=True, kw_only=True)
class Material:
    """What examples are made of: labelled data, or texts for a language model; and the metrics."""

    data: "LabelledData | None"
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    metrics: Mapping[str, str]


def check_files(flags: AbstractExamplesFlags, out: Path | None) -> None:
    """Refuse results, pages and pictures that could not be written, and sizes that are none.

    Raises:
        VesaliusError: something stands there already, or a memory that is no size.
        WrongUsage: two places that are not beside each other, a picture of an unknown kind.
    """
    check_outputs(out, flags.html, flags.plot, force=flags.force)
    check_apart(out=out, html=flags.html, plot=flags.plot)
    _check_common(flags)


def check_run(flags: AbstractRunFlags) -> None:
    """Refuse a run whose folder holds something else, and options of runs without a folder.

    Raises:
        VesaliusError: files that are there, or a folder that is not that of a run.
        WrongUsage: places that are not beside each other, workers without a folder.
    """
    from vesalius.methods.loss_landscape.inputs import INPUTS, MARKER
    from vesalius.parallel.sweep import Engine

    check_outputs(None, flags.html, flags.plot, force=flags.force)
    check_apart(out=flags.out, html=flags.html, plot=flags.plot)
    _check_common(flags)
    check_word("engine", flags.engine, words_of(Engine))
    if flags.out is None:
        several = {"--workers": flags.workers > 1, "--engine": flags.engine != "local",
                   "--address": bool(flags.address)}  # fmt: skip
        if asked := [name for name, is_set in several.items() if is_set]:
            wrong_usage(
                given=f"{asked[0]} without --out",
                expected="a folder, from which workers take their part",
                fix="add --out FOLDER, or leave it out: one process uses all threads",
            )
        return
    if (flags.out / INPUTS / MARKER).is_file():
        return
    if flags.out.exists() and not (flags.out.is_dir() and not any(flags.out.iterdir())):
        raise VesaliusError(
            given=f"output folder {flags.out.name!r}, which holds something else",
            expected="a new folder, or that of the same run",
            fix="choose another output folder",
        )
    check_new_output(flags.out / INPUTS)


def _check_common(flags: AbstractExamplesFlags) -> None:
    from vesalius.parallel.memory import parse_bytes

    parse_bytes(flags.memory)
    check_word("held-out", flags.held_out, ("dev", "test"))


def axis_words(name: str, given: str, *, counts: Sequence[int]) -> tuple[str, ...]:
    """Read the words of axes, with commas between.

    Raises:
        VesaliusError: an unknown word.
        WrongUsage: too many or too few.
    """
    from vesalius.methods.loss_landscape.frame import AxisWord

    words = tuple(word.strip() for word in given.split(","))
    for word in words:
        check_word(name, word, words_of(AxisWord))
    if len(words) not in counts:
        wrong_usage(
            given=f"--{name} {given}: {len(words)}",
            expected=" or ".join("one axis" if n == 1 else "two axes" for n in counts),
            fix=f"write --{name} {'solution,random' if 2 in counts else 'solution'}",
        )
    return words


def check_frame_flags(
    flags: AbstractFrameFlags, words: Sequence[str], *, reads_checkpoints: bool = False
) -> None:
    """Refuse sources that no axis needs, and axes without their sources.

    ``reads_checkpoints`` where the command itself does.

    Raises:
        VesaliusError: an unknown normalisation.
        WrongUsage: they do not go together.
    """
    from vesalius.methods.loss_landscape.frame import FROM_START
    from vesalius.numerics.weight_directions import Normalisation

    check_word("normalisation", flags.normalisation, words_of(Normalisation))
    if "other" in words and not flags.other:
        wrong_usage(
            given="the axis other without --other",
            expected="a second solution",
            fix="name the model that another training ended in: --other FOLDER",
        )
    if "other" in words and "solution" not in words:
        wrong_usage(
            given="the axis other without solution",
            expected="the axis towards the model itself beside it",
            fix="write --axes solution,other",
        )
    asked = {
        "start": (flags.start, bool({*FROM_START} & {*words})),
        "other": (flags.other, "other" in words),
        "checkpoints": (flags.checkpoints, "pca" in words or reads_checkpoints),
        "normalisation": (flags.normalisation != "filter", "random" in words),
    }
    for name, (given, is_needed) in asked.items():
        if given and not is_needed:
            wrong_usage(
                given=f"--{name} with the axes {', '.join(words)}",
                expected=f"axes that --{name} has a part in",
                fix=f"leave --{name} out, or choose other axes",
            )


def read_material(flags: AbstractExamplesFlags) -> Material:
    """Read the data or the texts that the flags name, and find the metrics.

    Raises:
        VesaliusError: data or texts that cannot be read, a metric that cannot be imported.
        WrongUsage: both of them, or what only one of them takes.
    """
    metrics = _metrics(flags.metric or ())
    if flags.texts is None:
        if flags.held_out_texts is not None:
            wrong_usage(
                given="--held-out-texts without --texts",
                expected="texts for a language model, as train",
                fix="add --texts FILE",
            )
        return Material(data=open_data(flags), train=(), held_out=(), metrics=metrics)
    if metrics or flags.data != OPINIONS:
        wrong_usage(
            given=f"--texts with {'--metric' if metrics else '--data'}",
            expected="texts for a language model, or labelled data for a classifier",
            fix="leave one of them out",
        )
    held_out = () if flags.held_out_texts is None else _texts(flags.held_out_texts)
    return Material(
        data=None,
        train=_first(_texts(flags.texts), flags.max_train),
        held_out=_first(held_out, flags.max_held_out),
        metrics={},
    )


def _texts(path: Path) -> tuple[str, ...]:
    first, second = read_lines(path)
    if second is not None:
        raise VesaliusError(
            given=f"{path}: tabs, as between the two texts of a pair",
            expected="one text on each line, for a language model",
            fix="take the tabs out",
        )
    return first


def _first(texts: tuple[str, ...], most: int) -> tuple[str, ...]:
    if not 0 < most < len(texts):
        return texts
    say(f"vesalius: the first {most} of {len(texts)} texts")
    return texts[:most]


def _metrics(given: Sequence[str]) -> dict[str, str]:
    from vesalius.methods.loss_landscape.measures import find_metric

    found: dict[str, str] = {}
    for word in given:
        name, _, path = word.partition("=")
        if not name.isidentifier() or not path or name in found:
            wrong_usage(
                given=f"--metric {word}" + (", twice" if name in found else ""),
                expected="NAME=package.module:function, each name once",
                fix="write --metric brier=my_package.my_module:brier",
            )
        find_metric(name, path)
        found[name] = path
    return found


def make_examples(
    specimen: "Specimen", material: Material, flags: AbstractExamplesFlags
) -> "Examples":
    """Draw the examples that every point is measured on.

    Raises:
        VesaliusError: data or texts that do not fit the model.
        WrongUsage: a language model without texts.
    """
    from vesalius.methods.loss_landscape import Examples

    options: dict[str, Any] = {"seed": flags.seed, "max_length": flags.max_length}
    if material.data is None:
        return Examples.of_texts(specimen, material.train, material.held_out, **options)
    if specimen.task in ("masked-lm", "causal-lm"):
        wrong_usage(
            given=f"{specimen.name}, a language model, without --texts",
            expected="texts to measure its loss on",
            fix="add --texts FILE, one a line, and --held-out-texts FILE; or name a classifier",
        )
    _note_on_bundled(flags)
    return Examples.of_labelled(
        specimen,
        material.data,
        max_train=flags.max_train,
        max_held_out=flags.max_held_out,
        held_out=flags.held_out,
        metrics=material.metrics,
        **options,
    )


def _note_on_bundled(flags: AbstractExamplesFlags) -> None:
    from vesalius.models import zoo

    if flags.data == OPINIONS and flags.model in zoo.names():
        say(
            f"vesalius: {flags.model} was not fine-tuned on {OPINIONS}: train loss is that of the "
            "split train of these"
        )


def find_start(flags: AbstractStartFlags) -> "Source":
    """Give --start, or what lies beside the model.

    Raises:
        VesaliusError: nothing does.
    """
    from vesalius.models.training_path import start_of

    return flags.start or start_of(flags.model)


def find_sources(flags: AbstractFrameFlags, words: Sequence[str]) -> dict[str, Any]:
    """Find the weights that the axes are made of, as ``make_frame`` takes them.

    Raises:
        VesaliusError: a start or checkpoints that were left out and do not lie beside the model.
    """
    from vesalius.methods.loss_landscape.frame import FROM_START
    from vesalius.models.training_path import checkpoints_of

    found: dict[str, Any] = {}
    if {*FROM_START} & {*words}:
        found["start"] = find_start(flags)
    if "other" in words:
        found["other"] = flags.other
    if "pca" in words:
        path = checkpoints_of(flags.checkpoints or flags.model)
        found["checkpoints"] = [weights for _, weights in path]
    return found


def lay_axes(
    specimen: "Specimen",
    examples: "Examples",
    words: Sequence[str],
    sources: Mapping[str, Any],
    flags: AbstractFrameFlags,
) -> "Frame":
    """Make the frame that the flags ask for.

    Raises:
        VesaliusError: sources that do not fit the model, or axes that are none.
    """
    from vesalius.methods.loss_landscape import make_frame

    asked: Any = {"axes": tuple(words), "normalisation": flags.normalisation}
    return make_frame(
        specimen, examples=examples, moved=flags.moved, seed=flags.seed, **asked, **sources
    )


def make_run(flags: AbstractRunFlags) -> "Run":
    """Say how the points are measured."""
    from vesalius.methods.loss_landscape import Run

    engine: Any = flags.engine
    return Run(
        out=flags.out,
        workers=flags.workers,
        engine=engine,
        address=flags.address or None,
        memory=flags.memory,
    )
