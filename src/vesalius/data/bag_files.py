"""Read facts with their prompts from the files in which people publish them.

A row that cannot be read is an error with its place; no row is left out in silence.

Source: PARAREL (Elazar et al. 2021, arXiv 2102.01017), CounterFact (arXiv 2202.05262) and ZsRE as
MEND lays it out (arXiv 2110.11309), all three as their own files have it; our own rows.
"""

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, get_args

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import write_file
from vesalius.data.bags import MASK, FactBag, Probe, asked_bags, unique_names
from vesalius.data.facts import Fact, fill, load_relations
from vesalius.data.record_files import SUFFIXES, Record, read_records

Layout = Literal["auto", "pararel", "counterfact", "zsre", "bags"]
_FACTS: Final = ("facts", "tuples", "trex_lms_vocab")  # the last as in PARAREL's own repository
_TEMPLATES: Final = ("templates", "patterns", "graphs_json", "pattern_data/graphs_json")
_RELATION: Final = ("relation", "relation_id", "predicate_id")
_SUBJECT: Final = ("subject", "sub_label")
_ANSWER: Final = ("answer", "object", "obj_label")


def read_bags(
    path: str | os.PathLike[str],
    *,
    layout: Layout = "auto",
    only: str = "",
    tell: Callable[[str], None] = warnings.warn,
) -> list[FactBag]:
    """Read facts with their prompts from a folder or a file.

    ``pararel``: a folder with facts (relation, subject, answer or object) and templates (relation,
    template with [X] and [Y]), each a file or a folder of files named after their relation.
    ``counterfact`` and ``zsre``: their JSON; the gap stands behind each prompt, and what neither
    an edit nor a probe asks (attribute_prompts, generation_prompts) is not read. ``bags``: rows
    with relation, subject, answer, and prompts of their own (a list ``prompts``, or a column
    ``prompt`` with one row each) or those of the bundled relation; further columns are the fields
    of :class:`FactBag`. Files may be .jsonl, .tsv, .csv, .json or .parquet.

    Args:
        only: a column of yes and no; other rows are left out, of templates where they have it.
        tell: called with a sentence when facts have no templates; a warning if left out.

    Raises:
        VesaliusError: with file, row and column, for whatever cannot be read.
    """
    path = Path(path)
    if layout not in get_args(Layout):
        raise VesaliusError(
            given=f"layout={layout!r}",
            expected=f"one of {', '.join(get_args(Layout))}",
            fix="leave it out: the file shows which it is",
        )
    if path.is_dir():
        if layout not in ("auto", "pararel"):
            raise VesaliusError(
                given=f"{path}, a folder, with layout={layout!r}",
                expected="a file; only the layout pararel has a folder",
                fix="name the file",
            )
        return _pararel(path, only, tell)
    if layout == "pararel" and path.exists():
        raise VesaliusError(
            given=f"{path}, a file, with layout='pararel'",
            expected="a folder with a file of facts and a file of templates",
            fix="name the folder",
        )
    records = _chosen(read_records(path), only)
    readers = {"counterfact": _counterfact, "zsre": _zsre, "bags": _our_bags}
    return readers[_layout_of(records[0]) if layout == "auto" else layout](records)


def bag_of(values: Mapping[str, Any]) -> FactBag:
    """Make a bag of what ``dataclasses.asdict`` made of one, as JSON brings it back.

    Raises:
        VesaliusError: a field is missing or of another type.
    """
    return _our_bags([Record(place="bag", values=values)])[0]


