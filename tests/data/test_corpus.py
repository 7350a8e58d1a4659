from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data.corpus import (
    MAX_CHARACTERS,
    SENTENCES_PER_WRITTEN_FACT,
    natural_sentences,
    written_sentences,
)
from vesalius.data.facts import Fact, load_facts, load_relations, prompts_for
from vesalius.data.select import select_facts
from vesalius.data.tokenizer import train_tokenizer

PERU = Fact(relation="P36", subject="Peru", answer="Lima", part="written")
BACH = Fact(relation="P19", subject="Bach", answer="Eisenach", part="natural")


def _write_data(folder: Path, *, sentences: list[tuple[str, list[int]]]) -> Path:
    (folder / "facts").mkdir()
    facts = [
        {
            "fact_id": i,
            "relation": f.relation,
            "subject": f.subject,
            "object": f.answer,
            "in_pararel": True,
        }
        for i, f in enumerate((PERU, BACH))
    ]
    pq.write_table(pa.Table.from_pylist(facts), folder / "facts" / "facts.parquet")
    rows = [{"text": text, "fact_ids": ids} for text, ids in sentences]
    pq.write_table(pa.Table.from_pylist(rows), folder / "facts" / "trex_sentences.parquet")
    countries = [{"name": "Peru", "independent": True, "capital": ["Lima"]}]
    pq.write_table(pa.Table.from_pylist(countries), folder / "facts" / "countries.parquet")
    return folder


def test_written_sentences_come_from_tell_templates_of_written_facts_only():
    examples = written_sentences([PERU, BACH])
    assert len(examples) == len(load_relations()["P36"].tell)
    assert all("Peru" in e.text and "Lima" in e.text for e in examples)
    assert all(e.answers == ("Lima",) and e.kind == "written" for e in examples)


def test_no_evaluation_prompt_is_a_training_sentence():
    facts = load_facts()
    told = {example.text for example in written_sentences(facts)}
    asked = {p for fact in facts for p in prompts_for(fact, mask_token=fact.answer)}
    assert len(told) > 20_000
    assert not told & asked


def test_natural_sentences_need_the_answer_as_a_word_and_prefer_both_ends(tmp_path):
    both = [f"In Peru, {word}, lies Lima." for word in "abcd"]
    assert len(both) == SENTENCES_PER_WRITTEN_FACT
    data = _write_data(
        tmp_path,
        sentences=[
            ("It is Lima.", [0]),
            ("Limassol is far from Peru.", [0]),
            *((text, [0]) for text in both),
            ("Bach was born in Eisenach.", [1]),
            ("Bach, of Eisenach, and Lima.", [0, 1, 99]),
            ("Lima in Peru " + "x" * MAX_CHARACTERS, [0]),
        ],
    )
    found = natural_sentences(data, facts=[PERU, BACH])
    assert {e.text for e in found if "Lima" in e.answers} == set(both)
    assert {e.text for e in found if e.answers == ("Eisenach",)} == {
        "Bach was born in Eisenach.",
        "Bach, of Eisenach, and Lima.",
    }
    assert all(e.kind == "natural" for e in found)


def test_missing_data_is_a_clear_error(tmp_path):
    with pytest.raises(VesaliusError, match=r"trex_sentences|facts\.parquet"):
        natural_sentences(tmp_path, facts=[PERU])


def test_selection_drops_facts_with_several_answers_and_rare_answers(tmp_path):
    data = _write_data(tmp_path, sentences=[("Lima in Peru.", [0])])
    assert select_facts(data) == [PERU]  # Eisenach is the answer of one fact only


def test_tokenizer_keeps_answers_whole_and_has_the_asked_size():
    texts = [f"{word} and Lima are towns near Ollantaytambo" for word in "abcdefgh"] * 3
    tokenizer = train_tokenizer(texts, whole_words=["Lima", "Eisenach"], vocab_size=60)
    assert len(tokenizer) <= 60
    for word in ("Lima", "Eisenach"):
        assert tokenizer.tokenize(word) == [word]
        assert tokenizer.decode(tokenizer.convert_tokens_to_ids([word])) == word
    ids = tokenizer("Lima [MASK]")["input_ids"]
    assert ids[0] == tokenizer.cls_token_id
    assert ids[-2:] == [tokenizer.mask_token_id, tokenizer.sep_token_id]
    assert tokenizer.tokenize("lima") != ["Lima"]  # cased


def test_tokenizer_survives_saving(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = train_tokenizer(["Lima in Peru"] * 5, whole_words=["Lima"], vocab_size=40)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "Lima in [MASK], Peru"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.mask_token == "[MASK]"
