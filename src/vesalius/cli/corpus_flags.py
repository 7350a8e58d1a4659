"""The flags of `vesalius neurons statistics` and `vesalius neurons activations`.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, final

from typer import Argument, Option

from vesalius.cli.flags import DEFAULT_MODEL, AbstractModelFlags, AbstractTableFlags

_Out = Annotated[Path | None, Option(help="Folder for the result.")]
_Html = Annotated[Path | None, Option(help="Write one self-contained page.")]
_Plot = Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")]
_Force = Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")]


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class StatisticsFlags(AbstractTableFlags):
    """Flags of ``vesalius neurons statistics``."""

    sweep: Annotated[
        Path, Argument(metavar="SWEEP_FOLDER", help="What `neurons sweep --out` wrote.")
    ]
    min_answered: Annotated[
        float,
        Option(help="Share of a fact's prompts that the model must answer; 0 keeps all facts."),
    ] = 0.5
    share: Annotated[
        float | None,
        Option(help="Share of the prompts that must agree; searched for when left out."),
    ] = None
    min_neurons: Annotated[int, Option(help="Least mean neurons per fact of the search.")] = 2
    max_neurons: Annotated[int, Option(help="Most mean neurons per fact of the search.")] = 5
    partners: Annotated[
        int, Option(help="Facts of other relations drawn for each fact; 0 takes all.")
    ] = 100
    seed: Annotated[int, Option(help="Seed of the partners and the intervals.")] = 0
    out: _Out = None
    html: _Html = None
    plot: _Plot = None
    force: _Force = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class ActivationsFlags(AbstractModelFlags):
    """Flags of ``vesalius neurons activations``."""

    texts: Annotated[
        Path | None, Option(help="Texts that tell the fact, one a line, [MASK] for the answer.")
    ] = None
    head_only: Annotated[
        Path | None, Option(help="Texts with the subject alone, one a line, any word as [MASK].")
    ] = None
    random: Annotated[
        Path | None, Option(help="Texts about something else, one a line, any word as [MASK].")
    ] = None
    relation: Annotated[str, Option(help="The fact's relation; masks lines without [MASK].")] = ""
    subject: Annotated[str, Option(help="Whom or what the fact is about.")] = ""
    answer: Annotated[str, Option(help="Its answer; looked up for a bundled fact.")] = ""
    neurons: Annotated[str, Option(help="LAYER:INDEX,... from 0.")] = ""
    location: Annotated[Path | None, Option(help="A folder that `neurons locate --out` wrote.")] = (
        None
    )
    model: Annotated[str, Option(help="A bundled model, a folder, or a name on the hub.")] = (
        DEFAULT_MODEL
    )
    magnitude: Annotated[
        bool, Option("--magnitude", help="Compare sizes without sign, for gated feed-forwards.")
    ] = False
    max_tokens: Annotated[int, Option(help="Longer texts are cut around their gap.")] = 512
    memory: Annotated[str, Option(help="What one run may take, such as 1GiB.")] = "1GiB"
    seed: Annotated[int, Option(help="Seed of hidden words and intervals.")] = 0
    top: Annotated[int, Option(help="Most and least active texts to print.", min=0)] = 3
    out: _Out = None
    html: _Html = None
    plot: _Plot = None
    force: _Force = False