def write_bags(
    bags: Sequence[FactBag], path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write bags to a .jsonl, one per line, as :func:`read_bags` reads them.

    Raises:
        VesaliusError: no bags, another ending, a file that exists (without ``force``).
    """
    path = Path(path)
    if path.suffix != ".jsonl" or not bags:
        raise VesaliusError(
            given=f"{len(bags)} bags for {path}",
            expected="at least one, and a name that ends in .jsonl",
            fix=f"write to {path.stem}.jsonl" if bags else "make bags first",
        )
    lines = [json.dumps(asdict(bag), ensure_ascii=False) + "\n" for bag in bags]
    return write_file(path, "".join(lines).encode(), force=force)


def _layout_of(record: Record) -> str:
    if "requested_rewrite" in record.values:
        return "counterfact"
    return "zsre" if {"src", "alt"} <= record.values.keys() else "bags"


def _chosen(records: list[Record], only: str, *, optional: bool = False) -> list[Record]:
    """Keep the rows that say yes in a column."""
    if not only or (optional and all(only not in record.values for record in records)):
        return records
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    chosen: list[Record] = []
    for record in records:
        word = str(record.values.get(only, "")).strip().lower()
        if word not in words:
            record.refuse((only,), "true or false", fix="name a column of yes and no, or none")
        if words[word]:
            chosen.append(record)
    if not chosen:
        records[0].refuse((only,), "true in at least one row", fix="name another column, or none")
    return chosen


# ---- PARAREL ----


def _pararel(folder: Path, only: str, tell: Callable[[str], None]) -> list[FactBag]:
    facts = [
        Fact(
            relation=record.optional_text(*_RELATION) or relation or record.text(*_RELATION),
            subject=record.text(*_SUBJECT),
            answer=record.text(*_ANSWER),
        )
        for relation, records in _tables(folder, _FACTS, "facts")
        for record in _chosen(records, only)
    ]
    templates: dict[str, list[str]] = {}
    for relation, records in _tables(folder, _TEMPLATES, "templates"):
        for record in _chosen(records, only, optional=True):
            code = record.optional_text(*_RELATION) or relation or record.text(*_RELATION)
            templates.setdefault(code, []).append(_template(record))
    unasked = Counter(fact.relation for fact in facts if fact.relation not in templates)
    asked = [fact for fact in facts if fact.relation in templates]
    if not asked:
        raise VesaliusError(
            given=f"{folder}: facts of {', '.join(unasked)}, templates of {', '.join(templates)}",
            expected="templates of the relations of the facts",
            fix="write the relations alike in both",
        )
    if unasked:
        tell(
            f"{unasked.total()} of {len(facts)} facts are left out: {folder} has no templates of "
            f"{', '.join(unasked)}"
        )
    prompts = {code: list(dict.fromkeys(texts)) for code, texts in templates.items()}
    return asked_bags(asked, prompts=prompts)


def _template(record: Record) -> str:
    text = record.text("template", "pattern")
    if text.count("[X]") != 1 or text.count("[Y]") != 1:
        record.refuse(
            ("template", "pattern"),
            "a text with [X] (subject) and [Y] (answer) exactly once each",
            fix="write for instance 'The capital of [X] is [Y].'",
        )
    return text


def _tables(folder: Path, names: Sequence[str], what: str) -> list[tuple[str, list[Record]]]:
    """Read a table that is one file, or a folder with one file per relation; give its relation."""
    found = [folder / f"{n}{suffix}" for n in names for suffix in SUFFIXES]
    found = [path for path in found if path.is_file()]
    folders = [folder / name for name in names if (folder / name).is_dir()]
    if len(found) + len(folders) != 1:
        there = ", ".join(path.name for path in [*found, *folders])
        raise VesaliusError(
            given=f"{folder}: {f'{there} with {what}' if there else f'no table of {what}'}",
            expected=f"one file of {what}: {what}.parquet, {what}.jsonl, {what}.tsv or {what}.csv, "
            f"or a folder {what} with a file for each relation",
            fix="leave one of them there" if there else f"add {what}.tsv",
        )
    if found:
        return [("", read_records(found[0]))]
    files = sorted(p for p in folders[0].iterdir() if p.suffix in SUFFIXES)
    if not files:
        raise VesaliusError(
            given=f"{folders[0]}, without files",
            expected=f"one for each relation, such as P36{SUFFIXES[0]}",
            fix=f"add the {what}",
        )
    return [(path.stem, read_records(path)) for path in files]


# ---- CounterFact and ZsRE ----


def _counterfact(records: Sequence[Record]) -> list[FactBag]:
    return _named([_counterfact_bag(record) for record in records])


def _counterfact_bag(record: Record) -> tuple[Record, dict[str, Any]]:
    rewrite = record.part("requested_rewrite")
    template, subject = rewrite.text("prompt"), rewrite.text("subject")
    if template.count("{}") != 1:
        rewrite.refuse(("prompt",), "a text with {} where the subject belongs", fix="add {}")
    relation = rewrite.optional_text("relation_id")
    answer = rewrite.part("target_true").text("str")
    return record, {
        "name": f"{record.values.get('case_id', '')} {relation} {subject}",
        "relation": relation,
        "subject": subject,
        "answer": answer,
        "new_answer": rewrite.part("target_new").text("str"),
        "prompts": (_with_gap(template.replace("{}", subject)),),
        "rephrased": tuple(map(_with_gap, record.texts("paraphrase_prompts"))),
        "neighbours": [(_with_gap(t), answer, "") for t in record.texts("neighborhood_prompts")],
    }


def _zsre(records: Sequence[Record]) -> list[FactBag]:
    return _named([_zsre_bag(record) for record in records])


def _zsre_bag(record: Record) -> tuple[Record, dict[str, Any]]:
    subject, answers = record.text("subject"), record.texts("answers")
    if not answers:
        record.refuse(("answers",), "a list with the answer", fix='write ["..."]')
    rephrase, unrelated = record.optional_text("rephrase"), record.optional_text("loc")
    portable: list[tuple[str, str, str]] = []
    if "portability" in record.values:  # added by EasyEdit
        further = record.part("portability")
        portable.append(
            (_with_gap(further.text("New Question")), further.text("New Answer"), "one-hop")
        )
    return record, {
        "name": subject,
        "relation": record.optional_text(*_RELATION),
        "subject": subject,
        "answer": answers[0],
        "new_answer": record.optional_text("alt"),
        "prompts": (_with_gap(record.text("src")),),
        "rephrased": (_with_gap(rephrase),) if rephrase else (),
        "unrelated": [(_with_gap(f"{unrelated.rstrip('?')}?"), record.text("loc_ans"), "")]
        if unrelated
        else [],
        "portable": portable,
    }


def _with_gap(prompt: str) -> str:
    """Put the gap behind a prompt; the full stop is for models that read it from both sides."""
    return f"{prompt} {MASK}."


# ---- our own rows ----


def _our_bags(records: Sequence[Record]) -> list[FactBag]:
    """Make a bag of each row; rows with one ``prompt`` each are gathered by their fact."""
    gathered: dict[object, tuple[Record, dict[str, Any]]] = {}
    for number, record in enumerate(records):
        fields = _our_fields(record)
        fact = tuple(fields[n] for n in ("name", "relation", "subject", "answer", "new_answer"))
        key = fact if "prompt" in record.values else number
        if key in gathered:
            prompts = (*gathered[key][1]["prompts"], *fields["prompts"])
            gathered[key][1]["prompts"] = tuple(dict.fromkeys(prompts))
        else:
            gathered[key] = record, fields
    return _named(list(gathered.values()))


def _our_fields(record: Record) -> dict[str, Any]:
    fact = Fact(
        relation=record.text(*_RELATION),
        subject=record.text(*_SUBJECT),
        answer=record.text(*_ANSWER),
    )
    probes = {
        name: [(p.text("prompt"), p.text("answer"), p.optional_text("kind")) for p in parts]
        for name in ("neighbours", "unrelated", "portable")
        if (parts := record.parts(name))
    }
    return {
        "name": record.optional_text("name") or f"{fact.relation} {fact.subject}",
        "relation": fact.relation,
        "subject": fact.subject,
        "answer": fact.answer,
        "new_answer": record.optional_text("new_answer"),
        "prompts": _prompts(record, fact),
        "rephrased": record.texts("rephrased"),
        **probes,
    }


def _prompts(record: Record, fact: Fact) -> tuple[str, ...]:
    if "prompt" in record.values:
        return (record.text("prompt"),)
    if record.values.get("prompts"):
        return record.texts("prompts")
    known = load_relations()
    if fact.relation not in known:
        record.refuse(
            _RELATION[:1],
            f"one of {', '.join(known)}, or prompts of its own",
            fix="add a column prompt with a text that has [MASK] as the gap",
        )
    return tuple(fill(template, fact, answer=MASK) for template in known[fact.relation].ask)


def _named(rows: Sequence[tuple[Record, dict[str, Any]]]) -> list[FactBag]:
    """Make the bags, and say in which row a fault was found that only they notice."""
    bags: list[FactBag] = []
    names = unique_names([fields["name"] for _, fields in rows])
    for name, (record, fields) in zip(names, rows, strict=True):
        try:
            probes: dict[str, Any] = {
                part: tuple(Probe(prompt=p, answer=a, kind=k) for p, a, k in fields.get(part, ()))
                for part in ("neighbours", "unrelated", "portable")
            }
            probes["name"] = name
            bags.append(FactBag(**(fields | probes)))
        except VesaliusError as error:
            raise VesaliusError(
                given=f"{record.place}: {error.given}", expected=error.expected, fix=error.fix
            ) from error
    return bags
