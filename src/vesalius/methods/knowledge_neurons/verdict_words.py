"""Verdicts in one plain sentence.

Source: this project.
"""

import numpy as np
from jaxtyping import Bool

from vesalius.methods.knowledge_neurons.probes import Answers, Sheet, holds
from vesalius.methods.knowledge_neurons.verdict import Measure


def edit_sentence(sheet: Sheet, before: Answers, after: Answers) -> str:
    """Say whether an edit holds, on what it does not, and what else it changed; no shapes."""
    forced, free = holds(sheet, before, after)
    own, other = sheet.of("edit"), sheet.of("rephrased")
    words = f"The edit {_hold(forced, free, own)} its own prompts ({_counts(forced, free, own)})"
    was_there, _ = holds(sheet, before, before)
    if was_there[own].all():
        words = "The model gave the new answer before the edit already"
    if other.any():
        alike = _level(forced, free, own) == _level(forced, free, other)
        link = "and" if alike else "but"
        verb = "on" if alike else _only(_level(forced, free, other))
        words += f" {link} {verb} rephrased ones ({_counts(forced, free, other)})"
    changed = [
        f"{_none(int((~forced[marked]).sum()))} of {int(marked.sum())} {name}"
        for name, marked in (
            ("neighbours", sheet.of("neighbour")),
            ("unrelated answers", sheet.of("unrelated")),
        )
        if marked.any()
    ]
    return f"{words}; {' and '.join(changed)} changed." if changed else f"{words}."


def erasure_sentence(measures: dict[tuple[str, str], Measure]) -> str:
    """Say what an erasure took from the relation, and what from the others; no shapes."""
    told = [
        f"{name} go from {right.before:.0%} to {right.after:.0%} right (perplexity "
        f"{surprise.before:.3g} to {surprise.after:.3g})"
        for name, key in (
            ("the prompts of the erased relation", "erased_relation"),
            ("those of the others", "other_relations"),
        )
        if (right := measures.get((key, "accuracy"))) is not None
        and (surprise := measures.get((key, "perplexity"))) is not None
    ]
    return f"{', '.join(told)}."[:1].upper() + f"{', '.join(told)}."[1:]


def pooled_sentence(measures: dict[tuple[str, str], Measure], *, num_cases: int, after: str) -> str:
    """Say in one sentence what many edits did on average; no shapes."""
    told: list[str] = []
    for name, words in (
        ("reliability", "{} of the edits' own prompts give the new answer"),
        ("generality", "{} of the rephrased ones"),
        ("locality_neighbours", "{} of the neighbours' answers stay"),
        ("locality_unrelated", "{} of the unrelated ones"),
    ):
        found = measures.get((name, "free"))
        if found is not None:
            told.append(words.format(f"{found.after:.0%}"))
    own = measures.get(("reliability", "free"))
    control = ""
    if own is not None and not np.isnan(own.control):
        control = f"; with random neurons {own.control:.0%} of the own prompts do"
    return f"{after.format(num_cases)} {', '.join(told)}{control}."


def _level(
    forced: Bool[np.ndarray, " question"],
    free: Bool[np.ndarray, " question"],
    marked: Bool[np.ndarray, " question"],
) -> int:
    """0 none, 1 fewer than half, 2 half or more, 3 all: by the harder way of asking."""
    share = min(float(forced[marked].mean()), float(free[marked].mean()))
    return 3 if share == 1 else 2 if share >= 0.5 else 1 if share > 0 else 0


def _hold(
    forced: Bool[np.ndarray, " question"],
    free: Bool[np.ndarray, " question"],
    marked: Bool[np.ndarray, " question"],
) -> str:
    words = ("does not hold on", "holds on few of", "holds on most of", "holds on")
    return words[_level(forced, free, marked)]


def _only(level: int) -> str:
    return ("not on", "only on few", "only on some", "on all")[level]


def _counts(
    forced: Bool[np.ndarray, " question"],
    free: Bool[np.ndarray, " question"],
    marked: Bool[np.ndarray, " question"],
) -> str:
    total, given, said = int(marked.sum()), int(forced[marked].sum()), int(free[marked].sum())
    if given == said:
        return f"{given} of {total}"
    return f"{given} of {total} teacher forced, {said} said freely"


def _none(count: int) -> str:
    return str(count) if count else "none"
