"""`vesalius landscape ...`: tables, JSON, pages, pictures, runs that go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from cli import tiny
from cli.tiny import Ran, Run
from vesalius.cli.main import main
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape import (
    BarrierResult,
    Flatness,
    Line,
    Rollback,
    Surface,
    Trajectory,
)
from vesalius.models import zoo
from vesalius.parallel import sweep

FEW = ("--max-train", 8, "--max-held-out", 6)
Landscape = Callable[..., Ran]


def moved(share: float, folder: Path, *, seed: int = 1) -> Path:
    """The tiny classifier, a share of the way back to where its training shall have begun."""
    model = tiny.classifier("negative", "positive")
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        away = torch.randn(parameter.shape, generator=generator)
        parameter.data += share * 0.1 * away
    return tiny.save(model, folder)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a training that ends in the tiny classifier."""
    folder = tmp_path_factory.mktemp("training")
    for step, share in ((0, 1.0), (50, 0.4), (100, 0.0)):
        moved(share, folder / f"step-{step:06d}")
    return folder


@pytest.fixture
def landscape(run: Run, opinions: Path, path: Path) -> Landscape:
    """Run a command on the last checkpoint with few examples."""

    def called(verb: str, *words: object) -> Ran:
        return run("landscape", verb, path / "step-000100", "--data", opinions, *FEW, *words)

    return called


def test_a_line_is_a_table_json_and_files(landscape: Landscape, tmp_path: Path):
    page, plot = tmp_path / "line.html", tmp_path / "line.svg"
    ran = landscape("line", "--steps", 7, "--html", page, "--plot", plot)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("measure         at the start   at the solution")
    assert [line.partition("  ")[0] for line in lines[1:5]] == [
        "train loss", "train error", "held-out loss", "held-out error"]  # fmt: skip
    assert "overlap of the floors" in ran.out
    assert "From the start to the solution" in ran.out or "On the way" in ran.out
    assert page.stat().st_size > 1000
    assert plot.read_bytes().startswith(b"<?xml")
    told = landscape("line", "--steps", 7, "--json").json()["line"]
    assert told["num_examples"] == {"train": 8, "held_out": 6}
    assert len(told["rows"]) == 7 * 2 * 2
    assert set(told["agreement"]) == {"tau_nats", "margin", "rows", "regions"}


def test_a_run_is_gone_on_with_and_shown_again(landscape: Landscape, tmp_path: Path):
    out = tmp_path / "run"
    words = ("line", "--steps", 4, "--axis", "random", "--out", out)
    first = landscape(*words)
    assert sorted(place.name for place in out.iterdir()) == ["inputs", "page.html", "points",
                                                             "result"]  # fmt: skip
    assert f"wrote {out}" in first.err
    again = landscape(*words, "--keep-examples")
    assert again.out == first.out
    assert "was finished before" in again.err
    assert "without --keep-examples" in again.err
    refused = landscape(*words[:-2], "--seed", 1, "--out", out)
    assert (refused.code, refused.out) == (1, "")
    assert "a run with axes =" in refused.err
    assert Line.load(out / "result").axis.startswith("random")


