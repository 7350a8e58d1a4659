"""The flags of `vesalius neurons update` and `vesalius neurons erase`.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, final

from typer import Option

from vesalius.cli.flags import DEFAULT_MODEL, AbstractLocateFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractEditFlags(AbstractLocateFlags):
    """What is common to the commands that edit: the model, and where the edit goes."""

    model: Annotated[str, Option(help="A bundled model, a folder, or a name on the hub.")] = (
        DEFAULT_MODEL
    )
    out: Annotated[
        Path | None, Option(help="Folder for the edit, which `neurons judge` takes.")
    ] = None
    checkpoint: Annotated[
        Path | None, Option(help="Folder for the edited model, for plain transformers.")
    ] = None
    force: Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")] = (
        False
    )
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print what would be done, and do nothing.")
    ] = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateFlags(AbstractEditFlags):
    """Flags of ``vesalius neurons update``."""

    to: Annotated[str, Option(help="The new answer.")]
    prompt: Annotated[
        list[str] | None, Option(help="A text with [MASK] as the gap; repeat for paraphrases.")
    ] = None
    answer: Annotated[str, Option(help="What the model says now.")] = ""
    relation: Annotated[str, Option(help="A bundled relation, such as P36 (capital).")] = ""
    subject: Annotated[
        str, Option(help="Whom or what the relation is asked about; where rank-one edits.")
    ] = ""
    location: Annotated[
        Path | None, Option(help="A folder that `neurons locate --out` wrote; it asks too.")
    ] = None
    neurons: Annotated[
        str, Option(help="LAYER:INDEX,... from 0, instead of locating them first.")
    ] = ""
    method: Annotated[
        str, Option(help="slots (the located neurons) or rank-one (ROME, a whole layer).")
    ] = "slots"
    sweep: Annotated[
        Path | None,
        Option(help="A folder of `neurons sweep`: neurons that the relation shares are left out."),
    ] = None
    max_shared: Annotated[
        float | None,
        Option(help="With --sweep: a neuron is shared in more than this part of the facts: 0.1."),
    ] = None
    lambda_old: Annotated[
        float | None, Option(help="How much of the old answer is taken out of a slot: 1.")
    ] = None
    lambda_new: Annotated[
        float | None, Option(help="How much of the new answer is written into a slot: 8.")
    ] = None
    by_sign: Annotated[
        bool | None,
        Option(
            "--by-sign/--no-by-sign",
            help="Turn the change round where a neuron is negative; --no-by-sign: the paper's "
            "formula.",
            show_default="--by-sign",
        ),
    ] = None
    layer: Annotated[
        int | None, Option(help="With rank-one: the layer, from 0; tried out when left out.")
    ] = None


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class EraseFlags(AbstractEditFlags):
    """Flags of ``vesalius neurons erase``."""

    relation: Annotated[str, Option(help="The relation, such as P36 (capital).")]
    sweep: Annotated[
        Path | None,
        Option(help="A folder of `neurons sweep`, instead of locating the bundled facts."),
    ] = None
    count: Annotated[int, Option(help="So many of the most frequent neurons.", min=1)] = 20
    min_answered: Annotated[
        float,
        Option(help="Share of a fact's prompts that the model must answer; 0 takes all facts."),
    ] = 0.5
