"""Judge an edit: does it hold, how far does it reach, what else did it change?

Source: arXiv 2104.08696, section 5; arXiv 2202.05262, section 3.3; arXiv 2305.13172 (the names).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.bags import FactBag
from vesalius.methods.knowledge_neurons.edits import Edit, edited
from vesalius.methods.knowledge_neurons.pool import with_fact_intervals
from vesalius.methods.knowledge_neurons.probes import (
    NEUTRAL,
    Answers,
    Group,
    Question,
    Sheet,
    ask,
    bag_questions,
    case_questions,
    holds,
    make_sheet,
    measure,
)
from vesalius.methods.knowledge_neurons.verdict import Measure, Verdict
from vesalius.methods.knowledge_neurons.verdict_words import edit_sentence, erasure_sentence
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import bootstrap_interval

NAN: Final = math.nan


@final
@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """What a judge asks beside the prompts of the case.

    ``neutral`` are plain sentences whose perplexity is taken (none: it is left out);
    ``fluency_prompts`` and ``fluency_tokens`` say from how many prompts a left-to-right model goes
    on, and how far. ``seed`` is that of the bootstrap.
    """

    neutral: tuple[str, ...] = NEUTRAL
    fluency_prompts: int = 8
    fluency_tokens: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers without meaning.

        Raises:
            VesaliusError: a negative number, or a text instead of several.
        """
        for name in ("fluency_prompts", "fluency_tokens"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 0:
                raise VesaliusError(
                    given=f"{name}={value!r}",
                    expected="a whole number from 0",
                    fix="leave it out; 0 measures no fluency of texts",
                )
        if isinstance(self.neutral, str) or not all(map(str.strip, self.neutral)):
            raise VesaliusError(
                given=f"neutral={self.neutral!r}"[:200],
                expected="several sentences, none of them empty",
                fix='pass neutral=("It was a long day.",), or () for none',
            )


def judge(
    specimen: Specimen,
    edit: Edit,
    case: FactBag,
    *,
    same_relation: Sequence[FactBag] = (),
    other_relations: Sequence[FactBag] = (),
    controls: Sequence[Edit] = (),
    config: JudgeConfig | None = None,
) -> Verdict:
    """Ask a model before and after an edit, teacher forced and freely, and compare.

    Args:
        specimen: the model that the edit was planned for; it comes back bit for bit.
        edit: from ``update`` or ``rank_one``; its own prompts are asked for reliability.
        case: rephrased prompts, neighbours, unrelated and portable ones.
        same_relation: other facts of the relation, for perplexity; the neighbours without them.
        other_relations: facts of other relations, likewise; the unrelated prompts without them.
        controls: the same edit of random neurons, see ``control_edits``.
        config: neutral sentences and lengths.

    Returns:
        The measures, every prompt, and one sentence; no arrays.

    Raises:
        VesaliusError: an erasure, a case with another new answer, other weights, or own prompts
            that cannot be asked.

    Source: arXiv 2104.08696, section 5.1; arXiv 2202.05262, section 3.3.
    """
    stopwatch = Stopwatch.start()
    config = config or JudgeConfig()
    questions = questions_of(edit, case, same_relation, other_relations)
    sheet = make_sheet(specimen, questions, needed="edit", **options_of(config))
    before = ask(specimen, sheet)
    after = ask_edited(specimen, edit, sheet)
    controlled = [ask_edited(specimen, control, sheet) for control in controls]
    return Verdict(
        card=card_of("neurons judge", specimen, edit, stopwatch, config, sheet),
        method=edit.method,
        name=case.name,
        relation=case.relation,
        subject=case.subject,
        answer=edit.answer,
        new_answer=edit.new_answer,
        num_controls=len(controls),
        measures=measures_of(sheet, before, after, controlled, seed=config.seed),
        probes=probe_table(sheet, before, after),
        sentence=edit_sentence(sheet, before, after),
    )


def judge_erasure(
    specimen: Specimen,
    edit: Edit,
    bags: Sequence[FactBag],
    others: Sequence[FactBag],
    *,
    controls: Sequence[Edit] = (),
    config: JudgeConfig | None = None,
) -> Verdict:
    """Compare perplexity and accuracy before and after a relation was erased.

    Args:
        specimen: the model that the edit was planned for; it comes back bit for bit.
        edit: from ``erase``.
        bags: the facts of the erased relation, all of their prompts.
        others: facts of other relations.
        controls: as many random slots set to zero, see ``control_edits``.
        config: neutral sentences and lengths.

    Returns:
        The measures with intervals over facts, every prompt, and one sentence; no arrays.

    Raises:
        VesaliusError: no erasure or that of another relation, other weights, no facts, or none
            whose prompts can be asked.

    Source: arXiv 2104.08696, section 5.2.
    """
    stopwatch = Stopwatch.start()
    config = config or JudgeConfig()
    _need_facts(bags, others)
    _need_erasure(edit, bags)
    questions = [*bag_questions(bags, "erased"), *bag_questions(others, "other")]
    sheet = make_sheet(specimen, questions, needed="erased", **options_of(config))
    before = ask(specimen, sheet)
    after = ask_edited(specimen, edit, sheet)
    controlled = [ask_edited(specimen, control, sheet) for control in controls]
    measures = measures_of(sheet, before, after, controlled, seed=config.seed)
    measures = with_fact_intervals(measures, sheet, after, seed=config.seed)
    relation = bags[0].relation
    return Verdict(
        card=card_of("neurons judge", specimen, edit, stopwatch, config, sheet),
        method=edit.method,
        name=relation or bags[0].name,
        relation=relation,
        subject="",
        answer="",
        new_answer="",
        num_controls=len(controls),
        measures=measures,
        probes=probe_table(sheet, before, after),
        sentence=erasure_sentence({(each.name, each.way): each for each in measures}),
    )


def questions_of(
    edit: Edit,
    case: FactBag,
    same_relation: Sequence[FactBag] = (),
    other_relations: Sequence[FactBag] = (),
) -> list[Question]:
    """List all questions about an edited fact; no shapes.

    Raises:
        VesaliusError: an edit without a new answer, or a case with another one.

    Source: arXiv 2104.08696, section 5.1.
    """
    if not edit.new_answer or not edit.prompts:
        raise VesaliusError(
            given=f"an edit of the kind {edit.method!r} without a new answer",
            expected="an update or a rank-one edit of one fact",
            fix="judge an erasure with judge_erasure(specimen, edit, bags, others)",
        )
    if case.new_answer and case.new_answer != edit.new_answer:
        raise VesaliusError(
            given=f"an edit to {edit.new_answer!r} and a case {case.name!r} for "
            f"{case.new_answer!r}",
            expected="one new answer: what follows from the edit hangs on it",
            fix=f"make the case with new_answer={edit.new_answer!r}",
        )
    found = case_questions(
        case, prompts=edit.prompts, answer=edit.answer, new_answer=edit.new_answer
    )
    groups: tuple[tuple[Group, Group, Sequence[FactBag]], ...] = (
        ("intra", "neighbour", same_relation),
        ("inter", "unrelated", other_relations),
    )
    for group, instead, bags in groups:
        others = [bag for bag in bags if (bag.relation, bag.subject) != _key(case)]
        found += bag_questions(others, group) or [
            Question(group=group, prompt=q.prompt, wanted=q.wanted, rule="score")
            for q in found
            if q.group == instead
        ]
    return found


def _key(case: FactBag) -> tuple[str, str]:
    return case.relation, case.subject


def _need_facts(bags: Sequence[FactBag], others: Sequence[FactBag]) -> None:
    inside = {bag.relation for bag in bags} & {bag.relation for bag in others}
    if not bags or not others or inside:
        both = f", {', '.join(sorted(inside))} in both" if inside else ""
        raise VesaliusError(
            given=f"{len(bags)} facts of the erased relation and {len(others)} others{both}",
            expected="facts of the erased relation, and facts of other relations",
            fix="take them from bundled_bags: those of the relation, and all the rest",
        )


def _need_erasure(edit: Edit, bags: Sequence[FactBag]) -> None:
    erased = edit.card.config.get("relation", "")
    asked = {bag.relation for bag in bags}
    if edit.method != "erase" or (erased and asked != {erased}):
        raise VesaliusError(
            given=f"an edit of the kind {edit.method!r}, of {erased or 'no relation'}, for facts "
            f"of {', '.join(sorted(asked))}",
            expected="an erasure, and facts of the relation that it erased",
            fix="pass the facts of that relation; judge an edit of one fact with judge",
        )


def options_of(config: JudgeConfig) -> dict[str, Any]:
    """Spell a judge's options as those of a sheet; no shapes.

    Source: this project.
    """
    return {
        "neutral": config.neutral,
        "num_fluency_prompts": config.fluency_prompts,
        "num_fluency_tokens": config.fluency_tokens,
    }


def ask_edited(specimen: Specimen, edit: Edit, sheet: Sheet) -> Answers:
    """Ask a model while an edit is in force; arrays [question].

    Raises:
        VesaliusError: other weights, or logits that are no numbers under the edit.

    Source: seam 5 of docs/architecture.md.
    """
    with edited(specimen, edit):
        return ask(specimen, sheet)


def measures_of(
    sheet: Sheet,
    before: Answers,
    after: Answers,
    controls: Sequence[Answers] = (),
    *,
    seed: int = 0,
) -> tuple[Measure, ...]:
    """Put measures before, after and under the controls side by side; no shapes.

    The interval of a control is a bootstrap over the control edits.

    Source: arXiv 2104.08696, section 5.1.
    """
    untouched, now = measure(sheet, before, before), measure(sheet, before, after)
    others = [measure(sheet, before, each) for each in controls]
    found: list[Measure] = []
    for (name, way), (value, count) in now.items():
        sample = np.array([each[name, way][0] for each in others if (name, way) in each])
        low = high = mean = NAN
        if len(sample):
            generator = np.random.default_rng(derive_seed(seed, "controls", name, way))
            interval = bootstrap_interval(sample, generator=generator)
            mean, low, high = interval.estimate, interval.low, interval.high
        found.append(
            Measure(
                name=name,
                way=way,
                count=count,
                before=untouched[name, way][0],
                after=value,
                control=mean,
                control_low=low,
                control_high=high,
            )
        )
    return tuple(found)


def probe_table(sheet: Sheet, before: Answers, after: Answers) -> pa.Table:
    """One row per prompt: what was wanted, what came out, before and after; no shapes.

    Source: this project.
    """
    questions = sheet.questions
    forced_before, free_before = holds(sheet, before, before)
    forced_after, free_after = holds(sheet, before, after)
    asked = np.array([q.rule != "score" for q in questions])
    columns: dict[str, object] = {
        name: [getattr(q, name) for q in questions]
        for name in ("group", "kind", "prompt", "wanted", "old")
    }
    columns |= {"forced_before": forced_before, "forced_after": forced_after}
    for name, values in (
        ("free_before", free_before.tolist()),
        ("free_after", free_after.tolist()),
        ("text_before", before.texts),
        ("text_after", after.texts),
    ):
        columns[name] = [v if q else None for v, q in zip(values, asked, strict=True)]
    for name, answers in (("before", before), ("after", after)):
        columns[f"prob_{name}"] = np.exp(answers.log_prob)
        columns[f"rank_{name}"] = answers.rank
        columns[f"old_rank_{name}"] = answers.old_rank
    return pa.table(columns)


def card_of(
    method: str,
    specimen: Specimen,
    edit: Edit,
    stopwatch: Stopwatch,
    config: JudgeConfig,
    sheet: Sheet,
) -> RunCard:
    """Fill in the card of a verdict; no shapes.

    Source: core/card.py.
    """
    options = {"neutral_sentences": len(config.neutral), "edit": edit.card.config}
    options |= {"fluency_prompts": config.fluency_prompts, "fluency_tokens": config.fluency_tokens}
    return make_card(
        method,
        stopwatch=stopwatch,
        config=options,
        model=specimen.name,
        model_fingerprint=edit.card.model_fingerprint,
        seed=config.seed,
        warnings=sheet.left_out,
    )
