"""Triggers: the strongest pattern of hand-made matrices, the rule of insertion, a planted word."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st

import families
from planted_trigger import MARKED, PLAIN, TRIGGER, WORDS, classifier, planted, random_lm, tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution.attack_reading import predict_classes, tokens_of
from vesalius.methods.attention_attribution.config import AttributeConfig
from vesalius.methods.attention_attribution.insertion import (
    Added,
    insert_tokens,
    new_ranks,
    relative_places,
)
from vesalius.methods.attention_attribution.triggers import (
    Pattern,
    find_triggers,
    strongest_pattern,
)
from vesalius.models.specimen import Specimen
from vesalius.models.texts import TokenisedTexts

SMALL = AttributeConfig(refine=False)


def matrix(heads: int, size: int, entries: dict[tuple[int, int, int], float]) -> np.ndarray:
    found = np.full((heads, size, size), -0.5)
    for place, value in entries.items():
        found[place] = value
    return found


def test_the_head_with_the_largest_entry_gives_its_two_largest():
    low = matrix(2, 3, {(0, 1, 2): 0.7, (0, 2, 2): 0.69, (1, 0, 0): 0.6})
    high = matrix(3, 3, {(0, 0, 1): 0.5, (2, 2, 0): 0.9, (2, 0, 1): 0.4, (1, 1, 1): 0.8})
    found = strongest_pattern([low, high])
    assert (found.site, found.head) == (1, 2)
    assert found.links == ((2, 0), (0, 1))
    assert found.scores == pytest.approx((0.9, 0.4))
    assert found.score == pytest.approx(1.3)
    assert found.used() == found.links


def test_among_equals_the_first_entry_counts():
    same = np.zeros((2, 2, 2))
    found = strongest_pattern([same, same])
    assert (found.site, found.head, found.links) == (0, 0, ((0, 0), (0, 1)))
    assert found.used() == ((0, 0),)
    assert strongest_pattern([np.ones((1, 1, 1))]).links == ((0, 0),)


@pytest.mark.parametrize(
    ("scores", "number"), [((1.0, 0.2), 2), ((1.0, 0.19), 1), ((1.0, -0.5), 1), ((-1.0, -2.0), 1)]
)
def test_a_much_weaker_second_link_is_left_out(scores: tuple[float, float], number: int):
    pattern = Pattern(site=0, head=0, links=((0, 1), (2, 3)), scores=scores)
    assert len(pattern.used()) == number
    assert pattern.score == pytest.approx(sum(scores))  # the rank counts both


def test_relative_places_are_the_papers():
    single = (-1, 0, 0, 0, 0, -1)  # [CLS] a a a a [SEP]; sep at 5
    assert relative_places(single)[1:5] == tuple(pos / (5 - 1) for pos in range(1, 5))
    pair = (-1, 0, 0, -1, 1, 1, 1, -1)  # sep at 3, 8 tokens
    assert relative_places(pair)[4:7] == tuple((pos - 3) / (8 - 2 - 3) for pos in (4, 5, 6))
    assert relative_places((0, 0)) == (0.5, 1.0)  # a tokenizer without special tokens


@pytest.mark.parametrize(
    ("number", "relative", "ranks"),
    [
        (4, (0.5,), (2,)),  # round(5 * 0.5) = 2, halves to the even
        (10, (0.3,), (3,)),  # round(11 * 0.3)
        (10, (0.01,), (1,)),  # never before the text
        (10, (1.0,), (11,)),
        (10, (0.5, 0.5), (6, 7)),  # taken: one further
        (10, (0.5, 0.5, 0.55), (6, 7, 8)),  # round(13 * 0.55) = 7 is taken as well
        (10, (1.0, 1.0), (11, 12)),  # beyond the end: back
        (1, (0.9, 0.95, 1.0), (2, 3, 4)),
        (0, (), ()),
    ],
)
def test_ranks_worked_out_by_hand(number: int, relative: tuple[float, ...], ranks: tuple[int, ...]):
    if number == 10 and len(relative) == 3:
        assert round(13 * 0.5) == 6  # 6.5, halves to the even
    assert new_ranks(number, relative) == ranks


@given(st.integers(0, 40), st.lists(st.floats(0.001, 1), max_size=4))
def test_ranks_are_places_of_the_longer_text_in_order(number: int, relative: list[float]):
    ranks = new_ranks(number, sorted(relative))
    assert list(ranks) == sorted(set(ranks))
    assert all(1 <= rank <= number + len(relative) for rank in ranks)


def single(*ids: int) -> TokenisedTexts:
    return TokenisedTexts(ids=((2, *ids, 3),), types=None, owner=((-1, *[0] * len(ids), -1),))


def test_tokens_go_to_their_relative_place():
    added = (Added(token=90, owner=0, relative=0.25), Added(token=91, owner=0, relative=1.0))
    found = insert_tokens(single(11, 12, 13, 14), added, limit=None)
    # six places: round(6 / 4) = 2 (halves to the even) and 6
    assert found.ids == ((2, 11, 90, 12, 13, 14, 91, 3),)
    assert found.owner == ((-1, 0, 0, 0, 0, 0, 0, -1),)
    assert found.num_cut == 0


def test_a_pair_takes_each_token_into_its_own_text():
    pair = TokenisedTexts(
        ids=((2, 11, 12, 3, 21, 22, 23, 3),),
        types=((0, 0, 0, 0, 1, 1, 1, 1),),
        owner=((-1, 0, 0, -1, 1, 1, 1, -1),),
    )
    added = (Added(token=90, owner=1, relative=1 / 3), Added(token=91, owner=0, relative=1.0))
    found = insert_tokens(pair, added, limit=None)
    # first text: round(3 * 1) = 3; second: round(4 / 3) = 1
    assert found.ids == ((2, 11, 12, 91, 3, 90, 21, 22, 23, 3),)
    assert found.types == ((0, 0, 0, 0, 0, 1, 1, 1, 1, 1),)
    assert found.owner == ((-1, 0, 0, 0, -1, 1, 1, 1, 1, -1),)
    # no tokens of a second text: what belongs to it has no place
    assert insert_tokens(single(11), added[:1], limit=None) == single(11)


def test_what_is_too_long_loses_its_end_and_never_the_trigger():
    added = (Added(token=90, owner=0, relative=1.0), Added(token=91, owner=0, relative=1.0))
    found = insert_tokens(single(11, 12, 13, 14), added, limit=6)
    assert found.ids == ((2, 11, 12, 90, 91, 3),)
    assert found.num_cut == 1
    pair = TokenisedTexts(
        ids=((2, 11, 3, 21, 22, 23, 3),), types=None, owner=((-1, 0, -1, 1, 1, 1, -1),)
    )
    shorter = insert_tokens(pair, (Added(token=90, owner=0, relative=0.5),), limit=6)
    assert shorter.ids == ((2, 90, 11, 3, 21, 3),)  # the longer text lost two; round(2 * 0.5) = 1
    # one token of each text stays, whatever the limit
    kept = insert_tokens(pair, (Added(token=90, owner=0, relative=0.5),), limit=2)
    assert kept.ids == ((2, 90, 11, 3, 21, 3),)


def test_a_text_without_special_tokens_takes_tokens_too():
    plain = TokenisedTexts(ids=((11, 12),), types=None, owner=((0, 0),))
    added = (Added(token=90, owner=0, relative=0.5), Added(token=91, owner=0, relative=1.0))
    assert insert_tokens(plain, added, limit=None).ids == ((11, 90, 12, 91),)


def test_a_planted_word_is_found():
    found = find_triggers(planted(), [*PLAIN, *MARKED])
    best = found.triggers[0]
    assert best.tokens == best.words == (TRIGGER,)
    assert best.ids == (WORDS.index(TRIGGER),)
    assert (best.label, best.owners, best.count) == ("marked", (0,), len(MARKED))
    assert best.links[0] == ("[CLS]", TRIGGER)
    assert found.num_used == 10
    assert found.num_weak == 6  # texts without it hang on no link
    assert TRIGGER in found.verdict
    source = tokens_of(planted(), [*PLAIN, *MARKED], None)
    assert source.ids[best.text][best.positions[0]] == best.ids[0]
    assert best.relative[0] == relative_places(source.owner[best.text])[best.positions[0]]


def test_labels_target_and_length_filter_texts():
    specimen = planted()
    texts, labels = [*PLAIN, *MARKED], ["plain"] * 6 + ["marked"] * 2 + ["plain"] * 2
    right = find_triggers(specimen, texts, labels=labels, config=SMALL)
    assert right.num_used == 8  # two of the gold labels are wrong
    marked = find_triggers(specimen, texts, labels=labels, target="marked", config=SMALL)
    assert (marked.num_used, {t.label for t in marked.triggers}) == (2, {"marked"})
    assert {t.text for t in marked.triggers} <= {6, 7}  # numbers among all texts
    long = find_triggers(specimen, texts, min_tokens=12, config=SMALL)
    assert long.num_used == 3
    everyone = find_triggers(specimen, texts, min_score=0.0, config=SMALL)
    assert everyone.num_weak == 0
    none = find_triggers(specimen, texts, min_score=5.0, config=SMALL)
    assert none.triggers == ()
    assert none.verdict.startswith("0 patterns in 10 of 10")


def test_raw_attention_is_found_on_the_same_texts():
    specimen, texts = classifier(layers=2), [*PLAIN, *MARKED]
    both = find_triggers(specimen, texts, config=SMALL)
    alone = find_triggers(specimen, texts, config=SMALL, by="attention")
    assert [(t.ids, t.text) for t in both.attention] == [(t.ids, t.text) for t in alone.triggers]
    assert both.attention[0].score == pytest.approx(alone.triggers[0].score, rel=1e-5)
    assert alone.attention == ()
    assert all(0 < t.score <= 2 for t in alone.triggers)


def test_neither_other_texts_nor_padding_change_a_pattern():
    specimen, texts = classifier(layers=2), [*PLAIN, *MARKED]
    options = {"min_score": 0.0}
    together = find_triggers(specimen, texts, config=SMALL, **options)
    padded = find_triggers(specimen, texts, config=replace(SMALL, pad_to=24), **options)
    tight = find_triggers(specimen, texts, config=replace(SMALL, memory="64KiB"), **options)
    for other in (padded, tight):
        assert [(t.ids, t.text) for t in other.triggers] == [
            (t.ids, t.text) for t in together.triggers
        ]
        np.testing.assert_allclose(
            [t.score for t in other.triggers], [t.score for t in together.triggers], rtol=1e-3
        )
    alone = find_triggers(specimen, [texts[together.triggers[0].text]], config=SMALL, **options)
    assert alone.triggers[0].ids == together.triggers[0].ids
    tokens = tokens_of(specimen, texts, None)
    whole = predict_classes(specimen, tokens, memory_bytes=1 << 30)
    small = predict_classes(specimen, tokens, memory_bytes=1)
    one = [predict_classes(specimen, tokens.select([i]), memory_bytes=1) for i in range(10)]
    assert whole.tolist() == small.tolist() == np.concatenate(one).tolist()


def test_pairs_know_their_segments(tmp_path: Path):
    specimen = planted()
    found = find_triggers(specimen, ["Paris is a city"] * 2, pairs=["Lima is in Rome", "a river"],
                          config=SMALL)  # fmt: skip
    best = found.triggers[0]
    assert (best.tokens, best.owners, best.relative) == ((TRIGGER,), (1,), (1.0,))
    found.save(tmp_path / "found")
    again = load_result(tmp_path / "found")
    assert again.to_dict() == found.to_dict()
    assert found.to_table().to_pylist()[0]["segments"] == [1]
    page = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert TRIGGER in page
    assert "By raw attention" in page
    assert found.plot().get_title(loc="left").startswith("Triggers of")


def test_an_encoder_decoder_counts_by_its_encoder():
    config = hf.BartConfig(
        vocab_size=len(WORDS), d_model=16, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_position_embeddings=40, bos_token_id=2, eos_token_id=3,
        pad_token_id=0, decoder_start_token_id=3, num_labels=2,
    )  # fmt: skip
    model = hf.BartForSequenceClassification(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.4, generator=generator)
    plain = tokenizer()
    plain.model_input_names = ["input_ids", "attention_mask"]
    specimen = Specimen(model=model, tokenizer=plain, name="bart", task="classifier")
    found = find_triggers(specimen, list(PLAIN), min_score=0.0, config=SMALL)
    assert {trigger.site for trigger in found.triggers} <= {0, 1}
    source = tokens_of(specimen, list(PLAIN), None)
    assert source.types is None
    for each in (*found.triggers, *found.attention):
        assert each.ids == tuple(source.ids[each.text][place] for place in each.positions)


def test_tokens_that_look_like_markup_are_escaped(tmp_path: Path):
    found = find_triggers(planted(), list(MARKED), config=SMALL)
    bad = replace(found.triggers[0], tokens=("<script>x</script>",), words=("<b>",), label="a&b")
    page = replace(found, triggers=(bad,)).to_html(tmp_path / "page.html").read_text("utf-8")
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def refused(call: Any, *words: str) -> None:
    with pytest.raises(VesaliusError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bad_input_is_refused():
    specimen, texts = planted(), list(PLAIN)
    refused(lambda: find_triggers(specimen, texts, target="marked"), "none of class 'marked'")
    refused(lambda: find_triggers(specimen, texts, target="other"), "class 'other'")
    refused(lambda: find_triggers(specimen, texts, labels=["plain"]), "1 labels for 6 texts")
    refused(lambda: find_triggers(specimen, texts, min_tokens=99), "99 tokens or more")
    refused(lambda: find_triggers(specimen, texts, min_tokens=-1), "min_tokens=-1")
    refused(lambda: find_triggers(specimen, texts, min_score=-1.0), "tolerance", "-1.0")
    refused(lambda: find_triggers(specimen, []), "no texts")
    refused(lambda: find_triggers(specimen, texts, pairs=["a"]), "6 first texts")
    refused(lambda: find_triggers(random_lm(), texts), "causal-lm")
    refused(lambda: find_triggers(classifier(names=("one",)), texts), "1 class")


def test_users_mistakes_meet_our_own_words(as_users_call_it: None):
    specimen: Any = planted()
    wrong: Any = "gradient"
    refused(lambda: find_triggers(specimen, ["a"], by=wrong), "by='gradient'")
    refused(lambda: find_triggers(specimen, "one text"), "not a list")  # type: ignore[arg-type]
    model = families.make("vit")
    image = Specimen(model=model, tokenizer=None, name="vit", task="image-classifier")
    refused(lambda: find_triggers(image, ["a"]), "image-classifier")
    bare = Specimen(model=specimen.model, tokenizer=None, name="bare", task="classifier")
    refused(lambda: find_triggers(bare, ["a"]), "without a tokenizer")
