"""Numbers of the page from the stored ones: a value for each seed, and paired differences."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from arms import ARMS, CONTROLS
from tasks import TASKS

Result = Mapping[str, Any]
Results = Mapping[str, Result]
FEWEST: Final = 3  # seeds, below which nothing is judged


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of a run, whether less of it is better, and how it is printed."""

    name: str
    told: str
    step: str
    read: Callable[[Result], float | None]
    less: bool
    scale: float = 1.0
    digits: int = 3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of paired differences over seeds, and twice its standard error."""

    mean: float
    two_errors: float
    num_seeds: int

    def side(self, *, less: bool) -> int:
        """1 where it is better by more than two standard errors, -1 where worse, 0 between."""
        if self.num_seeds < FEWEST or abs(self.mean) <= self.two_errors:
            return 0
        return 1 if (self.mean < 0) == less else -1


def _corrupted(name: str, measure: str) -> Callable[[Result], float | None]:
    return lambda found: found[name][measure]


def _own(quantity: str) -> Callable[[Result], float | None]:
    return lambda found: found[quantity]["own"]


def _scored(metric: str) -> Callable[[Result], float | None]:
    return lambda found: found[metric]


WHERE: Final = {"noise": "noise", "swaps": "swaps", "generator": "third generator"}
CORRECT: Final = Measure(
    name="correct", told="correct samples, %", step="log", scale=100, digits=1, less=True,
    read=lambda found: found["last"]["correct_samples"],
)  # fmt: skip
VARIANCES: Final = (
    Measure(name="variance", told="variance of the loss estimate, nats²", step="variance",
            read=_own("loss"), less=True),
    Measure(name="gradient", told="variance of the logit's gradient", step="variance",
            read=_own("logit gradient"), less=True, digits=4),
)  # fmt: skip
LOSSES: Final = tuple(
    Measure(name=f"loss {key}", told=f"loss in nats, {told}", step="corruptions",
            read=_corrupted(key, "loss"), less=True, digits=4)
    for key, told in WHERE.items()
)  # fmt: skip
AREAS: Final = tuple(
    Measure(name=f"auc {key}", told=f"AUC, {told}", step="corruptions",
            read=_corrupted(key, "auc"), less=False)
    for key, told in WHERE.items()
)  # fmt: skip
SCORES: Final = tuple(
    Measure(
        name=task.name,
        told=f"{task.told}, {'Matthews' if task.metric == 'matthews' else 'accuracy %'}",
        step=task.name,
        read=_scored(task.metric),
        less=False,
        scale=1 if task.metric == "matthews" else 100,
        digits=3 if task.metric == "matthews" else 1,
    )
    for task in TASKS
)
MEASURES: Final = (CORRECT, *VARIANCES, *LOSSES, *AREAS, *SCORES)


def read(folder: Path) -> dict[str, Result]:
    """Read the results of all arms that there are, in their order, the untrained one last."""
    names = {arm: f"{arm.replace('+', '-')}.json" for arm in (*ARMS, "scratch")}
    paths = {arm: folder / "results" / name for arm, name in names.items()}
    return {
        arm: json.loads(path.read_text("utf-8")) for arm, path in paths.items() if path.is_file()
    }


def by_seed(results: Results, arm: str, step: str) -> dict[int, Result]:
    """What a step gave for an arm, by seed; nothing where it was not done."""
    steps = results.get(arm, {"steps": {}})["steps"].get(step, {})
    return {int(seed): steps[seed] for seed in sorted(steps, key=int)}


def values(results: Results, arm: str, measure: Measure) -> dict[int, float]:
    """Give a measure of an arm by seed, in the unit that is printed."""
    found = {seed: measure.read(each) for seed, each in by_seed(results, arm, measure.step).items()}
    return {seed: measure.scale * value for seed, value in found.items() if value is not None}


def difference(results: Results, arm: str, control: str, measure: Measure) -> Difference | None:
    """Give arm minus control over the seeds that both have; none below two of them."""
    mine, theirs = values(results, arm, measure), values(results, control, measure)
    return paired([mine[seed] - theirs[seed] for seed in mine if seed in theirs])


def paired(each: list[float]) -> Difference | None:
    """Give mean and twice the standard error of differences; none below two of them."""
    if len(each) < 2:
        return None
    error = float(np.std(each, ddof=1)) / len(each) ** 0.5
    return Difference(mean=float(np.mean(each)), two_errors=2 * error, num_seeds=len(each))


def against_controls(results: Results, arm: str, measure: Measure) -> dict[str, Difference]:
    """Give an arm's differences from the controls that it can be compared with."""
    found = {
        control: difference(results, arm, control, measure)
        for control in CONTROLS
        if control != arm
    }
    return {control: each for control, each in found.items() if each is not None}


def curves(results: Results, arm: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the steps and a logged measure as [seed, point]; empty where there is none."""
    seeds = [each for each in by_seed(results, arm, "log").values() if name in each["curves"]]
    if not seeds:
        return np.zeros(0), np.zeros((0, 0))
    return np.array(seeds[0]["steps"], float), np.array([s["curves"][name] for s in seeds], float)


def spread(found: list[float], digits: int, *, sign: bool = False) -> str:
    """Write mean and range; one value alone without a range."""
    plus = "+" if sign else ""
    mean, low, high = (
        f"{value:{plus}.{digits}f}" for value in (np.mean(found), min(found), max(found))
    )
    return mean if len(found) == 1 else f"{mean} ({low} to {high})"


def told_difference(found: Difference, digits: int) -> str:
    """Write a difference and twice its standard error, in bold where it is larger than that."""
    text = f"{found.mean:+.{digits}f} ± {found.two_errors:.{digits}f}"
    is_larger = found.num_seeds >= FEWEST and abs(found.mean) > found.two_errors
    return f"**{text}**" if is_larger else text
