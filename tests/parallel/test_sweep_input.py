"""Whose folder it is, and what is refused: nothing that stands is lost by a wrong command."""

import json
from typing import Any

import pytest

from parallel.toys import Toy, Unopened, numbers
from vesalius.core.errors import VesaliusError
from vesalius.parallel.folder import claimed_folder, read_sweep
from vesalius.parallel.sweep import sweep


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
    (tmp_path / "manifest.json").write_text('{"kind": "token-shards"}')
    (tmp_path / ".shard-00001.bin.0123abcd.partial").touch()  # `data prepare` is at work in it
    with pytest.raises(VesaliusError, match="which no sweep wrote"):
        sweep(Toy(), numbers(2), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


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
