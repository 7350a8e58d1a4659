"""Runs in a folder: gone on with, killed, by several workers, and never with something else."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from landscape_toys import classifier, examples
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape import Examples, Frame, Run, Surface, make_frame, surface
from vesalius.models.specimen import Specimen

GRID = {"bounds": ((-1, 2), (-1, 1)), "steps": (6, 5)}


def _plane(specimen: Specimen, seed: int = 0) -> Frame:
    axes = ("solution", "random")
    return make_frame(specimen, axes, start=classifier(1).model, seed=seed)


def _draw(out: Path | None, *, seed: int = 0, workers: int = 1, **changes) -> Surface:
    specimen = classifier(0)
    run = Run(out=out, workers=workers)
    return surface(specimen, examples(), _plane(specimen, seed), run=run, **{**GRID, **changes})


def _table(out: Path) -> bytes:
    return (out / "points" / "00" / "table.parquet").read_bytes()


def test_a_run_gives_what_a_call_gives_and_is_read_again(tmp_path):
    out = tmp_path / "run"
    found, here = _draw(out), _draw(None)
    for split in ("train", "held_out"):
        np.testing.assert_array_equal(found.measured(split, "loss"), here.measured(split, "loss"))
    assert (out / "result" / "result.json").is_file()
    before = (out / "points" / "00" / "shards" / "00000.parquet").stat().st_mtime_ns
    again = _draw(out)
    assert again.to_dict() == found.to_dict()
    assert (out / "points" / "00" / "shards" / "00000.parquet").stat().st_mtime_ns == before


def test_an_interrupted_run_goes_on_from_any_place(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _draw(whole)
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "result")
    points = broken / "points" / "00"
    (points / "table.parquet").unlink()
    (points / "shards" / "00001.parquet").unlink()
    moved = broken.rename(tmp_path / "moved")  # a folder that was moved is the same run
    _draw(moved)
    assert _table(moved) == _table(whole)


@pytest.mark.slow
def test_four_workers_give_the_same_bytes(tmp_path):
    _draw(tmp_path / "one")
    _draw(tmp_path / "four", workers=4)
    assert _table(tmp_path / "one") == _table(tmp_path / "four")


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from landscape_toys import classifier, examples
from vesalius.methods.loss_landscape import Run, make_frame, surface
specimen = classifier(0)
plane = make_frame(specimen, ("solution", "random"), start=classifier(1).model)
surface(specimen, examples(), plane, bounds=((-1, 2), (-1, 1)), steps=(16, 15),
        run=Run(out=Path(sys.argv[1])))
"""


def test_kill_and_go_on(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parents[2])), encoding="utf-8")
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(script), str(killed)], stderr=subprocess.PIPE)
    shards = killed / "points" / "00" / "shards"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if shards.is_dir() and len(list(shards.glob("[0-9]*.parquet"))) >= 2:
            process.kill()
            break
        time.sleep(0.005)
    process.communicate()
    assert list(shards.glob("[0-9]*.parquet"))
    _draw(killed, steps=(16, 15))
    _draw(tmp_path / "whole", steps=(16, 15))
    assert _table(killed) == _table(tmp_path / "whole")


def test_an_adaptive_run_is_gone_on_with(tmp_path):
    first = _draw(tmp_path / "run", adaptive=0.5, steps=(9, 9))
    shutil.rmtree(tmp_path / "run" / "result")
    shutil.rmtree(tmp_path / "run" / "points" / "01")
    again = _draw(tmp_path / "run", adaptive=0.5, steps=(9, 9))
    np.testing.assert_array_equal(again.measured("train", "loss"), first.measured("train", "loss"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"seed": 1}, "axes ="),
        ({"steps": (6, 4)}, "steps ="),
        ({"bounds": ((-1, 2), (0, 1))}, "bounds ="),
        ({"adaptive": 0.1}, "adaptive ="),
    ],
)
def test_a_run_of_something_else_is_refused(tmp_path, changes, fault):
    _draw(tmp_path / "run", steps=(2, 2))
    with pytest.raises(VesaliusError, match=fault):
        _draw(tmp_path / "run", **{"steps": (2, 2), **changes})


def test_other_weights_and_other_data_are_refused(tmp_path):
    run, small = Run(out=tmp_path / "run"), {"steps": (2, 2)}
    specimen = classifier(0)
    surface(specimen, examples(), _plane(specimen), run=run, **small)
    other = classifier(3)
    with pytest.raises(VesaliusError, match="weights ="):
        surface(other, examples(), _plane(other), run=run, **small)
    with pytest.raises(VesaliusError, match="data ="):
        surface(specimen, examples(4), _plane(specimen), run=run, **small)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(VesaliusError, match="holds something else"):
        _draw(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_function_at_hand_cannot_go_into_a_folder(tmp_path):
    specimen = classifier(0)
    found = Examples.of_batches(
        {"train": examples().batches("train")},
        measure=lambda model, batch: {"loss": batch["labels"].float()},
    )
    with pytest.raises(VesaliusError, match="a function at hand"):
        surface(specimen, found, _plane(specimen), run=Run(out=tmp_path / "run"))


def test_damaged_inputs_are_refused_by_every_worker(tmp_path):
    _draw(tmp_path / "run", steps=(2, 2))
    shutil.rmtree(tmp_path / "run" / "result")
    shutil.rmtree(tmp_path / "run" / "points")
    about = tmp_path / "run" / "inputs" / "frame.safetensors"
    content = bytearray(about.read_bytes())
    content[-1] ^= 1
    about.write_bytes(bytes(content))
    with pytest.raises(VesaliusError, match="another frame"):
        _draw(tmp_path / "run", steps=(2, 2))


def test_the_manifest_names_no_place(tmp_path):
    _draw(tmp_path / "run", steps=(2, 2))
    manifest = json.loads((tmp_path / "run" / "points" / "00" / "manifest.json").read_text("utf-8"))
    assert str(tmp_path) not in json.dumps(manifest)
