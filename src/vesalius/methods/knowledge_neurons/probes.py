"""What an edit is judged by: the questions put to a model, and what it makes of them.

Source: arXiv 2104.08696, section 5; arXiv 2202.05262, section 3; arXiv 2405.02421 (portability).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.data.bags import FactBag, Probe
from vesalius.models.answers import encode_answers
from vesalius.models.reading import read_answers
from vesalius.models.speaking import (
    ngram_entropy,
    room_for,
    sentence_perplexity,
    speak,
    starts_with_answer,
    text_of,
)
from vesalius.models.specimen import Specimen

# Plain sentences of ours that no fact of the tables depends on.
NEUTRAL: Final = (
    "The children went to school in the morning.",
    "It was a long day and everyone was tired.",
    "He opened the door and looked into the room.",
    "The house stands near the river.",
    "They worked together for many years.",
    "The book is on the table.",
    "She wrote a letter to her father.",
    "In the summer the water is warm.",
)
MIN_FLUENCY_TOKENS: Final = 8  # below, pairs and triples of words say nothing
Group = Literal[
    "edit", "rephrased", "neighbour", "unrelated", "portable", "intra", "inter", "erased", "other"
]
Rule = Literal["say", "keep", "score"]


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt with the answer it is scored by.

    ``rule`` is "say" where ``wanted`` should come out after the edit, "keep" where the model's
    own answer should stay what it was, and "score" where only probability and rank of ``wanted``
    count. ``old`` is the answer that should go, if any; ``case`` numbers the fact it belongs to.
    """

    group: Group
    prompt: str
    wanted: str
    rule: Rule
    kind: str = ""
    old: str = ""
    case: int = 0


@final
@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The questions of one case that this model can be asked, and why others were left out."""

    questions: tuple[Question, ...]
    left_out: tuple[str, ...]
    neutral: tuple[str, ...] = NEUTRAL
    num_fluency_prompts: int = 8
    num_fluency_tokens: int = 40
    num_extra_tokens: int = (
        3  # spoken behind an answer, so that "Paris" is not read into "Parisian"
    )

    def of(self, *groups: Group) -> Bool[np.ndarray, " question"]:
        """Mark the questions of some groups, shape [question].

        Source: this project.
        """
        return np.array([q.group in groups for q in self.questions], dtype=bool)

    def case(self, number: int) -> tuple["Sheet", Int[np.ndarray, " chosen"]]:
        """Cut out the questions of one fact, and say which [chosen] of the whole sheet they are.

        Source: this project.
        """
        places = [i for i, question in enumerate(self.questions) if question.case == number]
        kept = tuple(self.questions[i] for i in places)
        return replace(self, questions=kept), np.array(places, dtype=np.int64)


@final
@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model made of a sheet, arrays [question].

    ``log_prob`` (nats) and ``rank`` are those of the wanted answer, ``old_rank`` that of the old
    one (0 where there is none), ``best`` the model's best tokens at the steps of the wanted answer,
    ``texts`` what it said freely. ``entropy`` (bits) and ``neutral`` (a perplexity) tell how
    fluent it is, NaN where it does not apply.
    """

    log_prob: Float[np.ndarray, " question"]
    rank: Int[np.ndarray, " question"]
    old_rank: Int[np.ndarray, " question"]
    best: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    said: Bool[np.ndarray, " question"]
    entropy: float
    neutral: float

    def at(self, places: Int[np.ndarray, " chosen"]) -> "Answers":
        """Pick the answers to some questions, shape [chosen].

        Source: this project.
        """
        return replace(
            self,
            log_prob=self.log_prob[places],
            rank=self.rank[places],
            old_rank=self.old_rank[places],
            best=tuple(self.best[i] for i in places),
            texts=tuple(self.texts[i] for i in places),
            said=self.said[places],
        )


def case_questions(
    case: FactBag, *, prompts: Sequence[str], answer: str, new_answer: str
) -> list[Question]:
    """List the questions of an edited fact, its own prompts first; a leaked paraphrase is dropped.

    Source: arXiv 2202.05262, section 3.3, with the groups' names of arXiv 2305.13172.
    """
    held_out = [prompt for prompt in case.rephrased if prompt not in prompts]
    own: tuple[tuple[Group, Sequence[str]], ...] = (("edit", prompts), ("rephrased", held_out))
    found = [
        Question(group=group, prompt=prompt, wanted=new_answer, old=answer, rule="say")
        for group, several in own
        for prompt in several
    ]
    local: tuple[tuple[Group, Sequence[Probe]], ...] = (
        ("neighbour", case.neighbours),
        ("unrelated", case.unrelated),
    )
    for group, probes in local:
        found += [
            Question(group=group, prompt=p.prompt, wanted=p.answer, rule="keep") for p in probes
        ]
    found += [
        Question(group="portable", kind=p.kind, prompt=p.prompt, wanted=p.answer, rule="say")
        for p in case.portable
    ]
    return found


