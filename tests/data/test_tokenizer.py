"""The byte-level tokenizer of the causal models."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data.tokenizer import END_OF_TEXT, PADDING, train_bpe_tokenizer

TEXTS = ["the cat sat on the mat", "the dog sat on the log"] * 20
TOKENIZER = train_bpe_tokenizer(TEXTS, vocab_size=280)


@given(st.text())
@settings(max_examples=50)
def test_any_text_comes_back_as_it_was(text: str):
    ids = TOKENIZER(text)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id
    if END_OF_TEXT not in text and PADDING not in text:
        assert TOKENIZER.decode(ids[1:]) == text


def test_special_tokens_and_sizes():
    assert (TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id) == (0, 0, 1)
    assert len(TOKENIZER) <= 280
    batch = TOKENIZER(["the cat", "the cat sat"], padding=True)
    assert batch["input_ids"][0][0] == 1  # padding stands on the left
    assert TOKENIZER(" the", add_special_tokens=False)["input_ids"] == [
        TOKENIZER.convert_tokens_to_ids("Ġthe")
    ]


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(VesaliusError, match="vocab_size=100"):
        train_bpe_tokenizer(TEXTS, vocab_size=100)
