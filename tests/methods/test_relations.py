"""Suppression relation by relation: ratios of means against the numbers of single interventions."""

import numpy as np
import pytest

from tiny import plant, tiny_masked_lm
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons import intervene
from vesalius.methods.knowledge_neurons.relations import (
    HeldFact,
    RelationChanges,
    intervene_relations,
)
from vesalius.models.specimen import Specimen

FACTS = (
    HeldFact(
        name="france", relation="capital", answer="Paris", neurons=((2, 7),),
        prompts=("the capital of France is [MASK] .", "[MASK] is the capital of France ."),
    ),
    HeldFact(
        name="italy", relation="capital", answer="Rome", neurons=((1, 3), (2, 9)),
        prompts=("the capital of Italy is [MASK] .",),
    ),
    HeldFact(
        name="peru", relation="city", answer="Lima", neurons=((0, 5),),
        prompts=("one city of Peru is [MASK] .", "a city of Peru is [MASK] ."),
    ),
    HeldFact(name="spain", relation="city", answer="Madrid", neurons=(), prompts=("[MASK]",)),
)  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Specimen:
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    return specimen


@pytest.fixture(scope="module")
def found(planted: Specimen) -> RelationChanges:
    return intervene_relations(planted, FACTS, factor=0.0, num_controls=3)


def by_hand(planted: Specimen, asked: HeldFact, neurons: tuple) -> tuple[np.ndarray, np.ndarray]:
    one = intervene(planted, asked.prompts, asked.answer, neurons, factor=0.0, num_controls=0)
    return one.prob_before, one.prob_after


def test_a_relation_is_a_ratio_of_means_over_all_its_prompts(
    planted: Specimen, found: RelationChanges
) -> None:
    pairs = [by_hand(planted, fact, fact.neurons) for fact in FACTS[:2]]
    before = np.concatenate([pair[0] for pair in pairs])
    after = np.concatenate([pair[1] for pair in pairs])
    assert found.relations == ("capital", "city")
    assert found.change[0, 0] == pytest.approx((after - before).mean() / before.mean(), rel=1e-4)
    assert found.num_facts.tolist() == [2, 1]
    assert found.num_prompts.tolist() == [3, 2]
    assert found.num_empty == 1
    assert found.change[0, 0] < -0.3 < found.change[2, 0]


def test_crossed_neurons_visit_another_relation(planted: Specimen, found: RelationChanges) -> None:
    crossed = [row for row in found.facts.to_pylist() if row["kind"] == "crossed"]
    assert {row["fact"] for row in crossed} == {"france", "italy", "peru"}
    facts = {fact.name: fact for fact in FACTS}
    for row in crossed:
        assert facts[row["asked"]].relation != row["relation"]
        before, after = by_hand(planted, facts[row["asked"]], facts[row["fact"]].neurons)
        assert row["prob_change"] == pytest.approx((after - before).mean(), rel=1e-3, abs=1e-7)


def test_it_is_saved_drawn_and_repeatable(
    planted: Specimen, found: RelationChanges, tmp_path
) -> None:
    again = load_result(found.save(tmp_path / "relations"))
    assert isinstance(again, RelationChanges)
    np.testing.assert_array_equal(again.change, found.change)
    assert again.overall == found.overall
    assert found.to_table().num_rows == 2
    assert found.plot() is not None
    same = intervene_relations(planted, FACTS, factor=0.0, num_controls=3)
    np.testing.assert_array_equal(same.low, found.low)
    np.testing.assert_array_equal(same.change, found.change)


def test_one_relation_has_no_other(planted: Specimen, tmp_path) -> None:
    alone = intervene_relations(planted, FACTS[:2], factor=2.0)
    assert np.isnan(alone.change[1]).all()
    assert alone.overall[1] is None
    assert alone.overall[0].estimate > 0
    assert alone.plot() is not None
    assert "2 facts of capital, neurons times 2, interval over facts" in alone.verdict
    again = load_result(alone.save(tmp_path / "alone"))
    assert np.isnan(again.change[1]).all()


def test_nothing_to_turn_is_refused(planted: Specimen) -> None:
    with pytest.raises(VesaliusError, match="0 facts with neurons of 1"):
        intervene_relations(planted, FACTS[3:], factor=0.0)
    with pytest.raises(VesaliusError, match="num_controls=0"):
        intervene_relations(planted, FACTS, factor=0.0, num_controls=0)


def test_an_answer_of_several_tokens_is_read_in_all_of_them(planted: Specimen) -> None:
    long = HeldFact(
        name="long", relation="capital", answer="Paris France", neurons=((2, 7),),
        prompts=("the capital of France is [MASK] .",),
    )  # fmt: skip
    found = intervene_relations(planted, [long], factor=0.0)
    alone = intervene(
        planted, long.prompts, long.answer, long.neurons, factor=0.0, num_controls=0,
        several_tokens=True,
    )  # fmt: skip
    np.testing.assert_allclose(found.change[0], [alone.change], rtol=1e-4)