def bag_questions(bags: Iterable[FactBag], group: Group) -> list[Question]:
    """Score every prompt of some facts by the fact's own answer; no shapes.

    Source: perplexity of arXiv 2104.08696, section 5.1.
    """
    return [
        Question(group=group, kind=bag.name, prompt=prompt, wanted=bag.answer, rule="score")
        for bag in bags
        for prompt in (*bag.prompts, *bag.rephrased)
    ]


def make_sheet(
    specimen: Specimen, questions: Sequence[Question], *, needed: Group, **options: Any
) -> Sheet:
    """Keep the questions that this model can be asked, and say of the others why not; no shapes.

    A left-to-right model cannot be asked where words follow the gap, a vocabulary may not spell an
    answer, and a text may be too long.

    Raises:
        VesaliusError: no question is left in the group ``needed``.

    Source: this project.
    """
    kept: list[Question] = []
    reasons: dict[Group, list[str]] = {}
    for question in questions:
        refusal = _refusal(specimen, question)
        if refusal is None:
            kept.append(question)
        else:
            reasons.setdefault(question.group, []).append(refusal)
    if not any(question.group == needed for question in kept):
        raise VesaliusError(
            given=reasons.get(needed, [f"no prompts in the group {needed!r}"])[0],
            expected=f"at least one prompt of the group {needed!r} that {specimen.name} can answer",
            fix="for a left-to-right model write prompts that end with [MASK], with answers that "
            "its vocabulary can spell",
        )
    totals = Counter(question.group for question in questions)
    left_out = tuple(
        f"{len(why)} of {totals[group]} {group} prompts left out, the first for: {why[0]}"
        for group, why in reasons.items()
    )
    return Sheet(questions=tuple(kept), left_out=left_out, **options)


def _refusal(specimen: Specimen, question: Question) -> str | None:
    """Why a model cannot be asked a question; None where it can."""
    try:
        for answer in filter(None, (question.wanted, question.old)):
            encode_answers(specimen, [question.prompt], [answer], several_tokens=True)
    except VesaliusError as error:
        if specimen.task in ("classifier", "image-classifier") or specimen.tokenizer is None:
            raise
        return error.given
    return None


def ask(specimen: Specimen, sheet: Sheet) -> Answers:
    """Put every question of a sheet to a model as it is now; arrays [question].

    Raises:
        VesaliusError: logits that are no numbers.

    Source: teacher forcing as arXiv 2202.05262; free generation beside it, arXiv 2502.11177.
    """
    questions = sheet.questions
    own = [(q.prompt, q.wanted) for q in questions]
    old = [(q.prompt, q.old) for q in questions if q.old]
    pairs = list(dict.fromkeys((*own, *old)))  # what several groups ask is asked once
    place = {pair: i for i, pair in enumerate(pairs)}
    read = read_answers(specimen, [prompt for prompt, _ in pairs], [word for _, word in pairs])
    wanted = np.array([place[pair] for pair in own], dtype=np.int64)
    ranks = read.rank.numpy()
    best = tuple(read.best[i] for i in wanted)
    texts = _spoken(specimen, sheet, best)
    said = [
        q.rule == "say" and starts_with_answer(specimen, text, q.wanted)
        for q, text in zip(questions, texts, strict=True)
    ]
    olds = [ranks[place[q.prompt, q.old]] if q.old else 0 for q in questions]
    return Answers(
        log_prob=read.log_prob.double().numpy()[wanted],
        rank=ranks[wanted],
        old_rank=np.array(olds, dtype=np.int64),
        best=best,
        texts=tuple(texts),
        said=np.array(said, dtype=bool),
        entropy=_entropy(specimen, sheet),
        neutral=_or_nan(sentence_perplexity(specimen, sheet.neutral)),
    )


def _spoken(specimen: Specimen, sheet: Sheet, best: Sequence[Sequence[int]]) -> list[str]:
    """What the model says freely, as long as the answer; a text that goes on, somewhat longer."""
    questions = sheet.questions
    texts = [""] * len(questions)
    masked = specimen.task == "masked-lm"
    # a gap of one token holds the best token there, which has been read already
    asked = [i for i, question in enumerate(questions) if question.rule != "score"]
    known = {i for i in asked if masked and len(best[i]) == 1}
    for i in known:
        texts[i] = text_of(specimen, best[i])
    places = [i for i in asked if i not in known]
    if not places:
        return texts
    prompts = [questions[i].prompt for i in places]
    most = max(len(best[i]) for i in places)
    longer = 0 if masked else room_for(specimen, prompts, sheet.num_extra_tokens + most) - most
    counts = [len(best[i]) + (max(longer, 0) if questions[i].rule == "say" else 0) for i in places]
    for i, spoken in zip(places, speak(specimen, prompts, num_tokens=counts), strict=True):
        texts[i] = spoken.text
    return texts


