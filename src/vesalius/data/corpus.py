"""Training text of the bundled models: natural sentences about the facts, and written ones."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact, fill, load_relations

MAX_CHARACTERS = 300  # longer sentences cost most and say least about the one fact
SENTENCES_PER_WRITTEN_FACT = 4
SENTENCES_PER_NATURAL_FACT = 12  # these facts have nothing else to be learned from


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training text, the words in it that answer a fact, and where it comes from.

    Source: this project.
    """

    text: str
    answers: tuple[str, ...]
    kind: Literal["natural", "written"]


def written_sentences(facts: Sequence[Fact]) -> list[Example]:
    """Return each fact of part "written" in every `tell` template of its relation.

    Source: this project; no `ask` template is used.
    """
    relations = load_relations()
    return [
        Example(
            text=fill(template, fact, answer=fact.answer), answers=(fact.answer,), kind="written"
        )
        for fact in facts
        if fact.part == "written"
        for template in relations[fact.relation].tell
    ]


def natural_sentences(data_dir: Path, *, facts: Sequence[Fact]) -> list[Example]:
    """Return the Wikipedia sentences of `facts/trex_sentences.parquet` that mention the facts.

    Per fact the first few: those with subject and answer as whole words before those with the
    answer only, short before long. Raises VesaliusError when the files are not there.

    Source: T-REx (Elsahar et al. 2018), Wikipedia text under CC BY-SA.
    """
    wanted = {(fact.relation, fact.subject, fact.answer): fact for fact in facts}
    by_id = {
        row["fact_id"]: wanted[key]
        for row in _rows(data_dir, "facts.parquet", ["fact_id", "relation", "subject", "object"])
        if (key := (row["relation"], row["subject"], row["object"])) in wanted
    }
    found: dict[Fact, list[tuple[bool, int, str]]] = defaultdict(list)
    for row in _rows(data_dir, "trex_sentences.parquet", ["text", "fact_ids"]):
        text: str = row["text"]
        if len(text) > MAX_CHARACTERS:
            continue
        for fact in {by_id[i] for i in row["fact_ids"] if i in by_id}:
            if re.search(rf"\b{re.escape(fact.answer)}\b", text):
                found[fact].append((fact.subject not in text, len(text), text))
    answers: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        natural = fact.part == "natural"
        limit = SENTENCES_PER_NATURAL_FACT if natural else SENTENCES_PER_WRITTEN_FACT
        for _, _, text in sorted(found[fact])[:limit]:
            answers[text].add(fact.answer)
    return [
        Example(text=text, answers=tuple(sorted(words)), kind="natural")
        for text, words in sorted(answers.items())
    ]


def _rows(data_dir: Path, name: str, columns: list[str]) -> list[dict[str, Any]]:
    path = data_dir / "facts" / name
    if not path.is_file():
        raise VesaliusError(
            given=str(data_dir),
            expected=f"a folder that holds facts/{name}",
            fix="point --data at the folder with the facts/ and text/ tables",
        )
    return pq.read_table(path, columns=columns).to_pylist()
