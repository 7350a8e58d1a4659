"""Packing: what fills a row, and that no document of a row is seen by another."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import families
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.data.masking import IGNORE
from vesalius.data.packing import (
    PackedBatches,
    check_documents_apart,
    document_mask,
    pack_lengths,
)
from vesalius.data.shards import Documents

IMPLEMENTATIONS = ("sdpa", "eager")


def _documents(lengths, *, seed=0) -> Documents:
    random = np.random.default_rng(seed)
    return Documents.from_lists([random.integers(3, families.VOCAB, n).tolist() for n in lengths])


def _make(family, implementation):
    model = families.make(family)
    model.set_attn_implementation(implementation)
    return model


def _two_full_rows(family) -> dict[str, torch.Tensor]:
    """Rows of several documents and no padding.

    The mask has the window of a family whose layers all have one; where only some layers have
    one (gemma3), the documents are not longer than it.
    """
    lengths = [4] * 6 if family == "gemma3" else [7, 5, 5, 4, 3]
    window = 5 if family == "mistral" else None
    return PackedBatches(
        _documents(lengths), context_length=12, rows_per_batch=2, seed=0, window=window
    )[0]


def _pieces(batch) -> list[tuple[int, ...]]:
    """The documents of a batch, read back from its positions and labels."""
    found: list[list[int]] = []
    for ids, positions, labels, mask in zip(
        batch["input_ids"], batch["position_ids"], batch["labels"], batch["attention_mask"],
        strict=True,
    ):  # fmt: skip
        for place, (token, position, label) in enumerate(
            zip(ids.tolist(), positions.tolist(), labels.tolist(), strict=True)
        ):
            if position == 0 and label == IGNORE:
                found.append([token])
            else:
                assert label == token
                assert mask[0, place, place - 1] == 0
                found[-1].append(token)
    return [tuple(piece) for piece in found]


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=60),
    context=st.integers(20, 40),
    seed=st.integers(0, 9),
)
def test_a_plan_holds_every_piece_once_and_no_row_too_much(lengths, context, seed):
    array = np.array(lengths, dtype=np.int64)
    plan = pack_lengths(array, context_length=context)
    assert sorted(plan.pieces.tolist()) == list(range(len(array)))
    sums = np.add.reduceat(array[plan.pieces], plan.row_starts[:-1])
    assert sums.max() <= context
    assert plan.row_starts[-1] == len(array)
    # best fit never needs more than 1.7 times the least number of rows, plus one
    assert len(sums) <= 1.7 * -(-array.sum() // context) + 1
    shuffled = np.random.default_rng(seed).permutation(array)
    assert len(pack_lengths(shuffled, context_length=context).row_starts) == len(plan.row_starts)


def test_text_like_lengths_leave_less_than_two_percent_free():
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3.5, 0.6, size=4000), 5, 400).astype(int)
    batches = PackedBatches(_documents(lengths), context_length=256, rows_per_batch=4, seed=0)
    assert batches.padding_share < 0.005


def test_an_epoch_shows_every_document_once():
    documents = _documents([5, 3, 4, 4, 8, 2, 6, 4, 4])
    batches = PackedBatches(documents, context_length=8, rows_per_batch=1, seed=3, pad_id=0)
    for epoch in (0, 1):
        numbers = range(epoch * batches.batches_per_epoch, (epoch + 1) * batches.batches_per_epoch)
        shown = []
        for number in numbers:
            batch = batches[number]
            if "position_ids" in batch:
                shown += _pieces(batch)
            else:
                shown.append(tuple(batch["input_ids"][0].tolist()))
        assert sorted(shown) == sorted(tuple(document.tolist()) for document in documents)


def test_a_long_document_is_cut_into_consecutive_pieces():
    documents = Documents.from_lists([list(range(1, 22))])
    batches = PackedBatches(documents, context_length=8, rows_per_batch=3, seed=0)
    rows = sorted(batches[0]["input_ids"].tolist())
    assert rows == [[*range(1, 9)], [*range(9, 17)], [*range(17, 22), 0, 0, 0]]
    assert (batches[0]["labels"][:, 0] == IGNORE).all()
    last = batches[0]["labels"][batches[0]["input_ids"][:, 0] == 17][0]
    assert last.tolist() == [IGNORE, 18, 19, 20, 21, IGNORE, IGNORE, IGNORE]


def test_full_rows_need_no_mask():
    batches = PackedBatches(_documents([8, 16]), context_length=8, rows_per_batch=3, seed=0)
    assert batches[0].keys() == {"input_ids", "labels"}
    encoder = PackedBatches(
        _documents([8, 16]), context_length=8, rows_per_batch=3, seed=0, objective="none"
    )
    assert encoder[0].keys() == {"input_ids"}


def test_a_batch_is_a_pure_function_of_its_number():
    documents = _documents(np.random.default_rng(1).integers(2, 30, 200))
    one, two = (
        PackedBatches(documents, context_length=32, rows_per_batch=4, seed=0) for _ in range(2)
    )
    far = 2 * one.batches_per_epoch + 1
    for number in (far, 0, 3):
        for name, tensor in one[number].items():
            assert torch.equal(tensor, two[number][name])
    for number, batch in zip(range(3), one, strict=False):
        assert torch.equal(batch["input_ids"], two[number]["input_ids"])
    other = PackedBatches(documents, context_length=32, rows_per_batch=4, seed=1)
    assert not torch.equal(other[0]["input_ids"], one[0]["input_ids"])
    assert not torch.equal(one[one.batches_per_epoch]["input_ids"], one[0]["input_ids"])
    assert one.identity == two.identity != other.identity


def test_the_mask_is_that_of_its_definition():
    owners = torch.tensor([[0, 0, 0, 1, 1, -1]])
    for causal, window in ((True, None), (False, None), (True, 2), (False, 2)):
        mask = document_mask(owners, causal=causal, window=window)[0, 0]
        for query in range(6):
            for key in range(6):
                seen = owners[0, query] == owners[0, key]
                seen &= not causal or key <= query
                seen &= window is None or abs(query - key) < window
                assert mask[query, key] == (0 if seen else -torch.inf)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", families.CAUSAL)
def test_no_document_changes_a_logit_of_another(family, implementation):
    model = _make(family, implementation)
    batch = _two_full_rows(family)
    del batch["labels"]
    starts = batch["position_ids"][0].eq(0).nonzero().flatten().tolist()
    with torch.no_grad():
        before = model(**batch).logits
        for begin, end in zip(starts, [*starts[1:], 12], strict=True):
            changed = batch["input_ids"].clone()
            changed[0, begin:end] = (changed[0, begin:end] + 7) % families.VOCAB
            after = model(**batch | {"input_ids": changed}).logits
            others = [place for place in range(12) if not begin <= place < end]
            assert torch.equal(after[0, others], before[0, others])
            assert torch.equal(after[1], before[1])
            assert not torch.equal(after[0, begin:end], before[0, begin:end])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", families.CAUSAL)
def test_packed_losses_are_those_of_the_documents_alone(family, implementation):
    model = _make(family, implementation)
    batch = _two_full_rows(family)
    with torch.no_grad():
        packed = model(**batch).loss
        alone = torch.cat(
            [
                cross_entropy(model(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
                for ids in map(torch.tensor, _pieces(batch))
            ]
        )
    assert_equal_numbers(packed, alone.mean())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "albert", "distilbert"])
def test_encoders_take_the_same_rows(family, implementation):
    model = _make(family, implementation)
    documents = _documents([7, 5, 5, 4, 3])
    batch = PackedBatches(documents, context_length=12, rows_per_batch=2, seed=0, objective="none")[
        0
    ]
    offset = 2 if family == "roberta" else 0  # RoBERTa counts from pad_token_id + 1
    with torch.no_grad():
        packed = model(**batch | {"position_ids": batch["position_ids"] + offset}).logits
        for row in range(2):
            starts = batch["position_ids"][row].eq(0).nonzero().flatten().tolist()
            for begin, end in zip(starts, [*starts[1:], 12], strict=True):
                alone = model(input_ids=batch["input_ids"][row : row + 1, begin:end]).logits[0]
                assert_equal_numbers(packed[row, begin:end], alone)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_other_types_of_weights_take_the_mask(dtype, implementation):
    model = families.make("llama", dtype=dtype)
    model.set_attn_implementation(implementation)
    batch = PackedBatches(_documents([5, 4, 3]), context_length=12, rows_per_batch=1, seed=0)[0]
    assert model(**batch).loss.isfinite()
    with torch.autocast("cpu", torch.bfloat16):
        assert families.make("gpt2")(**batch).loss.isfinite()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt-neox"])
def test_a_model_that_keeps_documents_apart_passes(family):
    model = families.make(family).train()
    check_documents_apart(model, context_length=32, vocab_size=families.VOCAB)
    assert model.training


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_a_lost_window_is_an_error(family):
    with pytest.raises(VesaliusError, match="sliding window"):
        check_documents_apart(families.make(family), context_length=32, vocab_size=families.VOCAB)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_length": 0}, "context_length=0"),
        ({"rows_per_batch": 0}, "rows_per_batch=0"),
        ({"objective": "masked"}, "objective='masked'"),
        ({"rows_per_batch": 9}, r"2 documents of 9 tokens[^$]*9 rows of 8 tokens, 72 tokens"),
    ],
)
@pytest.mark.usefixtures("as_users_call_it")
def test_bad_input(change, message):
    options = {"context_length": 8, "rows_per_batch": 1, "seed": 0}
    with pytest.raises(VesaliusError, match=message):
        PackedBatches(_documents([4, 5]), **options | change)


def test_lengths_that_fit_no_row():
    with pytest.raises(VesaliusError, match="lengths from 0 to 9"):
        pack_lengths(np.array([0, 9]), context_length=8)
