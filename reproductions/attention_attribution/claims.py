"""Each claim with its numbers, and whether these numbers bear it out, by a rule that is written."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
YES, NO, OPEN = "yes", "**no**", "open"
Claim = tuple[str, str, str, str]  # claim, task, verdict, numbers


def claims(tasks: Mapping[str, Result]) -> list[Claim]:
    """Judge every claim on every task that entered."""
    told: list[Claim] = []
    for name, task in tasks.items():
        if task["entered"]["enters"]:
            told += [*_pruned(name, task["prune"]), *_linked(name, task["links"])]
            told += _studied(name, task["study"])
            told += _attacked(name, task.get("triggers", {}))
    return told


def _verdict(difference: Sequence[float]) -> str:
    """A difference that should be above 0, with its interval."""
    return YES if difference[1] > 0 else NO if difference[2] < 0 else OPEN


def _pruned(name: str, found: Result) -> list[Claim]:
    told: list[Claim] = []
    for mine, kind in (("max", "zero"), ("uniform", "uniform")):
        for other, words in (
            ("random", "random orders"),
            ("attention", "raw attention"),
            ("accuracy-difference", "accuracy difference"),
            ("taylor", "Taylor (the paper: about equal)"),
        ):
            difference = found["against"][f"{mine} - {other}"]
            told.append(
                (
                    f"heads by attribution ({kind}) keep more accuracy than by {words}",
                    name,
                    _verdict(difference),
                    f"{100 * difference[0]:+.1f} points ({100 * difference[1]:+.1f} to "
                    f"{100 * difference[2]:+.1f}), mean over 10 to 90 % removed",
                )
            )
    return told


def _linked(name: str, found: Result) -> list[Claim]:
    told: list[Claim] = []
    for kind in ("zero", "uniform"):
        for other, words in (("random", "random links"), ("attention", "the highest attention")):
            difference = found[kind]["against"][other]
            told.append(
                (
                    f"taking the tree's links out ({kind}) costs more than {words}",
                    name,
                    _verdict(difference),
                    f"{difference[0]:+.3f} ({difference[1]:+.3f} to {difference[2]:+.3f}) of "
                    "probability",
                )
            )
    return told


def _studied(name: str, found: Result) -> list[Claim]:
    """With half of the heads of every layer removed in each text's own order."""
    curves = found["curves"]
    half = len(next(iter(curves.values()))) // 2
    least, most = (curves[f"attribution, {way} first"][half] for way in ("least", "most"))
    plain = curves["attention, most first"][half]
    words = f"{least[0]:.3f} against {most[0]:.3f}, by attention {plain[0]:.3f}"
    verdict = YES if least[1] > most[2] else NO if least[2] < most[1] else OPEN
    return [("own heads: least attributed first keeps more than most first", name, verdict, words)]


def _attacked(name: str, found: Result) -> list[Claim]:
    told: list[Claim] = []
    for label, one in found.get("classes", {}).items():
        for other, difference in one["against"].items():
            told.append(
                (
                    f"a trigger lowers the accuracy of other classes more than {other} tokens",
                    f"{name}: {label}",
                    _verdict(difference),
                    f"{100 * one['clean'][0]:.1f} to {100 * one['attacked'][0]:.1f} %, {other} "
                    f"{100 * one['controls'][other]:.1f} %",
                )
            )
    return told
