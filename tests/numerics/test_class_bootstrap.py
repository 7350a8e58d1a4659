"""Resampled scores against the plain ones of metrics.py, resample by resample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from vesalius.core.errors import VesaliusError
from vesalius.numerics.class_bootstrap import (
    METRICS,
    contributions,
    percentile_bounds,
    resampled_scores,
    scores_of,
)
from vesalius.numerics.metrics import brier_score, class_scores
from vesalius.numerics.statistics import bootstrap_interval


def made(num_labels: int, num_texts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    probs = random.dirichlet(np.ones(num_labels), size=num_texts)
    return np.log(probs), random.integers(num_labels, size=num_texts)


def plain_scores(log_probs: np.ndarray, answers: np.ndarray) -> list[float]:
    probs = np.exp(log_probs)
    found = class_scores(probs, answers)
    nats, error = found.nll_nats, found.calibration_error
    return [found.accuracy, found.macro_f1, nats, brier_score(probs, answers), error]


@given(st.integers(2, 5), st.integers(1, 25), st.integers(0, 2**31))
def test_every_resample_scores_as_if_its_texts_were_written_out(num_labels, num_texts, seed):
    log_probs, answers = made(num_labels, num_texts, seed)
    parts = contributions(log_probs, log_probs.argmax(axis=1), answers)
    drawn = np.random.default_rng(seed).integers(num_texts, size=(4, num_texts))
    counts = np.stack([np.bincount(row, minlength=num_texts) for row in drawn])
    found = resampled_scores(parts, counts)
    for row, score in zip(drawn, found, strict=True):
        assert_allclose(score, plain_scores(log_probs[row], answers[row]), rtol=1e-9, atol=1e-12)
    whole = scores_of(log_probs, log_probs.argmax(axis=1), answers)
    assert tuple(whole) == METRICS
    expected = plain_scores(log_probs, answers)
    assert_allclose([*whole.values()], expected, rtol=1e-9, atol=1e-12)


def test_scores_in_closed_form():
    """Two of three right, as in the plain definition: 0.9, 0.6 sure and right, 0.8 and wrong."""
    probs = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    found = scores_of(np.log(probs), np.array([0, 1, 0]), np.array([0, 1, 1]))
    assert_allclose(found["accuracy"], 2 / 3)
    assert_allclose(found["macro_f1"], 2 / 3)  # each class: one hit, three mentions
    assert_allclose(found["nll_nats"], -np.log([0.9, 0.6, 0.2]).mean())
    assert_allclose(found["brier"], 2 * np.mean([0.1**2, 0.4**2, 0.8**2]))
    assert_allclose(found["calibration_error"], (0.1 + 0.4 + 0.8) / 3)


def test_a_truth_of_probability_zero_makes_the_nats_infinite_where_it_was_drawn():
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[1.0, 0.0], [0.5, 0.5]]))
    parts = contributions(log_probs, np.array([0, 0]), np.array([1, 1]))
    drawn = np.array([[2, 0], [1, 1], [0, 2]])
    nats = resampled_scores(parts, drawn)[:, METRICS.index("nll_nats")]
    assert nats[0] == nats[1] == np.inf
    assert_allclose(nats[2], np.log(2))
    low, high = percentile_bounds(resampled_scores(parts, drawn), level=0.9)
    assert_allclose(low[2], np.log(2))
    assert high[2] == np.inf
    assert not np.isnan(np.stack([low, high])).any()


def test_bounds_are_those_of_the_plain_bootstrap():
    log_probs, answers = made(3, 60, 0)
    said = log_probs.argmax(axis=1)
    parts = contributions(log_probs, said, answers)
    random = np.random.default_rng(7)
    places = random.integers(60, size=(300, 60))
    counts = np.stack([np.bincount(row, minlength=60) for row in places])
    low, high = percentile_bounds(resampled_scores(parts, counts), level=0.95)
    plain = bootstrap_interval(
        (said == answers).astype(float), generator=np.random.default_rng(7), num_resamples=300
    )
    assert_allclose([low[0], high[0]], [plain.low, plain.high], rtol=1e-12)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("log_probs", "predictions", "answers", "said"),
    [
        (np.zeros((0, 2)), [], [], "0, 0 and 0 texts"),
        (np.log([[0.5, 0.5]]), [0], [0, 1], "1, 1 and 2 texts"),
        (np.zeros((1, 2)), [0], [0], "sum from 2"),
        (np.full((1, 2), np.nan), [0], [0], "sum from nan"),
        (np.log([[0.5, 0.5]]), [0], [2], "answers from 2"),
        (np.log([[0.5, 0.5]]), [-1], [0], "predictions from -1"),
    ],
)
def test_bad_input_is_refused(log_probs, predictions, answers, said):
    with pytest.raises(VesaliusError) as caught:
        contributions(log_probs, np.array(predictions, int), np.array(answers, int))
    assert said in str(caught.value)
