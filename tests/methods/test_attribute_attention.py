"""Attributing attention: the paper's numbers, batches that change nothing, targets, storage."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import definition
import families
from attention_tiny import (
    CAUSAL_PROMPTS,
    CLASSIFIERS,
    LANGUAGE_MODELS,
    PAIRS,
    PROMPTS,
    TEXTS,
    assert_same_scores,
    classifier,
    language_model,
    specimen_of,
)
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    Attributions,
    attribute,
    attribute_preset,
)
from vesalius.models.attention_replay import read_attention
from vesalius.models.batch import Batch
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts
from vesalius.numerics.quadrature import left_riemann

QUICK = AttributeConfig(num_nodes=4, refine=False)


def prompts_of(kind: str) -> tuple[str, ...]:
    return CAUSAL_PROMPTS if kind == "gpt2" else PROMPTS


# --- batches change nothing


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_text_is_attributed_in_company_as_it_is_alone(kind: str) -> None:
    specimen = classifier(kind)
    together = attribute(specimen, TEXTS, config=QUICK)
    for number, text in enumerate(TEXTS):
        alone = attribute(specimen, [text], config=QUICK)
        one = replace(together, examples=together.examples[number : number + 1])
        assert_same_scores(alone, one)
    tight = attribute(specimen, TEXTS, config=replace(QUICK, memory="1KiB"))
    assert_same_scores(tight, together)
    padded = attribute(specimen, TEXTS, config=replace(QUICK, pad_to=24))
    assert_same_scores(padded, together)


@pytest.mark.parametrize("baseline", ["uniform", "mean", "without-words"])
@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_company_changes_no_baseline(kind: str, baseline: str) -> None:
    """Causal models are padded on the left: positions count from the text, not from the padding."""
    specimen = language_model(kind)
    prompts = prompts_of(kind)
    config = replace(QUICK, baseline=baseline, reference=prompts[:2] * (baseline == "mean"))
    together = attribute(specimen, prompts, config=config)
    for number, prompt in enumerate(prompts):
        alone = attribute(specimen, [prompt], config=config)
        one = replace(together, examples=together.examples[number : number + 1])
        assert_same_scores(alone, one)
    padded = attribute(specimen, prompts, config=replace(config, pad_to=32, memory="1KiB"))
    assert_same_scores(padded, together)


def test_pairs_too() -> None:
    specimen = classifier()
    together = attribute(specimen, TEXTS, pairs=PAIRS, config=QUICK)
    alone = attribute(specimen, TEXTS[2:3], pairs=PAIRS[2:3], config=QUICK)
    assert_same_scores(alone, replace(together, examples=together.examples[2:3]))


def test_images_in_batches_and_alone() -> None:
    specimen = specimen_of(families.make("vit"))
    pixels = specimen.probe().inputs["pixel_values"]
    together = attribute(specimen, _images(pixels), config=QUICK)
    tight = attribute(specimen, _images(pixels), config=replace(QUICK, memory="1KiB"))
    assert_same_scores(tight, together)
    alone = attribute(specimen, _images(pixels[3:4]), config=QUICK)
    assert_same_scores(alone, replace(together, examples=together.examples[3:4]))
    one = together.examples[0]
    assert one.text.tokens[:2] == ("[CLS]", "0,0")
    assert len(one.text.tokens) == 10
    assert one.text.special == (True,) + (False,) * 9
    assert one.reader == 0
    assert one.target == "LABEL_" + str(one.target_index)


def _images(pixels: torch.Tensor) -> Batch:
    row = torch.zeros(len(pixels), dtype=torch.long)
    return Batch(inputs={"pixel_values": pixels}, row=row)


# --- the paper


@pytest.mark.parametrize("target", ["probability", "log-probability", "logit"])
def test_every_target_is_the_plain_definition(target: str) -> None:
    specimen = classifier(dtype=torch.float64)
    specimen.model.set_attn_implementation("eager")
    config = AttributeConfig(target=target, rule="left_riemann", num_nodes=5, refine=False)
    found = attribute(specimen, TEXTS[:2], targets=[2, 0], config=config)
    batch = encode_texts(specimen, TEXTS[:2])
    objective = token_objective(torch.tensor([2, 0]), kind=target)
    _assert_defined(found, specimen, batch, objective, left_riemann(5))


def test_logit_differences_are_the_plain_definition() -> None:
    specimen = classifier(dtype=torch.float64)
    batch = encode_texts(specimen, TEXTS[:2])
    config = AttributeConfig(
        target="logit-difference", rule="left_riemann", num_nodes=5, refine=False
    )
    found = attribute(specimen, TEXTS[:2], targets=0, foils=["LABEL_2", 1], config=config)
    objective = token_objective(
        torch.tensor([0, 0]), kind="logit-difference", foils=torch.tensor([2, 1])
    )
    _assert_defined(found, specimen, batch, objective, left_riemann(5))
    assert [e.foil for e in found.examples] == ["LABEL_2", "LABEL_1"]


def _assert_defined(found: Attributions, specimen: Specimen, batch, objective, rule) -> None:
    wanted = definition.attention_attributions(specimen, batch, objective, rule)
    clean, _ = read_attention(specimen, batch)
    for text, example in enumerate(found.examples):
        real = batch.inputs["attention_mask"][text].bool()
        for site, whole in enumerate(wanted):
            assert_equal_numbers(example.scores[site], whole[text][:, real][:, :, real])
            assert_equal_numbers(example.weights[site], clean[site][text][:, real][:, :, real])
        sums = np.array([scores.sum() for scores in example.scores])
        missing = np.abs(sums - (example.end_value - example.start_value))
        np.testing.assert_allclose(example.gap, missing, atol=1e-9)


def test_the_papers_preset_is_twenty_left_points_on_128_positions() -> None:
    specimen = classifier(dtype=torch.float64)
    specimen.model.set_attn_implementation("eager")
    found = attribute(specimen, TEXTS[:1], preset="paper")
    ids = torch.zeros(1, 128, dtype=torch.long)
    short = encode_texts(specimen, TEXTS[:1])
    length = short.inputs["input_ids"].shape[1]
    ids[:, :length] = short.inputs["input_ids"]
    mask = (torch.arange(128) < length).long().unsqueeze(0)
    batch = Batch(
        inputs={"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)},
        row=torch.zeros(1, dtype=torch.long),
    )
    batch = Batch(
        inputs={k: v for k, v in batch.inputs.items() if k in short.inputs}, row=batch.row
    )
    predicted = read_attention(specimen, batch)[1].argmax(1)
    objective = token_objective(predicted)
    _assert_defined(found, specimen, batch, objective, left_riemann(20))
    assert found.card.config["num_nodes"] == 20
    assert attribute_preset("paper", num_nodes=64).num_nodes == 64
    with pytest.raises(VesaliusError, match="preset='paper'"):
        attribute(specimen, TEXTS[:1], preset="paper", config=QUICK)


# --- what is attributed


def test_predicted_gold_and_named_classes() -> None:
    specimen = classifier(id2label={0: "no", 1: "perhaps", 2: "Yes"}, label2id={})
    _, logits = read_attention(specimen, encode_texts(specimen, TEXTS))
    best = logits.argmax(1).tolist()
    free = attribute(specimen, TEXTS, config=QUICK)
    names = ("no", "perhaps", "Yes")
    assert [e.target_index for e in free.examples] == best
    assert [e.target for e in free.examples] == [names[i] for i in best]
    assert [e.predicted for e in free.examples] == [names[i] for i in best]
    probs = logits.softmax(1)
    for wanted in ("perhaps", "PERHAPS", 1, "1"):
        named = attribute(specimen, TEXTS, targets=wanted, config=QUICK)
        assert {e.target for e in named.examples} == {"perhaps"}
        for number, e in enumerate(named.examples):
            assert e.prob == pytest.approx(float(probs[number, 1]), abs=1e-6)
            assert e.end_value == pytest.approx(e.prob, abs=1e-6)
    gold = attribute(specimen, TEXTS, targets=["no", 2, "yes", 1, 0], config=QUICK)
    assert [e.target_index for e in gold.examples] == [0, 2, 2, 1, 0]
    assert_same_scores(
        attribute(specimen, TEXTS, targets=best, config=QUICK),
        free,
    )


def test_any_word_of_a_language_model() -> None:
    specimen = language_model()
    found = attribute(specimen, PROMPTS[:2], targets=["Paris", "Rome"], config=QUICK)
    ids = specimen.tokenizer.convert_tokens_to_ids(["Paris", "Rome"])
    assert [e.target_index for e in found.examples] == ids
    assert [e.target for e in found.examples] == ["Paris", "Rome"]
    by_number = attribute(specimen, PROMPTS[:2], targets=ids, config=QUICK)
    assert_same_scores(by_number, found)
    masks = [e.text.tokens.index("[MASK]") for e in found.examples]
    assert [e.reader for e in found.examples] == masks


def test_the_best_other_class_is_the_foil() -> None:
    specimen = classifier()
    _, logits = read_attention(specimen, encode_texts(specimen, TEXTS))
    config = replace(QUICK, target="logit-difference")
    found = attribute(specimen, TEXTS, config=config)
    order = logits.argsort(1, descending=True)
    for number, e in enumerate(found.examples):
        assert (e.target_index, e.foil) == (int(order[number, 0]), f"LABEL_{order[number, 1]}")
        lead = logits[number, order[number, 0]] - logits[number, order[number, 1]]
        assert e.end_value == pytest.approx(float(lead), abs=1e-5)
    named = attribute(specimen, TEXTS, targets=0, config=config)
    for number, e in enumerate(named.examples):
        others = {1: float(logits[number, 1]), 2: float(logits[number, 2])}
        assert e.foil == f"LABEL_{max(others, key=others.get)}"


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"targets": "maybe"}, "class 'maybe'"),
        ({"targets": 3}, "class 3"),
        ({"targets": -1}, "class -1"),
        ({"targets": [0, 1]}, "2 targets for 5 texts"),
        ({"targets": 0, "foils": 1}, "a foil with target='probability'"),
        ({"pairs": ["a"]}, "5 first texts and 1 as second"),
        ({"preset": "papers"}, "preset='papers'"),
        ({"config": AttributeConfig(pad_to=5)}, "pad_to=5"),
        ({"config": AttributeConfig(pad_to=129)}, "129 tokens"),
    ],
)
def test_what_does_not_fit_a_classifier_is_refused(given: dict, message: str) -> None:
    with pytest.raises(VesaliusError, match=message):
        attribute(classifier(), TEXTS, **given)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("texts", "given", "message"),
    [
        (PROMPTS, {"targets": 10**6}, "token 1000000 in targets"),
        (PROMPTS, {"targets": -1}, "token -1 in targets"),
        (PROMPTS, {"pairs": PROMPTS}, "pairs of texts"),
        ("The capital is [MASK].", {}, "no list of prompts"),
        ([], {}, "no prompts"),
        (PROMPTS, {"targets": "Parisian"}, "answer 'Parisian'"),
        (
            PROMPTS,
            {
                "targets": "Paris",
                "foils": "Paris",
                "config": AttributeConfig(target="logit-difference"),
            },
            "the target itself as its foil, in 3 texts",
        ),
    ],
)
def test_what_does_not_fit_a_language_model_is_refused(
    texts: object, given: dict, message: str
) -> None:
    with pytest.raises(VesaliusError, match=message):
        attribute(language_model(), texts, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": "odds"}, "target='odds'"),
        ({"baseline": "mean"}, "baseline='mean' with 0 reference texts"),
        ({"reference": ("a",)}, "baseline='zero' with 1 reference texts"),
        ({"baseline": "mean", "reference": "a b"}, "reference texts"),
        ({"baseline": "mean", "reference": ("a",), "reference_pairs": ("b", "c")}, "2 second"),
        ({"num_nodes": 0}, "num_nodes=0"),
        ({"keep": -1}, "keep=-1"),
        ({"pad_to": 0}, "pad_to=0"),
        ({"tolerance": math.nan}, "tolerance=nan"),
        ({"rule": "simpson"}, "simpson"),
        ({"memory": "much"}, "much"),
    ],
)
@pytest.mark.usefixtures("as_users_call_it")
def test_odd_options_are_refused(given: dict, message: str) -> None:
    with pytest.raises(VesaliusError, match=message):
        AttributeConfig(**given)


def test_a_head_with_one_label_has_a_value_and_no_probability() -> None:
    specimen = classifier(num_labels=1)
    with pytest.raises(VesaliusError, match="one label"):
        attribute(specimen, TEXTS, config=QUICK)
    with pytest.raises(VesaliusError, match="one label"):
        attribute(specimen, TEXTS, config=replace(QUICK, target="logit-difference"))
    found = attribute(specimen, TEXTS, config=replace(QUICK, target="logit"))
    _, logits = read_attention(specimen, encode_texts(specimen, TEXTS))
    ends = [e.end_value for e in found.examples]
    np.testing.assert_allclose(ends, logits[:, 0], atol=1e-5)


def test_a_model_whose_answers_are_no_numbers_is_refused() -> None:
    specimen = classifier()
    assert specimen.plan.seam == "registry"
    specimen.model.classifier.bias.data[1] = torch.nan
    for baseline in ("zero", "uniform"):
        with pytest.raises(VesaliusError, match="not a number"):
            attribute(specimen, TEXTS, config=replace(QUICK, baseline=baseline))


def test_half_precision_is_warned_of_and_near() -> None:
    wide, half = classifier(), classifier(dtype=torch.bfloat16)
    found = attribute(half, TEXTS[:2], targets=0, config=QUICK)
    assert any("computed in bfloat16" in warning for warning in found.card.warnings)
    plain = attribute(wide, TEXTS[:2], targets=0, config=QUICK)
    assert not any("computed in" in warning for warning in plain.card.warnings)
    for a, b in zip(found.examples, plain.examples, strict=True):
        assert all(scores.dtype == np.float32 for scores in (*a.scores, *a.weights))
        assert abs(a.prob - b.prob) < 0.05


def test_incomplete_sums_are_warned_of() -> None:
    specimen = classifier()
    coarse = attribute(
        specimen, TEXTS, config=AttributeConfig(rule="left_riemann", num_nodes=1, refine=False)
    )
    assert any("with up to 1 nodes" in w and "uniform" in w for w in coarse.card.warnings)
    fine = attribute(specimen, TEXTS, config=AttributeConfig(num_nodes=16))
    assert fine.max_gap < coarse.max_gap
    for example in fine.examples:
        change = np.abs(example.end_value - example.start_value)
        sums = np.array([s.sum() for s in example.scores])
        np.testing.assert_allclose(sums, example.end_value - example.start_value,
                                   atol=float(2e-3 * change.max() + 1e-5))  # fmt: skip
