"""Results come back from the disk as they went, and never half."""

import dataclasses
import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core import paths
from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.core.codec import decode, encode, plain
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, load_result, register_result


@final
@dataclass(frozen=True)
class Point:
    x: float
    label: str | None = None


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Everything(AbstractResult):
    kind: ClassVar[str] = "test.everything"
    schema_version: ClassVar[int] = 2

    text: str
    count: int
    share: float
    flag: bool
    maybe: float | None
    mode: Literal["left", "right"]
    points: tuple[Point, ...]
    pair: tuple[int, str]
    by_layer: dict[int, tuple[float, ...]]
    nested: dict[str, dict[str, int]]
    map: np.ndarray
    maps: dict[str, np.ndarray]
    table: pa.Table
    tables: dict[str, pa.Table]

    @classmethod
    def migrate(cls, fields: dict[str, Any], *, version: int) -> dict[str, Any]:
        if version != 1:
            return super().migrate(fields, version=version)
        return {**fields, "text": fields["text"] + " (from version 1)"}


def card() -> RunCard:
    return make_card(
        "test everything",
        stopwatch=Stopwatch.start(),
        config={"steps": 5, "rate": np.float32(0.5)},
        model="bert-base-cased",
        model_fingerprint="abc",
        seed=3,
        warnings=["a warning"],
    )


def everything(**changes: Any) -> Everything:
    values: dict[str, Any] = {
        "card": card(),
        "text": 'é </script> "\n\u2028',
        "count": 2**62,
        "share": math.inf,
        "flag": True,
        "maybe": None,
        "mode": "left",
        "points": (Point(1.5, "a"), Point(math.nan)),
        "pair": (1, "1"),
        "by_layer": {0: (0.1, -math.inf), 11: ()},
        "nested": {"a": {"b": 1}, "": {}},
        "map": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not C order
        "maps": {"zero-d": np.array(3, dtype=">i4"), "empty": np.empty((0, 2), bool)},
        "table": pa.table({"token": ["Paris", "</script>"], "prob": [0.25, 0.5]}),
        "tables": {"../up/and away": pa.table({"n": [1]})},
    }
    return Everything(**{**values, **changes})


def test_a_result_survives_the_disk(tmp_path: Path):
    before = everything()
    folder = before.save(tmp_path / "new" / "result")
    assert sorted(path.suffix for path in folder.iterdir()) == [
        ".json",
        ".parquet",
        ".parquet",
        ".safetensors",
    ]
    after = load_result(folder)
    assert type(after) is Everything
    for field in dataclasses.fields(Everything):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name == "points":
            assert new[0] == old[0]
            assert math.isnan(new[1].x)
        elif field.name == "map":
            np.testing.assert_array_equal(new, old, strict=True)
        elif field.name == "maps":
            assert new["zero-d"].shape == ()
            assert new["zero-d"] == 3
            assert new["empty"].shape == (0, 2)
        else:
            assert new == old, field.name
            assert type(new) is type(old)
    assert json.dumps(before.to_dict()["map"]) == "[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]"
    json.dumps(before.to_dict(), allow_nan=False)
    assert list(tmp_path.joinpath("new").iterdir()) == [folder]


def test_result_json_is_json_for_every_reader(tmp_path: Path):
    folder = everything().save(tmp_path / "r")
    text = (folder / "result.json").read_text("utf-8")
    stored = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert stored["fields"]["share"] == "inf"
    assert stored["fields"]["card"]["config"] == {"steps": 5, "rate": 0.5}


def test_an_existing_folder_is_refused_and_replaced_only_by_force(tmp_path: Path):
    folder = everything().save(tmp_path / "r")
    with pytest.raises(VesaliusError, match="exists"):
        everything().save(folder)
    everything(text="second").save(folder, force=True)
    assert Everything.load(folder).text == "second"
    stranger = tmp_path / "home"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("years of work")
    with pytest.raises(VesaliusError, match="not replaced even with force"):
        everything().save(stranger, force=True)
    with pytest.raises(VesaliusError, match="is a file"):
        everything().save(stranger / "thesis.tex" / "r")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "r"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("target", ["_sync_tree", "_swap_in", "partial"])
def test_a_refusing_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, target: str
):
    folder = everything().save(tmp_path / "r")

    def refuse(*_: object, **__: object):
        raise OSError(code, os.strerror(code))

    if target == "partial":
        monkeypatch.setattr(Path, "write_bytes", refuse)
    else:
        monkeypatch.setattr(paths, target, refuse)
    with pytest.raises(VesaliusError, match=os.strerror(code)):
        everything(text="lost").save(folder, force=True)
    with pytest.raises(VesaliusError, match=os.strerror(code)):
        everything().save(tmp_path / "other")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert Everything.load(folder).text != "lost"


def test_a_failed_swap_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = everything(text="old").save(tmp_path / "r")
    rename = os.rename

    def refuse_new(source: Path, target: Path):
        if str(source).endswith(".partial"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_new)
    with pytest.raises(VesaliusError, match=os.strerror(errno.EIO)):
        everything(text="new").save(folder, force=True)
    assert Everything.load(folder).text == "old"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_real_full_disk_is_said_in_words(tmp_path: Path):
    def fill():
        with paths.new_folder(tmp_path / "r"), open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(VesaliusError, match=r"No space left.*\n.*\nfix: free some space"):
        fill()
    assert not list(tmp_path.iterdir())


