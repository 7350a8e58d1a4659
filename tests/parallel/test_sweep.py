"""A sweep's rows are those of the plain loop, whatever the engine, the order, or who was killed."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from parallel.scripts import table_bytes
from parallel.toys import Toy, Unopened, numbers
from vesalius.core import paths
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.parallel.folder import read_sweep, shard_path
from vesalius.parallel.sweep import sweep

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
