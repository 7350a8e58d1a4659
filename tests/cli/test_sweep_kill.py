"""A killed `vesalius neurons sweep` goes on: the same bytes, nothing lost, nothing twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.tiny import Run
from vesalius.parallel.folder import read_sweep

NUM_FACTS = 24
ANSWERS = ("Paris", "Tokyo", "Lima", "Rome")  # "Lima" is no token of the tiny vocabulary
PROMPTS = ("The capital of {} is [MASK].", "[MASK] is the city of {}.", "{}, the [MASK].")
MAIN = "import sys; from vesalius.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def words(bert_folder: Path, tmp_path: Path) -> list[object]:
    """The command, but for its output folder; every shard is one fact."""
    rows = [
        {
            "relation": "own",
            "subject": f"S{number}",
            "answer": ANSWERS[number % len(ANSWERS)],
            "prompts": [text.format(" ".join("abc"[: number % 3 + 1])) for text in PROMPTS],
        }
        for number in range(NUM_FACTS)
    ]
    facts = tmp_path / "facts.jsonl"
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["neurons", "sweep", "--model", bert_folder, "--facts", facts, "--shard-size", 1]


def start(words: Sequence[object]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", MAIN, *map(str, words)]
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def num_shards(out: Path) -> int:
    return len(list((out / "shards").glob("*.parquet")))


def kill_after(words: Sequence[object], out: Path, *, new_shards: int, wait: float) -> None:
    """Start the command, and kill it a moment after it has written so many more shards."""
    before = num_shards(out)
    process = start([*words, "--out", out])
    for _ in range(60_000):
        if num_shards(out) >= before + new_shards or process.poll() is not None:
            break
        time.sleep(0.002)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors


def check_finished(out: Path, whole: Path) -> None:
    """Compare with an undisturbed run, file by file, and count the rows."""
    found = read_sweep(out)
    items = found.table()["item"].to_pylist() + [entry.item for entry in found.skipped]
    assert sorted(items) == list(range(NUM_FACTS)), "a fact was lost, or done twice"
    assert [entry.item for entry in found.skipped] == list(range(2, NUM_FACTS, len(ANSWERS)))
    for name in ("table.parquet", "skipped.jsonl", "manifest.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    for folder in (out, out / "shards"):
        assert not [path for path in folder.iterdir() if path.name.endswith(".partial")]


def test_killed_twice_and_finished(run: Run, words: list[object], tmp_path: Path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(*words, "--out", whole).code == 4  # some facts are skipped
    kill_after(words, out, new_shards=1, wait=0.0)
    begun = num_shards(out)
    assert 1 <= begun < NUM_FACTS
    kill_after(words, out, new_shards=5, wait=0.01)
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()
            if path.suffix == ".parquet"}  # fmt: skip
    assert begun < len(kept) < NUM_FACTS
    ran = run(*words, "--out", out, "--json")
    assert ran.code == 4
    assert ran.json()["sweep"]["done in this run"] == NUM_FACTS - len(kept)
    assert all((out / "shards" / name).stat().st_mtime_ns == then for name, then in kept.items())
    check_finished(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "seed"), [(1, 0), (1, 1), (2, 2)])
def test_killed_at_any_moment(
    run: Run, words: list[object], tmp_path: Path, workers: int, seed: int
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(*words, "--out", whole).code == 4
    draw = random.Random(seed)
    words = [*words, "--workers", workers]
    kill_after(words, out, new_shards=0, wait=draw.uniform(0, 4))  # while it starts
    for _ in range(3):
        new_shards, wait = draw.randint(1, 3), draw.uniform(0, 0.02)
        kill_after(words, out, new_shards=new_shards, wait=wait)
    process = start([*words, "--out", out])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 4, errors
    check_finished(out, whole)
