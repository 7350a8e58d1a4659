"""The benchmark of landscapes still runs, part by part, and its ways agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ["moving", "points", "groups", "adaptive", "stacked"]


def _run(out: Path, *words: str) -> list[str]:
    command = [sys.executable, "-W", "error", FOLDER / "landscape.py", "--quick", "--rounds", "1"]
    command += ["--threads", "1", "--hardware", "any cpu", "--out", out, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.split()


def _found(folder: Path) -> dict:
    (path,) = folder.glob("landscape_any-cpu_20*.json")
    parts = json.loads(path.read_text("utf-8"))["parts"]
    return {name: part["found"] for name, part in parts.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    names = _run(out, "--only", "stacked", "groups")
    assert names == _run(out, "--only", "moving", "points", "adaptive")
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    return out


@pytest.fixture(scope="module")
def found(folder) -> dict:
    return _found(folder)


def test_every_part_is_in_the_report(folder, found):
    assert list(found) == PARTS
    (path,) = folder.glob("*.md")
    page = path.read_text("utf-8")
    assert str(folder) not in page
    for part in PARTS:
        assert f"\n## {part}\n" in page
    assert "points, 512" not in page  # asked of the full sizes only
    assert "groups, high: times | 2 |" in page


def test_all_ways_come_to_the_same_numbers(found):
    for model in found["moving"].values():
        assert model["error"] < 1e-6
        assert model["bytes"] == 16 * model["num_weights"]
    for sized in found["points"].values():
        for way in sized["cases"].values():
            assert way["error"] < 1e-5
            assert way["ratio"]["median"] > 0
    for group in found["groups"]["cases"].values():
        assert group["error"] < 1e-5
    for net in found["stacked"].values():
        assert net["error"] < 1e-5


def test_a_group_runs_its_own_blocks_alone(found):
    groups = found["groups"]
    assert groups["cases"]["high"]["first_layer"] == groups["num_layers"] - 1
    for case in groups["cases"].values():
        blocks = groups["num_layers"] - case["first_layer"]
        ratio = groups["operations"] / case["operations"]
        assert ratio == pytest.approx(groups["num_layers"] / blocks, rel=0.1)


def test_refinement_never_leaves_the_grid(found):
    adaptive = found["adaptive"]
    assert adaptive["num_points"] == 63
    for case in adaptive["cases"].values():
        assert 0 < case["num_evaluated"] <= 63
        assert case["true_mean"] <= case["true_largest"]


def test_padding_is_counted(found):
    for count, sized in found["points"].items():
        padded = sized["cases"]["deep copy, padded to 128"]
        assert padded["tokens"] == 128 * int(count)
        assert padded["operations"] > 4 * sized["operations"]
        assert sized["cases"]["deep copy, our batches"]["tokens"] == sized["tokens"]


@pytest.mark.slow
def test_two_workers_and_one_come_to_the_same_table(tmp_path):
    _run(tmp_path, "--only", "workers", "--engine", "local")
    workers = _found(tmp_path)["workers"]
    assert workers["equal"]
    assert workers["ratio"]["median"] > 0
