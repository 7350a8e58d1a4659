"""The commands `vesalius neurons locate | suppress | amplify`.

Source: arXiv 2104.08696.
"""

from typing import Final

import typer

from vesalius.cli.corpus_flags import ActivationsFlags, StatisticsFlags
from vesalius.cli.edit_flags import EraseFlags, UpdateFlags
from vesalius.cli.flags import LocateFlags, SweepFlags, TurnFlags, takes
from vesalius.cli.judge_flags import JudgeFlags
from vesalius.cli.neuron_activations import run_activations
from vesalius.cli.neuron_corpus import run_statistics
from vesalius.cli.neuron_edits import run_update
from vesalius.cli.neuron_erase import run_erase
from vesalius.cli.neuron_judge import run_judge
from vesalius.cli.neuron_runs import run_neurons
from vesalius.cli.neuron_sweep import run_sweep
from vesalius.cli.turning import turn

EXAMPLES: Final = {
    "locate": "Example: vesalius neurons locate --relation P36 --subject France --out france",
    "suppress": "Example: vesalius neurons suppress --prompt 'The capital of France is [MASK].' "
    "--answer Paris --html paris.html",
    "amplify": "Example: vesalius neurons amplify --location france --factor 3 --json",
    "update": "Example: vesalius neurons update --relation P36 --subject France --to London "
    "--out edits/france",
    "erase": "Example: vesalius neurons erase --relation P36 --out edits/no-capitals "
    "--checkpoint no-capitals",
    "judge": "Example: vesalius neurons judge edits/france --controls 5 --html verdict.html",
    "sweep": "Example: vesalius neurons sweep --relation P36 --workers 2 --out runs/capitals",
    "statistics": "Example: vesalius neurons statistics runs/capitals --html capitals.html",
    "activations": "Example: vesalius neurons activations --location france --texts france.txt "
    "--random other.txt",
}

app = typer.Typer(
    help="Find the neurons that hold a fact; turn them.",
    no_args_is_help=True,
    epilog=EXAMPLES["suppress"],
)


@app.command("locate", epilog=EXAMPLES["locate"])
@takes(LocateFlags)
def locate(flags: LocateFlags) -> None:
    """Score every feed-forward neuron for a fact, and keep those its paraphrases agree on.

    Ask with --prompt and --answer, with --relation and --subject, or with --facts.
    """
    run_neurons(flags, verb="locate")


@app.command("suppress", epilog=EXAMPLES["suppress"])
@takes(TurnFlags)
def suppress(flags: TurnFlags) -> None:
    """Turn the neurons of a fact down where the answer is read, beside random neurons.

    The neurons are located first, unless --neurons or --location names them. With --sweep the
    facts of a whole sweep are turned, relation by relation.
    """
    turn(flags, verb="suppress")


@app.command("amplify", epilog=EXAMPLES["amplify"])
@takes(TurnFlags)
def amplify(flags: TurnFlags) -> None:
    """Turn the neurons of a fact up where the answer is read, beside random neurons.

    The neurons are located first, unless --neurons or --location names them. With --sweep the
    facts of a whole sweep are turned, relation by relation.
    """
    turn(flags, verb="amplify")


@app.command("sweep", epilog=EXAMPLES["sweep"])
@takes(SweepFlags)
def sweep(flags: SweepFlags) -> None:
    """Locate many facts into one table; a broken run goes on where it stopped.

    Without --facts and --relation it takes all bundled facts.
    """
    run_sweep(flags)


@app.command("statistics", epilog=EXAMPLES["statistics"])
@takes(StatisticsFlags)
def statistics(flags: StatisticsFlags) -> None:
    """Count the neurons of located facts: per fact, by layer, shared with other facts.

    Takes the folder of `neurons sweep`; facts that the model does not answer are left out.
    """
    run_statistics(flags)


@app.command("activations", epilog=EXAMPLES["activations"])
@takes(ActivationsFlags)
def activations(flags: ActivationsFlags) -> None:
    """See if neurons fire where a text tells the fact, and rank the texts.

    Lines without [MASK] get one by --subject and --answer: for the answer, or for another word.
    """
    run_activations(flags)


@app.command("update", epilog=EXAMPLES["update"])
@takes(UpdateFlags)
def update(flags: UpdateFlags) -> None:
    """Edit a fact: write another answer into its neurons, or into a layer (rank-one).

    The model stays as it is: --out saves the edit, --checkpoint the edited model.
    """
    run_update(flags)


@app.command("erase", epilog=EXAMPLES["erase"])
@takes(EraseFlags)
def erase(flags: EraseFlags) -> None:
    """Erase a relation: empty the neurons that most of its facts share.

    The bundled facts that the model answers are located first, unless --sweep has them.
    """
    run_erase(flags)


@app.command("judge", epilog=EXAMPLES["judge"])
@takes(JudgeFlags)
def judge(flags: JudgeFlags) -> None:
    """Judge a saved edit: does it hold, how far does it reach, what else changed?

    Takes the folder of `neurons update --out` or `neurons erase --out`.
    """
    run_judge(flags)
