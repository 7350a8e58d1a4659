"""The benchmark of knowledge neurons still runs, part by part, and its ways agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ["refine", "batch", "memory", "replay", "corpus", "gpu"]


def _run(out: Path, *words: str | Path) -> list[str]:
    command = [sys.executable, "-W", "error", FOLDER / "neurons.py", "--quick", "--rounds", "1"]
    command += ["--threads", "1", "--hardware", "any cpu", "--out", out, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("data")
    facts = [("P36", "France", "Paris", "true"), ("P36", "Austria", "Vienna", "false")]
    facts += [("P36", "Nowhere", "Qwxzyvk", "true")]  # no token of any vocabulary
    rows = ["relation\tsubject\tobject\tin_kn", *map("\t".join, facts)]
    (data / "facts.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    rows = ["relation\ttemplate", "P36\tThe capital of [X] is [Y].", "P36\t[Y] rules [X]."]
    (data / "templates.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    out = tmp_path_factory.mktemp("report")
    _run(out, "--only", "memory", "corpus", "--data", data)
    names = _run(out, "--only", "refine", "batch", "replay", "gpu")
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    return out


@pytest.fixture(scope="module")
def found(folder) -> dict:
    (path,) = folder.glob("neurons_any-cpu_20*.json")
    parts = json.loads(path.read_text("utf-8"))["parts"]
    return {name: part["found"] for name, part in parts.items()}


def test_parts_measured_before_are_kept(folder, found):
    """The second run measured other parts: both are in the report, each with its command."""
    assert sorted(found) == sorted(PARTS)
    (path,) = folder.glob("*.md")
    page = path.read_text("utf-8")
    assert page.startswith("# Knowledge neurons")
    assert str(folder) not in page
    assert "Not measured" not in page
    assert "--only memory corpus --data FACTS" in page
    for part in PARTS:
        assert f"\n## {part}" in page


def test_the_public_function_gives_what_the_engine_gives(found):
    """With the same operations: the guesses are read from the engine's own clean pass."""
    for case in found["refine"].values():
        assert case["error"] < 1e-5
        assert case["operations"]["engine"] == case["operations"]["locate"]


def test_a_batch_gives_what_its_prompts_give_alone(found):
    base, bundled = found["batch"]["BERT-base"], found["batch"]["mini-bert"]
    assert max(base["error"], bundled["error"]) < 1e-4
    assert base["operations"]["32"] == pytest.approx(32 * base["operations"]["one"], rel=0.05)
    padded = len(bundled["lengths"]) * max(bundled["lengths"]) / sum(bundled["lengths"])
    more = bundled["operations"]["one call"] / bundled["operations"]["32 calls"]
    assert 1 < more < 1.2 * padded


def test_autograd_holds_less_than_the_budget_and_scores_do_not_change(found):
    memory = found["memory"]
    assert memory["error"] < 1e-5
    for case in memory["budgets"].values():
        assert 0 < case["saved"] < case["budget"]
    small, large = memory["budgets"].values()
    assert small["saved"] < large["saved"]


def test_the_replay_gives_what_the_whole_staircase_gives(found):
    replay = found["replay"]
    assert max(replay["error"].values()) < 1e-5
    operations = replay["operations"]
    assert operations["replay"] < operations["no replay"] < operations["no shortcut"]


def test_a_corpus_has_the_same_table_with_one_and_two_workers(found):
    corpus = found["corpus"]
    for case in corpus["sweeps"].values():
        assert len(case["digests"]) == 1
        assert set(case["prompts_per_second"]) == {"1", "2"}
    whole = corpus["sweeps"]["PARAREL"]["whole"]
    assert whole == {"facts": 2, "prompts": 4, "facts_asked": 1, "prompts_asked": 2}
    assert corpus["BERT-base"]["source"] == "PARAREL"


def test_the_code_for_a_gpu_runs_on_tiny_models(found):
    assert len(found["gpu"]) == 5  # two models in two precisions, and the device
    for name, case in found["gpu"].items():
        assert name == "device" or case["prompts_per_second"]["median"] > 0
