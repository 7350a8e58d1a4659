"""The flags of `vesalius attention ...`.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Final, final

from typer import Option

from vesalius.cli.flags import AbstractModelFlags

CLASSIFIER: Final = "mini-classifier"
_Model = Annotated[str, Option(help="A bundled model, a folder, or a name on the hub.")]
_Out = Annotated[Path | None, Option(help="Folder for the result.")]
_Html = Annotated[Path | None, Option(help="Write one self-contained page.")]
_Plot = Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")]
_Force = Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")]
_Data = Annotated[
    str,
    Option(help="Labelled texts: a .parquet, .csv, .tsv or .jsonl, a folder with train and dev "
           "files, a name on the hub, or opinions, a small set of our own."),
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractFileFlags(AbstractModelFlags):
    """Where results go."""

    out: _Out = None
    html: _Html = None
    plot: _Plot = None
    force: _Force = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractScoreFlags(AbstractModelFlags):
    """How attention is attributed."""

    model: _Model = CLASSIFIER
    target: Annotated[
        str, Option(help="probability, log-probability, logit or logit-difference.")
    ] = "probability"
    baseline: Annotated[
        str,
        Option(help="Where the attention starts: zero (the paper), uniform, mean over "
               "--reference, or without-words."),
    ] = "zero"  # fmt: skip
    reference: Annotated[
        Path | None, Option(help="Texts for --baseline mean, one a line, a tab before a second.")
    ] = None
    preset: Annotated[str, Option(help="default, or paper (20 left points, padded to 128).")] = (
        "default"
    )
    nodes: Annotated[
        int | None, Option(help="Quadrature nodes to start with: 8, or the preset's.")
    ] = None
    rule: Annotated[
        str, Option(help="Quadrature rule: gauss_radau, or the preset's.", show_default=False)
    ] = ""
    memory: Annotated[str, Option(help="What a run may take at once, such as 2GiB.")] = "2GiB"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractTreeRuleFlags(AbstractScoreFlags):
    """How trees are grown."""

    tau: Annotated[
        float, Option(help="Share of a layer's largest attribution that a link must reach.")
    ] = 0.4
    tree_rule: Annotated[
        str, Option(help="score, paper (row by row, first come) or dag (several readers).")
    ] = "score"
    root: Annotated[
        str, Option(help="Where the tree starts: at a word, or at the token that is read.")
    ] = "word"


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFlags(AbstractTreeRuleFlags, AbstractFileFlags):
    """Flags of ``vesalius attention attribute``, ``tree`` and ``graph``."""

    text: Annotated[
        list[str] | None,
        Option(help="A text, or a prompt with [MASK] for a language model; repeat for several."),
    ] = None
    pair: Annotated[
        list[str] | None, Option(help="The second text of each, for a classifier of pairs.")
    ] = None
    texts: Annotated[Path | None, Option(help="Texts, one a line, a tab before a second text.")] = (
        None
    )
    label: Annotated[
        list[str] | None,
        Option(help="The class or word to attribute: one for all, or one for each text; the one "
               "that the model says when left out."),
    ] = None  # fmt: skip
    foil: Annotated[str, Option(help="The other class or word of a logit-difference.")] = ""
    keep: Annotated[
        int, Option(help="Keep so many links of each head, to save memory; 0 keeps all.")
    ] = 0
    pieces: Annotated[
        bool, Option("--pieces", help="Leave word pieces apart instead of joining words.")
    ] = False
    per_layer: Annotated[int, Option(help="With graph and --html: links of each layer.", min=1)] = 8
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the work and the memory it takes, do nothing.")
    ] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractDataFlags(AbstractModelFlags):
    """Labelled texts, and how many of them."""

    data: _Data = "opinions"
    text_column: Annotated[str, Option(help="Column of the (first) text.")] = ""
    pair_column: Annotated[str, Option(help="Column of the second text of a pair.")] = ""
    label_column: Annotated[str, Option(help="Column of the label.")] = ""
    dev_share: Annotated[
        float, Option(help="Share of train to hold out where the data has no dev split.")
    ] = 0.0
    seed: Annotated[int, Option(help="Seed of random orders, links and intervals.")] = 0


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class FaithfulnessFlags(AbstractTreeRuleFlags, AbstractDataFlags, AbstractFileFlags):
    """Flags of ``vesalius attention faithfulness``."""

    split: Annotated[str, Option(help="train, dev or test.")] = "dev"
    max_texts: Annotated[int, Option(help="First texts of the split to take.", min=1)] = 20
    controls: Annotated[int, Option(help="Random sets of as many links.", min=1)] = 20
    no_shuffle: Annotated[
        bool, Option("--no-shuffle", help="Leave the check with shuffled weights out.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadsFlags(AbstractScoreFlags, AbstractDataFlags, AbstractFileFlags):
    """Flags of ``vesalius attention heads``."""

    split: Annotated[str, Option(help="What importance is measured on: train, dev or test.")] = (
        "dev"
    )
    max_texts: Annotated[int, Option(help="First texts of the split to take.", min=1)] = 200
    refine: Annotated[
        bool, Option("--refine", help="Refine integrals that are not complete; slower.")
    ] = False
    no_baselines: Annotated[
        bool, Option("--no-baselines", help="Leave Taylor and accuracy difference out.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneFlags(AbstractScoreFlags, AbstractDataFlags, AbstractFileFlags):
    """Flags of ``vesalius attention prune``."""

    heads: Annotated[
        Path | None, Option(help="A folder of `attention heads --out`; measured when left out.")
    ] = None
    split: Annotated[str, Option(help="What importance is measured on, without --heads.")] = "dev"
    max_texts: Annotated[int, Option(help="Texts that importance is measured on.", min=1)] = 200
    by: Annotated[
        str, Option(help="Measure: max, sum, mean-abs, top-k (each also NAME-content), attention, "
                    "taylor or accuracy-difference.")
    ] = "max"  # fmt: skip
    share: Annotated[float, Option(help="Share of the heads to remove.")] = 0.5
    on: Annotated[
        str, Option(help="Split of the accuracy curve, not that of --split; none for no curve.")
    ] = "test"
    on_texts: Annotated[
        int, Option(help="First texts of that split to take; 0 takes all.", min=0)
    ] = 0
    controls: Annotated[int, Option(help="Random orders to average, beside the others.", min=0)] = 5
    checkpoint: Annotated[
        Path | None, Option(help="Write the smaller model, for vesalius to open.")
    ] = None
    plain: Annotated[
        Path | None, Option(help="Write a checkpoint for plain transformers, heads zeroed.")
    ] = None
    smaller: Annotated[
        bool, Option("--smaller", help="With --plain: really smaller, where the config can say so.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionSweepFlags(AbstractTreeRuleFlags, AbstractDataFlags):
    """Flags of ``vesalius attention sweep``."""

    out: Annotated[Path, Option(help="Folder of the sweep; the same command goes on in it.")]
    split: Annotated[str, Option(help="train, dev or test; all for every split.")] = "all"
    max_texts: Annotated[int, Option(help="First texts of each split; 0 takes all.", min=0)] = 0
    gold: Annotated[
        bool, Option("--gold", help="Attribute the right class instead of the predicted one.")
    ] = False
    keep: Annotated[int, Option(help="Store so many links of each head of each text.")] = 0
    engine: Annotated[str, Option(help="local, or ray for a Ray cluster.")] = "local"
    workers: Annotated[int, Option(help="Workers, one model and one thread each.")] = 1
    address: Annotated[
        str, Option(help="The Ray head, host:port; without it Ray is started here.")
    ] = ""
    shard_size: Annotated[int, Option(help="Texts that are written at a time.")] = 16
