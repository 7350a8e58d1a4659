"""Sharpness in closed form, blind to rescaled layers where normalised, and a model left alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from torch import Tensor

from landscape_toys import bits, classifier, examples, quadratic
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape import Examples, make_frame
from vesalius.methods.loss_landscape.flatness import flatness
from vesalius.methods.loss_landscape.flatness_result import Flatness
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups

QUICK = {"num_gaussian": 2, "num_probes": 2, "num_eigenvalues": 1}


def bowl() -> tuple[Specimen, Examples, np.ndarray, np.ndarray]:
    """A loss of half the sum of h w^2, w the weights of one layer; two matrices are steeper."""
    specimen = classifier()
    names = weight_groups(specimen).named("layer 0")
    curvatures = {name: 3.0 if "intermediate" in name else 1.0 for name in names}
    weights = [specimen.model.get_parameter(name).detach().double().flatten() for name in names]
    h = [torch.full_like(w, 2 * c) for w, c in zip(weights, curvatures.values(), strict=True)]
    return specimen, quadratic(curvatures), torch.cat(weights).numpy(), torch.cat(h).numpy()


@pytest.mark.parametrize("name", ["raw", "normalised"])
def test_a_quadratic_bowl_in_closed_form(name: str):
    specimen, data, w, h = bowl()
    found = flatness(specimen, data, moved="layer 0", num_probes=2, rho=0.3, rho_normalised=0.4)
    assert_allclose(found.loss_nats, 0.5 * h @ w**2, rtol=1e-5)
    assert_allclose(found.weights_norm, np.linalg.norm(w), rtol=1e-6)
    assert found.num_weights == len(w)
    t, rho = (np.ones_like(w), 0.3) if name == "raw" else (np.abs(w), 0.4)
    typical = np.linalg.norm(w) / len(w) ** 0.5 if name == "raw" else 1.0
    sharp = found.geometries[name]
    assert_allclose(sharp.radius, 0.05 * typical * len(w) ** 0.5, rtol=1e-5)
    expected = 0.5 * (0.05 * typical) ** 2 * (h @ t**2)
    assert abs(sharp.average_nats - expected) < 4 * sharp.average_standard_error
    assert_allclose(sharp.average_nats, expected, rtol=0.1)
    slope = t * h * w
    assert_allclose(sharp.gradient_norm, np.linalg.norm(slope), rtol=1e-5)
    shift = t * rho * slope / np.linalg.norm(slope)
    assert_allclose(sharp.worst_nats, 0.5 * h @ ((w + shift) ** 2 - w**2), rtol=1e-3)
    assert_allclose(sharp.eigenvalues, [(h * t**2).max()], rtol=1e-3)
    assert sharp.eigenvalues_converged
    assert_allclose(sharp.trace, h @ t**2, rtol=1e-5)  # diagonal: every probe is exact
    assert_allclose(sharp.trace_standard_error, 0, atol=1e-3)


def test_the_width_along_an_axis_in_closed_form():
    specimen, data, w, h = bowl()
    frame = make_frame(specimen, ("random", "random"), moved="layer 0")
    found = flatness(specimen, data, frame, moved="layer 0", tau_nats=0.05, **QUICK)
    for axis, width in zip(frame.axes, found.widths, strict=True):
        d = axis.weights.flat.double().numpy()
        roots = np.sort(np.roots([0.5 * h @ d**2, h @ (d * w), -0.05]))
        assert_allclose([width.low, width.high], roots, rtol=0.02)
        assert_allclose(width.width, width.high - width.low)
        assert (width.axis, width.norm) == (axis.name, axis.norm)
        assert not width.open_low
        assert not width.open_high


def test_a_flat_axis_is_open_on_both_sides():
    specimen, start = classifier(0), classifier(1)
    frame = make_frame(specimen, ("solution",), start=start.model, moved="layer 1")
    found = flatness(specimen, quadratic(), frame, moved="layer 0", **QUICK)
    (width,) = found.widths
    assert (width.low, width.high) == (-2.0, 1.0)  # from the usual -1 to 2, seen from 1
    assert width.open_low
    assert width.open_high
    assert not found.to_table().column("converged").to_pylist()[-1]


def test_more_steps_climb_higher_and_stay_within_the_radius():
    specimen, data, w, h = bowl()
    options = {"moved": "layer 0", "rho_normalised": 2.0, **QUICK}
    one, many = (flatness(specimen, data, num_steps=k, **options) for k in (1, 12))
    assert many.normalised.worst_nats > one.normalised.worst_nats
    slope, bend = np.abs(w) * h * w, h * w**2  # of the bowl in units of the weights

    def shift(multiplier: float) -> np.ndarray:
        return slope / (multiplier - bend)

    def beyond(multiplier: float) -> float:
        return float(np.linalg.norm(shift(multiplier))) - 2.0

    # the highest point of the ball: its multiplier is above every eigenvalue
    best = shift(brentq(beyond, 1.001 * bend.max(), 1e4 * bend.max()))
    assert_allclose(many.normalised.worst_nats, slope @ best + 0.5 * bend @ best**2, rtol=2e-3)


def test_rescaling_layers_that_undo_each_other_changes_raw_measures_only():
    """Queries times 4, keys by 4: the same function, and the same normalised sharpness."""
    plain, scaled = classifier(), classifier()
    attention = scaled.model.bert.encoder.layer[0].attention.self
    for part, factor in ((attention.query, 4.0), (attention.key, 0.25)):
        for parameter in part.parameters():
            parameter.data.mul_(factor)
    options = {"moved": "layer 0", "num_gaussian": 2, "num_probes": 2, "split": "held_out"}
    a, b = (flatness(specimen, examples(), **options) for specimen in (plain, scaled))
    assert_allclose(b.loss_nats, a.loss_nats, rtol=1e-5)
    for field in ("average_nats", "worst_nats", "gradient_norm", "eigenvalues", "trace"):
        ours, theirs = getattr(a.normalised, field), getattr(b.normalised, field)
        assert_allclose(theirs, ours, rtol=5e-3, atol=1e-5)
    assert abs(b.raw.gradient_norm / a.raw.gradient_norm - 1) > 0.05


def test_the_model_is_itself_again():
    specimen = classifier()
    specimen.model.train()
    frozen = specimen.model.get_parameter("bert.embeddings.LayerNorm.bias")
    frozen.requires_grad_(False)
    before = bits(specimen.model)
    frame = make_frame(specimen, ("random",), moved="layer 2")
    options = {"moved": "high", "num_steps": 2, **QUICK}
    first = flatness(specimen, examples(), frame, **options)
    assert bits(specimen.model) == before
    assert specimen.model.training
    assert not frozen.requires_grad
    assert all(p.grad is None for p in specimen.model.parameters())
    second = flatness(specimen, examples(), frame, **options)
    assert first.to_table().equals(second.to_table())  # the same draws


def test_nothing_is_left_moved_after_an_exception():
    specimen = classifier()
    before, calls = bits(specimen.model), []

    def measure(model: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("out of memory")
        weight = model.get_parameter("bert.encoder.layer.0.output.dense.weight")
        return {"loss": weight.square().sum() * batch["factor"]}

    data = Examples.of_batches({"train": [{"factor": torch.ones(2)}]}, measure=measure)
    with pytest.raises(RuntimeError, match="out of memory"):
        flatness(specimen, data, moved="layer 0")
    assert bits(specimen.model) == before
    assert all(p.requires_grad for p in specimen.model.parameters())


def test_it_is_saved_and_tabled(tmp_path: Path):
    specimen = classifier()
    found = flatness(specimen, examples(), moved="layer 2", num_gaussian=2, num_eigenvalues=2)
    rows = found.to_table().to_pylist()
    assert [row["measure"] for row in rows if row["of"] == "raw"] == [
        "average rise", "worst rise", "gradient norm", "eigenvalue 1", "eigenvalue 2", "trace",
    ]  # fmt: skip
    assert found.raw.eigenvalues[0] >= found.raw.eigenvalues[1]
    found.save(tmp_path / "flat")
    again = load_result(tmp_path / "flat")
    assert isinstance(again, Flatness)
    assert again.to_table().equals(found.to_table())
    assert again.card.config["moved"] == "layer 2"


def test_curvature_can_be_left_out():
    specimen = classifier()
    found = flatness(
        specimen, examples(), moved="layer 2", num_gaussian=2, num_eigenvalues=0, num_probes=0
    )
    assert found.raw.trace is None
    assert len(found.raw.eigenvalues) == 0
    assert len(found.to_table()) == 6


def test_a_small_memory_holds_fewer_vectors_and_a_smaller_one_is_refused():
    specimen, data, _, h = bowl()
    vector = 4 * len(h)
    found = flatness(specimen, data, moved="layer 0", memory=6 * vector, **QUICK)
    assert_allclose(found.raw.eigenvalues, [h.max()], rtol=1e-3)
    with pytest.raises(VesaliusError, match="4 vectors"):
        flatness(specimen, data, moved="layer 0", memory=3 * vector, **QUICK)


def test_shifts_that_overflow_are_nan_and_said():
    specimen = classifier()
    name = "bert.encoder.layer.0.output.dense.bias"

    def measure(model: torch.nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (1e4 * model.get_parameter(name).square().sum()).exp() * batch["factor"]}

    specimen.model.get_parameter(name).data.zero_()
    data = Examples.of_batches({"train": [{"factor": torch.ones(2)}]}, measure=measure)
    found = flatness(specimen, data, moved="layer 0", sigma=1.0, **QUICK)
    assert np.isnan(found.raw.average_nats)
    assert any("raw: the loss is not finite" in warning for warning in found.card.warnings)


def test_mistakes_are_named():
    specimen, data = classifier(), examples()
    other = make_frame(classifier(1), ("random",))
    for options, message in (
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"rho": float("inf")}, "rho=inf"),
        ({"num_gaussian": 1}, "num_gaussian=1"),
        ({"num_probes": 1}, "num_probes=1"),
        ({"num_steps": 0}, "num_steps=0"),
        ({"split": "test"}, "split='test'"),
        ({"moved": "layer 9"}, "layer 9"),
        ({"frame": other}, "not where tiny stands"),
    ):
        with pytest.raises(VesaliusError, match=message):
            flatness(specimen, data, **options)
    specimen.model.classifier.bias.data[0] = float("nan")
    with pytest.raises(VesaliusError, match="not finite"):
        flatness(specimen, data)
