"""Texts and pairs become tokens that know their text; batches of them, padded as asked."""

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vesalius.core.errors import VesaliusError
from vesalius.models.specimen import Specimen
from vesalius.models.texts import SPECIAL, encode_texts, tokenise_texts

VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "good", "film", ".")


def pair_tokenizer() -> hf.PreTrainedTokenizerFast:
    vocab = {word: number for number, word in enumerate(VOCAB)}
    built = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=built, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", padding_side="left",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def classifier(*, kind: str = "bert", positions: int = 16, **changes: object) -> Specimen:
    shape = {"vocab_size": len(VOCAB), "num_labels": 3, "pad_token_id": 0, **changes}
    wide = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "max_position_embeddings": positions}  # fmt: skip
    model = {
        "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**shape, **wide)),
        "roberta": lambda: hf.RobertaForSequenceClassification(
            hf.RobertaConfig(**{**shape, "pad_token_id": 1}, **wide)
        ),
        "distilbert": lambda: hf.DistilBertForSequenceClassification(
            hf.DistilBertConfig(**shape, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
        ),
    }[kind]()
    return Specimen(
        model=model.eval(), tokenizer=pair_tokenizer(), name=f"tiny-{kind}", task="classifier"
    )


def test_pairs_know_their_texts_and_segments() -> None:
    found = tokenise_texts(classifier(), ["a b", "a"], pairs=["c", "good film ."])
    assert found.ids == ((2, 5, 6, 3, 7, 3), (2, 5, 3, 9, 10, 11, 3))
    assert found.types == ((0, 0, 0, 0, 1, 1), (0, 0, 0, 1, 1, 1, 1))
    assert found.owner == ((-1, 0, 0, -1, 1, -1), (-1, 0, -1, 1, 1, 1, -1))
    assert SPECIAL == -1
    assert (len(found), found.lengths, found.num_cut) == (2, (6, 7), 0)
    other_way = found.select([1, 0, 0])
    assert other_way.ids == (found.ids[1], found.ids[0], found.ids[0])
    assert other_way.owner[1] == found.owner[0]
    assert other_way.types is not None
    assert other_way.types[0] == found.types[1]


def test_a_batch_is_padded_on_the_right_whatever_the_tokenizer_likes() -> None:
    specimen = classifier()
    batch = tokenise_texts(specimen, ["a b", "a"], pairs=["c", "good film ."]).batch(specimen)
    assert batch.inputs["input_ids"].tolist() == [[2, 5, 6, 3, 7, 3, 0], [2, 5, 3, 9, 10, 11, 3]]
    assert batch.inputs["attention_mask"].tolist() == [[1] * 6 + [0], [1] * 7]
    assert batch.inputs["token_type_ids"].tolist() == [
        [0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]
    ]  # fmt: skip
    assert batch.row.tolist() == [0, 0]
    assert batch.decoder_row is None


def test_padding_as_asked_changes_no_logits() -> None:
    specimen = classifier()
    texts = tokenise_texts(specimen, ["a b", "good film ."])
    with torch.no_grad():
        narrow, wide = (
            specimen.model(**texts.batch(specimen, pad_to=width).inputs).logits
            for width in (None, 16)
        )
    torch.testing.assert_close(narrow, wide)
    with pytest.raises(VesaliusError, match="pad_to=4"):
        texts.batch(specimen, pad_to=4)
    with pytest.raises(VesaliusError, match="17 tokens"):
        texts.batch(specimen, pad_to=17)


def test_models_without_segments_get_none() -> None:
    for kind in ("distilbert", "roberta"):
        specimen = classifier(kind=kind, type_vocab_size=1)
        found = tokenise_texts(specimen, ["a b"], pairs=["c"])
        takes = kind == "roberta"  # it has one segment, and the parameter
        assert (found.types is not None) == takes
        assert ("token_type_ids" in found.batch(specimen).inputs) == takes


def test_long_texts_are_cut_only_when_asked() -> None:
    specimen = classifier(positions=6)
    long = "a b c d a b c d"
    with pytest.raises(VesaliusError, match="a text of 10 tokens"):
        tokenise_texts(specimen, ["a", long])
    for asked, left in ((5, 5), (6, 6), (99, 6)):
        found = tokenise_texts(specimen, ["a", long], max_tokens=asked)
        assert found.lengths == (3, left)
        assert found.num_cut == 1
        assert found.ids[1][-1] == 3  # the end mark stays
        assert found.owner[1][-1] == SPECIAL
    pair = tokenise_texts(specimen, [long], pairs=["a"], max_tokens=6)
    assert pair.ids == ((2, 5, 6, 3, 5, 3),)  # the longer text is cut
    assert pair.num_cut == 1


def test_roberta_counts_its_positions_from_the_padding() -> None:
    specimen = classifier(kind="roberta", positions=8)
    assert specimen.max_tokens == 6
    assert tokenise_texts(specimen, ["a b c d a b c d"], max_tokens=99).lengths == (6,)
    with pytest.raises(VesaliusError, match="at most 6 tokens"):
        tokenise_texts(specimen, ["a b c d a"])


def test_words_that_look_special_belong_to_their_text() -> None:
    found = tokenise_texts(classifier(), ["a [SEP] b zzz"])
    assert found.ids == ((2, 5, 3, 6, 1, 3),)
    assert found.owner == ((-1, 0, 0, 0, 0, -1),)


def test_what_a_model_was_fine_tuned_on_is_insisted_on() -> None:
    pairs, single = classifier(vesalius_num_texts=2), classifier(vesalius_num_texts=1)
    with pytest.raises(VesaliusError, match="single texts for tiny-bert"):
        tokenise_texts(pairs, ["a"])
    with pytest.raises(VesaliusError, match="pairs of texts for tiny-bert"):
        tokenise_texts(single, ["a"], pairs=["b"])
    assert len(tokenise_texts(pairs, ["a"], pairs=["b"])) == 1
    assert len(tokenise_texts(single, ["a"])) == 1


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("texts", "pairs", "message"),
    [
        ([], None, "no texts"),
        ("a good film", None, "one text, not a list"),
        (["a", " "], None, "an empty text"),
        (["a"], [""], "an empty text"),
        (["a"], ["b", "c"], "1 first texts and 2 as second"),
        (["a"], "b", "one text as second"),
    ],
)
def test_odd_texts_are_refused(texts: object, pairs: object, message: str) -> None:
    with pytest.raises(VesaliusError, match=message):
        tokenise_texts(classifier(), texts, pairs=pairs)  # type: ignore[arg-type]


def test_a_model_without_a_tokenizer_is_refused() -> None:
    specimen = Specimen(model=classifier().model, tokenizer=None, name="bare", task="classifier")
    with pytest.raises(VesaliusError, match="bare without a tokenizer"):
        encode_texts(specimen, ["a"])


def test_encode_texts_is_the_batch_of_the_tokens() -> None:
    specimen = classifier()
    once = encode_texts(specimen, ["a b", "c"], pairs=["d", "a"])
    again = tokenise_texts(specimen, ["a b", "c"], pairs=["d", "a"]).batch(specimen)
    assert once.inputs.keys() == again.inputs.keys()
    assert all(torch.equal(once.inputs[name], again.inputs[name]) for name in once.inputs)
