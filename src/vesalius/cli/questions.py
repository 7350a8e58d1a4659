"""What a model is asked: prompts of the user, a bundled fact, or a file of facts.

Source: arXiv 2104.08696, section 3 (a fact is a bag of prompts with one answer).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import final

from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.flags import AbstractQuestionFlags
from vesalius.core.errors import VesaliusError
from vesalius.data.bag_files import read_bags
from vesalius.data.bags import MASK, FactBag
from vesalius.data.facts import Fact, load_facts, prompts_for


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """Prompts with one answer; ``from_templates`` where we wrote them and not the user."""

    name: str
    prompts: tuple[str, ...]
    answer: str
    from_templates: bool


def questions_of(flags: AbstractQuestionFlags) -> tuple[Question, ...]:
    """Read the questions from the flags.

    Raises:
        WrongUsage: not exactly one way of asking, or a way without its other half.
        VesaliusError: an unknown relation or subject, or a faulty file of facts.
    """
    ways = {"--prompt": flags.prompt, "--relation": flags.relation, "--facts": flags.facts}
    used = [flag for flag, value in ways.items() if value]
    if len(used) != 1:
        wrong_usage(
            given=" and ".join(used) or "no question",
            expected="exactly one of --prompt, --relation and --facts",
            fix="--prompt 'The capital of France is [MASK].' --answer Paris, "
            "or --relation P36 --subject France",
        )
    if flags.facts:
        _refuse_with_facts(flags)
        return _numbered(read_facts_of(flags.facts))
    if flags.prompt:
        return (_of_prompts(flags),)
    return (_asked(_bundled(flags)),)


def read_facts_of(path: Path, *, only: str = "") -> list[FactBag]:
    """Read the facts of ``--facts``, and say which have no templates.

    Raises:
        VesaliusError: a file or folder that cannot be read, with row and column.
    """
    return read_bags(path, only=only, tell=lambda text: say(f"vesalius: {text}"))


def asked_before(prompts: Sequence[str], answer: str) -> Question:
    """Ask again what a saved location was found with."""
    return Question(name="fact", prompts=tuple(prompts), answer=answer, from_templates=False)


def fitting(question: Question, *, task: str) -> Question:
    """Leave out our own templates whose gap a left-to-right model cannot answer.

    Raises:
        VesaliusError: no template is left.
    """
    if task != "causal-lm" or not question.from_templates:
        return question
    kept = tuple(p for p in question.prompts if p.rstrip(" .!?").endswith(MASK))
    if not kept:
        raise VesaliusError(
            given=f"{question.name}: no template ends with the answer",
            expected="one for a model that reads from left to right",
            fix="write prompts of your own with --prompt, the gap at their end",
        )
    say(f"vesalius: {len(kept)} of {len(question.prompts)} templates end with the answer")
    return Question(name=question.name, prompts=kept, answer=question.answer, from_templates=True)


def _refuse_with_facts(flags: AbstractQuestionFlags) -> None:
    extra = [f"--{name}" for name in ("answer", "subject") if getattr(flags, name)]
    if extra or flags.plot:
        wrong_usage(
            given=f"--facts with {' and '.join([*extra, *(['--plot'] if flags.plot else [])])}",
            expected="subjects and answers from the file, and --html for pictures of all facts",
            fix="leave them out, or ask for one fact with --relation and --subject",
        )


def _of_prompts(flags: AbstractQuestionFlags) -> Question:
    if not flags.answer or flags.subject:
        wrong_usage(
            given="--prompt with --subject" if flags.subject else "--prompt without --answer",
            expected="the word that belongs in the gap, and no --subject",
            fix="add --answer, such as: --prompt 'The capital of France is [MASK].' --answer Paris",
        )
    prompts = tuple(flags.prompt or ())
    return Question(name="fact", prompts=prompts, answer=flags.answer, from_templates=False)


def _bundled(flags: AbstractQuestionFlags) -> Fact:
    if not flags.subject:
        wrong_usage(
            given=f"--relation {flags.relation} without --subject",
            expected="whom or what the relation is asked about",
            fix="add --subject, such as: --relation P36 --subject France",
        )
    if flags.answer:
        return Fact(relation=flags.relation, subject=flags.subject, answer=flags.answer)
    subjects = {f.subject: f for f in load_facts() if f.relation == flags.relation}
    if not subjects:  # an unknown relation: the list of known ones is in this error
        prompts_for(Fact(relation=flags.relation, subject="", answer=""), mask_token=MASK)
    if flags.subject not in subjects:
        close = get_close_matches(flags.subject, subjects, n=3, cutoff=0.4)
        raise VesaliusError(
            given=f"subject {flags.subject!r} of {flags.relation}, which is not bundled",
            expected=f"one of {len(subjects)} subjects, such as {', '.join(close or subjects)}"[
                :200
            ],
            fix="name the answer yourself with --answer, or check the spelling",
        )
    return subjects[flags.subject]


def _asked(fact: Fact) -> Question:
    return Question(
        name="-".join(re.sub(r"\W+", "-", f"{fact.relation} {fact.subject}").strip("-").split()),
        prompts=tuple(prompts_for(fact, mask_token=MASK)),
        answer=fact.answer,
        from_templates=True,
    )


def _numbered(bags: Sequence[FactBag]) -> tuple[Question, ...]:
    """Number the questions, in the order of the file."""
    return tuple(
        Question(
            name=f"{number:04d}-{bag.name}"[:80],
            prompts=bag.prompts,
            answer=bag.answer,
            from_templates=True,
        )
        for number, bag in enumerate(bags, start=1)
    )


def check_picture(path: Path | None) -> None:
    """Refuse a picture of a kind that we do not draw.

    Raises:
        WrongUsage: the name ends in nothing we know.
    """
    if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
        wrong_usage(
            given=f"--plot {path}",
            expected="a name that ends in .png, .svg or .pdf",
            fix=f"write --plot {path.stem or 'neurons'}.png",
        )
