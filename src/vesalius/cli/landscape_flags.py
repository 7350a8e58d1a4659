"""The flags of `vesalius landscape ...`.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Final, final

from typer import Argument, Option

from vesalius.cli.attention_flags import CLASSIFIER, AbstractDataFlags
from vesalius.cli.flags import AbstractTableFlags

DEMO: Final = Path("landscape-output")
_Out = Annotated[Path | None, Option(help="Folder for the result.")]
_RunOut = Annotated[
    Path | None, Option(help="Folder of the run, with a page; the same command goes on in it.")
]
_Force = Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")]
_Axes = Annotated[
    str,
    Option(help="One or two of solution, other, random, pca, hessian, gradient, a comma between."),
]
_Split = Annotated[str, Option(help="What is measured: train or held_out.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractExamplesFlags(AbstractDataFlags):
    """The model, what it is measured on, which of its weights move, and what is written."""

    model: Annotated[str, Argument(help="A bundled model, a folder, or a name on the hub.")] = (
        CLASSIFIER
    )
    texts: Annotated[
        Path | None, Option(help="For a language model: texts, one a line, as train.")
    ] = None
    held_out_texts: Annotated[
        Path | None, Option(help="With --texts: other texts, one a line, as held-out data.")
    ] = None
    held_out: Annotated[str, Option(help="Split of the data that is held out: dev or test.")] = (
        "dev"
    )
    max_train: Annotated[
        int, Option(help="Examples of train, drawn (texts: the first); 0 takes all.", min=0)
    ] = 512
    max_held_out: Annotated[int, Option(help="Examples of held-out data; 0 takes all.", min=0)] = (
        512
    )
    max_length: Annotated[int, Option(help="Tokens of a text; the rest is cut off.", min=1)] = 128
    metric: Annotated[
        list[str] | None,
        Option(help="NAME=package.module:function, one more measure, of logits [example, label] "
               "and classes [example]; repeat for several."),
    ] = None  # fmt: skip
    memory: Annotated[str, Option(help="What may be kept of lower layers, such as 2GiB.")] = "2GiB"
    seed: Annotated[int, Option(help="Seed of drawn examples and random axes.")] = 0
    html: Annotated[Path | None, Option(help="Write one self-contained page.")] = None
    plot: Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")] = None
    force: _Force = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractStartFlags(AbstractExamplesFlags):
    """Where training began."""

    start: Annotated[
        str,
        Option(help="The weights that training began with: a bundled model, a folder, a name on "
               "the hub; looked for beside the model when left out."),
    ] = ""  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractFrameFlags(AbstractStartFlags):
    """The axes along which a model is moved."""

    other: Annotated[str, Option(help="A second solution, for the axis other.")] = ""
    checkpoints: Annotated[
        str,
        Option(help="A folder of checkpoints, or a model bundled with its training; looked for "
               "beside the model when left out."),
    ] = ""  # fmt: skip
    moved: Annotated[
        str,
        Option(help="What moves: encoder (all but the head), all, low, middle, high, embeddings, "
               "head, or one block such as 'layer 3'."),
    ] = "encoder"  # fmt: skip
    normalisation: Annotated[
        str, Option(help="How random axes follow the weights: filter, layer, weight or none.")
    ] = "filter"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractRunFlags(AbstractExamplesFlags):
    """A run that can be gone on with."""

    out: _RunOut = None
    workers: Annotated[int, Option(help="With --out: workers, one thread each.", min=1)] = 1
    engine: Annotated[str, Option(help="With --out: local, or ray for a Ray cluster.")] = "local"
    address: Annotated[
        str, Option(help="The Ray head, host:port; without it Ray is started here.")
    ] = ""
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the work and the memory it takes, do nothing.")
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractGridFlags(AbstractFrameFlags, AbstractRunFlags):
    """Which points are measured, and what is kept of them."""

    preset: Annotated[
        str, Option(help="default, or paper (from -4 to 4, 40 points along each axis).")
    ] = "default"
    keep_examples: Annotated[
        bool, Option("--keep-examples", help="Keep the measures of every example.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class LineFlags(AbstractGridFlags):
    """Flags of ``vesalius landscape line``."""

    axis: Annotated[str, Option(help="solution, random, pca, hessian or gradient.")] = "solution"
    bounds: Annotated[str, Option(help="From where to where, such as -1,2.")] = ""
    steps: Annotated[int, Option(help="Points; 31, or the preset's, when left out.", min=0)] = 0


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceFlags(AbstractGridFlags):
    """Flags of ``vesalius landscape surface``."""

    axes: Annotated[
        str,
        Option(help="Two of solution, other, random, pca, hessian, gradient; solution,random when "
               "left out, and solution,other with --other."),
    ] = ""  # fmt: skip
    bounds: Annotated[
        str, Option(help="From where to where: -1,2 for both axes, or -1,2,-1.5,1.5.")
    ] = ""
    steps: Annotated[str, Option(help="Points along the axes: 25, or 25x21.")] = ""
    adaptive: Annotated[
        float | None,
        Option(help="Measure where the training loss bends by more than so many nats, and "
               "interpolate the rest."),
    ] = None  # fmt: skip
    trajectory: Annotated[
        str, Option(help="Draw the path of a training; takes what --checkpoints does.")
    ] = ""


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrajectoryFlags(AbstractFrameFlags):
    """Flags of ``vesalius landscape trajectory``."""

    axes: _Axes = "solution,random"
    projection: Annotated[
        str, Option(help="least-squares, or paper (the first axis, and what is beside it).")
    ] = "least-squares"
    heads: Annotated[
        str, Option(help="Measure checkpoints with their own heads, or that of the solution.")
    ] = "own"
    no_losses: Annotated[
        bool, Option("--no-losses", help="Only place the checkpoints, do not measure them.")
    ] = False
    out: _Out = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class RollbackFlags(AbstractStartFlags):
    """Flags of ``vesalius landscape rollback``."""

    groups: Annotated[str, Option(help="thirds of the layers, single layers, or both.")] = "both"
    direction: Annotated[
        str,
        Option(help="back: the start's weights into a group of the fine-tuned model; forward: the "
               "other way round."),
    ] = "back"  # fmt: skip
    split: _Split = "held_out"
    resamples: Annotated[int, Option(help="Resamples of the intervals.", min=1)] = 2000
    out: _Out = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatnessFlags(AbstractFrameFlags):
    """Flags of ``vesalius landscape flatness``."""

    axes: Annotated[
        str, Option(help="Axes along which widths are measured, such as solution,random; or none.")
    ] = "none"
    split: _Split = "train"
    tau: Annotated[float, Option(help="Nats that the loss may rise by within a width.")] = 0.1
    sigma: Annotated[float, Option(help="Size of Gaussian shifts, in units of the weights.")] = 0.05
    rho: Annotated[float, Option(help="Length of the worst shift, raw.")] = 0.05
    rho_normalised: Annotated[float, Option(help="The same, in units of the weights.")] = 0.5
    draws: Annotated[int, Option(help="Pairs of opposite Gaussian shifts.", min=2)] = 10
    climb: Annotated[int, Option(help="Gradient steps to the worst shift.", min=1)] = 1
    probes: Annotated[
        int, Option(help="Of the trace of the Hessian, at least 2; 0 leaves it out.", min=0)
    ] = 10
    eigenvalues: Annotated[
        int, Option(help="Largest ones of the Hessian; 0 leaves them out.", min=0)
    ] = 1
    out: _Out = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class BarrierFlags(AbstractRunFlags):
    """Flags of ``vesalius landscape barrier``."""

    other: Annotated[
        str, Option(help="The other model: a bundled one, a folder, a name on the hub.")
    ]
    moved: Annotated[
        str, Option(help="What moves: all, or encoder for a model of another task.")
    ] = "all"
    steps: Annotated[int, Option(help="Points, both models among them.", min=3)] = 25


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class AgreementFlags(AbstractTableFlags):
    """Flags of ``vesalius landscape agreement``."""

    surface: Annotated[
        Path, Argument(metavar="SURFACE", help="What `landscape surface` or `line --out` wrote.")
    ]
    label: Annotated[
        int | None, Option(help="The number of a class: its examples alone, where kept.", min=0)
    ] = None
    tau: Annotated[
        float, Option(help="Nats above a lowest loss, or that of the model, that are low.")
    ] = 0.1
    margin: Annotated[float, Option(help="The same of an error or another held-out measure.")] = (
        0.02
    )
    resamples: Annotated[
        int, Option(help="Resamples of the intervals, where examples were kept.", min=0)
    ] = 200
    seed: Annotated[int, Option(help="Seed of the resampling.")] = 0
    out: _Out = None
    force: _Force = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportFlags(AbstractTableFlags):
    """Flags of ``vesalius landscape export``."""

    result: Annotated[
        Path,
        Argument(metavar="RESULT", help="What `landscape line`, `surface` or `trajectory --out` "
                 "wrote."),
    ]  # fmt: skip
    csv: Annotated[Path | None, Option(help="Write a row for each point and measure.")] = None
    npz: Annotated[Path | None, Option(help="Write all arrays for NumPy.")] = None
    vtk: Annotated[Path | None, Option(help="Write a .vtk for ParaView.")] = None
    split: Annotated[str, Option(help="With --vtk: whose height it is, train or held_out.")] = (
        "train"
    )
    measure: Annotated[str, Option(help="With --vtk: loss, error or another measure.")] = "loss"
    height: Annotated[float, Option(help="With --vtk: height of one nat, in units of alpha.")] = 1.0
    force: _Force = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class LandscapeDemoFlags(AbstractTableFlags):
    """Flags of ``vesalius landscape demo``."""

    out: Annotated[Path, Option(help="Folder for pages, pictures and exports.")] = DEMO
    force: _Force = False
