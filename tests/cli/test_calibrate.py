"""`vesalius calibrate ...`: what the commands print, keep, and go on with."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesalius
from cli.tiny import Run
from vesalius.methods.calibration import store as stores

ca = vesalius.calibrate
scoring: Any = import_module("vesalius.methods.calibration.score")  # its function hides it
MODEL = ("--model", "mini-gpt-tiny")
SMALL = (*MODEL, "--shots", "2", "--max-texts", "12")
FITTED = (*SMALL, "--per-class", "5", "--generated", "4")


def known(*, num: int = 12, max_shots: int = 2) -> Any:
    """The rows, the prompt and the scores that the commands below ask for, by the library."""
    task = ca.find_label_task("opinions")
    sets = ca.read_task(task)
    shown = ca.draw_demonstrations(sets.rows("train"), num=max_shots, seed=0)
    rows = ca.draw_evaluation(sets.rows("test"), num=num)
    prompt = task.prompt(shown)
    specimen = vesalius.open("mini-gpt-tiny")
    found = ca.score(specimen, prompt, [r.texts for r in rows], labels=[r.label for r in rows])
    return rows, prompt, found


def test_tasks_lists_the_sets_and_tells_of_one(run: Run):
    listed = run("calibrate", "tasks")
    assert (listed.code, listed.err) == (0, "")
    told = run("calibrate", "tasks", "--json").json()["tasks"]
    assert [row["task"] for row in told] == list(ca.label_tasks())
    assert all(row["task"] in listed.out for row in told)
    one = run("calibrate", "tasks", "trec")
    task = ca.find_label_task("trec")
    assert "classes " + ", ".join(task.label_names) in one.out
    assert all(f"note: {note}" in one.out for note in task.notes)
    told = run("calibrate", "tasks", "trec", "--json").json()
    assert [part["words"] for part in told["templates"]] == [list(t.words) for t in task.templates]


def test_score_says_what_the_library_says(run: Run, tmp_path: Path):
    rows, prompt, found = known()
    ran = run("calibrate", "score", *SMALL, "--out", tmp_path / "out", "--json")
    assert ran.code == 0
    told = ran.json()
    assert (told["prompt"], told["num_texts"]) == (prompt.fingerprint(), 12)
    assert told["accuracy_uncalibrated"] == (found.predictions == found.labels).mean()
    np.testing.assert_allclose(
        [[row[f"log_prob {name}"] for name in found.label_names] for row in told["scores"]],
        found.log_probs, atol=1e-5,
    )  # fmt: skip
    kept = ca.Scores.load(tmp_path / "out")
    np.testing.assert_allclose(kept.log_probs, found.log_probs, atol=1e-5)
    shown = run("calibrate", "score", *SMALL)
    assert rows[0].texts[0][:30] in shown.out
    assert f"12 texts, 12 computed behind {found.num_prefix_tokens} shared tokens" in shown.out
    assert "accuracy without calibration" in shown.out


def test_what_is_in_the_store_costs_no_pass(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ("calibrate", "score", *SMALL, "--store", tmp_path / "store", "--json")
    first = run(*words).json()
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_labels", None)  # a call would fail
        again = run(*words).json()
    assert (first["num_computed"], again["num_computed"]) == (12, 0)
    assert again["scores"] == first["scores"]
    more = run(*words[:-1], "--max-texts", "15", "--json").json()
    assert more["num_texts"] == 15
    assert 0 < more["num_computed"] < 15
    (folder,) = (tmp_path / "store").iterdir()
    assert folder.name == first["prompt"]


@pytest.mark.parametrize("model", ["mini-gpt-tiny", "mini-bert"])
def test_a_dry_run_tells_the_work_and_keeps_nothing(run: Run, tmp_path: Path, model: str):
    texts = tmp_path / "texts.txt"
    texts.write_text("word " * 600 + "\na bore\n\ngreat fun\n")
    words = ("calibrate", "score", "--model", model, "--shots", "1", "--texts", texts, "--too-long",
             "skip", "--dry-run", "--store", tmp_path / "s", "--out", tmp_path / "o")  # fmt: skip
    (row,) = (run(*words, "--json").json()["forecast"],)
    assert (row["texts"], row["left_out"]) == (2, 1)
    assert 0 < row["tokens"] <= row["tokens_without_sharing"]
    assert 0 < row["seconds_about"] < 5
    assert "tokens_without_sharing" in run(*words).out
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]
    (tmp_path / "texts.txt").write_text("word " * 600)
    assert run(*words, "--json").json()["forecast"]["texts"] == 0


def test_texts_of_a_file_are_scored_as_they_stand(run: Run, tmp_path: Path):
    texts = tmp_path / "texts.txt"
    odd = ["a bore", "\U0001f600 fun", "one\u2028line", "[MASK] {text}", "</script>", "word " * 600]
    texts.write_bytes(("\ufeff" + "\n\n".join(odd) + "\r\n \n").encode())
    words = ("calibrate", "score", *MODEL, "--shots", "1", "--texts", texts, "--too-long", "skip",
             "--store", tmp_path / "s")  # fmt: skip
    ran = run(*words)
    assert ran.code == 0
    assert "1 of 6 texts were left out: longer than the model reads" in ran.err
    assert "one line" in ran.out  # the end of a line in a text does not break the table
    assert "accuracy" not in ran.out
    again = run(*words, "--json").json()  # the long text alone is not in the store
    assert [row["number"] for row in again["scores"]] == [0, 1, 2, 3, 4]
    assert (again["num_computed"], again["accuracy_uncalibrated"]) == (0, None)
    specimen, (_, prompt, _) = vesalius.open("mini-gpt-tiny"), known(max_shots=1)
    wanted = ca.score(specimen, prompt, odd[:5]).log_probs
    found = [list(row.values())[4:] for row in again["scores"]]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_many_label_words_are_one_column(run: Run, tmp_path: Path):
    names = [f"kind {i}" for i in range(7)]
    rows = [f"{split},text {split} {i},{name}" for split in ("train", "dev")
            for i, name in enumerate(names)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["split,text,label", *rows]) + "\n")
    words = ", ".join(f'"{word}"' for word in ("[/b]", "[red]", *"abcde"))
    (tmp_path / "t.toml").write_text(f'template = "{{text}}: {{label}}"\nwords = [{words}]\n')
    place = ("--data", tmp_path / "t.csv", "--template", tmp_path / "t.toml", *MODEL,
             "--shots", "0")  # fmt: skip
    ran = run("calibrate", "score", *place)
    assert ran.code == 0
    head = " ".join(ran.out.splitlines()[0].split())
    assert head == "text likeliest word its log P P of all words"
    few = run("calibrate", "score", *place, "--json").json()
    assert few["words"][:2] == ["[/b]", "[red]"]
    out = tmp_path / "kept"
    assert run("calibrate", "fit", *place, "--method", "none", "--out", out).code == 0
    assert run("calibrate", "predict", out, "--text", "a").out.split()[:3] == [
        "text", "label", "probability"
    ]  # fmt: skip


def test_compare_shows_every_method_and_keeps_the_result(run: Run, tmp_path: Path):
    out, page, plot = tmp_path / "out", tmp_path / "page.html", tmp_path / "plane.svg"
    ran = run("calibrate", "compare", *FITTED, "--out", out, "--html", page, "--plot", plot)
    assert ran.code == 0
    assert [line for line in ran.err.splitlines() if "wrote" in line] == [
        f"vesalius: wrote {path}" for path in (out, page, plot)
    ]
    found = ca.Comparison.load(out)
    assert {*found.methods, *found.left_out} == set(ca.METHODS)
    assert {"none", "batch", "contextual", "prototypical", "platt"} <= set(found.methods)
    assert all(method in ran.out for method in found.methods)
    assert "From the estimate set alone" in ran.out
    assert found.num_inputs[found.methods.index("batch")] == 10
    assert found.card.config["shots"] == 2
    right = (known()[2].predictions == known()[2].labels).mean()
    assert found.value("none")[0] == pytest.approx(right)
    assert "<html" in page.read_text("utf-8")
    assert plot.read_bytes().startswith(b"<?xml")
    again = run("calibrate", "compare", *FITTED, "--out", out)
    assert (again.code, again.out) == (1, "")
    assert "exists" in again.err
    assert run("calibrate", "compare", *FITTED, "--methods", "none", "--out", out,
               "--force").code == 0  # fmt: skip


def test_compare_in_json_takes_the_methods_asked_for(run: Run, tmp_path: Path):
    words = ("calibrate", "compare", *FITTED, "--methods", "batch, none,pmi", "--json", "--store",
             tmp_path / "s")  # fmt: skip
    first, again = run(*words), run(*words)
    told = first.json()
    assert [row["method"] for row in told["methods"]] == ["batch", "none", "pmi"]
    assert [row["num_inputs"] for row in told["methods"]] == [10, 0, 1]
    assert told["advice"]["recommended"] in ca.METHODS
    assert again.out == first.out
    assert len(list((tmp_path / "s").iterdir())) == 2  # the prompt's, and that of the premise


def test_compare_says_what_is_not_as_asked(run: Run):
    ran = run("calibrate", "compare", *MODEL, "--shots", "4", "--split", "train", "--methods",
              "none,batch")  # fmt: skip
    assert "40 texts to judge by stand in train too" in ran.err
    assert "36 texts to estimate from, not 200" in ran.err
    quiet = run("calibrate", "compare", *SMALL, "--methods", "none,contextual,pmi")
    assert "to estimate from" not in quiet.err
    written = run("calibrate", "compare", *SMALL, "--methods", "batch", "--per-class", "1",
                  "--estimate", "generated", "--seed", "1")  # fmt: skip
    assert written.code == 0
    assert "of the estimate set written by mini-gpt-tiny" in written.err


def test_the_preset_of_the_paper(run: Run):
    words = ("calibrate", "compare", *SMALL, "--per-class", "10", "--methods", "prototypical",
             "--preset", "paper", "--json")  # fmt: skip
    told = run(*words).json()
    assert [row["method"] for row in told["methods"]] == ["prototypical"]


def test_a_masked_model_fills_a_cloze(run: Run, tmp_path: Path):
    words = ("--model", "mini-bert", "--shots", "0", "--variant", "1", "--max-texts", "6")
    told = run("calibrate", "score", *words, "--json").json()
    assert (told["way"], told["words"]) == ("cloze", ["bad", "good"])
    ran = run("calibrate", "compare", *words, "--per-class", "3", "--methods",
              "none,contextual,batch,generative", "--out", tmp_path / "o")  # fmt: skip
    assert ran.code == 0
    assert "without [MASK], which is the gap itself" in ran.err
    assert "a masked language model does not write" in ran.err
    found = ca.Comparison.load(tmp_path / "o")
    assert found.methods == ("none", "contextual", "batch")
    assert found.num_inputs[1] == 2


def test_a_full_disk_costs_no_text(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    words = ("calibrate", "score", *SMALL, "--store", tmp_path / "s", "--json")
    assert run(*words, "--max-texts", "3").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(stores.os, "fsync", full)
        ran = run(*words)
    assert (ran.code, ran.out) == (1, "")
    assert "No space left" in ran.err
    assert "the same command again" in ran.err
    assert run(*words).code == 0


def samples(tmp_path: Path, name: str, *, num: int, seed: int) -> Path:
    """A samples file as lm-evaluation-harness writes it, with a bias for the first choice."""
    random = np.random.default_rng(seed)
    docs: list[dict[str, Any]] = []
    for i in range(num):
        target = int(random.integers(2))
        scores = random.normal(size=2) - 9 + np.array([3.0, 0.0]) + 2 * np.eye(2)[target]
        docs.append({
            "doc_id": i, "target": str(target), "acc": float(scores.argmax() == target),
            "arguments": {f"gen_args_{k}": {"arg_0": f"text {i}", "arg_1": f" {word}"}
                          for k, word in enumerate(("no", "yes"))},
            "resps": [[[str(value), "False"]] for value in scores],
        })  # fmt: skip
    path = tmp_path / name
    path.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    return path


def test_samples_of_the_harness_are_calibrated(run: Run, tmp_path: Path):
    path = samples(tmp_path, "samples_toy_2026-01-01.jsonl", num=200, seed=0)
    words = ("calibrate", "harness", path, "--methods", "none,batch,platt,pmi")
    ran = run(*words, "--out", tmp_path / "o", "--html", tmp_path / "p.html", "--plot",
              tmp_path / "p.svg")  # fmt: skip
    assert ran.code == 0
    read = ca.read_harness_samples(path)
    told = f"toy, 200 documents, as the harness counts: acc {read.acc:.1%}"
    assert ran.out.startswith(told)
    assert "pmi was left out" in ran.err
    found = ca.Comparison.load(tmp_path / "o")
    assert (found.num_known, found.methods) == (100, ("none", "batch", "platt"))
    assert found.value("batch")[0] > found.value("none")[0] + 0.1
    other = samples(tmp_path, "samples_toy_2026-01-02.jsonl", num=50, seed=1)
    shown = run(*words, "--estimate", other, "--json").json()
    assert shown["num_texts"] == 200
    assert [row["num_inputs"] for row in shown["methods"]] == [0, 50, 50]
