"""Checkpoints planted in a frame are found where they were planted, and measured as they are."""

from collections.abc import Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import landscape_toys as toys
from landscape_checks import Failing, bits_of, state_of
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import Frame, make_frame
from vesalius.methods.loss_landscape.trajectory import BESIDE, Trajectory, trajectory
from vesalius.models import zoo
from vesalius.models.opening import open as open_model
from vesalius.models.recorder import Recorder
from vesalius.models.weight_groups import weight_groups
from vesalius.models.weights import read_weights

module: Any = import_module("vesalius.methods.loss_landscape.trajectory")  # its function hides it
SPECIMEN = toys.classifier(0)
START, OTHER = (state_of(toys.classifier(s).model) for s in (1, 2))
EXAMPLES = toys.examples(24)


def frame_of(*axes: Any) -> Frame:
    return make_frame(SPECIMEN, axes or ("solution", "other"), start=START, other=OTHER)


FRAME = frame_of()


def planted(frame: Frame, *coefficients: float, beside: float = 0.0) -> dict[str, torch.Tensor]:
    """Weights at a place of the frame, moved out of it by a multiple of the first axis' length."""
    away = torch.randn(frame.origin.flat.shape, generator=torch.Generator().manual_seed(5)).double()
    axes = [direction.flat.double() for direction in frame.directions]
    basis = torch.linalg.qr(torch.stack(axes, dim=1)).Q
    away -= basis @ (basis.T @ away)
    away *= beside * frame.axes[0].norm / away.norm()
    flat = frame.origin.flat.double() + away
    for coefficient, axis in zip(coefficients, axes, strict=True):
        flat = flat + coefficient * axis
    weights = frame.origin.like(flat.float())
    return state_of(SPECIMEN.model) | dict(weights)


def placed(frame: Frame, *points: dict[str, torch.Tensor], **options: Any) -> Trajectory:
    options = {"evaluate": False} | options
    return trajectory(SPECIMEN, EXAMPLES, frame, list(enumerate(points)), **options)


@settings(max_examples=30)
@given(
    alpha=st.floats(-2, 2, width=16),
    beta=st.floats(-2, 2, width=16),
    beside=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_planted_coordinates_come_back_on_axes_that_are_not_orthogonal(
    alpha: float, beta: float, beside: float
):
    assert abs(FRAME.cosines[0, 1]) > 0.2
    found = placed(FRAME, planted(FRAME, alpha, beta, beside=beside))
    np.testing.assert_allclose(found.coordinates, [[alpha, beta]], atol=1e-5)
    gram = FRAME.cosines  # the axes are equally long
    way = np.sqrt(np.array([alpha, beta]) @ gram @ [alpha, beta] + beside**2)
    np.testing.assert_allclose(found.lengths, [way], atol=1e-5)
    if way > 0.1:
        np.testing.assert_allclose(found.off_plane, [beside / way], atol=1e-4)


def test_the_paper_places_points_by_its_formula():
    frame = frame_of("solution", "random")
    points = [planted(frame, 0.3, 0.2, beside=0.4), planted(frame, -0.5, 0.0), planted(frame, 0, 0)]
    found = placed(frame, *points, SPECIMEN.model.state_dict(), projection="paper")
    first = frame.directions[0].flat.double()
    for point, place in zip(points[:2], found.coordinates, strict=False):
        d = torch.cat([(point[n] - frame.origin[n]).double().flatten() for n in frame.names])
        ratio = float(d.norm() / first.norm())
        a = float(d @ first / d.norm() / first.norm()) * ratio
        np.testing.assert_allclose(place, [a, np.sqrt(max(0.0, ratio**2 - a**2))], atol=1e-4)
    assert found.coordinates[2].tolist() == [0, 0]
    assert found.coordinates[3].tolist() == [1, 0]  # exactly
    assert found.off_plane[3] == 0
    assert (found.coordinates[:, 1] >= 0).all()
    assert found.axes == ("towards the solution", BESIDE)
    assert found.solution == (1.0, 0.0)


def test_the_solution_lies_at_the_end_of_the_first_axis_by_least_squares_too():
    found = placed(FRAME, START, SPECIMEN.model.state_dict())
    np.testing.assert_allclose(found.coordinates, [[0, 0], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(found.off_plane, [0, 0], atol=1e-12)
    assert found.solution == (1.0, 0.0)
    assert found.axes == ("towards the solution", "towards the other solution")


def test_one_axis_gives_one_coordinate():
    frame = frame_of("solution")
    found = placed(frame, planted(frame, 0.25, beside=1.0))
    np.testing.assert_allclose(found.coordinates, [[0.25]], atol=1e-5)
    assert found.to_table().column_names == ["step", "alpha", "off_plane", "length"]
    assert placed(frame, START, projection="paper").coordinates.shape == (1, 2)


@pytest.mark.parametrize("moved", ["encoder", "high", "all"])
def test_checkpoints_are_measured_as_they_are(moved: str):
    frame = make_frame(SPECIMEN, ("solution", "other"), start=START, other=OTHER, moved=moved)
    found = trajectory(SPECIMEN, EXAMPLES, frame, [(0, START), (7, OTHER)])
    assert found.heads == "own"
    for place, seed in enumerate((1, 2)):
        alone = EXAMPLES.measure(toys.classifier(seed))
        for split, measures in alone.items():
            for measure, values in measures.items():
                assert found.measured(split, measure)[place] == values.mean(dtype=np.float64)
                error = values.astype(np.float64).std(ddof=1) / np.sqrt(len(values))
                np.testing.assert_allclose(found.standard_errors[split][measure][place], error)
    assert found.num_examples == {"train": 24, "held_out": 24}


def test_checkpoints_can_be_measured_with_the_head_of_the_solution():
    model = deepcopy(SPECIMEN.model)
    encoder = weight_groups(SPECIMEN).encoder
    model.load_state_dict({n: START[n] for n in encoder}, strict=False)
    headless = {name: START[name] for name in encoder}
    alone = EXAMPLES.measure(
        type(SPECIMEN)(model=model, tokenizer=None, name="it", task="classifier")
    )
    found = trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, headless)], heads="solution")
    assert found.measured("train", "loss")[0] == alone["train"]["loss"].mean(dtype=np.float64)
    with pytest.raises(VesaliusError, match="heads='solution'"):
        trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, headless)])
    trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, headless)], evaluate=False)


