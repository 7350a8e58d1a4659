"""The benchmark of pretraining still runs, part by part, and its ways learn the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ["composition", "hardness", "loading", "gains"]


def _run(out: Path, *words: str) -> list[str]:
    command = [sys.executable, "-W", "error", FOLDER / "electra.py", "--quick", "--rounds", "1"]
    command += ["--threads", "1", "--device", "cpu", "--hardware", "any cpu", "--out", out, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.split()


def _found(folder: Path) -> dict:
    (path,) = folder.glob("electra_any-cpu_20*.json")
    parts = json.loads(path.read_text("utf-8"))["parts"]
    return {name: part["found"] for name, part in parts.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    pytest.importorskip("accelerate", reason="accelerate is in the extra vesalius[train]")
    out = tmp_path_factory.mktemp("report")
    names = _run(out, "--only", "loading", "gains")
    assert names == _run(out, "--only", "composition", "hardness")
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    return out


@pytest.fixture(scope="module")
def found(folder) -> dict:
    return _found(folder)


def test_every_part_is_in_the_report(folder, found):
    assert list(found) == PARTS
    (path,) = folder.glob("*.md")
    page = path.read_text("utf-8")
    assert page.startswith("# Replaced-token pretraining")
    assert str(folder) not in page
    for part in PARTS:
        assert f"\n## {part}" in page
    assert "small, real lengths: times the tokens/s of the composition | 2 |" in page


def test_ours_pads_least_and_full_rows_are_not_padded(found):
    for case in found["composition"].values():
        ways = case["real lengths"]["ways"].items()
        real = {way: numbers["padding_share"] for way, numbers in ways}
        assert real.pop("ours") < 0.05 < 0.2 < min(real.values())
        for numbers in case["no padding"]["ways"].values():
            assert numbers["padding_share"] == 0
    padding = {
        way: numbers["padding_share"]
        for way, numbers in found["gains"]["real lengths"].items()
        if way != "gains"
    }
    assert padding["packed"] < 0.05 < padding["one text a row, padded"]


def test_the_steps_have_the_same_tokens(found):
    for case in found["composition"].values():
        steps = [numbers["tokens_a_step"] for numbers in case["no padding"]["ways"].values()]
        assert set(steps) == {case["tokens_per_step"]}
        real = case["real lengths"]["ways"]
        for numbers in real.values():  # a random batch has as many texts, so only about as much
            assert numbers["tokens_a_step"] == pytest.approx(real["ours"]["tokens_a_step"], rel=0.3)


def test_all_ways_start_alike_and_learn_the_same(found):
    for case in found["composition"].values():
        for texts in ("real lengths", "no padding"):
            after = [numbers["loss_after"] for numbers in case[texts]["ways"].values()]
            assert max(after) < case[texts]["loss_before"] - 0.1
            assert max(after) - min(after) < 0.1


def test_costs_and_shares_are_numbers(found):
    for case in found["hardness"].values():
        assert set(case["costs"]) == {"hardness-loss", "hardness-distribution"}
    for case in found["loading"].values():
        assert case["times"] > 10
        assert 0 <= case["waited_share"] < 1
    for case in found["composition"].values():
        for numbers in case["no padding"]["ways"].values():
            assert all(0 < share < 1 for share in numbers["shares"].values())


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    _run(tmp_path, "--only", "processes")
    processes = _found(tmp_path)["processes"]
    one, two = processes["losses"].values()
    assert one == pytest.approx(two, rel=1e-5)
    assert processes["ratio"]["median"] > 0


def test_a_report_needs_data():
    command = [sys.executable, FOLDER / "electra.py"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--data DIR" in run.stderr
