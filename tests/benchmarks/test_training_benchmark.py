"""The training benchmark still runs, compares like with like, and counts what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vesalius.data.corpus import written_sentences
from vesalius.data.facts import load_facts

FOLDER = Path(__file__).parents[2] / "benchmarks"


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", FOLDER / "training.py", "--quick", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    pytest.importorskip("accelerate", reason="accelerate is in the extra vesalius[train]")
    out = tmp_path_factory.mktemp("report")
    # one and two sentences in a text: the real lengths are uneven too
    told = [example.text for example in written_sentences(load_facts())][:600]
    texts = [" ".join(told[i : i + 1 + i % 7]) for i in range(600)]
    data = tmp_path_factory.mktemp("data")
    (data / "facts").mkdir()
    pq.write_table(pa.table({"text": texts}), data / "facts" / "trex_sentences.parquet")
    words = ["--rounds", "2", "--threads", "1", "--hardware", "any cpu"]
    run = _run(*words, "--data", data, "--out", out)
    assert run.returncode == 0, run.stderr[-2000:]
    names = run.stdout.split()
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert names[1].startswith("training_any-cpu_20")
    page = (out / names[1]).read_text("utf-8")
    assert page.startswith("# Training")
    assert str(out) not in page
    assert str(data) not in page
    return json.loads((out / names[0]).read_text("utf-8"))


def _comparisons(report: dict, name: str) -> list[dict]:
    return [case[name] for case in report["cases"].values()]


def test_ours_pads_least_and_full_rows_are_not_padded(report):
    for found in _comparisons(report, "real lengths"):
        padding = {way: numbers["padding_share"] for way, numbers in found["ways"].items()}
        assert padding["ours"] < 0.1 < padding["Trainer"]
        assert padding["ours"] < padding["Trainer, group_by_length"] < padding["Trainer"]
    for found in _comparisons(report, "no padding"):
        assert {numbers["padding_share"] for numbers in found["ways"].values()} == {0.0}


def test_the_steps_have_the_same_tokens(report):
    for found in _comparisons(report, "real lengths"):
        # a random batch of the Trainer has as many texts, so as many tokens only on average
        assert found["ways"]["Trainer"]["tokens_per_step"] == pytest.approx(
            found["ways"]["ours"]["tokens_per_step"], rel=0.3
        )
    for found in _comparisons(report, "no padding"):
        assert {numbers["tokens_per_step"] for numbers in found["ways"].values()} == {512.0}


def test_every_way_learns(report):
    for found in [*_comparisons(report, "real lengths"), *_comparisons(report, "no padding")]:
        after = [numbers["loss_after"]["median"] for numbers in found["ways"].values()]
        assert max(after) < found["loss_before"]
        assert max(after) - min(after) < 0.02  # four steps of one size


def test_the_same_seed_takes_the_same_texts(report):
    """A round's batches follow from its number: rounds differ, reports of one machine do not."""
    for found in _comparisons(report, "real lengths"):
        for numbers in found["ways"].values():
            tokens = [(run["tokens"], run["squares"]) for run in numbers["runs"]]
            assert tokens[0] != tokens[1]
            assert all(run["steps"] == 3 for run in numbers["runs"])


def test_operations_are_those_of_the_shapes(report):
    """Six for each weight and token of the linear maps, the first layer's inputs apart."""
    bert = report["cases"]["BERT-base"]
    blocks = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    head = 32 * 32 + 32 * 5000
    assert bert["operations_per_token"] == pytest.approx(6 * (blocks + head), rel=0.02)
    # scores and values forward, and four products backward, two operations each, in two layers
    assert bert["operations_per_squared_length"] == pytest.approx(2 * 6 * 2 * 32, rel=0.35)
    mini = report["cases"]["mini-bert"]
    linear = 2 * (4 * 32 * 32 + 3 * 32 * 48) + 0.15 * head
    assert mini["operations_per_token"] == pytest.approx(6 * linear, rel=0.05)


def test_a_report_needs_data():
    command = [sys.executable, FOLDER / "training.py"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--data DIR" in run.stderr
