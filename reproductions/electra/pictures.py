"""The pictures of the page, from the stored numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from arms import ARMS, CONTROLS, TOLD
from counted import (
    AREAS,
    CORRECT,
    LOSSES,
    SCORES,
    VARIANCES,
    Measure,
    Results,
    by_seed,
    curves,
    values,
)
from tasks import TASKS

from vesalius.core.paths import write_file
from vesalius.plots.curves import COLOURS
from vesalius.plots.size_curves import SizeCurve, size_curves
from vesalius.plots.style import INK, QUIET, RULE, figure_bytes, tidy

POINTS: Final = 20  # of a curve
SHOWN: Final = (
    ("correct_samples", "correct samples", True),
    ("generator_entropy_nats", "entropy of the generator (nats)", False),
    ("generator_nats", "cross entropy of the generator (nats)", False),
)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what there is: curves, ratios of variance, and a dot for every seed."""
    drawn: list[Path] = []
    if any(by_seed(results, arm, "log") for arm in ARMS):
        drawn.append(_write(_curves(results), folder, "curves"))
    if _ratios(results):
        drawn.append(_write(_variances(results), folder, "variance"))
    for name, measures, columns in (
        ("estimate", (CORRECT, *VARIANCES), 3),
        ("corruptions", (*LOSSES, *AREAS), 3),
        ("tasks", SCORES, 4),
    ):
        shown = [each for each in measures if any(values(results, arm, each) for arm in ARMS)]
        if shown:
            drawn.append(_write(_dots(results, shown, columns), folder, name))
    return drawn


def colour_of(arm: str) -> str:
    """Give an arm the same colour in every picture."""
    return COLOURS[ARMS.index(arm) % len(COLOURS)] if arm in ARMS else QUIET


def _write(axes: Any, folder: Path, name: str) -> Path:
    path = folder / "figures" / f"{name}.png"
    return write_file(path, figure_bytes(axes, dots_per_inch=90), force=True)


def _curves(results: Results) -> Any:
    """Mean and range over seeds against the step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 4.4), layout="constrained")
    places = figure.subplots(1, len(SHOWN))
    for ax, (name, label, percent) in zip(places, SHOWN, strict=True):
        found = {arm: curves(results, arm, name) for arm in ARMS}
        found = {arm: each for arm, each in found.items() if len(each[0])}
        size_curves(
            {TOLD[arm]: _curve(*each) for arm, each in found.items()},
            x_label="step",
            y_label=label,
            log=False,
            percent=percent,
            ax=ax,
        )
        last = max(int(steps[-1]) for steps, _ in found.values())
        ticks = np.linspace(0, last, 5).astype(int)
        ax.set_xticks(ticks, [f"{tick}" for tick in ticks])
        ax.get_legend().remove()
    lines, names = places[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names), frameon=False)
    return places[0]


def _curve(steps: np.ndarray, seeds: np.ndarray) -> SizeCurve:
    """Thin a measure [seed, point] out to a few points, with its range over seeds."""
    stride = max(1, len(steps) // POINTS)
    kept = slice(stride - 1, None, stride)
    part = seeds[:, kept]
    return SizeCurve(size=steps[kept], value=part.mean(0), low=part.min(0), high=part.max(0))


def _ratios(results: Results) -> list[str]:
    """The arms that have a sampler of their own."""
    return [
        arm
        for arm in ARMS
        if any(each["ratios"] for each in by_seed(results, arm, "variance").values())
    ]


def _variances(results: Results) -> Any:
    """For every arm with a head and every seed: median, quarters and mean over slots."""
    from matplotlib.figure import Figure

    arms = _ratios(results)
    rows = [
        (arm, seed, each["ratios"])
        for arm in arms
        for seed, each in by_seed(results, arm, "variance").items()
    ]
    figure = Figure(figsize=(10.4, 1.6 + 0.28 * len(rows)), layout="constrained")
    places = figure.subplots(1, 2, sharey=True)
    for ax, quantity in zip(places, ("loss", "logit gradient"), strict=True):
        for y, (arm, _, ratios) in enumerate(rows):
            each, colour = ratios[quantity], colour_of(arm)
            tenth, quarter, three, nine = each["quantiles"]
            ax.plot([tenth, nine], [y, y], color=colour, linewidth=1)
            ax.plot([quarter, three], [y, y], color=colour, linewidth=4, alpha=0.5)
            ax.plot(each["median"], y, "o", color=colour, markersize=6)
            ax.plot(each["mean"], y, "D", color=INK, markersize=4, markerfacecolor="white")
        ax.axvline(1, color=RULE, linewidth=1.2, zorder=0)
        ax.set_xlabel(f"{quantity}: variance over the generator's", fontsize=9.5)
        ax.set_yticks(range(len(rows)), [f"{TOLD[arm]}, seed {seed}" for arm, seed, _ in rows])
        tidy(ax)
    places[0].invert_yaxis()
    figure.suptitle(
        "dot: median over slots; thick: the middle half; thin: 10 % to 90 %; diamond: mean",
        fontsize=9.5,
    )
    return places[0]


def _dots(results: Results, measures: Sequence[Measure], columns: int) -> Any:
    """A panel for each measure, a row for each arm, a dot for each seed, a line at the mean."""
    from matplotlib.figure import Figure

    arms = [arm for arm in (*ARMS, "scratch") if any(values(results, arm, m) for m in measures)]
    height = -(-len(measures) // columns)
    figure = Figure(figsize=(13.5, height * (1.3 + 0.36 * len(arms))), layout="constrained")
    places = figure.subplots(height, columns, squeeze=False, sharey=True)
    for ax, measure in zip(places.reshape(-1), measures, strict=False):
        for y, arm in enumerate(arms):
            found = list(values(results, arm, measure).values())
            if found:
                shifts = np.linspace(-0.2, 0.2, len(found)) if len(found) > 1 else [0.0]
                ax.plot(found, y + np.array(shifts), "o", color=colour_of(arm), markersize=5)
                mean = float(np.mean(found))
                ax.plot([mean, mean], [y - 0.36, y + 0.36], color=INK, linewidth=1.6)
        _references(ax, results, measure)
        arrow = "less is better" if measure.less else "more is better"
        ax.set_xlabel(f"{measure.told} ({arrow})", fontsize=9)
        ax.set_yticks(range(len(arms)), [_name(arm) for arm in arms])
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.grid(axis="x", alpha=0.25)
        tidy(ax)
    for ax in places.reshape(-1)[len(measures) :]:
        ax.set_axis_off()
    return places[0, 0]


def _references(ax: Any, results: Results, measure: Measure) -> None:
    """Mark the commonest class, and the means of both controls."""
    for arm in CONTROLS:
        found = list(values(results, arm, measure).values())
        if found:
            ax.axvline(
                float(np.mean(found)), color=colour_of(arm), linewidth=0.9, linestyle="--", zorder=0
            )
    task = next((each for each in TASKS if each.name == measure.name), None)
    if task is not None and task.metric == "accuracy":
        known = [s for arm in results for s in by_seed(results, arm, task.name).values()]
        ax.axvline(100 * known[0]["majority"], color=INK, linewidth=1.1, linestyle=":", zorder=0)


def _name(arm: str) -> str:
    return TOLD.get(arm, "never pretrained")
