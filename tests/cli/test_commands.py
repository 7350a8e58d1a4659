"""The commands beside `neurons`, each run twice."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cli.tiny import Run
from vesalius.models import zoo


def test_check_tells_parts_seam_and_support(run: Run, bert_folder: Path):
    ran = run("check", bert_folder)
    assert (ran.code, ran.err) == (0, "")
    for words in ("bert.encoder.layer.1", "output.dense", "[out, in]", "registry", "supported"):
        assert words in ran.out
    again = run("check", bert_folder, "--json", "--dtype", "float64").json()
    assert again["supported"] is True
    assert [row["d_ff"] for row in again["rows"]] == [24, 24]
    assert again["neuron_difference"] < 1e-10


def test_check_fails_on_an_unsupported_model(
    run: Run, bert_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    check = import_module("vesalius.models.checking")
    known = check.check
    monkeypatch.setattr(
        check, "check", lambda s: replace(known(s), attention_seam="none", unclimbable="a reason")
    )
    ran = run("check", bert_folder)
    assert ran.code == 1
    assert "no: a reason" in ran.out


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of one model."""
    (tmp_path / "shelf" / "mini").mkdir(parents=True)
    card = {
        "task": "masked-lm",
        "num_parameters": 123,
        "licence": "CC0: all of it",
        "scores": {"all": {"macro": 0.5, "majority_macro": 0.25}},
    }
    (tmp_path / "shelf" / "mini" / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(zoo, "_root", lambda: tmp_path / "shelf")
    return tmp_path / "shelf"


@pytest.mark.usefixtures("shelf")
def test_models_lists_what_the_cards_say(run: Run):
    ran = run("models")
    assert ran.code == 0
    for words in ("mini", "masked-lm", "123", "CC0", "macro: all 50% (majority 25%)"):
        assert words in ran.out
    assert "all of it" not in ran.out
    row = run("models", "--json").json()["models"][0]
    assert (row["name"], row["parameters"], row["licence"]) == ("mini", 123, "CC0")


def test_no_bundled_model_is_said_on_stderr(run: Run, shelf: Path):
    (shelf / "mini" / "card.json").unlink()
    ran = run("models")
    assert (ran.code, ran.out) == (0, "")
    assert "no model" in ran.err
    assert run("models", "--json").json() == {"models": []}


def test_the_bundled_models_have_cards_to_list(run: Run):
    rows = run("models", "--json").json()["models"]
    assert all(row["task"] and row["parameters"] and row["licence"] for row in rows)
    assert [row["name"] for row in rows] == zoo.names()


def test_cite_names_and_folders_each_once(run: Run, bert_folder: Path, tmp_path: Path):
    out = tmp_path / "located"
    run("neurons", "locate", "--model", bert_folder, "--relation", "P36", "--subject", "France",
        "--out", out)  # fmt: skip
    ran = run("cite", out, "neurons", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("Knowledge Neurons in Pretrained Transformers") == 1
    assert ran.out.count("@software{vesalius") == 1
    assert run("cite").out.startswith("@software{vesalius")


def test_demo_replaces_its_own_folder_and_no_other(run: Run, bert_folder: Path, tmp_path: Path):
    out = tmp_path / "demo"
    words = ("demo", "--model", bert_folder, "--out", out, "--seed", 3)
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    assert "The capital of France is [MASK].  Paris" in ran.out
    files = [Path(line) for line in ran.out.strip().splitlines()[-2:]]
    assert all(path.is_file() and path.parent == out for path in files)
    again = run(*words, "--json")
    assert again.code == 0
    assert [Path(str(path)) for path in again.json()["files"]] == files
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused = run("demo", "--model", bert_folder, "--out", tmp_path / "mine", "--force")
    assert refused.code == 1
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_zoo_train_calls_the_recipe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from vesalius.recipes import zoo as recipe
    from vesalius.training.loop import TrainingSummary

    called: dict[str, Any] = {}

    class Finished:
        preset = "gpu"
        summary = TrainingSummary(num_steps=3, num_tokens=9, seconds=0.5, loss_nats=1.25)

    def make(data: Path, out: Path, **options: Any) -> recipe.MadeModel:
        called.update(data=data, out=out, **options)
        card = {"scores": {"all": {"macro": 0.123456}}}
        finished: Any = Finished()
        return recipe.MadeModel(run=finished, folder=out / "model", card=card)

    monkeypatch.setattr(recipe, "make_mini_bert", make)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "some.parquet").touch()
    words = ("zoo", "train", "mini-bert", "--data", tmp_path, "--out", tmp_path / "run",
             "--preset", "gpu", "--seed", 5, "--tokenizer", tmp_path,
             "--notes", tmp_path / "notes.txt")  # fmt: skip
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    assert "loss_nats" in ran.out
    assert ran.out.strip().splitlines()[-1] == str(tmp_path / "run" / "model")
    assert called["tokenizer"] == tmp_path
    assert called["notes"] == tmp_path / "notes.txt"
    assert called["preset"] == "gpu"
    assert called["seed"] == 5
    found = run(*words, "--json").json()
    assert found["num_steps"] == 3
    assert found["macro_accuracy"] == {"all": 0.1235}
    assert found["model"] == str(tmp_path / "run" / "model")
