"""The flags of `vesalius pretrain electra`, by what they decide; named as the options.

Where the default is empty, the preset's value counts.

Source: the design of this project, docs/decisions.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, final

from typer import Option

from vesalius.cli.flags import AbstractTableFlags

RUN_FLAGS = ("text", "data", "tokenizer", "train_tokenizer", "column", "split", "boundary",
             "preset", "recipe", "out", "threads", "tracker", "dry_run", "force", "json",
             "debug")  # fmt: skip
NAMES = {"steps": "num_steps", "bf16": "autocast_bf16"}  # flags whose option has another name


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractSizeFlags(AbstractTableFlags):
    """How large the networks are."""

    architecture: Annotated[
        str | None, Option(help="SIZES: modern (rotary, norms first, gated) or electra.")
    ] = None
    width: Annotated[int | None, Option(help="Width of the discriminator.")] = None
    num_layers: Annotated[int | None, Option(help="Its layers.")] = None
    num_heads: Annotated[int | None, Option(help="Its heads per layer.")] = None
    ffn_width: Annotated[int | None, Option(help="Its neurons per layer.")] = None
    generator_width: Annotated[int | None, Option(help="Width of the generator.")] = None
    generator_layers: Annotated[int | None, Option(help="Its layers.")] = None
    generator_heads: Annotated[int | None, Option(help="Its heads per layer.")] = None
    generator_ffn_width: Annotated[int | None, Option(help="Its neurons per layer.")] = None
    embedding_size: Annotated[
        int | None, Option(help="Width of the embeddings of electra; 0 is the discriminator's.")
    ] = None
    sharing: Annotated[
        str | None,
        Option(help="Embeddings of both: tied, disentangled (no gradient from the discriminator), "
               "or none."),
    ] = None  # fmt: skip
    dropout: Annotated[float | None, Option(help="Dropout of both.")] = None
    max_length: Annotated[int | None, Option(help="Tokens of the longest text they read.")] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractSamplingFlags(AbstractSizeFlags):
    """How replacements are drawn, weighed and learned from."""

    sampler: Annotated[
        str | None,
        Option(help="SAMPLING: generator (plain ELECTRA), hardness-loss or "
               "hardness-distribution."),
    ] = None  # fmt: skip
    hardness: Annotated[str | None, Option(help="What is hard: loss or gradient.")] = None
    mask_prob: Annotated[float | None, Option(help="Share of the tokens to replace.")] = None
    mask_token_prob: Annotated[
        float | None, Option(help="Share of them that the generator sees as [MASK].")
    ] = None
    temperature: Annotated[float | None, Option(help="Temperature of the draws.")] = None
    final_temperature: Annotated[
        float | None, Option(help="Temperature at the end; 0 leaves it as it is.")
    ] = None
    exclude_original: Annotated[
        bool | None, Option(help="Never draw the token that stood there.")
    ] = None
    focal_gamma: Annotated[
        float | None, Option(help="Focal loss of the generator; 0 is cross entropy.")
    ] = None
    importance_weights: Annotated[
        bool | None, Option(help="Weigh draws so that the objective stays the generator's.")
    ] = None
    max_weight: Annotated[float | None, Option(help="Largest of these weights.")] = None
    normalise_weights: Annotated[bool | None, Option(help="Make their mean 1.")] = None
    discriminator_weight: Annotated[
        float | None, Option(help="Factor on the discriminator's loss.")
    ] = None
    hardness_weight: Annotated[float | None, Option(help="Factor on the hardness head's loss.")] = (
        None
    )
    detach_head: Annotated[
        bool | None, Option(help="Keep the hardness head's gradient out of the generator.")
    ] = None
    hardness_floor: Annotated[
        float | None, Option(help="Added to predicted hardness, so that all can be drawn.")
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractTrainingFlags(AbstractSamplingFlags):
    """How long and how fast."""

    steps: Annotated[int | None, Option(help="TRAINING: steps.", min=1)] = None
    context_length: Annotated[
        int | None, Option(help="Tokens of a row; short texts share one, none sees another.")
    ] = None
    rows_per_batch: Annotated[int | None, Option(help="Rows of a batch.")] = None
    micro_batches: Annotated[
        int | None, Option(help="Batches of a step, shared out among processes.")
    ] = None
    optimizer: Annotated[str | None, Option(help="adamw or muon.")] = None
    lr: Annotated[float | None, Option(help="Peak learning rate.")] = None
    muon_lr: Annotated[float | None, Option(help="That of the matrices under muon.")] = None
    weight_decay: Annotated[float | None, Option(help="Weight decay of matrices.")] = None
    schedule: Annotated[str | None, Option(help="warmup-stable-decay or linear.")] = None
    warmup_steps: Annotated[int | None, Option(help="Steps of the warm-up.")] = None
    decay_share: Annotated[
        float | None, Option(help="Share of the steps in which the rate falls.")
    ] = None
    max_grad_norm: Annotated[float | None, Option(help="Longer gradients are cut.")] = None
    bf16: Annotated[bool | None, Option(help="Take products in bfloat16.")] = None
    compile: Annotated[bool | None, Option(help="Compile both encoders.")] = None
    parallel: Annotated[
        str | None, Option(help="Several processes: ddp, or fsdp for models that fill a GPU.")
    ] = None
    seed: Annotated[int | None, Option(help="Seed of weights, masks and draws.")] = None
    log_every: Annotated[int | None, Option(help="Steps between two lines of the log.")] = None
    evaluate_every: Annotated[
        int | None, Option(help="Steps between two looks at held-out text.")
    ] = None
    checkpoint_every: Annotated[int | None, Option(help="Steps between checkpoints.")] = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainFlags(AbstractTrainingFlags):
    """Flags of ``vesalius pretrain electra``: text and run first."""

    text: Annotated[
        list[str] | None,
        Option(help="TEXT AND RUN: a file (.txt, .parquet, .jsonl, .csv, .tsv), a folder of them, "
               "or a name on the hub; repeat for more. Without it, sentences of our own."),
    ] = None  # fmt: skip
    data: Annotated[
        Path | None, Option(help="Token shards of `vesalius data prepare`, instead of --text.")
    ] = None
    tokenizer: Annotated[
        str | None, Option(help="A bundled model (mini-bert), a folder, or a name on the hub.")
    ] = None
    train_tokenizer: Annotated[
        int, Option(help="Learn so many lower-cased word pieces from the text instead.", min=0)
    ] = 0
    column: Annotated[str, Option(help="Column of the texts: text, or the only one of text.")] = ""
    split: Annotated[str, Option(help="Rows whose column split says so; the hub's split.")] = ""
    boundary: Annotated[
        str, Option(help="What ends a document of a .txt file: blank-line, line or file.")
    ] = "blank-line"
    preset: Annotated[
        str,
        Option(help="Sizes and training: tiny (2 minutes on 2 cores), small, base, or those of "
               "the ELECTRA paper, electra-small, electra-base."),
    ] = "tiny"  # fmt: skip
    recipe: Annotated[
        str,
        Option(help="Sampling: plain, focal, hardness-loss, hardness-distribution, "
               "hardness+focal or temperature."),
    ] = "plain"  # fmt: skip
    out: Annotated[Path, Option(help="Folder of the run; the same command goes on in it.")] = Path(
        "pretrain-output"
    )
    device: Annotated[str | None, Option(help="Where to train: cpu, cuda.")] = None
    threads: Annotated[int, Option(help="Threads of torch; 0 leaves its own.", min=0)] = 0
    tracker: Annotated[
        list[str] | None, Option(help="Hand the curves to tensorboard, wandb, ...; repeat.")
    ] = None
    force: Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")] = (
        False
    )
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print tokens, operations and time, write nothing.")
    ] = False
