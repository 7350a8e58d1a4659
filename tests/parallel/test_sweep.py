"""A sweep's rows are those of the plain loop, whatever the engine, the order, or who was killed."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallel.toys import Toy, Unopened, numbers
from vesalius.core import paths
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.parallel.folder import claimed_folder, read_sweep, shard_path
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


# ---- closed form ----


def test_rows_are_those_of_the_plain_loop(tmp_path):
    result = sweep(Toy(power=3), numbers(10), tmp_path / "s", shard_size=4, seed=7)
    table = result.table()
    assert table["item"].to_pylist() == list(range(10))
    assert table["power"].to_pylist() == [x**3 for x in range(10)]
    draws = [np.random.default_rng(derive_seed(7, "sweep", x)).normal() for x in range(10)]
    assert table["draw"].to_pylist() == draws
    assert (result.num_items, result.num_rows, result.skipped) == (10, 10, ())
    assert result.num_new_items == 10


def test_arrays_come_back_with_their_shape_and_type(tmp_path):
    result = sweep(Toy(), numbers(5), tmp_path / "s", shard_size=2)
    grid = result.array("grid")
    assert grid.shape == (5, 2, 3)
    assert grid.dtype == np.float32
    assert np.array_equal(grid[:, 1, 2], (np.arange(5) / 3).astype(np.float32))
    assert result.array("power").tolist() == [0, 1, 4, 9, 16]


def test_an_item_may_give_several_rows_or_none(tmp_path):
    result = sweep(Toy(), numbers(4, i1="two", i2="none"), tmp_path / "s", shard_size=2)
    assert result.table()["item"].to_pylist() == [0, 1, 1, 3]
    assert result.table()["note"].to_pylist() == [None, "a", None, None]
    assert result.skipped == ()


# ---- failures ----


def test_a_bad_item_is_noted_with_its_reason_and_stops_nothing(tmp_path):
    bad = {"i1": "raise", "i2": "refuse", "i4": "object", "i5": "item column", "i6": "no row"}
    result = sweep(Toy(), numbers(8, **bad), tmp_path / "s", shard_size=3)
    assert result.table()["item"].to_pylist() == [0, 3, 7]
    lines = (tmp_path / "s/skipped.jsonl").read_text("utf-8").splitlines()
    noted = {line["item"]: line for line in map(json.loads, lines)}
    assert list(noted) == [1, 2, 4, 5, 6]
    assert (noted[1]["error"], noted[1]["reason"]) == ("ValueError", "no 1 today")
    assert noted[2]["reason"] == "given: this\nexpected: that\nfix: do so"
    assert "object in column 'x'" in noted[4]["reason"]
    assert "column named 'item'" in noted[5]["reason"]
    assert "row of type int" in noted[6]["reason"]
    assert [entry.item for entry in result.skipped] == [1, 2, 4, 5, 6]


def test_a_sweep_whose_items_all_fail_ends(tmp_path):
    result = sweep(Toy(), numbers(2, i0="raise", i1="raise"), tmp_path / "s")
    assert (result.num_rows, len(result.skipped)) == (0, 2)


@pytest.mark.parametrize("shard_size", [1, 4])
def test_a_column_of_two_types_is_refused_and_nothing_is_lost(tmp_path, shard_size):
    with pytest.raises(VesaliusError, match="fit into no table"):
        sweep(Toy(), numbers(4, i2="text"), tmp_path / "s", shard_size=shard_size)
    assert len(list((tmp_path / "s/shards").iterdir())) == (4 if shard_size == 1 else 0)
    assert not (tmp_path / "s/table.parquet").exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("how", "message"),
    [("refuse", "given: model='x'"), ("raise", r"open\(\) raised RuntimeError: no weights")],
)
def test_a_task_that_does_not_open_says_why(tmp_path, workers, how, message):
    with pytest.raises(VesaliusError, match=message):
        sweep(Unopened(how=how), numbers(4), tmp_path / "s", workers=workers, shard_size=2)


# ---- resuming ----


def test_a_finished_sweep_does_nothing_and_returns_the_same(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    items = numbers(6, i2="raise")
    first = sweep(Toy(log=str(log)), items, tmp_path / "s", shard_size=2)
    before = table_bytes(tmp_path / "s")
    for mark in log.iterdir():
        mark.unlink()
    again = sweep(Toy(log=str(log)), items, tmp_path / "s", shard_size=2)
    assert not list(log.iterdir()), "the task was opened again"
    assert table_bytes(tmp_path / "s") == before
    assert again.skipped == first.skipped
    assert (again.num_rows, again.num_new_items) == (first.num_rows, 0)
    assert read_sweep(tmp_path / "s") == again


def test_only_missing_shards_are_done(tmp_path):
    items = numbers(10, i3="raise")
    sweep(Toy(), items, tmp_path / "s", shard_size=2)
    whole = table_bytes(tmp_path / "s")
    (tmp_path / "s/table.parquet").unlink()
    shard_path(tmp_path / "s", 1).unlink()
    kept = shard_path(tmp_path / "s", 0).stat().st_mtime_ns
    assert sweep(Toy(), items, tmp_path / "s", shard_size=2).num_new_items == 2
    assert shard_path(tmp_path / "s", 0).stat().st_mtime_ns == kept
    assert table_bytes(tmp_path / "s") == whole


def test_ctrl_c_leaves_a_folder_that_goes_on(tmp_path):
    stopped = numbers(6, i4="interrupt")
    with pytest.raises(KeyboardInterrupt):
        sweep(Toy(), stopped, tmp_path / "s", shard_size=2)
    assert len(list((tmp_path / "s/shards").iterdir())) == 2
    with pytest.raises(KeyboardInterrupt):  # the lock is free, the two shards are not redone
        sweep(Toy(), stopped, tmp_path / "s", shard_size=2)


def test_a_half_written_file_is_swept_away(tmp_path):
    sweep(Toy(), numbers(4), tmp_path / "s", shard_size=2)
    whole = table_bytes(tmp_path / "s")
    (tmp_path / "s/table.parquet").unlink()
    shard_path(tmp_path / "s", 1).unlink()
    leftover = tmp_path / "s/shards/.00001.parquet.0123abcd.partial"
    leftover.write_bytes(whole[:50])
    sweep(Toy(), numbers(4), tmp_path / "s", shard_size=2)
    assert not leftover.exists()
    assert table_bytes(tmp_path / "s") == whole


def test_a_damaged_shard_is_named(tmp_path):
    sweep(Toy(), numbers(4), tmp_path / "s", shard_size=2)
    (tmp_path / "s/table.parquet").unlink()
    shard_path(tmp_path / "s", 1).write_bytes(b"PAR1 nothing")
    with pytest.raises(VesaliusError, match=r"delete 00001\.parquet"):
        sweep(Toy(), numbers(4), tmp_path / "s", shard_size=2)


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


def wait_for(condition: Any) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited for a minute")


# ---- whose folder it is ----


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"task": Toy(power=3)}, r"task\.options\.power = 3"),
        ({"task": Unopened(how="raise")}, r"task\.class = .*Unopened"),
        ({"items": numbers(5)}, "num_items = 5"),
        ({"items": [{"x": 9}, *numbers(4)[1:]]}, "items = "),
        ({"shard_size": 3}, "shard_size = 3"),
        ({"seed": 1}, "seed = 1"),
    ],
)
def test_another_command_is_refused_by_the_key_that_differs(tmp_path, change, key):
    same: dict[str, Any] = {"task": Toy(), "items": numbers(4), "shard_size": 2}
    sweep(out=tmp_path / "s", **same)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VesaliusError, match=f"given: {key}"):
        sweep(out=tmp_path / "s", **same | change)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_new_version_is_refused_by_name(tmp_path):
    sweep(Toy(), numbers(2), tmp_path / "s")
    path = tmp_path / "s/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vesalius": "0.0.1"}))
    with pytest.raises(VesaliusError, match=r"expected: vesalius = '0\.0\.1'"):
        sweep(Toy(), numbers(2), tmp_path / "s")


def test_a_foreign_folder_stays_untouched(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(VesaliusError, match="holds something else"):
        sweep(Toy(), numbers(2), folder)
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(VesaliusError, match="holds something else"):
        sweep(Toy(), numbers(2), tmp_path / "file")
    with pytest.raises(VesaliusError, match="output folder"):
        sweep(Toy(), numbers(2), tmp_path / "file/below")


def test_a_foreign_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(VesaliusError, match="which no sweep wrote"):
        sweep(Toy(), numbers(2), tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(VesaliusError, match=r"manifest\.json"):
        sweep(Toy(), numbers(2), tmp_path)


def test_an_empty_folder_is_taken(tmp_path):
    assert sweep(Toy(), numbers(2), tmp_path).num_rows == 2


def test_two_sweeps_at_once_in_one_process_are_refused(tmp_path):
    sweep(Toy(), numbers(2), tmp_path / "s")
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    with (
        claimed_folder(tmp_path / "s", manifest),
        pytest.raises(VesaliusError, match="another process works"),
    ):
        sweep(Toy(), numbers(2), tmp_path / "s")
    assert sweep(Toy(), numbers(2), tmp_path / "s").num_rows == 2


def test_of_two_processes_at_once_one_works(tmp_path):
    processes = [start_script(tmp_path / "s", "1") for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or "another process works" in error
    check_script(tmp_path / "s", tmp_path / "whole")


# ---- the disk ----


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_in_the_middle_keeps_what_is_done(tmp_path, monkeypatch, number):
    sync, calls = paths._sync, []

    def failing(path: Path) -> None:
        calls.append(path)
        if len(calls) > 3:  # the manifest and two shards
            raise OSError(number, os.strerror(number))
        sync(path)

    monkeypatch.setattr(paths, "_sync", failing)
    with pytest.raises(VesaliusError, match=os.strerror(number)):
        sweep(Toy(), numbers(8), tmp_path / "s", shard_size=2)
    monkeypatch.undo()
    shards = sorted(path.name for path in (tmp_path / "s/shards").iterdir())
    assert shards == ["00000.parquet", "00001.parquet"]
    assert sweep(Toy(), numbers(8), tmp_path / "s", shard_size=2).num_new_items == 4
    sweep(Toy(), numbers(8), tmp_path / "whole", shard_size=2)
    assert table_bytes(tmp_path / "s") == table_bytes(tmp_path / "whole")


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


# ---- wrong input ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": Toy}, "a task of type Toy"),
        ({"task": "locate"}, "a task of type str"),
        ({"items": []}, "none of them"),
        ({"items": "abc"}, "items of type str"),
        ({"items": {"x": 1}}, "items of type dict"),
        ({"items": [{"x": 1}, 2]}, "item 1: a int"),
        ({"items": [{"x": {1, 2}}]}, "item 0: .*set"),
        ({"items": [{"x": float("nan")}]}, "item 0"),
        ({"engine": "slurm"}, "engine='slurm'"),
        ({"workers": 0}, "workers=0"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"shard_size": 0}, "shard_size=0"),
        ({"shard_size": True}, "shard_size=True"),
        ({"seed": "x"}, "seed='x'"),
        ({"address": "head:6379"}, "address='head:6379' with engine='local'"),
    ],
)
def test_wrong_options_are_refused(tmp_path, as_users_call_it, change, message):
    same: dict[str, Any] = {"task": Toy(), "items": numbers(2)}
    with pytest.raises(VesaliusError, match=message):
        sweep(out=tmp_path / "s", **same | change)
    assert not (tmp_path / "s").exists()


def test_what_is_no_finished_sweep_cannot_be_read(tmp_path):
    with pytest.raises(VesaliusError, match=r"manifest\.json"):
        read_sweep(tmp_path)
    sweep(Toy(), numbers(2), tmp_path / "s")
    (tmp_path / "s/table.parquet").unlink()
    with pytest.raises(VesaliusError, match="not finished"):
        read_sweep(tmp_path / "s")
    (tmp_path / "s/table.parquet").write_bytes(b"x")
    with pytest.raises(VesaliusError, match=r"delete table\.parquet"):
        read_sweep(tmp_path / "s")


@pytest.mark.parametrize("column", ["nothing", "note", "x2"])
def test_a_column_that_is_no_array_is_refused(tmp_path, column):
    result = sweep(Toy(), numbers(3, i1="two"), tmp_path / "s")
    with pytest.raises(VesaliusError, match="column"):
        result.array(column)
    with pytest.raises(VesaliusError, match="column 'grid'"):
        result.array("grid")  # item 1 has none


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(VesaliusError, match=r"vesalius\[ray\]"):
        sweep(Toy(), numbers(2), tmp_path / "s", engine="ray")
