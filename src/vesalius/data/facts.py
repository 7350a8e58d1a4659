"""Facts, relations and the prompts that ask for them: text only, no model and no torch."""

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from vesalius.core.errors import VesaliusError

Part = Literal["written", "natural"]
_TABLES = files("vesalius.data") / "tables"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact: in `relation`, `subject` has the one-word `answer`.

    `part` says how the bundled model met it: "written" (in sentences of ours and in natural
    ones) or "natural" (in Wikipedia sentences alone); None for facts of a user.

    Source: the (relation, subject, object) triples of T-REx (Elsahar et al. 2018).
    """

    relation: str
    subject: str
    answer: str
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A kind of fact: Wikidata code, name, and templates with [X] (subject) and [Y] (answer).

    `ask` holds the prompts for evaluation and for users; `tell` those of training sentences.
    No template stands in both.

    Source: written for this project, `tables/relations.toml`.
    """

    code: str
    name: str
    ask: tuple[str, ...]
    tell: tuple[str, ...] = ()


@cache
def load_relations() -> dict[str, Relation]:
    """Return the bundled relations by Wikidata code, in the order of the table.

    Source: `tables/relations.toml`, written for this project.

    >>> load_relations()["P36"].ask[0]
    'The capital of [X] is [Y].'
    """
    table = tomllib.loads((_TABLES / "relations.toml").read_text(encoding="utf-8"))
    return {
        code: Relation(
            code=code, name=entry["name"], ask=tuple(entry["ask"]), tell=tuple(entry["tell"])
        )
        for code, entry in table.items()
    }


@cache
def load_facts() -> tuple[Fact, ...]:
    """Return the bundled facts, sorted by relation and subject; the answers are single words.

    Source: T-REx triples as merged from LAMA and PARAREL, chosen by `vesalius.data.select`.

    >>> Fact(relation="P36", subject="France", answer="Paris", part="written") in load_facts()
    True
    """
    lines = (_TABLES / "facts.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(
        Fact(relation=r, subject=s, answer=a, part="written" if p == "written" else "natural")
        for r, s, a, p in (line.split("\t") for line in lines[1:])
    )


def prompts_for(
    fact: Fact, *, mask_token: str, relations: dict[str, Relation] | None = None
) -> list[str]:
    """Return one prompt per `ask` template of the fact's relation, the answer as `mask_token`.

    Raises: VesaliusError for a relation that is neither bundled nor in `relations`.

    Source: the prompt bags of Dai et al. 2022 (arXiv 2104.08696), with our own templates.

    >>> prompts_for(Fact(relation="P36", subject="Peru", answer="Lima"), mask_token="[MASK]")[0]
    'The capital of Peru is [MASK].'
    """
    known = load_relations() | (relations or {})
    if fact.relation not in known:
        raise VesaliusError(
            given=f"relation {fact.relation!r}",
            expected=f"one of {', '.join(known)}",
            fix="pass relations={code: Relation(...)} with templates for your own relation",
        )
    return [fill(template, fact, answer=mask_token) for template in known[fact.relation].ask]


def fill(template: str, fact: Fact, *, answer: str) -> str:
    """Return the template with [X] as the fact's subject and [Y] as `answer`.

    Source: this project.

    >>> fill("[Y] is in [X].", Fact(relation="P17", subject="Peru", answer="Lima"), answer="?")
    '? is in Peru.'
    """
    parts = re.split(r"(\[X\]|\[Y\])", template)
    return "".join({"[X]": fact.subject, "[Y]": answer}.get(part, part) for part in parts)


def answer_in_subject(*, subject: str, answer: str) -> bool:
    """Say whether the subject gives the answer away: as a whole, or by a word with its stem.

    Two words share a stem when the first four letters (all, if fewer) agree without case.

    Source: this project; the rule is stricter than the substring test of Poerner et al. 2020
    (E-BERT, arXiv 1911.03681).

    >>> answer_in_subject(subject="Albanian Land Force", answer="Albania")
    True
    >>> answer_in_subject(subject="France", answer="Paris")
    False
    """
    low = answer.lower()
    if low in subject.lower():
        return True
    return any(word[:4] == low[:4] for word in re.findall(r"\w+", subject.lower()))


def read_facts(path: str | Path) -> list[Fact]:
    """Read a user's facts: JSON lines (`.jsonl`) or tab-separated (`.tsv`, with a header row).

    Both need `relation`, `subject` and `answer`; further fields are ignored.

    Raises: VesaliusError with the number of the line for anything else.

    Source: this project.
    """
    path = Path(path)
    if not path.is_file():
        raise VesaliusError(
            given=str(path), expected="a file of facts", fix="check the path and its spelling"
        )
    readers = {".jsonl": _rows_of_jsonl, ".tsv": _rows_of_tsv}
    if path.suffix not in readers:
        raise VesaliusError(
            given=str(path),
            expected="a name that ends in .jsonl or .tsv",
            fix='write one {"relation": ..., "subject": ..., "answer": ...} per line to a .jsonl',
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise VesaliusError(
            given=f"{path}: {error}", expected="UTF-8 text", fix="save the file as UTF-8"
        ) from error
    facts = [_fact_of(row, path=path, line=line) for line, row in readers[path.suffix](text, path)]
    if not facts:
        raise VesaliusError(
            given=f"{path}: no facts", expected="at least one fact", fix="add a line per fact"
        )
    return facts


def _rows_of_jsonl(text: str, path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise VesaliusError(
                given=f"{path}, line {number}: {line[:80]!r}",
                expected="one JSON object",
                fix='write {"relation": "P36", "subject": "Peru", "answer": "Lima"}',
            ) from error


def _rows_of_tsv(text: str, path: Path) -> Iterator[tuple[int, object]]:
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        return
    header = [name.strip() for name in lines[0][1].split("\t")]
    for number, line in lines[1:]:
        cells = line.split("\t")[: len(header)]
        yield number, dict(zip(header[: len(cells)], cells, strict=True))


def _fact_of(row: object, *, path: Path, line: int) -> Fact:
    names: Sequence[str] = ("relation", "subject", "answer")
    found: dict[str, str] = {}
    if isinstance(row, dict):
        found = {
            str(name): value.strip()
            for name, value in row.items()
            if name in names and isinstance(value, str) and value.strip()
        }
    missing = [name for name in names if name not in found]
    if missing:
        raise VesaliusError(
            given=f"{path}, line {line}: no text for {', '.join(missing)}",
            expected="the three fields relation, subject and answer, each a text",
            fix="complete the line; a .tsv file starts with a row that names its columns",
        )
    return Fact(relation=found["relation"], subject=found["subject"], answer=found["answer"])
