"""How much heads matter: each measure against a plain loop over texts and heads."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import families
from attention_tiny import PAIRS, PROMPTS, TEXTS, classifier, language_model, specimen_of
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    HeadImportance,
    attribute,
    correlate_heads,
    head_importance,
    head_study,
)
from vesalius.methods.attention_attribution.head_measures import (
    MEASURES,
    POOLINGS,
    TOP_LINKS,
    pooled_heads,
    token_marks,
)
from vesalius.methods.attention_attribution.head_study import STUDY_ORDERS
from vesalius.methods.attention_attribution.heads import text_hashes
from vesalius.models.attention_replay import read_attention, replay_heads
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.encoding import encode_prompts
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts

QUICK = AttributeConfig(num_nodes=4, refine=False)
LABELS = [0, 2, 1, 0, 2]


# --- pooling


def test_poolings_by_hand() -> None:
    matrix = torch.tensor([[[[1.0, -4, 9], [2, 3, 9], [9, 9, 9]]]])
    real = torch.tensor([[True, True, False]])
    found = pooled_heads(matrix, queries=real, keys=real, top_links=3)
    assert found[:, 0, 0].tolist() == [3.0, 2.5, 2.0, 2.0]  # max, mean size, sum, mean of the top 3
    assert POOLINGS == ("max", "mean-abs", "sum", "top-k")
    some = pooled_heads(matrix, queries=torch.tensor([[True, False, False]]), keys=real)
    assert some[:, 0, 0].tolist() == [1.0, 2.5, -3.0, -1.5]
    against = pooled_heads(-matrix.abs(), queries=real, keys=real)
    assert against[0].item() == -1.0  # the largest of negative ones
    nothing = pooled_heads(matrix, queries=~real & real, keys=real)
    assert nothing.tolist() == [[[0.0]]] * 4


def plainly_pooled(matrix: np.ndarray, keep: np.ndarray) -> list[float]:
    values = sorted((float(v) for row in matrix[keep][:, keep] for v in row), reverse=True)
    if not values:
        return [0.0] * 4
    top = values[:TOP_LINKS]
    return [values[0], sum(map(abs, values)) / len(values), sum(values), sum(top) / len(top)]


@pytest.mark.parametrize("kind", ["bert", "llama", "modernbert-mean"])
def test_importance_is_a_plain_loop_over_attributions(kind: str) -> None:
    specimen = classifier(kind)
    for memory in ("1KiB", "1GiB"):
        found = head_importance(
            specimen, TEXTS, labels=LABELS, config=replace(QUICK, memory=memory)
        )
        each = attribute(specimen, TEXTS, targets=LABELS, config=QUICK)
        assert found.measures == (*MEASURES, "attention", "taylor")
        for text, example in enumerate(each.examples):
            plain = ~np.array(example.text.special)
            for site, (scores, weights) in enumerate(
                zip(example.scores, example.weights, strict=True)
            ):
                for head, matrix in enumerate(scores):
                    wanted = [
                        *plainly_pooled(matrix, np.ones(len(plain), dtype=bool)),
                        *plainly_pooled(matrix, plain),
                        float(weights[head].max()),
                    ]
                    np.testing.assert_allclose(
                        found.values[:9, text, site, head], wanted, atol=1e-6
                    )
        np.testing.assert_allclose(found.max_gap, each.max_gap, atol=1e-6)
        mean = found.values[0].mean(axis=0)
        np.testing.assert_allclose(found.importance(), mean, rtol=1e-6)
        np.testing.assert_allclose(found.importance("max"), mean, rtol=1e-6)


def test_the_measures_of_pairs_and_of_words() -> None:
    pairs = head_importance(classifier(), TEXTS, pairs=PAIRS, labels=0, config=QUICK)
    assert np.isfinite(pairs.values).all()
    words = head_importance(language_model(), PROMPTS, labels="Paris", config=QUICK)
    assert words.values.shape == (10, 3, 2, 2)
    assert np.isfinite(words.values).all()


# --- the other measures


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_taylor_is_a_plain_loop(kind: str) -> None:
    """|sum over keys of A dL/dA|, mean over tokens; the gradient from single forwards."""
    specimen = classifier(kind, dtype=torch.float64)
    found = head_importance(specimen, TEXTS, labels=LABELS, baselines=["taylor"], config=QUICK)
    step = 1e-6
    sites = attention_sites(specimen)
    for text in (1, 3):
        batch = encode_texts(specimen, TEXTS[text : text + 1])
        length = batch.inputs["input_ids"].shape[1]
        for site in sites:
            for head in range(2):
                total = 0.0
                for query in range(length):
                    slope = _slope(specimen, batch, site.index, head, query, LABELS[text], step)
                    total += abs(slope)
                np.testing.assert_allclose(
                    found.values[-1][text, site.index, head], total / length, rtol=2e-3, atol=1e-6
                )
    by_layer = found.importance("taylor")
    np.testing.assert_allclose((by_layer**2).sum(axis=1), 1)
    assert found.names == (*MEASURES, "attention", "taylor")


def _slope(
    specimen: Specimen, batch: Batch, site: int, head: int, query: int, label: int, step: float
) -> float:
    from vesalius.models.attention_replay import replay_links

    def scaled(where, weights, sets, prompt):
        if where.index != site:
            return weights
        weights = weights.clone()
        weights[0, head, query] *= 1 + step
        weights[1, head, query] *= 1 - step
        return weights

    logits = replay_links(specimen, batch, scaled, num_sets=2)[:, 0].log_softmax(-1)[:, label]
    return float(logits[0] - logits[1]) / (2 * step)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_accuracy_difference_is_a_plain_loop(kind: str) -> None:
    specimen = classifier(kind)
    _, logits = read_attention(specimen, encode_texts(specimen, TEXTS))
    labels = logits.argmax(1)
    labels[0] = (labels[0] + 1) % 3
    found = head_importance(
        specimen, TEXTS, labels=labels.tolist(), baselines=["accuracy-difference"], config=QUICK
    )
    assert found.right.tolist() == [False, True, True, True, True]
    wanted = np.zeros((2, found.values.shape[3]))
    for site in attention_sites(specimen):
        for head in range(site.num_heads):
            right = []
            for text in range(5):
                gates = torch.ones(1, 1, 2, site.num_heads)
                gates[0, 0, site.index, head] = 0
                one = encode_texts(specimen, TEXTS[text : text + 1])
                right.append(int(replay_heads(specimen, one, gates).argmax()) == int(labels[text]))
            assert found.right_without[site.index, head].tolist() == right
            wanted[site.index, head] = 0.8 - np.mean(right)
    np.testing.assert_allclose(found.importance("accuracy-difference"), wanted)
    assert "taylor" not in found.names
    with pytest.raises(VesaliusError, match="importance by 'taylor'"):
        found.importance("taylor")
    with pytest.raises(VesaliusError, match="importance by 'luck'"):
        found.importance("luck")


def test_predicted_labels_are_taken_where_none_are_given() -> None:
    found = head_importance(classifier(), TEXTS, config=QUICK)
    assert found.right.all()


@pytest.mark.usefixtures("as_users_call_it")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(VesaliusError, match="baseline 'shapley'"):
        head_importance(classifier(), TEXTS, baselines=["shapley"])
    with pytest.raises(VesaliusError, match="2 targets for 5 texts"):
        head_importance(classifier(), TEXTS, labels=[0, 1])


# --- marks


def test_marks_leave_out_padding_and_special_tokens() -> None:
    specimen = classifier()
    batch = encode_texts(specimen, ["a b", "a"], pairs=["c", "[MASK] zzz"])
    site = attention_sites(specimen)[0]
    width = batch.inputs["input_ids"].shape[1]
    real, keys, plain, plain_keys = token_marks(specimen, batch, site, (2, 2, width, width))
    assert torch.equal(real, batch.inputs["attention_mask"].bool())
    assert torch.equal(real, keys)
    assert torch.equal(plain, plain_keys)
    ids = batch.inputs["input_ids"]
    special = torch.tensor([0, 2, 3, 4])
    assert torch.equal(plain, ~torch.isin(ids, special))  # unknown words are words


def test_marks_of_left_padding_and_of_decoders() -> None:
    specimen = language_model("gpt2")
    batch = encode_prompts(specimen, ["a b c", "a"])
    site = attention_sites(specimen)[0]
    real, *_ = token_marks(specimen, batch, site, (2, 2, 4, 4))  # [CLS] first
    assert real.tolist() == [[True] * 4, [False, False, True, True]]
    bart = classifier("bart")
    texts = encode_texts(bart, ["a b c", "a"])
    width = texts.inputs["input_ids"].shape[1]
    for site in attention_sites(bart):
        _, _, plain, plain_keys = token_marks(bart, texts, site, (2, 2, width, width))
        source = [[False, True, True, True, False], [False, True, False, False, False]]
        # one step behind: the start token, [CLS], then the words
        written = [[False, False, True, True, True], [False, False, True, False, False]]
        assert plain.tolist() == (written if site.stack == "decoder" else source)
        own = site.stack == "decoder" and site.kind == "self"
        assert plain_keys.tolist() == (written if own else source)


def test_an_image_has_one_position_that_is_no_patch() -> None:
    specimen = specimen_of(families.make("vit"))
    found = head_importance(specimen, specimen.probe(), config=QUICK)
    each = attribute(specimen, specimen.probe(), config=QUICK)
    scores = each.examples[2].scores[1][0]
    assert found.values[0][2, 1, 0] == pytest.approx(float(scores.max()), abs=1e-6)
    assert found.values[4][2, 1, 0] == pytest.approx(float(scores[1:, 1:].max()), abs=1e-6)


# --- hashes, correlation, storage


def test_hashes_know_texts_and_batches() -> None:
    specimen = classifier()
    assert text_hashes(["a", "b"], None) == text_hashes(["a", "b"], ["", ""])
    assert text_hashes(["a"], ["b"]) != text_hashes(["a b"], None)
    assert len(set(text_hashes(["a", "b", "ab"], None))) == 3
    short, long = encode_texts(specimen, ["a b"]), encode_texts(specimen, ["a b", TEXTS[0]])
    assert text_hashes(short, None)[0] == text_hashes(long, None)[0]  # padding is left out
    image = specimen_of(families.make("vit")).probe()
    assert len(set(text_hashes(image, None))) == 5


def test_heads_that_are_not_there_stay_out() -> None:
    found = head_importance(classifier(), TEXTS, labels=LABELS, config=QUICK)
    lacking = found.values.copy()
    lacking[:, :, 1, 1] = np.nan
    uneven = replace(found, values=lacking)
    for name in uneven.names:
        assert np.isnan(uneven.importance(name)).tolist() == [[False, False], [False, True]]
    assert uneven.to_table().num_rows == 3
    assert uneven.importance("taylor")[1, 0] == pytest.approx(1.0)
    silent = replace(found, values=np.zeros_like(found.values))
    assert silent.importance("taylor").tolist() == [[0, 0], [0, 0]]


def test_correlation_by_hand() -> None:
    found = head_importance(classifier(), TEXTS, labels=LABELS, config=QUICK)
    numbers = [[1.0, 2, 3, 4], [2.0, 4, 6, 8], [4.0, 1, 3, 2]]
    several = []
    for row in numbers:
        values = found.values.copy()
        values[0] = np.array(row).reshape(1, 2, 2)
        several.append(replace(found, values=values))
    alike = correlate_heads(several, names=["a", "b", "c"])
    r = float(np.corrcoef(numbers[0], numbers[2])[0, 1])
    np.testing.assert_allclose(alike.pearson, [[1, 1, r], [1, 1, r], [r, r, 1]], atol=1e-12)
    # ranks 1 2 3 4 against 4 1 3 2: d squared is 9 + 1 + 0 + 4
    rho = 1 - 6 * 14 / (4 * 15)
    np.testing.assert_allclose(alike.spearman, [[1, 1, rho], [1, 1, rho], [rho, rho, 1]])
    with pytest.raises(VesaliusError, match="1 results with 1 names"):
        correlate_heads(several[:1], names=["a"])
    with pytest.raises(VesaliusError, match="2 results with 1 names"):
        correlate_heads(several[:2], names=["a"])
    flat = replace(found, values=np.ones_like(found.values))
    with pytest.raises(VesaliusError, match="all equal"):
        correlate_heads([found, flat], names=["a", "b"])
    other = replace(
        found,
        sites=found.sites[:1],
        values=found.values[:, :, :1],
        right_without=found.right_without[:1],
        num_open=found.num_open[:1],
    )
    with pytest.raises(VesaliusError, match="heads of shapes"):
        correlate_heads([found, other], names=["a", "b"])


def test_importance_is_saved_and_loaded(tmp_path: Path) -> None:
    found = head_importance(classifier(), TEXTS, labels=LABELS, config=QUICK)
    found.save(tmp_path / "kept")
    again = load_result(tmp_path / "kept")
    assert isinstance(again, HeadImportance)
    for name in found.names:
        assert_equal_numbers(again.importance(name), found.importance(name))
    assert again.text_hashes == found.text_hashes
    assert again.to_table() == found.to_table()


# --- the study of each text's own order


def test_every_text_loses_heads_in_its_own_order() -> None:
    specimen = classifier("llama")
    _, logits = read_attention(specimen, encode_texts(specimen, TEXTS))
    labels = logits.argmax(1).tolist()
    found = head_study(specimen, TEXTS, labels=labels, config=QUICK)
    assert found.right.shape == (4, 5, 5)
    each = attribute(specimen, TEXTS, targets=labels, config=QUICK)
    for text, example in enumerate(each.examples):
        one = encode_texts(specimen, TEXTS[text : text + 1])
        for order, name in enumerate(STUDY_ORDERS):
            matrices = example.scores if name.startswith("attribution") else example.weights
            largest = [matrix.max(axis=(1, 2)) for matrix in matrices]
            sign = 1 if name.endswith("least first") else -1
            for removed in range(5):
                gates = torch.ones(1, 1, 2, 4)
                for site, values in enumerate(largest):
                    for head in np.argsort(sign * values, kind="stable")[:removed]:
                        gates[0, 0, site, head] = 0
                right = int(replay_heads(specimen, one, gates).argmax()) == labels[text]
                assert bool(found.right[order, removed, text]) == right
    assert found.right[:, 0].all()
    assert (found.right[:, 4] == found.right[:1, 4]).all()  # nothing left, whatever the order
    assert found.accuracy(STUDY_ORDERS[0], 0).estimate == 1.0
    assert found.to_table().num_rows == 20


def test_a_study_is_saved_and_loaded(tmp_path: Path) -> None:
    found = head_study(classifier(), TEXTS, labels=LABELS, config=QUICK)
    found.save(tmp_path / "kept")
    again = load_result(tmp_path / "kept")
    np.testing.assert_array_equal(again.right, found.right)  # type: ignore[attr-defined]
    assert not math.isnan(found.accuracy(STUDY_ORDERS[1], 1).low)
