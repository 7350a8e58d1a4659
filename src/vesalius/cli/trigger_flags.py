"""The flags of `vesalius attention triggers`.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, final

from typer import Option

from vesalius.cli.attention_flags import (
    AbstractDataFlags,
    AbstractFileFlags,
    AbstractScoreFlags,
)


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TriggerFlags(AbstractScoreFlags, AbstractDataFlags, AbstractFileFlags):
    """Flags of ``vesalius attention triggers``."""

    split_from: Annotated[
        str, Option(help="Split that triggers are found in: train, dev or test.")
    ] = "train"
    max_texts: Annotated[
        int, Option(help="First texts of that split to look at; 0 takes all.", min=0)
    ] = 500
    label: Annotated[
        str, Option(help="Find triggers in texts of this class alone; in all when left out.")
    ] = ""
    min_tokens: Annotated[
        int, Option(help="Leave texts with fewer tokens out; the paper has 15 for SST-2.", min=0)
    ] = 0
    min_score: Annotated[
        float, Option(help="Least sum of a text's two strongest links, in units of the target.")
    ] = 0.02
    by: Annotated[
        str, Option(help="Find triggers by attribution, or by raw attention (a baseline).")
    ] = "attribution"
    triggers: Annotated[
        Path | None,
        Option(help="A folder that --on none --out wrote, instead of finding triggers."),
    ] = None
    on: Annotated[
        str, Option(help="Split that is attacked: train, dev or test; none only finds triggers.")
    ] = "dev"
    on_texts: Annotated[
        int, Option(help="First texts of that split to attack; 0 takes all.", min=0)
    ] = 0
    top: Annotated[int, Option(help="Put so many of the strongest triggers in.", min=1)] = 3
    controls: Annotated[
        int, Option(help="Sets of random words, of tokens as frequent, and of patterns of raw "
                    "attention, for each trigger.", min=1)
    ] = 10  # fmt: skip
    transfer: Annotated[
        str, Option(help="Another classifier of the same classes, to read the same texts.")
    ] = ""
    language_model: Annotated[
        str, Option(help="A causal language model, such as mini-gpt, for the perplexity.")
    ] = ""
