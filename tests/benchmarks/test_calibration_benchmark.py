"""The benchmark of scoring still runs, part by part, and its ways agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ["memory", "scoring", "trie", "ways"]


def _run(out: Path, *words: str) -> list[str]:
    command = [sys.executable, "-W", "error", FOLDER / "calibration.py", "--quick", "--rounds", "1"]
    command += ["--threads", "1", "--hardware", "any cpu", "--out", out, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    names = _run(out, "--only", "ways")
    assert names == _run(out, "--only", "trie", "memory", "scoring")
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    return out


@pytest.fixture(scope="module")
def found(folder) -> dict:
    (path,) = folder.glob("calibration_any-cpu_20*.json")
    parts = json.loads(path.read_text("utf-8"))["parts"]
    return {name: part["found"] for name, part in parts.items()}


def test_every_part_is_in_the_report(folder, found):
    assert sorted(found) == PARTS
    (path,) = folder.glob("*.md")
    page = path.read_text("utf-8")
    assert str(folder) not in page
    for part in PARTS:
        assert f"\n## {part}\n" in page


def test_all_ways_give_the_same_scores(found):
    for part in ("scoring", "trie"):
        for case in found[part]["cases"].values():
            assert case["error"] < 1e-4
    for case in found["ways"].values():
        assert case["error"] < 1e-4


def test_the_prefix_is_computed_once(found):
    scoring, trie = found["scoring"], found["trie"]
    ours = scoring["operations_per_query"]
    whole = scoring["cases"]["last position"]["operations_per_query"]
    tokens = scoring["own_tokens"] + scoring["prefix_tokens"]
    saved = tokens / (scoring["own_tokens"] + scoring["prefix_tokens"] / scoring["num_queries"])
    assert whole / ours > 0.3 * saved  # the head of this tiny model weighs more than its blocks
    assert scoring["cases"]["paper's code"]["operations_per_query"] > 2 * whole
    words = trie["cases"]["a whole pass per word"]["operations_per_query"]
    assert words > 5 * trie["operations_per_query"]
    assert trie["tree_tokens"] == trie["num_labels"] == 14
