"""Advice on calibrators: its numbers, its rules one by one, its use on planted texts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.advice import advise, mixture_shares
from vesalius.methods.calibration.calibrators import (
    BatchCalibration,
    PrototypicalCalibration,
    Uncalibrated,
)


def planted(num_labels: int, num_texts: int, *, shares=None, distance: float = 4.0, seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = generator.choice(num_labels, size=num_texts, p=shares)
    logits = distance * np.eye(num_labels)[labels] + generator.normal(size=(num_texts, num_labels))
    return log_softmax(logits + 0.5 * np.arange(num_labels), axis=1), labels


def fitted(scores: np.ndarray) -> dict:
    return {
        "none": Uncalibrated().fit(scores),
        "batch": BatchCalibration().fit(scores),
        "prototypical": PrototypicalCalibration(num_restarts=10).fit(scores),
    }


def test_the_numbers_are_what_they_say():
    scores, _ = planted(3, 90)
    predictions = {"mine": np.arange(90) % 3, "yours": np.zeros(90, dtype=int)}
    advice = advise(scores, calibrators=fitted(scores), predictions=predictions)
    assert (advice.num_texts, advice.num_labels, advice.texts_per_class) == (90, 3, 30)
    assert advice.texts_per_parameter == 90 / 29
    assert advice.methods == ("none", "batch", "prototypical", "mine", "yours")
    assert_allclose(np.diag(advice.agreement), 1)
    assert advice.agreement_of("mine", "yours") == pytest.approx(1 / 3)
    assert advice.predicted_shares["mine"] == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert advice.predicted_shares["yours"] == (1, 0, 0)
    assert advice.shares_from == "prototypical"
    assert sum(advice.shares) == pytest.approx(1)
    assert advice.imbalance == pytest.approx(max(advice.shares) / min(advice.shares))
    with pytest.raises(VesaliusError, match="platt"):
        advice.agreement_of("mine", "platt")


def test_plain_scores_are_enough():
    scores, _ = planted(3, 90)
    advice = advise(scores)
    assert advice.methods == ("none", "batch")
    assert advice.shares_from == "batch"
    assert advice.recommended == "batch"


def test_class_shares_come_from_the_weights_in_the_order_of_the_labels():
    scores, labels = planted(3, 600, shares=(0.6, 0.3, 0.1), distance=9.0)
    found = mixture_shares(PrototypicalCalibration(num_restarts=10).fit(scores))
    assert found == pytest.approx(np.bincount(labels) / 600, abs=0.02)


@pytest.mark.parametrize(
    ("num_labels", "num_texts", "shares", "distance", "recommended", "said"),
    [
        (3, 6, None, 4.0, "domain-context", "fewer than the 10"),
        (3, 90, None, 6.0, "batch", "safe choice"),
        (3, 600, None, 6.0, "prototypical", "200 texts per class"),
        (2, 100, (0.9, 0.1), 6.0, "prototypical", "a mean over the texts leans"),
        (6, 240, (0.7, 0.1, 0.05, 0.05, 0.05, 0.05), 9.0, "batch", "loses the small ones"),
        (6, 60, None, 1.0, "batch", "trust neither far"),
    ],
)
def test_the_rules(num_labels, num_texts, shares, distance, recommended, said):
    scores, _ = planted(num_labels, num_texts, shares=shares, distance=distance)
    advice = advise(scores, calibrators=fitted(scores))
    assert advice.recommended == recommended
    assert any(said in reason for reason in advice.reasons), advice.reasons
    assert all(reason.endswith(".") for reason in advice.reasons)


def test_one_sided_answers_and_absent_classes_are_said():
    scores, _ = planted(3, 300, shares=(0.5, 0.5, 0.0), distance=8.0)
    biased = log_softmax(scores + np.array([20.0, 0, 0]), axis=1)
    advice = advise(biased, predictions={"batch": np.arange(300) % 2})
    text = " ".join(advice.reasons)
    assert "class 0 gets 100% of the texts" in text
    assert "Class 2 is estimated at 0.0%" in text
    assert np.isfinite(advice.imbalance)


def test_the_advice_is_worth_following():
    """Over planted texts of many kinds: hardly worse than the better of the two, on average."""
    lost, worst = [], []
    for num_labels, per_class in ((2, 30), (2, 120), (5, 30), (5, 120)):
        uneven = (2.0 * num_labels, *[1.0] * (num_labels - 1))
        for shares in (None, tuple(np.array(uneven) / sum(uneven))):
            scores, _ = planted(num_labels, num_labels * per_class, shares=shares)
            test, answers = planted(num_labels, 1000, seed=1)
            calibrators = fitted(scores)
            right = {name: one.score(test, answers) for name, one in calibrators.items()}
            best = max(right["batch"], right["prototypical"])
            lost.append(best - right[advise(scores, calibrators=calibrators).recommended])
            worst.append(best - min(right["batch"], right["prototypical"]))
    assert np.mean(lost) < 0.3 * np.mean(worst)


@pytest.mark.usefixtures("as_users_call_it")
def test_bad_input_is_named():
    scores, _ = planted(3, 30)
    with pytest.raises(VesaliusError, match="labels of"):
        advise(scores, predictions={"mine": np.zeros(7, dtype=int)})
    with pytest.raises(VesaliusError, match="not fitted"):
        advise(scores, calibrators={"batch": BatchCalibration()})
    with pytest.raises(VesaliusError, match="scores of 3 labels"):
        advise(scores, calibrators={"batch": BatchCalibration().fit(scores[:, :2])})
    with pytest.raises(VesaliusError, match="nan at row 0"):
        advise(scores * np.nan)
