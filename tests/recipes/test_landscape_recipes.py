"""The demo and the story: they run from what the package holds, and can be gone on with."""

from pathlib import Path

import pytest

from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.labelled import LabelledOptions
from vesalius.recipes import landscape_demo
from vesalius.recipes.landscape_demo import run_landscape_demo
from vesalius.recipes.landscape_story import (
    LandscapeStory,
    StoryOptions,
    plan_story,
    run_story,
)


def test_the_demo_draws_the_bundled_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landscape_demo, "STEPS", (4, 3))
    found = run_landscape_demo(out=tmp_path / "demo")
    assert found.files[0].name == "surface.html"
    assert all(path.is_file() for path in found.files)
    assert len(found.path.steps) == 17
    assert found.surface.solution == (0.0, 0.0)
    assert load_result(tmp_path / "demo" / "surface").to_dict() == found.surface.to_dict()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(VesaliusError, match="exists"):
        run_landscape_demo(out=tmp_path / "mine")


@pytest.mark.slow
def test_a_story_is_told_once(tmp_path: Path):
    options = StoryOptions(
        epochs=0.5, scratch_epochs=0.5, snapshots=2, max_examples=8, line_steps=4,
        surface_steps=(4, 3),
    )  # fmt: skip
    labelled = LabelledOptions(max_rows=60)
    plans = plan_story("mini-bert", "kinds", out=tmp_path / "s", options=options, labelled=labelled)
    story = run_story(plans, out=tmp_path / "s", options=options)
    assert [row.kind for row in story.rows] == ["pretrained", "scratch"]
    assert set(story.rows[0].damage) >= {"low", "middle", "high", "embeddings"}
    assert (tmp_path / "s" / "story.html").is_file()
    line = tmp_path / "s" / "landscapes" / "scratch-seed-0" / "line" / "result" / "result.json"
    before = line.stat().st_mtime_ns
    again = run_story(plans, out=tmp_path / "s", options=options)
    assert line.stat().st_mtime_ns == before
    assert again.to_table() == story.to_table()
    assert LandscapeStory.load(tmp_path / "s" / "result").rows == story.rows


def test_a_story_without_examples_is_refused():
    with pytest.raises(VesaliusError, match="max_examples"):
        StoryOptions(max_examples=0)
