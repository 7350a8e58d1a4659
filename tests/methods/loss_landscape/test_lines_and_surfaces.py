"""Surfaces in closed form, exact corners, grids of any shape, and a model that is itself again."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from landscape_toys import batches, bits, classifier, examples, quadratic
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape import (
    Examples,
    Frame,
    Line,
    line,
    make_frame,
    points,
    stacking,
    surface,
)
from vesalius.models.specimen import Specimen

BIAS = "bert.encoder.layer.0.output.dense.bias"


def _bowl() -> tuple[Specimen, Frame]:
    """A model at w = e_1, starting from w = 0, with a second solution at e_1 + e_2."""
    specimen, start, other = classifier(0), classifier(0), classifier(0)
    for subject, value in ((specimen, [1.0, 0.0]), (start, [0.0, 0.0]), (other, [1.0, 1.0])):
        weight = subject.model.get_parameter(BIAS).data.zero_()
        weight[:2] = torch.tensor(value)
    axes = ("solution", "other")
    frame = make_frame(specimen, axes, start=start.model, other=other.model, moved="layer 0")
    return specimen, frame


def test_a_quadratic_surface_in_closed_form():
    specimen, frame = _bowl()
    found = surface(specimen, quadratic(), frame, bounds=((-1, 2), (0, 1.5)), steps=(7, 4))
    np.testing.assert_allclose(found.cosine, 0.5**0.5, rtol=1e-6)
    a, b = np.meshgrid(found.alphas, found.betas, indexing="ij")
    # w = alpha e_1 + beta (e_1 + e_2) / sqrt 2; the mean of the two examples' factors is 2
    expected = (a + b / 2**0.5) ** 2 + b**2 / 2
    np.testing.assert_allclose(found.measured("train", "loss"), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        found.standard_errors["train"]["loss"], expected / 2, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(found.measured("train", "error"), expected > 1 + 1e-6)
    assert found.minimum("train", "loss") == (0.0, 0.0, 0.0)


def test_corners_are_exact():
    specimen, start, other = classifier(0), classifier(1), classifier(2)
    frame = make_frame(
        specimen, ("solution", "other"), start=start.model, other=other.model, moved="encoder"
    )
    drawn = examples()
    found = surface(
        specimen, drawn, frame, bounds=((0, 1), (0, 1)), steps=(2, 2), keep_examples=True
    )
    corner = found.examples["train"]["loss"]
    np.testing.assert_array_equal(corner[1, 0], drawn.measure(specimen)["train"]["loss"])
    for place, end in (((0, 0), {}), ((0, 1), frame.directions[1])):
        moved = classifier(0)  # with its own head
        for name in frame.names:
            value = frame.origin[name] + (end[name] if end else 0.0)
            moved.model.get_parameter(name).data.copy_(value)
        np.testing.assert_array_equal(corner[place], drawn.measure(moved)["train"]["loss"])


def test_a_line_is_the_row_of_a_surface():
    specimen = classifier(0)
    frame = make_frame(specimen, ("solution", "random"), start=classifier(1).model)
    whole = surface(specimen, examples(), frame, bounds=((-1, 2), (0, 1)), steps=(5, 3))
    row = line(specimen, examples(), frame, bounds=(-1, 2), steps=5)
    for measure in ("loss", "error"):
        np.testing.assert_allclose(
            row.measured("held_out", measure),
            whole.measured("held_out", measure)[:, 0],
            rtol=1e-5,
            atol=1e-6,
        )
    assert row.solution == 1.0


def test_the_lower_blocks_need_not_run_for_a_group():
    specimen, start = classifier(0), classifier(1)
    high = make_frame(specimen, ("solution",), start=start.model, moved="high")
    found = line(specimen, examples(), high, bounds=(0, 1), steps=2)
    mixed = classifier(0)
    for name in high.names:
        mixed.model.get_parameter(name).data.copy_(start.model.get_parameter(name))
    expected = examples().measure(mixed)["train"]["loss"].mean()
    np.testing.assert_allclose(found.measured("train", "loss")[0], expected, rtol=1e-5)


def test_single_examples_give_subsets_and_classes():
    specimen = classifier(0)
    frame = make_frame(specimen, ("random",))
    found = line(specimen, examples(), frame, steps=3, keep_examples=True)
    chosen = found.subset({"train": [0, 2]})
    assert chosen.num_examples == {"train": 2, "held_out": 6}
    np.testing.assert_allclose(
        chosen.measured("train", "loss"),
        found.examples["train"]["loss"][:, [0, 2]].mean(axis=1),
        rtol=1e-6,
    )
    label = int(found.labels["train"][0])
    with pytest.raises(VesaliusError, match="without an example of"):
        found.subset({"held_out": []})
    labels = found.labels
    if all((labels[split] == label).any() for split in labels):
        assert (found.of_class(label).labels["train"] == label).all()


def test_without_single_examples_there_is_no_subset():
    specimen = classifier(0)
    found = line(specimen, examples(), make_frame(specimen, ("random",)), steps=2)
    with pytest.raises(VesaliusError, match="keep_examples"):
        found.of_class(0)


def test_what_is_not_finite_is_stored_as_such():
    def measure(model, batch):
        weight = model.get_parameter(BIAS)[0]
        loss = torch.where(weight > 1.5, torch.inf, torch.where(weight < 0, torch.nan, weight))
        return {"loss": loss.expand(2), "error": torch.zeros(2)}

    specimen, frame = _bowl()
    found = line(
        specimen,
        Examples.of_batches({"train": [{"x": torch.zeros(2)}]}, measure=measure),
        frame,
        bounds=(-1, 2),
        steps=4,
    )
    np.testing.assert_array_equal(found.measured("train", "loss"), [np.nan, 0, 1, np.nan])
    assert "2 of 4 points are not finite" in found.card.warnings[0]


def test_the_model_is_itself_again():
    specimen = classifier(0)
    before = bits(specimen.model)
    own = [p.data_ptr() for p in specimen.model.parameters()]

    def fails(model, batch):
        raise RuntimeError("out of memory")

    frame = make_frame(specimen, ("solution", "random"), start=classifier(1).model)
    surface(specimen, examples(), frame, steps=(2, 2))
    with pytest.raises(RuntimeError):
        surface(specimen, Examples.of_batches({"train": batches()}, measure=fails), frame)
    assert bits(specimen.model) == before
    assert [p.data_ptr() for p in specimen.model.parameters()] == own


def test_an_adaptive_surface_says_how_far_it_is_off():
    specimen, frame = _bowl()
    bounds, steps = ((-1, 1), (-1, 1)), (17, 13)
    exact = surface(specimen, quadratic(), frame, bounds=bounds, steps=steps)
    found = surface(specimen, quadratic(), frame, bounds=bounds, steps=steps, adaptive=0.1)
    assert found.interpolation is not None
    assert found.interpolation.num_evaluated == found.evaluated.sum() < 17 * 13
    off = np.abs(found.measured("train", "loss") - exact.measured("train", "loss"))
    np.testing.assert_allclose(off[found.evaluated], 0, atol=1e-6)
    assert off.max() <= 0.1


def test_results_are_saved_and_found_again(tmp_path):
    specimen = classifier(0)
    frame = make_frame(specimen, ("random", "random"))
    for found in (
        line(specimen, examples(), make_frame(specimen, ("random",)), steps=3, keep_examples=True),
        surface(specimen, examples(), frame, steps=(2, 3)),
    ):
        again = load_result(found.save(tmp_path / found.kind))
        assert again.to_dict() == found.to_dict()
        assert again.to_table().num_rows == (3 if isinstance(found, Line) else 6) * 4


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"bounds": (1, 1)}, "lower one first"),
        ({"bounds": (0, float("inf"))}, "finite"),
        ({"bounds": (2, -1)}, "lower one first"),
        ({"steps": 1}, "steps"),
    ],
)
def test_bounds_without_meaning_are_refused(options, fault):
    specimen = classifier(0)
    with pytest.raises(VesaliusError, match=fault):
        line(specimen, examples(), make_frame(specimen, ("random",)), **options)


def test_a_surface_needs_two_axes_and_whole_examples():
    specimen = classifier(0)
    with pytest.raises(VesaliusError, match="two axes"):
        surface(specimen, examples(), make_frame(specimen, ("random",)))
    plane = make_frame(specimen, ("random", "random"))
    with pytest.raises(VesaliusError, match="single examples"):
        surface(specimen, examples(), plane, adaptive=0.1, keep_examples=True)


def test_a_model_that_moved_on_is_refused():
    specimen = classifier(0)
    frame = make_frame(specimen, ("random",))
    specimen.model.get_parameter(BIAS).data.add_(0.01)
    with pytest.raises(VesaliusError, match="its weights unchanged"):
        line(specimen, examples(), frame)


def test_loss_is_that_of_the_model():
    specimen = classifier(0)
    found = line(specimen, examples(), make_frame(specimen, ("random",)), bounds=(-1, 0), steps=2)
    losses = []
    for batch in batches():
        labels = batch.pop("labels")
        with torch.no_grad():
            losses.append(functional.cross_entropy(specimen.model(**batch).logits, labels))
    np.testing.assert_allclose(
        found.measured("train", "loss")[1], float(torch.stack(losses).mean()), rtol=1e-5
    )


def test_points_of_a_tiny_net_are_measured_together(monkeypatch: pytest.MonkeyPatch):
    specimen = classifier(0)
    frame = make_frame(specimen, ("solution", "random"), start=classifier(1).model)
    grid = {"bounds": ((-1, 2), (-1, 1)), "steps": (7, 5)}
    together = []

    def measured(*args, **options):
        together.append(stacking.measure_stacked(*args, **options))
        return together[-1]

    monkeypatch.setattr(points, "measure_stacked", measured)
    stacked = surface(specimen, examples(), frame, **grid)
    assert together[0] is not None
    monkeypatch.setattr(points, "is_worth_stacking", lambda *_, **__: False)
    single = surface(specimen, examples(), frame, **grid)
    for split in ("train", "held_out"):
        np.testing.assert_allclose(
            stacked.measured(split, "loss"), single.measured(split, "loss"), rtol=1e-5, atol=1e-6
        )


def test_a_measure_that_cannot_be_stacked_is_taken_point_by_point():
    def measure(model, batch):
        weight = model.get_parameter(BIAS)
        return {"loss": torch.full((2,), float(weight[0]))}  # reads a number off a tensor

    specimen, frame = _bowl()
    found = Examples.of_batches({"train": [{"x": torch.zeros(2)}]}, measure=measure)
    drawn = surface(specimen, found, frame, bounds=((0, 1), (0, 1)), steps=(6, 6))
    a, b = np.meshgrid(drawn.alphas, drawn.betas, indexing="ij")
    np.testing.assert_allclose(drawn.measured("train", "loss"), a + b / 2**0.5, rtol=1e-5)
