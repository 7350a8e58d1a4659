"""Links taken out: masks against whole forwards, and a model whose answer hangs on one link."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

import families
from attention_tiny import CAUSAL_PROMPTS, PAIRS, TEXTS, classifier, language_model, specimen_of
from cli import tiny
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    Faithfulness,
    attribute,
    build_tree,
    faithfulness,
)
from vesalius.methods.attention_attribution.deletion import (
    Deletions,
    candidate_links,
    deleted_logits,
    masks_of,
    strongest_first,
)
from vesalius.methods.attention_attribution.randomised import shuffled_copy, similarity
from vesalius.models.attention_replay import read_attention, replay_heads, replay_links
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen
from vesalius.models.texts import encode_texts

QUICK = AttributeConfig(num_nodes=4, refine=False)


def some_deletions(specimen: Specimen, batch: Batch, masks: np.ndarray, uniform: list[bool]):
    num_source = batch.inputs["input_ids"].shape[1]
    deletions = Deletions(masks, uniform=np.array(uniform), num_source=num_source)
    return deleted_logits(specimen, batch, deletions, memory_bytes=2**30)


@pytest.mark.parametrize("kind", ["bert", "llama", "bart"])
def test_nothing_one_row_and_everything_taken_out(kind: str) -> None:
    specimen = classifier(kind)
    batch = encode_texts(specimen, TEXTS[:1])
    clean, logits = read_attention(specimen, batch)
    found = attribute(specimen, batch, config=QUICK).layer_links(0, words=False)
    num_layers, n = found.scores.shape[:2]
    masks = np.zeros((4, num_layers, n, n), dtype=bool)
    masks[1:3] = True
    masks[3, 0, 1, 0] = True
    got = some_deletions(specimen, batch, masks, [False, False, True, True])
    assert_equal_numbers(got[0], logits[0])
    sites = attention_sites(specimen)
    gates = torch.zeros(1, 1, len(sites), max(site.num_heads for site in sites))
    assert_equal_numbers(got[1], replay_heads(specimen, batch, gates)[0, 0])

    def even(site, weights, sets, prompt):
        seen = (weights > 0).to(weights)
        return seen / seen.sum(-1, keepdim=True)

    assert_equal_numbers(got[2], replay_links(specimen, batch, even, num_sets=1)[0, 0])

    def one_link(site, weights, sets, prompt):
        if site.index:
            return weights
        weights = weights.clone()
        seen = (weights > 0).sum(-1)
        weights[:, :, 1, 0] = 1 / seen[:, :, 1]
        return weights

    assert_equal_numbers(got[3], replay_links(specimen, batch, one_link, num_sets=1)[0, 0])
    assert len(clean) == len(sites)


def test_a_decoders_links_have_places_of_their_own() -> None:
    specimen = classifier("bart")
    batch = encode_texts(specimen, TEXTS[:1])
    n = batch.inputs["input_ids"].shape[1]
    masks = np.zeros((2, 4, 2 * n, 2 * n), dtype=bool)
    masks[0, 3, 2 * n - 1, 4] = True  # the last decoder token reads the source's token 4
    masks[1, 3, 2 * n - 1, n + 4] = True  # and the decoder's token 4
    got = some_deletions(specimen, batch, masks, [False, False])
    for way, kind in enumerate(("cross", "self")):

        def cut(site, weights, sets, prompt, kind=kind):
            weights = weights.clone()
            if site.layer == 3 and site.kind == kind:
                weights[:, :, n - 1, 4] = 0
            return weights

        assert_equal_numbers(got[way], replay_links(specimen, batch, cut, num_sets=1)[0, 0])
    assert not torch.equal(got[0], got[1])


def test_candidates_orders_and_masks() -> None:
    specimen = classifier("gpt2")
    links = attribute(specimen, ["a b c"], config=QUICK).layer_links(0, words=False)
    among = candidate_links(links)
    n = links.num_tokens
    np.testing.assert_array_equal(among, np.broadcast_to(np.tri(n, k=-1, dtype=bool), among.shape))
    values = np.array([[[0.0, 3.0], [3.0, 5.0]], [[1.0, -1.0], [9.0, 0.0]]])
    marked = np.ones_like(values, dtype=bool)
    marked[0, 1, 1] = False
    assert strongest_first(values, marked).tolist() == [6, 1, 2, 4, 0, 7, 5]
    masks = masks_of([np.array([6, 1]), np.array([], dtype=int)], values.shape)
    assert np.flatnonzero(masks[0]).tolist() == [1, 6]
    assert not masks[1].any()


# --- a model whose class hangs on one link


def planted() -> Specimen:
    """[CLS] reads the word "Paris" in the one head of the last layer, and nothing else counts.

    Keys of "Paris" answer the query of [CLS]; its value is the class. All other weights are zero,
    so no other link carries anything.
    """
    tokenizer = tiny.tokenizer()
    config = hf.BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=2, num_attention_heads=1,
        intermediate_size=4, max_position_embeddings=32, pad_token_id=0, num_labels=2,
    )  # fmt: skip
    model = hf.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1.0)
        words = model.bert.embeddings.word_embeddings.weight
        paris, cls = tokenizer.convert_tokens_to_ids(["Paris", "[CLS]"])
        words[:, 0], words[:, 1] = 1.0, -1.0  # whatever the word: norms need something
        words[cls, 2], words[cls, 3] = 2.0, -2.0
        words[paris, 4], words[paris, 5] = 2.0, -2.0
        last = model.bert.encoder.layer[1].attention
        last.self.query.weight[0, 2] = 4.0
        last.self.key.weight[0, 4] = 4.0
        last.self.value.weight[1, 4] = 3.0
        last.output.dense.weight[6, 1], last.output.dense.weight[7, 1] = 3.0, -3.0
        model.bert.pooler.dense.weight[0, 6] = 1.0
        model.classifier.weight[1, 0] = 6.0
        model.classifier.bias[0] = 2.0
    return Specimen(model=model, tokenizer=tokenizer, name="planted", task="classifier")


PLANTED = (
    "The capital of France is Paris.",
    "Paris is the capital city",
    "a b Paris c",
    "where is Paris?",
    "the language of Paris",
    "Paris, a city",
)


def test_the_planted_link_is_found_and_matters() -> None:
    specimen = planted()
    found = attribute(specimen, PLANTED, config=AttributeConfig(num_nodes=16))
    for number, example in enumerate(found.examples):
        assert (example.target_index, example.reader) == (1, 0)
        assert example.prob > 0.9
        links = found.layer_links(number)
        strongest = np.unravel_index(links.scores.argmax(), links.scores.shape)
        assert [int(i) for i in strongest] == [1, 0, links.tokens.index("Paris")]
        tree = build_tree(links, root="reader", tau=0.4)
        assert [(link.layer, tree.tokens[link.read]) for link in tree.links] == [(1, "Paris")]
    result = faithfulness(specimen, PLANTED, root="reader", num_random=10)
    assert result.num_links.tolist() == [1] * 6
    takes = result.drop("tree")
    assert takes.low > 0.5  # without the link the class is another one
    assert result.drop("random").estimate < 0.1
    assert result.difference("random").mean.low > 0
    assert "takes more away than" in result.verdict
    # "attention" picks the same link here: it is the strongest by far
    np.testing.assert_allclose(result.deleted[:, :, 0], result.deleted[:, :, 1], atol=1e-6)
    assert result.area("attribution").estimate < result.area("random").estimate
    inserted = (result.area(order, direction="insertion").estimate
                for order in ("attribution", "random"))  # fmt: skip
    assert next(inserted) > next(inserted)


def test_a_model_with_nothing_planted_loses_nothing() -> None:
    """The test above tells a right tree from a wrong one."""
    specimen = planted()
    specimen.model.bert.encoder.layer[1].attention.self.value.weight.data.zero_()
    result = faithfulness(specimen, PLANTED, num_random=2)
    assert abs(result.drop("tree").estimate) < 1e-6


# --- the result


def test_curves_begin_untouched_and_end_with_nothing() -> None:
    specimen = classifier()
    result = faithfulness(specimen, TEXTS, pairs=PAIRS, num_random=3, config=QUICK)
    untouched = np.broadcast_to(result.prob[:, None], (5, 3))
    np.testing.assert_allclose(result.curves[:, 0, :, 0], untouched, atol=1e-6)
    np.testing.assert_allclose(result.curves[:, 1, :, -1], untouched, atol=1e-6)
    # all out is all out in every order, and the same as none left in
    np.testing.assert_allclose(result.curves[:, 0, :, -1], result.curves[:, 1, :, 0], atol=1e-6)
    assert np.ptp(result.curves[:, 0, :, -1], axis=1).max() < 1e-6
    assert result.agreement.shape == (5,)
    areas = [np.trapezoid(c, result.shares) for c in result.curves[:, 0, 0]]
    assert result.area("attribution").estimate == pytest.approx(np.mean(areas))
    assert result.to_table().num_rows == 6


def test_the_tree_is_taken_out_as_the_tree_is() -> None:
    specimen = classifier()
    found = attribute(specimen, TEXTS, config=QUICK)
    result = faithfulness(specimen, TEXTS, num_random=1, randomise=False, config=QUICK)
    assert result.agreement.shape == (0,)
    for text, example in enumerate(found.examples):
        tree = build_tree(found.layer_links(text, words=False))
        batch = encode_texts(specimen, TEXTS[text : text + 1])
        masks = np.zeros((1, *found.layer_links(text, words=False).scores.shape), dtype=bool)
        for link in tree.links:
            masks[0, link.layer, link.reader, link.read] = True
        for place, uniform in enumerate((False, True)):
            logits = some_deletions(specimen, batch, masks, [uniform])
            prob = float(logits.softmax(-1)[0, example.target_index])
            assert result.deleted[text, place, 0] == pytest.approx(prob, abs=1e-5)
        assert result.num_links[text] == len(tree.links)
        assert result.prob[text] == pytest.approx(example.prob, abs=1e-6)


def test_seeds_decide_and_storage_does_not() -> None:
    specimen = language_model("gpt2")
    given = {"root": "reader", "num_random": 2, "randomise": False}
    one, again, other = (
        faithfulness(specimen, CAUSAL_PROMPTS, config=QUICK, seed=seed, **given)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.curves, again.curves)
    assert not np.array_equal(one.curves, other.curves)
    sparse = faithfulness(specimen, CAUSAL_PROMPTS, config=replace(QUICK, keep=1), seed=1, **given)
    np.testing.assert_allclose(sparse.curves, one.curves, atol=1e-6)
    np.testing.assert_array_equal(sparse.num_links, one.num_links)


def test_images_have_links_too() -> None:
    specimen = specimen_of(families.make("vit"))
    result = faithfulness(specimen, specimen.probe(), num_random=1, config=QUICK, randomise=False)
    assert np.isfinite(result.curves).all()


def test_a_result_is_saved_and_loaded(tmp_path: Path) -> None:
    result = faithfulness(classifier(), TEXTS[:2], num_random=1, config=QUICK, shares=(0.0, 1.0))
    assert "too few texts" in result.verdict
    result.save(tmp_path / "kept")
    again = load_result(tmp_path / "kept")
    assert isinstance(again, Faithfulness)
    assert again.to_table() == result.to_table()


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shares": (0.0, 1.5)}, "shares=1.5"),
        ({"shares": (0.5,)}, r"shares=\[0.5\]"),
        ({"shares": (1.0, 0.5, 0.0)}, "larger than the one before"),
        ({"num_random": 0}, "num_random=0"),
        ({"tau": 2.0}, "tau=2.0"),
        ({"rule": "best"}, "rule='best'"),
    ],
)
def test_odd_options_are_refused(given: dict, message: str) -> None:
    with pytest.raises(VesaliusError, match=message):
        faithfulness(classifier(), TEXTS[:1], config=QUICK, **given)


# --- the copy that has learned nothing


def test_a_shuffled_copy_leaves_the_original_alone() -> None:
    specimen = classifier()
    before = specimen.fingerprint
    one, again, other = (shuffled_copy(specimen, seed=seed) for seed in (0, 0, 1))
    assert specimen.fingerprint == before
    assert one.fingerprint == again.fingerprint
    assert len({before, one.fingerprint, other.fingerprint}) == 3
    blocks = [part.name for part in specimen.parts.blocks]
    theirs = dict(one.model.named_parameters())
    for name, mine in specimen.model.named_parameters():
        inside = any(name.startswith(f"{block}.") for block in blocks)
        same = torch.equal(mine, theirs[name])
        assert same == (not inside or mine.dim() < 2)
        assert torch.equal(mine.flatten().sort().values, theirs[name].flatten().sort().values)


def test_similarity_is_a_rank_correlation_of_different_tokens() -> None:
    found = attribute(classifier(), TEXTS[:1], config=QUICK).layer_links(0)
    assert similarity(found, found) == pytest.approx(1.0)
    turned = replace(found, scores=-found.scores)
    assert similarity(found, turned) == pytest.approx(-1.0)
    diagonal = found.scores + 1e3 * np.eye(found.num_tokens)
    assert similarity(found, replace(found, scores=diagonal)) == pytest.approx(1.0)
    flat = replace(found, scores=np.ones_like(found.scores))
    assert np.isnan(similarity(found, flat))