def test_an_interrupted_run_goes_on(
    landscape: Landscape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write, written = sweep.write_file, []

    def until_the_second(*words: Any, **options: Any) -> Path:
        if written:
            raise KeyboardInterrupt
        written.append(write(*words, **options))
        return written[0]

    words = ("line", "--axis", "random", "--steps", 20, "--out")
    with monkeypatch.context() as patched:
        patched.setattr(sweep, "write_file", until_the_second)
        ran = landscape(*words, tmp_path / "run")
    assert (ran.code, ran.out) == (130, "")
    assert "the same command" in ran.err
    assert not (tmp_path / "run" / "result").exists()
    before = written[0].stat().st_mtime_ns
    done = landscape(*words, tmp_path / "run")
    assert done.code == 0
    assert written[0].stat().st_mtime_ns == before
    assert done.out == landscape(*words, tmp_path / "whole").out


def test_points_that_are_not_finite_stay_empty(landscape: Landscape, tmp_path: Path):
    words = ("--axis", "random", "--bounds", "-1e30,1e30", "--steps", 3)
    ran = landscape("line", *words, "--html", tmp_path / "far.html")
    assert ran.code == 0
    assert "train loss: 2 of 3 points are not finite" in ran.err
    assert "is not finite at 2 of 3 points" in ran.out
    told = landscape("line", *words, "--json").json()["line"]
    losses = [row["mean"] for row in told["rows"] if row["measure"] == "loss"]
    assert losses.count(None) == 4
    assert "not finite at" in (tmp_path / "far.html").read_text("utf-8")


def test_a_surface_with_the_path_over_it(landscape: Landscape, path: Path, tmp_path: Path):
    out, plot = tmp_path / "plane", tmp_path / "plane.png"
    words = ("surface", "--steps", "4x3", "--trajectory", path, "--keep-examples", "--out", out)
    ran = landscape(*words, "--plot", plot)
    assert ran.code == 0
    assert "cosine between the axes" in ran.out
    assert "train loss below" in ran.out
    assert "Of the way" in ran.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    found = Surface.load(out / "result")
    assert found.measured("train", "loss").shape == (4, 3)
    assert found.examples["train"]["loss"].shape == (4, 3, 8)
    steps = Trajectory.load(out / "trajectory").steps
    np.testing.assert_array_equal(steps, [0, 50, 100])
    told = landscape(*words, "--json").json()
    assert told["surface"]["minima"]["train"]["loss"]["value"] == found.minimum("train", "loss")[2]
    assert len(told["trajectory"]["rows"]) == 3
    assert told["saved"] == {"out": str(out)}


@pytest.fixture(scope="session")
def plane(path: Path, opinions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a surface with single examples."""
    out = tmp_path_factory.mktemp("runs") / "plane"
    words = ("surface", path / "step-000100", "--data", opinions, *FEW, "--steps", "3x3",
             "--keep-examples", "--out", out)  # fmt: skip
    jaxtyping.config.update("jaxtyping_disable", True)  # typer and the checks do not go together
    code = main(["landscape", *map(str, words)])
    jaxtyping.config.update("jaxtyping_disable", False)
    assert code == 0
    return out


def test_agreement_of_a_saved_surface(run: Run, plane: Path, tmp_path: Path):
    ran = run("landscape", "agreement", plane, "--resamples", 5, "--out", tmp_path / "agreement")
    assert ran.code == 0
    assert ran.out.startswith("training loss and")
    assert "held-out error" in ran.out
    assert load_result(tmp_path / "agreement").kind == "loss_landscape.agreement"
    whole = run("landscape", "agreement", plane / "result", "--json").json()["agreement"]
    part = run("landscape", "agreement", plane, "--label", 1, "--json").json()["agreement"]
    assert [row["measure"] for row in part["rows"]] == ["loss", "error"]
    assert part["regions"][0]["lowest_nats"] != whole["regions"][0]["lowest_nats"]


def test_export_of_a_saved_surface(run: Run, plane: Path, tmp_path: Path):
    files = {kind: tmp_path / f"plane.{kind}" for kind in ("csv", "npz", "vtk")}
    words = [word for kind, place in files.items() for word in (f"--{kind}", place)]
    ran = run("landscape", "export", plane, *words)
    assert (ran.code, ran.err) == (0, "")
    assert len(files["csv"].read_text("utf-8").splitlines()) == 1 + 9 * 4
    with np.load(files["npz"], allow_pickle=False) as arrays:
        assert arrays["train.loss"].shape == (3, 3)
    assert files["vtk"].read_bytes().startswith(b"# vtk DataFile")
    again = run("landscape", "export", plane, *words)
    assert (again.code, again.out) == (1, "")
    assert run("landscape", "export", plane, *words, "--force").code == 0


def test_a_trajectory_is_a_table_json_and_files(landscape: Landscape, tmp_path: Path):
    words = ("trajectory", "--axes", "solution")
    ran = landscape(*words, "--out", tmp_path / "t", "--html", tmp_path / "t.html")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()[1:4]] == ["0", "50", "100"]
    assert Trajectory.load(tmp_path / "t").projection == "least-squares"
    told = landscape(*words, "--projection", "paper", "--no-losses", "--json").json()["trajectory"]
    assert told["rows"][-1]["alpha"] == pytest.approx(1, abs=1e-5)
    assert told["num_examples"] == {}


def test_a_rollback_is_a_table_json_and_files(landscape: Landscape, tmp_path: Path):
    words = ("rollback", "--resamples", 20)
    ran = landscape(*words, "--out", tmp_path / "r", "--plot", tmp_path / "r.pdf")
    assert ran.code == 0
    assert "Always the commonest class is right on" in ran.out
    assert Rollback.load(tmp_path / "r").num_examples == 6
    told = landscape(*words, "--split", "train", "--groups", "layers", "--json").json()["rollback"]
    assert [row["group"] for row in told["rows"]] == ["embeddings", "layer 0", "layer 1", "encoder"]


def test_flatness_is_a_table_json_and_files(landscape: Landscape, tmp_path: Path):
    words = ("flatness", "--probes", 2, "--draws", 2)
    ran = landscape(*words, "--eigenvalues", 0, "--axes", "random", "--out", tmp_path / "f")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["measure", "raw", "normalised"]
    assert "where the loss rises by at most 0.1 nats" in ran.out
    assert len(Flatness.load(tmp_path / "f").widths) == 1
    told = landscape(*words, "--moved", "layer 1", "--json").json()["flatness"]
    assert {row["measure"] for row in told["rows"]} >= {"eigenvalue 1", "trace", "worst rise"}


def test_a_barrier_is_a_table_json_and_a_run(landscape: Landscape, tmp_path: Path):
    other, out = moved(1.0, tmp_path / "other", seed=3), tmp_path / "run"
    words = ("barrier", "--other", other, "--steps", 3, "--out", out)
    ran = landscape(*words)
    assert ran.code == 0
    assert "straight line between its ends" in ran.out
    assert BarrierResult.load(out / "result").moved == "all"
    told = landscape(*words, "--json").json()["barrier"]
    assert [row["alpha"] for row in told["rows"]] == [0, 0.5, 1]


@pytest.mark.parametrize(("verb", "words"), [("line", ()), ("surface", ("--steps", "40")),
                                             ("barrier", ("--other", "mini-bert"))])  # fmt: skip
def test_a_dry_run_says_what_it_takes(
    landscape: Landscape, tmp_path: Path, verb: str, words: tuple[str, ...]
):
    ran = landscape(verb, *words, "--dry-run", "--json", "--out", tmp_path / "run")
    told = ran.json()["forecast"]
    points = {"line": 31, "surface": 1600, "barrier": 25}[verb]
    assert told["points"] == points
    assert told["forwards"] == 2 * points
    assert told["axes_bytes"] == 4 * told["moved_weights"] * (3 if verb == "surface" else 2)
    assert told["seconds_about"] > 0
    assert not (tmp_path / "run").exists()


def test_a_language_model_is_measured_on_texts(run: Run, gpt_folder: Path, tmp_path: Path):
    texts = tmp_path / "texts.txt"
    texts.write_text("Paris is in France\nRome has its city\nTokyo is a city\n", "utf-8")
    words = ("landscape", "line", gpt_folder, "--axis", "random", "--steps", 3, "--texts", texts)
    ran = run(*words, "--max-train", 2)
    assert ran.code == 0
    assert "the first 2 of 3 texts" in ran.err
    told = run(*words, "--held-out-texts", texts, "--json").json()["line"]
    assert told["num_examples"] == {"train": 3, "held_out": 3}


def test_a_metric_of_ones_own(landscape: Landscape, tmp_path: Path):
    metric = "wide=cli.test_landscape:width_of_logits"
    ran = landscape("line", "--steps", 3, "--metric", metric, "--out", tmp_path / "run", "--json")
    assert {row["measure"] for row in ran.json()["line"]["rows"]} == {"loss", "error", "wide"}


def width_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.amax(dim=-1) - logits.amin(dim=-1)


def test_a_bundled_model_needs_no_flag(run: Run):
    """Its start and its path come with it."""
    few = ("--max-train", 2, "--max-held-out", 2)
    told = run("landscape", "trajectory", *few, "--axes", "solution", "--no-losses", "--json")
    rows = json.loads(told.out)["trajectory"]["rows"]
    assert len(rows) == len(zoo.trajectory("mini-classifier").steps)
    assert rows[-1]["off_plane"] < 0.01


@pytest.mark.slow
def test_the_demo_needs_no_flag(run: Run, tmp_path: Path):
    ran = run("landscape", "demo", "--out", tmp_path / "demo")
    assert ran.code == 0
    assert (tmp_path / "demo" / "surface.html").is_file()
    assert ran.out.splitlines()[-1].endswith("rollback.png")
    told = run("landscape", "demo", "--out", tmp_path / "demo", "--json").json()
    assert set(told["demo"]) == {"line", "surface", "trajectory", "rollback"}
    assert len(told["files"]) == 7
