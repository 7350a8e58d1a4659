"""Texts that mention a fact, with one word hidden: the distant-supervision test of neurons.

Source: Dai et al. 2022 (arXiv 2104.08696), section 4.2: texts with head and tail, with the head
alone, and random ones; the masking rules are those of the authors' code.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, final, get_args

from vesalius.core.errors import VesaliusError
from vesalius.data.bags import MASK
from vesalius.data.facts import Fact

Mention = Literal["head-and-tail", "head-only", "random"]
_WORD: Final = re.compile(r"\w+(?:['’-]\w+)*")


@final
@dataclass(frozen=True, kw_only=True)
class MaskedText:
    """A text with one word as [MASK], and the fact whose neurons are watched on it.

    ``kind`` says what the text mentions: subject and answer ("head-and-tail", the answer is
    hidden), the subject ("head-only", another word is hidden) or neither ("random").
    """

    text: str
    kind: Mention
    relation: str
    subject: str
    answer: str

    def __post_init__(self) -> None:
        """Refuse a kind or a text that is none.

        Raises:
            VesaliusError: an unknown kind, or a text without exactly one [MASK].
        """
        _check_kind(self.kind)
        if self.text.count(MASK) != 1:
            raise VesaliusError(
                given=f"{self.text[:80]!r}, with {MASK} {self.text.count(MASK)} times",
                expected=f"a text with {MASK} exactly once",
                fix="make it with mask_tail or mask_random_word",
            )


def mask_texts(
    fact: Fact, texts: Iterable[str], *, kind: Mention, seed: int = 0, first: int = 50
) -> list[MaskedText]:
    """Hide one word of each text; texts in which nothing can be hidden are left out.

    Those of the kind "head-and-tail" that do not mention the answer outside the subject, those
    that do not mention the subject though their kind says so, and those with a [MASK] already.
    A word is drawn by the text itself, whatever texts stand beside it.

    Args:
        fact: whose neurons are watched.
        texts: what to mask.
        first: a random word is one of so many at the beginning.

    Raises:
        VesaliusError: an unknown kind, or no fact.
    """
    _check_kind(kind)
    masked: list[MaskedText] = []
    for text in texts:
        if kind != "random" and not _spans(fact.subject, text):
            continue
        if kind == "head-and-tail":
            found = mask_tail(text, subject=fact.subject, answer=fact.answer)
        else:
            generator = random.Random(f"{seed} {text}")
            found = mask_random_word(text, subject=fact.subject, generator=generator, first=first)
        if found is not None:
            masked.append(
                MaskedText(
                    text=found,
                    kind=kind,
                    relation=fact.relation,
                    subject=fact.subject,
                    answer=fact.answer,
                )
            )
    return masked


def mask_tail(text: str, *, subject: str, answer: str) -> str | None:
    """Hide the first mention of the answer as a whole word, outside every mention of the subject.

    None where there is none, or where the text has a [MASK] already. Case counts.

    Raises:
        VesaliusError: no answer.

    >>> mask_tail("Paris Saint-Germain is a club in Paris.", subject="Paris Saint-Germain",
    ...           answer="Paris")
    'Paris Saint-Germain is a club in [MASK].'
    """
    if not answer.strip():
        raise VesaliusError(given=f"answer={answer!r}", expected="a word", fix="name the answer")
    heads = _spans(subject, text)
    for start, end in _spans(answer, text):
        if not _overlaps(start, end, heads):
            return _hidden(text, start, end)
    return None


def mask_random_word(
    text: str, *, subject: str = "", generator: random.Random, first: int = 50
) -> str | None:
    """Hide one of the first words, each as likely as the others, never one of the subject.

    None where there is none to hide, or where the text has a [MASK] already.

    Args:
        subject: its mentions stay; words in them count as words, but are never drawn.
        generator: where chance comes from.
        first: so many words from the beginning are candidates.

    Raises:
        VesaliusError: ``first`` is no whole number from 1.

    >>> mask_random_word("Peru is vast.", subject="Peru", generator=random.Random(0), first=2)
    'Peru [MASK] vast.'
    """
    if isinstance(first, bool) or not isinstance(first, int) or first < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise VesaliusError(
            given=f"first={first!r}", expected="a whole number from 1", fix="leave it at 50"
        )
    heads = _spans(subject, text)
    words = [match.span() for match in _WORD.finditer(text)][:first]
    free = [span for span in words if not _overlaps(*span, heads)]
    return _hidden(text, *generator.choice(free)) if free else None


def _hidden(text: str, start: int, end: int) -> str | None:
    return None if MASK in text else f"{text[:start]}{MASK}{text[end:]}"


def _spans(phrase: str, text: str) -> list[tuple[int, int]]:
    """Find a phrase where no letter or digit stands right before or behind it."""
    if not phrase.strip():
        return []
    return [m.span() for m in re.finditer(rf"(?<!\w){re.escape(phrase.strip())}(?!\w)", text)]


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < last and first < end for first, last in spans)


def _check_kind(kind: str) -> None:
    if kind not in get_args(Mention):
        raise VesaliusError(
            given=f"kind={kind!r}",
            expected=f"one of {', '.join(get_args(Mention))}",
            fix="say what the text mentions",
        )
