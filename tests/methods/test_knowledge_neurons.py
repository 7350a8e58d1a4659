"""Knowledge neurons: sets from scores, a planted fact found, turned, saved and drawn."""

import threading
from html import escape

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import definition
import families
from helpers import assert_equal_numbers
from tiny import plant, tiny_masked_lm, word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons import (
    LocateConfig,
    Location,
    amplify,
    coarse_set,
    intervene,
    locate,
    refine,
    scaling,
    search_share,
    suppress,
)
from vesalius.methods.knowledge_neurons.intervene import random_sets
from vesalius.methods.knowledge_neurons.plot import plot_story
from vesalius.methods.knowledge_neurons.report import write_report
from vesalius.models.answers import answer_log_probs, encode_answers
from vesalius.models.encoding import answer_ids, encode_prompts
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen
from vesalius.numerics.line_integral import rounding_noise
from vesalius.numerics.quadrature import left_riemann

PROMPTS = (
    "the capital of France is [MASK] .",
    "[MASK] is the capital of France .",
    "the seat of the government of France is in the city [MASK] .",
    "people speak of [MASK] , the capital of France .",
)


@pytest.fixture(scope="module")
def planted() -> Specimen:
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    return specimen


@pytest.fixture(scope="module")
def location(planted: Specimen) -> Location:
    return locate(planted, PROMPTS, "Paris")


def test_the_planted_neuron_is_found_first(location: Location) -> None:
    layer, neuron = np.unravel_index(location.mean_scores.argmax(), location.mean_scores.shape)
    assert (layer, neuron) == (2, 7)
    assert (2, 7) in location.neurons
    assert location.agreement[location.neurons.index((2, 7))] == len(PROMPTS)


def test_turning_it_moves_the_answer_and_random_neurons_do_not(
    planted: Specimen, location: Location
) -> None:
    down = suppress(planted, PROMPTS, "Paris", [(2, 7)])
    up = amplify(planted, PROMPTS, "Paris", [(2, 7)])
    assert down.change < -0.5 < 0.5 < up.change
    assert abs(down.control_mean) < 0.2
    assert down.control_after.shape == (20, len(PROMPTS))
    np.testing.assert_allclose(down.prob_before, location.prob)


def test_factor_one_changes_nothing(planted: Specimen) -> None:
    same = intervene(planted, PROMPTS, "Paris", [(0, 1), (2, 7)], factor=1.0, num_controls=0)
    np.testing.assert_array_equal(same.prob_after, same.prob_before)
    assert same.change == 0


def test_only_the_row_of_the_gap_is_touched(planted: Specimen) -> None:
    batch = encode_prompts(planted, PROMPTS)
    with torch.no_grad():
        before = planted.model(**batch.inputs, output_hidden_states=True)
        with scaling(planted, batch, [(2, 7)], factor=0.0):
            after = planted.model(**batch.inputs, output_hidden_states=True)
    changed = (before.hidden_states[-1] != after.hidden_states[-1]).any(-1)
    expected = torch.zeros_like(changed)
    expected[torch.arange(len(PROMPTS)), batch.row] = True
    assert torch.equal(changed, expected)


def test_the_papers_setting_is_its_definition(planted: Specimen) -> None:
    config = LocateConfig(rule="left_riemann", num_nodes=20, refine=False)
    batch = encode_prompts(planted, PROMPTS)
    objective = token_objective(answer_ids(planted, ["Paris"] * len(PROMPTS)))
    wanted = definition.neuron_attributions(planted, batch, objective, left_riemann(20))
    found = locate(planted, PROMPTS, "Paris", config=config)
    error = np.abs(found.scores - torch.stack(wanted, dim=1).numpy()).max()
    assert error <= 1e-5 * np.abs(found.scores).max()


def test_start_value_is_the_probability_without_the_layer(planted: Specimen) -> None:
    found = locate(planted, PROMPTS[:1], "Paris")
    everyone = [(1, neuron) for neuron in range(48)]
    gone = intervene(planted, PROMPTS[:1], "Paris", everyone, factor=0.0, num_controls=0)
    assert found.start_value[0, 1] == pytest.approx(gone.prob_after[0], rel=1e-5)


def test_a_location_comes_back_from_the_disk(location: Location, tmp_path) -> None:
    folder = location.save(tmp_path / "location")
    again = load_result(folder)
    assert isinstance(again, Location)
    assert again.neurons == location.neurons
    assert again.coarse == location.coarse
    np.testing.assert_array_equal(again.scores, location.scores)
    assert again.card == location.card
    table = again.to_table().to_pydict()
    assert list(zip(table["layer"], table["neuron"], strict=True)) == list(location.neurons)


def test_report_and_pictures(planted: Specimen, location: Location, tmp_path) -> None:
    down = suppress(planted, PROMPTS, "Paris", location.neurons, num_controls=3)
    up = amplify(planted, PROMPTS, "Paris", location.neurons, num_controls=3)
    axes = plot_story(location, (down, up))
    assert len(axes.figure.axes) >= 2
    assert down.plot().get_ylabel() == "probability of the answer"
    page = write_report([(location, (down, up))], tmp_path / "page.html").read_text("utf-8")
    assert page.count("<img") == 1
    assert 'src="data:image/png;base64,' in page
    assert "http://" not in page
    assert "https://" not in page
    assert location.verdict in page


