"""Judging an edit: every measure against its plain definition, restored weights, pages."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

import families
from judged import CASE, CONFIG, PROMPTS, SECOND, bag, edit, planted, probs_of, token
from tiny import word_tokenizer
from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.bags import Probe
from vesalius.methods.knowledge_neurons.controls import control_edits
from vesalius.methods.knowledge_neurons.edits import Edit, edited, plan_edit
from vesalius.methods.knowledge_neurons.judge import JudgeConfig, judge, judge_erasure
from vesalius.methods.knowledge_neurons.judge_many import (
    JudgeTask,
)
from vesalius.methods.knowledge_neurons.judge_sequence import judge_sequence
from vesalius.methods.knowledge_neurons.pool import pool_verdicts
from vesalius.methods.knowledge_neurons.probes import NEUTRAL
from vesalius.methods.knowledge_neurons.verdict import Verdict
from vesalius.models.edits import SlotEdit, read_slots
from vesalius.models.encoding import MASK
from vesalius.models.specimen import Specimen, task_of

__all__ = ["edit", "planted"]  # fixtures


@pytest.fixture(scope="module")
def verdict(planted: Specimen, edit: Edit) -> Verdict:
    controls = control_edits(planted, edit, num_controls=4)
    return judge(planted, edit, CASE, controls=controls, config=CONFIG)


def rank_of(probs: torch.Tensor, number: int) -> int:
    return 1 + int((probs > probs[number]).sum())


def test_the_measures_are_their_definitions(
    planted: Specimen, edit: Edit, verdict: Verdict
) -> None:
    rome, paris = token(planted, "Rome"), token(planted, "Paris")
    before = {p: probs_of(planted, p) for p in verdict.probes["prompt"].to_pylist()}
    with edited(planted, edit):
        after = {p: probs_of(planted, p) for p in before}
    for name, prompts in (("reliability", PROMPTS), ("generality", CASE.rephrased[:1])):
        shares = [[float(probs[p].argmax() == rome) for p in prompts] for probs in (before, after)]
        for way in ("forced", "free"):
            found = verdict.get(name, way)
            assert [found.before, found.after] == [np.mean(share) for share in shares]
            assert found.count == len(prompts)
    gone = np.mean([after[p].argmax() != paris for p in PROMPTS])
    assert verdict.get("old_answer_gone").after == pytest.approx(gone)
    ranks = [rank_of(after[p], rome) for p in PROMPTS]
    assert verdict.get("rank_of_new_answer", "rank").after == np.mean(ranks)
    assert verdict.get("reciprocal_rank", "rank").after == pytest.approx(
        np.mean([1 / rank for rank in ranks])
    )
    assert verdict.get("new_answer_in_top_5").after == np.mean([rank <= 5 for rank in ranks])
    local = [probe.prompt for probe in CASE.neighbours]
    kept = np.mean([before[p].argmax() == after[p].argmax() for p in local])
    assert verdict.get("locality_neighbours", "free").after == kept
    golds = [token(planted, probe.answer) for probe in CASE.neighbours]
    for probs, value in (
        (before, verdict.get("same_relation", "perplexity").before),
        (after, verdict.get("same_relation", "perplexity").after),
    ):
        logs = [math.log(float(probs[p][g])) for p, g in zip(local, golds, strict=True)]
        assert value == pytest.approx(math.exp(-np.mean(logs)), rel=1e-4)
    ratio = sum(float(after[p][g]) for p, g in zip(local, golds, strict=True)) / sum(
        float(before[p][g]) for p, g in zip(local, golds, strict=True)
    )
    found = verdict.get("probability_kept_neighbours", "ratio")
    assert found.after == pytest.approx(ratio, rel=1e-4)
    assert found.before == 1
    assert verdict.get("portability_inverse").after == float(
        after[CASE.portable[0].prompt].argmax() == token(planted, "France")
    )


def test_an_edit_that_works_says_so(planted: Specimen, verdict: Verdict) -> None:
    assert verdict.get("reliability").before == 0
    assert verdict.get("reliability").after == 1
    assert verdict.sentence.startswith("The edit holds on its own prompts (2 of 2) and on")
    # the planted neuron fires everywhere: the verdict has to tell
    assert "2 of 2 neighbours" in verdict.sentence
    assert verdict.get("reliability").control < 0.5
    assert verdict.get("plain_sentences", "perplexity").before > 1


def test_a_leaked_paraphrase_is_not_held_out(verdict: Verdict) -> None:
    rows = verdict.probes.to_pylist()
    assert [row["prompt"] for row in rows if row["group"] == "rephrased"] == [CASE.rephrased[0]]


def test_controls_are_the_edits_themselves(planted: Specimen, edit: Edit, verdict: Verdict) -> None:
    values = []
    for control in control_edits(planted, edit, num_controls=4):
        one = judge(planted, control, CASE, config=JudgeConfig(neutral=()))
        values.append(one.get("same_relation", "perplexity").after)
    found = verdict.get("same_relation", "perplexity")
    assert found.control == pytest.approx(np.mean(values))
    assert min(values) <= found.control_low <= found.control <= found.control_high <= max(values)


@pytest.mark.parametrize("method", ["update", "erase", "rank-one"])
def test_controls_stay_away_from_the_edit(planted: Specimen, edit: Edit, method: str) -> None:
    slots = [(0, 1), (2, 7), (2, 9)]
    if method == "rank-one":
        neurons = torch.arange(48)
        now = read_slots(planted, 1, neurons)
        key = torch.linspace(-1, 1, 48).unsqueeze(1)
        values = {1: SlotEdit(neurons=neurons, values=now + key * torch.ones(32))}
    else:
        values = {
            layer: SlotEdit(
                neurons=torch.tensor([n for own, n in slots if own == layer]),
                values=torch.zeros(len([1 for own, _ in slots if own == layer]), 32),
            )
            for layer in (0, 2)
        }
    card = replace(edit.card, config=edit.card.config)
    given = plan_edit(
        planted, values, card=card, method=method, prompts=PROMPTS, answer="Paris",
        new_answer="Rome",
    )  # fmt: skip
    found = control_edits(planted, given, num_controls=3, seed=4)
    assert len(found) == 3
    first = control_edits(planted, given, num_controls=1, seed=4)[0]
    np.testing.assert_array_equal(first.after, found[0].after)
    for control in found:
        assert control.method == method
        np.testing.assert_array_equal(control.layers, given.layers)
        if method == "rank-one":
            lengths = [
                np.sort(np.linalg.norm(each.after - each.before, axis=1))
                for each in (control, given)
            ]
            np.testing.assert_allclose(*lengths, rtol=1e-3, atol=1e-5)
            assert not np.allclose(control.after, given.after)
        else:
            assert not set(control.slots) & set(slots)
        if method == "erase":
            assert not control.after.any()


def test_the_model_comes_back_bit_for_bit(planted: Specimen, edit: Edit) -> None:
    before = planted.fingerprint
    judge(planted, edit, CASE, controls=control_edits(planted, edit, num_controls=1), config=CONFIG)
    judge_sequence(planted, [edit], [CASE], config=CONFIG)
    assert planted.fingerprint == before


def test_a_broken_edit_is_told_and_undone(planted: Specimen, edit: Edit) -> None:
    before = planted.fingerprint
    huge = replace(edit, after=np.full_like(edit.after, 3e38))
    with pytest.raises(VesaliusError, match="NaN"):
        judge(planted, huge, CASE, config=CONFIG)
    assert planted.fingerprint == before


def test_a_verdict_comes_back_from_the_disk_and_makes_a_page(verdict: Verdict, tmp_path) -> None:
    again = load_result(verdict.save(tmp_path / "verdict"))
    assert isinstance(again, Verdict)
    assert again.row() == verdict.row()
    assert again.probes.equals(verdict.probes)
    page = verdict.to_html(tmp_path / "page.html").read_text("utf-8")
    assert again.to_html(tmp_path / "again.html").read_text("utf-8") == page
    assert page.count("<img") == 1
    assert all(prompt in page for prompt in PROMPTS)
    assert verdict.sentence in page
    assert "http://" not in page
    with pytest.raises(VesaliusError, match="exists"):
        verdict.to_html(tmp_path / "page.html")
    axes = verdict.plot()
    assert next(text.get_text() for text in axes.get_yticklabels()) == "reliability"
    assert len(axes.figure.axes) == 3
    assert verdict.plot(axes) is axes


def test_words_cannot_leave_their_place_in_the_page(
    planted: Specimen, edit: Edit, tmp_path
) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    case = replace(CASE, subject=evil, rephrased=(f"{evil} is [MASK] .",))
    page = judge(planted, edit, case, config=CONFIG).to_html(tmp_path / "page.html")
    assert evil not in page.read_text("utf-8")
    assert "&lt;/script&gt;" in page.read_text("utf-8")


def test_facts_for_perplexity_take_the_place_of_probes(planted: Specimen, edit: Edit) -> None:
    same = [CASE, bag("Peru", "P36", "Lima", "the capital of Peru is [MASK] .")]
    others = [bag("Italy", "P37", "language", "people in Italy speak [MASK] .")]
    found = judge(planted, edit, CASE, same_relation=same, other_relations=others, config=CONFIG)
    assert found.get("same_relation", "perplexity").count == 1  # the edited fact itself is out
    prob = float(probs_of(planted, same[1].prompts[0])[token(planted, "Lima")])
    assert found.get("same_relation", "perplexity").before == pytest.approx(1 / prob, rel=1e-4)


def test_questions_that_cannot_be_asked_are_counted(planted: Specimen, edit: Edit) -> None:
    strange = Probe(prompt="the capital of Atlantis is [MASK] .", answer="Poseidonis")
    found = judge(
        planted, edit, replace(CASE, neighbours=(*CASE.neighbours, strange)), config=CONFIG
    )
    (*_, warning) = found.card.warnings
    assert any("1 of 3 neighbour prompts left out" in text for text in found.card.warnings)
    assert "Poseidonis" in warning
    assert found.get("locality_neighbours").count == 2


def test_erasure_is_judged_by_perplexity_and_accuracy(planted: Specimen) -> None:
    bags = [
        bag("France", "P36", "Paris", *PROMPTS),
        bag("Peru", "P36", "Lima", "the capital of Peru is [MASK] ."),
    ]
    others = [bag("Italy", "P37", "language", "people in Italy speak [MASK] .")]
    zero = {2: SlotEdit(neurons=torch.tensor([7]), values=torch.zeros(1, 32))}
    card = make_card(
        "erase",
        stopwatch=Stopwatch.start(),
        config={},
        model_fingerprint=planted.fingerprint,
    )
    gone = plan_edit(planted, zero, card=card, method="erase")
    controls = control_edits(planted, gone, num_controls=3)
    found = judge_erasure(planted, gone, bags, others, controls=controls, config=CONFIG)
    right = found.get("erased_relation", "accuracy")
    assert right.count == 3
    prompts = [(b.answer, p) for b in bags for p in b.prompts]
    before = [probs_of(planted, p)[token(planted, a)] for a, p in prompts]
    with edited(planted, gone):
        after = [probs_of(planted, p)[token(planted, a)] for a, p in prompts]
    surprise = found.get("erased_relation", "perplexity")
    for value, probs in ((surprise.before, before), (surprise.after, after)):
        expected = math.exp(-np.mean([math.log(float(p)) for p in probs]))
        assert value == pytest.approx(expected, rel=1e-4)
    assert "erased relation go from" in found.sentence
    assert found.title() == "P36 erased"
    assert surprise.control_low <= surprise.control <= surprise.control_high
    alone = [
        math.exp(-np.mean([math.log(float(p)) for p in probs])) for probs in (after[:2], after[2:])
    ]
    assert [surprise.low, surprise.high] == pytest.approx(sorted(alone), rel=1e-4)  # of two facts
    assert math.isnan(found.get("other_relations", "perplexity").low)  # one fact varies by nothing


def test_an_answer_without_probability_has_none_to_keep(planted: Specimen, edit: Edit) -> None:
    """Nor does the page break where a perplexity overflows, or a name looks like a formula."""
    bias = planted.model.cls.predictions.bias
    kept = bias.detach().clone()
    try:
        with torch.no_grad():
            bias[[token(planted, "Lima"), token(planted, "Madrid")]] = -1000
        told = replace(edit, card=replace(edit.card, model_fingerprint=planted.fingerprint))
        found = judge(planted, told, replace(CASE, subject="$x_{$"), config=CONFIG)
    finally:
        with torch.no_grad():
            bias.copy_(kept)
    names = [each.name for each in found.measures if each.way == "ratio"]
    assert "probability_kept_unrelated" in names
    kept_share = [each for each in found.measures if each.name == "probability_kept_neighbours"]
    assert all(math.isfinite(each.after) for each in kept_share)
    assert found.get("same_relation", "perplexity").after == math.inf
    found.plot().figure.canvas.draw()


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart", "albert", "modernbert"])
def test_every_kind_of_model_is_judged(family: str) -> None:
    model = families.make(family)
    specimen = Specimen(model=model, tokenizer=word_tokenizer(), name=family, task=task_of(model))
    case = replace(
        CASE,
        prompts=("the capital of France is [MASK]", "the city of France is [MASK] ."),
        rephrased=("France is in the city of [MASK]", "[MASK] is the capital of France ."),
    )
    values = {
        1: SlotEdit(
            neurons=torch.tensor([3]), values=read_slots(specimen, 1, torch.tensor([3])) + 0.5
        )
    }
    if family == "albert":
        values = {0: values[1]}
    card = make_card(
        "update", stopwatch=Stopwatch.start(), config={}, model_fingerprint=specimen.fingerprint
    )
    given = plan_edit(
        specimen, values, card=card, method="update", prompts=case.prompts, answer="Paris",
        new_answer="Rome Italy",
    )  # fmt: skip
    before = specimen.fingerprint
    found = judge(specimen, given, replace(case, new_answer=""), config=CONFIG)
    assert specimen.fingerprint == before
    names = {(each.name, each.way) for each in found.measures}
    assert ("reliability", "free") in names
    assert (("entropy_of_texts", "bits") in names) == (specimen.task == "causal-lm")
    assert (("plain_sentences", "perplexity") in names) == (specimen.task != "seq2seq-lm")
    if specimen.task == "causal-lm":
        assert any("left out" in warning for warning in found.card.warnings)
    same = replace(given, after=given.before)
    again = judge(specimen, same, replace(case, new_answer=""), config=CONFIG)
    for each in again.measures:  # an edit that changes nothing
        assert each.before == pytest.approx(each.after)


def test_our_sentences_are_plain() -> None:
    assert all(MASK not in sentence and sentence.endswith(".") for sentence in NEUTRAL)


def rows_of_bad_input(planted: Specimen, edit: Edit) -> Sequence[tuple[object, str, str]]:
    others = [bag("Italy", "P37", "language", "people in Italy speak [MASK] .")]
    erasing = replace(edit, method="erase", new_answer="")
    erased = replace(edit.card, config={"relation": "P37"})
    foreign = replace(edit.card, model_fingerprint="0123456789abcdef")
    return (
        (lambda: judge(planted, erasing, CASE), "without a new answer", "judge_erasure"),
        (lambda: judge(planted, edit, replace(CASE, new_answer="Lima")), "'Lima'", "Rome"),
        (
            lambda: judge(planted, replace(edit, new_answer="Xyz"), replace(CASE, new_answer="")),
            "Xyz",
            "vocabulary",
        ),
        (lambda: judge_erasure(planted, erasing, [], others), "0 facts", "bundled_bags"),
        (lambda: judge_erasure(planted, erasing, others, others), "P37 in both", "bundled_bags"),
        (lambda: judge_erasure(planted, edit, [CASE], others), "kind 'update'", "with judge"),
        (
            lambda: judge_erasure(planted, replace(erasing, card=erased), [CASE], others),
            "of P37, for facts of P36",
            "of that relation",
        ),
        (
            lambda: judge_sequence(planted, [edit, replace(edit, card=foreign)], [CASE, SECOND]),
            "different weights",
            "before the first",
        ),
        (lambda: judge_sequence(planted, [edit], []), "1 edits and 0 cases", "same order"),
        (lambda: judge_sequence(planted, [edit] * 2, [CASE] * 2), "two edits of France", "leave"),
        (lambda: control_edits(planted, edit, num_controls=-1), "num_controls=-1", "5"),
        (
            lambda: control_edits(
                planted, replace(edit, card=replace(edit.card, config={})), num_controls=1
            ),
            "whose card names",
            "without controls",
        ),
        (
            lambda: JudgeTask(model="m", fingerprint="f", method="erase").open(),  # type: ignore[arg-type]
            "method='erase'",
            "judge_erasure",
        ),
        (lambda: JudgeConfig(fluency_tokens=-1), "fluency_tokens=-1", "leave"),
        (lambda: JudgeConfig(neutral=("",)), "neutral=", "sentences"),
        (lambda: pool_verdicts([], card=edit.card), "0 rows", "judge"),
        (lambda: pool_verdicts([{"name": "a"}], card=edit.card), "1 rows", "judge"),
        (
            lambda: judge(
                planted,
                replace(edit, card=replace(edit.card, model_fingerprint="another")),
                CASE,
                config=CONFIG,
            ),
            "another",
            "plan it again",
        ),
    )


def test_what_cannot_be_judged_is_refused(
    planted: Specimen, edit: Edit, as_users_call_it: None
) -> None:
    for call, given, fix in rows_of_bad_input(planted, edit):
        with pytest.raises(VesaliusError) as caught:
            call()  # type: ignore[operator]
        assert given in caught.value.given
        assert fix in caught.value.fix + caught.value.expected
