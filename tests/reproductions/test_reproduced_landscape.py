"""The reproduction of loss landscapes runs, its page is that of its numbers, its rules say no."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

FOLDER = Path(__file__).parents[2] / "reproductions" / "loss_landscape"
ALPHAS = np.linspace(-1, 2, 31)


def call(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", FOLDER / "run.py", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_stored_page_is_that_of_the_stored_numbers(tmp_path: Path):
    for name in ("results", "figures"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    run = call("--page", "--no-pictures", "--out", tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "README.md").read_text("utf-8") == (FOLDER / "README.md").read_text("utf-8")
    for picture in (FOLDER / "figures").iterdir():
        assert picture.stat().st_size <= 300 * 1024


def test_a_run_needs_data():
    run = call("--work", "nowhere")
    assert run.returncode == 2
    assert "--data" in run.stderr


def line(curvature: float) -> dict[str, Any]:
    """Give a parabola around the solution, so that widths and climbs are known."""
    losses = (0.1 + curvature * (ALPHAS - 1) ** 2).tolist()
    measured = {"loss": losses, "error": [0.2] * len(ALPHAS)}
    return {
        "alphas": ALPHAS.tolist(),
        "norm": 2.0,
        "values": {"train": measured, "held_out": measured},
        "examples": {"train": 8, "held_out": 8},
        "train_loss_error": [0.0] * len(ALPHAS),
    }


def write(folder: Path, name: str, steps: dict[str, Any], *, accuracy: float = 0.9) -> None:
    path = folder / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    told = {
        "judged": "test",
        "accuracy": [accuracy] * 3,
        "majority": 0.5,
        "rows": {"train": 8},
        "classes": 2,
        "num_steps": 100,
        "lr": 3e-4,
        "steps": {step: {str(k): v for k, v in enumerate(each)} for step, each in steps.items()},
    }
    path.write_text(json.dumps(told), "utf-8")


def log(step: int) -> dict[str, Any]:
    """Give a training whose loss falls from 1 to 0 at once."""
    steps = list(range(10, 210, 10))
    return {"steps": steps, "loss": [1.0 if each < step else 0.0 for each in steps]}


def judged(folder: Path) -> list[list[str]]:
    """Give the rows of the table of claims."""
    run = call("--page", "--no-pictures", "--out", folder)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = (folder / "README.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in each.split("|")[1:-1]] for each in lines if each[:1] == "|"]
    return [row for row in rows if len(row) == 5 and row[0].startswith("(") and "" not in row[2:]]


def test_rules_say_yes_no_and_open(tmp_path: Path):
    """The curvatures 1 and 4 make widths of 2 sqrt(tau / c) = 0.63 and 0.32."""
    steps = {"line": [line(1.0)] * 3, "log": [log(20), log(30), log(160)]}
    write(tmp_path, "trec-pretrained", steps)
    write(tmp_path, "trec-scratch", {"line": [line(4.0)] * 3, "log": [log(100)] * 3})
    write(tmp_path, "sst2-pretrained", {"line": [line(4.0)] * 3, "log": [log(150)] * 3})
    write(tmp_path, "sst2-scratch", {"line": [line(1.0)] * 3, "log": [log(50)] * 3})
    write(tmp_path, "agnews-pretrained", {"line": [line(1.0)] * 3}, accuracy=0.54)
    write(tmp_path, "agnews-scratch", {"line": [line(4.0)] * 3}, accuracy=0.9)
    rows = judged(tmp_path)
    verdict = {
        (row[1].split(":")[0], row[2]): row[3] for row in rows if "0.5 nats of" not in row[1]
    }
    assert verdict["wider optimum", "TREC"] == "yes"
    assert verdict["wider optimum", "SST-2"] == "**no**"
    assert verdict["fewer steps to a training loss of 0.5 nats", "TREC"] == "open"
    assert verdict["fewer steps to a training loss of 0.5 nats", "SST-2"] == "**no**"
    assert not [row for row in rows if row[2] == "AG News"]  # it did not learn its task
    width = next(row for row in rows if row[1].startswith("wider optimum") and row[2] == "TREC")
    assert width[4].startswith("0.63 (0.63 to 0.63) against 0.30")  # linear between grid points


def test_an_open_end_decides_nothing(tmp_path: Path):
    """A narrower width that is only a lower bound may be the wider one."""
    write(tmp_path, "trec-pretrained", {"line": [line(0.02)] * 3})
    write(tmp_path, "trec-scratch", {"line": [line(0.05)] * 3})
    rows = [row for row in judged(tmp_path) if row[1].startswith("wider optimum")]
    near = rows[0]
    assert near[3] == "open"
    assert "lower bounds: 3 and 3 seeds" in near[4]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two small sets in which one word says the class."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "cls").mkdir()
    for task, words in (("trec", ("red", "green", "blue")), ("sst2", ("good", "bad"))):
        rows = [
            {"text": f"{words[i % len(words)]} thing number {i}", "label": words[i % len(words)],
             "split": "train" if i % 4 else "test" if i % 8 else "dev"}
            for i in range(96)
        ]  # fmt: skip
        parquet.write_table(pa.Table.from_pylist(rows), folder / "cls" / f"{task}.parquet")
    return folder


@pytest.mark.slow
def test_runs_and_goes_on(data: Path, tmp_path: Path):
    asked = ("--quick", "--data", data, "--work", tmp_path / "work", "--out", tmp_path)
    asked += ("--only", "trec-pretrained,sst2-pretrained,trec-scratch,trec-pretrained-long")
    run = call(*asked)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads((tmp_path / "results" / "trec-pretrained.json").read_text("utf-8"))
    steps = {"log", "line", "wide", "path", "rollback", "basin", "barrier", "surface", "flatness"}
    assert set(found["steps"]) == steps
    assert found["steps"]["surface"]["0"]["other"] == "sst2-pretrained"
    scratch = json.loads((tmp_path / "results" / "trec-scratch.json").read_text("utf-8"))
    assert set(scratch["steps"]) == steps - {"surface", "basin"}  # sst2-scratch is not there
    before = (tmp_path / "results" / "trec-scratch.json").read_bytes()
    again = call(*asked)
    assert again.returncode == 0, again.stderr[-2000:]
    assert " of a core" not in again.stderr  # no step was made again
    assert (tmp_path / "results" / "trec-scratch.json").read_bytes() == before
    page = call("--page", "--out", tmp_path)
    assert page.returncode == 0, page.stderr[-2000:]
    assert "not measured" in (tmp_path / "README.md").read_text("utf-8")
