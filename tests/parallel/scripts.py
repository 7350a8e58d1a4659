"""Sweeps in processes of their own: start them, kill them, and compare what they leave."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from parallel.toys import Toy, numbers
from vesalius.parallel.folder import read_sweep
from vesalius.parallel.sweep import sweep

SCRIPT = Path(__file__).with_name("sweep_script.py")


def table_bytes(folder: Path) -> bytes:
    return (folder / "table.parquet").read_bytes()


def start_script(out: Path, *options: str) -> "subprocess.Popen[str]":
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(tests), "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, str(SCRIPT), str(out), *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition: Any) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited for a minute")


def num_shards(out: Path) -> int:
    return len(list((out / "shards").glob("*.parquet")))


def kill_and_finish(out: Path, *options: str, moments: list[int], seed: int) -> None:
    """Kill the script a moment after so many shards stand, each time; then let it finish."""
    draw = random.Random(seed)
    for moment in moments:
        process = start_script(out, *options)
        wait_for(lambda m=moment, p=process: num_shards(out) >= m or p.poll() is not None)
        time.sleep(draw.uniform(0, 0.05 if moment else 0.8))  # start-up takes about 0.5 s
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start_script(out, *options)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def check_script(out: Path, whole: Path) -> None:
    """Compare what the script left with a sweep that nobody killed."""
    expected = sweep(Toy(seconds=0.01), numbers(40, i7="raise", i21="two"), whole, shard_size=3)
    found = read_sweep(out)
    rows_of = {7: 0, 21: 2}
    assert found.table()["item"].to_pylist() == [
        x for x in range(40) for _ in range(rows_of.get(x, 1))
    ]
    assert found.skipped == expected.skipped
    for name in ("table.parquet", "skipped.jsonl", "manifest.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    names = {path.name for path in out.iterdir()} - {".lock"}
    assert names == {"manifest.json", "shards", "skipped.jsonl", "table.parquet"}
