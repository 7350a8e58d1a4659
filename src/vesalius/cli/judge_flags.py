"""The flags of `vesalius neurons judge`.

Source: the common flags of docs/architecture.md.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, final

from typer import Argument, Option

from vesalius.cli.flags import AbstractModelFlags


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeFlags(AbstractModelFlags):
    """Flags of ``vesalius neurons judge``."""

    edit: Annotated[
        Path,
        Argument(metavar="EDIT_FOLDER", help="What `neurons update` or `erase --out` wrote."),
    ]
    model: Annotated[
        str, Option(help="The model of the edit; the one that the edit names when left out.")
    ] = ""
    case: Annotated[
        Path | None,
        Option(help="What to ask: a fact with rephrased, neighbours, unrelated and portable "
               "prompts (.jsonl, CounterFact, ZsRE); the bundled fact when left out."),
    ] = None  # fmt: skip
    relation: Annotated[
        str, Option(help="The erased relation, such as P36, where the edit does not name it.")
    ] = ""
    facts: Annotated[
        int,
        Option(
            help="Facts of the relation, and of others, whose perplexity an update is judged by."
        ),
    ] = 5
    controls: Annotated[int, Option(help="The same edit of random neurons, so many times.")] = 5
    seed: Annotated[int, Option(help="Seed of random neurons and drawn facts.")] = 0
    out: Annotated[Path | None, Option(help="Folder for the result.")] = None
    html: Annotated[Path | None, Option(help="Write one self-contained page.")] = None
    plot: Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")] = None
    force: Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")] = (
        False
    )