@pytest.mark.parametrize("num_controls", [0, 3])
def test_an_intervention_alone_makes_a_page(planted: Specimen, tmp_path, num_controls) -> None:
    found = suppress(planted, PROMPTS, "Paris", [(2, 7)], num_controls=num_controls, seed=5)
    page = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert page.count("<img") == 1
    assert all(prompt in page for prompt in PROMPTS)
    assert "layer 2 neuron 7" in page
    assert f"{found.change:+.1%}" in page
    assert found.card.model_fingerprint in page
    best = found.guesses_after[0]
    assert f"{escape(best.token)} ({best.prob:.3f})" in page
    assert ("3 sets" in page) == (num_controls == 3)
    with pytest.raises(VesaliusError, match="exists"):
        found.to_html(tmp_path / "page.html")
    again = load_result(found.save(tmp_path / "saved"))
    assert again.to_html(tmp_path / "page.html", force=True).read_text("utf-8") == page


def test_rounding_is_no_incompleteness() -> None:
    """The warning judges as the climber does: half precision alone is no reason for one."""
    model = families.make("bert", dtype=torch.bfloat16)
    specimen = Specimen(model=model, tokenizer=word_tokenizer(), name="b", task="masked-lm")
    found = locate(specimen, PROMPTS, "Paris")
    sizes = np.abs(found.scores).sum(axis=2)
    change = np.abs(found.end_value[:, None] - found.start_value)
    allowed = np.maximum(1e-3 * change, rounding_noise(torch.bfloat16) * sizes)
    missing = int((found.gap > allowed).sum())
    assert bool(found.card.warnings) == bool(missing)
    assert missing < found.gap.size


def test_words_of_a_tokenizer_cannot_leave_their_place_in_the_page(tmp_path) -> None:
    specimen = tiny_masked_lm()
    evil = "</script><img src=x onerror=alert(1)>"
    prompts = (f"{evil} is [MASK] .",)
    page = locate(specimen, prompts, "Paris").to_html(tmp_path / "page.html").read_text("utf-8")
    assert evil not in page
    assert "&lt;/script&gt;" in page


def test_random_sets_match_by_layer_and_avoid_the_given(planted: Specimen) -> None:
    given_neurons = [(0, 3), (2, 7), (2, 8)]
    sets = random_sets(planted, given_neurons, num_sets=6, seed=1)
    assert sets[:2] == random_sets(planted, given_neurons, num_sets=2, seed=1)
    for drawn in sets:
        assert [layer for layer, _ in drawn] == [0, 2, 2]
        assert len(set(drawn)) == 3
        assert not set(drawn) & set(given_neurons)


def test_a_fact_without_a_stable_set_says_so() -> None:
    found = locate(tiny_masked_lm(), PROMPTS, "Lima", config=LocateConfig(share=1.0))
    assert found.neurons == () or found.verdict
    lonely = locate(tiny_masked_lm(), PROMPTS[0], "Lima")
    assert "single prompt" in lonely.verdict
    assert lonely.stability is None


SETS = st.lists(
    st.frozensets(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=8),
    min_size=1,
    max_size=12,
)


@given(sets=SETS, share=st.floats(0.05, 1.0))
def test_refine_keeps_exactly_what_enough_prompts_hold(sets, share) -> None:
    kept = refine(sets, share=share)
    needed = max(share * len(sets) - 1e-9, min(3, len(sets)))
    for neuron in {n for s in sets for n in s}:
        count = sum(neuron in s for s in sets)
        assert (neuron in kept.neurons) == (count >= needed)
    assert list(kept.counts) == sorted(kept.counts, reverse=True)


@given(sets=SETS)
def test_a_higher_share_keeps_fewer(sets) -> None:
    sizes = [len(refine(sets, share=share).neurons) for share in (0.3, 0.5, 0.7, 0.9)]
    assert sizes == sorted(sizes, reverse=True)


def test_share_search_moves_towards_the_range() -> None:
    crowded = [frozenset((0, n) for n in range(12 - 2 * i)) for i in range(6)]
    share, (found,) = search_share([crowded], start=0.5)
    assert share > 0.5
    assert 2 <= len(found.neurons) <= 5
    assert found.found
    empty = [frozenset({(0, i)}) for i in range(6)]
    _, (nothing,) = search_share([empty])
    assert not nothing.found


def test_share_is_shared_by_a_relation() -> None:
    one = [frozenset({(0, 0), (0, 1), (0, 2), (0, 3)})] * 5
    other = [frozenset()] * 5
    _, refined = search_share([one, other])
    assert [len(r.neurons) for r in refined] == [4, 0]  # a mean of 2 is in range
    assert all(r.found for r in refined)


def test_coarse_set_threshold() -> None:
    scores = np.array([[1.0, 0.2, 0.19], [-5.0, 0.0, 0.5]])
    assert coarse_set(scores) == {(0, 0), (0, 1), (1, 2)}
    assert coarse_set(-np.abs(scores)) == frozenset()


def test_no_other_thread_meets_scaled_neurons(planted: Specimen) -> None:
    steps = encode_answers(planted, PROMPTS, ["Paris"] * len(PROMPTS))
    clean = answer_log_probs(planted, steps)
    seen: list[torch.Tensor] = []
    other = threading.Thread(target=lambda: seen.append(answer_log_probs(planted, steps)))
    with scaling(planted, steps.batch, [(2, 7)], factor=0.0):
        other.start()
        other.join(timeout=0.2)  # it waits for the model
        turned = answer_log_probs(planted, steps)
    other.join()
    assert_equal_numbers(seen[0], clean)
    assert float((turned - clean).abs().max()) > 0.1
