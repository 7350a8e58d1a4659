"""The commands `vesalius calibrate ...`.

Source: arXiv 2205.10183.
"""

from typing import Final

import typer

from vesalius.cli.calibrate_compare import run_compare
from vesalius.cli.calibrate_fit import run_fit, run_predict
from vesalius.cli.calibrate_flags import (
    CompareFlags,
    FitFlags,
    HarnessFlags,
    PredictFlags,
    RobustnessFlags,
    ScoreFlags,
    TasksFlags,
)
from vesalius.cli.calibrate_harness import run_harness
from vesalius.cli.calibrate_robustness import run_robustness
from vesalius.cli.calibrate_score import run_score
from vesalius.cli.calibrate_tasks import run_tasks
from vesalius.cli.flags import takes

EXAMPLES: Final = {
    "tasks": "Example: vesalius calibrate tasks sst2",
    "score": "Example: vesalius calibrate score --task sst2 --data DIR --shots 4 --store runs/s",
    "compare": "Example: vesalius calibrate compare --html opinions.html",
    "fit": "Example: vesalius calibrate fit --method prototypical --out runs/opinions",
    "predict": "Example: vesalius calibrate predict runs/opinions --text 'A fine film.'",
    "robustness": "Example: vesalius calibrate robustness --axes order,template --store runs/s",
    "harness": "Example: vesalius calibrate harness samples_sst2_2026-01-01.jsonl",
}

app = typer.Typer(
    help="Make few-shot classification robust: score once, calibrate in every known way.",
    no_args_is_help=True,
    epilog=EXAMPLES["compare"],
)


@app.command("tasks", epilog=EXAMPLES["tasks"])
@takes(TasksFlags)
def tasks(flags: TasksFlags) -> None:
    """List the sets that come with templates and label words."""
    run_tasks(flags)


@app.command("score", epilog=EXAMPLES["score"])
@takes(ScoreFlags)
def score(flags: ScoreFlags) -> None:
    """Score label words behind texts; a store keeps them for later.

    The demonstrations are encoded once, and shared by all texts.
    """
    run_score(flags)


@app.command("compare", epilog=EXAMPLES["compare"])
@takes(CompareFlags)
def compare(flags: CompareFlags) -> None:
    """Calibrate in every known way, and see which one to trust."""
    run_compare(flags)


@app.command("fit", epilog=EXAMPLES["fit"])
@takes(FitFlags)
def fit(flags: FitFlags) -> None:
    """Fit one calibrator for a prompt and a model, and keep it."""
    run_fit(flags)


@app.command("predict", epilog=EXAMPLES["predict"])
@takes(PredictFlags)
def predict(flags: PredictFlags) -> None:
    """Classify texts with what `fit` kept."""
    run_predict(flags)


@app.command("robustness", epilog=EXAMPLES["robustness"])
@takes(RobustnessFlags)
def robustness(flags: RobustnessFlags) -> None:
    """Vary templates, orders, proportions, sizes: do answers hold?"""
    run_robustness(flags)


@app.command("harness", epilog=EXAMPLES["harness"])
@takes(HarnessFlags)
def harness(flags: HarnessFlags) -> None:
    """Calibrate the samples of an lm-evaluation-harness run."""
    run_harness(flags)