def test_the_last_checkpoint_has_the_loss_of_the_model():
    found = trajectory(SPECIMEN, EXAMPLES, FRAME, [(3, SPECIMEN.model.state_dict())])
    own = EXAMPLES.measure(SPECIMEN)
    assert found.measured("held_out", "loss")[0] == own["held_out"]["loss"].mean(dtype=np.float64)


def test_folders_of_recorders_and_of_finetune_are_read(tmp_path: Path):
    recorder = Recorder(tmp_path / "snapshots", every=5)
    for step, seed in ((0, 1), (5, 2), (10, 0)):
        recorder.on_step(toys.classifier(seed).model, step)
    for folder in (tmp_path, str(tmp_path / "snapshots")):
        found = trajectory(SPECIMEN, EXAMPLES, FRAME, folder, projection="paper")
        assert found.steps.tolist() == [0, 5, 10]
        assert found.coordinates[0].tolist() == [0, 0]
        assert found.coordinates[2].tolist() == [1, 0]
        again = trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, START)])
        assert found.measured("train", "loss")[0] == again.measured("train", "loss")[0]


def test_a_model_that_is_bundled_with_its_training_is_walked_along():
    specimen = open_model("mini-classifier")
    path = zoo.trajectory("mini-classifier")
    examples = Examples.of_batches(
        {"train": [{"input_ids": torch.arange(5, 17).view(2, 6),
                    "attention_mask": torch.ones(2, 6, dtype=torch.long),
                    "labels": torch.tensor([0, 1])}]}
    )  # fmt: skip
    frame = make_frame(specimen, ("solution",), start=path.state_dict(0))
    found = trajectory(specimen, examples, frame, "mini-classifier")
    assert found.steps.tolist() == list(path.steps)
    # the bundled model is the last point, rounded to 16 bits
    np.testing.assert_allclose(found.coordinates[[0, -1], 0], [0, 1], atol=1e-3)
    assert found.off_plane[-1] < 0.02
    assert np.isfinite(found.measured("train", "loss")).all()


def test_one_checkpoint_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch):
    import gc
    import weakref

    held: list[Any] = []

    def read(source: Any) -> dict[str, torch.Tensor]:
        gc.collect()
        assert not [tensor for tensor in held if tensor() is not None]
        return read_weights(source)

    def fit(*args: Any, **kwargs: Any) -> Any:
        fitted = fit_weights(*args, **kwargs)
        held.extend(weakref.ref(tensor) for tensor in fitted.values())
        return fitted

    def apart(*args: Any) -> Any:
        found = difference(*args)
        held.extend(weakref.ref(tensor) for tensor in found.values())
        return found

    fit_weights, difference = module.fit_weights, module.difference
    monkeypatch.setattr(module, "read_weights", read)
    monkeypatch.setattr(module, "fit_weights", fit)
    monkeypatch.setattr(module, "difference", apart)
    trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, START), (1, OTHER), (2, START)])
    assert len(held) > 100


