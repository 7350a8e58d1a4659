"""Template files: how a user's own texts become prompts.

A template file is TOML::

    template = "Message: {text}\\nUrgent: {label}"   # {first} and {second} for pairs
    words = { high = "yes", low = "no" }    # a word for each label, or a list in label order
    instruction = "Is the message urgent? Answer {choices}."   # may be left out
    separator = "\\n\\n"                      # between examples; may be left out

    [[variants]]                            # other wordings, to see how much they matter
    template = "{text}\\nThis is {label}"
    words = { high = "urgent", low = "routine" }

What a variant leaves out is that of the main part.

Source: the design of this project; toml.io.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, cast, final

from vesalius.core.errors import VesaliusError
from vesalius.data.label_tasks import LabelTask, LabelTemplate

_KEYS: Final = ("template", "words", "instruction", "separator")
_EXAMPLE: Final = (
    'template = "Text: {text}\\nLabel: {label}" and words = { no = "bad", yes = "good" }'
)


@final
@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The parts of a template file; each part has all keys, ``words`` by label name or in order."""

    path: str
    parts: tuple[Mapping[str, Any], ...]

    def task(
        self, label_names: Sequence[str], *, fields: Sequence[str] = ("text",), name: str = ""
    ) -> LabelTask:
        """Fit the words to the classes of a set, in their order.

        Raises:
            VesaliusError: a class without a word, a word for no class, too many or too few words
                in a list, a template for another number of texts.
        """
        templates: list[LabelTemplate] = []
        for number, part in enumerate(self.parts):
            where = f"variant {number} of {self.path!r}" if number else repr(self.path)
            words = _in_order(part["words"], tuple(label_names), where)
            made = _template(part, words)
            if made.prompt().num_texts != len(fields):
                raise VesaliusError(
                    given=f"{where} with template {made.template!r}",
                    expected=f"a template for {' and '.join(fields)}",
                    fix="write {text} for single texts, {first} and {second} for pairs",
                )
            templates.append(made)
        return LabelTask(
            name=name or Path(self.path).stem,
            what=f"own texts, asked as in {Path(self.path).name}",
            label_names=tuple(label_names),
            templates=tuple(templates),
            columns=(tuple(fields),),
        )


def read_prompt_file(path: str | Path) -> PromptFile:
    """Read a template file; its form stands at the top of this module.

    Raises:
        VesaliusError: no file, broken TOML (with its line), a key missing or unknown, a value of
            another kind, a template or words that make no prompt.
    """
    where = Path(path)
    if not where.is_file():
        raise VesaliusError(
            given=f"template file {str(path)!r}, which is no file",
            expected="a TOML file",
            fix=f"write one with {_EXAMPLE}",
        )
    try:
        table = tomllib.loads(where.read_bytes().decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise VesaliusError(
            given=f"template file {str(path)!r}: {error}",
            expected="TOML in UTF-8",
            fix=f"mend that place; a whole file is {_EXAMPLE}",
        ) from error
    variants = table.pop("variants", [])
    if not isinstance(variants, list) or not all(isinstance(part, dict) for part in variants):
        _refuse(where, f"variants = {variants!r}", "tables", "write [[variants]] above each")
    parts: list[Mapping[str, Any]] = []
    for number, raw in enumerate([table, *cast("list[dict[str, Any]]", variants)]):
        part = {**(parts[0] if number else {}), **raw}
        _check_part(where, part, f"variant {number}: " if number else "")
        parts.append(part)
    return PromptFile(path=str(path), parts=tuple(parts))


def _check_part(path: Path, part: Mapping[str, Any], where: str) -> None:
    for key in part:
        if key not in _KEYS:
            _refuse(path, f"{where}key {key!r}", f"{', '.join(_KEYS)}, variants", "rename it")
    for key in ("template", "words"):
        if key not in part:
            _refuse(path, f"{where}no {key!r}", "both template and words", f"add {_EXAMPLE}")
    for key in ("template", "instruction", "separator"):
        if not isinstance(part.get(key, ""), str):
            _refuse(path, f"{where}{key} = {part[key]!r}", "a text", "write it between quotes")
    words = part["words"]
    values = list(words.values()) if isinstance(words, dict) else words
    if not isinstance(values, list) or not all(isinstance(word, str) for word in values):
        expected = "a list of words, or a table { label = word }"
        _refuse(path, f"{where}words = {words!r}", expected, "write each word between quotes")
    # makes the prompt once, which refuses a broken template, and words that are twice or empty
    _template(part, tuple(cast("list[str]", values))).prompt()


def _template(part: Mapping[str, Any], words: tuple[str, ...]) -> LabelTemplate:
    texts: dict[str, str] = {key: value for key, value in part.items() if key != "words"}
    return LabelTemplate(words=words, **texts)  # pyright: ignore[reportArgumentType]


def _in_order(words: Any, label_names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Put the words into the order of the classes."""
    classes = ", ".join(label_names)
    if isinstance(words, list):
        listed = tuple(cast("list[str]", words))
        if len(listed) != len(label_names):
            raise VesaliusError(
                given=f"{where} with {len(listed)} words: {', '.join(listed)}",
                expected=f"one for each of the {len(label_names)} labels: {classes}",
                fix="give them in that order, or as a table { label = word }",
            )
        return listed
    named = cast("Mapping[str, str]", words)
    missing = [name for name in label_names if name not in named]
    unknown = [name for name in named if name not in label_names]
    if missing or unknown:
        what = f"no word for label {missing[0]!r}" if missing else f"a word for {unknown[0]!r}"
        raise VesaliusError(
            given=f"{where} with {what}",
            expected=f"a word for each label of the texts, and no other: {classes}",
            fix=f"write words = {{ {label_names[0]!r} = ..., {label_names[1]!r} = ... }}",
        )
    return tuple(named[name] for name in label_names)


def _refuse(path: Path, given: str, expected: str, fix: str) -> NoReturn:
    raise VesaliusError(given=f"template file {str(path)!r}: {given}", expected=expected, fix=fix)
