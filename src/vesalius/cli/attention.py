"""The commands `vesalius attention ...`.

Source: arXiv 2004.11207.
"""

from typing import Final

import typer

from vesalius.cli.attention_faithfulness import run_faithfulness
from vesalius.cli.attention_flags import (
    AttentionSweepFlags,
    FaithfulnessFlags,
    HeadsFlags,
    PruneFlags,
    TextFlags,
)
from vesalius.cli.attention_heads import run_heads
from vesalius.cli.attention_prune import run_prune
from vesalius.cli.attention_sweep import run_attention_sweep
from vesalius.cli.attention_texts import run_texts
from vesalius.cli.attention_triggers import EXAMPLE as TRIGGERS_EXAMPLE
from vesalius.cli.attention_triggers import run_triggers
from vesalius.cli.flags import takes
from vesalius.cli.trigger_flags import TriggerFlags

_TEXT: Final = "'A dull, lifeless mess.'"
EXAMPLES: Final = {
    "attribute": f"Example: vesalius attention attribute --text {_TEXT} --html mess.html",
    "tree": f"Example: vesalius attention tree --text {_TEXT} --plot mess.png",
    "graph": f"Example: vesalius attention graph --text {_TEXT} --plot mess.png",
    "faithfulness": "Example: vesalius attention faithfulness --max-texts 10 --baseline uniform",
    "heads": "Example: vesalius attention heads --data sst2.parquet --out runs/heads",
    "prune": "Example: vesalius attention prune --data sst2.parquet --heads runs/heads "
    "--share 0.5 --checkpoint smaller",
    "triggers": TRIGGERS_EXAMPLE,
    "sweep": "Example: vesalius attention sweep --data sst2.parquet --workers 2 --out runs/sst2",
}

app = typer.Typer(
    help="See which token read which; rank and prune heads; find triggers.",
    no_args_is_help=True,
    epilog=EXAMPLES["tree"],
)


@app.command("attribute", epilog=EXAMPLES["attribute"])
@takes(TextFlags)
def attribute(flags: TextFlags) -> None:
    """Attribute a prediction to links; show the strongest.

    Ask with --text (and --pair), or with --texts for a file.
    """
    run_texts(flags, verb="attribute")


@app.command("tree", epilog=EXAMPLES["tree"])
@takes(TextFlags)
def tree(flags: TextFlags) -> None:
    """Grow the attribution tree of a text: which token read which."""
    run_texts(flags, verb="tree")


@app.command("graph", epilog=EXAMPLES["graph"])
@takes(TextFlags)
def graph(flags: TextFlags) -> None:
    """Show the strongest links of each layer, and their reach."""
    run_texts(flags, verb="graph")


@app.command("faithfulness", epilog=EXAMPLES["faithfulness"])
@takes(FaithfulnessFlags)
def faithfulness(flags: FaithfulnessFlags) -> None:
    """Take the links of trees out, beside others: does it matter?"""
    run_faithfulness(flags)


@app.command("heads", epilog=EXAMPLES["heads"])
@takes(HeadsFlags)
def heads(flags: HeadsFlags) -> None:
    """Measure how much each head matters, beside usual baselines."""
    run_heads(flags)


@app.command("prune", epilog=EXAMPLES["prune"])
@takes(PruneFlags)
def prune(flags: PruneFlags) -> None:
    """Remove the least important heads, for real.

    Accuracy while they go is taken on a split of its own; --checkpoint writes the smaller model.
    """
    run_prune(flags)


@app.command("triggers", epilog=EXAMPLES["triggers"])
@takes(TriggerFlags)
def triggers(flags: TriggerFlags) -> None:
    """Find word patterns that break a classifier; attack with them.

    Random, frequent and much attended words are put in at the same places beside them.
    """
    run_triggers(flags)


@app.command("sweep", epilog=EXAMPLES["sweep"])
@takes(AttentionSweepFlags)
def sweep(flags: AttentionSweepFlags) -> None:
    """Attribute many texts into one table; a broken run goes on."""
    run_attention_sweep(flags)
