"""Pretraining on tiny words: what is left behind, and how a run goes on."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

import pretrain_toys as toys
from cli.tiny import bert_folder
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.prepare import prepare
from vesalius.data.replaced import ReplacedBatches
from vesalius.data.tokenizer import SPECIAL_TOKENS
from vesalius.recipes.pretrain import plan_pretrain, pretrain_electra
from vesalius.recipes.pretrain_config import pretrain_preset
from vesalius.recipes.pretrain_export import export_run
from vesalius.recipes.pretrain_result import PretrainResult
from vesalius.recipes.pretrain_run import open_run
from vesalius.recipes.pretrain_text import TextRequest, open_tokenizer
from vesalius.training import checkpoint, loop

__all__ = ["bert_folder"]


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Draw the page of the curves in one test alone: it takes longer than the run."""
    if "ordinary" not in request.node.name:
        monkeypatch.setattr(loop, "write_training_page", lambda _: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return toys.write_text(tmp_path / "words.txt")


@pytest.fixture
def words(text: Path, bert_folder: Path) -> dict[str, Any]:
    return {"text": [text], "tokenizer": bert_folder}


def _log(folder: Path, key: str) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    return [entry for line in lines if key in (entry := json.loads(line))]


def test_a_run_leaves_two_ordinary_checkpoints(tmp_path: Path, words: dict[str, Any]):
    out = tmp_path / "run"
    result = pretrain_electra(out, options=toys.options("hardness-loss"), **words)
    run = open_run(out)
    generator = hf.AutoModelForMaskedLM.from_pretrained(out / "generator").eval()
    told = hf.AutoModelForTokenClassification.from_pretrained(out / "discriminator").eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(out / "discriminator")
    batch = tokenizer("Paris is the capital of France .", return_tensors="pt")
    with torch.no_grad():
        logits = told(**batch).logits.squeeze(-1)
        ours = run.objective.pair.discriminator_logits(batch["input_ids"])
        slots = torch.arange(batch["input_ids"].shape[1])
        _, states = run.objective.pair.generator_states(batch["input_ids"], slots)
        said = states @ run.objective.pair.output_weight.T + run.objective.pair.output_bias
    torch.testing.assert_close(logits, ours)
    torch.testing.assert_close(generator(**batch).logits[0], said)
    assert tokenizer.model_max_length == 32
    card = (out / "generator/README.md").read_text("utf-8")
    for part in (
        "words.txt, 120 documents", "unknown to us", "step 6 of 6", "seed 0",
        "--recipe hardness-loss", "hardness_correlation", "ModernBertForMaskedLM",
    ):  # fmt: skip
        assert part in card
    assert str(tmp_path) not in card
    assert (out / "training.html").is_file()
    assert load_result(out / "result").to_dict() == result.to_dict()


def test_scores_stand_beside_what_needs_no_model(tmp_path: Path, words: dict[str, Any]):
    options = toys.options("hardness-distribution", num_steps=4, evaluate_every=2)
    result = pretrain_electra(tmp_path / "run", options=options, **words)
    assert len(result.rows()) == 6
    assert result.baselines["noise_auc"] == 0.5
    assert result.baselines["own_recall"] == result.scores["own_share"]
    evaluations = [entry["evaluation"] for entry in _log(tmp_path / "run", "evaluation")]
    assert len(evaluations) == 2
    assert {"generator_nats", "own_auc", "variance_ratio_median"} <= evaluations[0].keys()
    assert evaluations[-1]["generator_nats"] == pytest.approx(result.scores["generator_nats"])
    assert result.measures == _log(tmp_path / "run", "measures")[-1]["measures"]
    assert 0 < result.num_epochs < 1
    assert result.num_tokens <= 4 * 4 * 16


def test_a_pair_that_can_learn_does(tmp_path: Path, words: dict[str, Any]):
    """Of words drawn at random only the last is known: it is the first one again."""
    options = toys.options(
        generator_width=16, generator_ffn_width=24, num_steps=150, lr=5e-3, muon_lr=0.05,
        evaluate_every=150, checkpoint_every=150, rows_per_batch=16, context_length=8,
    )  # fmt: skip
    toys.write_text(words["text"][0], 400)
    result = pretrain_electra(tmp_path / "run", options=options, **words)
    assert result.scores["generator_nats"] < result.baselines["generator_nats"] - 0.2
    assert result.scores["noise_auc"] > 0.65


@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_broken_run_goes_on_and_ends_the_same(
    tmp_path: Path, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stop_at: int
):
    options = toys.options("hardness-loss")
    whole = pretrain_electra(tmp_path / "a", options=options, **words)
    take = ReplacedBatches.__getitem__

    def broken(self: ReplacedBatches, number: int) -> Any:
        if number == stop_at:
            raise KeyboardInterrupt
        return take(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(ReplacedBatches, "__getitem__", broken)
        with pytest.raises(KeyboardInterrupt):
            pretrain_electra(tmp_path / "b", options=options, **words)
    assert not (tmp_path / "b/generator").exists()
    if stop_at == 5:  # what a batch raises is raised when it is due
        assert open_run(tmp_path / "b").step == 4
    resumed = pretrain_electra(tmp_path / "b", options=options, **words)
    assert resumed.scores == whole.scores
    for part in ("generator", "discriminator"):
        first, second = (load_file(tmp_path / name / part / "model.safetensors") for name in "ab")
        assert first.keys() == second.keys()
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_finished_run_is_not_repeated(
    tmp_path: Path, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "run"
    first = pretrain_electra(out, options=toys.options(), **words)
    with monkeypatch.context() as patched:
        patched.setattr(ReplacedBatches, "__getitem__", lambda *_: pytest.fail("a batch was read"))
        again = pretrain_electra(out, options=toys.options(log_every=1), **words)
    assert again.to_dict() == first.to_dict()
    other = pretrain_electra(out, options=toys.options(seed=1), force=True, **words)
    assert other.scores != first.scores


def test_another_command_in_the_folder_is_refused_by_key(
    tmp_path: Path, words: dict[str, Any], text: Path
):
    out = tmp_path / "run"
    pretrain_electra(out, options=toys.options(), **words)
    for options, key in (
        (toys.options(lr=1e-4), "lr: 0.002 then, 0.0001 now"),
        (toys.options("focal"), "focal_gamma: 0.0 then, 1.0 now"),
        (toys.options(width=32), "width: 16 then, 32 now"),
        (toys.options(context_length=24), "context_length: 16 then, 24 now"),
    ):
        with pytest.raises(VesaliusError, match=key):
            pretrain_electra(out, options=options, **words)
    with pytest.raises(VesaliusError, match=r"tokenizer: 'tiny-bert' then, 'mini-bert' now"):
        pretrain_electra(out, options=toys.options(), text=[text])
    other = open_tokenizer(words["tokenizer"])
    other.add_tokens(["Berlin"])
    other.save_pretrained(tmp_path / "tiny-bert")
    changed: dict[str, Any] = {"text": [text], "tokenizer": tmp_path / "tiny-bert"}
    with pytest.raises(VesaliusError, match="tokenizer_sha256"):
        pretrain_electra(out, options=toys.options(), **changed)
    toys.write_text(text, 121)
    with pytest.raises(VesaliusError, match=r"sources=.*words\.txt"):
        pretrain_electra(out, options=toys.options(), **words)


def test_another_folder_is_left_alone(tmp_path: Path, words: dict[str, Any], bert_folder: Path):
    for force, said in ((False, "which exists"), (True, "not replaced even with force")):
        with pytest.raises(VesaliusError, match=said):
            pretrain_electra(bert_folder, options=toys.options(), force=force, **words)
    assert (bert_folder / "config.json").is_file()


def test_token_shards_train_as_their_text_does(tmp_path: Path, words: dict[str, Any]):
    tokenizer = open_tokenizer(words["tokenizer"])
    prepare(words["text"], tokenizer=tokenizer, out=tmp_path / "shards")
    first = pretrain_electra(tmp_path / "a", options=toys.options(), **words)
    second = pretrain_electra(
        tmp_path / "b",
        options=toys.options(),
        data=tmp_path / "shards",
        tokenizer=words["tokenizer"],
    )
    assert first.scores == second.scores
    assert second.data_name == "shards"


def test_a_tokenizer_is_learned_once(tmp_path: Path, text: Path):
    call = {"text": [text], "train_tokenizer": 60, "options": toys.options()}
    pretrain_electra(tmp_path / "run", **call)
    learned = open_tokenizer(tmp_path / "run/tokenizer")
    assert learned.tokenize("PARIS, the Capital") == learned.tokenize("paris , the capital")
    assert set(SPECIAL_TOKENS) <= set(learned.get_vocab())
    before = (tmp_path / "run/tokenizer/tokenizer.json").stat().st_mtime_ns
    again = pretrain_electra(tmp_path / "run", **call)
    assert (tmp_path / "run/tokenizer/tokenizer.json").stat().st_mtime_ns == before
    assert "--train-tokenizer 60" in again.command


def test_a_full_disk_leaves_the_former_checkpoint(
    tmp_path: Path, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    out, options = tmp_path / "run", toys.options()
    save, calls = checkpoint.save_file, []

    def full(tensors: Any, path: Any) -> None:
        calls.append(path)
        if len(calls) > 4:  # random state, weights, optimiser of the first one; then in the second
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(VesaliusError, match="No space left") as caught:
            pretrain_electra(out, options=options, **words)
    assert "goes on from the former" in caught.value.fix
    assert open_run(out).step == 2
    assert pretrain_electra(out, options=options, **words).num_steps == 6


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, words: dict[str, Any]):
    out = tmp_path / "run"
    options = toys.options(lr=1e30, muon_lr=1e30, checkpoint_every=1, optimizer="adamw")
    with pytest.raises(VesaliusError, match=r"step \d: loss") as caught:
        pretrain_electra(out, options=options, **words)
    assert "the last checkpoint is kept" in caught.value.fix
    assert open_run(out).step >= 1
    assert not (out / "result").exists()


def test_a_run_is_exported_at_any_step(
    tmp_path: Path, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    options = toys.options(checkpoint_every=1)
    take = ReplacedBatches.__getitem__

    def broken(self: ReplacedBatches, number: int) -> Any:
        if number == 5:
            raise KeyboardInterrupt
        return take(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(ReplacedBatches, "__getitem__", broken)
        with pytest.raises(KeyboardInterrupt):
            pretrain_electra(tmp_path / "run", options=options, **words)
    run = open_run(tmp_path / "run")
    assert 1 <= run.step < 6
    found = export_run(run, tmp_path / "out")
    assert f"step {run.step} of 6" in (tmp_path / "out/generator/README.md").read_text("utf-8")
    assert [folder.name for folder in found.folders] == ["discriminator", "generator"]
    with pytest.raises(VesaliusError, match="which exists"):
        export_run(run, tmp_path / "out")
    export_run(run, tmp_path / "out", force=True)


def test_a_failed_start_leaves_nothing(tmp_path: Path, bert_folder: Path, text: Path):
    before = sorted(tmp_path.rglob("*"))
    few = toys.options(rows_per_batch=1000)
    with pytest.raises(VesaliusError, match=r"fill \d+ rows"):
        pretrain_electra(tmp_path / "run", text=[text], tokenizer=bert_folder, options=few)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_writes_nothing_and_our_own_text_is_there(tmp_path: Path):
    plan = plan_pretrain(
        TextRequest(), out=tmp_path / "run", options=pretrain_preset(), workspace=tmp_path / "w"
    )
    assert not any(tmp_path.iterdir())
    assert plan.options.shape.vocab_size == 5000
    assert plan.text.num_documents > 30_000
    assert plan.batches.padding_share < 0.05
    assert plan.facts["licence"].startswith("MIT")
    smaller = replace(plan.options, rows_per_batch=1 << 20)
    assert smaller.tokens_per_step == 64 << 20


def test_results_of_another_kind_are_told_apart(tmp_path: Path, words: dict[str, Any]):
    pretrain_electra(tmp_path / "run", options=toys.options(), **words)
    assert isinstance(PretrainResult.load(tmp_path / "run/result"), PretrainResult)
    with pytest.raises(VesaliusError, match=r"without run\.json"):
        open_run(tmp_path / "run/result")
    (tmp_path / "run/run.json").write_text('{"kind": "a walk"}')
    with pytest.raises(VesaliusError, match="a walk"):
        open_run(tmp_path / "run")
