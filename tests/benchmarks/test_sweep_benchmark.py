"""The sweep benchmark still runs, and all of its engines come to the same table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(out: Path, *options: str) -> tuple[dict, str]:
    command = [sys.executable, "-W", "error", FOLDER / "sweep.py", "--quick", "--rounds", "1"]
    command += ["--hardware", "any cpu", "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = done.stdout.split()
    assert names[1].startswith("sweep_any-cpu_20")
    page = (out / names[1]).read_text("utf-8")
    assert str(out) not in page
    return json.loads((out / names[0]).read_text("utf-8")), page


def test_the_report_is_written_without_ray(tmp_path):
    report, page = run(tmp_path, "--engines", "local", "--facts", "2")
    assert page.startswith("# Sweeps")
    assert "Ray was not measured" in page
    assert "all equal" in page
    assert report["prompts"] >= report["facts"] == 2
    assert min(report["product_rates"].values()) > 0
    assert report["operations_per_item"] > 1e8
    assert len(report["engines"]["local"]["digests"]) == 1


@pytest.mark.slow
def test_ray_and_processes_come_to_the_same_table(tmp_path):
    pytest.importorskip("ray", reason="ray is in the extra vesalius[ray], not in [dev]")
    report, page = run(tmp_path, "--engines", "ray", "local", "--facts", "5")
    assert "Ray: times as fast" in page
    assert "all equal" in page
    assert report["engines"]["ray"]["ratio"]["median"] > 0
