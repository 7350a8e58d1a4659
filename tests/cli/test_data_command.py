"""`vesalius data prepare` and `data info`, as people type them."""

import json
from pathlib import Path

import pytest

from cli.tiny import SENTENCE, Run


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text(f"{SENTENCE}\n\nThe capital of France is Paris .\n")
    return path


def test_prepare_and_info(run: Run, bert_folder: Path, texts: Path, tmp_path: Path):
    out = tmp_path / "shards"
    command = ("data", "prepare", texts, "--tokenizer", bert_folder, "--out", out)
    ran = run(*command)
    assert ran.code == 0
    for words in ("num_documents", "tokens_per_second", "num_bytes"):
        assert words in ran.out
    again = run(*command, "--json").json()
    assert (again["num_documents"], again["kept_shards"], again["new_tokens"]) == (2, 1, 0)
    shown = run("data", "info", out, "--tokenizer", bert_folder)
    assert shown.code == 0
    assert "[CLS] The capital of France is Paris. [SEP]" in shown.out.replace(" .", ".")
    found = run("data", "info", out, "--json").json()
    assert found["summary"]["documents"] == 2
    assert found["manifest"]["complete"] is True
    assert found["first_documents"] == []


def test_a_tokenizer_is_learned_once(run: Run, texts: Path, tmp_path: Path):
    command = ("data", "prepare", texts, "--tokenizer", tmp_path / "words", "--boundary", "line")
    for kept in (0, 1):
        ran = run(*command, "--train-tokenizer", "280", "--out", tmp_path / "one", "--json")
        assert ran.json()["kept_shards"] == kept
    assert (tmp_path / "words" / "tokenizer.json").is_file()
    ran = run(*command, "--train-tokenizer", "260", "--out", tmp_path / "two")
    assert ran.code == 2
    assert "which is there" in ran.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--boundary", "page"], 2, "one of blank-line, line, file"),
        (["--special-tokens", "all"], 2, "one of tokenizer, eos, bos-eos, none"),
        (["--tokenizer", "mini-bert", "--train-tokenizer", "300"], 2, "a bundled model"),
        (["--column", "text"], 1, "plain text has neither"),
        (["--tokenizer", "no-such-folder/at-all/here"], 1, "--tokenizer no-such-folder"),
    ],
)
def test_bad_input(
    run: Run, bert_folder: Path, texts: Path, tmp_path: Path, words: list[str], code: int,
    message: str,
):  # fmt: skip
    out = tmp_path / "out"
    ran = run("data", "prepare", texts, "--tokenizer", bert_folder, "--out", out, *words)
    assert ran.code == code
    assert message in ran.err
    assert not out.exists()


def test_info_of_another_folder(run: Run, tmp_path: Path):
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "sweep", "schema_version": 1}))
    ran = run("data", "info", tmp_path)
    assert ran.code == 1
    assert "a folder of token shards" in ran.err
