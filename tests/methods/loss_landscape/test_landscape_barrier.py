"""Barriers of functions of the weights whose barriers are known, and the way of a real model."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape_toys as toys
from landscape_checks import Failing, bits_of, state_of
from tiny import word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape.barrier import BarrierResult, barrier
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.points import Run
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups

SPECIMEN = toys.classifier(0)
OTHER = state_of(toys.classifier(1).model)
EXAMPLES = toys.examples(12)
FACTORS = torch.tensor([1.0, 3.0])


def of_weights(function: Callable[[torch.Tensor], torch.Tensor]) -> Examples:
    """Two examples whose losses are 1 and 3 times a function of all head weights, flat."""

    def measure(model: Any, batch: Any) -> dict[str, torch.Tensor]:
        loss = batch["factor"] * function(model.classifier.weight.flatten())
        return {"loss": loss, "error": (loss > 0).to(loss.dtype)}

    return Examples.of_batches({"train": [{"factor": FACTORS}]}, measure=measure)


def test_a_bowl_has_no_barrier():
    found = barrier(SPECIMEN, of_weights(lambda w: w.square().sum()), OTHER).barrier("train")
    assert (found.height, found.alpha) == (0.0, 0.0)
    assert np.isnan(found.standard_error)


def test_a_hill_has_the_barrier_of_its_quadratic():
    """J = -c |w|^2 rises by c a (1 - a) |w1 - w0|^2 over the line between its ends."""
    found = barrier(SPECIMEN, of_weights(lambda w: -w.square().sum()), OTHER)
    way = OTHER["classifier.weight"] - SPECIMEN.model.classifier.weight.detach()
    square = float(way.double().square().sum())
    height = found.barrier("train")
    np.testing.assert_allclose(height.height, 2 * square / 4, rtol=1e-4)  # the mean of c is 2
    assert height.alpha == 0.5
    # rises of 1 and 3 quarters: their standard error is that of two numbers
    np.testing.assert_allclose(height.standard_error, square / 4, rtol=1e-4)
    rises = 2 * square * found.alphas * (1 - found.alphas)
    ends = found.measured("train", "loss")[[0, -1]]
    line = (1 - found.alphas) * ends[0] + found.alphas * ends[1]
    np.testing.assert_allclose(found.measured("train", "loss") - line, rises, atol=1e-3)


def test_two_wells_stand_apart_by_the_hill_between_them():
    """(x^2 - 1)^2 at x = -1 and 1: zero at both ends, 1 in the middle."""
    away = {name: tensor.clone() for name, tensor in OTHER.items()}
    specimen = Specimen(model=deepcopy(SPECIMEN.model), tokenizer=None, name="it",
                        task="classifier")  # fmt: skip
    with torch.no_grad():
        specimen.model.classifier.weight[0, 0] = -1.0
    away["classifier.weight"][0, 0] = 1.0
    found = barrier(specimen, of_weights(lambda w: (w[0] ** 2 - 1) ** 2), away, steps=21)
    np.testing.assert_allclose(found.barrier("train").height, 2.0, rtol=1e-6)
    assert found.barrier("train").alpha == 0.5
    assert len(found.alphas) == 21
    # by error: 0 at the ends, 1 wherever the loss is above zero
    assert found.barrier("train", "error").height == 1.0


@pytest.mark.parametrize("moved", ["all", "encoder", "high"])
def test_points_on_the_way_are_those_of_mixed_weights(moved: str):
    found = barrier(SPECIMEN, EXAMPLES, OTHER, steps=5, moved=moved)
    own = state_of(SPECIMEN.model)
    names = weight_groups(SPECIMEN).named(moved)
    for place, alpha in enumerate([0, 0.25, 0.5, 0.75, 1]):
        model: Any = deepcopy(SPECIMEN.model)
        mixed = {n: (1 - alpha) * own[n].double() + alpha * OTHER[n].double() for n in names}
        model.load_state_dict(own | mixed)
        copied = Specimen(model=model, tokenizer=None, name="copy", task="classifier")
        for split, measures in EXAMPLES.measure(copied).items():
            mean = measures["loss"].mean(dtype=np.float64)
            np.testing.assert_allclose(found.measured(split, "loss")[place], mean, rtol=1e-5)
    away = sum(float((OTHER[n] - own[n]).double().square().sum()) for n in names)
    np.testing.assert_allclose(found.distance, np.sqrt(away), rtol=1e-6)
    assert found.num_examples == {"train": 12, "held_out": 12}


def test_the_ends_are_the_two_models():
    found = barrier(SPECIMEN, EXAMPLES, OTHER, steps=3)
    for place, specimen in ((0, SPECIMEN), (-1, toys.classifier(1))):
        alone = EXAMPLES.measure(specimen)["train"]["loss"].mean(dtype=np.float64)
        np.testing.assert_allclose(found.measured("train", "loss")[place], alone, rtol=1e-6)


def test_another_task_leaves_its_head_out_of_it():
    other = toys.classifier(1, num_labels=5).model
    with pytest.raises(VesaliusError, match="leaves the heads out"):
        barrier(SPECIMEN, EXAMPLES, other)
    found = barrier(SPECIMEN, EXAMPLES, other, moved="encoder", steps=3)
    assert found.moved == "encoder"
    with pytest.raises(VesaliusError, match="no tensor for bert"):
        barrier(SPECIMEN, EXAMPLES, {"classifier.weight": torch.zeros(3, 16)}, moved="encoder")


def test_a_way_in_a_folder_goes_on_and_changes_nothing(tmp_path: Path):
    specimen = Specimen(
        model=SPECIMEN.model, tokenizer=word_tokenizer(), name="tiny", task="classifier"
    )
    here = barrier(specimen, EXAMPLES, OTHER, steps=4)
    run = Run(out=tmp_path / "way")
    there = barrier(specimen, EXAMPLES, OTHER, steps=4, run=run)
    again = barrier(specimen, EXAMPLES, OTHER, steps=4, run=run)
    for split, measures in here.values.items():
        for measure, means in measures.items():
            np.testing.assert_array_equal(means, there.values[split][measure])
    assert str(again.to_dict()) == str(there.to_dict())
    assert str(here.heights) == str(there.heights)
    with pytest.raises(VesaliusError, match="steps"):
        barrier(specimen, EXAMPLES, OTHER, steps=5, run=run)


def test_the_model_is_itself_again_also_after_an_exception():
    before = bits_of(SPECIMEN.model)
    barrier(SPECIMEN, EXAMPLES, OTHER, steps=3)
    assert bits_of(SPECIMEN.model) == before
    failing = Examples.of_batches({"train": toys.batches()}, measure=Failing(3))
    with pytest.raises(ZeroDivisionError) as kept:
        barrier(SPECIMEN, failing, OTHER, steps=3)
    assert bits_of(SPECIMEN.model) == before
    assert torch.is_grad_enabled()
    del kept


def test_a_wall_between_two_models_is_infinitely_high(tmp_path: Path):
    weight = SPECIMEN.model.classifier.weight.detach()[0, 0]
    other = OTHER["classifier.weight"][0, 0]
    middle = (weight + other) / 2

    def wall(w: torch.Tensor) -> torch.Tensor:
        near = (w[0] - middle).abs() < 0.1 * (other - weight).abs()
        return torch.where(near, torch.inf, w[0] * 0)

    found = barrier(SPECIMEN, of_weights(wall), OTHER)
    height = found.barrier("train")
    assert height.height == np.inf
    assert np.isnan(height.standard_error)
    assert np.isnan(found.measured("train", "loss")).any()
    assert any("not finite" in note for note in found.card.warnings)
    again = load_result(found.save(tmp_path / "wall"))
    assert isinstance(again, BarrierResult)
    assert again.barrier("train").height == np.inf


def test_what_has_no_barrier_is_refused():
    with pytest.raises(VesaliusError, match="same weights"):
        barrier(SPECIMEN, EXAMPLES, SPECIMEN.model.state_dict())
    with pytest.raises(VesaliusError, match="whole number from 3"):
        barrier(SPECIMEN, EXAMPLES, OTHER, steps=1)
    with pytest.raises(VesaliusError, match="group 'body'"):
        barrier(SPECIMEN, EXAMPLES, OTHER, moved="body")
    bad = of_weights(lambda w: torch.where(w[0] == SPECIMEN.model.classifier.weight[0, 0],
                                           torch.inf, w[0]))  # fmt: skip
    with pytest.raises(VesaliusError, match="ends of the path"):
        barrier(SPECIMEN, bad, OTHER)


def test_a_barrier_is_stored_and_tabled(tmp_path: Path):
    found = barrier(SPECIMEN, EXAMPLES, OTHER, steps=3)
    again = load_result(found.save(tmp_path / "it"))
    assert isinstance(again, BarrierResult)
    assert str(again.to_dict()) == str(found.to_dict())
    table = again.to_table()
    assert table["alpha"].to_pylist() == [0, 0.5, 1]
    assert table["train_loss"].to_pylist() == found.measured("train", "loss").tolist()
    assert {(h.split, h.measure) for h in again.heights} == {
        (split, measure) for split in ("train", "held_out") for measure in ("loss", "error")
    }
    with pytest.raises(VesaliusError, match="'accuracy' of 'train'"):
        again.barrier("train", "accuracy")
