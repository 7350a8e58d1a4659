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
    jaccard,
    paired_difference,
    rank_correlation,
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
        lambda: rank_correlation(np.ones(2), np.ones(3)),
        lambda: rank_correlation(np.empty(0), np.empty(0)),
    ],
)
def test_mistakes_are_named(call):
    with pytest.raises(VesaliusError):
        call()
