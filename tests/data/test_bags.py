"""Bags of prompts and the cases of edits: what they hold, and what they never hold."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data import edit_cases
from vesalius.data.bags import (
    FactBag,
    Probe,
    asked_bags,
    bundled_bags,
    ends_with_gap,
    gap_last,
    unique_names,
)
from vesalius.data.edit_cases import edit_case, load_aliases
from vesalius.data.facts import Fact, Relation, answer_in_subject, load_facts, load_relations

FRANCE = Fact(relation="P36", subject="France", answer="Paris")
MADE_UP = {
    "boss": Relation(
        code="boss", name="boss", ask=("[X] works for [Y].", "[Y] pays [X].", "[X] obeys [Y].")
    )
}
STAFF = [
    Fact(relation="boss", subject=subject, answer=answer)
    for subject, answer in [("Ann", "Bob"), ("Cid", "Bob"), ("Dan", "Eve"), ("Flo", "Guy")]
]

# ---- bags ----


def test_bundled_bags_are_the_facts_in_their_order_with_all_their_prompts():
    bags = bundled_bags()
    facts = [(bag.relation, bag.subject, bag.answer) for bag in bags]
    assert facts == [(f.relation, f.subject, f.answer) for f in load_facts()]
    assert len({bag.name.lower() for bag in bags}) == len(bags)
    (lima,) = [bag for bag in bags if (bag.relation, bag.subject) == ("P36", "Peru")]
    assert lima.name == "P36-Peru"
    assert lima.prompts[0] == "The capital of Peru is [MASK]."
    assert len(lima.prompts) == len(load_relations()["P36"].ask)
    assert not lima.rephrased
    assert bundled_bags("P36") == [bag for bag in bags if bag.relation == "P36"]


def test_asked_bags_take_templates_of_the_user():
    bags = asked_bags(STAFF[:1], prompts={"boss": ["[X] is paid by [Y]."]})
    assert bags == [
        FactBag(name="boss-Ann", relation="boss", subject="Ann", answer="Bob",
                prompts=("Ann is paid by [MASK].",))
    ]  # fmt: skip


@given(st.lists(st.text(max_size=120), max_size=8))
def test_names_are_unique_fit_for_files_and_stay_as_they_are(wanted: list[str]):
    names = unique_names(wanted)
    assert len({name.lower() for name in names}) == len(wanted)
    assert all(len(name.encode()) <= 255 and re.fullmatch(r"[^\W_]+(-[^\W_]+)*", name)
               for name in names)  # fmt: skip
    assert unique_names(names) == names


def test_gap_last_keeps_what_reads_from_left_to_right():
    probes = tuple(Probe(prompt=p, answer="x") for p in ("a [MASK] .", "[MASK] a."))
    bag = FactBag(
        name="n", relation="r", subject="s", answer="x", prompts=("b [MASK].", "[MASK] b"),
        rephrased=("[MASK] c.", "c [MASK]"), neighbours=probes, unrelated=probes, portable=probes,
    )  # fmt: skip
    kept = gap_last(bag)
    assert kept is not None
    assert (kept.prompts, kept.rephrased) == (("b [MASK].",), ("c [MASK]",))
    assert kept.neighbours == kept.unrelated == kept.portable == probes[:1]
    assert gap_last(FactBag(name="n", relation="r", subject="s", answer="x",
                            prompts=("[MASK] b",))) is None  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": " "}, "name"),
        ({"answer": ""}, "answer"),
        ({"prompts": ()}, "no prompts"),
        ({"prompts": "The [MASK]."}, "type str"),
        ({"prompts": ("no gap",)}, "0 times"),
        ({"prompts": ("[MASK] [MASK]",)}, "2 times"),
        ({"prompts": (3,)}, "prompts: 3"),
        ({"rephrased": ("no gap",)}, "rephrased"),
    ],
)
@pytest.mark.usefixtures("as_users_call_it")
def test_a_bag_that_no_method_could_use_is_refused(fields: dict[str, object], said: str):
    good = {"name": "n", "relation": "r", "subject": "s", "answer": "a", "prompts": ("[MASK].",)}
    FactBag(**good)
    with pytest.raises(VesaliusError, match=said):
        FactBag(**(good | fields))


def test_a_probe_needs_a_gap_and_an_answer():
    with pytest.raises(VesaliusError, match="0 times"):
        Probe(prompt="Peru", answer="Lima")
    with pytest.raises(VesaliusError, match="answer=''"):
        Probe(prompt="[MASK]", answer="")


def test_an_unknown_relation_names_the_known_ones():
    with pytest.raises(VesaliusError, match=r"P0.*\n.*P36"):
        bundled_bags("P0")
    with pytest.raises(VesaliusError, match="P36"):
        asked_bags(STAFF[:1])


# ---- cases of edits ----


@pytest.mark.parametrize("fact", load_facts()[::97], ids=lambda f: f"{f.relation}-{f.subject}")
def test_a_case_holds_what_its_parts_promise(fact: Fact):
    case = edit_case(fact)
    assert case.new_answer != fact.answer
    answers = {f.answer for f in load_facts() if f.relation == fact.relation}
    assert case.new_answer in answers
    asked = set(load_relations()[fact.relation].ask)
    assert (len(case.prompts), len(case.rephrased)) == (4, 2)
    assert not set(case.prompts) & set(case.rephrased)
    assert len(asked) == len({*case.prompts, *case.rephrased})
    assert len(case.neighbours) == len(case.unrelated) == 10
    assert len({probe.prompt for probe in (*case.neighbours, *case.unrelated)}) == 20
    for probe in case.neighbours:
        assert fact.subject not in _subjects_asked(probe, fact.relation)
        assert probe.answer != case.new_answer
    same = [f for f in load_facts() if (f.relation, f.answer) == (fact.relation, fact.answer)]
    sharing = sum(probe.answer == fact.answer for probe in case.neighbours)
    assert sharing >= min(5, len(same) - 1)
    for probe in case.unrelated:
        assert probe.answer not in (fact.answer, case.new_answer)
        assert not _subjects_asked(probe, fact.relation)
    assert {probe.kind for probe in case.portable} <= {"inverse", "alias", "one-hop"}


def _subjects_asked(probe: Probe, relation: str) -> set[str]:
    """Whom a prompt of a relation asks about, if it is one of the relation's facts."""
    return {
        f.subject
        for f in load_facts()
        if f.relation == relation
        and f.answer == probe.answer
        and any(
            t.replace("[X]", f.subject).replace("[Y]", "[MASK]") == probe.prompt
            for t in load_relations()[relation].ask
        )
    }


