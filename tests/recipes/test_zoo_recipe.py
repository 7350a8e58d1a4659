import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vesalius.core.errors import VesaliusError
from vesalius.data.corpus import Example
from vesalius.data.facts import Fact, Relation
from vesalius.recipes import zoo, zoo_card
from vesalius.training.config import TrainingOptions

FACTS = tuple(
    Fact(relation="P36", subject=subject, answer=answer, part=part)
    for subject, answer, part in (
        ("Peru", "Lima", "written"),
        ("France", "Paris", "written"),
        ("Japan", "Tokyo", "natural"),
        ("Egypt", "Cairo", "natural"),
    )
)
TINY = zoo.MiniBertPreset(
    vocab_size=150,
    d_model=32,
    d_ff=32,
    num_layers=2,
    num_heads=2,
    tokens_per_batch=128,
    training=TrainingOptions(
        num_steps=6, optimizer="muon", evaluate_every=3, checkpoint_every=2, log_every=1
    ),
)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data" / "facts"
    folder.mkdir(parents=True)
    facts = [
        {"fact_id": i, "relation": f.relation, "subject": f.subject, "object": f.answer}
        for i, f in enumerate(FACTS)
    ]
    sentences = [
        {"text": f"{f.answer}, a large town, is where {f.subject} is ruled.", "fact_ids": [i]}
        for i, f in enumerate(FACTS)
    ]
    pq.write_table(pa.Table.from_pylist(facts), folder / "facts.parquet")
    pq.write_table(pa.Table.from_pylist(sentences), folder / "trex_sentences.parquet")
    for module in (zoo, zoo_card):
        monkeypatch.setattr(module, "load_facts", lambda: FACTS)
    monkeypatch.setitem(zoo.PRESETS, "cpu", TINY)
    return folder.parent


def test_the_command_trains_and_writes_an_ordinary_checkpoint(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    threads = torch.get_num_threads()
    notes = tmp_path / "notes.txt"
    notes.write_text("Begun anew once.\n\n", encoding="utf-8")
    words = ["--data", str(data_dir), "--out", str(tmp_path / "run"), "--notes", str(notes)]
    code = zoo.main(["mini-bert", *words])
    torch.set_num_threads(threads)
    assert code == 0
    folder = tmp_path / "run" / "model"
    assert json.loads(capsys.readouterr().out)["model"] == str(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits = model(**tokenizer("The capital of Peru is [MASK].", return_tensors="pt")).logits
    assert logits.shape[0] == 1
    assert logits.shape[2] == TINY.vocab_size
    assert torch.isfinite(logits).all()
    for name in ("README.md", "curves.png", "log.jsonl", "model.safetensors"):
        assert (folder / name).stat().st_size > 0
    card = json.loads((folder / "card.json").read_text())
    assert card["num_steps"] == 6
    assert card["num_natural_sentences"] == 4
    assert card["scores"]["all"]["num_facts"] == 4
    assert card["scores"]["natural"]["relations"][0]["majority"] == 0.5
    assert card["num_parameters"] == sum(p.numel() for p in model.parameters())
    weights = (folder / "model.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["num_bytes"] == len(weights)
    assert "--tokenizer src/vesalius/zoo_files/mini-bert" in card["command"]
    assert card["notes"] == ["Begun anew once."]
    assert card["near_prompts"]["accuracy_without"].keys() == {"P36"}
    assert str(tmp_path) not in (folder / "card.json").read_text()
    page = (folder / "README.md").read_text()
    assert "| P36 | capital | 2 |" in page
    assert "- Begun anew once." in page


def test_prompts_in_wikipedia_text_are_counted():
    texts = ("Some say the capital of Peru is Lima, rightly.", "The capital of Peru is Lima.")
    examples = [
        Example(text=text, answers=("Lima",), kind=kind)
        for text, kind in zip(texts, ("natural", "written"), strict=True)
    ]
    assert zoo.count_prompts_met(examples, facts=FACTS) == 0  # ours are not Wikipedia's
    examples[0] = replace(examples[0], text="The capital of Peru is Lima, some say.")
    assert zoo.count_prompts_met(examples, facts=FACTS) == 1


def test_templates_inside_longer_training_templates_are_found():
    relations = {
        "of": Relation(code="of", name="of", ask=("[X] leads [Y].", "[X] heads [Y].")),
        "by": Relation(
            code="by", name="by", ask=("[X] is led by [Y].",), tell=("The old [Y] leads [X].",)
        ),
    }
    assert zoo_card.near_templates(relations) == {"of": ["[X] leads [Y]."]}


def test_the_drawn_mean_keeps_length_and_level():
    assert zoo_card.running_mean([2.0] * 7, width=4) == [2.0] * 7
    assert zoo_card.running_mean([0.0, 3.0, 6.0, 9.0], width=3) == [1.5, 3.0, 6.0, 7.5]
    assert zoo_card.running_mean([], width=3) == []


def test_a_stopped_recipe_goes_on_to_the_same_weights(data_dir: Path, tmp_path: Path):
    whole = zoo.train_mini_bert(data_dir, tmp_path / "a")
    vocabulary = tmp_path / "a" / "tokenizer"
    zoo.train_mini_bert(data_dir, tmp_path / "b", tokenizer=vocabulary, stop_after_step=3)
    parts = zoo.train_mini_bert(data_dir, tmp_path / "b")
    assert parts.summary.num_tokens == whole.summary.num_tokens
    files = [tmp_path / x / "checkpoint" / "model.safetensors" for x in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_presets_stay_within_their_promises():
    for name, preset in zoo.PRESETS.items():
        assert preset.d_model % preset.num_heads == 0, name
        assert preset.training.decay_share <= 0.3, name
    preset = zoo.PRESETS["cpu"]
    block = 4 * preset.d_model**2 + 3 * preset.d_model * preset.d_ff
    weights = preset.vocab_size * preset.d_model + preset.num_layers * block
    assert 2 * weights < 8_000_000  # bytes in fp16


def test_mistakes_are_told(data_dir: Path, tmp_path: Path):
    with pytest.raises(VesaliusError, match="preset 'tpu'"):
        zoo.train_mini_bert(data_dir, tmp_path / "run", preset="tpu")
    with pytest.raises(VesaliusError, match="notes"):
        zoo.make_mini_bert(data_dir, tmp_path / "run", notes=tmp_path / "no.txt")
    with pytest.raises(VesaliusError, match="facts"):
        zoo.train_mini_bert(tmp_path, tmp_path / "run")
    zoo.train_mini_bert(data_dir, tmp_path / "run", stop_after_step=2)
    zoo.PRESETS["cpu"] = replace(TINY, training=replace(TINY.training, lr=1.0))
    with pytest.raises(VesaliusError, match="other options"):
        zoo.train_mini_bert(data_dir, tmp_path / "run")
