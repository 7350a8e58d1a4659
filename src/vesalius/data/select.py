"""Choose the bundled facts from the merged T-REx triples: the command behind `tables/facts.tsv`.

Run `python -m vesalius.data.select --data DIR --out FILE` to write the table again.
"""

import argparse
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from vesalius.data.facts import Fact, Part, answer_in_subject, load_relations

FACTS_PER_RELATION = 240  # about 4,500 facts: a few bits per weight are far from used up
ANSWER_MIN_FACTS = 2  # an answer of one fact only teaches nothing about the relation
MAX_PER_ANSWER = 60  # a quarter of a relation: no majority answer is worth learning alone
NATURAL_PER_MILLE = 400  # 40 % of the facts with enough sentences get no sentence of ours
NATURAL_MIN_SENTENCES = 2
_UNIQUE_ANSWERS = ("P36", "P1376")  # capitals: every answer is rare by nature
# T-REx also files films and books under the genre relation; our templates speak of music
_NOT_MUSIC = "anthology essay fantasy mystery novel novella poetry satire sitcom thriller tragedy"
_LEFT_OUT = {("P136", word) for word in _NOT_MUSIC.split()}
_COUNTRY_RELATIONS = ("P30", "P36", "P37", "P1376")


def select_facts(data_dir: Path) -> list[Fact]:
    """Return the chosen facts with their part, sorted by relation and subject.

    A fact is left out when its answer is not one plain word, when the relation has several
    answers for its subject, or when the subject gives the answer away. The best known come
    first: countries and their capitals, then the number of Wikipedia sentences.

    Source: this project.
    """
    facts = pq.read_table(data_dir / "facts" / "facts.parquet").to_pylist()
    countries = pq.read_table(data_dir / "facts" / "countries.parquet").to_pylist()
    sentences = pq.read_table(data_dir / "facts" / "trex_sentences.parquet").to_pylist()
    num_sentences = Counter(i for row in sentences for i in row["fact_ids"])
    famous = {row["name"] for row in countries if row["independent"]}
    famous |= {name for row in countries for name in row["capital"] or () if row["independent"]}
    by_subject: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for row in facts:
        if row["relation"] in load_relations():
            by_subject[row["relation"], row["subject"]].append(row)
    answer_counts = Counter((row["relation"], row["object"]) for row in facts)

    ranked: dict[str, list[tuple[bool, int, str, str]]] = defaultdict(list)
    for (relation, subject), rows in by_subject.items():
        known = relation in _COUNTRY_RELATIONS and subject in famous
        rows.sort(key=lambda row: -answer_counts[relation, row["object"]])
        if len({row["object"] for row in rows}) > 1 and not (known and relation == "P37"):
            continue
        answer = str(rows[0]["object"])
        count = num_sentences[rows[0]["fact_id"]]
        if _is_plain(subject, answer) and (count or rows[0]["in_pararel"]):
            ranked[relation].append((known, count, subject, answer))
    return _cut(ranked)


def _is_plain(subject: str, answer: str) -> bool:
    if not (answer.isascii() and answer.isalpha() and 2 <= len(answer) <= 20):
        return False
    latin = all(ord(character) < 256 for character in subject) and subject[:1].isalnum()
    return (
        latin and 2 <= len(subject) <= 40 and not answer_in_subject(subject=subject, answer=answer)
    )


def _cut(ranked: dict[str, list[tuple[bool, int, str, str]]]) -> list[Fact]:
    chosen: list[tuple[str, str, str]] = []
    natural: dict[str, bool] = {}  # a subject is natural-only in all its relations or in none
    for relation, rows in sorted(ranked.items()):
        counts = Counter(row[3] for row in rows)
        rows = [
            row
            for row in rows
            if (counts[row[3]] >= ANSWER_MIN_FACTS or (relation in _UNIQUE_ANSWERS and row[0]))
            and (relation, row[3]) not in _LEFT_OUT
        ]
        rows.sort(key=lambda row: (not row[0], -row[1], row[2]))
        taken: Counter[str] = Counter()
        for known, count, subject, answer in rows:
            if taken[answer] >= MAX_PER_ANSWER or taken.total() >= FACTS_PER_RELATION:
                continue
            taken[answer] += 1
            chosen.append((relation, subject, answer))
            enough = count >= NATURAL_MIN_SENTENCES and not known
            natural[subject] = natural.get(subject, _per_mille(subject) < NATURAL_PER_MILLE)
            natural[subject] = natural[subject] and enough
    pairs = {(subject, answer) for _, subject, answer in chosen}
    for subject, answer in pairs:  # the turned-round fact must not be told either
        if (answer, subject) in pairs:
            natural[subject] = False
    parts: dict[bool, Part] = {True: "natural", False: "written"}
    return [
        Fact(relation=relation, subject=subject, answer=answer, part=parts[natural[subject]])
        for relation, subject, answer in sorted(chosen)
    ]


def _per_mille(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 1000


def main() -> None:
    """Write the table of facts (command line).

    Source: this project.
    """
    parser = argparse.ArgumentParser(description="Write the table of the bundled facts.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = ["relation\tsubject\tanswer\tpart"]
    for fact in select_facts(options.data):
        lines.append("\t".join((fact.relation, fact.subject, fact.answer, str(fact.part))))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
