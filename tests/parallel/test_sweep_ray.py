"""The same sweeps on a Ray of this machine; they need the extra ``vesalius[ray]``."""

import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest

from parallel.scripts import check_script, kill_and_finish, start_script, table_bytes, wait_for
from parallel.toys import Toy, Unopened, numbers
from vesalius.core.errors import VesaliusError
from vesalius.parallel import ray_engine
from vesalius.parallel.sweep import sweep

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    """Ray would write a token into the home folder; and its own warnings are not our errors."""
    pytest.importorskip("ray", reason="ray is in the extra vesalius[ray], not in [dev]")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_equals_the_local_sweep_with_one_opening_for_each_actor(tmp_path):
    import ray

    log = tmp_path / "log"
    log.mkdir()
    items = numbers(20, i3="raise", i4="two", i5="threads", i9="none")
    task = Toy(log=str(log))
    on_ray = sweep(task, items, tmp_path / "ray", engine="ray", workers=2, shard_size=2)
    assert not ray.is_initialized()
    assert len(list(log.iterdir())) == 2
    assert not (log / str(os.getpid())).exists()
    threads = [count for count in on_ray.table()["threads"].to_pylist() if count is not None]
    assert threads == [1]
    sweep(task, items, tmp_path / "local", shard_size=2)
    for name in ("table.parquet", "skipped.jsonl", "manifest.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_a_killed_driver_is_finished(tmp_path):
    moments = sorted(random.Random(0).sample(range(1, 14), 2))
    kill_and_finish(tmp_path / "s", "2", "--engine", "ray", moments=moments, seed=0)
    check_script(tmp_path / "s", tmp_path / "whole")


def test_begun_on_ray_and_finished_here(tmp_path):
    process = start_script(tmp_path / "s", "2", "--engine", "ray")
    wait_for(lambda: len(list(tmp_path.glob("s/shards/*.parquet"))) >= 3)
    process.kill()
    process.communicate()
    kill_and_finish(tmp_path / "s", "1", moments=[], seed=0)
    check_script(tmp_path / "s", tmp_path / "whole")


def test_a_killed_actor_is_replaced(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    process = start_script(
        tmp_path / "s", "2", "--engine", "ray", "--log", str(log), "--seconds", "0.2"
    )
    wait_for(lambda: len(list(tmp_path.glob("s/shards/*.parquet"))) >= 1)
    os.kill(int(next(log.iterdir()).name), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert len(list(log.iterdir())) == 3
    sweep(
        Toy(seconds=0.2, log=str(log)),
        numbers(40, i7="raise", i21="two"),
        tmp_path / "whole",
        shard_size=3,
        workers=2,
    )
    assert table_bytes(tmp_path / "s") == table_bytes(tmp_path / "whole")


def test_a_shard_that_kills_its_actors_is_skipped(tmp_path):
    result = sweep(
        Toy(), numbers(8, i3="die"), tmp_path / "s", shard_size=2, workers=2, engine="ray"
    )
    assert result.table()["item"].to_pylist() == [0, 1, 4, 5, 6, 7]
    assert [entry.item for entry in result.skipped] == [2, 3]


@pytest.mark.parametrize(
    ("how", "message"), [("refuse", "given: model='x'"), ("die", "died while it opened")]
)
def test_a_task_that_does_not_open_says_why(tmp_path, how, message):
    with pytest.raises(VesaliusError, match=message):
        sweep(Unopened(how=how), numbers(4), tmp_path / "s", engine="ray")


def test_an_address_that_does_not_answer_is_refused_soon_and_loses_nothing(tmp_path, monkeypatch):
    items = numbers(6)
    sweep(Toy(), items, tmp_path / "s", shard_size=2)
    whole = table_bytes(tmp_path / "s")
    (tmp_path / "s/table.parquet").unlink()
    (tmp_path / "s/shards/00001.parquet").unlink()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(VesaliusError, match="refused"):  # nobody listens
            sweep(Toy(), items, tmp_path / "s", shard_size=2, engine="ray", address=address)
        listener.listen(5)  # somebody does, and says nothing
        monkeypatch.setattr(ray_engine, "_CONNECT_SECONDS", 4.0)
        start = time.monotonic()
        with pytest.raises(VesaliusError, match="no Ray answered in 4 s"):
            sweep(Toy(), items, tmp_path / "s", shard_size=2, engine="ray", address=address)
        assert time.monotonic() - start < 30
    with pytest.raises(VesaliusError, match="host:port"):
        sweep(Toy(), items, tmp_path / "s", shard_size=2, engine="ray", address="somewhere")
    assert len(list(Path(tmp_path / "s/shards").iterdir())) == 2
    assert sweep(Toy(), items, tmp_path / "s", shard_size=2).num_new_items == 2
    assert table_bytes(tmp_path / "s") == whole


def test_a_ray_that_runs_already_is_used_by_address_and_left_running(tmp_path, monkeypatch):
    import ray

    # a cluster finds the module of the task because its nodes were set up so
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    ray.init(
        num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20
    )
    try:
        address = ray.get_runtime_context().gcs_address
        for place in (None, address):
            out = tmp_path / f"{place is None}"
            assert sweep(Toy(), numbers(4), out, engine="ray", address=place).num_rows == 4
            assert ray.is_initialized()
        with pytest.raises(VesaliusError, match="connected to another Ray"):
            sweep(Toy(), numbers(4), tmp_path / "x", engine="ray", address="127.0.0.1:1")
        with pytest.raises(VesaliusError, match="with 1 CPUs"):
            sweep(Toy(), numbers(4), tmp_path / "y", engine="ray", workers=2, shard_size=1)
        # another process connects by the address alone
        process = start_script(tmp_path / "z", "1", "--engine", "ray", "--address", address)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        check_script(tmp_path / "z", tmp_path / "whole")
    finally:
        ray.shutdown()
