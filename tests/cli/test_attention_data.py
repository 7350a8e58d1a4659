"""`vesalius attention heads | prune | faithfulness | sweep`: labelled texts, results, files."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import transformers as hf

import vesalius
from cli.tiny import Run
from vesalius.methods.attention_attribution import (
    Faithfulness,
    HeadImportance,
    PruneCurve,
    attribute,
)
from vesalius.parallel.folder import read_sweep


def num_weights(model: object) -> int:
    return sum(p.numel() for p in model.parameters())  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def heads_folder(
    tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path, opinions: Path
) -> Path:
    from vesalius.data.labelled import load_labelled

    data = load_labelled(opinions)
    dev = data.splits["dev"]
    found = vesalius.attention.head_importance(
        vesalius.open(classifier_folder),
        dev.texts,
        labels=[data.label_names[i] for i in dev.labels],
    )
    return found.save(tmp_path_factory.mktemp("results") / "heads")


def test_heads_are_a_table_json_and_files(
    run: Run, classifier_folder: Path, opinions: Path, tmp_path: Path
):
    out, page, plot = tmp_path / "heads", tmp_path / "heads.html", tmp_path / "heads.pdf"
    words = ("attention", "heads", "--model", classifier_folder, "--data", opinions)
    ran = run(*words, "--out", out, "--html", page, "--plot", plot)
    assert ran.code == 0
    assert "--refine takes more nodes" in ran.err
    lines = ran.out.splitlines()
    assert lines[0].split() == ["layer", "head", "max", "taylor", "accuracy-difference",
                                "attention"]  # fmt: skip
    shown = [float(line.split()[2]) for line in lines[1:5]]
    assert shown == sorted(shown, reverse=True)
    assert lines[-1].startswith("8 texts, ")
    found = HeadImportance.load(out)
    assert np.nanmax(found.importance("max")) == pytest.approx(shown[0], rel=1e-3)
    assert page.stat().st_size > 1000
    assert plot.read_bytes().startswith(b"%PDF")
    told = run(*words, "--max-texts", 3, "--split", "train", "--no-baselines", "--json").json()
    assert told["heads"]["num_texts"] == 3
    assert len(told["heads"]["heads"]) == 4
    assert "taylor" not in told["heads"]["heads"][0]
    assert "--refine" not in run(*words, "--refine").err
    again = run(*words, "--out", out)
    assert (again.code, again.out) == (1, "")


def test_heads_of_a_decoder_are_told_apart_by_their_site(run: Run, opinions: Path, tmp_path: Path):
    from cli import tiny

    config = hf.BartConfig(
        vocab_size=len(tiny.tokenizer()), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
        decoder_ffn_dim=24, max_position_embeddings=32, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, decoder_start_token_id=3, num_labels=2,
        id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    folder = tiny.save(tiny.seeded(hf.BartForSequenceClassification(config)), tmp_path / "bart")
    words = ("--model", folder, "--data", opinions, "--max-texts", 2)
    ran = run("attention", "heads", *words, "--no-baselines")
    assert ran.code == 0
    assert "model.decoder.layers.0.encoder_attn" in ran.out
    told = run("attention", "prune", *words, "--on", "none", "--json").json()["prune"]
    assert {row["layer"] for row in told["removed"]} <= {0, 1}
    assert all(row["site"].startswith("model.") for row in told["removed"])


def test_prune_writes_models_that_are_smaller_and_plain(
    run: Run, classifier_folder: Path, opinions: Path, heads_folder: Path, tmp_path: Path
):
    smaller, plain = tmp_path / "smaller", tmp_path / "plain"
    out, page, plot = tmp_path / "curve", tmp_path / "curve.html", tmp_path / "curve.png"
    words = ("attention", "prune", "--model", classifier_folder, "--data", opinions, "--heads",
             heads_folder, "--share", 0.5, "--controls", 2)  # fmt: skip
    ran = run(*words, "--checkpoint", smaller, "--plain", plain, "--out", out, "--html", page,
              "--plot", plot)  # fmt: skip
    assert ran.code == 0
    written = (smaller, plain, out, page, plot)
    assert ran.err == "".join(f"vesalius: wrote {path}\n" for path in written)
    lines = ran.out.splitlines()
    assert lines[0].startswith("accuracy on 9 texts; ")
    assert lines[1].split()[2:] == ["max", "attention", "taylor", "accuracy-difference", "random"]
    assert len(lines) > 13
    assert "removed by max: 2 of 4 heads" in lines
    before = num_weights(vesalius.open(classifier_folder).model)
    opened = vesalius.open(smaller)
    assert num_weights(opened.model) < before
    assert lines[-1] == f"weights: {before:,} -> {num_weights(opened.model):,}"
    other = hf.AutoModelForSequenceClassification.from_pretrained(plain)
    assert num_weights(other) == before
    text = ["Paris has a city"]
    both = [attribute(each, text) for each in (opened, vesalius.open(plain))]
    assert both[0].examples[0].prob == pytest.approx(both[1].examples[0].prob, abs=1e-6)
    assert PruneCurve.load(out).num_random == 2
    assert run("attention", "tree", "--model", smaller, "--text", text[0]).code == 0
    for flag, path in (("--checkpoint", smaller), ("--plain", plain), ("--out", out)):
        again = run(*words, flag, path)
        assert (again.code, again.out) == (1, "")
        assert "exists" in again.err
    assert run(*words, "--checkpoint", smaller, "--force").code == 0


def test_prune_measures_for_itself_and_says_what_it_did_as_json(
    run: Run, classifier_folder: Path, opinions: Path
):
    words = ("attention", "prune", "--model", classifier_folder, "--data", opinions, "--share",
             0.25, "--by", "mean-abs", "--on-texts", 4, "--controls", 0)  # fmt: skip
    told = run(*words, "--json").json()["prune"]
    assert [row.keys() for row in told["removed"]] == [{"site", "layer", "head"}]
    assert told["weights_after"] < told["weights_before"]
    assert {row["order"] for row in told["curve"]} == {
        "mean-abs", "max", "attention", "taylor", "accuracy-difference"
    }  # fmt: skip
    assert run(*words).out.splitlines()[0].startswith("accuracy on 4 texts")


def test_a_layer_without_heads_is_said(
    run: Run, classifier_folder: Path, opinions: Path, heads_folder: Path
):
    words = ("attention", "prune", "--model", classifier_folder, "--data", opinions, "--heads",
             heads_folder, "--on", "none", "--share")  # fmt: skip
    whole = run(*words, 0)
    assert "removed by max: 0 of 4 heads" in whole.out
    assert "a layer that loses all heads" not in whole.out
    assert "a layer that loses all heads keeps weights" in run(*words, 1).out


def test_a_curve_on_texts_that_were_measured_is_refused_before_any_work(
    run: Run, classifier_folder: Path, opinions: Path, heads_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    words = ("attention", "prune", "--model", classifier_folder, "--data")
    refused = run(*words, opinions, "--heads", heads_folder, "--on", "dev")
    assert (refused.code, refused.out) == (1, "")
    assert "8 texts that the importance of heads was measured on" in refused.err
    both = tmp_path / "both"
    both.mkdir()
    dev = (opinions / "dev.tsv").read_text()
    for split, text in (("train", dev), ("dev", dev), ("test", dev.replace("has", "is"))):
        (both / f"{split}.tsv").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.cli.attention_prune.measured_heads", None)  # a call would fail
        ran = run(*words, both, "--on", "train")
    assert (ran.code, ran.out) == (1, "")
    assert "8 texts of train that are also in dev" in ran.err


def test_nothing_is_written_when_a_part_cannot_be(
    run: Run, classifier_folder: Path, opinions: Path, heads_folder: Path, tmp_path: Path
):
    ran = run("attention", "prune", "--model", classifier_folder, "--data", opinions, "--heads",
              heads_folder, "--plain", tmp_path / "plain", "--smaller", "--out", tmp_path / "out",
              "--html", tmp_path / "page.html")  # fmt: skip
    assert (ran.code, ran.out) == (1, "")
    assert "--checkpoint" in ran.err
    assert not list(tmp_path.iterdir())


def test_faithfulness_is_a_table_json_and_files(
    run: Run, classifier_folder: Path, opinions: Path, tmp_path: Path
):
    out, page, plot = tmp_path / "f", tmp_path / "f.html", tmp_path / "f.svg"
    words = ("attention", "faithfulness", "--model", classifier_folder, "--data", opinions,
             "--max-texts", 3, "--controls", 2)  # fmt: skip
    ran = run(*words, "--out", out, "--html", page, "--plot", plot)
    assert ran.code == 0
    assert ran.out.startswith("links become  taken out  loss of prob")
    assert "3 texts, " in ran.out
    assert "shuffled weights: rank correlation" in ran.out
    assert all(path.exists() for path in (page, plot))
    assert len(Faithfulness.load(out).prob) == 3
    told = run(*words, "--no-shuffle", "--json").json()["faithfulness"]
    assert len(told["rows"]) == 6
    assert told["agreement_with_shuffled"] is None
    assert "warnings" in told
    assert "computed in bfloat16" in run(*words, "--no-shuffle", "--dtype", "bfloat16").err


def test_labels_do_not_matter_where_the_prediction_is_asked(
    run: Run, classifier_folder: Path, tmp_path: Path
):
    data = tmp_path / "mail"
    data.mkdir()
    for split, words in (("train", ("Paris", "Rome")), ("dev", ("Tokyo", "London"))):
        (data / f"{split}.tsv").write_text(f"text\tlabel\n{words[0]} is\tham\n{words[1]}\tspam\n")
    words = ("--model", classifier_folder, "--data", data)
    ran = run("attention", "faithfulness", *words, "--controls", 1, "--no-shuffle")
    assert ran.code == 0
    assert run("attention", "sweep", *words, "--out", tmp_path / "sweep").code == 0
    refused = run("attention", "sweep", *words, "--out", tmp_path / "gold", "--gold")
    assert (refused.code, refused.out) == (1, "")
    assert "'ham'" in refused.err
    assert not (tmp_path / "gold").exists()


def test_sweep_skips_resumes_and_refuses_another_command(
    run: Run, classifier_folder: Path, opinions: Path, tmp_path: Path
):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for split in ("train", "dev", "test"):
        lines = (opinions / f"{split}.tsv").read_text().splitlines()[:4]
        if split == "train":
            lines[2] = "a " * 40 + "\tnegative"
        (data / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    words = ("attention", "sweep", "--model", classifier_folder, "--data", data, "--out", out,
             "--keep", 2, "--shard-size", 2)  # fmt: skip
    ran = run(*words)
    assert ran.code == 4
    assert "attributed        8" in ran.out
    assert "vesalius: skipped text: train-1\n  given: a text of 4" in ran.err
    found = read_sweep(out)
    rows = found.table().to_pylist()
    assert [row["name"] for row in rows][:3] == ["train-0", "train-2", "dev-0"]
    assert {row["label"] for row in rows} == {""}
    assert len(rows[0]["link_score"]) == 2 * 4
    alone = run("attention", "tree", "--model", classifier_folder, "--text", rows[0]["text"],
                "--keep", 2, "--json").json()["tree"][0]  # fmt: skip
    assert rows[0]["prob"] == pytest.approx(alone["prob"], rel=1e-5)
    assert rows[0]["reads"] == [link["read"] for link in alone["links"]]
    table = (out / "table.parquet").read_bytes()
    again = run(*words, "--json")
    assert again.code == 4
    told = again.json()
    assert told["sweep"]["done in this run"] == 0
    assert [entry["name"] for entry in told["skipped"]] == ["train-1"]
    assert (out / "table.parquet").read_bytes() == table
    changed = run(*words, "--tau", 0.3)
    assert changed.code == 1
    assert "tau = 0.3" in changed.err


def test_a_fault_of_all_texts_is_told_once(
    run: Run, pair_folder: Path, opinions: Path, tmp_path: Path
):
    ran = run("attention", "sweep", "--model", pair_folder, "--data", opinions, "--split", "dev",
              "--out", tmp_path / "out")  # fmt: skip
    assert ran.code == 1
    assert "vesalius: skipped 8 texts: dev-0, dev-1, dev-2 and 5 more" in ran.err
    assert ran.err.count("fine-tuned") == 1


def test_gold_labels_and_one_split_are_swept(
    run: Run, classifier_folder: Path, opinions: Path, tmp_path: Path
):
    out = tmp_path / "out"
    ran = run("attention", "sweep", "--model", classifier_folder, "--data", opinions, "--out", out,
              "--gold", "--split", "test", "--max-texts", 5)  # fmt: skip
    assert ran.code == 0
    rows = read_sweep(out).table().to_pylist()
    assert [row["name"] for row in rows] == [f"test-{i}" for i in range(5)]
    assert all(row["label"] == row["target"] for row in rows)


def test_the_bundled_classifier_and_opinions_are_the_defaults(run: Run, tmp_path: Path):
    ran = run("attention", "heads", "--max-texts", 4, "--no-baselines", "--out", tmp_path / "h")
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("4 texts, ")
    told = run("attention", "prune", "--heads", tmp_path / "h", "--on-texts", 4, "--controls", 0,
               "--share", 0.25, "--json").json()["prune"]  # fmt: skip
    assert told["weights_after"] < told["weights_before"]


def test_a_real_interruption_leaves_nothing_behind(
    classifier_folder: Path, opinions: Path, tmp_path: Path
):
    """Many texts: what was done before stays, what was not is not there."""
    data = tmp_path / "many.tsv"
    lines = [f"Rome is a {'b ' * (i % 7)}\tnegative" for i in range(3000)]
    data.write_text("\n".join(["text\tlabel", *lines, "Paris\tpositive", "Paris\tpositive"]) + "\n")
    script = Path(sys.executable).with_name("vesalius")
    out = tmp_path / "out"
    words = ("attention", "sweep", "--model", classifier_folder, "--data", data, "--dev-share",
             "0.1", "--out", out, "--shard-size", "4")  # fmt: skip
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [script, *map(str, words)], stderr=subprocess.PIPE, text=True, preexec_fn=listens
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("shards/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not list(out.rglob("*.partial"))
    assert not (out / "table.parquet").exists()
