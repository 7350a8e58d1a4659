"""The benchmark of the restarts still runs, and both ways come to the same mixtures."""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_both_ways_come_to_the_same_mixtures(tmp_path):
    command = [sys.executable, "-W", "error", FOLDER / "calibration_em.py", "--quick"]
    command += ["--rounds", "1", "--threads", "1", "--hardware", "any cpu", "--out", tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    names = run.stdout.split()
    assert names[1].startswith("calibration_em_any-cpu_20")
    page = (tmp_path / names[1]).read_text("utf-8")
    assert page.startswith("# Restarts of a mixture")
    assert str(tmp_path) not in page
    report = json.loads((tmp_path / names[0]).read_text("utf-8"))
    assert [name.partition(",")[0] for name in report["cases"]] == ["K=2", "K=6", "K=14"]
    for found in report["cases"].values():
        assert found["same_iterations"]
        assert found["same_assignments"]
        assert found["best_score_difference"] < 1e-8
        assert max(found["means_difference"], found["covariances_difference"]) < 1e-8
        assert found["ratio"]["median"] > 0
        assert found["operations"] > 1e4
        assert found["threads"] == {"ours": 1, "rival": 1}
