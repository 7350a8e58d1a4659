"""Each claim with its numbers, and whether these bear it out, by a rule that is written.

The rules were fixed before any number was looked at. ``yes`` and ``no`` between two starts mean
that every seed of one is on the claimed, or on the other side of every seed of the other one: by
chance that happens once in twenty. Everything else is ``open``.
"""

from collections.abc import Sequence
from itertools import pairwise

from counted import (
    FAR_TAU,
    REACHED,
    TAU,
    Result,
    Results,
    agreements,
    climbs,
    entered,
    flatness,
    groups,
    lost,
    mapped,
    norms,
    on_path,
    pairs,
    per_seed,
    rises,
    spread,
    steps_to,
    widths,
)
from tasks import PRETRAINED, task_of, training_of

YES, NO, OPEN = "yes", "**no**", "open"
FLAT = 0.02  # nats: a smaller climb is none
POINT, TWO_POINTS, FIVE = 1.0, 2.0, 5.0
WAYS, EUCLIDEAN, SIZES = "in lengths of the way", "Euclidean", "in % of the start's weights"
Claim = tuple[str, str, str, str, str]  # letter, claim, task, verdict, numbers


def claims(results: Results) -> list[Claim]:
    """Judge every claim on every task that entered and was trained from both starts."""
    told: list[Claim] = []
    compared = pairs(results)
    for name, (mine, theirs) in compared.items():
        told += _easier(name, mine, theirs)
    trec = [results.get(f"trec-{name}") for name in ("pretrained", "pretrained-long", "scratch")]
    if all(trec) and "trec" in entered(results):
        told += _overfitting(*trec)
    for name, (mine, theirs) in compared.items():
        told += _alike(name, mine, theirs)
    for name in mapped(results):
        training = training_of(name)
        if training.start == PRETRAINED:
            suffix = f", {training.epochs:g} epochs" if training.is_twin else ""
            told += _rolled_back(task_of(training.task).told + suffix, results[name])
    return sorted(told, key=lambda claim: claim[0])  # sorted() keeps the order within a letter


def separated(mine: Sequence[float], theirs: Sequence[float], *, above: bool) -> str:
    """Whether all of mine are above (or below) all of theirs."""
    if not mine or not theirs:
        return OPEN
    if not above:
        mine, theirs = [-v for v in mine], [-v for v in theirs]
    return YES if min(mine) > max(theirs) else NO if max(mine) < min(theirs) else OPEN


def _against(
    words: str,
    letter: str,
    task: str,
    mine: Sequence[float],
    theirs: Sequence[float],
    *,
    above: bool,
    digits: int | None = 2,
    unit: str = "",
) -> list[Claim]:
    """A comparison of both starts; left out where one was not measured."""
    if not mine or not theirs:
        return []
    verdict = separated(mine, theirs, above=above)
    numbers = f"{spread(mine, digits)} against {spread(theirs, digits)}{unit}"
    return [(letter, words, task, verdict, numbers)]


def _easier(task: str, mine: Result, theirs: Result) -> list[Claim]:
    """Wider optima, and an easier way there."""
    told: list[Claim] = []
    for tau, scale in ((TAU, WAYS), (FAR_TAU, WAYS), (TAU, EUCLIDEAN), (TAU, SIZES)):
        told += _wider(task, mine, theirs, tau, scale)
    for key, name in (("average", "average rise"), ("eigenvalue", "largest eigenvalue")):
        told += _against(
            f"flatter in units of the weights: {name} is smaller", "a", task,
            flatness(mine, "normalised", key), flatness(theirs, "normalised", key), above=False,
            digits=None,
        )  # fmt: skip
    told += _against(
        f"fewer steps to a training loss of {REACHED} nats", "a", task,
        steps_to(mine), steps_to(theirs), above=False, digits=0,
    )  # fmt: skip
    climbed = rises(mine)
    if climbed:
        verdict = YES if max(climbed) <= FLAT else NO
        numbers = f"largest climb {spread(climbed, 3)} nats"
        words = f"the straight way from the start falls all along (climbs at most {FLAT} nats)"
        told.append(("a", words, task, verdict, numbers))
    told += _against(
        "the straight way climbs less than from scratch", "a", task,
        climbed, rises(theirs), above=False, digits=3, unit=" nats",
    )  # fmt: skip
    return told


def _wider(task: str, mine: Result, theirs: Result, tau: float, scale: str) -> list[Claim]:
    """Widths in one unit; an open end of the narrower one leaves the question open."""
    first, second = widths(mine, tau), widths(theirs, tau)
    sizes = [
        [width.width * unit for width, unit in zip(each, _units(result, scale), strict=False)]
        for each, result in ((first, mine), (second, theirs))
    ]
    words = f"wider optimum: within {tau} nats of the solution, {scale}"
    digits = 1 if scale == EUCLIDEAN else 2
    found = _against(words, "a", task, *sizes, above=True, digits=digits)
    if not found:
        return []
    letter, words, _, verdict, numbers = found[0]
    ends = [[w.open_low or w.open_high for w in each] for each in (first, second)]
    if (verdict == YES and any(ends[1])) or (verdict == NO and any(ends[0])):
        verdict = OPEN
    if any(ends[0]) or any(ends[1]):
        numbers += f" (lower bounds: {sum(ends[0])} and {sum(ends[1])} seeds)"
    return [(letter, words, task, verdict, numbers)]


