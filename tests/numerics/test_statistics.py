"""Intervals, tests, rankings and sets against closed forms and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from vesalius.core.errors import VesaliusError
from vesalius.numerics import statistics
from vesalius.numerics.statistics import (
    bootstrap_interval,
    holm,
    jaccard,
    paired_difference,
    paired_differences,
    rank_correlation,
    resample_counts,
    sign_flip_p_value,
)

SAMPLES = st.lists(st.integers(-20, 20), min_size=2, max_size=30).map(np.array)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_bootstrap_of_the_mean_finds_the_normal_interval():
    values = generator().normal(3.0, 2.0, size=400)
    interval = bootstrap_interval(values, generator=generator(1), num_resamples=20_000)
    spread = 1.96 * values.std() / np.sqrt(400)
    assert_allclose(interval.low, values.mean() - spread, atol=0.02)
    assert_allclose(interval.high, values.mean() + spread, atol=0.02)
    assert interval.estimate == values.mean()


@given(SAMPLES)
def test_an_interval_lies_within_the_values(values: np.ndarray):
    interval = bootstrap_interval(values, generator=generator(), num_resamples=50)
    assert values.min() <= interval.low <= interval.high <= values.max()


def test_a_constant_sample_has_no_width_and_the_median_works_too():
    interval = bootstrap_interval(np.full(9, 0.25), generator=generator(), statistic=np.median)
    assert (interval.low, interval.estimate, interval.high) == (0.25, 0.25, 0.25)


def test_small_memory_draws_the_same_numbers(monkeypatch: pytest.MonkeyPatch):
    values = generator().normal(size=50)
    whole = bootstrap_interval(values, generator=generator(1))
    monkeypatch.setattr(statistics, "_CHUNK_ENTRIES", 1000)
    assert bootstrap_interval(values, generator=generator(1)) == whole


def test_paired_p_values_agree_with_the_exact_test():
    """Six differences of one sign: 2 of the 64 sign patterns are as extreme, p = 1/32."""
    difference = paired_difference(
        np.arange(1.0, 7.0), np.zeros(6), generator=generator(), num_resamples=40_000
    )
    assert_allclose(difference.p_value, 1 / 32, atol=0.004)
    assert difference.mean.estimate == 3.5
    assert difference.mean.low > 0


def test_no_difference_is_no_evidence():
    same = paired_difference(np.ones(5), np.ones(5), generator=generator())
    assert same.p_value == 1
    assert (same.mean.low, same.mean.high) == (0, 0)


def test_counts_of_a_resample_are_the_draws_of_the_bootstrap(monkeypatch: pytest.MonkeyPatch):
    values = generator().normal(size=40)
    monkeypatch.setattr(statistics, "_CHUNK_ENTRIES", 1000)
    drawn = np.concatenate([*resample_counts(40, generator=generator(1), num_resamples=500)])
    assert drawn.shape == (500, 40)
    assert (drawn.sum(axis=1) == 40).all()
    expected = bootstrap_interval(values, generator=generator(1), num_resamples=500)
    found = np.quantile(drawn @ values / 40, [0.025, 0.975])
    assert_allclose(found, [expected.low, expected.high], rtol=1e-12)


def test_many_paired_differences_are_each_one_of_them():
    first, second = generator(1).normal(size=(30, 3)), generator(2).normal(size=(30, 3))
    second[:, 2] = first[:, 2]
    found = paired_differences(first, second, generator=generator(5), num_resamples=400)
    assert found[2].p_value == 1
    for column, test in enumerate(found):
        one = paired_difference(
            first[:, column], second[:, column], generator=generator(5), num_resamples=400
        )
        assert_allclose(test.p_value, one.p_value, rtol=1e-12)
        for bound in ("estimate", "low", "high"):
            ours, theirs = getattr(test.mean, bound), getattr(one.mean, bound)
            assert_allclose(ours, theirs, rtol=1e-9, atol=1e-15)


def test_few_signs_are_all_tried():
    """Six of one sign: 2 of 64 patterns; five of one sign can do no better than 2 of 32."""
    assert sign_flip_p_value(np.arange(1.0, 7.0), generator=generator()) == 1 / 32
    assert sign_flip_p_value(-np.ones(5), generator=generator()) == 1 / 16
    assert sign_flip_p_value(np.zeros(4), generator=generator()) == 1
    assert sign_flip_p_value(np.array([3.0]), generator=generator()) == 1
    many = generator().normal(0.4, 1.0, size=40)
    expected = paired_difference(many, np.zeros(40), generator=generator(3)).p_value
    assert sign_flip_p_value(many, generator=generator(3)) == expected


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_raises_p_values_and_keeps_their_order(p_values: list[float]):
    raised = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, raised, strict=True))
    assert all(q <= min(1, len(raised) * p + 1e-15) for p, q in zip(p_values, raised, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(raised)[order]) >= 0).all()


@given(SAMPLES, st.randoms(use_true_random=False))
def test_rank_correlation_is_spearmans(first: np.ndarray, random):
    second = np.array(random.choices(range(10), k=len(first)))
    if len(set(first)) == 1 or len(set(second)) == 1:
        with pytest.raises(VesaliusError, match="all equal"):
            rank_correlation(first, second)
        return
    expected = float(stats.spearmanr(first, second).statistic)
    assert_allclose(rank_correlation(first, second), expected, rtol=0, atol=1e-12)


def test_rank_correlation_of_orders_in_closed_form():
    scores = np.array([0.1, 0.2, 0.7, 5.0])
    assert rank_correlation(scores, scores**3) == 1
    assert rank_correlation(scores, -scores) == -1


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_jaccard(first: set[int], second: set[int]):
    value = jaccard(first, second)
    assert value == jaccard(second, first)
    assert (value == 1) == (first == second)
    assert (value == 0) == (not first & second and bool(first | second))


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap_interval(np.empty(0), generator=generator()),
        lambda: bootstrap_interval(np.ones(2), generator=generator(), level=1.0),
        lambda: bootstrap_interval(np.ones(2), generator=generator(), num_resamples=0),
        lambda: paired_difference(np.ones(2), np.ones(3), generator=generator()),
        lambda: paired_differences(np.ones((2, 1)), np.ones((3, 1)), generator=generator()),
        lambda: sign_flip_p_value(np.empty(0), generator=generator()),
        lambda: next(resample_counts(0, generator=generator())),
        lambda: rank_correlation(np.ones(2), np.ones(3)),
        lambda: rank_correlation(np.empty(0), np.empty(0)),
    ],
)
def test_mistakes_are_named(call):
    with pytest.raises(VesaliusError):
        call()
