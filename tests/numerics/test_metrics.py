"""Metrics against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from vesalius.core.errors import VesaliusError
from vesalius.numerics.metrics import (
    accuracy,
    brier_score,
    calibration_error,
    grouped_accuracy,
    majority_accuracy,
    nll_nats,
)


def test_groups_count_the_same_in_macro_and_by_size_in_micro():
    right = np.array([True, True, True, False, False])
    made = grouped_accuracy(right, ["big", "big", "big", "big", "small"])
    assert (made.micro, made.macro) == (0.6, 0.375)
    assert made.by_group == {"big": 0.75, "small": 0.0}
    assert made.num_items == {"big": 4, "small": 1}


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), min_size=1))
def test_no_constant_guess_beats_the_majority(items: list[tuple[int, str]]):
    answers, groups = zip(*items, strict=True)
    best = majority_accuracy(answers, groups)
    for guess in range(4):
        made = grouped_accuracy(np.array(answers) == guess, groups)
        assert all(made.by_group[name] <= best.by_group[name] for name in best.by_group)


@pytest.mark.parametrize("num_labels", [2, 100])
def test_a_uniform_guess_costs_log_n_nats(num_labels: int):
    """In nats, not bits: exp of it is the number of choices."""
    probs = np.full((3, num_labels), 1 / num_labels)
    answers = np.array([0, 1, 1])
    assert_allclose(math.exp(nll_nats(probs, answers)), num_labels, rtol=1e-12)
    assert_allclose(brier_score(probs, answers), 1 - 1 / num_labels, rtol=1e-12)


def test_certainty_costs_nothing_when_right_and_all_when_wrong():
    probs, answers = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    assert nll_nats(probs, answers) == 0
    assert brier_score(probs, answers) == 0
    assert nll_nats(probs, 1 - answers) == math.inf
    assert brier_score(probs, 1 - answers) == 2


def test_accuracy():
    assert accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.75


def test_calibration_error_in_closed_form():
    """Two bins: 0.8 sure and half right, 0.3 sure and all right."""
    confidence = np.array([0.8, 0.8, 0.3, 0.3])
    right = np.array([True, False, True, True])
    assert_allclose(calibration_error(confidence, right, num_bins=2), (0.3 + 0.7) / 2)
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    upper_ends = np.arange(1, 16) / 15
    assert_allclose(
        calibration_error(upper_ends, np.ones(15, dtype=bool)), 1 - upper_ends.mean(), rtol=1e-12
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.integers(1, 20))
def test_calibration_error_is_at_least_the_gap_of_the_means(items, num_bins: int):
    confidence, right = map(np.array, zip(*items, strict=True))
    error = calibration_error(confidence, right, num_bins=num_bins)
    gap = abs(confidence.mean() - right.mean())
    assert gap - 1e-12 <= error <= 1
    assert_allclose(calibration_error(confidence, right, num_bins=1), gap, atol=1e-12)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    "call",
    [
        lambda: accuracy(np.array([1]), np.array([1, 2])),
        lambda: accuracy(np.empty(0, int), np.empty(0, int)),
        lambda: grouped_accuracy(np.array([True]), []),
        lambda: majority_accuracy([], []),
        lambda: nll_nats(np.array([[3.0, -1.0]]), np.array([0])),
        lambda: nll_nats(np.array([[3.0, -2.0]]), np.array([0])),
        lambda: calibration_error(np.array([1.5]), np.array([True])),
        lambda: calibration_error(np.array([0.5]), np.array([True]), num_bins=0),
    ],
)
def test_mistakes_are_named(call):
    with pytest.raises(VesaliusError):
        call()
