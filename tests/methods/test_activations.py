"""Activations at the gaps of texts: against plain hooks, cut, averaged, ranked, saved, refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import families
from helpers import assert_equal_numbers
from tiny import plant, tiny_masked_lm, word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.mentions import MaskedText
from vesalius.methods.knowledge_neurons.activation_result import (
    Activations,
    TextValues,
    summarise,
    text_table,
)
from vesalius.methods.knowledge_neurons.activations import _runs, activations
from vesalius.methods.knowledge_neurons.windows import window_around_gap
from vesalius.models.specimen import Specimen, task_of
from vesalius.numerics.statistics import rank_correlation

NEURONS = [(0, 3), (2, 7), (1, 0)]
LONG = "the river of the city " * 30


def masked(text: str, kind: str = "head-and-tail", **changes: str) -> MaskedText:
    fact = {"relation": "P36", "subject": "France", "answer": "Paris", **changes}
    return MaskedText(text=text, kind=kind, **fact)


TEXTS = (
    masked("the capital of France is [MASK] ."),
    masked("[MASK] is the seat of the government of France ."),
    masked("people speak of [MASK] , the capital city of France , in the country ."),
    masked("France is a [MASK] ."),
    masked("the river [MASK] the city ."),
)


def values_of(found: Activations) -> np.ndarray:
    return np.array(found.texts["activations"].to_pylist())


@pytest.fixture(scope="module")
def bert() -> Specimen:
    return tiny_masked_lm()


def specimen_of(family: str) -> Specimen:
    model = families.make(family)
    return Specimen(model=model, tokenizer=word_tokenizer(), name=family, task=task_of(model))


def test_values_are_those_of_plain_hooks(bert: Specimen):
    found = activations(bert, TEXTS, NEURONS)
    wanted, probs = [], []
    for text in TEXTS:
        inputs = bert.tokenizer(text.text, return_tensors="pt")
        gap = (inputs["input_ids"][0] == bert.tokenizer.mask_token_id).nonzero().item()
        seen = {}
        hooks = [
            layer.intermediate.register_forward_hook(
                lambda _m, _a, out, i=i, to=seen, gap=gap: to.__setitem__(i, out[0, gap])
            )
            for i, layer in enumerate(bert.model.bert.encoder.layer)
        ]
        with torch.no_grad():
            logits = bert.model(**inputs).logits[0, gap]
        for hook in hooks:
            hook.remove()
        wanted.append([seen[layer][neuron].item() for layer, neuron in NEURONS])
        probs.append(logits.softmax(-1)[bert.tokenizer.convert_tokens_to_ids("Paris")].item())
    np.testing.assert_allclose(values_of(found), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.texts["prob"].to_numpy(), probs, rtol=1e-5)
    np.testing.assert_allclose(found.texts["total"].to_numpy(), np.sum(wanted, 1), rtol=1e-5)
    np.testing.assert_allclose(found.texts["mean"].to_numpy(), np.mean(wanted, 1), rtol=1e-5)
    assert found.correlation == rank_correlation(np.mean(wanted, 1), np.array(probs))


@pytest.mark.parametrize("family", [f for f in families.FAMILIES if f != "vit"])
def test_every_family_reads_a_text_in_a_batch_as_it_does_alone(family: str):
    specimen = specimen_of(family)
    last = len(specimen.plan.calls) - 1
    texts = [text for text in TEXTS if not text.text.startswith("[MASK]")]
    together = values_of(activations(specimen, texts, [(0, 1), (last, 5)]))
    alone = values_of(activations(specimen, texts, [(0, 1), (last, 5)], memory="1k"))
    assert together.shape == (4, 2)
    assert np.abs(together).max() > 0
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())


def test_a_causal_model_reads_up_to_the_gap():
    specimen = specimen_of("gpt2")
    first = activations(specimen, [masked("the capital of France is [MASK] .")], NEURONS)
    other = activations(specimen, [masked("the capital of France is [MASK] in Peru")], NEURONS)
    assert first.texts["text"].to_pylist() == ["the capital of France is [MASK]"]
    assert_equal_numbers(values_of(other), values_of(first))
    with pytest.raises(VesaliusError, match=r"text 1: .*nothing before the gap"):
        activations(specimen, [TEXTS[0], TEXTS[1]], NEURONS)


@pytest.mark.parametrize("gap", [0, 40, 300, 659, 660])
def test_a_long_text_is_cut_around_its_gap(bert: Specimen, gap: int):
    text = f"{LONG[:gap]}[MASK]{LONG[gap:]}"
    window = window_around_gap(bert, text, max_tokens=20)
    assert window.cut
    assert 15 <= window.num_tokens <= 20
    assert window.text in text
    before, after = window.text.split("[MASK]")
    if 100 < gap < 500:
        assert abs(len(before) - len(after)) < 15
    elif gap in (0, 660):
        assert (before, after)[gap == 660] == ""
    words = window.text.replace("[MASK]", " [MASK] ").split()
    assert {words[0], words[-1]} <= {*LONG.split(), "[MASK]"}  # no half words


def test_a_short_text_stays_whole(bert: Specimen):
    window = window_around_gap(bert, TEXTS[0].text, max_tokens=9)
    assert (window.text, window.num_tokens, window.cut) == (TEXTS[0].text, 9, False)
    assert window_around_gap(bert, TEXTS[0].text, max_tokens=8).cut


def test_a_text_without_spaces_is_cut_too():
    specimen = specimen_of("gpt2")
    window = window_around_gap(specimen, "France." * 60 + " [MASK]", max_tokens=12)
    assert window.cut
    assert window.text.endswith("France. [MASK]")


def test_texts_longer_than_the_model_are_cut_and_counted(bert: Specimen):
    found = activations(bert, [masked(f"{LONG}[MASK]{LONG}"), TEXTS[0]], NEURONS)
    assert found.texts["num_tokens"][0].as_py() <= 64
    assert found.texts["cut"].to_pylist() == [True, False]
    assert "1 texts are longer" in found.card.warnings[0]
    short = activations(bert, [masked(f"{LONG}[MASK]{LONG}")], NEURONS, most_tokens=12)
    assert short.texts["num_tokens"][0].as_py() <= 12


def test_each_fact_has_its_own_neurons(bert: Specimen):
    other = replace(TEXTS[3], subject="Italy", answer="Rome")
    third = replace(TEXTS[3], subject="Peru", answer="Lima")
    sets = {
        ("P36", "France", "Paris"): [(0, 3)],
        ("P36", "Italy", "Rome"): [(1, 1), (2, 2)],
        ("P36", "Peru", "Lima"): [],
    }
    found = activations(bert, [TEXTS[0], other, third], sets)
    assert found.texts["neurons"].to_pylist() == [["0:3"], ["1:1", "2:2"]]
    alone = activations(bert, [other], [(1, 1), (2, 2)])
    np.testing.assert_allclose(
        found.texts["activations"][1].as_py(), values_of(alone)[0], rtol=1e-5
    )
    assert "1 texts are left out" in found.card.warnings[0]
    with pytest.raises(VesaliusError, match="'Spain'"):
        activations(bert, [replace(other, subject="Spain")], sets)
    with pytest.raises(VesaliusError, match="facts without neurons"):
        activations(bert, [third], sets)


def test_an_answer_of_several_tokens_has_no_probability(bert: Specimen):
    texts = [replace(text, answer="Paris Rome") for text in TEXTS[:3]]
    found = activations(bert, [*texts, replace(TEXTS[0], answer="")], NEURONS)
    assert found.texts["prob"].to_pylist() == [None] * 4
    assert found.correlation is None
    assert any("3 texts have an answer of several tokens" in w for w in found.card.warnings)


def test_a_planted_neuron_that_fires_everywhere_is_seen(tmp_path):
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    before = specimen.fingerprint
    found = activations(specimen, TEXTS, [(2, 7)])
    fires = torch.nn.functional.gelu(torch.tensor(2.0)).item()
    np.testing.assert_allclose(values_of(found), fires, rtol=1e-5)
    assert specimen.fingerprint == before
    assert found.correlation is None  # equal values have no ranks


def test_runs_hold_all_texts_in_the_memory_with_little_padding():
    lengths = sorted(np.random.default_rng(0).integers(5, 200, size=300).tolist(), reverse=True)
    runs = _runs(lengths, most_tokens=4000)
    assert [number for run in runs for number in run] == list(range(300))
    padded = [len(run) * lengths[run[0]] for run in runs]
    assert max(padded) <= 4000
    assert sum(padded) < 1.25 * sum(lengths)
    assert _runs([9, 8], most_tokens=1) == [range(1), range(1, 2)]


def test_a_gated_model_is_warned_about_and_compared_by_size():
    specimen = specimen_of("modernbert")
    everyone = [(1, neuron) for neuron in range(48)]
    signed = activations(specimen, TEXTS, everyone)
    assert values_of(signed).min() < -0.3
    (warning,) = signed.card.warnings
    assert "magnitude=True" in warning
    sizes = activations(specimen, TEXTS, everyone, magnitude=True)
    assert sizes.card.warnings == ()
    np.testing.assert_array_equal(values_of(sizes), values_of(signed))
    wanted = np.abs(values_of(signed)).mean(axis=1)
    np.testing.assert_allclose(sizes.texts["mean"].to_numpy(), wanted)
    assert sizes.kinds[0].mean.estimate == pytest.approx(wanted.mean())
    assert "size of the activation" in sizes.plot().get_xlabel()


def value(text: str, number: float, *, kind="head-and-tail", relation="P36", subject="a", prob=0.5):
    return TextValues(
        text=f"{text} [MASK]", kind=kind, relation=relation, subject=subject, answer="x",
        num_tokens=5, cut=False, prob=prob, neurons=((0, 1), (0, 2)),
        values=np.array([number - 1, number + 1]),
    )  # fmt: skip


def made(values: list[TextValues]) -> Activations:
    found = activations(tiny_masked_lm(), TEXTS[:1], NEURONS)
    return Activations(card=found.card, texts=text_table(values), **summarise(values, seed=0))


VALUES = [
    value("1", 1.0, prob=0.1), value("2", 3.0, prob=0.2), value("3", 6.0, subject="b", prob=0.9),
    value("4", 10.0, relation="P19", prob=0.3),
    value("5", 0.0, kind="random", prob=0.8), value("6", 1.0, kind="random", subject="b"),
    value("7", 4.0, kind="random", relation="P19"),
    value("8", -1.0, kind="head-only"),
]  # fmt: skip


def test_texts_make_facts_and_facts_relations():
    found = made(VALUES)
    assert [each.kind for each in found.kinds] == ["head-and-tail", "head-only", "random"]
    told, head, random = found.kinds
    # facts of P36: (1 + 3) / 2 and 6; of P19: 10
    assert told.mean.estimate == pytest.approx(((2 + 6) / 2 + 10) / 2)
    assert (told.num_texts, told.num_facts, told.num_relations) == (4, 3, 2)
    assert told.mean.low == pytest.approx((2 + 10) / 2)  # the fact "a" drawn twice
    assert told.mean.high == pytest.approx((6 + 10) / 2)
    assert told.prob == pytest.approx(((0.15 + 0.9) / 2 + 0.3) / 2)
    assert told.correlation == rank_correlation(
        np.array([1, 3, 6, 10]), np.array([0.1, 0.2, 0.9, 0.3])
    )
    assert (head.mean.estimate, head.correlation) == (-1, None)
    assert random.mean.estimate == pytest.approx((0.5 + 4) / 2)
    (against,) = found.differences  # with head-only no two facts are shared
    assert (against.other, against.num_facts) == ("random", 3)
    assert against.difference.mean.estimate == pytest.approx((2 + 5 + 6) / 3)
    assert "clearly higher in head-and-tail than in random" in found.verdict
    # only the first fact has three texts
    first = [VALUES[0], VALUES[1], VALUES[4], VALUES[7]]
    rho = rank_correlation(
        np.array([v.values.mean() for v in first]), np.array([v.prob for v in first])
    )
    assert found.within_facts is not None
    assert found.within_facts.estimate == pytest.approx(rho)


def test_a_single_fact_takes_its_texts_anew():
    found = made(VALUES[:2])
    (told,) = found.kinds
    assert (told.mean.low, told.mean.high) == (1.0, 3.0)
    assert found.differences == ()
    assert found.within_facts is None


def test_texts_are_ranked_by_the_sum():
    found = made(VALUES)
    ranked = found.ranked().to_pylist()
    assert [row["total"] for row in ranked] == [20, 12, 8, 6, 2, 2, 0, -2]
    ends = found.ranked(1).to_pylist()
    assert [(row["rank"], row["total"]) for row in ends] == [(1, 20), (8, -2)]
    assert found.ranked(1, kind="head-only").num_rows == 1
    assert found.ranked(kind="random", subject="b")["total"].to_pylist() == [2]
    for bad in ({"kind": "told"}, {"subject": "c"}, {"num_texts": 0}):
        with pytest.raises(VesaliusError):
            found.ranked(**bad)


def test_saved_and_drawn(tmp_path):
    odd = replace(VALUES[0], text="</script> <b> [MASK] " + "x" * 300, prob=math.nan)
    found = made([odd, *VALUES[1:]])
    again = load_result(found.save(tmp_path / "saved"))
    assert isinstance(again, Activations)
    assert again.texts.equals(found.texts)
    assert again.kinds == found.kinds
    assert again.to_table().equals(found.to_table())
    page = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert page.count("<img") == 1
    assert "</script> <b>" not in page
    assert "x" * 200 not in page
    assert found.verdict in page
    with pytest.raises(VesaliusError, match="exists"):
        found.to_html(tmp_path / "page.html")
    names = [text.get_text() for text in found.plot().get_yticklabels()]
    assert names == ["head-and-tail (4)", "head-only (1)", "random (3)"]
    assert "a light dot is a text" in made(VALUES[:2]).plot().get_xlabel()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: activations(s, [], NEURONS), "no texts"),
        (lambda s: activations(s, TEXTS, []), "no neurons"),
        (lambda s: activations(s, TEXTS, [(3, 0)]), "neuron 0 of layer 3"),
        (lambda s: activations(s, TEXTS, NEURONS, most_tokens=3), "most_tokens=3"),
        (lambda s: activations(s, TEXTS, NEURONS, memory="much"), "much"),
        (lambda s: activations(replace(s, task="classifier"), TEXTS, NEURONS), "'classifier'"),
        (lambda s: activations(replace(s, tokenizer=None), TEXTS, NEURONS), "tokenizer"),
        (lambda s: window_around_gap(s, "no gap", max_tokens=20), "0 masks"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, bert: Specimen, call, said: str):
    with pytest.raises(VesaliusError) as caught:
        call(bert)
    assert said in str(caught.value)
