"""The attribution benchmark still runs, and what it compares with computes the right quantity."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    pytest.importorskip("captum", reason="captum is in the extra vesalius[bench], not in [dev]")
    out = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-W", "error", FOLDER / "attribution.py", "--quick", "--rounds", "1"]
    command += ["--threads", "1", "--hardware", "any cpu", "--out", out]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    names = run.stdout.split()
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert names[1].startswith("attribution_any-cpu_20")
    page = (out / names[1]).read_text("utf-8")
    assert page.startswith("# Attribution")
    assert str(out) not in page
    return json.loads((out / names[0]).read_text("utf-8"))


def test_every_way_reaches_the_reference(report):
    """Gauss rules up to rounding, in single precision; the left rule only up to its own error."""
    for case in report["cases"].values():
        left = case["double_errors"]["20 left points"]["max"]
        assert 1e-5 < left < 0.2
        for name, error in case["errors"].items():
            if "bf16" in name:
                assert error["max"] < 0.1
            elif name.startswith("paper"):
                assert error["max"] == pytest.approx(left, rel=0.5)
            else:
                assert error["max"] < 1e-5


def test_double_precision_leaves_the_error_of_the_rule_alone(report):
    errors = report["cases"]["neurons"]["double_errors"]
    assert errors["radau 16"]["max"] < 1e-10
    assert errors["captum 50"]["max"] < 1e-6  # its weights stay in single precision


def test_operations_are_counted_where_they_are_made(report):
    """A rival that pads or takes more points does more; the ratio follows from the layers."""
    for case in report["cases"].values():
        operations = case["operations"]
        assert operations["paper, padded"] > 2 * operations["paper, unpadded"]
        assert operations["paper, unpadded"] > 3 * operations["default"]
    neurons = report["cases"]["neurons"]["operations"]
    # 3 layers, m points: m * 9 forward and m * 3 backward block passes, and 9 that read
    assert neurons["captum 50"] / neurons["captum 20"] == pytest.approx(609 / 249, rel=0.05)
