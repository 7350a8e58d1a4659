"""`vesalius landscape story`: the same network, fine-tuned and from scratch, side by side.

Trains both with `vesalius finetune`, draws the landscape of each around its solution, and writes
one page. A folder of a story holds ``pretrained/`` and ``scratch/`` (runs of finetune),
``landscapes/`` (runs of line and surface) and ``result/``; the same call goes on where it stopped.

Source: arXiv 1908.05620, sections 3 and 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

import numpy as np
import pyarrow as pa

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count
from vesalius.core.html import page, picture, table
from vesalius.core.paths import write_file
from vesalius.core.result import AbstractResult, register_result
from vesalius.data.labelled import LabelledData, LabelledOptions
from vesalius.methods.loss_landscape.agreement import agreement
from vesalius.methods.loss_landscape.examples import HELD_OUT, TRAIN, Examples
from vesalius.methods.loss_landscape.frame import make_frame
from vesalius.methods.loss_landscape.inputs import RESULT
from vesalius.methods.loss_landscape.line import line
from vesalius.methods.loss_landscape.measures import ERROR, LOSS
from vesalius.methods.loss_landscape.points import Run
from vesalius.methods.loss_landscape.result import Line, Surface
from vesalius.methods.loss_landscape.rollback import Rollback, rollback
from vesalius.methods.loss_landscape.surface import surface
from vesalius.methods.loss_landscape.surface_plot import plot_line, plot_surfaces
from vesalius.methods.loss_landscape.trajectory import Trajectory, trajectory
from vesalius.models.opening import open as open_model
from vesalius.models.recorder import checkpoints_in
from vesalius.numerics.surface_measures import largest_rise
from vesalius.plots.style import figure_bytes
from vesalius.recipes.finetune import FinetunePlan, plan_finetune, run_finetune
from vesalius.recipes.finetune_config import FinetuneOptions

Kind = Literal["pretrained", "scratch"]
KINDS: Final[tuple[Kind, ...]] = ("pretrained", "scratch")
PAGE: Final = "story.html"


@final
@dataclass(frozen=True, kw_only=True)
class StoryOptions:
    """How both models are trained and how finely their landscapes are drawn.

    ``epochs`` and ``scratch_epochs`` as in the paper: a network from scratch needs more. Every
    seed is drawn; the page shows the first.
    """

    seeds: tuple[int, ...] = (0,)
    epochs: float = 3.0
    scratch_epochs: float = 8.0
    snapshots: int = 16
    max_examples: int = 256
    line_steps: int = 31
    surface_steps: tuple[int, int] = (16, 13)
    tau_nats: float = 0.1
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse numbers without meaning.

        Raises:
            VesaliusError: fewer than two snapshots or steps, or no example.
        """
        check_count("snapshots", self.snapshots, lowest=2, usual=16)
        check_count("max_examples", self.max_examples, lowest=1, usual=256)
        for steps in (self.line_steps, *self.surface_steps):
            check_count("steps", steps, lowest=2, usual=16)


