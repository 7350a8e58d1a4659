"""The commands `vesalius landscape ...`.

Source: arXiv 1908.05620.
"""

from typing import Final

import typer

from vesalius.cli.flags import takes
from vesalius.cli.landscape_draw import run_barrier, run_line, run_surface
from vesalius.cli.landscape_flags import (
    AgreementFlags,
    BarrierFlags,
    ExportFlags,
    FlatnessFlags,
    LandscapeDemoFlags,
    LineFlags,
    RollbackFlags,
    SurfaceFlags,
    TrajectoryFlags,
)
from vesalius.cli.landscape_saved import run_agreement, run_demo, run_export
from vesalius.cli.landscape_story import LandscapeStoryFlags, run_landscape_story
from vesalius.cli.landscape_study import run_flatness, run_rollback, run_trajectory

_SST2: Final = "--data sst2.parquet"
EXAMPLES: Final = {
    "line": "Example: vesalius landscape line --plot line.png",
    "surface": "Example: vesalius landscape surface --trajectory mini-classifier --out plane",
    "trajectory": "Example: vesalius landscape trajectory --html path.html",
    "rollback": f"Example: vesalius landscape rollback runs/sst2/model {_SST2} --start mini-bert",
    "flatness": "Example: vesalius landscape flatness --axes solution,random",
    "barrier": "Example: vesalius landscape barrier runs/a/seed-0/model "
    f"--other runs/a/seed-1/model {_SST2}",
    "agreement": "Example: vesalius landscape agreement plane --label 1",
    "export": "Example: vesalius landscape export plane --vtk plane.vtk",
    "demo": "Example: vesalius landscape demo --out my-landscape",
    "story": f"Example: vesalius landscape story {_SST2} --seeds 0,1,2 --out runs/story",
}

app = typer.Typer(
    help="Draw loss landscapes; follow training; roll layers back; measure flatness.",
    no_args_is_help=True,
    epilog=EXAMPLES["surface"],
)


@app.command("line", epilog=EXAMPLES["line"])
@takes(LineFlags)
def line(flags: LineFlags) -> None:
    """Measure loss and error along one axis through the weights."""
    run_line(flags)


@app.command("surface", epilog=EXAMPLES["surface"])
@takes(SurfaceFlags)
def surface(flags: SurfaceFlags) -> None:
    """Measure loss and error over a plane of two axes."""
    run_surface(flags)


@app.command("trajectory", epilog=EXAMPLES["trajectory"])
@takes(TrajectoryFlags)
def trajectory(flags: TrajectoryFlags) -> None:
    """Follow a training through weight space, checkpoint by checkpoint."""
    run_trajectory(flags)


@app.command("rollback", epilog=EXAMPLES["rollback"])
@takes(RollbackFlags)
def rollback(flags: RollbackFlags) -> None:
    """Give layers their old weights back: what did they learn?"""
    run_rollback(flags)


@app.command("flatness", epilog=EXAMPLES["flatness"])
@takes(FlatnessFlags)
def flatness(flags: FlatnessFlags) -> None:
    """Measure how sharply the loss rises around a model."""
    run_flatness(flags)


@app.command("barrier", epilog=EXAMPLES["barrier"])
@takes(BarrierFlags)
def barrier(flags: BarrierFlags) -> None:
    """Look whether two models lie in one basin."""
    run_barrier(flags)


@app.command("agreement", epilog=EXAMPLES["agreement"])
@takes(AgreementFlags)
def agreement(flags: AgreementFlags) -> None:
    """Compare training and held-out landscapes of a saved surface."""
    run_agreement(flags)


@app.command("export", epilog=EXAMPLES["export"])
@takes(ExportFlags)
def export(flags: ExportFlags) -> None:
    """Write a saved result as CSV, NumPy arrays or VTK."""
    run_export(flags)


@app.command("demo", epilog=EXAMPLES["demo"])
@takes(LandscapeDemoFlags)
def demo(flags: LandscapeDemoFlags) -> None:
    """See the landscape of a bundled model, and its training's path.

    A folder that an earlier demo made is replaced; anything else needs --force.
    """
    run_demo(flags)


@app.command("story", epilog=EXAMPLES["story"])
@takes(LandscapeStoryFlags)
def story(flags: LandscapeStoryFlags) -> None:
    """Fine-tune a model and train it from scratch; compare both landscapes.

    The same command goes on where it stopped.
    """
    run_landscape_story(flags)
