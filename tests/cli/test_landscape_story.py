"""`vesalius landscape story`: what it plans, and what it refuses before anything is trained."""

import json
from pathlib import Path

import pytest

from cli.tiny import Run

SMALL = ("--max-rows", 60, "--epochs", 0.5, "--scratch-epochs", 0.5, "--snapshots", 2)
COARSE = ("--max-examples", 6, "--line-steps", 4, "--surface-steps", "4x3")


def test_a_dry_run_counts_both_trainings(run: Run, tmp_path: Path):
    ran = run("landscape", "story", "--dry-run", "--json", "--out", tmp_path / "s", *SMALL)
    assert ran.code == 0
    plan = json.loads(ran.out)["plan"]
    assert [row["model"] for row in plan] == ["pretrained", "scratch"]
    assert all(row["seeds left to train"] == 1 for row in plan)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_story_is_told_and_not_told_again(run: Run, tmp_path: Path):
    words = ("landscape", "story", "--out", tmp_path / "s", *SMALL, *COARSE)
    first = run(*words, "--json")
    assert first.code == 0
    rows = json.loads(first.out)["rows"]
    assert {row["kind"] for row in rows} == {"pretrained", "scratch"}
    again = run(*words)
    assert again.code == 0
    assert "story.html" in again.out
    changed = run(*words, "--epochs", 1)
    assert changed.code == 1
    assert "epochs" in changed.err


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("--seeds", "a"), 2, "--seeds a"),
        (("--surface-steps", "4"), 2, "two whole numbers"),
        (("--surface-steps", "1x4"), 1, "steps=1"),
        (("--data", "no.tsv"), 1, "no.tsv"),
        (("--snapshots", "1"), 2, "--snapshots"),
    ],
)
def test_a_story_of_nothing_is_refused(
    run: Run, tmp_path: Path, words: tuple[str, ...], code: int, part: str
):
    ran = run("landscape", "story", "--out", tmp_path / "s", *words)
    assert ran.code == code
    assert part in ran.err
    assert not (tmp_path / "s").exists()
