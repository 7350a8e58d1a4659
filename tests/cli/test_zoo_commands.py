"""The commands of `vesalius zoo`."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cli import tiny
from cli.tiny import Run
from vesalius.cli import bundled
from vesalius.core.errors import VesaliusError
from vesalius.models import zoo
from vesalius.recipes import mini_gpt_card, zoo_runs, zoo_verify
from vesalius.training.loop import TrainingSummary


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of a masked and a causal model, each with its record."""
    root = tmp_path / "shelf"
    for name, task, model in (
        ("ada", "causal-lm", tiny.causal_lm()),
        ("bob", "masked-lm", tiny.masked_lm()),
    ):
        folder = tiny.save(model, root / name)
        card = {"task": task, "headline": f"{name} is good", "licence": "CC0"}
        card["sha256"] = zoo_runs.sha256_of(folder / "model.safetensors")
        zoo_runs.write_card(card, readme=[f"# {name}"], folder=folder)
        zoo_verify.write_verification(folder)
    monkeypatch.setattr(zoo, "_root", lambda: root)
    return root


def rows_of(run: Run, *words: str, code: int = 0) -> dict[str, Any]:
    ran = run("zoo", "verify", *words, "--json")
    assert ran.code == code
    found: Any = ran.json()["models"]
    return {row["name"]: row for row in found}


@pytest.mark.usefixtures("shelf")
def test_list_is_models(run: Run):
    ran = run("zoo", "list")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == run("models").out
    assert "ada is good" in ran.out


@pytest.mark.usefixtures("shelf")
def test_verify_finds_whole_models_whole(run: Run):
    ran = run("zoo", "verify")
    assert ran.code == 0
    assert ran.out.count(" ok") == 2
    found = rows_of(run, "bob")
    assert list(found) == ["bob"]
    assert found["bob"]["num_numbers"] == 8
    assert found["bob"]["difference"] < 1e-4


def damage(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    record = folder / zoo_verify.NAME
    if how == "one bit":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(bytes(content))
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif how == "missing":
        weights.unlink()
    elif how == "no record":
        record.unlink()
    elif how == "empty record":
        record.write_text("{}")
    elif how == "other numbers":
        content = json.loads(record.read_text())
        content["numbers"] = {name: value - 0.01 for name, value in content["numbers"].items()}
        record.write_text(json.dumps(content))
    elif how == "other questions":
        content = json.loads(record.read_text())
        content["numbers"]["Who?"] = content["numbers"].popitem()[1]
        record.write_text(json.dumps(content))
    elif how == "other card":
        card = folder / "card.json"
        card.write_text(card.read_text().replace('"sha256": "', '"sha256": "0'))
        content = json.loads(record.read_text())
        del content["files"]["card.json"]
        record.write_text(json.dumps(content))
    else:
        raise AssertionError(how)


DAMAGES = {
    "one bit": "other content",
    "cut": "bytes",
    "missing": "without model.safetensors",
    "no record": "FileNotFoundError",
    "empty record": "incomplete",
    "other numbers": "when made",
    "other questions": "asked or told",
    "other card": "SHA-256",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_verify_tells_what_is_wrong_with_a_model_and_goes_on(run: Run, shelf: Path, how: str):
    damage(shelf / "ada", how)
    found = rows_of(run, code=1)
    assert not found["ada"]["ok"]
    assert DAMAGES[how] in found["ada"]["what"]
    assert found["bob"]["ok"]
    ran = run("zoo", "verify", "ada")
    assert ran.code == 1
    assert "differs" in ran.out
    assert DAMAGES[how] in ran.err
    with pytest.raises(VesaliusError, match=DAMAGES[how]):
        zoo_verify.verify_folder(shelf / "ada")


def test_files_that_no_loader_takes_are_named(shelf: Path):
    (shelf / "ada" / "config.json").write_text("{}")
    with pytest.raises(VesaliusError, match="does not load"):
        zoo_verify.measure(shelf / "ada")
    (shelf / "bob" / "card.json").write_text('{"task": "juggling"}')
    with pytest.raises(VesaliusError, match="juggling"):
        zoo_verify.measure(shelf / "bob")
    (shelf / "bob" / "card.json").unlink()
    with pytest.raises(VesaliusError, match="FileNotFoundError"):
        zoo_verify.measure(shelf / "bob")


@pytest.mark.usefixtures("shelf")
def test_an_unknown_name_is_refused_before_any_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(zoo_verify, "verify", lambda *_: pytest.fail("it was loaded"))
    ran = run("zoo", "verify", "ada", "eve")
    assert ran.code == 1
    assert "eve" in ran.err
    assert "ada, bob" in ran.err


def test_the_bundled_models_verify(run: Run):
    found = rows_of(run)
    assert list(found) == zoo.names()
    assert all(row["ok"] for row in found.values()), found


def test_train_passes_the_name_on_to_a_family(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    called: dict[str, Any] = {}

    def make(data: Path, out: Path, **options: Any) -> Any:
        called.update(options)
        summary = TrainingSummary(num_steps=3, num_tokens=9, seconds=0.5, loss_nats=1.25)
        return SimpleNamespace(
            run=SimpleNamespace(summary=summary),
            folder=out / "model",
            results={"nats": 3.5, "accuracy": {"sst2": 0.75}},
        )

    monkeypatch.setattr(mini_gpt_card, "make_mini_gpt", make)
    words = ("zoo", "train", "mini-gpt-tiny", "--data", tmp_path, "--out", tmp_path / "o")
    ran = run(*words)
    assert ran.code == 1
    assert "trex_sentences" in ran.err
    for pattern in bundled.RECIPES["mini-gpt-tiny"].needs:
        path = tmp_path / pattern.replace("*", "some")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    assert called["name"] == "mini-gpt-tiny"
    assert "accuracy, sst2" in ran.out
    assert run(*words, "--json").json()["accuracy"] == {"sst2": 0.75}


@pytest.mark.parametrize("name", bundled.RECIPES)
def test_every_recipe_can_be_found(name: str, tmp_path: Path):
    for pattern in bundled.RECIPES[name].needs:
        path = tmp_path / pattern.replace("*", "some")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert callable(bundled.find_recipe(name, tmp_path))


def test_a_long_log_keeps_its_evaluations_and_its_last_step(tmp_path: Path):
    entries: list[dict[str, Any]] = [{"step": i, "loss_nats": 1.0} for i in range(1, 400)]
    entries.insert(200, {"step": 200, "evaluation": {"nats": 2.0}})
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
    zoo_runs.copy_log(tmp_path / "log.jsonl", tmp_path / "thin.jsonl", max_bytes=4000)
    kept = [json.loads(line) for line in (tmp_path / "thin.jsonl").read_text().splitlines()]
    assert (tmp_path / "thin.jsonl").stat().st_size <= 4000
    assert sum("evaluation" in line for line in kept) == 1
    assert kept[-1]["step"] == 399
    assert [line["step"] for line in kept] == sorted(line["step"] for line in kept)
    zoo_runs.copy_log(tmp_path / "log.jsonl", tmp_path / "whole.jsonl")
    assert (tmp_path / "whole.jsonl").read_text() == (tmp_path / "log.jsonl").read_text()


def test_weights_are_saved_in_half_precision(tmp_path: Path):
    saved = zoo_runs.save_half(tiny.causal_lm(), tokenizer=tiny.tokenizer(), folder=tmp_path)
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert saved["num_bytes"] == (tmp_path / "model.safetensors").stat().st_size
    shutil.rmtree(tmp_path)
