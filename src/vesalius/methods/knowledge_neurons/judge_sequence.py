"""Judge edits that are made one on top of the other.

Source: sequential editing as in arXiv 2305.13172; the measures are those of ``judge``.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.data.bags import FactBag, Probe
from vesalius.methods.knowledge_neurons.edits import Edit, edited
from vesalius.methods.knowledge_neurons.judge import JudgeConfig, options_of, questions_of
from vesalius.methods.knowledge_neurons.pool import pooled_measures
from vesalius.methods.knowledge_neurons.probes import (
    Answers,
    Group,
    Question,
    Sheet,
    ask,
    make_sheet,
    measure,
)
from vesalius.methods.knowledge_neurons.verdict import SequenceVerdict
from vesalius.methods.knowledge_neurons.verdict_words import pooled_sentence
from vesalius.models.reading import Reading, read_answers
from vesalius.models.specimen import Specimen


def judge_sequence(
    specimen: Specimen,
    edits: Sequence[Edit],
    cases: Sequence[FactBag],
    *,
    config: JudgeConfig | None = None,
) -> SequenceVerdict:
    """Make edits one on top of the other, ask after each, and judge them all at the end.

    All edits were planned for the untouched model. A slot that still holds what its edit found
    there gets the planned value; one that an earlier edit has changed gets the planned change on
    top. Prompts of a case that a later edit is to change are no longer asked for locality.

    Args:
        specimen: the model that the edits were planned for; it comes back bit for bit.
        edits: updates or rank-one edits, in the order in which they are made.
        cases: one for each edit.
        config: neutral sentences and lengths.

    Returns:
        Measures as means over cases with intervals, and a row per step; no arrays.

    Raises:
        VesaliusError: another number of cases than of edits, none, two edits of one fact, other
            weights, or own prompts that cannot be asked.
    """
    stopwatch = Stopwatch.start()
    config = config or JudgeConfig()
    _check(edits, cases)
    questions = _questions(edits, cases)
    sheet = make_sheet(specimen, questions, needed="edit", **options_of(config))
    before = ask(specimen, sheet)
    watched = _Watched.of(specimen, sheet)
    steps: list[dict[str, object]] = []
    with ExitStack() as stack:
        for number, (edit, case) in enumerate(zip(edits, cases, strict=True)):
            stack.enter_context(edited(specimen, edit, stacked=number > 0))
            steps.append({"step": number + 1, "name": case.name, **watched.step(specimen, number)})
        after = ask(specimen, sheet)
    rows = [_row(sheet, before, after, number) for number in range(len(cases))]
    measures = pooled_measures(rows, seed=config.seed)
    words = {(each.name, each.way): each for each in measures}
    card = make_card(
        "neurons judge in sequence",
        stopwatch=stopwatch,
        config={"edits": len(edits), "first_edit": edits[0].card.config},
        model=specimen.name,
        model_fingerprint=edits[0].card.model_fingerprint,
        seed=config.seed,
        warnings=sheet.left_out,
    )
    return SequenceVerdict(
        card=card,
        method=", ".join(dict.fromkeys(edit.method for edit in edits)),
        sentence=pooled_sentence(words, num_cases=len(edits), after="With all {} edits made,"),
        measures=measures,
        steps=pa.Table.from_pylist(steps),
    )


def _row(sheet: Sheet, before: Answers, after: Answers, number: int) -> dict[str, float]:
    """The measures of one case at the end, as columns that can be pooled."""
    part, places = sheet.case(number)
    own, now = before.at(places), after.at(places)
    then = measure(part, own, own)
    row: dict[str, float] = {}
    for key, (value, _) in measure(part, own, now).items():
        column = ".".join(key)
        row |= {f"{column}.before": then[key][0], f"{column}.after": value}
    return row


def _check(edits: Sequence[Edit], cases: Sequence[FactBag]) -> None:
    if len(edits) != len(cases) or not edits:
        raise VesaliusError(
            given=f"{len(edits)} edits and {len(cases)} cases",
            expected="one case for each edit, and at least one",
            fix="pass the case that each edit was made for, in the same order",
        )
    weights = dict.fromkeys(edit.card.model_fingerprint for edit in edits)
    if len(weights) > 1:
        raise VesaliusError(
            given=f"edits that were planned for different weights: {', '.join(map(str, weights))}",
            expected="edits that were all planned for the untouched model",
            fix="plan them before the first of them is made",
        )
    facts = [(case.relation, case.subject) for case in cases if case.subject]
    twice = next((fact for fact in facts if facts.count(fact) > 1), None)
    if twice is not None:
        raise VesaliusError(
            given=f"two edits of {twice[1]} ({twice[0]})",
            expected="edits of different facts: the second would undo the first",
            fix="leave one of them out",
        )


def _questions(edits: Sequence[Edit], cases: Sequence[FactBag]) -> list[Question]:
    """All cases' questions, numbered; what another edit is to change is not asked for locality."""
    found: list[Question] = []
    for number, (edit, case) in enumerate(zip(edits, cases, strict=True)):
        others = [each for each in cases if each is not case]
        own = replace(
            case,
            neighbours=tuple(p for p in case.neighbours if not _edited_by(p, others)),
            unrelated=tuple(p for p in case.unrelated if not _edited_by(p, others)),
        )
        found += [replace(question, case=number) for question in questions_of(edit, own)]
    return found


def _edited_by(probe: Probe, cases: Sequence[FactBag]) -> bool:
    """Whether a prompt asks for the very answer that another case takes away."""
    return any(
        probe.answer == case.answer
        and (probe.prompt in case.prompts or (bool(case.subject) and case.subject in probe.prompt))
        for case in cases
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Watched:
    """What is asked after every edit: own prompts, neighbours and unrelated prompts, forced."""

    sheet: Sheet
    untouched: Reading

    @staticmethod
    def of(specimen: Specimen, sheet: Sheet) -> "_Watched":
        groups = ("edit", "neighbour", "unrelated")
        kept = replace(sheet, questions=tuple(q for q in sheet.questions if q.group in groups))
        return _Watched(sheet=kept, untouched=_read(specimen, kept.questions))

    def step(self, specimen: Specimen, number: int) -> dict[str, float | None]:
        now = _read(specimen, self.sheet.questions)
        right = now.rank.numpy() == 1
        same = np.array([a == b for a, b in zip(now.best, self.untouched.best, strict=True)])
        case = np.array([question.case for question in self.sheet.questions])
        own = self.sheet.of("edit")
        told: dict[str, float | None] = {
            "reliability_now": _share(right, own & (case == number)),
            "reliability_so_far": _share(right, own & (case <= number)),
        }
        local: dict[str, Group] = {"neighbours": "neighbour", "unrelated": "unrelated"}
        for name, group in local.items():
            told[f"locality_{name}"] = _share(same, self.sheet.of(group))
        return told


def _share(values: Bool[np.ndarray, " question"], marked: Bool[np.ndarray, " question"]) -> Any:
    return float(values[marked].mean()) if marked.any() else None


def _read(specimen: Specimen, questions: Sequence[Question]) -> Reading:
    return read_answers(specimen, [q.prompt for q in questions], [q.wanted for q in questions])
