"""Attributions kept: few links or all, saved and loaded; batches of one's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_tiny import PROMPTS, TEXTS, assert_same_scores, classifier, language_model
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution import AttributeConfig, Attributions, attribute
from vesalius.models.batch import Batch
from vesalius.models.encoding import encode_prompts
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts

QUICK = AttributeConfig(num_nodes=4, refine=False)


def test_few_links_are_the_strongest_of_all() -> None:
    specimen = classifier()
    dense = attribute(specimen, TEXTS, config=QUICK)
    sparse = attribute(specimen, TEXTS, config=replace(QUICK, keep=3))
    for number, (whole, few) in enumerate(zip(dense.examples, sparse.examples, strict=True)):
        assert few.links is not None
        assert (few.scores, few.weights) == ((), ())
        assert few.reader == whole.reader
        for site in range(len(dense.sites)):
            for head, scores in enumerate(whole.scores[site]):
                order = np.argsort(-np.abs(scores).ravel(), kind="stable")[:3]
                kept = np.zeros(scores.size, dtype=bool)
                kept[order] = True
                kept = kept.reshape(scores.shape)
                np.testing.assert_array_equal(
                    sparse.site_scores(number, site)[head], np.where(kept, scores, 0)
                )
                np.testing.assert_array_equal(
                    sparse.site_weights(number, site)[head],
                    np.where(kept, whole.weights[site][head], 0),
                )
    assert dense.to_table().num_rows == sum(
        s.size for example in dense.examples for s in example.scores
    )
    rows = sparse.to_table()
    assert rows.num_rows == sum(len(e.links.site) for e in sparse.examples if e.links)


def test_double_precision_is_kept_in_few_links() -> None:
    specimen = classifier(dtype=torch.float64)
    dense = attribute(specimen, TEXTS[:1], config=QUICK)
    sparse = attribute(specimen, TEXTS[:1], config=replace(QUICK, keep=10_000))
    np.testing.assert_array_equal(sparse.site_scores(0, 1), dense.site_scores(0, 1))


@pytest.mark.parametrize("keep", [0, 2])
def test_results_are_saved_and_loaded(tmp_path: Path, keep: int) -> None:
    specimen = classifier("bart")
    config = replace(QUICK, keep=keep, target="logit-difference")
    found = attribute(specimen, TEXTS[:2], config=config)
    found.save(tmp_path / "kept")
    again = load_result(tmp_path / "kept")
    assert isinstance(again, Attributions)
    assert_same_scores(again, found, tolerance=0)
    assert again.sites == found.sites
    assert again.to_table() == found.to_table()
    for a, b in zip(again.examples, found.examples, strict=True):
        assert (a.foil, a.decoder_text, a.end_value) == (b.foil, b.decoder_text, b.end_value)
        np.testing.assert_array_equal(a.gap, b.gap)
        np.testing.assert_array_equal(a.num_nodes, b.num_nodes)


def test_texts_and_sites_that_are_not_there_are_refused() -> None:
    found = attribute(classifier(), TEXTS[:1], config=QUICK)
    for text, site in ((1, 0), (-1, 0), (0, 2), (0, -1)):
        with pytest.raises(VesaliusError, match="count both from 0"):
            found.site_scores(text, site)
    with pytest.raises(VesaliusError, match="count both from 0"):
        found.layer_links(1)


def test_a_language_model_without_a_tokenizer_shows_numbers() -> None:
    specimen = language_model()
    batch = encode_prompts(specimen, PROMPTS)
    bare = Specimen(model=specimen.model, tokenizer=None, name="bare", task="masked-lm")
    found = attribute(bare, batch, config=QUICK)
    example = found.examples[0]
    assert example.target == str(example.target_index)
    assert example.text.tokens[0] == "2"
    with pytest.raises(VesaliusError, match="without a tokenizer"):
        attribute(bare, batch, targets="Paris", config=QUICK)


# --- batches of one's own


def test_a_ready_batch_is_read_as_it_is() -> None:
    specimen = classifier()
    found = attribute(specimen, encode_texts(specimen, TEXTS), config=QUICK)
    assert_same_scores(found, attribute(specimen, TEXTS, config=QUICK))
    with pytest.raises(VesaliusError, match="a ready batch and second texts"):
        attribute(specimen, encode_texts(specimen, TEXTS), pairs=TEXTS, config=QUICK)


def test_padding_on_the_left_is_cut_off_too() -> None:
    """A causal classifier reads its last token, whatever row the batch names."""
    specimen = classifier("llama")
    texts = encode_texts(specimen, TEXTS[:2])
    ids, mask = texts.inputs["input_ids"], texts.inputs["attention_mask"]
    assert (mask[1] == 0).any()
    shift = int((mask[1] == 0).sum())
    left = Batch(
        inputs={
            "input_ids": ids[1:].roll(shift, dims=1),
            "attention_mask": mask[1:].roll(shift, dims=1),
        },
        row=torch.zeros(1, dtype=torch.long),
    )
    found = attribute(specimen, left, config=QUICK)
    wanted = attribute(specimen, TEXTS[1:2], config=QUICK)
    assert_same_scores(found, wanted)


def test_the_comparison_of_results_tells_wrong_answers_apart() -> None:
    found = attribute(classifier(), TEXTS[:2], config=QUICK)
    first, second = found.examples
    off = tuple(scores + 1e-3 * np.abs(scores).max() for scores in first.scores)
    for wrong in (
        (first,),
        (second, first),
        (replace(first, scores=off), second),
        (replace(first, scores=tuple(0 * scores for scores in first.scores)), second),
        (replace(first, prob=first.prob + 1e-3), second),
        (replace(first, reader=None), second),
    ):
        with pytest.raises(AssertionError):
            assert_same_scores(replace(found, examples=wrong), found)
    assert_same_scores(found, found, tolerance=0)
