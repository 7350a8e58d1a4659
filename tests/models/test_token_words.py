"""Words of WordPiece, byte-level and SentencePiece-like tokenizers; odd bytes; special tokens."""

import pytest
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import families
from cli import tiny
from vesalius.models.specimen import Specimen
from vesalius.models.token_words import TokenWords, special_ids, token_words

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def reader(tokenizer: hf.PreTrainedTokenizerFast | None) -> Specimen:
    return Specimen(model=families.make("bert"), tokenizer=tokenizer, name="tiny", task="masked-lm")


def byte_level(*merges: str) -> hf.PreTrainedTokenizerFast:
    """A byte-level BPE like GPT-2's: every byte, some merges, one token for everything special."""
    pairs = [(merge.split()[0], merge.split()[1]) for merge in merges]
    words = ["<|endoftext|>", *LETTERS, *("".join(pair) for pair in pairs)]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    built = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=built, unk_token=end, bos_token=end, eos_token=end
    )


def sentence_pieces() -> hf.PreTrainedTokenizerFast:
    pieces = ["<pad>", "</s>", "<unk>", "▁the", "▁Par", "is", "▁", ".", "▁un", "believ", "able"]
    scores = [(piece, -float(number)) for number, piece in enumerate(pieces)]
    built = Tokenizer(models.Unigram(scores, unk_id=2))
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    built.decoder = decoders.Metaspace()
    built.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=built, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )


def read(tokenizer: hf.PreTrainedTokenizerFast, text: str) -> TokenWords:
    return token_words(reader(tokenizer), tokenizer(text)["input_ids"])


def test_pieces_of_a_word_join() -> None:
    found = read(tiny.tokenizer(), "The Parni is [MASK] zzz.")
    assert found.tokens == (
        "[CLS]", "The", "P", "##a", "##r", "##n", "##i", "is", "[MASK]", "[UNK]", ".", "[SEP]"
    )  # fmt: skip
    assert found.words == ("[CLS]", "The", "Parni", "is", "[MASK]", "[UNK]", ".", "[SEP]")
    assert found.word == (0, 1, 2, 2, 2, 2, 2, 3, 4, 5, 6, 7)
    # an unknown word is a word; a mask is none
    assert [t for t, s in zip(found.tokens, found.special, strict=True) if s] == [
        "[CLS]", "[MASK]", "[SEP]"
    ]  # fmt: skip


def test_byte_level_words_begin_with_a_space() -> None:
    tokenizer = byte_level("Ġ p", "Ġp a", "r i", "ri s", "' t")
    found = read(tokenizer, "see paris, don't")
    assert found.words == ("see", "paris", ",", "don't")
    assert "".join(found.tokens).replace("Ġ", "") == "seeparis,don't"
    assert not any(found.special)


@pytest.mark.parametrize("text", ["paris", "unbelievable", "x9"])
def test_one_word_alone_is_one_word(text: str) -> None:
    """No token of the text has a mark: the vocabulary tells."""
    assert read(byte_level("r i"), text).words == (text,)
    assert read(byte_level("r i"), text + "!").words == (text, "!")
    wordpiece = token_words(reader(tiny.tokenizer()), [5, 6, 7])
    assert len(wordpiece.words) == 3


def test_bytes_that_are_no_letter_are_shown_as_the_vocabulary_does() -> None:
    found = read(byte_level(), "ok 😀é")
    assert len(found.tokens) == 2 + 1 + 4 + 2
    assert found.words == ("ok", "😀é")
    assert "\ufffd" not in "".join(found.tokens)
    assert all(found.tokens)


def test_one_token_for_everything_special_is_special() -> None:
    """GPT-2's end of text is its unknown word too."""
    tokenizer = byte_level()
    end = tokenizer.eos_token_id
    assert special_ids(tokenizer) == {end}
    found = token_words(reader(tokenizer), [end, *tokenizer("hi")["input_ids"], end])
    assert found.special == (True, False, False, True)
    assert found.words == ("<|endoftext|>", "hi", "<|endoftext|>")


def test_an_unknown_word_of_its_own_is_not_special() -> None:
    tokenizer = tiny.tokenizer()
    assert special_ids(tokenizer) == {0, 2, 3, 4}
    assert special_ids(sentence_pieces()) == {0, 1}


def test_sentence_pieces_join_behind_their_mark() -> None:
    found = read(sentence_pieces(), "the Paris unbelievable.")
    assert found.tokens == ("the", "Par", "is", "un", "believ", "able", ".", "</s>")
    assert found.words == ("the", "Paris", "unbelievable", ".", "</s>")
    assert found.special == (False,) * 7 + (True,)


def test_without_a_tokenizer_the_numbers_are_shown() -> None:
    found = token_words(reader(None), [7, 1])
    assert (found.tokens, found.words, found.word) == (("7", "1"), ("7", "1"), (0, 1))
    assert found.special == (False, False)


@given(st.text(min_size=1, max_size=12))
def test_every_token_has_a_word_and_words_come_in_order(text: str) -> None:
    for tokenizer in TOKENIZERS:
        ids = tokenizer(text)["input_ids"]
        found = token_words(READER[id(tokenizer)], ids)
        assert len(found.tokens) == len(found.special) == len(found.word) == len(ids)
        assert sorted(set(found.word)) == list(range(len(found.words)))
        assert list(found.word) == sorted(found.word)
        for place, mark in enumerate(found.special):
            assert not mark or found.word.count(found.word[place]) == 1


TOKENIZERS = (tiny.tokenizer(), byte_level("Ġ t", "h e"), sentence_pieces())
READER = {id(tokenizer): reader(tokenizer) for tokenizer in TOKENIZERS}
