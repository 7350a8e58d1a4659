"""Rolling back is what it says: the old values in some tensors, and nothing else changed."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import families
import landscape_toys as toys
from landscape_checks import Failing, bits_of, state_of
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.rollback import Rollback, rollback
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups
from vesalius.numerics.statistics import paired_difference

SPECIMEN = toys.classifier(0, num_hidden_layers=4)
START = state_of(toys.classifier(1, num_hidden_layers=4).model)
EXAMPLES = toys.examples(24)
GROUPS = weight_groups(SPECIMEN)
ALL = ("low", "middle", "high", "embeddings", *(f"layer {k}" for k in range(4)), "encoder")


def measured_with(state: dict[str, torch.Tensor], split: str = "held_out") -> dict[str, np.ndarray]:
    """The plain way: a copy of the whole model for every group."""
    model: Any = deepcopy(SPECIMEN.model)
    model.load_state_dict(state)
    copied = Specimen(model=model, tokenizer=None, name="copy", task="classifier")
    return EXAMPLES.measure(copied)[split]


@pytest.mark.parametrize("direction", ["back", "forward"])
def test_every_group_is_measured_as_a_copy_with_those_tensors_is(direction: Any):
    found = rollback(SPECIMEN, EXAMPLES, START, direction=direction)
    assert tuple(row.group for row in found.rows) == ALL
    tuned = state_of(SPECIMEN.model)
    begun = tuned | {name: START[name] for name in GROUPS.encoder}
    base, put = (tuned, begun) if direction == "back" else (begun, tuned)
    before = measured_with(base)
    for row in found.rows:
        after = measured_with(base | {name: put[name] for name in GROUPS.named(row.group)})
        np.testing.assert_allclose(row.accuracy, 1 - after["error"].mean(), rtol=1e-6)
        np.testing.assert_allclose(row.loss_nats, after["loss"].mean(), rtol=1e-5)
        change = after["loss"].astype(np.float64) - before["loss"]
        np.testing.assert_allclose(row.loss_change.mean.estimate, change.mean(), atol=1e-5)
        lost = before["error"].mean(dtype=np.float64) - after["error"].mean(dtype=np.float64)
        np.testing.assert_allclose(row.accuracy_change.mean.estimate, lost, atol=1e-12)


def test_everything_rolled_back_is_the_start_with_the_head_that_was_tuned():
    found = rollback(SPECIMEN, EXAMPLES, START, split="train")
    encoder = state_of(SPECIMEN.model) | {name: START[name] for name in GROUPS.encoder}
    alone, own = measured_with(encoder, "train"), EXAMPLES.measure(SPECIMEN)["train"]
    assert found.row("encoder").loss_nats == alone["loss"].mean(dtype=np.float64)
    assert found.start_loss_nats == found.row("encoder").loss_nats
    assert found.start_accuracy == found.row("encoder").accuracy
    # the layers below a change are not run again, which a pass in one piece may round otherwise
    np.testing.assert_allclose(found.fine_tuned_loss_nats, own["loss"].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.fine_tuned_accuracy, 1 - own["error"].mean(), rtol=1e-6)


def test_forward_and_back_have_the_same_ends():
    back, forward = (
        rollback(SPECIMEN, EXAMPLES, START, direction=d) for d in ("back", "forward")
    )  # fmt: skip
    assert back.fine_tuned_accuracy == forward.fine_tuned_accuracy
    assert back.start_accuracy == forward.start_accuracy
    np.testing.assert_allclose(back.start_loss_nats, forward.start_loss_nats, rtol=1e-6)
    assert forward.row("encoder").accuracy == forward.fine_tuned_accuracy
    whole = [found.row("encoder").accuracy_change.mean.estimate for found in (back, forward)]
    assert whole[0] == -whole[1]


def test_what_did_not_move_costs_nothing():
    own = state_of(SPECIMEN.model)
    moved = GROUPS.layers[2]
    start = own | {name: own[name] / 1.25 for name in moved}  # |end - start| / |start| = 0.25
    found = rollback(SPECIMEN, EXAMPLES, start)
    for row in found.rows:
        touched = row.group in ("layer 2", "middle", "encoder")
        if not touched:
            assert row.weight_change == 0
            assert row.accuracy == found.fine_tuned_accuracy
            assert row.accuracy_change.p_value == 1
            np.testing.assert_allclose(row.loss_change.mean.estimate, 0, atol=1e-6)
    np.testing.assert_allclose(found.row("layer 2").weight_change, 0.25, rtol=1e-5)
    share = np.sqrt(sum(float(start[n].double().square().sum()) for n in moved))
    whole = np.sqrt(sum(float(start[n].double().square().sum()) for n in GROUPS.encoder))
    np.testing.assert_allclose(found.row("encoder").weight_change, 0.25 * share / whole, rtol=1e-5)
    assert found.row("layer 2").loss_nats == found.row("encoder").loss_nats


def test_intervals_are_those_of_pairs():
    found = rollback(SPECIMEN, EXAMPLES, START, groups="thirds", seed=3, num_resamples=500)
    before = 1.0 - EXAMPLES.measure(SPECIMEN)["held_out"]["error"]
    state = state_of(SPECIMEN.model) | {name: START[name] for name in GROUPS.named("high")}
    after = 1.0 - measured_with(state)["error"]
    plain = paired_difference(after, before, generator=np.random.default_rng(1), num_resamples=4000)
    row = found.row("high").accuracy_change
    assert row.mean.estimate == pytest.approx(plain.mean.estimate)
    assert row.mean.low == pytest.approx(plain.mean.low, abs=0.06)
    assert row.mean.high == pytest.approx(plain.mean.high, abs=0.06)
    again = rollback(SPECIMEN, EXAMPLES, START, groups="thirds", seed=3, num_resamples=500)
    assert str(again.rows) == str(found.rows)
    assert [row.group for row in found.rows] == ["low", "middle", "high", "embeddings", "encoder"]


def test_the_groups_say_which_layers_they_hold():
    found = rollback(SPECIMEN, EXAMPLES, START)
    layers = {row.group: row.layers for row in found.rows}
    assert layers["low"] + layers["middle"] + layers["high"] == (0, 1, 2, 3)
    assert layers["layer 3"] == (3,)
    assert layers["encoder"] == (0, 1, 2, 3)
    assert layers["embeddings"] == ()
    counts = {row.group: row.num_weights for row in found.rows}
    thirds = counts["low"] + counts["middle"] + counts["high"] + counts["embeddings"]
    assert thirds == counts["encoder"] == sum(START[name].numel() for name in GROUPS.encoder)
    few = rollback(SPECIMEN, EXAMPLES, START, groups="layers")
    assert [row.group for row in few.rows] == [g for g in ALL if g not in ("low", "middle", "high")]
    with pytest.raises(VesaliusError, match="group 'low'"):
        few.row("low")


def test_the_majority_is_that_of_the_split():
    labels = EXAMPLES.labels["held_out"]
    found = rollback(SPECIMEN, EXAMPLES, START, groups="thirds")
    assert found.majority_accuracy == np.bincount(labels).max() / 24
    assert found.num_examples == 24
    ids = {name: batch for name, batch in toys.batches()[0].items() if name != "labels"}

    def measure(model: Any, batch: Any) -> dict[str, torch.Tensor]:
        logits = model(**batch).logits
        return {"loss": logits[:, 0], "error": (logits[:, 0] > 0).float()}

    unlabelled = Examples.of_batches({"train": [ids]}, measure=measure)
    assert rollback(SPECIMEN, unlabelled, START, split="train").majority_accuracy is None


@pytest.mark.parametrize("layers", [1, 2])
def test_few_layers_have_fewer_groups(layers: int):
    specimen = toys.classifier(0, num_hidden_layers=layers)
    start = toys.classifier(1, num_hidden_layers=layers).model
    found = rollback(specimen, EXAMPLES, start)
    thirds = {1: [], 2: ["low", "high"]}[layers]
    names = [*thirds, "embeddings", *(f"layer {k}" for k in range(layers)), "encoder"]
    assert [row.group for row in found.rows] == names


@pytest.mark.parametrize("family", ["albert", "gpt2", "t5", "vit"])
def test_other_families_roll_back_to_their_start(family: str):
    specimen = Specimen(
        model=families.make(family), tokenizer=None, name=family,
        task="image-classifier" if family == "vit" else "causal-lm",
    )  # fmt: skip
    start = families.make(family, seed=1)

    def measure(model: Any, batch: Any) -> dict[str, torch.Tensor]:
        if family == "t5":
            batch = {**batch, "decoder_input_ids": batch["input_ids"]}
        logits = model(**batch).logits
        logits = logits if logits.dim() == 2 else logits[:, -1]
        return {"loss": logits.logsumexp(1), "error": (logits[:, 0] > logits[:, 1]).float()}

    generator = torch.Generator().manual_seed(0)
    batch = (
        {"pixel_values": torch.randn(4, 3, 12, 12, generator=generator)}
        if family == "vit"
        else {"input_ids": torch.randint(3, 97, (4, 6), generator=generator)}
    )
    examples = Examples.of_batches({"train": [batch]}, measure=measure)
    before = bits_of(specimen.model)
    found = rollback(specimen, examples, start, split="train")
    assert bits_of(specimen.model) == before
    groups = weight_groups(specimen)
    model: Any = deepcopy(specimen.model)
    with torch.no_grad():
        for name in groups.encoder:
            model.get_parameter(name).copy_(start.get_parameter(name))
    alone = measure(model, batch)["loss"].mean().item()
    np.testing.assert_allclose(found.start_loss_nats, alone, rtol=1e-5)


@pytest.mark.parametrize("direction", ["back", "forward"])
@pytest.mark.parametrize("at", [0, 5])
def test_the_model_is_itself_again_also_after_an_exception(direction: Any, at: int):
    before = bits_of(SPECIMEN.model)
    rollback(SPECIMEN, EXAMPLES, START, direction=direction, groups="thirds")
    assert bits_of(SPECIMEN.model) == before
    failing = Examples.of_batches({"held_out": toys.batches(), "train": toys.batches()},
                                  measure=Failing(at))  # fmt: skip
    with pytest.raises(ZeroDivisionError) as kept:
        rollback(SPECIMEN, failing, START, direction=direction)
    assert bits_of(SPECIMEN.model) == before
    assert torch.is_grad_enabled()
    del kept


def test_losses_that_are_not_finite_stay_no_numbers():
    start = START | {"bert.encoder.layer.3.output.dense.bias": torch.full((16,), 3e38)}
    found = rollback(SPECIMEN, EXAMPLES, start, groups="layers")
    assert np.isnan(found.row("layer 3").loss_nats)
    assert np.isnan(found.row("layer 3").loss_change.mean.estimate)
    assert np.isfinite(found.row("layer 2").loss_nats)


def test_a_start_of_zeros_has_no_relative_change():
    zeros = {name: torch.zeros_like(tensor) for name, tensor in START.items()}
    assert np.isnan(rollback(SPECIMEN, EXAMPLES, zeros).row("layer 1").weight_change)


@pytest.mark.usefixtures("as_users_call_it")
def test_what_cannot_be_rolled_back_is_refused():
    for options, words in (
        ({"groups": "halves"}, "groups='halves'"),
        ({"direction": "up"}, "direction='up'"),
        ({"split": "test"}, "split='test'"),
        ({"num_resamples": 0}, "num_resamples=0"),
    ):
        with pytest.raises(VesaliusError, match=words):
            rollback(SPECIMEN, EXAMPLES, START, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(VesaliusError, match="the start: no tensor for"):
        rollback(SPECIMEN, EXAMPLES, {"classifier.weight": START["classifier.weight"]})
    lossy = Examples.of_batches(
        {"train": toys.batches()}, measure=lambda _, batch: {"loss": batch["labels"].float()}
    )
    with pytest.raises(VesaliusError, match="loss and error of each example"):
        rollback(SPECIMEN, lossy, START, split="train")


def test_a_rollback_is_stored_and_tabled(tmp_path: Path):
    found = rollback(SPECIMEN, EXAMPLES, START)
    again = load_result(found.save(tmp_path / "it"))
    assert isinstance(again, Rollback)
    assert str(again.to_dict()) == str(found.to_dict())
    table = again.to_table()
    assert table["group"].to_pylist() == list(ALL)
    assert table["accuracy"].to_pylist() == [row.accuracy for row in found.rows]
    assert table["layers"].to_pylist()[:2] == [[0], [1, 2]]
    assert found.card.method == "landscape rollback"