def test_another_kind_another_version_and_damage_are_told_apart(tmp_path: Path):
    folder = everything().save(tmp_path / "r")
    head = json.loads((folder / "result.json").read_text("utf-8"))

    def rewrite(**changes: object):
        (folder / "result.json").write_text(json.dumps({**head, **changes}), "utf-8")

    rewrite(kind="test.other")
    with pytest.raises(VesaliusError, match=r"test\.other.*\n.*test\.everything"):
        Everything.load(folder)
    with pytest.raises(VesaliusError, match=r"import the method first: vesalius\.methods\.test"):
        load_result(folder)
    rewrite(schema_version=3)
    with pytest.raises(VesaliusError, match="upgrade vesalius"):
        load_result(folder)
    rewrite(schema_version=1)
    assert Everything.load(folder).text.endswith("(from version 1)")
    rewrite(schema_version=0)
    with pytest.raises(VesaliusError, match="vesalius version named in its card"):
        load_result(folder)
    rewrite(fields={**head["fields"], "count": "many"})
    with pytest.raises(VesaliusError, match="count = 'many'"):
        load_result(folder)
    rewrite(fields={**head["fields"], "extra": 1})
    with pytest.raises(VesaliusError, match="extra"):
        load_result(folder)
    rewrite(fields={k: v for k, v in head["fields"].items() if k != "count"})
    with pytest.raises(VesaliusError, match="Everything"):
        load_result(folder)
    rewrite(fields=[])
    with pytest.raises(VesaliusError, match="without kind"):
        load_result(folder)
    rewrite()
    (folder / "table.parquet").unlink()
    with pytest.raises(VesaliusError, match="stored nowhere"):
        load_result(folder)
    (folder / "arrays.safetensors").write_bytes(b"broken")
    with pytest.raises(VesaliusError, match="copy the whole folder"):
        load_result(folder)
    (folder / "result.json").write_text("{", "utf-8")
    with pytest.raises(VesaliusError, match=r"readable result\.json"):
        load_result(folder)
    with pytest.raises(VesaliusError, match="nowhere"):
        load_result(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "wrong",
    [{"text": object()}, {"map": np.array(["a"])}, {"nested": {"$array": {}}}],
    ids=["object", "text array", "reserved key"],
)
def test_what_no_result_may_hold_is_refused_before_writing(tmp_path: Path, wrong: dict[str, Any]):
    result = dataclasses.replace(everything(), card=card())
    for name, value in wrong.items():
        object.__setattr__(result, name, value)  # past the type check of the tests
    with pytest.raises(VesaliusError):
        result.save(tmp_path / "r")
    assert not list(tmp_path.iterdir())


def test_results_are_final_and_kinds_belong_to_one_class():
    with pytest.raises(TypeError, match="final"):
        type("Child", (Everything,), {})
    with pytest.raises(TypeError, match="sets no kind"):
        register_result(dataclass(frozen=True)(type("NoKind", (AbstractResult,), {})))
    body = {"kind": "test.everything", "schema_version": 1}
    with pytest.raises(TypeError, match="belongs to Everything"):
        register_result(dataclass(frozen=True)(type("Thief", (AbstractResult,), body)))
    with pytest.raises(TypeError, match="must be a dataclass"):
        register_result(type("Plain", (AbstractResult,), {**body, "kind": "test.plain"}))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), SCALARS))
def test_any_dict_of_scalars_is_json_and_back(values: dict[str, Any]):
    stored, attachments = encode(values)
    text = json.dumps(stored, allow_nan=False)
    again = decode(json.loads(text), dict[str, float | int | str | bool | None], attachments)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            assert again[key] == str(value)  # text is the exact type of what is stored
        else:
            assert again[key] == value
            assert type(again[key]) is type(value)


@given(st.lists(st.floats() | st.integers(-9, 9)))
def test_any_floats_come_back_bit_for_bit(values: list[float]):
    stored, attachments = encode(tuple(values))
    again = decode(json.loads(json.dumps(stored)), tuple[float, ...], attachments)
    np.testing.assert_array_equal(again, np.array(values, dtype=float))


def test_colliding_places_are_refused():
    with pytest.raises(VesaliusError, match="two parts"):
        encode({"a.b": np.zeros(1), "a": {"b": np.zeros(2)}})


def test_a_card_names_no_machine(tmp_path: Path):
    made = make_card("x", stopwatch=Stopwatch.start(), config=Point(1.0), model=str(tmp_path))
    assert made.model == tmp_path.name
    assert made.config == {"x": 1.0, "label": None}
    assert set(made.versions) == {"python", "vesalius", "torch", "transformers", "numpy"}
    assert made.wall_seconds >= 0
    assert os.uname().nodename not in json.dumps(plain(made))
    with pytest.raises(TypeError, match="mapping or a dataclass"):
        make_card("x", stopwatch=Stopwatch.start(), config=3)
