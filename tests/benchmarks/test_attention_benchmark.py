"""The benchmark of attention attribution still runs, part by part, and its ways agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ["engine", "importance", "memory", "pruning", "workers"]


def _run(out: Path, *words: str) -> None:
    command = [sys.executable, "-W", "error", FOLDER / "attention.py", "--quick", "--rounds", "1"]
    command += ["--threads", "1", "--hardware", "any cpu", "--out", out, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    _run(out, "--only", "memory", "workers")
    _run(out, "--only", "engine", "importance", "pruning")
    return out


@pytest.fixture(scope="module")
def found(folder) -> dict:
    (path,) = folder.glob("attention_any-cpu_20*.json")
    parts = json.loads(path.read_text("utf-8"))["parts"]
    return {name: part["found"] for name, part in parts.items()}


def test_parts_measured_before_are_kept(folder, found):
    assert sorted(found) == PARTS
    (path,) = folder.glob("*.md")
    page = path.read_text("utf-8")
    assert page.startswith("# Self-attention attribution")
    assert str(folder) not in page
    for part in PARTS:
        assert f"\n## {part}" in page


def test_the_ways_agree(found):
    for each in (*found["engine"].values(), *found["importance"].values()):
        assert each["error"] < 1e-4
    sums = [each["sum"] for each in found["memory"].values()]
    assert max(sums) - min(sums) < 1e-5 * max(1e-3, abs(sums[0]))
    before, after = found["pruning"]["weights"]
    assert after < before