def test_the_model_is_itself_again_also_after_an_exception():
    before = bits_of(SPECIMEN.model)
    trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, START), (1, OTHER)])
    assert bits_of(SPECIMEN.model) == before
    failing = Examples.of_batches({"train": toys.batches()}, measure=Failing(3))
    with pytest.raises(ZeroDivisionError) as kept:  # the traceback holds every frame alive
        trajectory(SPECIMEN, failing, FRAME, [(0, START), (1, OTHER)])
    assert bits_of(SPECIMEN.model) == before
    assert torch.is_grad_enabled()
    del kept


def test_the_model_is_itself_again_when_the_projection_fails(monkeypatch: pytest.MonkeyPatch):
    def fails(deltas: Iterator[Any], *_axes: Any) -> None:
        next(deltas)
        raise ZeroDivisionError("in the projection")

    monkeypatch.setattr(module, "project_least_squares", fails)
    before = bits_of(SPECIMEN.model)
    with pytest.raises(ZeroDivisionError) as kept:
        trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, START), (1, OTHER)])
    assert bits_of(SPECIMEN.model) == before
    assert torch.is_grad_enabled()
    del kept


def test_a_loss_that_is_not_finite_is_nan_and_noted():
    def measure(model: Any, batch: Any) -> dict[str, torch.Tensor]:
        first = model.classifier.weight[0, 0]
        worst = float("inf") if first == START["classifier.weight"][0, 0] else 1.0
        return {"loss": torch.full((len(batch["labels"]),), worst)}

    found = trajectory(
        SPECIMEN,
        Examples.of_batches({"train": toys.batches()}, measure=measure),
        FRAME,
        [(0, START), (1, OTHER)],
    )
    assert np.isnan(found.measured("train", "loss")).tolist() == [True, False]
    assert any("not finite" in note for note in found.card.warnings)


def test_what_cannot_be_walked_along_is_refused(tmp_path: Path):
    for pairs, words in (
        ([], "no checkpoint"),
        ([(5, START), (5, OTHER)], "step 5 after step 5"),
        ([(5, START), (3, OTHER)], "step 3 after step 5"),
        ([(0, {"classifier.weight": torch.zeros(1)})], "step 0: no tensor for"),
        (tmp_path, "no checkpoint in it"),
    ):
        with pytest.raises(VesaliusError, match=words):
            trajectory(SPECIMEN, EXAMPLES, FRAME, pairs)  # pyright: ignore[reportArgumentType]
    with pytest.raises(VesaliusError, match="a first axis from the start"):
        trajectory(SPECIMEN, EXAMPLES, frame_of("random"), [(0, START)], projection="paper")
    with pytest.raises(VesaliusError, match="not where tiny stands"):
        trajectory(toys.classifier(7), EXAMPLES, FRAME, [(0, START)])


@pytest.mark.usefixtures("as_users_call_it")
def test_a_list_of_folders_without_steps_is_explained(tmp_path: Path):
    for wrong in ([tmp_path], [("0", START)]):
        with pytest.raises(VesaliusError, match="pairs of a step and weights"):
            trajectory(SPECIMEN, EXAMPLES, FRAME, wrong)  # pyright: ignore[reportArgumentType]
    for option in ({"projection": "pca"}, {"heads": "none"}):
        with pytest.raises(VesaliusError, match="expected: one of"):
            trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, START)], **option)  # pyright: ignore[reportArgumentType]


def test_a_trajectory_is_stored_and_tabled(tmp_path: Path):
    found = trajectory(SPECIMEN, EXAMPLES, FRAME, [(0, START), (4, OTHER)])
    again = load_result(found.save(tmp_path / "it"))
    assert isinstance(again, Trajectory)
    assert str(again.to_dict()) == str(found.to_dict())
    table = again.to_table()
    assert table.column_names[:5] == ["step", "alpha", "beta", "off_plane", "length"]
    assert table["held_out_error"].to_pylist() == found.measured("held_out", "error").tolist()
    assert found.card.method == "landscape trajectory"
    with pytest.raises(VesaliusError, match="train: loss, error"):
        found.measured("train", "accuracy")
