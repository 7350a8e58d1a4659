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
class AbstractLocateFlags(AbstractModelFlags):
    """How neurons are scored and chosen."""

    memory: Annotated[str, Option(help="What autograd may keep at once, such as 2GiB.")] = "2GiB"
    target: Annotated[
        str,
        Option(
            help="probability, log-probability, logit, logit-difference, or "
            "sequence-log-probability for answers of several tokens."
        ),
    ] = "probability"
    foil: Annotated[str, Option(help="The other word of a logit-difference.")] = ""
    preset: Annotated[
        str, Option(help="default; paper (20 left points, padded to 128); activation (a baseline).")
    ] = "default"
    baseline: Annotated[
        str, Option(help="Where the neurons start: zero, mean or uniform over --reference.")
    ] = "zero"
    reference: Annotated[
        Path | None, Option(help="Prompts of other facts, one a line, for --baseline.")
    ] = None
    nodes: Annotated[
        int | None, Option(help="Quadrature nodes to start with: 5, or the preset's.")
    ] = None
    rule: Annotated[
        str, Option(help="Quadrature rule: gauss_radau, or the preset's.", show_default=False)
    ] = ""
    threshold: Annotated[
        float | None,
        Option(help="Share of a prompt's highest score that a neuron must reach: 0.2."),
    ] = None
    share: Annotated[
        float | None,
        Option(help="Share of the prompts that must agree; searched for when left out."),
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractQuestionFlags(AbstractLocateFlags):
    """What a model is asked, and where the answer goes."""

    prompt: Annotated[
        list[str] | None, Option(help="A text with [MASK] as the gap; repeat for paraphrases.")
    ] = None
    answer: Annotated[str, Option(help="The one-token word that belongs in the gap.")] = ""
    relation: Annotated[str, Option(help="A bundled relation, such as P36 (capital).")] = ""
    subject: Annotated[str, Option(help="Whom or what the relation is asked about.")] = ""
    facts: Annotated[
        Path | None,
        Option(help="Several facts: .tsv or .jsonl with relation, subject, answer, or what sweep "
               "takes."),
    ] = None  # fmt: skip
    model: _Model = DEFAULT_MODEL
    out: Annotated[Path | None, Option(help="Folder for the result, or for one per fact.")] = None
    html: Annotated[Path | None, Option(help="Write one self-contained page.")] = None
    plot: Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")] = None
    force: _Force = False
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the work and the memory it takes, do nothing.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepFlags(AbstractLocateFlags):
    """Flags of ``vesalius neurons sweep``."""

    facts: Annotated[
        Path | None,
        Option(help="A folder of facts and templates, or a file: .tsv or .jsonl with relation, "
               "subject, answer; CounterFact or ZsRE .json."),
    ] = None  # fmt: skip
    only: Annotated[
        str, Option(help="A column of yes and no: take only rows of --facts with yes.")
    ] = ""
    relation: Annotated[str, Option(help="All bundled facts of a relation, such as P36.")] = ""
    model: _Model = DEFAULT_MODEL
    out: Annotated[Path, Option(help="Folder of the sweep; the same command goes on in it.")]
    engine: Annotated[str, Option(help="local, or ray for a Ray cluster.")] = "local"
    workers: Annotated[int, Option(help="Workers, one model and one thread each.")] = 1
    address: Annotated[
        str, Option(help="The Ray head, host:port; without it Ray is started here.")
    ] = ""
    shard_size: Annotated[int, Option(help="Facts that are written at a time.")] = 16
    no_scores: Annotated[
        bool, Option("--no-scores", help="Leave the scores of all neurons out of the table.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class LocateFlags(AbstractQuestionFlags):
    """Flags of ``vesalius neurons locate``."""

    evidence: Annotated[
        bool | None,
        Option(help="Scale 1 to 64 neurons beside random ones; by default for a single fact."),
    ] = None
    controls: Annotated[int, Option(help="Control sets of each size and kind.", min=1)] = 20
    seed: _Seed = 0


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
    sweep: Annotated[
        Path | None,
        Option(help="A folder of `neurons sweep`: all facts that the model answers, by relation."),
    ] = None
    selector: Annotated[
        str, Option(help="With --sweep: neurons by attribution, or by activation (a baseline).")
    ] = "attribution"
    min_answered: Annotated[
        float, Option(help="With --sweep: share of a fact's prompts that the model must answer.")
    ] = 0.5
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
class VerifyFlags(AbstractTableFlags):
    """Flags of ``vesalius zoo verify``."""

    names: Annotated[
        list[str] | None, Argument(metavar="[NAME]...", help="Bundled models; all when left out.")
    ] = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainFlags(AbstractTableFlags):
    """Flags of ``vesalius zoo train``."""

    name: Annotated[str, Argument(help="The bundled model to train, such as mini-gpt.")]
    data: Annotated[Path, Option(help="Folder of the training data: facts/, text/, cls/, nli/.")]
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


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneFlags(AbstractTableFlags):
    """Flags of ``vesalius finetune``; those of data and training are named as their options."""

    model: Annotated[str, Argument(help="A bundled model, a folder, or a name on the hub.")] = (
        DEFAULT_MODEL
    )
    data: Annotated[
        str,
        Option(help="Labelled texts: a .parquet, .csv, .tsv or .jsonl, a folder with train and dev "
               "files, a name on the hub such as glue/sst2, or kinds, a small set of our own."),
    ] = "kinds"  # fmt: skip
    out: Annotated[Path, Option(help="Folder of the run; the same command goes on in it.")] = Path(
        "finetune-output"
    )
    revision: Annotated[str, Option(help="Branch, tag or commit of the model on the hub.")] = "main"
    device: Annotated[str, Option(help="Where to train: cpu, cuda.")] = "cpu"
    threads: Annotated[int, Option(help="Threads of torch; 0 leaves its own.", min=0)] = 0
    seeds: Annotated[str, Option(help="Seeds of head and batches, such as 0,1,2.")] = ""
    num_seeds: Annotated[int, Option(help="Seeds 0 to N-1, instead of --seeds.", min=0)] = 0
    epochs: Annotated[float, Option(help="Passes over train.")] = 3.0
    min_steps: Annotated[int, Option(help="At least so many steps: small sets need them.")] = 200
    batch_size: Annotated[int, Option(help="Texts per step.")] = 32
    lr: Annotated[
        float, Option(help="Peak learning rate; 0 chooses one by the width of the model.")
    ] = 0.0
    layer_decay: Annotated[
        float, Option(help="Factor on the learning rate per block below the top one.")
    ] = 1.0
    weight_decay: Annotated[float, Option(help="Weight decay of matrices.")] = 0.01
    warmup_share: Annotated[float, Option(help="Share of the steps that warms up.")] = 0.1
    schedule: Annotated[str, Option(help="linear or warmup-stable-decay.")] = "linear"
    max_length: Annotated[int, Option(help="Tokens of a text; the rest is cut off.")] = 128
    from_scratch: Annotated[
        bool, Option("--from-scratch", help="Draw all weights at random instead of loading them.")
    ] = False
    freeze_embeddings: Annotated[
        bool, Option("--freeze-embeddings", help="Leave what is below the first block as it is.")
    ] = False
    bf16: Annotated[bool, Option("--bf16", help="Take products in bfloat16.")] = False
    pooling: Annotated[
        str, Option(help="mean or cls: what the head reads, where the architecture has both.")
    ] = "mean"
    snapshots: Annotated[int, Option(help="Keep N+1 evenly spaced copies, from step 0.")] = 0
    keep: Annotated[str, Option(help="Export the last step, or the best on dev.")] = "last"
    metric: Annotated[str, Option(help="What best means: accuracy, macro_f1 or matthews.")] = (
        "accuracy"
    )
    text_column: Annotated[str, Option(help="Column of the (first) text.")] = ""
    pair_column: Annotated[str, Option(help="Column of the second text of a pair.")] = ""
    label_column: Annotated[str, Option(help="Column of the label.")] = ""
    split_column: Annotated[str, Option(help="Column with train, dev or test.")] = "split"
    dev_share: Annotated[
        float, Option(help="Share of train to hold out where the data has no dev split.")
    ] = 0.0
    max_rows: Annotated[int, Option(help="First rows of each split to take; 0 takes all.")] = 0
    force: _Force = False
    dry_run: Annotated[bool, Option("--dry-run", help="Print steps and tokens, do nothing.")] = (
        False
    )


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareFlags(AbstractTableFlags):
    """Flags of ``vesalius data prepare``."""

    sources: Annotated[
        list[str],
        Argument(metavar="SOURCE...", help="Files (.txt, .parquet, .jsonl, .csv, .tsv), folders "
                 "of them, or names on the hub."),
    ]  # fmt: skip
    tokenizer: Annotated[str, Option(help="A bundled model, a folder, or a name on the hub.")]
    out: Annotated[Path, Option(help="Folder for the shards; the same command goes on in it.")]
    train_tokenizer: Annotated[
        int,
        Option(help="Learn byte-level BPE of so many entries from the sources first, and save it "
               "as the folder --tokenizer; one that is there is used again."),
    ] = 0  # fmt: skip
    column: Annotated[str, Option(help="Column of the texts: text, or the only one of text.")] = ""
    split: Annotated[str, Option(help="Rows whose column split says so; the hub's split.")] = ""
    boundary: Annotated[
        str, Option(help="What ends a document of a .txt file: blank-line, line or file.")
    ] = "blank-line"
    special_tokens: Annotated[
        str, Option(help="Around a document: tokenizer (its own way), eos, bos-eos or none.")
    ] = "tokenizer"
    tokens_per_shard: Annotated[int, Option(help="A shard ends here.", min=1)] = 1 << 25
    force: _Force = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoFlags(AbstractTableFlags):
    """Flags of ``vesalius data info``."""

    folder: Annotated[Path, Argument(help="Folder that `data prepare` wrote.")]
    tokenizer: Annotated[str, Option(help="Show the first documents, read with it.")] = ""


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
