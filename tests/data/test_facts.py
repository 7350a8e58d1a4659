import json
import re
from collections import Counter

import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import (
    Fact,
    Relation,
    answer_in_subject,
    fill,
    load_facts,
    load_relations,
    prompts_for,
    read_facts,
)


def _normalise(template: str) -> str:
    return re.sub(r"[^a-z\[\]]", "", template.lower())


def test_no_evaluation_template_is_a_training_template():
    relations = load_relations().values()
    asked = {_normalise(t) for relation in relations for t in relation.ask}
    told = {_normalise(t) for relation in relations for t in relation.tell}
    assert len(asked) > 100
    assert len(told) > 200
    assert not asked & told
    # nor may a turned-round relation (capital, capital of) tell what the other one asks
    turned = {t.replace("[x]", "[z]").replace("[y]", "[x]").replace("[z]", "[y]") for t in told}
    assert not asked & turned


def test_every_relation_has_enough_templates_with_both_places():
    relations = load_relations()
    assert len(relations) >= 16
    for relation in relations.values():
        assert len(relation.ask) >= 6, relation.code
        assert len(relation.tell) >= 8, relation.code
        assert len(set(relation.ask)) == len(relation.ask)
        for template in relation.ask + relation.tell:
            assert template.count("[X]") == 1, template
            assert template.count("[Y]") == 1, template


def test_the_answer_does_not_always_stand_last():
    for relation in load_relations().values():
        last = sum(t.endswith("[Y].") for t in relation.ask)
        assert 1 <= last < len(relation.ask), relation.code


def test_bundled_facts_have_one_plain_answer_that_the_subject_does_not_give_away():
    facts = load_facts()
    assert len(facts) >= 3000
    assert len({(fact.relation, fact.subject) for fact in facts}) == len(facts)
    for fact in facts:
        assert fact.answer.isascii()
        assert fact.answer.isalpha()
        assert not answer_in_subject(subject=fact.subject, answer=fact.answer), fact
        assert fact.relation in load_relations()


def test_each_relation_has_facts_of_several_answers():
    for code in load_relations():
        counts = Counter(fact.answer for fact in load_facts() if fact.relation == code)
        assert counts.total() >= 50, code
        assert counts.most_common(1)[0][1] <= 0.4 * counts.total(), code


def test_natural_only_facts_are_told_by_no_other_relation():
    parts: dict[str, set[str | None]] = {}
    for fact in load_facts():
        parts.setdefault(fact.subject, set()).add(fact.part)
    assert all(len(found) == 1 for found in parts.values())
    told = {(fact.answer, fact.subject) for fact in load_facts() if fact.part == "written"}
    natural = {(fact.subject, fact.answer) for fact in load_facts() if fact.part == "natural"}
    assert len(natural) > 1000
    assert not told & natural


@pytest.mark.parametrize(
    ("relation", "subject", "answer"),
    [("P36", "France", "Paris"), ("P36", "Japan", "Tokyo"), ("P30", "Egypt", "Africa")],
)
def test_facts_that_a_reader_recognises(relation: str, subject: str, answer: str):
    assert any(
        (fact.relation, fact.subject, fact.answer) == (relation, subject, answer)
        for fact in load_facts()
    )


@pytest.mark.parametrize(
    ("subject", "answer", "expected"),
    [
        ("Albanian Land Force", "Albania", True),
        ("germany", "German", True),
        ("Nokia 3310", "Nokia", True),
        ("Lake Como", "Asia", False),
        ("France", "Paris", False),
        ("BBC One", "BBC", True),
        ("Xianyang", "Xian", True),
    ],
)
def test_answer_in_subject(subject: str, answer: str, expected: bool):
    assert answer_in_subject(subject=subject, answer=answer) is expected


def test_prompts_name_the_subject_and_the_mask_once():
    fact = Fact(relation="P19", subject="[Y] of [X]", answer="Rome")
    for prompt in prompts_for(fact, mask_token="<mask>"):
        assert prompt.count("<mask>") == 1
        assert prompt.count("[Y] of [X]") == 1  # what a user wrote is not filled in again


def test_prompts_for_a_relation_of_the_user():
    own = {"boss": Relation(code="boss", name="boss", ask=("[X] works for [Y].",))}
    fact = Fact(relation="boss", subject="Ann", answer="Bob")
    assert prompts_for(fact, mask_token="[MASK]", relations=own) == ["Ann works for [MASK]."]
    with pytest.raises(VesaliusError, match="P36"):
        prompts_for(fact, mask_token="[MASK]")


def test_fill_puts_the_answer_in():
    fact = Fact(relation="P36", subject="Peru", answer="Lima")
    assert fill("[Y], in [X].", fact, answer=fact.answer) == "Lima, in Peru."


def test_read_facts_takes_jsonl_and_tsv(tmp_path):
    wanted = [
        Fact(relation="P36", subject="Peru", answer="Lima"),
        Fact(relation="P30", subject="Peru", answer="America"),
    ]
    rows = [{"relation": f.relation, "subject": f.subject, "answer": f.answer} for f in wanted]
    jsonl = tmp_path / "facts.jsonl"
    jsonl.write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    tsv = tmp_path / "facts.tsv"
    tsv.write_text("subject\tnote\trelation\tanswer\nPeru\t\tP36\tLima\nPeru\tx\tP30\tAmerica\n")
    assert read_facts(jsonl) == wanted
    assert read_facts(str(tsv)) == wanted


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("facts.jsonl", "{", "line 1"),
        ("facts.jsonl", '["P36"]', "no text for relation, subject, answer"),
        ("facts.jsonl", '{"relation": "P36", "subject": "Peru", "answer": 3}', "answer"),
        ("facts.jsonl", "", "no facts"),
        ("facts.tsv", "relation\tsubject\tanswer\nP36\tPeru", "line 2: no text for answer"),
        ("facts.tsv", "relation\tsubject\tanswer", "no facts"),
        ("facts.tsv", "", "no facts"),
        ("facts.csv", "relation,subject,answer", "jsonl or .tsv"),
    ],
)
def test_read_facts_says_what_is_wrong(tmp_path, name: str, text: str, message: str):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(VesaliusError, match=message):
        read_facts(path)


def test_read_facts_refuses_what_is_not_text(tmp_path):
    with pytest.raises(VesaliusError, match="check the path"):
        read_facts(tmp_path / "none.jsonl")
    path = tmp_path / "facts.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VesaliusError, match="UTF-8"):
        read_facts(path)
