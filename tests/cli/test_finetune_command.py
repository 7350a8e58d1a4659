"""The command finetune: what it prints, what it refuses, how it ends when it is interrupted."""

import ast
import json
from pathlib import Path

import pytest

from cli.tiny import Run
from vesalius.cli import finetune as command
from vesalius.data.labelled_batches import LabelledBatches


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "set.jsonl"
    rows = [
        {"split": split, "text": ("Paris is a city", "Where is Rome ?")[i % 2], "label": i % 2}
        for split, count in (("train", 8), ("dev", 4))
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def words(model: Path, data: Path, out: Path) -> list[object]:
    return ["finetune", model, "--data", data, "--out", out, "--min-steps", 4, "--epochs", 1,
            "--batch-size", 4, "--threads", 1]  # fmt: skip


def test_scores_stand_beside_majority_and_chance(
    run: Run, bert_folder: Path, data: Path, tmp_path: Path
):
    ran = run(*words(bert_folder, data, tmp_path / "run"))
    assert ran.code == 0, ran.err
    for word in ("accuracy", "macro_f1", "majority", "chance", "over 4 rows", "model"):
        assert word in ran.out
    assert "new weights" in ran.err
    again = run(*words(bert_folder, data, tmp_path / "run"), "--json")
    assert "is finished; nothing was done" in again.err
    assert again.json()["scores"][0]["chance"] == 0.5
    assert (tmp_path / "run/model/model.safetensors").is_file()


def test_a_dry_run_counts_and_writes_nothing(
    run: Run, bert_folder: Path, data: Path, tmp_path: Path
):
    ran = run(*words(bert_folder, data, tmp_path / "run"), "--dry-run", "--num-seeds", 2, "--json")
    plan = ran.json()["plan"]
    assert (plan["steps per seed"], plan["seeds left"]) == (4, "0, 1")
    assert plan["tokens per seed"] > 0
    assert not (tmp_path / "run").exists()
    ran = run(*words(bert_folder, data, tmp_path / "run"), "--dry-run")
    assert "tokens per seed" in ran.out


def test_a_changed_option_is_refused_by_name(
    run: Run, bert_folder: Path, data: Path, tmp_path: Path
):
    assert run(*words(bert_folder, data, tmp_path / "run")).code == 0
    ran = run(*words(bert_folder, data, tmp_path / "run"), "--layer-decay", 0.5)
    assert (ran.code, ran.out) == (1, "")
    assert "layer_decay=1.0, now 0.5" in ran.err


def test_an_interruption_leaves_a_folder_that_goes_on(
    run: Run, bert_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    take = LabelledBatches.__getitem__

    def broken(self: LabelledBatches, number: int) -> object:
        if number == 2:
            raise KeyboardInterrupt
        return take(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(LabelledBatches, "__getitem__", broken)
        ran = run(*words(bert_folder, data, tmp_path / "run"))
    assert ran.code == 130
    assert "the same command" in ran.err
    assert run(*words(bert_folder, data, tmp_path / "run")).code == 0


@pytest.mark.parametrize("more", [["--seeds", "1,two"], ["--seeds", "0", "--num-seeds", "2"]])
def test_wrong_usage(run: Run, bert_folder: Path, data: Path, tmp_path: Path, more: list[str]):
    ran = run(*words(bert_folder, data, tmp_path / "run"), *more)
    assert (ran.code, ran.out) == (2, "")
    assert "--seeds" in ran.err


def test_a_missing_column_and_a_missing_dev_split_are_told(
    run: Run, bert_folder: Path, data: Path, tmp_path: Path
):
    ran = run(*words(bert_folder, data, tmp_path / "run"), "--label-column", "mood")
    assert ran.code == 1
    assert "it has split, text, label" in ran.err
    ran = run(*words(bert_folder, data, tmp_path / "run"), "--split-column", "none")
    assert "--dev-share 0.1" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_bundled_set_and_model_are_what_is_taken_without_words(run: Run, tmp_path: Path):
    ran = run("finetune", "--dry-run", "--json", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    plan = ran.json()["plan"]
    assert (plan["model"], plan["data"], plan["classes"]) == (
        "mini-bert",
        "kinds",
        "person, place, product, show",
    )
    assert plan["steps per seed"] == 200


def test_the_command_is_short():
    tree = ast.parse(Path(command.__file__).read_text("utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "finetune")
    assert (node.end_lineno or 0) - node.lineno < 30