def _entropy(specimen: Specimen, sheet: Sheet) -> float:
    """How varied the texts are that a left-to-right model goes on with; NaN for other models."""
    own = [q.prompt for q in sheet.questions if q.group in ("edit", "rephrased", "erased")]
    prompts = list(dict.fromkeys(own))[: sheet.num_fluency_prompts]
    if specimen.task != "causal-lm" or not prompts:
        return math.nan
    room = room_for(specimen, prompts, sheet.num_fluency_tokens)
    if room < MIN_FLUENCY_TOKENS:
        return math.nan
    spoken = speak(specimen, prompts, num_tokens=room)
    return float(np.mean([ngram_entropy(each.text) for each in spoken]))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def measure(
    sheet: Sheet, before: Answers, after: Answers
) -> dict[tuple[str, str], tuple[float, int]]:
    """Turn answers before and after into measures: (name, way) to the value and how many prompts.

    ``measure(sheet, before, before)`` gives the column of the untouched model. The ways "forced"
    (teacher forced), "free" and "accuracy" are shares from 0 to 1; a measure without prompts is
    left out.

    Source: arXiv 2104.08696, section 5.1 (change, success, ranks, perplexity); arXiv 2202.05262,
    section 3.3 (efficacy, generality, specificity, fluency); no shapes change hands.
    """
    found: dict[tuple[str, str], tuple[float, int]] = {}
    forced, free = holds(sheet, before, after)
    for name, marked in _shares(sheet).items():
        if marked.any():
            found[name, "forced"] = _mean(forced, marked)
            found[name, "free"] = _mean(free, marked)
    own = sheet.of("edit")
    if own.any():
        found["old_answer_gone", "forced"] = _mean(after.old_rank != 1, own)
        found["new_answer_in_top_5", "forced"] = _mean(after.rank <= 5, own)
        found["rank_of_new_answer", "rank"] = _mean(after.rank, own)
        found["reciprocal_rank", "rank"] = _mean(1 / after.rank, own)
    local: dict[str, Group] = {"neighbours": "neighbour", "unrelated": "unrelated"}
    for name, group in local.items():
        marked = sheet.of(group)
        if marked.any():
            kept = _ratio(after.log_prob[marked], before.log_prob[marked])
            if math.isfinite(kept):  # an answer without any probability has none to keep
                found[f"probability_kept_{name}", "ratio"] = kept, int(marked.sum())
    found |= _perplexities(sheet, after)
    if not math.isnan(after.entropy):
        found["entropy_of_texts", "bits"] = after.entropy, sheet.num_fluency_prompts
    if not math.isnan(after.neutral):
        found["plain_sentences", "perplexity"] = after.neutral, len(sheet.neutral)
    return found


def _ratio(after: Float[np.ndarray, " question"], before: Float[np.ndarray, " question"]) -> float:
    """The mean probability after over that before, from logarithms: neither underflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.exp(np.logaddexp.reduce(after) - np.logaddexp.reduce(before)))


def _mean(values: np.ndarray, marked: Bool[np.ndarray, " question"]) -> tuple[float, int]:
    return float(values[marked].mean()), int(marked.sum())


def _shares(sheet: Sheet) -> Mapping[str, Bool[np.ndarray, " question"]]:
    portable = sheet.of("portable")
    kinds = np.array([q.kind for q in sheet.questions])
    by_kind = {
        f"portability_{kind}" if kind else "portability": portable & (kinds == kind)
        for kind in dict.fromkeys(kinds[portable].tolist())
    }
    return {
        "reliability": sheet.of("edit"),
        "generality": sheet.of("rephrased"),
        "locality_neighbours": sheet.of("neighbour"),
        "locality_unrelated": sheet.of("unrelated"),
        **by_kind,
    }


def _perplexities(sheet: Sheet, after: Answers) -> dict[tuple[str, str], tuple[float, int]]:
    """exp(mean(-ln p)) of the gold answers, and for erasures the share answered right."""
    names: dict[Group, str] = {
        "intra": "same_relation",
        "inter": "other_relations",
        "erased": "erased_relation",
        "other": "other_relations",
    }
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for group, name in names.items():
        marked = sheet.of(group)
        if marked.any():
            if group in ("erased", "other"):
                found[name, "accuracy"] = _mean(after.rank == 1, marked)
            mean, count = _mean(after.log_prob, marked)
            with np.errstate(over="ignore"):
                found[name, "perplexity"] = float(np.exp(-mean)), count
    return found


def holds(
    sheet: Sheet, before: Answers, after: Answers
) -> tuple[Bool[np.ndarray, " question"], Bool[np.ndarray, " question"]]:
    """Tell of every question whether it came out as it should, teacher forced and freely.

    Returns:
        Two arrays of shape [question].

    Source: the rules of :class:`Question`.
    """
    forced, free = after.rank == 1, after.said.copy()
    for i, question in enumerate(sheet.questions):
        if question.rule == "keep":
            forced[i] = before.best[i] == after.best[i]
            free[i] = before.texts[i] == after.texts[i]
    return forced, free
