"""The command `vesalius finetune`.

Source: the design of this project, docs/decisions.md.
"""

from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.flags import FinetuneFlags, takes
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading

if TYPE_CHECKING:
    from vesalius.recipes.finetune import FinetunePlan
    from vesalius.recipes.finetune_result import FinetuneResult

EXAMPLE: Final = "Example: vesalius finetune mini-bert --data sst2.parquet --out runs/sst2"
COLUMNS: Final = ("split", "metric", "median", "low", "high", "majority", "chance")


@takes(FinetuneFlags)
def finetune(flags: FinetuneFlags) -> None:
    """Train a classifier on labelled texts; the same command goes on where it was stopped.

    Without --data it learns the package's own small set: is it a person, a place, ...?.
    """
    seeds = seeds_of(flags)
    with working(f"opening {flags.model}"), quiet_loading():
        import torch

        from vesalius.recipes.finetune import run_finetune

        if flags.threads:
            torch.set_num_threads(flags.threads)
        plan = _plan(flags, seeds)
    if flags.dry_run:
        _show_plan(plan, json=flags.json)
        return
    if plan.finished and not flags.force:
        say(f"vesalius: {flags.out} is finished; nothing was done (--force starts again)")
    with quiet_loading():
        result = run_finetune(plan, force=flags.force)
    _show(result, flags)


def seeds_of(flags: FinetuneFlags) -> tuple[int, ...]:
    """Read --seeds or --num-seeds.

    Raises:
        WrongUsage: both are given, or no list of whole numbers.
    """
    if flags.seeds and flags.num_seeds:
        wrong_usage(given="--seeds and --num-seeds", expected="one of the two", fix="leave one out")
    words = flags.seeds.split(",") if flags.seeds else map(str, range(flags.num_seeds or 1))
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        wrong_usage(
            given=f"--seeds {flags.seeds}", expected="whole numbers", fix="write --seeds 0,1,2"
        )


def _plan(flags: FinetuneFlags, seeds: tuple[int, ...]) -> "FinetunePlan":
    import dataclasses

    from vesalius.data.labelled import LabelledOptions
    from vesalius.recipes.finetune import plan_finetune
    from vesalius.recipes.finetune_config import FinetuneOptions

    def taken(kind: Any) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: value for name, value in vars(flags).items() if name in names}

    own = taken(FinetuneOptions)
    own["seeds"] = seeds
    return plan_finetune(
        flags.model,
        flags.data,
        out=flags.out,
        options=FinetuneOptions(**own),
        labelled=LabelledOptions(**taken(LabelledOptions)),
        revision=flags.revision,
        force=flags.force,
    )


def _show_plan(plan: "FinetunePlan", *, json: bool) -> None:
    facts = {
        "model": plan.source.name,
        "data": plan.data.name,
        "classes": ", ".join(plan.data.label_names),
        **{f"rows of {name}": len(split) for name, split in plan.data.splits.items()},
        "seeds left": ", ".join(map(str, plan.seeds_left)) or "none",
        "steps per seed": plan.num_steps,
        "tokens per seed": plan.num_tokens,
        "padding share": round(plan.batches.padding_share(), 4),
        "learning rate": plan.identity["lr"],
        "longest text, tokens": plan.max_length,
    }
    if json:
        emit_json({"plan": facts | {"notes": list(plan.notes)}})
        return
    emit_table(("what", "value"), list(facts.items()))
    for note in plan.notes:
        say(f"vesalius: {note}")


def _show(result: "FinetuneResult", flags: FinetuneFlags) -> None:
    model = flags.out / "model"
    if flags.json:
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in result.rows()]
        seeds = {run.seed: run.scores["dev"].accuracy for run in result.runs}
        notes = list(result.card.warnings)
        emit_json({"scores": rows, "dev_accuracy": seeds, "notes": notes, "model": str(model)})
        return
    emit_table(COLUMNS, result.rows())
    for run in result.runs:
        for split, interval in run.accuracy_interval.items():
            num_rows = result.num_rows[split]
            emit(
                f"seed {run.seed}, {split}: accuracy {interval.estimate:.3f}, "
                f"{interval.low:.3f} to {interval.high:.3f} over {num_rows} rows"
            )
    for note in result.card.warnings:
        say(f"vesalius: {note}")
    emit(f"{model}\n{flags.out / 'report.html'}")
