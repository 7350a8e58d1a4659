"""Each claim with its numbers, and whether these bear it out, by a rule that is written.

The rules were fixed before any number was looked at. A gain is ``yes`` when the mean of the paired
differences over seeds is better than both controls, plain ELECTRA and temperature 1.3, by more than
two standard errors; ``no`` when it is worse than one of them by as much; otherwise ``open``. The
other claims are thresholds of ours, on the mean over seeds.
"""

import numpy as np
from arms import ARMS, CONTROLS, PLAIN, TOLD, WITH_HEAD
from counted import (
    AREAS,
    CORRECT,
    FEWEST,
    LOSSES,
    SCORES,
    VARIANCES,
    Measure,
    Results,
    against_controls,
    by_seed,
    curves,
    difference,
    spread,
    told_difference,
    values,
)

YES, NO, OPEN = "yes", "**no**", "open"
POINTS = 3.0  # fewer correct samples than plain
CLIMB = 0.25  # of the steps: from there to the end the share should still grow
EXACT = 1e-4  # relative: weights are float32
MEDIAN, MEAN = 0.9, 1.1  # variance over that of the generator's draws
SAME = 1.0  # points of the generator's accuracy
Claim = tuple[str, str, str, str, str]  # letter, claim, arm, verdict, numbers


def claims(results: Results) -> list[Claim]:
    """Judge every claim on every arm that has enough seeds."""
    arms = [arm for arm in ARMS if arm not in CONTROLS and _enough(results, arm)]
    told = _climbs(results)
    for arm in arms:
        told += _fewer(results, arm)
    for arm in arms:
        if arm in WITH_HEAD:
            told += _steadier(results, arm)
    for letter, measures in (
        ("a", (CORRECT,)), ("b", VARIANCES), ("c", (*LOSSES, *AREAS)), ("d", SCORES),
    ):  # fmt: skip
        for arm in arms:
            for measure in measures:
                told += _gain(results, arm, measure, letter)
    return sorted(told, key=lambda claim: claim[0])  # sorted() keeps the order within a letter


def _enough(results: Results, arm: str) -> bool:
    return len(by_seed(results, arm, "log")) >= FEWEST


def _climbs(results: Results) -> list[Claim]:
    """Whether the generator's draws become right more and more often."""
    steps, share = curves(results, PLAIN, "correct_samples")
    if len(share) < FEWEST:
        return []
    early = np.abs(steps - CLIMB * steps[-1]).argmin()
    change = (100 * (share[:, -1] - share[:, early])).tolist()
    words = "the share of correct samples still grows after a quarter of the steps, every seed"
    verdict = YES if min(change) > 0 else NO
    return [("a", words, TOLD[PLAIN], verdict, f"{spread(change, 1, sign=True)} points")]


def _fewer(results: Results, arm: str) -> list[Claim]:
    """Acceptance (a): at least three points below plain, with a generator that is as good."""
    found = difference(results, arm, PLAIN, CORRECT)
    if found is None or found.num_seeds < FEWEST:
        return []
    words = f"at least {POINTS:.0f} points fewer correct samples than plain"
    verdict = YES if found.mean <= -POINTS and found.side(less=True) == 1 else NO
    told = [("a", words, TOLD[arm], verdict, f"{told_difference(found, 1)} points")]
    accuracy = Measure(
        name="accuracy", told="", step="log", scale=100, less=False,
        read=lambda each: each["last"]["generator_accuracy"],
    )  # fmt: skip
    same = difference(results, arm, PLAIN, accuracy)
    if same is not None:
        words = (
            f"the generator is right as often as plain's at first choice, within {SAME:.0f} point"
        )
        verdict = YES if abs(same.mean) <= SAME else NO
        told.append(("a", words, TOLD[arm], verdict, f"{told_difference(same, 1)} points"))
    return told


def _steadier(results: Results, arm: str) -> list[Claim]:
    """Acceptance (b): unbiased, and less variance than the generator's draws at the same pair."""
    seeds = list(by_seed(results, arm, "variance").values())
    if len(seeds) < FEWEST:
        return []
    bias = max(each["bias"] for each in seeds)
    words = f"the weights keep the mean loss at every slot, within {EXACT:g} of it, every seed"
    told = [("b", words, TOLD[arm], YES if bias <= EXACT else NO, f"at most {bias:.1g}")]
    for key, limit, word in (("median", MEDIAN, "below"), ("mean", MEAN, "at most")):
        found = [each["ratios"]["loss"][key] for each in seeds]
        middle = float(np.mean(found))
        holds = middle < limit if key == "median" else middle <= limit
        words = f"variance over that of the generator's draws: {key} over slots {word} {limit}"
        told.append(("b", words, TOLD[arm], YES if holds else NO, spread(found, 3)))
    return told


def _gain(results: Results, arm: str, measure: Measure, letter: str) -> list[Claim]:
    """A gain over both controls."""
    found = against_controls(results, arm, measure)
    if len(found) < len(CONTROLS) or min(each.num_seeds for each in found.values()) < FEWEST:
        return []
    sides = [each.side(less=measure.less) for each in found.values()]
    verdict = YES if min(sides) == 1 else NO if min(sides) == -1 else OPEN
    numbers = "; ".join(
        f"{told_difference(each, measure.digits)} against {TOLD[control]}"
        for control, each in found.items()
    )
    mean = float(np.mean(list(values(results, arm, measure).values())))
    words = f"{'less' if measure.less else 'more'}: {measure.told}"
    return [(letter, words, TOLD[arm], verdict, f"{mean:.{measure.digits}f}; {numbers}")]