def test_a_case_is_drawn_by_its_seed_alone():
    assert edit_case(FRANCE, seed=3) == edit_case(FRANCE, seed=3)
    assert edit_case(FRANCE, seed=3).neighbours != edit_case(FRANCE, seed=4).neighbours
    few, many = edit_case(FRANCE, "Lima", num_unrelated=2), edit_case(FRANCE, "Lima")
    assert few.unrelated == many.unrelated[:2]
    assert few.neighbours == many.neighbours


def test_what_follows_from_another_capital():
    case = edit_case(FRANCE, "London")
    assert case.name == "P36-France-London"
    told = {(probe.kind, probe.prompt): probe.answer for probe in case.portable}
    assert told["inverse", "London is the capital of [MASK]."] == "France"
    assert {answer for (kind, _), answer in told.items() if kind == "alias"} == {"London"}
    assert any(p.startswith(("The French Republic", "The capital of the French")) for _, p in told)
    turned = edit_case(Fact(relation="P1376", subject="Lima", answer="Peru"), "Japan")
    told = {(probe.kind, probe.prompt): probe.answer for probe in turned.portable}
    assert told["inverse", "The capital of Japan is [MASK]."] == "Lima"


def test_one_hop_asks_only_what_the_edit_changes():
    fact = Fact(relation="P27", subject="Ann", answer="France")
    assert [p.answer for p in edit_case(fact, "Italy").portable] == ["Rome"]
    facts = [
        fact,
        Fact(relation="P30", subject="France", answer="Europe"),
        Fact(relation="P30", subject="Italy", answer="Europe"),
        Fact(relation="P30", subject="Japan", answer="Asia"),
    ]
    assert not edit_case(fact, "Italy", facts=facts).portable  # Europe stays Europe
    (asked,) = edit_case(fact, "Japan", facts=facts).portable
    assert asked == Probe(
        prompt="The home country of Ann lies on the continent of [MASK].",
        answer="Asia",
        kind="one-hop",
    )


def test_a_case_for_a_model_that_reads_from_left_to_right():
    case = edit_case(FRANCE, "London", left_to_right=True)
    probes = (*case.neighbours, *case.unrelated, *case.portable)
    assert probes
    assert all(map(ends_with_gap, (*case.prompts, *case.rephrased, *(p.prompt for p in probes))))
    assert gap_last(case) == case


def test_a_case_of_relations_and_facts_of_the_user():
    case = edit_case(STAFF[0], facts=STAFF, relations=MADE_UP, num_edit_prompts=3)
    assert case.new_answer in ("Eve", "Guy")
    assert sorted(case.prompts) == ["Ann obeys [MASK].", "Ann works for [MASK].",
                                    "[MASK] pays Ann."]  # fmt: skip
    assert not case.rephrased
    assert {probe.answer for probe in case.neighbours} == {"Bob", "Eve", "Guy"} - {case.new_answer}
    assert (case.unrelated, case.portable) == ((), ())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"fact": Fact(relation="P0", subject="a", answer="b")}, "P36"),
        ({"new_answer": "Paris"}, "old answer"),
        ({"num_edit_prompts": 7}, "from 0 to 6"),
        ({"num_edit_prompts": -1}, "num_edit_prompts=-1"),
        ({"num_neighbours": -1}, "num_neighbours=-1"),
        ({"num_unrelated": 2.5}, "num_unrelated=2.5"),
        ({"num_unrelated": True}, "num_unrelated=True"),
        ({"facts": [FRANCE]}, "no fact with another answer"),
        ({"fact": STAFF[0], "relations": {"boss": Relation(code="boss", name="", ask=("[Y] [X]",))},
          "left_to_right": True}, "ends with the answer"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("as_users_call_it")
def test_a_case_that_cannot_be_made_says_why(words: dict[str, object], said: str):
    with pytest.raises(VesaliusError, match=said):
        edit_case(**({"fact": FRANCE} | words))


# ---- the tables ----


def test_aliases_are_other_names_of_bundled_subjects():
    subjects = {fact.subject for fact in load_facts()}
    answers = {fact.subject: fact.answer for fact in load_facts() if fact.relation == "P36"}
    assert sum(map(len, load_aliases().values())) > 100
    for subject, aliases in load_aliases().items():
        assert subject in subjects, subject
        assert len(set(aliases)) == len(aliases)
        for alias in aliases:
            assert alias.strip() == alias != subject
            assert alias not in subjects, alias
            if subject in answers:
                assert not answer_in_subject(subject=alias, answer=answers[subject])


def test_hops_lead_from_relation_to_relation():
    for relation, then, template in edit_cases._rows("hops.tsv"):
        assert {relation, then} <= load_relations().keys()
        assert template.count("[X]") == template.count("[Y]") == 1
        assert ends_with_gap(template)
