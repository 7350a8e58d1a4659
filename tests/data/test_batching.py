"""The plan of padded batches, against its definition."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data.batching import plan_by_length


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=80),
    budget=st.integers(1, 200),
    seed=st.integers(0, 5),
)
def test_every_example_stands_once_within_the_budget(lengths, budget, seed):
    array = np.array(lengths, dtype=np.int64)
    plan, other = (
        plan_by_length(array, tokens_per_batch=budget, generator=np.random.default_rng(s))
        for s in (seed, seed + 1)
    )
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * array[batch].max() <= budget
    spans = sorted((array[batch].min(), array[batch].max()) for batch in plan)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert len(plan) == len(other)


def test_examples_of_one_length_meet_others_in_another_epoch():
    lengths = np.full(40, 5)
    plans = [
        plan_by_length(lengths, tokens_per_batch=20, generator=np.random.default_rng(s))
        for s in (0, 0, 1)
    ]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(("lengths", "budget"), [([], 8), ([1], 0)])
def test_bad_input(lengths, budget):
    with pytest.raises(VesaliusError, match=f"tokens_per_batch={budget}"):
        plan_by_length(
            np.array(lengths, dtype=np.int64),
            tokens_per_batch=budget,
            generator=np.random.default_rng(0),
        )
