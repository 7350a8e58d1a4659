"""Effect against size: a planted fact stands out from its controls, an absent one does not."""

import numpy as np
import pytest

from tiny import plant, tiny_masked_lm
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons import Evidence, evidence, intervene, locate
from vesalius.models.specimen import Specimen

PROMPTS = (
    "the capital of France is [MASK] .",
    "[MASK] is the capital of France .",
    "people speak of [MASK] , the capital of France .",
)


@pytest.fixture(scope="module")
def planted() -> Specimen:
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    return specimen


@pytest.fixture(scope="module")
def found(planted: Specimen) -> Evidence:
    return evidence(planted, locate(planted, PROMPTS, "Paris"), num_controls=6)


def test_a_planted_neuron_does_it_alone(planted: Specimen, found: Evidence) -> None:
    assert found.ranking[0] == (2, 7)
    assert found.sizes.tolist() == [1, 2, 4, 8, 16, 32]  # half of 3 layers of 48
    suppressed, doubled = found.change[:, 0]
    assert suppressed < -0.5 < 0.5 < doubled
    assert suppressed < found.random_low[0, 0]
    assert suppressed < found.active_low[0, 0]
    assert "more than the controls do" in found.verdict


def test_every_number_is_what_intervening_gives(planted: Specimen, found: Evidence) -> None:
    for number, factor in enumerate(found.factors.tolist()):
        for place, size in enumerate(found.sizes.tolist()):
            alone = intervene(
                planted, PROMPTS, "Paris", found.ranking[:size], factor=factor, num_controls=0
            )
            np.testing.assert_allclose(found.prob_after[number, place], alone.prob_after, rtol=1e-5)
            assert found.change[number, place] == pytest.approx(alone.change, rel=1e-4)
    assert (found.low <= found.change + 1e-9).all()
    assert (found.change <= found.high + 1e-9).all()
    assert found.random_after.shape == (2, len(found.sizes), 6, 3)


def test_controls_hold_none_of_the_neurons(planted: Specimen) -> None:
    from vesalius.methods.knowledge_neurons.evidence import _active_sets

    location = locate(planted, PROMPTS, "Paris")
    given = [(2, 7), (2, 9), (1, 0)]
    activity = np.abs(location.activations).mean(axis=0)
    for drawn in _active_sets(location, given, num_sets=30, seed=1):
        assert not set(drawn) & set(given)
        assert len(set(drawn)) == 3
        for (layer, neuron), (same, other) in zip(given, drawn, strict=True):
            assert layer == same
            gap = abs(activity[layer] - activity[layer, neuron])
            # four are near; those taken by the set itself may push it a few places on
            assert gap[other] <= np.sort(gap)[4 + len(given) + 2]


def test_it_comes_back_from_the_disk_and_draws_itself(found: Evidence, tmp_path) -> None:
    again = load_result(found.save(tmp_path / "evidence"))
    assert isinstance(again, Evidence)
    np.testing.assert_array_equal(again.change, found.change)
    assert again.verdict == found.verdict
    assert found.to_table().num_rows == 2 * len(found.sizes)
    assert found.plot().get_xlabel()


def test_the_same_seed_gives_the_same_numbers(planted: Specimen, found: Evidence) -> None:
    again = evidence(planted, locate(planted, PROMPTS, "Paris"), num_controls=6)
    np.testing.assert_array_equal(again.random_after, found.random_after)
    np.testing.assert_array_equal(again.low, found.low)


def test_one_prompt_has_no_interval(planted: Specimen) -> None:
    single = evidence(planted, locate(planted, PROMPTS[0], "Paris"), num_controls=2, sizes=[1, 2])
    assert np.isnan(single.low).all()
    assert single.plot() is not None


def test_what_has_no_meaning_is_refused(planted: Specimen) -> None:
    location = locate(planted, PROMPTS, "Paris")
    with pytest.raises(VesaliusError, match="sizes="):
        evidence(planted, location, sizes=[4, 2])
    with pytest.raises(VesaliusError, match="num_controls=0"):
        evidence(planted, location, num_controls=0)
    with pytest.raises(VesaliusError, match="locate again"):
        evidence(tiny_masked_lm(seed=5), location)
    for factors in ((), (float("nan"),)):
        with pytest.raises(VesaliusError, match="factors="):
            evidence(planted, location, factors=factors)
