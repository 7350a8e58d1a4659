"""Killed sweeps are finished, and who did the work changes no byte."""

import multiprocessing
import os
import random
from pathlib import Path

import pytest

from parallel.scripts import check_script, kill_and_finish, start_script, wait_for
from parallel.toys import Toy, Unopened, numbers
from vesalius.core.errors import VesaliusError
from vesalius.parallel.sweep import sweep


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_and_finished(tmp_path, workers):
    moments = [0, *random.Random(workers).sample(range(1, 12), 1)]
    kill_and_finish(tmp_path / "killed", str(workers), moments=moments, seed=workers)
    check_script(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_many_times_and_finished(tmp_path, workers):
    for seed in range(3):
        draw = random.Random(10 * workers + seed)
        moments = sorted(draw.choices(range(15), k=6))
        kill_and_finish(tmp_path / f"{seed}", str(workers), moments=moments, seed=seed)
        check_script(tmp_path / f"{seed}", tmp_path / f"whole {seed}")


def test_a_killed_sweep_leaves_no_process_behind(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    process = start_script(tmp_path / "s", "2", "--log", str(log), "--seconds", "0.2")
    wait_for(lambda: len(list(log.iterdir())) == 2)
    process.kill()
    process.communicate()
    workers = [int(path.name) for path in log.iterdir()]
    wait_for(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_of_two_processes_at_once_one_works(tmp_path):
    processes = [start_script(tmp_path / "s", "1") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or "another process works" in error
    check_script(tmp_path / "s", tmp_path / "whole")


# ---- workers ----


def test_workers_change_no_byte_and_open_once_each(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    items = numbers(20, i3="raise", i4="two", i9="none")
    sweep(Toy(log=str(log)), items, tmp_path / "two", shard_size=2, workers=2)
    assert len(list(log.iterdir())) == 2
    assert str(os.getpid()) not in {path.name for path in log.iterdir()}
    sweep(Toy(log=str(log)), items, tmp_path / "one", shard_size=2)
    for name in ("table.parquet", "skipped.jsonl", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_worker_has_one_thread_and_this_process_keeps_its_own(tmp_path, workers):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        items = numbers(2, i0="threads", i1="threads")
        result = sweep(Toy(), items, tmp_path / "s", workers=workers, shard_size=1)
        assert result.table()["threads"].to_pylist() == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_worker_that_dies_is_replaced(tmp_path):
    items = numbers(8, i3="die once")
    items[3]["mark"] = str(tmp_path / "mark")
    result = sweep(Toy(), items, tmp_path / "s", shard_size=2, workers=2)
    assert result.table()["item"].to_pylist() == list(range(8))
    assert result.skipped == ()


def test_a_shard_that_kills_its_workers_is_skipped_with_the_reason(tmp_path):
    result = sweep(Toy(), numbers(8, i3="die"), tmp_path / "s", shard_size=2, workers=2)
    assert result.table()["item"].to_pylist() == [0, 1, 4, 5, 6, 7]
    assert [(entry.item, entry.error) for entry in result.skipped] == [
        (2, "WorkerDied"),
        (3, "WorkerDied"),
    ]
    assert "3 workers died" in result.skipped[0].reason


def test_workers_that_all_die_stop_the_sweep(tmp_path):
    items = numbers(4, i0="die", i2="die")
    with pytest.raises(VesaliusError, match="3 dead workers for each of 2 shards"):
        sweep(Toy(), items, tmp_path / "s", shard_size=2, workers=2)
    assert not list((tmp_path / "s/shards").iterdir())
    with pytest.raises(VesaliusError, match="died while it opened"):
        sweep(Unopened(how="die"), numbers(4), tmp_path / "o", shard_size=2, workers=2)
