"""Slots: exactly as many as asked for, none twice, none special, the same for the same number."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data.replaced import ReplacedBatches
from vesalius.data.shards import Documents

PAD, MASK, CLS, SEP = range(4)
VOCAB = 40


def _documents(lengths, *, seed=0) -> Documents:
    random = np.random.default_rng(seed)
    return Documents.from_lists(
        [[CLS, *random.integers(4, VOCAB, n).tolist(), SEP] for n in lengths]
    )


def _batches(lengths=(30,) * 64, *, context_length=32, rows_per_batch=8, seed=0, **options):
    return ReplacedBatches(
        _documents(lengths), context_length=context_length, rows_per_batch=rows_per_batch,
        seed=seed, special_ids=(MASK, CLS, SEP), pad_id=PAD, **options,
    )  # fmt: skip


@given(
    lengths=st.lists(st.integers(1, 30), min_size=12, max_size=40),
    mask_prob=st.sampled_from([0.1, 0.15, 0.4, 1.0]),
    seed=st.integers(0, 5),
    number=st.integers(0, 30),
)
def test_every_row_has_exactly_its_slots_among_its_ordinary_tokens(
    lengths, mask_prob, seed, number
):
    batches = _batches(lengths, rows_per_batch=2, seed=seed, mask_prob=mask_prob)
    batch = batches[number]
    ids, slots = batch["input_ids"], batch["slots"]
    assert (slots[1:] > slots[:-1]).all()  # sorted and distinct
    assert not torch.isin(ids.reshape(-1)[slots], torch.tensor([PAD, MASK, CLS, SEP])).any()
    assert torch.equal(batch["real"], ids != PAD)
    for row, tokens in enumerate(ids):
        num_real = int((tokens != PAD).sum())
        num_open = int((tokens > SEP).sum())
        most = int((mask_prob + 0.005) * 32)
        wanted = min(max(round(mask_prob * num_real), 1), most, num_open)
        assert int((slots // 32 == row).sum()) == wanted
    assert len(batch["masked"]) == len(batch["uniforms"]) == len(slots)
    assert batch["uniforms"].dtype == torch.float64
    assert ((batch["uniforms"] >= 0) & (batch["uniforms"] < 1)).all()


def test_a_batch_is_a_pure_function_of_its_number():
    first, again = _batches(), _batches()
    for number in (5, 0, 5, 17):  # in any order, 17 in a later epoch
        here, there = first[number], again[number]
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)
    assert not torch.equal(first[0]["uniforms"], first[1]["uniforms"])
    assert not torch.equal(first[0]["slots"], _batches(seed=1)[0]["slots"])
    same_rows = first.batches_per_epoch
    assert not torch.equal(first[0]["slots"], first[same_rows]["slots"])  # another epoch


def test_fifteen_per_cent_are_slots_and_of_these_85_per_cent_are_masked():
    """Drawing places with replacement, as the published code does, would give 14.1 %."""
    batches = _batches((126,) * 256, context_length=128, rows_per_batch=64)
    found = [batches[number] for number in range(40)]
    num_slots = sum(len(batch["slots"]) for batch in found)
    num_real = sum(int(batch["real"].sum()) for batch in found)
    assert abs(num_slots / num_real - 0.15) <= 0.002
    masked = torch.cat([batch["masked"] for batch in found]).double()
    assert abs(masked.mean() - 0.85) <= 4 * (0.85 * 0.15 / len(masked)) ** 0.5
    uniforms = torch.cat([batch["uniforms"] for batch in found])
    counts = torch.histc(uniforms.float(), bins=10, min=0, max=1) / len(uniforms)
    assert (counts - 0.1).abs().max() < 0.01
    independent = torch.corrcoef(torch.stack([masked, uniforms]))[0, 1]
    assert abs(independent) < 0.02  # who is masked says nothing about what is drawn


def test_every_ordinary_place_is_a_slot_equally_often():
    batches = _batches((30,) * 64, rows_per_batch=64)
    counts = torch.zeros(32)
    for number in range(150):
        counts += torch.bincount(batches[number]["slots"] % 32, minlength=32)
    assert counts[0] == counts[31] == 0  # [CLS] and [SEP]
    shares = counts[1:31] / counts.sum()
    assert (shares * 30 - 1).abs().max() < 0.12


@pytest.mark.parametrize(("share", "masked"), [(0.0, False), (1.0, True)])
def test_all_or_none_of_the_slots_may_be_masked(share, masked):
    assert (_batches(mask_token_prob=share)[0]["masked"] == masked).all()


def test_rows_are_those_of_the_packing_and_keep_their_documents_apart():
    batch = _batches((13, 14, 20, 6) * 8, rows_per_batch=2)[0]
    assert set(batch) == {
        "input_ids", "position_ids", "attention_mask", "slots", "masked", "uniforms", "real",
    }  # fmt: skip
    starts = (batch["position_ids"] == 0) & batch["real"]
    assert (batch["input_ids"][starts] == CLS).all()
    owner = starts.long().cumsum(1)
    seen = batch["attention_mask"][:, 0] == 0
    together = owner[:, :, None] == owner[:, None, :]
    both_real = batch["real"][:, :, None] & batch["real"][:, None, :]
    assert torch.equal(seen & both_real, together & both_real)


def test_a_schedule_of_the_temperature_is_part_of_the_batch():
    batches = _batches(temperature=lambda number: 1 + number / 10)
    assert [batches[number]["temperature"].item() for number in (0, 5)] == [1.0, 1.5]
    assert batches[0]["temperature"].dtype == torch.float64
    assert "temperature" not in _batches()[0]


def test_what_changes_the_slots_is_part_of_the_identity():
    plain = _batches().identity
    changes = ({"mask_prob": 0.2}, {"mask_token_prob": 0.9}, {"seed": 1}, {"context_length": 40})
    for changed in changes:
        other = _batches(**changed).identity
        assert other.keys() == plain.keys()
        assert other != plain, changed
    assert "MASK" not in plain
    assert plain["special_ids"] == "0,1,2,3"


@pytest.mark.parametrize(
    "wrong", [{"mask_prob": 0.0}, {"mask_prob": 1.1}, {"mask_token_prob": -0.1}], ids=str
)
def test_shares_that_cannot_be_are_refused(wrong):
    with pytest.raises(VesaliusError, match=next(iter(wrong))):
        _batches(**wrong)


def test_documents_that_fill_no_batch_are_refused():
    with pytest.raises(VesaliusError, match="one batch at least"):
        _batches((4, 4), rows_per_batch=8)
