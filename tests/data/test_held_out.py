"""What is held out: the same each time, whole, and nothing of it is trained on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data.held_out import hold_out, token_counts
from vesalius.data.shards import Documents, Shard


def _documents(lengths: list[int]) -> Documents:
    """Documents of tokens that occur once, in two shards."""
    ends = np.cumsum([0, *lengths])
    rows = [list(range(a, b)) for a, b in pairwise(ends.tolist())]
    half = len(rows) // 2
    shards = [Documents.from_lists(part).shards[0] for part in (rows[:half], rows[half:]) if part]
    return Documents(shards, identity={"documents": "all"})


@given(st.lists(st.integers(1, 40), min_size=2, max_size=60), st.integers(1, 200))
def test_every_piece_is_on_one_side(lengths: list[int], num_tokens: int):
    documents = _documents(lengths)
    training, held_out = hold_out(documents, context_length=16, num_tokens=num_tokens)
    pieces = [
        tuple(document[start : start + 16])
        for document in map(list, documents)
        for start in range(0, len(document), 16)
    ]
    found = [*map(tuple, training), *map(tuple, held_out)]
    assert sorted(found) == sorted(pieces)
    assert len(held_out) >= 1
    assert len(training) >= 1
    assert training.num_tokens + held_out.num_tokens == documents.num_tokens
    assert training.lengths.sum() == training.num_tokens
    assert training.identity["documents"] == "all"


def test_a_twentieth_at_most_and_no_more_than_asked():
    documents = _documents([10] * 200)
    _, few = hold_out(documents, context_length=16)
    assert few.num_tokens == 100
    training, fewer = hold_out(documents, context_length=16, num_tokens=40)
    assert fewer.num_tokens == 40
    again, _ = hold_out(documents, context_length=16, num_tokens=40)
    assert again.identity == training.identity
    assert again.identity["held_out"] == "4 of 200 pieces, 1"


def test_one_long_document_is_cut_first():
    training, held_out = hold_out(_documents([1000]), context_length=16)
    assert held_out.num_tokens >= 48
    assert max(training.lengths) == 16


def test_a_single_piece_cannot_be_shared():
    with pytest.raises(VesaliusError, match="no more than one row"):
        hold_out(_documents([12]), context_length=16)


def test_counts_are_those_of_the_text():
    documents = Documents.from_lists([[0, 5, 5, 1], [0, 7, 5, 1]])
    counts = token_counts(documents, vocab_size=9, left_out=(0, 1))
    assert counts.tolist() == [0, 0, 0, 0, 0, 3, 0, 1, 0]
    assert token_counts(documents, vocab_size=9, most_tokens=2).tolist()[:6] == [1, 0, 0, 0, 0, 1]
    with pytest.raises(VesaliusError, match="special tokens alone"):
        token_counts(documents, vocab_size=9, left_out=(0, 1, 5, 7))


def test_shards_are_not_copied():
    tokens = np.arange(100)
    shard = Shard(tokens, np.array([0, 30, 60, 100]))
    training, _ = hold_out(Documents([shard], identity={}), context_length=50)
    assert all(np.shares_memory(part.tokens, tokens) for part in training.shards)