@final
@dataclass(frozen=True, kw_only=True)
class StoryRow:
    """The numbers of one model: widths in units of the way from start to solution."""

    kind: Kind
    seed: int
    accuracy: float  # on the held-out examples
    width: float
    width_is_open: bool  # the width is a lower bound
    largest_rise_nats: float  # of the training loss on the straight way: 0 if it only falls
    area: float
    rank_correlation: float  # training loss with held-out error over the plane
    overlap: float
    off_plane: float  # the largest share of a checkpoint's way that the plane does not show
    damage: dict[str, float]  # points of accuracy lost by rolling a group back


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LandscapeStory(AbstractResult):
    """What fine-tuning and training from scratch look like from above, in numbers."""

    kind: ClassVar[str] = "loss_landscape.story"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    data_name: str
    majority_accuracy: float
    tau_nats: float
    rows: tuple[StoryRow, ...]

    def to_table(self) -> pa.Table:
        """One row for each model and seed.

        Source: arXiv 1908.05620, sections 3 and 4.
        """
        return pa.Table.from_pylist(
            [
                {k: v for k, v in vars(row).items() if k != "damage"}
                | {f"damage of {group}": points for group, points in row.damage.items()}
                for row in self.rows
            ]
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Drawn:
    """The landscape of one model."""

    line: Line
    surface: Surface
    path: Trajectory
    rolled_back: Rollback


def plan_story(
    model: str | Path,
    data: str | Path | LabelledData,
    *,
    out: str | Path,
    options: StoryOptions | None = None,
    labelled: LabelledOptions | None = None,
) -> dict[Kind, FinetunePlan]:
    """Read data and model and count the work of both trainings; writes nothing.

    Raises:
        VesaliusError: as :func:`vesalius.recipes.finetune.plan_finetune`.

    Source: arXiv 1908.05620, section 3. No shapes change hands.
    """
    options = options or StoryOptions()
    training = FinetuneOptions(
        seeds=options.seeds,
        epochs=options.epochs,
        snapshots=options.snapshots,
        device=options.device,
    )
    scratch = replace(training, epochs=options.scratch_epochs, from_scratch=True)
    made = {"pretrained": training, "scratch": scratch}
    return {
        kind: plan_finetune(
            model, data, out=Path(out) / kind, options=made[kind], labelled=labelled
        )
        for kind in KINDS
    }


def run_story(
    plans: Mapping[Kind, FinetunePlan], *, out: str | Path, options: StoryOptions | None = None
) -> LandscapeStory:
    """Train, draw, and write the page; what is done already is not done again.

    Raises:
        VesaliusError: a training that diverges, or a folder that cannot be written.

    Source: arXiv 1908.05620, sections 3 and 4. No shapes change hands.
    """
    options, out, stopwatch = options or StoryOptions(), Path(out), Stopwatch.start()
    trained = {kind: run_finetune(plans[kind]) for kind in KINDS}
    drawn: dict[tuple[Kind, int], _Drawn] = {
        (kind, seed): _draw(plans[kind], kind, seed, out=out, options=options)
        for kind in KINDS
        for seed in options.seeds
    }
    data = plans["pretrained"].data
    story = LandscapeStory(
        card=make_card(
            "landscape story",
            stopwatch=stopwatch,
            config=options,
            model=plans["pretrained"].source.name,
            model_fingerprint=str(plans["pretrained"].identity["model_fingerprint"]),
            seed=options.seeds[0],
            warnings=tuple(dict.fromkeys(n for t in trained.values() for n in t.card.warnings)),
        ),
        data_name=data.name,
        majority_accuracy=next(iter(drawn.values())).rolled_back.majority_accuracy or np.nan,
        tau_nats=options.tau_nats,
        rows=tuple(
            _row(kind, seed, found, options.tau_nats) for (kind, seed), found in drawn.items()
        ),
    )
    first: dict[Kind, _Drawn] = {kind: drawn[kind, options.seeds[0]] for kind in KINDS}
    write_file(out / PAGE, str(_page(story, first)).encode(), force=True)
    story.save(out / RESULT, force=True)
    return story


def _draw(plan: FinetunePlan, kind: Kind, seed: int, *, out: Path, options: StoryOptions) -> _Drawn:
    folder = plan.out / f"seed-{seed}"
    specimen = open_model(folder / "model", device=options.device)
    points = checkpoints_in(folder)
    most = options.max_examples
    examples = Examples.of_labelled(specimen, plan.data, max_train=most, max_held_out=most)
    start = points[0][1]
    plane = make_frame(specimen, ("solution", "random"), start=start, seed=seed)
    place = out / "landscapes" / f"{kind}-seed-{seed}"
    return _Drawn(
        line=line(specimen, examples, plane, steps=options.line_steps, run=Run(out=place / "line")),
        surface=surface(
            specimen, examples, plane, steps=options.surface_steps, run=Run(out=place / "surface")
        ),
        path=trajectory(specimen, examples, plane, points),
        rolled_back=rollback(specimen, examples, start, groups="thirds"),
    )


def _row(kind: Kind, seed: int, drawn: _Drawn, tau_nats: float) -> StoryRow:
    along = agreement(drawn.line, tau_nats=tau_nats).regions[0]
    plane = agreement(drawn.surface, tau_nats=tau_nats)
    pair = next(pair for pair in plane.pairs if pair.measure == ERROR)
    losses = drawn.line.measured(TRAIN, LOSS)
    way = (drawn.line.alphas >= 0) & (drawn.line.alphas <= 1)
    rolled = drawn.rolled_back
    return StoryRow(
        kind=kind,
        seed=seed,
        accuracy=rolled.fine_tuned_accuracy,
        width=along.extent,
        width_is_open=along.is_open,
        largest_rise_nats=largest_rise(losses[way]),
        area=plane.regions[0].extent,
        rank_correlation=pair.rank_correlation,
        overlap=pair.overlap,
        off_plane=float(drawn.path.off_plane.max()),
        damage={row.group: -100 * row.accuracy_change.mean.estimate for row in rolled.rows},
    )


def _page(story: LandscapeStory, first: Mapping[Kind, _Drawn]) -> str:
    names = {"pretrained": "Fine-tuned from the pretrained model", "scratch": "From scratch"}
    header = [
        "model", "seed", "held-out accuracy", f"width at {story.tau_nats:g} nats",
        "largest rise on the way", "area", "rank correlation, loss with error", "overlap",
    ]  # fmt: skip
    rows = [
        [
            row.kind, row.seed, f"{row.accuracy:.1%}",
            f"{'at least ' if row.width_is_open else ''}{row.width:.2f}",
            f"{row.largest_rise_nats:.3g}", row.area, row.rank_correlation, f"{row.overlap:.0%}",
        ]
        for row in story.rows
    ]  # fmt: skip
    groups = list(story.rows[0].damage)
    damage = [
        [row.kind, row.seed, *(f"{row.damage.get(g, np.nan):+.1f}" for g in groups)]
        for row in story.rows
    ]
    sections: list[tuple[str, list[object]]] = [
        (
            "In numbers",
            [
                f"{story.data_name}; the commonest class is right in "
                f"{story.majority_accuracy:.1%}. Widths and areas are in units of each model's own "
                "way from start to solution, so a model that went further is measured by a longer "
                "rule. One seed says little: take three or more for a claim.",
                table(header, rows),
                "Points of accuracy lost when a group gets the weights of its start again:",
                table(["model", "seed", *groups], damage),
            ],
        )
    ]
    for kind in KINDS:
        drawn = first[kind]
        sections.append(
            (
                names[kind],
                [
                    picture(figure_bytes(plot_line(drawn.line)), alt=f"{kind}: line"),
                    picture(
                        figure_bytes(plot_surfaces(drawn.surface, trajectory=drawn.path)),
                        alt=f"{kind}: surfaces of {TRAIN} and {HELD_OUT} data with the path",
                    ),
                    f"Up to {drawn.path.off_plane.max():.0%} of a checkpoint's way lies off this "
                    "plane; its dots show the true loss.",
                ],
            )
        )
    return page("A landscape, pretrained and from scratch", sections)
