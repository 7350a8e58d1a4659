"""Fine-tuning on tiny models: what is trained, what is left behind, and how it goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import families
from cli.tiny import bert_folder, causal_lm, gpt_folder, masked_lm, save, tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.labelled import LabelledData, LabelledSplit
from vesalius.recipes import finetune_run
from vesalius.recipes.finetune import finetune, plan_finetune
from vesalius.recipes.finetune_config import FinetuneOptions
from vesalius.recipes.finetune_model import (
    build_classifier,
    embedding_names,
    find_source,
    layer_lr_scales,
)
from vesalius.recipes.finetune_result import FinetuneResult

__all__ = ["bert_folder", "gpt_folder"]

OPTIONS = FinetuneOptions(
    epochs=1, min_steps=6, batch_size=4, lr=3e-3, snapshots=2, checkpoint_every=2
)


def _split(count: int) -> LabelledSplit:
    names = ("Paris is the capital", "Where is Japan ?")
    texts = tuple(f"{names[i % 2]} {'a b c'[: 1 + 2 * (i % 3)]}" for i in range(count))
    return LabelledSplit(texts=texts, pairs=None, labels=tuple(i % 2 for i in range(count)))


DATA = LabelledData(
    name="toy",
    label_names=("tells", "asks"),
    splits={"train": _split(24), "dev": _split(10), "test": _split(7)},
    columns=("text", "label"),
    notes=(),
)


def test_a_run_leaves_an_ordinary_checkpoint(tmp_path: Path, bert_folder: Path):
    out = tmp_path / "run"
    options = replace(OPTIONS, seeds=(0, 1), min_steps=60)
    result = finetune(bert_folder, DATA, out=out, options=options)
    assert result.middle["dev"]["accuracy"].median == 1.0  # a question mark tells them apart
    assert result.baselines["test"].majority == 4 / 7
    assert result.baselines["dev"].chance == 0.5
    assert result.num_rows == {"train": 24, "dev": 10, "test": 7}
    model = hf.AutoModelForSequenceClassification.from_pretrained(out / "model").eval()
    words = hf.AutoTokenizer.from_pretrained(out / "model")
    assert model.config.id2label == {0: "tells", 1: "asks"}
    assert (out / "model/model.safetensors").is_file()
    with torch.no_grad():
        logits = model(**words(list(DATA.splits["test"].texts), padding=True, return_tensors="pt"))
    assert logits.logits.argmax(dim=-1).tolist() == list(DATA.splits["test"].labels)
    again = load_result(out / "result")
    assert isinstance(again, FinetuneResult)
    assert again.to_dict() == result.to_dict()
    assert "majority" in (out / "report.html").read_text("utf-8")
    low, high = result.middle["dev"]["accuracy"].low, result.middle["dev"]["accuracy"].high
    assert (low, high) == (1.0, 1.0)


def test_snapshots_run_from_the_first_weights_to_the_last(tmp_path: Path, bert_folder: Path):
    result = finetune(bert_folder, DATA, out=tmp_path / "run", options=OPTIONS)
    assert result.runs[0].snapshot_steps == (0, 3, 6)
    assert result.middle["dev"]["accuracy"].low is None
    folders = sorted((tmp_path / "run/seed-0/snapshots").iterdir())
    assert [folder.name for folder in folders] == ["step-000000", "step-000003", "step-000006"]
    first, _, last = (_weights(folder) for folder in folders)
    bert = _weights(bert_folder)
    for name, tensor in first.items():
        assert name.startswith("classifier") or "pooler" in name or torch.equal(tensor, bert[name])
    for name, tensor in _weights(tmp_path / "run/model").items():
        assert torch.equal(tensor, last[name])
    assert not torch.equal(first["classifier.weight"], last["classifier.weight"])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("stop_at", [0, 3, 5])
def test_a_broken_run_goes_on_and_ends_the_same(
    tmp_path: Path, bert_folder: Path, monkeypatch: pytest.MonkeyPatch, keep: Any, stop_at: int
):
    options = replace(OPTIONS, keep=keep)
    whole = finetune(bert_folder, DATA, out=tmp_path / "a", options=options)
    take = finetune_run.LabelledBatches.__getitem__

    def broken(self: Any, number: int) -> Any:
        if number == stop_at:
            raise KeyboardInterrupt
        return take(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(finetune_run.LabelledBatches, "__getitem__", broken)
        with pytest.raises(KeyboardInterrupt):
            finetune(bert_folder, DATA, out=tmp_path / "b", options=options)
    assert not (tmp_path / "b/model").exists()
    resumed = finetune(bert_folder, DATA, out=tmp_path / "b", options=options)
    assert resumed.runs[0].scores == whole.runs[0].scores
    assert resumed.runs[0].exported_step == whole.runs[0].exported_step
    for name, tensor in _weights(tmp_path / "a/model").items():
        assert torch.equal(tensor, _weights(tmp_path / "b/model")[name])


def test_a_finished_run_is_not_repeated_and_seeds_can_be_added(
    tmp_path: Path, bert_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    out, trained = tmp_path / "run", []
    train = finetune_run.train

    def counted(*arguments: Any, **named: Any) -> Any:
        trained.append(named["options"].seed)
        return train(*arguments, **named)

    monkeypatch.setattr(finetune_run, "train", counted)
    first = finetune(bert_folder, DATA, out=out, options=OPTIONS)
    assert finetune(bert_folder, DATA, out=out, options=OPTIONS).to_dict() == first.to_dict()
    assert trained == [0]
    more = finetune(bert_folder, DATA, out=out, options=replace(OPTIONS, seeds=(0, 1)))
    assert trained == [0, 1]
    assert more.runs[0].scores == first.runs[0].scores
    finetune(bert_folder, DATA, out=out, options=OPTIONS, force=True)
    assert trained == [0, 1, 0]
    assert not (out / "seed-1").exists()


def test_another_command_in_the_folder_is_refused_by_key(tmp_path: Path, bert_folder: Path):
    out = tmp_path / "run"
    finetune(bert_folder, DATA, out=out, options=OPTIONS)
    other = replace(DATA, splits=DATA.splits | {"dev": _split(8)})
    for data, options, key in (
        (DATA, replace(OPTIONS, lr=1e-4), "lr=0.003"),
        (DATA, replace(OPTIONS, layer_decay=0.8), "layer_decay=1.0"),
        (other, OPTIONS, "data_fingerprint="),
    ):
        with pytest.raises(VesaliusError, match=key):
            finetune(bert_folder, data, out=out, options=options)
    with pytest.raises(VesaliusError, match="which exists"):
        finetune(bert_folder, DATA, out=bert_folder, options=OPTIONS)
    with pytest.raises(VesaliusError, match="not replaced"):
        finetune(bert_folder, DATA, out=bert_folder, options=OPTIONS, force=True)
    assert (bert_folder / "config.json").is_file()


def test_a_causal_model_without_padding_gets_some_and_says_so(tmp_path: Path):
    words = tokenizer()
    words.pad_token, words.eos_token = None, "[SEP]"
    folder = tmp_path / "gpt"
    causal_lm().save_pretrained(folder)
    words.save_pretrained(folder)
    pairs = replace(DATA, splits={k: replace(s, pairs=s.texts) for k, s in DATA.splits.items()})
    result = finetune(folder, pairs, out=tmp_path / "run", options=replace(OPTIONS, keep="best"))
    assert any("no padding token: '[SEP]'" in note for note in result.card.warnings)
    saved = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model")
    assert saved.config.pad_token_id == words.convert_tokens_to_ids("[SEP]")


def test_from_scratch_is_the_same_network_with_other_weights(bert_folder: Path):
    source = find_source(bert_folder)
    old, notes = build_classifier(source, label_names=("a", "b", "c"), seed=0)
    new, scratch = build_classifier(source, label_names=("a", "b", "c"), seed=0, from_scratch=True)
    same, _ = build_classifier(source, label_names=("a", "b", "c"), seed=0, from_scratch=True)
    assert "classifier.weight" in notes[0]
    assert "random" in scratch[0]
    for (name, p), q, r in zip(old.named_parameters(), new.parameters(), same.parameters(),
                               strict=True):  # fmt: skip
        assert p.shape == q.shape
        assert torch.equal(q, r)
        if p.ndim > 1 and "classifier" not in name and "pooler" not in name:
            assert not torch.equal(p, q)


def _classifier(family: str) -> torch.nn.Module:
    config = families.make(family).config
    return hf.AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert", "gpt2",
               "llama", "qwen3"]
)  # fmt: skip
def test_learning_rates_fall_from_the_top_block_down(family: str):
    model = _classifier(family)
    scales = layer_lr_scales(model, decay=0.5)
    factors = {name: scales.get(name, 1.0) for name, _ in model.named_parameters()}
    assert set(factors.values()) == {1.0, 0.5, 0.25, 0.125}
    table = model.get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        if parameter is table:
            assert factors[name] == 0.125
        for depth, factor in ((0, 0.25), (1, 0.5), (2, 1.0)):
            if f".{depth}." in name:
                assert factors[name] == factor
        if name.startswith(("classifier", "score")):
            assert factors[name] == 1.0
    assert layer_lr_scales(model, decay=1.0) == {}
    assert set(embedding_names(model)) == {n for n, f in factors.items() if f == 0.125}


def test_shared_blocks_are_one_layer():
    model = _classifier("albert")
    scales = layer_lr_scales(model, decay=0.5)
    assert set(scales.values()) == {0.5}
    assert all("embedding" in name for name in scales)


def test_frozen_embeddings_stay(tmp_path: Path, bert_folder: Path):
    options = replace(OPTIONS, freeze_embeddings=True, snapshots=0)
    finetune(bert_folder, DATA, out=tmp_path / "run", options=options)
    before, after = _weights(bert_folder), _weights(tmp_path / "run/model")
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[name], after[name])
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(before[name], after[name])


def test_a_plan_counts_and_writes_nothing(tmp_path: Path, bert_folder: Path):
    options = FinetuneOptions(epochs=10, min_steps=5, batch_size=5, max_length=4)
    plan = plan_finetune(bert_folder, DATA, out=tmp_path / "run", options=options)
    assert (plan.num_steps, plan.identity["lr"]) == (50, 3e-4)
    assert plan.num_tokens == 10 * sum(plan.splits["train"].lengths)
    assert any("cut to 4 tokens" in note for note in plan.notes)
    assert not (tmp_path / "run").exists()


BAD_OPTIONS: list[dict[str, Any]] = [
    {"seeds": ()}, {"seeds": (1, 1)}, {"seeds": (-1,)}, {"epochs": -1}, {"epochs": float("nan")},
    {"epochs": 0, "min_steps": 0}, {"batch_size": 0}, {"lr": -1e-3}, {"layer_decay": 0},
    {"layer_decay": 1.1}, {"warmup_share": 1}, {"max_length": 0}, {"snapshots": -1},
    {"keep": "worst"}, {"metric": "fame"}, {"schedule": "none"}, {"pooling": "max"},
]  # fmt: skip


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_bad_options_are_refused(as_users_call_it: None, options: dict[str, Any]):
    name = next(iter(options))
    with pytest.raises(VesaliusError, match=name):
        FinetuneOptions(**options)


def test_bad_models_are_refused(tmp_path: Path, bert_folder: Path):
    with pytest.raises(VesaliusError, match="no-such/model"):
        find_source("no-such/model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VesaliusError, match=r"without a config\.json"):
        find_source(tmp_path / "empty")
    broken = save(masked_lm(), tmp_path / "broken")
    weights = {k: v for k, v in _weights(broken).items() if "layer.1.output" not in k}
    from safetensors.torch import save_file

    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(VesaliusError, match="inside its blocks"):
        build_classifier(find_source(broken), label_names=("a", "b"), seed=0)
    with pytest.raises(VesaliusError, match="abacus"):
        plan_finetune(
            bert_folder, DATA, out=tmp_path / "x", options=replace(OPTIONS, device="abacus")
        )
    bad = masked_lm()
    bad.bert.encoder.layer[0].output.dense.weight.data[0, 0] = torch.nan
    with pytest.raises(VesaliusError, match="NaN"):
        build_classifier(find_source(save(bad, tmp_path / "nan")), label_names=("a", "b"), seed=0)


def test_the_manifest_says_what_makes_the_run(tmp_path: Path, bert_folder: Path):
    finetune(bert_folder, DATA, out=tmp_path / "run", options=replace(OPTIONS, snapshots=0))
    saved = json.loads((tmp_path / "run/run.json").read_text("utf-8"))
    assert saved["lr"] == 3e-3
    assert "seeds" not in saved
    assert len(saved["tokenizer"]) == len(saved["data_fingerprint"]) == 16
