"""A prompt that asks a language model for a label word: instruction, demonstrations, query.

Layout: the instruction, a blank line, then for each example its query, the answer, a blank line;
at last the query of the text itself, up to the answer. Nothing is ever cut or dropped: an empty
text leaves its place empty and keeps the words that ask for the answer.

Source: Brown et al. 2020 (arXiv 2005.14165); the layout is that of prototypical calibration (Han
et al. 2023, arXiv 2205.10183), except that an empty text does not take the answer cue with it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final, TypeAlias, final

from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow, join_choices

MASK: Final = "[MASK]"
_TEXTS: Final = ("text", "first", "second")
_FIX: Final = 'write it like "Review: {text}\\nSentiment: {label}"; a brace of your own is {{ or }}'

# literal text and the field after it; the field is empty at the end
_Pieces: TypeAlias = tuple[tuple[str, str], ...]


@final
@dataclass(frozen=True, kw_only=True)
class LabelPrompt:
    """How a text becomes a prompt, and the word (or phrase) that stands for each class.

    ``template`` has {text}, or {first} and {second} for pairs; {choices} where the words are to
    be listed; {label} once. ``instruction`` may hold {choices}. Words have no white space around
    them: the white space before an answer is that of the template.

    Raises:
        VesaliusError: {label} not once, an unknown {field}, no text in the template, fewer than
            two words, an empty word, a word twice, a demonstration that does not fit.
    """

    template: str
    words: tuple[str, ...]
    demonstrations: tuple[LabelledRow, ...] = ()
    instruction: str = ""
    separator: str = "\n\n"

    def __post_init__(self) -> None:
        _check_words(self.words)
        for name in ("template", "instruction", "separator"):
            if not isinstance(getattr(self, name), str):
                raise VesaliusError(
                    given=f"{name}={getattr(self, name)!r}", expected="a text", fix=_FIX
                )
        _split("instruction", self.instruction, known=("choices",))
        self._parts()
        for number, row in enumerate(self.demonstrations, start=1):
            self._check_texts(row.texts, f"demonstration {number}")
            if not 0 <= row.label < len(self.words):
                raise VesaliusError(
                    given=f"demonstration {number} with label {row.label}",
                    expected=f"a class from 0 to {len(self.words) - 1}, one for each word",
                    fix="give a word for every class, and labelled demonstrations",
                )

    @property
    def num_labels(self) -> int:
        """Count the classes."""
        return len(self.words)

    @property
    def num_texts(self) -> int:
        """Count the texts of a row: 1, or 2 where the template is for pairs."""
        head, tail = self._parts()
        return 1 if any(field == "text" for _, field in head + tail) else 2

    @property
    def answers(self) -> tuple[str, ...]:
        """Give what follows a query, for each class: the word and the white space before it."""
        literal = self._parts()[0][-1][0]
        return tuple(literal[len(literal.rstrip()) :] + word for word in self.words)

    def context(self) -> str:
        """Write instruction and demonstrations, each followed by the separator."""
        told = _write(_split("instruction", self.instruction, known=("choices",)), self._named(()))
        written = [self._example(row) for row in self.demonstrations]
        return "".join(part + self.separator for part in [*([told] if told else []), *written])

    def query(self, texts: tuple[str, ...]) -> str:
        """Write the query of one row up to its answer, without white space at the end.

        Raises:
            VesaliusError: the texts do not fit the template, or some of them come after the
                answer, where a model that reads from left to right never sees them.
        """
        self._check_texts(texts, "query")
        head, tail = self._parts()
        if late := [field for _, field in tail if field in _TEXTS]:
            raise VesaliusError(
                given=f"template {self.template!r}, where {{{late[0]}}} comes after {{label}}",
                expected="every text before the answer, for a model that reads from left to right",
                fix="move {label} to the end, or score a masked language model (cloze)",
            )
        return _write(head, self._named(texts)).rstrip()

    def text(self, texts: tuple[str, ...]) -> str:
        """Write the whole prompt: context and query.

        Raises:
            VesaliusError: see :meth:`query`.
        """
        return self.context() + self.query(texts)

    def cloze(self, texts: tuple[str, ...]) -> str:
        """Write the query with [MASK] at the answer, and what follows it.

        Raises:
            VesaliusError: the texts do not fit the template.
        """
        return MASK.join(self.cloze_parts(texts))

    def cloze_parts(self, texts: tuple[str, ...]) -> tuple[str, str]:
        """Write what stands before and after the answer; the texts may hold [MASK] themselves.

        Raises:
            VesaliusError: the texts do not fit the template.
        """
        self._check_texts(texts, "query")
        head, tail = self._parts()
        gap = self.answers[0].removesuffix(self.words[0])
        named = self._named(texts)
        return _write(head, named).rstrip() + gap, _write(tail, named)

    def fingerprint(self) -> str:
        """Hash everything that shapes the prompt; 16 hexadecimal digits."""
        rows = [[row.texts, row.label] for row in self.demonstrations]
        parts = [self.template, self.words, rows, self.instruction, self.separator]
        text = json.dumps(parts, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _example(self, row: LabelledRow) -> str:
        head, tail = self._parts()
        named = self._named(row.texts)
        return _write(head, named).rstrip() + self.answers[row.label] + _write(tail, named)

    def _named(self, texts: tuple[str, ...]) -> Mapping[str, str]:
        names = ("text",) if len(texts) == 1 else ("first", "second")[: len(texts)]
        return {"choices": join_choices(self.words), **dict(zip(names, texts, strict=True))}

    def _parts(self) -> tuple[_Pieces, _Pieces]:
        """Split the template at the answer; the last literal of the head stands before it."""
        pieces = _split("template", self.template, known=(*_TEXTS, "choices", "label"))
        fields = [field for _, field in pieces]
        if fields.count("label") != 1:
            raise VesaliusError(
                given=f"template {self.template!r} with {{label}} {fields.count('label')} times",
                expected="{label} once, where the answer stands",
                fix=_FIX,
            )
        texts = {field for field in fields if field in _TEXTS}
        if not texts or ("text" in texts and len(texts) > 1):
            raise VesaliusError(
                given=f"template {self.template!r} with {', '.join(sorted(texts)) or 'no text'}",
                expected="{text}, or {first} and {second} for pairs of texts",
                fix=_FIX,
            )
        at = fields.index("label")
        return (*pieces[:at], (pieces[at][0], "")), pieces[at + 1 :]

    def _check_texts(self, texts: tuple[str, ...], what: str) -> None:
        if isinstance(texts, str) or len(texts) != self.num_texts:
            number = "one text" if isinstance(texts, str) else f"{len(texts)} texts"
            raise VesaliusError(
                given=f"{what} of {number} for template {self.template!r}",
                expected=f"a tuple of {self.num_texts}, as the template has them",
                fix='pass ("...",) for {text}, ("...", "...") for {first} and {second}',
            )
        if strange := _no_texts(texts):
            raise VesaliusError(
                given=f"{what} with {strange[0]!r}"[:160],
                expected="texts",
                fix='leave a missing text out, or write ""',
            )


def _no_texts(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if not isinstance(value, str)]


def _check_words(words: tuple[str, ...]) -> None:
    if isinstance(words, str) or len(words) < 2 or _no_texts(words):
        raise VesaliusError(
            given=f"label words {words!r}",
            expected="a word for each of two or more classes",
            fix='pass ("negative", "positive")',
        )
    stripped = [word.strip() for word in words]
    for word, bare in zip(words, stripped, strict=True):
        if not bare or stripped.count(bare) > 1:
            raise VesaliusError(
                given=f"label word {word!r}, {'twice' if bare else 'which is empty'}, in "
                f"{', '.join(map(repr, words))}",
                expected="another word for each class",
                fix="change one of them: equal words cannot be told apart",
            )
        if bare != word:
            raise VesaliusError(
                given=f"label word {word!r} with white space around it",
                expected="a bare word; the white space before it is that of the template",
                fix=f'write {bare!r}, and the space in the template: "Sentiment: {{label}}"',
            )


def _split(what: str, text: str, *, known: Sequence[str]) -> _Pieces:
    """Split a template into literals and fields: ``{{`` is a brace, ``{text:>9}`` an error."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise VesaliusError(
            given=f"{what} {text!r}: {error}", expected="fields such as {label}", fix=_FIX
        ) from error
    pieces: list[tuple[str, str]] = []
    for literal, field, form, conversion in parsed:
        if field is not None and (field not in known or form or conversion):
            raise VesaliusError(
                given=f"{{{field}{'!' + conversion if conversion else ''}"
                f"{':' + form if form else ''}}} in {what} {text!r}",
                expected="one of " + ", ".join(f"{{{name}}}" for name in known),
                fix=_FIX,
            )
        pieces.append((literal, field or ""))
    return _joined(pieces)


def _joined(pieces: Sequence[tuple[str, str]]) -> _Pieces:
    """Join neighbouring literals, which the parser parts at every escaped brace."""
    joined: list[tuple[str, str]] = []
    for literal, field in pieces:
        if joined and not joined[-1][1]:
            literal = joined.pop()[0] + literal
        joined.append((literal, field))
    return tuple(joined)


def _write(pieces: _Pieces, named: Mapping[str, str]) -> str:
    return "".join(literal + (named[field] if field else "") for literal, field in pieces)
