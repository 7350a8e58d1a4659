"""The command `vesalius landscape story`: pretrained against from scratch.

Source: arXiv 1908.05620, sections 3 and 4.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

from typer import Argument, Option

from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.flags import AbstractTableFlags
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vesalius.recipes.finetune import FinetunePlan
    from vesalius.recipes.landscape_story import LandscapeStory


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class LandscapeStoryFlags(AbstractTableFlags):
    """What is trained twice, and how finely it is drawn."""

    model: Annotated[str, Argument(help="A bundled model, a folder, or a name on the hub.")] = (
        "mini-bert"
    )
    data: Annotated[
        str,
        Option(help="Labelled texts: a .parquet, .csv, .tsv or .jsonl, a folder with train and "
               "dev files, a name on the hub, or kinds, a small set of our own."),
    ] = "kinds"  # fmt: skip
    out: Annotated[Path, Option(help="Folder of the story; the same command goes on in it.")] = (
        Path("story-output")
    )
    seeds: Annotated[str, Option(help="Seeds of both trainings, such as 0,1,2.")] = "0"
    epochs: Annotated[float, Option(help="Passes over train from the pretrained model.")] = 3.0
    scratch_epochs: Annotated[float, Option(help="Passes over train from scratch.")] = 8.0
    snapshots: Annotated[int, Option(help="Points of each path, beside its start.", min=2)] = 16
    max_examples: Annotated[
        int, Option(help="Examples of train, and as many of held-out data.", min=1)
    ] = 256
    line_steps: Annotated[int, Option(help="Points of a line.", min=2)] = 31
    surface_steps: Annotated[str, Option(help="Points of a surface, such as 16x13.")] = "16x13"
    max_rows: Annotated[
        int, Option(help="First rows of each split to take; 0 takes all.", min=0)
    ] = 0
    dev_share: Annotated[
        float, Option(help="Share of train to hold out where the data has no dev split.")
    ] = 0.0
    device: Annotated[str, Option(help="Where to train and draw: cpu, cuda.")] = "cpu"
    dry_run: Annotated[bool, Option("--dry-run", help="Print the work, do nothing.")] = False


def run_landscape_story(flags: LandscapeStoryFlags) -> None:
    """Train both models, draw both landscapes, print their numbers.

    Raises:
        VesaliusError: what planning, training or drawing refuses.
        WrongUsage: seeds or steps that cannot be read.
    """
    steps = _numbers("--surface-steps", flags.surface_steps, "x")
    if len(steps) != 2:
        wrong_usage(
            given=f"--surface-steps {flags.surface_steps}",
            expected="two whole numbers",
            fix="write 16x13",
        )
    seeds = _numbers("--seeds", flags.seeds, ",")
    with working(f"opening {flags.model}"), quiet_loading():
        from vesalius.data.labelled import LabelledOptions
        from vesalius.recipes.landscape_story import StoryOptions, plan_story, run_story

        options = StoryOptions(
            seeds=seeds,
            epochs=flags.epochs,
            scratch_epochs=flags.scratch_epochs,
            snapshots=flags.snapshots,
            max_examples=flags.max_examples,
            line_steps=flags.line_steps,
            surface_steps=(steps[0], steps[1]),
            device=flags.device,
        )
        labelled = LabelledOptions(dev_share=flags.dev_share, max_rows=flags.max_rows)
        plans: Mapping[Any, FinetunePlan] = plan_story(
            flags.model, flags.data, out=flags.out, options=options, labelled=labelled
        )
    if flags.dry_run:
        _show_plans(plans, flags)
        return
    with quiet_loading():
        story = run_story(plans, out=flags.out, options=options)
    _show(story, flags)


def _numbers(name: str, text: str, between: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(between))
    except ValueError:
        wrong_usage(
            given=f"{name} {text}",
            expected=f"whole numbers with {between!r} between them",
            fix=f"write {name} {between.join(('1', '2'))}",
        )


def _show_plans(plans: "Mapping[Any, FinetunePlan]", flags: LandscapeStoryFlags) -> None:
    facts = [
        (kind, plan.num_steps, plan.num_tokens, len(plan.seeds_left))
        for kind, plan in plans.items()
    ]
    header = ("model", "steps a seed", "tokens a seed", "seeds left to train")
    if flags.json:
        emit_json({"plan": [dict(zip(header, row, strict=True)) for row in facts]})
        return
    emit_table(header, facts)


def _show(story: "LandscapeStory", flags: LandscapeStoryFlags) -> None:
    page = flags.out / "story.html"
    if flags.json:
        emit_json({"rows": story.to_table().to_pylist(), "page": str(page)})
        return
    header = ("model", "seed", "accuracy", "width", "largest rise", "area", "agreement", "overlap")
    emit_table(
        header,
        [
            (
                row.kind, row.seed, f"{row.accuracy:.1%}",
                f"{'at least ' if row.width_is_open else ''}{row.width:.2f}",
                f"{row.largest_rise_nats:.3g} nats", f"{row.area:.2f}",
                f"{row.rank_correlation:.2f}", f"{row.overlap:.0%}",
            )
            for row in story.rows
        ],
    )  # fmt: skip
    emit(f"the commonest class is right in {story.majority_accuracy:.1%} of {story.data_name}")
    for note in story.card.warnings:
        say(f"vesalius: {note}")
    emit(str(page))
