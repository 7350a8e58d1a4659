"""Judging many edits: one on top of the other, each alone, in a sweep that goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cli.tiny import masked_lm, save
from judged import CASE, CONFIG, PROMPTS, SECOND, bag, edit, planted, probs_of, token
from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.bags import FactBag, Probe
from vesalius.methods.knowledge_neurons.controls import control_edits
from vesalius.methods.knowledge_neurons.edits import Edit, edited
from vesalius.methods.knowledge_neurons.judge import judge
from vesalius.methods.knowledge_neurons.judge_many import (
    JudgeTask,
    judge_item,
    judge_many,
    perplexity_facts,
)
from vesalius.methods.knowledge_neurons.judge_sequence import judge_sequence
from vesalius.methods.knowledge_neurons.pool import pool_verdicts
from vesalius.methods.knowledge_neurons.update import update
from vesalius.models.opening import open as open_model
from vesalius.models.specimen import Specimen
from vesalius.parallel.sweep import sweep

__all__ = ["edit", "planted"]  # fixtures


def test_a_sequence_piles_up_and_is_undone(planted: Specimen, edit: Edit) -> None:
    other = update(planted, SECOND.prompts, "Lima", "Madrid", [(2, 7), (1, 3)])
    before = planted.fingerprint
    found = judge_sequence(planted, [edit, other], [CASE, SECOND], config=CONFIG)
    assert planted.fingerprint == before
    first, second = found.steps.to_pylist()
    alone = judge(planted, edit, CASE, config=CONFIG)
    assert first["reliability_now"] == first["reliability_so_far"] == 1
    assert first["reliability_now"] == alone.get("reliability").after
    # what another edit is to change is not asked: two neighbours are left, both of Spain
    assert found.get("locality_neighbours").count == 2
    with edited(planted, edit), edited(planted, other, stacked=True):
        rome, madrid = token(planted, "Rome"), token(planted, "Madrid")
        own = [probs_of(planted, p).argmax() == rome for p in PROMPTS]
        new = [probs_of(planted, p).argmax() == madrid for p in SECOND.prompts]
    assert second["reliability_now"] == np.mean(new)
    assert second["reliability_so_far"] == np.mean([*own, *new])
    expected = (np.mean(own) + np.mean(new)) / 2
    assert found.get("reliability").after == pytest.approx(expected)
    assert "With all 2 edits made" in found.sentence


def test_rows_are_pooled_over_cases(planted: Specimen, edit: Edit, tmp_path) -> None:
    controls = control_edits(planted, edit, num_controls=2)
    verdict = judge(planted, edit, CASE, controls=controls, config=CONFIG)
    rows = [verdict.row() | {"reliability.forced.after": share} for share in (0.0, 0.5, 1.0, 1.0)]
    rows[0]["reliability.forced.control"] = None
    for row, value in zip(rows, (1.0, 10.0, 100.0, 1000.0), strict=True):
        row["same_relation.perplexity.after"] = value
    found = pool_verdicts(rows, card=verdict.card)
    own = found.get("reliability")
    assert (own.count, own.after) == (4, 0.625)
    assert own.low < 0.625 < own.high
    assert found.get("same_relation", "perplexity").after == pytest.approx(10**1.5)
    assert "Over 4 edits" in found.sentence
    again = load_result(found.save(tmp_path / "many"))
    assert again.to_table().equals(found.to_table())
    page = found.to_html(tmp_path / "many.html").read_text("utf-8")
    assert page.count("France") >= 4


def test_many_edits_are_averaged(planted: Specimen, edit: Edit) -> None:
    other = update(planted, SECOND.prompts, "Lima", "Madrid", [(2, 7)])
    before = planted.fingerprint
    bags = [bag(word, "P37", "language", f"people in {word} speak [MASK] .") for word in
            ("Italy", "Spain", "Rome")]  # fmt: skip
    found = judge_many(
        planted, [edit, other], [CASE, SECOND], bags=[*bags, CASE, SECOND], num_controls=2,
        config=CONFIG, num_facts=2,
    )  # fmt: skip
    assert planted.fingerprint == before
    one, two = (
        judge(planted, each, case, config=CONFIG).get("reliability").after
        for each, case in ((edit, CASE), (other, SECOND))
    )
    own = found.get("reliability")
    assert (own.count, own.after) == (2, (one + two) / 2)
    assert own.control < 0.5
    assert [row["subject"] for row in found.cases.to_pylist()] == ["France", "Peru"]
    with pytest.raises(VesaliusError, match="1 edits and 0 cases"):
        judge_many(planted, [edit], [])


def test_facts_for_perplexity_are_drawn_per_case() -> None:
    bags = [bag(f"{r}-{i}", r, "Lima", "a [MASK]") for r in ("P36", "P37") for i in range(9)]
    case = bags[2]
    same, others = perplexity_facts(case, bags, num_facts=5, seed=1)
    assert {b.relation for b in same} == {"P36"}
    assert {b.relation for b in others} == {"P37"}
    assert len(same) == len(others) == 5
    assert case not in same
    assert perplexity_facts(case, bags, num_facts=5, seed=1) == (same, others)
    assert perplexity_facts(case, bags, num_facts=5, seed=2) != (same, others)
    assert perplexity_facts(case, []) == ([], [])


@pytest.mark.parametrize("method", ["update", "rank-one"])
def test_a_sweep_of_edits_goes_on_where_it_stopped(method: str, tmp_path) -> None:
    folder = str(save(masked_lm(), tmp_path / "model"))
    specimen = open_model(folder)
    prompts = ("The capital of France is [MASK].", "[MASK] is the capital city of France.")
    case = FactBag(
        name="France", relation="P36", subject="France", answer="Paris", new_answer="Rome",
        prompts=prompts, neighbours=(Probe(prompt="Japan has [MASK].", answer="Tokyo"),),
    )  # fmt: skip
    sick = replace(case, name="sick", new_answer="Paris")
    items = [
        judge_item(
            case, neurons=[(1, 3)], relation_sets=[[(1, 3)], [(0, 2)]], same_relation=[case]
        ),
        judge_item(sick, neurons=[(1, 3)]),
        judge_item(replace(case, name="located")),
    ]
    items = json.loads(json.dumps(items))  # as a manifest brings them back
    task = JudgeTask(
        model=folder, fingerprint=specimen.fingerprint, method=method, layer=1, config=CONFIG,
        max_shared=1.0,
    )  # fmt: skip
    result = sweep(task, items, tmp_path / "sweep", shard_size=1)
    assert [entry.item for entry in result.skipped] == [1]
    assert "same tokens" in result.skipped[0].reason
    rows = result.table().to_pylist()
    assert [row["name"] for row in rows] == ["France", "located"]
    assert rows[0]["neurons"] == (["1:3"] if method == "update" else [])
    assert rows[0]["reliability.forced.control"] is not None
    again = sweep(task, items, tmp_path / "sweep", shard_size=1)
    assert again.num_new_items == 0
    card = make_card("t", stopwatch=Stopwatch.start(), config={})
    found = pool_verdicts(rows, card=card)
    assert found.get("reliability").count == 2
    with pytest.raises(VesaliusError, match="same weights"):
        replace(task, fingerprint="another").open()
