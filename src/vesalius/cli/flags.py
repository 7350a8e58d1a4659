"""The flags, as frozen dataclasses: what several commands share is written once.

A command takes one of these; ``@takes`` spreads its fields for typer, own flags first.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, final, get_type_hints

from typer import Argument, Option

DEFAULT_MODEL = "mini-bert"
FlagsT = TypeVar("FlagsT", bound="AbstractFlags")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractFlags:
    """What every command takes."""

    debug: Annotated[
        bool, Option("--debug", help="Show tracebacks, and the logs of other libraries.")
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractTableFlags(AbstractFlags):
    """What every command takes that prints a table."""

    json: Annotated[bool, Option("--json", help="Print JSON instead of tables.")] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractModelFlags(AbstractTableFlags):
    """How a model is opened."""

    revision: Annotated[str, Option(help="Branch, tag or commit on the hub.")] = "main"
    device: Annotated[str, Option(help="Where the weights go: cpu, cuda, cuda:1.")] = "cpu"
    dtype: Annotated[
        str, Option(help="Type of the weights: float32, float64, bfloat16 or float16.")
    ] = "float32"


_Model = Annotated[str, Option(help="A bundled model, a folder, or a name on the hub.")]
_Seed = Annotated[int, Option(help="Seed of the random neurons.")]
_Force = Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractQuestionFlags(AbstractModelFlags):
    """What a model is asked, and where the answer goes."""

    prompt: Annotated[
        list[str] | None, Option(help="A text with [MASK] as the gap; repeat for paraphrases.")
    ] = None
    answer: Annotated[str, Option(help="The one-token word that belongs in the gap.")] = ""
    relation: Annotated[str, Option(help="A bundled relation, such as P36 (capital).")] = ""
    subject: Annotated[str, Option(help="Whom or what the relation is asked about.")] = ""
    facts: Annotated[
        Path | None, Option(help="Several facts: .jsonl or .tsv with relation, subject, answer.")
    ] = None
    model: _Model = DEFAULT_MODEL
    out: Annotated[Path | None, Option(help="Folder for the result, or for one per fact.")] = None
    html: Annotated[Path | None, Option(help="Write one self-contained page.")] = None
    plot: Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")] = None
    force: _Force = False
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the work and the memory it takes, do nothing.")
    ] = False
    memory: Annotated[str, Option(help="What autograd may keep at once, such as 2GiB.")] = "2GiB"
    target: Annotated[
        str, Option(help="probability, log-probability, logit or logit-difference.")
    ] = "probability"
    foil: Annotated[str, Option(help="The other word of a logit-difference.")] = ""
    nodes: Annotated[int, Option(help="Quadrature nodes to start with.")] = 5
    rule: Annotated[str, Option(help="Quadrature rule.")] = "gauss_radau"
    threshold: Annotated[
        float, Option(help="Share of a prompt's highest score that a neuron must reach.")
    ] = 0.2
    share: Annotated[
        float | None,
        Option(help="Share of the prompts that must agree; searched for when left out."),
    ] = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class LocateFlags(AbstractQuestionFlags):
    """Flags of ``vesalius neurons locate``."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TurnFlags(AbstractQuestionFlags):
    """Flags of ``vesalius neurons suppress`` and ``amplify``."""

    neurons: Annotated[
        str, Option(help="LAYER:INDEX,... from 0, instead of locating them first.")
    ] = ""
    location: Annotated[
        Path | None, Option(help="A folder that `neurons locate --out` wrote; it asks too.")
    ] = None
    factor: Annotated[
        float | None, Option(help="Multiply the neurons; 0 suppresses, 2 amplifies.")
    ] = None
    controls: Annotated[int, Option(help="Random sets of as many neurons per layer.")] = 20
    seed: _Seed = 0


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckFlags(AbstractModelFlags):
    """Flags of ``vesalius check``."""

    model: Annotated[str, Argument(help="A bundled model, a folder, or a name on the hub.")]


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoFlags(AbstractModelFlags):
    """Flags of ``vesalius demo``."""

    model: _Model = DEFAULT_MODEL
    out: Annotated[Path, Option(help="Folder for the page and the pictures.")] = Path("demo-output")
    force: _Force = False
    seed: _Seed = 0


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelsFlags(AbstractTableFlags):
    """Flags of ``vesalius models``."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class CiteFlags(AbstractFlags):
    """Flags of ``vesalius cite``."""

    subjects: Annotated[
        list[str] | None,
        Argument(metavar="[FOLDER_OR_NAME]...", help="Saved results, or names of methods."),
    ] = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainFlags(AbstractTableFlags):
    """Flags of ``vesalius zoo train``."""

    name: Annotated[str, Argument(help="The bundled model to train: mini-bert.")]
    data: Annotated[Path, Option(help="Folder with facts/*.parquet.")]
    out: Annotated[Path, Option(help="Folder of the run; the same command goes on in it.")]
    preset: Annotated[str, Option(help="Size and length of the training: cpu or gpu.")] = "cpu"
    seed: Annotated[int, Option(help="Seed of weights and batches.")] = 0
    device: Annotated[str, Option(help="Where to train: cpu, cuda.")] = "cpu"
    threads: Annotated[int, Option(help="Threads of torch.", min=1)] = 1
    tokenizer: Annotated[
        Path | None,
        Option(help="Folder of a finished tokenizer, for equal weights.", exists=True,
               file_okay=False),
    ] = None  # fmt: skip
    notes: Annotated[
        Path | None,
        Option(help="Text file for the card: a line for each thing to know.", exists=True,
               dir_okay=False),
    ] = None  # fmt: skip


def takes(kind: type[FlagsT]) -> Callable[[Callable[[FlagsT], None]], Callable[..., None]]:
    """Give a command the flags of a dataclass: typer sees one parameter per field."""
    hints = get_type_hints(kind, include_extras=True)
    owners = [base for base in kind.__mro__ if dataclasses.is_dataclass(base)]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    names = dict.fromkeys(name for base in owners for name in inspect.get_annotations(base))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[name],
            default=inspect.Parameter.empty
            if fields[name].default is dataclasses.MISSING
            else fields[name].default,
        )
        for name in names
    ]

    def decorate(command: Callable[[FlagsT], None]) -> Callable[..., None]:
        @wraps(command)
        def spread(**values: Any) -> None:
            command(kind(**values))

        seen: Any = spread
        seen.__signature__ = inspect.Signature(parameters)
        seen.__annotations__ = {name: hints[name] for name in names}
        del seen.__wrapped__  # typer would look behind the signature
        return spread

    return decorate