def _units(found: Result, scale: str) -> list[float]:
    """What one unit of the line is, for each seed."""
    if scale == WAYS:
        return [1.0 for _ in norms(found)]
    if scale == EUCLIDEAN:
        return norms(found)
    return [100 * value for value in groups(found, "moved").get("encoder", [])]


def _overfitting(short: Result, long: Result, theirs: Result) -> list[Claim]:
    """20 epochs of TREC."""
    if not (per_seed(short, "path") and per_seed(long, "path") and per_seed(theirs, "path")):
        return []
    told = _against(
        "the dev loss ends less far above its lowest epoch than from scratch", "b", "TREC",
        climbs(long), climbs(theirs), above=False, unit=" nats",
    )  # fmt: skip
    points = lost(long)
    words = "the last epoch is at most 1 point of dev accuracy below the best one, every seed"
    verdict = YES if max(points) <= POINT else NO
    told.append(("b", words, "TREC", verdict, f"{spread(points, 1)} points below"))
    told += _against(
        "it loses fewer points from the best epoch to the last than from scratch", "b", "TREC",
        points, lost(theirs), above=False, digits=1,
    )  # fmt: skip
    ends = [100 * (1 - on_path(each, "held_out", "error")[:, -1]) for each in (long, short)]
    change = [float(a - b) for a, b in zip(*ends, strict=True)]
    words = "20 epochs are at most 1 point of dev accuracy below 4 epochs, mean over seeds"
    verdict = YES if sum(change) / len(change) >= -POINT else NO
    told.append(("b", words, "TREC", verdict, f"{spread(change, 1, sign=True)} points"))
    if ways := per_seed(short, "basin"):
        heights = [each["heights"]["train loss"][0] for each in ways]
        words = f"4 and 20 epochs end in one basin: a barrier of at most {TAU} nats, every seed"
        verdict = YES if max(heights) <= TAU else NO
        told.append(("b", words, "TREC", verdict, f"{spread(heights, 3)} nats"))
    return told


def _alike(task: str, mine: Result, theirs: Result) -> list[Claim]:
    """Training loss and held-out error over the plane."""
    first, second = agreements(mine), agreements(theirs)
    told = _against(
        "training loss and held-out error rank the plane more alike", "c", task,
        [a.spearman for a in first], [a.spearman for a in second], above=True, digits=3,
    )  # fmt: skip
    told += _against(
        "their lowest points are nearer to each other, in lengths of the way", "c", task,
        [a.argmin_distance for a in first], [a.argmin_distance for a in second], above=False,
    )  # fmt: skip
    told += _against(
        "their low regions overlap more", "c", task,
        [a.overlap for a in first], [a.overlap for a in second], above=True,
    )  # fmt: skip
    return told


def _rolled_back(task: str, found: Result) -> list[Claim]:
    """Layers that change least, and that can be given back."""
    if not per_seed(found, "rollback"):
        return []
    told: list[Claim] = []
    moved, change = groups(found, "moved"), groups(found, "change")
    layers = [name for name in moved if name.startswith("layer ")]
    words = "relative change of weights grows from layer to layer, every seed"
    numbers = ", ".join(f"{100 * sum(moved[name]) / len(moved[name]):.1f} %" for name in layers)
    told.append(("d", words, task, _ordered([moved[name] for name in layers]), numbers))
    for words, names in (
        ("rolling back costs more from third to third, every seed", ["low", "middle", "high"]),
        ("rolling back costs more from layer to layer, every seed", layers),
    ):
        costs = [[-100 * value for value in change[name]] for name in names]
        numbers = ", ".join(f"{sum(cost) / len(cost):.1f}" for cost in costs) + " points"
        told.append(("d", words, task, _ordered(costs), numbers))
    low = [-100 * value for value in change["low"]]
    verdict = YES if sum(low) / len(low) <= TWO_POINTS else NO
    words = "the low third can be rolled back: at most 2 points of accuracy, mean over seeds"
    told.append(("d", words, task, verdict, f"{spread(low, 1)} points"))
    majority = per_seed(found, "rollback")[0]["majority"]
    left = [100 * (value - majority) for value in groups(found, "accuracy")["high"]]
    words = "without the high third little is left: within 5 points of the commonest class, mean"
    verdict = YES if sum(left) / len(left) <= FIVE else NO
    told.append(("d", words, task, verdict, f"{spread(left, 1, sign=True)} points above it"))
    return told


def _ordered(values: Sequence[Sequence[float]]) -> str:
    """Whether every seed's values rise; ``no`` where the means do not either."""
    seeds = list(zip(*values, strict=True))
    if all(a < b for seed in seeds for a, b in pairwise(seed)):
        return YES
    means = [sum(each) / len(each) for each in values]
    return OPEN if all(a < b for a, b in pairwise(means)) else NO
