"""`vesalius calibrate fit`, `predict`, `robustness`: what is kept, and runs that are broken off."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesalius
from cli.tiny import Run
from vesalius.core.result import load_result

ca = vesalius.calibrate
scoring: Any = import_module("vesalius.methods.calibration.score")  # its function hides it
MODEL = ("--model", "mini-gpt-tiny")
SMALL = (*MODEL, "--shots", "2", "--max-texts", "12")
FITTED = (*SMALL, "--per-class", "5", "--generated", "4")
OWN_TEMPLATE = """
template = "Message: {text}\\nUrgent: {label}"
words = { low = "no", high = "yes" }

[[variants]]
template = "{text}\\nThis is {label}"
words = { low = "at leisure", high = "at once" }
"""
PAIR_TEMPLATE = """
template = "{first}\\nQuestion: {second}\\nAnswer: {label}"
words = ["no", "yes"]
"""


@pytest.fixture
def own(tmp_path: Path) -> tuple[object, ...]:
    """A set of one's own: a CSV with splits, and a template file."""
    lines = ["text,mood,split"]
    for i in range(24):
        split = "train" if i < 16 else "test"
        lines.append(f'"Server {i} is {"down, help" if i % 3 == 0 else "fine"}",'
                     f"{'high' if i % 3 == 0 else 'low'},{split}")  # fmt: skip
    (tmp_path / "mails.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mails.toml").write_text(OWN_TEMPLATE)
    return ("--data", tmp_path / "mails.csv", "--template", tmp_path / "mails.toml",
            "--label-column", "mood", *MODEL, "--shots", "2")  # fmt: skip


def test_what_is_fitted_classifies_texts(run: Run, tmp_path: Path):
    out = tmp_path / "kept"
    words = ("calibrate", "fit", *FITTED, "--method", "batch", "--out", out)
    ran = run(*words, "--json")
    assert ran.json() == {"method": "batch", "fits_on": "estimate", "out": str(out)}
    assert f"vesalius: wrote {out}" in ran.err
    texts = ["A fine film.", "", "[b]dull[/b] </script>"]
    flags = [part for text in texts for part in ("--text", text)]
    told = run("calibrate", "predict", out, *flags, "--json").json()
    specimen = vesalius.open("mini-gpt-tiny")
    answers = ca.FewShotClassifier.load(out).classify(specimen, texts)
    names = ("negative", "positive")
    assert told["method"] == "batch"
    assert [row["label"] for row in told["answers"]] == [names[i] for i in answers.predictions]
    found = [list(row["probabilities"].values()) for row in told["answers"]]
    np.testing.assert_allclose(found, answers.probabilities, atol=1e-5)
    (tmp_path / "texts.txt").write_text("\n".join(filter(None, texts)))
    shown = run("calibrate", "predict", out, "--texts", tmp_path / "texts.txt")
    assert (shown.code, shown.err) == (0, "")
    assert len(shown.out.splitlines()) == 3
    assert "[b]dull[/b] </script>" in shown.out
    assert run(*words).code == 1
    assert run(*words, "--force").code == 0


@pytest.mark.parametrize("method", ["none", "contextual", "domain-context", "platt"])
def test_any_method_can_be_kept(run: Run, tmp_path: Path, method: str):
    words = ("calibrate", "fit", *FITTED, "--method", method, "--out", tmp_path / "kept")
    assert run(*words).code == 0
    (answer,) = run("calibrate", "predict", tmp_path / "kept", "--text", "a bore",
                    "--json").json()["answers"]  # fmt: skip
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_a_model_in_a_folder_is_named_when_it_is_used(
    run: Run, gpt_folder: Path, opinions: Path, tmp_path: Path
):
    (tmp_path / "t.toml").write_text('template = "{text} is in {label}"\nwords = ["a", "b"]\n')
    ran = run(
        "calibrate",
        "fit",
        "--model",
        gpt_folder,
        "--data",
        opinions,
        "--template",
        tmp_path / "t.toml",
        "--shots",
        "0",
        "--per-class",
        "2",
        "--out",
        tmp_path / "k",
    )
    assert ran.code == 0
    lost = run("calibrate", "predict", tmp_path / "k", "--text", "Paris")
    assert lost.code == 1
    assert "tiny-gpt, the model of k, which is not found by its name" in lost.err
    named = run("calibrate", "predict", tmp_path / "k", "--text", "Paris", "--model", gpt_folder)
    assert named.code == 0


def test_a_set_of_ones_own_with_a_template_file(run: Run, own: tuple[object, ...], tmp_path: Path):
    ran = run("calibrate", "score", *own, "--json", "--out", tmp_path / "o")
    assert ran.code == 0
    assert ran.json()["words"] == ["yes", "no"]  # labels in their order: high, low
    assert ca.Scores.load(tmp_path / "o").label_names == ("high", "low")
    assert ca.Scores.load(tmp_path / "o").example.endswith("\nUrgent:")
    words = run("calibrate", "score", *own, "--variant", "1", "--json").json()
    assert words["words"] == ["at once", "at leisure"]
    assert np.isfinite([list(row.values())[4:] for row in words["scores"]]).all()
    told = run("calibrate", "compare", *own, "--methods", "none,batch", "--json").json()
    assert [row["method"] for row in told["methods"]] == ["none", "batch"]


