"""The commands `vesalius electra ...`: what can be done with a run of `vesalius pretrain electra`.

Source: arXiv 2106.13715; this project.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, final

import typer
from typer import Argument, Option

from vesalius.cli.errors import say
from vesalius.cli.flags import AbstractTableFlags, takes
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading

if TYPE_CHECKING:
    from vesalius.methods.electra.result import VarianceResult

EXAMPLES: Final = {
    "export": "Example: vesalius electra export runs/mine my-encoder",
    "verify-variance": "Example: vesalius electra verify-variance runs/mine --html variance.html",
}
COLUMNS: Final = ("sampler", "of the", "median ratio", "mean ratio", "ratio of sums", "slots")
_Run = Annotated[Path, Argument(help="Folder of `vesalius pretrain electra`, finished or not.")]
_Force = Annotated[bool, Option("--force", help="Replace what an earlier run wrote there.")]

app = typer.Typer(
    help="Export what ELECTRA pretraining made; measure its samplers.",
    no_args_is_help=True,
    epilog=EXAMPLES["verify-variance"],
)


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportPairFlags(AbstractTableFlags):
    """Flags of ``vesalius electra export``."""

    run: _Run
    out: Annotated[Path, Argument(help="Folder for discriminator/ and generator/.")]
    force: _Force = False


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class VarianceFlags(AbstractTableFlags):
    """Flags of ``vesalius electra verify-variance``."""

    run: _Run
    text: Annotated[
        list[str] | None,
        Option(help="Files of other text, instead of what the run held out; repeat for more."),
    ] = None
    slots: Annotated[int, Option(help="Masked places to look at, at random.", min=1)] = 256
    gradient_slots: Annotated[
        int, Option(help="Of them, with the gradient by all weights, which is slow.", min=0)
    ] = 0
    head_steps: Annotated[
        int,
        Option(help="Steps to fit each hardness head that the run has not; 0 leaves them out.",
               min=0),
    ] = 200  # fmt: skip
    seed: Annotated[int, Option(help="Seed of the choice of places and the draws.")] = 0
    threads: Annotated[int, Option(help="Threads of torch; 0 leaves its own.", min=0)] = 0
    out: Annotated[Path | None, Option(help="Folder for the result.")] = None
    html: Annotated[Path | None, Option(help="Write one self-contained page.")] = None
    plot: Annotated[Path | None, Option(help="Write a picture: .png, .svg or .pdf.")] = None
    force: _Force = False


@app.command("export", epilog=EXAMPLES["export"])
@takes(ExportPairFlags)
def export(flags: ExportPairFlags) -> None:
    """Write discriminator and generator of a run's last checkpoint as Hugging Face checkpoints."""
    from vesalius.core.paths import check_new_output

    with working("exporting"), quiet_loading():
        from vesalius.recipes.pretrain_export import MARKER, export_run
        from vesalius.recipes.pretrain_run import open_run

        check_new_output(flags.out, force=flags.force, marker=MARKER)
        found = export_run(open_run(flags.run), flags.out, force=flags.force)
    folders = [str(folder) for folder in found.folders]
    if flags.json:
        emit_json({"step": found.step, "scores": found.scores, "folders": folders})
        return
    emit(f"step {found.step:,}")
    emit("\n".join(folders))


@app.command("verify-variance", epilog=EXAMPLES["verify-variance"])
@takes(VarianceFlags)
def verify_variance(flags: VarianceFlags) -> None:
    """Measure, token by token, how much each sampler steadies the discriminator's loss.

    Ratios are variances over those of the generator's own draws: below 1 a sampler helps.
    """
    from vesalius.cli.neuron_corpus import check_outputs, write_outputs

    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    found = _measure(flags)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json(_as_json(found))
    else:
        _show(found)
    for warning in (*found.card.warnings, *found.alarms()):
        say(f"vesalius: {warning}")


def _measure(flags: VarianceFlags) -> "VarianceResult":
    with working(f"opening {flags.run}"), quiet_loading():
        import torch

        from vesalius.recipes.pretrain_run import open_run
        from vesalius.recipes.pretrain_variance import verify_run

        if flags.threads:
            torch.set_num_threads(flags.threads)
        run = open_run(flags.run)
    return verify_run(
        run,
        text=flags.text or (),
        num_slots=flags.slots,
        num_gradient_slots=flags.gradient_slots,
        head_steps=flags.head_steps,
        seed=flags.seed,
    )


def _show(found: "VarianceResult") -> None:
    rows = [
        (
            each.sampler, each.quantity, _bracket(each.median), _bracket(each.mean),
            _bracket(each.total), each.num_slots,
        )
        for each in found.ratios
    ]  # fmt: skip
    emit_table(COLUMNS, rows)
    emit("")
    emit_table(
        ("sampler", "E[w loss], nats", "draws the original", "1 / E[w²]"),
        [
            (name, *(f"{row[k].mean():.4f}" for row in
             (found.means_nats, found.probs_original, found.effective_shares)))
            for k, name in enumerate(found.samplers)
        ],
    )  # fmt: skip
    emit(f"largest relative difference of a learned sampler's mean: {found.largest_bias:.1e}")


def _bracket(interval: Any) -> str:
    numbers = (interval.estimate, interval.low, interval.high)
    middle, low, high = (f"{round(number, 3) + 0.0:.3f}" for number in numbers)  # no -0.000
    return f"{middle} ({low} to {high})"


def _as_json(found: "VarianceResult") -> dict[str, Any]:
    return {
        "samplers": list(found.samplers),
        "ratios": [dataclasses.asdict(each) for each in found.ratios],
        "mean_nats": found.means_nats.mean(axis=1).tolist(),
        "prob_original": found.probs_original.mean(axis=1).tolist(),
        "effective_share": found.effective_shares.mean(axis=1).tolist(),
        "largest_bias": found.largest_bias,
        "num_slots": len(found.slots),
        "is_exact": found.is_exact,
        "alarms": list(found.alarms()),
    }
