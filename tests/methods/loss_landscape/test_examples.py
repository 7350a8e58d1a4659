"""Examples keep their order, their padding changes nothing, and their measures are right."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import families
import vesalius
from landscape_toys import batches, classifier, examples
from vesalius.core.errors import VesaliusError
from vesalius.data.labelled import LabelledData, LabelledOptions, load_labelled
from vesalius.methods.loss_landscape import Examples
from vesalius.models.specimen import Specimen, task_of


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return vesalius.open("mini-classifier")


@pytest.fixture(scope="module")
def data() -> LabelledData:
    return load_labelled("opinions", options=LabelledOptions(dev_share=0.3))


def test_measures_stand_in_the_order_of_the_examples(specimen: Specimen, data: LabelledData):
    found = Examples.of_labelled(specimen, data, max_train=0, max_held_out=0, batch_tokens=64)
    assert len(found.batches("train")) > 2
    measured = found.measure(specimen)
    for name, split in (("train", data.splits["train"]), ("held_out", data.splits["dev"])):
        assert found.num_examples[name] == len(split)
        assert found.labels[name].tolist() == list(split.labels)
        for row in (0, len(split) - 1):
            inputs = specimen.tokenizer(split.texts[row], return_tensors="pt")
            with torch.no_grad():
                logits = specimen.model(**inputs).logits
            loss = functional.cross_entropy(logits, torch.tensor([split.labels[row]]))
            torch.testing.assert_close(
                torch.tensor(measured[name]["loss"][row]), loss, rtol=1e-4, atol=1e-5
            )
            wrong = float(logits.argmax() != split.labels[row])
            assert measured[name]["error"][row] == wrong


def test_a_draw_is_fixed_by_its_seed(specimen: Specimen, data: LabelledData):
    def draw(seed: int) -> Examples:
        return Examples.of_labelled(specimen, data, max_train=10, max_held_out=5, seed=seed)

    assert draw(0).fingerprint == draw(0).fingerprint
    assert draw(0).fingerprint != draw(1).fingerprint
    assert draw(0).num_examples == {"train": 10, "held_out": 5}


def test_more_metrics_are_measured_in_the_same_pass(specimen: Specimen, data: LabelledData):
    def confidence(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits.softmax(dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)

    found = Examples.of_labelled(
        specimen, data, max_train=6, max_held_out=4, metrics={"confidence": confidence}
    )
    measured = found.measure(specimen)["train"]
    np.testing.assert_allclose(measured["confidence"], np.exp(-measured["loss"]), rtol=1e-5)
    assert not found.is_portable
    named = Examples.of_labelled(
        specimen, data, max_train=6, metrics={"size": "torch.nn.functional:cosine_similarity"}
    )
    assert named.is_portable


def test_a_causal_model_is_measured_by_its_next_tokens():
    specimen = vesalius.open("mini-gpt-tiny")
    texts = ["The capital of France is Paris.", "Water boils."]
    measured = Examples.of_texts(specimen, texts).measure(specimen)["train"]
    for row, text in enumerate(texts):
        ids = specimen.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = specimen.model(input_ids=ids, labels=ids).loss
        torch.testing.assert_close(float(measured["loss"][row]), float(loss), rtol=1e-4, atol=1e-5)
    assert ((measured["error"] >= 0) & (measured["error"] <= 1)).all()


def test_a_masked_model_is_asked_for_the_same_tokens_each_time():
    specimen = vesalius.open("mini-bert")
    texts = ["Paris is the capital of France.", "Water boils at a hundred degrees."]
    first, second = (Examples.of_texts(specimen, texts) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != Examples.of_texts(specimen, texts, seed=1).fingerprint
    batch = first.batches("train")[0]
    assert ((batch["labels"] != -100).sum(dim=1) >= 1).all()
    assert np.isfinite(first.measure(specimen)["train"]["loss"]).all()


def test_an_image_classifier_takes_batches():
    model = families.make("vit")
    specimen = Specimen(model=model, tokenizer=None, name="vit", task=task_of(model))
    batch = {**specimen.probe().inputs, "labels": torch.tensor([0, 1, 0, 1, 0])}
    measured = Examples.of_batches({"train": [batch]}).measure(specimen)
    assert measured["train"]["loss"].shape == (5,)


def test_batches_measure_what_the_model_says():
    specimen, found = classifier(), examples()
    measured = found.measure(specimen, splits=["held_out"])
    assert set(measured) == {"held_out"}
    expected = []
    for batch in batches(seed=1):
        labels = batch.pop("labels")
        with torch.no_grad():
            logits = specimen.model(**batch).logits
        expected.append(functional.cross_entropy(logits, labels, reduction="none"))
    torch.testing.assert_close(
        torch.from_numpy(measured["held_out"]["loss"]), torch.cat(expected), rtol=1e-5, atol=1e-6
    )


def test_what_is_kept_below_the_lowest_layer_changes_nothing():
    specimen, found = classifier(), examples()
    whole = found.measure(specimen)
    with found.measuring(specimen, first_layer=2) as measured:
        for _ in range(2):
            again = measured()
            for split, measures in whole.items():
                for name, values in measures.items():
                    np.testing.assert_allclose(again[split][name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda s, d: Examples.of_labelled(vesalius.open("mini-bert"), d), "a classifier"),
        (lambda s, d: Examples.of_labelled(s, d, held_out="test"), None),
        (lambda s, d: Examples.of_labelled(s, d, max_train=-1), "number of examples"),
        (lambda s, d: Examples.of_texts(s, ["a"]), "masked or a causal"),
        (lambda s, d: Examples.of_batches({}), "no split"),
        (lambda s, d: Examples.of_batches({"train": []}), "without a batch"),
        (lambda s, d: Examples.of_batches({"dev": [{}]}), "train"),
        (lambda s, d: Examples.of_labelled(s, d, metrics={"loss": "a:b"}), "always measured"),
        (lambda s, d: Examples.of_labelled(s, d, metrics={"x": "nowhere:b"}), "nowhere"),
        (lambda s, d: Examples.of_texts(vesalius.open("mini-gpt-tiny"), []), "no texts"),
    ],
)
def test_what_cannot_be_measured_is_refused(specimen, data, make, fault):
    if fault is None:
        assert make(specimen, data).num_examples["held_out"] > 0
        return
    with pytest.raises(VesaliusError, match=fault):
        make(specimen, data)


def test_another_number_of_classes_is_refused(specimen: Specimen):
    with pytest.raises(VesaliusError, match="classes"):
        Examples.of_labelled(specimen, load_labelled("kinds"))