def test_pairs_of_texts(run: Run, tmp_path: Path):
    rows = [f"a cat {i},an animal {i},{i % 2},{'train' if i < 8 else 'dev'}" for i in range(12)]
    lines = ["sentence1,sentence2,label,split", *rows]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "pairs.toml").write_text(PAIR_TEMPLATE)
    (tmp_path / "texts.tsv").write_text("one\ttwo\nthree\tfour\n")
    own = ("--data", tmp_path / "pairs.csv", "--template", tmp_path / "pairs.toml", *MODEL,
           "--shots", "2")  # fmt: skip
    ran = run("calibrate", "score", *own, "--texts", tmp_path / "texts.tsv")
    assert "one | two" in ran.out
    out = tmp_path / "kept"
    assert run("calibrate", "fit", *own, "--method", "contextual", "--out", out).code == 0
    by_file = run("calibrate", "predict", out, "--texts", tmp_path / "texts.tsv", "--json")
    by_flag = run("calibrate", "predict", out, "--text", "one", "--pair", "two", "--text", "three",
                  "--pair", "four", "--json")  # fmt: skip
    assert by_flag.out == by_file.out
    assert by_flag.json()["answers"][0]["texts"] == ["one", "two"]
    (tmp_path / "odd.tsv").write_text("one\ttwo\n\nthree\n")
    odd = run("calibrate", "predict", out, "--texts", tmp_path / "odd.tsv")
    assert "1 text in line 3" in odd.err
    lone = run("calibrate", "predict", out, "--text", "one")
    assert (lone.code, "a --pair for each --text" in lone.err) == (2, True)


ROBUST = (*MODEL, "--shots", "2", "--max-texts", "6", "--axes", "order,estimate-size", "--seeds",
          "2", "--orders", "3", "--per-class", "10", "--methods", "none,batch")  # fmt: skip


def test_robustness_is_planned_run_and_kept(run: Run, tmp_path: Path):
    plan = run("calibrate", "robustness", *ROBUST, "--dry-run", "--json").json()
    # 2 demonstrations have 2 orders; 4 sizes (2, 4, 8, 10 for each class) in 2 draws
    assert plan["forecast"] == {"conditions": 10, "prompts": 2, "texts_to_score": 2 * (6 + 20)}
    assert "2 orders of 2 demonstrations, not 3" in plan["notes"][0]
    assert "texts_to_score" in run("calibrate", "robustness", *ROBUST, "--dry-run").out
    out, page, plot = tmp_path / "out", tmp_path / "page.html", tmp_path / "boxes.png"
    ran = run("calibrate", "robustness", *ROBUST, "--out", out, "--html", page, "--plot", plot)
    assert ran.code == 0
    found = load_result(out)
    assert isinstance(found, ca.Robustness)
    assert (found.axes, found.methods) == (("order", "estimate-size"), ("none", "batch"))
    assert (found.num_prompts, found.num_texts) == (2, 52)
    assert "estimate-size" in ran.out
    assert "<html" in page.read_text("utf-8")
    assert plot.read_bytes().startswith(b"\x89PNG")
    told = run("calibrate", "robustness", *ROBUST, "--json").json()
    assert len(told["cells"]) == 10 * 2
    assert told["num_prompts"] == 2


@pytest.mark.parametrize(
    ("words", "stops_at"), [(("score", *SMALL), 1), (("robustness", *ROBUST), 2)]
)
def test_an_interrupted_run_goes_on(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    stops_at: int,
):
    asked = ("calibrate", *words, "--json")
    kept = ("--store", tmp_path / "s", "--out", tmp_path / "o")
    whole = run(*asked).json()
    real, batches, calls = scoring.score_labels, [], []

    def slowly(specimen: Any, plan: Any, **more: Any) -> Any:
        calls.append(len(plan.kept))
        for batch in real(specimen, plan, **more | {"tokens_per_batch": 60}):
            if len(calls) == stops_at and len(batches) > 1:
                raise KeyboardInterrupt
            batches.append(len(batch[0]))
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_labels", slowly)
        stopped = run(*asked, *kept)
    assert (stopped.code, stopped.out) == (130, "")
    assert not (tmp_path / "o").exists()
    assert not list(tmp_path.glob(".*partial"))
    calls.clear()
    batches.clear()
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_labels", slowly)
        stops_at = 0
        rest = run(*asked, *kept)
    assert rest.code == 0
    assert 0 < sum(batches) < whole.get("num_texts", 52)
    assert close(rest.json(), whole)


def close(first: Any, second: Any) -> bool:
    """Whether two results are the same but for rounding and for what was computed anew."""
    if isinstance(first, dict):
        skipped = ("num_computed", "prefix_tokens")
        return first.keys() == second.keys() and all(
            close(first[name], second[name]) for name in first if name not in skipped
        )
    if isinstance(first, list):
        return len(first) == len(second) and all(map(close, first, second))
    return first == (pytest.approx(second, abs=1e-4) if isinstance(first, float) else second)
