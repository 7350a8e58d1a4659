"""The page of the calibration reproduction is that of its stored numbers."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "reproductions" / "prototypical_calibration"


def call(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", FOLDER / "run.py", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_stored_page_is_that_of_the_stored_numbers(tmp_path: Path):
    for path in (FOLDER / "results").glob("*.json"):
        copy = tmp_path / "results" / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    run = call("--page", "--no-pictures", "--out", tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "README.md").read_text("utf-8") == (FOLDER / "README.md").read_text("utf-8")


def test_a_run_needs_data():
    run = call("--work", "nowhere")
    assert run.returncode == 2
    assert "--data" in run.stderr
