"""Heads removed: which, in what order, and a masking curve that is that of a smaller model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention_tiny import PROMPTS, TEXTS, classifier, language_model
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    HeadImportance,
    PruneCurve,
    head_importance,
    prune,
    prune_curve,
    removal_units,
)
from vesalius.methods.attention_attribution.pruning import first_share, importance_of, rank_units
from vesalius.models.ladder import run_model
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts

QUICK = AttributeConfig(num_nodes=2, refine=False)
HELD_OUT = ("Paris is the city", "a a a", "The country has its government", "London?", "b c")
LABELS = [0, 2, 1, 0, 2]


def measured(specimen: Specimen, **given: object) -> HeadImportance:
    return head_importance(specimen, TEXTS, labels=LABELS, config=QUICK, **given)  # type: ignore[arg-type]


# --- units and orders


def test_units_are_heads_groups_or_heads_of_a_shared_module() -> None:
    assert removal_units(classifier("bert")) == (((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),))
    # 4 heads share 2 keys and values
    assert removal_units(classifier("llama")) == (
        ((0, 0), (0, 1)), ((0, 2), (0, 3)), ((1, 0), (1, 1)), ((1, 2), (1, 3)),
    )  # fmt: skip
    # one module runs in both layers
    assert removal_units(classifier("albert")) == (((0, 0), (1, 0)), ((0, 1), (1, 1)))


def test_units_are_ranked_by_the_mean_of_their_heads() -> None:
    importance = np.array([[0.0, 9.0, 4.0, 4.0], [1.0, 1.0, -1.0, 0.0]])
    units = removal_units(classifier("llama"))
    assert rank_units(importance, units) == (
        ((1, 2), (1, 3)), ((1, 0), (1, 1)), ((0, 2), (0, 3)), ((0, 0), (0, 1)),
    )  # fmt: skip
    ties = rank_units(np.zeros((2, 4)), units)
    assert ties == units


@given(st.integers(1, 30), st.floats(0, 1))
def test_a_share_of_single_heads_is_rounded(num_heads: int, share: float) -> None:
    ranked = tuple(((0, head),) for head in range(num_heads))
    taken = first_share(ranked, share=share)
    assert abs(len(taken) - share * num_heads) <= 0.5 + 1e-6
    assert taken == tuple((0, head) for head in range(len(taken)))


def test_a_share_of_groups_is_the_nearest_number_of_heads() -> None:
    ranked = tuple(((0, 2 * i), (0, 2 * i + 1)) for i in range(4))
    sizes = {share: len(first_share(ranked, share=share)) for share in (0, 0.12, 0.13, 0.5, 0.9, 1)}
    assert sizes == {0: 0, 0.12: 0, 0.13: 2, 0.5: 4, 0.9: 8, 1: 8}
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(VesaliusError, match="share="):
            first_share(ranked, share=share)


def test_importance_must_belong_to_the_model() -> None:
    specimen = classifier()
    found = measured(specimen)
    np.testing.assert_array_equal(importance_of(specimen, found), found.importance())
    other = classifier()
    other.model.classifier.bias.data += 1
    with pytest.raises(VesaliusError, match="measured on this very model"):
        importance_of(other, found)
    for wrong in (np.zeros((2, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(VesaliusError, match="importance of shape"):
            importance_of(specimen, wrong)


# --- for real


@pytest.mark.parametrize("kind", ["bert", "llama", "albert", "gpt2"])
def test_the_curve_is_the_accuracy_of_smaller_models(kind: str) -> None:
    specimen = classifier(kind)
    importance = measured(specimen)
    shares = (0.0, 0.25, 0.5)
    for memory in ("1KiB", "1GiB"):
        curve = prune_curve(
            specimen, HELD_OUT, importance, labels=LABELS, orders=["max", "taylor"],
            shares=shares, num_random=0, memory=memory,
        )  # fmt: skip
        assert curve.orders == ("max", "taylor")
        for row, name in enumerate(curve.orders):
            for column, share in enumerate(shares):
                smaller = prune(specimen, importance, share=share, by=name)
                batch = encode_texts(smaller.specimen, HELD_OUT)
                with smaller.specimen.at_rest(), torch.no_grad():
                    answers = run_model(smaller.specimen.model, batch).logits.argmax(1)
                right = (answers == torch.tensor(LABELS)).tolist()
                assert curve.right[row, column].tolist() == right
                estimate = curve.accuracy(name)[column].estimate
                assert estimate == pytest.approx(np.mean(right))
    assert curve.majority == 0.4


def test_pruning_leaves_the_given_model_alone() -> None:
    specimen = classifier()
    before = specimen.fingerprint
    found = prune(specimen, np.array([[0.0, 1], [2, 3]]), share=0.25)
    assert specimen.fingerprint == before
    assert found.removed == ((0, 0),)
    assert found.num_heads == 4
    assert found.num_weights_after < found.num_weights_before


# --- the curve


def test_random_orders_come_from_the_seed_and_are_averaged() -> None:
    specimen = classifier()
    importance = measured(specimen)
    one, again, other = (
        prune_curve(
            specimen, HELD_OUT, importance, labels=LABELS, orders=[], num_random=6, seed=seed
        )
        for seed in (1, 1, 2)
    )
    assert one.orders == ("random",)
    np.testing.assert_array_equal(one.right, again.right)
    assert not np.array_equal(one.right, other.right)
    assert set(np.unique(one.right * 6).round(6).tolist()) <= set(range(7))
    # with none and with all heads removed every order is the same
    assert set(np.unique(one.right[0, [0, -1]]).tolist()) <= {0.0, 1.0}


def test_usual_orders_and_differences() -> None:
    specimen = classifier()
    curve = prune_curve(specimen, HELD_OUT, measured(specimen), labels=LABELS, num_random=2)
    assert curve.orders == ("max", "attention", "taylor", "accuracy-difference", "random")
    assert curve.right.shape == (5, 11, 5)
    assert (curve.right[:, 0] == curve.right[:1, 0]).all()
    inner = curve.right[:, 1:-1].mean(axis=1)
    found = curve.difference("max", "random")
    assert found.mean.estimate == pytest.approx(float((inner[0] - inner[4]).mean()))
    with pytest.raises(VesaliusError, match="order 'sum'"):
        curve.difference("max", "sum")
    with pytest.raises(VesaliusError, match="order 'sum'"):
        curve.accuracy("sum")
    assert curve.to_table().num_rows == 55
    assert "random" in curve.verdict


def test_texts_that_importance_saw_are_refused() -> None:
    specimen = classifier()
    importance = measured(specimen)
    with pytest.raises(VesaliusError, match="1 texts that the importance"):
        prune_curve(specimen, [*HELD_OUT[:4], TEXTS[2]], importance, labels=LABELS)
    batch = encode_texts(specimen, TEXTS[:2])
    from_batch = head_importance(specimen, batch, labels=LABELS[:2], config=QUICK)
    wider = encode_texts(specimen, [TEXTS[1]])
    with pytest.raises(VesaliusError, match="1 texts that the importance"):
        prune_curve(specimen, wider, from_batch, labels=[0])


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"orders": ["luck"]}, "importance by 'luck'"),
        ({"shares": [0.5, 1.5]}, "share=1.5"),
        ({"shares": []}, "0 shares"),
        ({"orders": [], "num_random": 0}, "0 orders"),
        ({"num_random": -1}, "num_random=-1"),
        ({"labels": [0, 1]}, "2 targets for 5 texts"),
        ({"labels": "maybe"}, "class 'maybe'"),
    ],
)
def test_odd_curves_are_refused(given: dict, message: str) -> None:
    specimen = classifier()
    with pytest.raises(VesaliusError, match=message):
        prune_curve(specimen, HELD_OUT, measured(specimen), **{"labels": LABELS, **given})


def test_language_models_have_curves_too() -> None:
    specimen = language_model()
    importance = head_importance(specimen, PROMPTS[:2], labels="Paris", config=QUICK)
    curve = prune_curve(
        specimen, PROMPTS[2:], importance, labels="Paris", shares=(0.0, 1.0), num_random=1
    )
    assert curve.right.shape == (5, 2, 1)
    assert curve.majority == 1.0


def test_a_curve_is_saved_and_loaded(tmp_path: Path) -> None:
    specimen = classifier()
    curve = prune_curve(
        specimen, HELD_OUT, measured(specimen), labels=LABELS, shares=(0.5,), num_random=1
    )
    curve.save(tmp_path / "kept")
    again = load_result(tmp_path / "kept")
    assert isinstance(again, PruneCurve)
    assert again.to_table() == curve.to_table()
    assert replace(again, card=curve.card).verdict == curve.verdict
