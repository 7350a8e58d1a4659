"""Stacked points give the numbers of one point after the other."""

import pytest
import torch
from torch import Tensor, nn

import families
from helpers import assert_equal_numbers
from masking import specimen_of
from vesalius.core.errors import VesaliusError
from vesalius.models.displaced import displaced
from vesalius.models.stacked import Launches, count_launches, stacked_measure, worth_stacking

POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-0.5, 2.0], [0.25, -1.0], [1.0, 1.0]])


def losses(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs).logits
    # of the last row: padded rows in front see what their kernel pleases
    logits = (logits if logits.dim() == 2 else logits[:, -1])[:, :5]
    labels = batch["labels"]
    return {
        "loss": nn.functional.cross_entropy(logits, labels, reduction="none"),
        "error": (logits.argmax(1) != labels).float(),
    }


def frame_of(model: nn.Module, names: list[str]) -> tuple[dict, list[dict]]:
    generator = torch.Generator().manual_seed(0)
    named = dict(model.named_parameters())
    origin = {name: named[name].detach().clone() for name in names}
    axes = [
        {n: 0.1 * torch.randn(t.shape, generator=generator) for n, t in origin.items()}
        for _ in range(2)
    ]
    return origin, axes


def one_by_one(model, batch, measure, origin, axes) -> dict[str, Tensor]:
    rows = []
    with torch.no_grad(), displaced(model, origin, axes) as move:
        for point in POINTS.tolist():
            move(point)
            rows.append(measure(model, batch))
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def test_a_linear_map_has_its_closed_form():
    model = nn.Linear(3, 1, bias=False)
    inputs = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    origin = {"weight": torch.tensor([[1.0, 2.0, 3.0]])}
    axes = [
        {"weight": torch.tensor([[1.0, 0.0, 0.0]])},
        {"weight": torch.tensor([[0.0, 1.0, 1.0]])},
    ]
    before = model.weight.detach().clone()
    found = stacked_measure(
        model,
        {"x": inputs},
        lambda m, b: {"loss": m(b["x"])[:, 0]},
        origin=origin,
        axes=axes,
        coordinates=POINTS,
    )
    alpha, beta = POINTS.T
    assert_equal_numbers(found["loss"], torch.stack([1 + alpha, 2 * (2 + beta)], dim=1))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_equals_one_point_after_the_other(family: str):
    specimen = specimen_of(family)
    model = specimen.model
    batch = {**specimen.probe().inputs, "labels": torch.tensor([1, 4, 0, 3, 2])}
    names = [n for n, p in model.named_parameters() if p.dim() > 1]
    origin, axes = frame_of(model, names)
    bits = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wanted = one_by_one(model, batch, losses, origin, axes)
    found = stacked_measure(model, batch, losses, origin=origin, axes=axes, coordinates=POINTS)
    assert_equal_numbers(found["loss"], wanted["loss"])
    assert found["error"].shape == (5, 5)
    torch.testing.assert_close(found["error"], wanted["error"], rtol=0, atol=0)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, bits[name])


def test_memory_cuts_the_points_into_passes_of_the_same_numbers():
    model = families.make("bert")
    names = [n for n, _ in model.named_parameters() if "encoder" in n]
    origin, axes = frame_of(model, names)
    batch = {"input_ids": torch.arange(12).view(2, 6), "labels": torch.tensor([1, 2])}
    calls: list[int] = []

    def measure(inner: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(1)
        return losses(inner, inputs)

    given = {"origin": origin, "axes": axes, "coordinates": POINTS}
    wanted = stacked_measure(model, batch, measure, **given)
    assert len(calls) == 2  # counted once, then all points at once
    found = stacked_measure(model, batch, measure, **given, memory_bytes=1)
    assert len(calls) == 2 + 1 + len(POINTS)
    assert_equal_numbers(found["loss"], wanted["loss"])


def test_the_rule_counts_kernels_points_and_weights():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    batch = {"x": torch.zeros(5, 4)}
    launches = count_launches(model, batch, lambda m, b: {"loss": m(b["x"]).sum(1)})
    assert launches == Launches(num_kernels=4, num_written=5 * (8 + 8 + 2 + 1))
    assert worth_stacking(launches, num_moved=58, num_points=100)
    assert not worth_stacking(launches, num_moved=58, num_points=10)
    assert not worth_stacking(launches, num_moved=50_000, num_points=100)
    busy = Launches(num_kernels=4, num_written=50_000)
    assert not worth_stacking(busy, num_moved=58, num_points=100)


def test_what_cannot_be_stacked_is_refused():
    model = nn.Linear(2, 1)
    batch = {"x": torch.ones(3, 2)}
    given = {"origin": {"weight": torch.ones(1, 2)}, "axes": [{"weight": torch.ones(1, 2)}]}

    def reads(inner: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        out = inner(inputs["x"])[:, 0]
        return {"loss": out if float(out.sum()) > 0 else -out}

    with pytest.raises(VesaliusError, match="stacked weights"):
        stacked_measure(model, batch, reads, **given, coordinates=torch.zeros(2, 1))
    for shape in ((0, 1), (2, 2)):
        with pytest.raises(VesaliusError, match="coordinates of shape"):
            stacked_measure(model, batch, reads, **given, coordinates=torch.zeros(shape))
