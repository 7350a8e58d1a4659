"""`vesalius pretrain electra` and `vesalius electra`: what they print, refuse, leave behind."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest

import pretrain_toys as toys
from cli.tiny import Run
from vesalius.cli import pretrain as command
from vesalius.cli.pretrain_flags import NAMES, RUN_FLAGS, PretrainFlags
from vesalius.data.replaced import ReplacedBatches
from vesalius.recipes import pretrain as recipe
from vesalius.recipes.pretrain_card import FLAGS, command_of
from vesalius.recipes.pretrain_config import PretrainOptions, pretrain_preset
from vesalius.recipes.pretrain_text import TextRequest
from vesalius.training import loop


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "write_training_page", lambda _: None)


@pytest.fixture
def words(tmp_path: Path, bert_folder: Path) -> list[object]:
    text = toys.write_text(tmp_path / "words.txt")
    return ["pretrain", "electra", "--text", text, "--tokenizer", bert_folder, "--out",
            tmp_path / "run", *toys.flags()]  # fmt: skip


def test_scores_stand_beside_those_without_a_model(run: Run, words: list[object], tmp_path: Path):
    ran = run(*words, "--threads", 1)
    assert ran.code == 0, ran.err
    for part in ("learned", "without a model", "AUC", "tokens/s", "run/generator", "training.html"):
        assert part in ran.out
    for part in ("vesalius finetune", "verify-variance", "neurons locate"):
        assert part in ran.err
    again = run(*words, "--json")
    assert "is finished; nothing was done" in again.err
    assert again.json()["steps"] == 6
    assert (tmp_path / "run/discriminator/model.safetensors").is_file()
    cited = run("cite", tmp_path / "run")
    assert "Discriminators Rather Than Generators" in cited.out


def test_a_dry_run_counts_and_writes_nothing(run: Run, words: list[object], tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    plan: Any = run(*words, "--dry-run", "--json").json()["plan"]
    assert (plan["steps"], plan["tokens per step"], plan["documents"]) == (6, 64, 120)
    assert plan["tokens to read"] <= 6 * 64
    assert plan["operations"] == pytest.approx(
        plan["operations per token"] * plan["tokens to read"], rel=0.01
    )
    assert 0 <= plan["padding share"] < 0.5
    ran = run(*words, "--dry-run")
    assert "seconds about" in ran.out
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interruption_leaves_a_folder_that_goes_on(
    run: Run, words: list[object], monkeypatch: pytest.MonkeyPatch
):
    take = ReplacedBatches.__getitem__

    def broken(self: ReplacedBatches, number: int) -> object:
        if number == 5:
            raise KeyboardInterrupt
        return take(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(ReplacedBatches, "__getitem__", broken)
        ran = run(*words)
    assert ran.code == 130
    assert "the same command" in ran.err
    changed = run(*words, "--focal-gamma", 2)
    assert (changed.code, changed.out) == (1, "")
    assert "focal_gamma: 0.0 then, 2.0 now" in changed.err
    assert run(*words, "--log-every", 1, "--checkpoint-every", 3).code == 0


def test_a_pair_is_exported_and_its_samplers_measured(
    run: Run, words: list[object], tmp_path: Path
):
    assert run(*words, "--recipe", "hardness-loss").code == 0
    out = tmp_path / "out"
    ran = run("electra", "export", tmp_path / "run", out, "--json")
    assert ran.json()["step"] == 6
    assert (out / "generator/README.md").is_file()
    assert "step 6" in run("electra", "export", tmp_path / "run", out, "--force").out
    measure = ("electra", "verify-variance", tmp_path / "run", "--slots", 3, "--head-steps", 2)
    ran = run(*measure, "--html", tmp_path / "page.html")
    assert ran.code == 0, ran.err
    for part in ("hardness-loss", "hardness-distribution", "best for the loss", "nats"):
        assert part in ran.out
    assert (tmp_path / "page.html").is_file()
    found: Any = run(*measure, "--text", tmp_path / "words.txt", "--json").json()
    assert found["num_slots"] == 3
    assert found["largest_bias"] < 1e-3


def test_every_option_is_a_flag_and_every_flag_an_option():
    fields = {field.name for field in dataclasses.fields(PretrainFlags)} - set(RUN_FLAGS)
    options = set(pretrain_preset("tiny").flat()) - {"vocab_size", "betas", "preset", "recipe"}
    assert {NAMES.get(name, name) for name in fields} == options
    assert {option: flag for flag, option in NAMES.items()} == FLAGS


def test_the_command_of_the_card_makes_the_same_run(run: Run, monkeypatch: pytest.MonkeyPatch):
    options = toys.options("hardness+focal", seed=3, detach_head=False, autocast_bf16=False)
    made: list[PretrainOptions] = []

    def plan(request: TextRequest, *, options: PretrainOptions, **_: object) -> None:
        assert request == TextRequest(train_tokenizer=500)
        made.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "plan_together", plan)
    line = command_of(TextRequest(train_tokenizer=500), options)
    usual = ["--log-every", "2", "--evaluate-every", "3", "--checkpoint-every", "2"]
    assert run(*shlex.split(line)[1:], *usual).code == 130
    assert made == [options]


def test_only_the_first_of_several_processes_speaks(
    run: Run, words: list[object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "1")
    ran = run(*words, "--dry-run")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    ran = run(*words, "--context-length", 64, "--dry-run")
    assert (ran.code, ran.out, ran.err) == (1, "", "")


def test_the_command_is_short():
    import ast

    tree = ast.parse(Path(command.__file__).read_text("utf-8"))
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "electra")
    assert (node.end_lineno or 0) - node.lineno < 30
