"""Links between tokens: summed over heads, words joined, encoders and decoders numbered through."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import families
from attention_tiny import (
    CAUSAL_PROMPTS,
    CLASSIFIERS,
    PAIRS,
    PROMPTS,
    TEXTS,
    classifier,
    language_model,
    links_of,
    specimen_of,
)
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution import AttributeConfig, attribute, prune
from vesalius.methods.attention_attribution.inputs import (
    encode_inputs,
    plan_batches,
    site_masks,
    written_ids,
)
from vesalius.methods.attention_attribution.linking import join_pieces
from vesalius.methods.attention_attribution.scores import _fitted, _reference, _uniform
from vesalius.models.attention_replay import read_attention
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.encoding import encode_prompts
from vesalius.models.texts import encode_texts

QUICK = AttributeConfig(num_nodes=4, refine=False)


# --- sums


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "bart"])
def test_links_are_sums_over_heads_and_words_keep_the_total(kind: str) -> None:
    specimen = classifier(kind)
    found = attribute(specimen, ["The Parni city, Paris", "Paris"], config=QUICK)
    for number, example in enumerate(found.examples):
        tokens, words = (found.layer_links(number, words=joined) for joined in (False, True))
        totals = np.zeros(tokens.num_layers)
        for site, scores in zip(found.sites, example.scores, strict=True):
            totals[site.layer] += scores.sum(dtype=np.float64)
        np.testing.assert_allclose(tokens.scores.sum((1, 2)), totals, atol=1e-9)
        np.testing.assert_allclose(words.scores.sum((1, 2)), totals, atol=1e-9)
        # attention still gives every reader one, in each of its sites
        num_sites = np.bincount([site.layer for site in found.sites])
        source = len(example.text.words)
        rows = words.weights.sum(2)
        for layer in range(words.num_layers):
            is_decoder = found.sites[-1].stack == "decoder" and num_sites[layer] == 2
            own = rows[layer, source:] if is_decoder else rows[layer, :source]
            np.testing.assert_allclose(own, num_sites[layer], atol=1e-5)
    assert "Parni" in found.layer_links(0).tokens
    if kind == "bert":
        plain = found.layer_links(0, words=False)
        np.testing.assert_allclose(plain.scores[1], found.examples[0].scores[1].sum(0), atol=1e-7)
        np.testing.assert_allclose(
            plain.weights[1], found.examples[0].weights[1].mean(0), atol=1e-6
        )


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=7),
    st.integers(0, 2**16),
)
def test_joined_pieces_keep_totals_and_rows(cuts: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    word = np.cumsum([0, *(min(cut, 1) for cut in cuts)])
    n = len(word)
    weights = generator.random((2, n, n))
    weights /= weights.sum(2, keepdims=True)
    links = links_of(generator.normal(size=(2, n, n)), weights=weights, reader=n - 1, special=[0])
    words = tuple(map(str, range(word[-1] + 1)))
    joined = join_pieces(links, words=words, word=word)
    np.testing.assert_allclose(joined.scores.sum((1, 2)), links.scores.sum((1, 2)), atol=1e-9)
    np.testing.assert_allclose(joined.weights.sum(2), 1)
    assert joined.reader == word[-1]
    assert bool(joined.special[0]) == (int((word == 0).sum()) == 1)
    for i in range(len(words)):
        for j in range(len(words)):
            part = links.scores[:, word == i][:, :, word == j]
            np.testing.assert_allclose(joined.scores[:, i, j], part.sum((1, 2)), atol=1e-9)


def test_links_that_do_not_fit_are_refused() -> None:
    good = links_of(np.zeros((1, 2, 2)))
    with pytest.raises(VesaliusError, match="3 tokens"):
        replace(good, tokens=("a", "b", "c"))
    with pytest.raises(VesaliusError, match="not a number"):
        links_of([[[0.0, np.nan], [0.0, 0.0]]])


# --- encoders and decoders


def test_a_decoder_stands_behind_its_source() -> None:
    specimen = language_model("bart")
    found = attribute(specimen, PROMPTS[:2], config=QUICK)
    example = found.examples[1]
    assert example.decoder_text is not None
    assert example.decoder_text.tokens == ("[SEP]",)  # the start token of this model
    source = len(example.text.tokens)
    links = found.layer_links(1, words=False)
    assert links.tokens == (*example.text.tokens, "[SEP]")
    assert (links.num_layers, links.reader) == (4, source)
    by_site = example.scores
    np.testing.assert_allclose(links.scores[0, :source, :source], by_site[0].sum(0), atol=1e-7)
    np.testing.assert_allclose(links.scores[2, source:, source:], by_site[2].sum(0), atol=1e-7)
    np.testing.assert_allclose(links.scores[2, source:, :source], by_site[3].sum(0), atol=1e-7)
    assert not links.scores[2, :source].any()
    assert not links.scores[:2, source:].any()
    table = found.to_table().to_pylist()
    last = [row for row in table if row["text"] == 1 and row["site"] == found.sites[5].name]
    assert {row["reader"] for row in last} == {"[SEP]"}
    assert [row["read"] for row in last[:source]] == list(example.text.tokens)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_classifiers_decoder_reads_one_step_behind(kind: str) -> None:
    specimen = classifier(kind)
    batch = encode_texts(specimen, TEXTS[:2])
    seen: list[torch.Tensor] = []
    hook = specimen.model.get_decoder().register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    with torch.no_grad():
        specimen.model(**batch.inputs)
    hook.remove()
    written = written_ids(specimen, batch)
    assert written is not None
    assert torch.equal(written, seen[0])
    found = attribute(specimen, TEXTS[:2], config=QUICK)
    for example in found.examples:
        assert example.decoder_text is not None
        start = specimen.tokenizer.convert_ids_to_tokens(
            specimen.model.config.decoder_start_token_id
        )
        assert example.decoder_text.tokens == (start, *example.text.tokens[:-1])
        assert example.reader == len(example.text.tokens) - 1  # where the end mark stands


def test_a_decoder_as_wide_as_its_source_keeps_its_own_padding() -> None:
    """Widths that agree by chance say nothing about masks."""
    specimen = language_model("bart")
    batch = encode_prompts(specimen, PROMPTS)
    ids = batch.inputs["input_ids"]
    written = torch.full_like(ids, 7)
    with_own = Batch(
        inputs={**batch.inputs, "decoder_input_ids": written},
        row=batch.row,
        decoder_row=torch.full_like(batch.row, ids.shape[1] - 1),
    )
    found = attribute(specimen, with_own, config=QUICK)
    lengths = batch.inputs["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) > 1
    for example, length in zip(found.examples, lengths, strict=True):
        assert len(example.text.tokens) == length
        assert example.decoder_text is not None
        assert len(example.decoder_text.tokens) == ids.shape[1]
        assert example.scores[2].shape[1:] == (ids.shape[1], ids.shape[1])
        assert example.scores[3].shape[1:] == (ids.shape[1], length)
        assert example.reader == ids.shape[1] - 1
    mask = torch.ones_like(ids)
    mask[:, -1] = 0
    inputs = {**with_own.inputs, "decoder_attention_mask": mask}
    padded = Batch(inputs=inputs, row=batch.row, decoder_row=torch.zeros_like(batch.row))
    for example in attribute(specimen, padded, config=QUICK).examples:
        assert example.scores[2].shape[1:] == (ids.shape[1] - 1, ids.shape[1] - 1)


# --- who reads for the prediction


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_reader_is_found(kind: str) -> None:
    specimen = classifier(kind)
    found = attribute(specimen, TEXTS, config=QUICK)
    for example in found.examples:
        num_tokens = len(example.text.tokens)
        expected = {
            "bert": 0,
            "albert": 0,
            "modernbert-mean": None,
            "modernbert-cls": 0,
        }.get(kind, num_tokens - 1)
        assert example.reader == expected


def test_the_reader_of_a_causal_model_is_the_last_token() -> None:
    found = attribute(language_model("gpt2"), CAUSAL_PROMPTS, config=QUICK)
    assert [e.reader for e in found.examples] == [len(e.text.tokens) - 1 for e in found.examples]


# --- baselines


@pytest.mark.parametrize("family", ["bert", "llama", "mistral", "t5", "deberta-v2"])
def test_uniform_rows_sum_to_one_over_what_is_visible(family: str) -> None:
    specimen = specimen_of(families.make(family))
    for weights in read_attention(specimen, specimen.probe())[0]:
        start = _uniform(weights > 0, weights.dtype)
        torch.testing.assert_close(start.sum(-1), torch.ones_like(start.sum(-1)))
        assert ((start > 0) == (weights > 0)).all()
        count = (weights > 0).sum(-1, keepdim=True)
        torch.testing.assert_close(start * count, (weights > 0).to(start))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "bart"])
def test_the_mean_of_one_reference_is_its_attention(kind: str) -> None:
    specimen = language_model(kind)
    prompt = (CAUSAL_PROMPTS if kind == "gpt2" else PROMPTS)[0]
    config = replace(QUICK, baseline="mean", reference=(prompt,))
    clean, _ = read_attention(specimen, encode_inputs(specimen, [prompt]))
    for mean, weights in zip(_reference(specimen, config, 2**30), clean, strict=True):
        torch.testing.assert_close(mean, weights[0])
    # explained by itself nothing is left
    found = attribute(specimen, [prompt], config=config)
    assert all(np.abs(scores).max() < 1e-6 for scores in found.examples[0].scores)


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_the_mean_counts_the_texts_that_have_a_position(kind: str, memory: int) -> None:
    specimen = language_model(kind)
    prompts = CAUSAL_PROMPTS if kind == "gpt2" else PROMPTS
    config = replace(QUICK, baseline="mean", reference=prompts)
    each = [read_attention(specimen, encode_inputs(specimen, [p]))[0] for p in prompts]
    for site, mean in enumerate(_reference(specimen, config, memory)):
        for query in range(mean.shape[1]):
            having = [one[site][0, :, query] for one in each if one[site].shape[2] > query]
            total = torch.zeros_like(mean[:, query])
            for row in having:
                total[:, : row.shape[1]] += row
            torch.testing.assert_close(mean[:, query], total / len(having))


def test_a_mean_is_fitted_to_longer_texts_and_padding() -> None:
    mean = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    uniform = torch.full((1, 1, 4, 4), 1 / 3)
    uniform[..., 0] = 0
    real = torch.tensor([[False, True, True, True]])
    fitted = _fitted(mean, uniform, real, real)[0, 0]
    torch.testing.assert_close(fitted[1], torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(fitted[2], torch.tensor([0.0, 0.25, 0.75, 0.0]))
    torch.testing.assert_close(fitted[3], torch.tensor([0.0, 1 / 3, 1 / 3, 1 / 3]))


def test_without_words_positions_are_left() -> None:
    """A model of positions only has nothing to explain; another has."""
    specimen = classifier()
    found = attribute(specimen, TEXTS[:1], config=replace(QUICK, baseline="without-words"))
    assert any(np.abs(scores).max() > 1e-4 for scores in found.examples[0].scores)
    specimen.model.get_input_embeddings().weight.data.zero_()
    bare = attribute(specimen, TEXTS[:1], config=replace(QUICK, baseline="without-words"))
    assert all((scores == 0).all() for scores in bare.examples[0].scores)


# --- batches


def test_every_text_is_in_one_batch_and_batches_fit() -> None:
    specimen = classifier()
    batch = encode_texts(specimen, TEXTS * 3, pairs=PAIRS * 3)
    lengths = batch.lengths()
    heads = sum(site.num_heads for site in attention_sites(specimen))
    for memory in (1, 40_000, 2**30):
        groups = plan_batches(specimen, batch, memory_bytes=memory)
        assert sorted(torch.cat(groups).tolist()) == list(range(15))
        for group in groups:
            held = len(group) * 16 * heads * int(lengths[group].max()) ** 2
            assert len(group) == 1 or held <= memory
    whole = plan_batches(specimen, batch, memory_bytes=2**30)
    assert len(whole) == 1
    assert lengths[whole[0]].tolist() == sorted(lengths.tolist())


def test_a_long_decoder_counts() -> None:
    specimen = language_model("bart")
    batch = encode_prompts(specimen, PROMPTS)
    long = torch.full((3, 60), 7)
    inputs = {**batch.inputs, "decoder_input_ids": long}
    wide = Batch(inputs=inputs, row=batch.row, decoder_row=torch.zeros_like(batch.row))
    memory = 16 * 12 * 30**2 * 3  # room for three texts of 30 tokens
    assert len(plan_batches(specimen, batch, memory_bytes=memory)) == 1
    assert len(plan_batches(specimen, wide, memory_bytes=memory)) == 3


def test_texts_of_very_different_length_are_not_padded_together() -> None:
    specimen = classifier()
    ids = torch.full((320, 100), 7)
    mask = torch.zeros_like(ids)
    for row in range(320):
        mask[row, : 10 if row % 2 else 100] = 1
    batch = Batch(inputs={"input_ids": ids, "attention_mask": mask}, row=torch.zeros(320).long())
    groups = plan_batches(specimen, batch, memory_bytes=2**40)
    assert len(groups) == 2
    assert {len(set(batch.lengths()[group].tolist())) for group in groups} == {1}
    together = plan_batches(specimen, batch, memory_bytes=2**40, trimmed=False)
    assert len(together) == 1


def test_masks_of_sites() -> None:
    specimen = classifier("bart")
    batch = encode_texts(specimen, TEXTS[:2])
    mask = batch.inputs["attention_mask"].bool()
    for site in attention_sites(specimen):
        queries, keys = site_masks(specimen, batch, site, (2, 2, mask.shape[1], mask.shape[1]))
        assert torch.equal(queries, mask)
        assert torch.equal(keys, mask)


def test_a_pruned_model_has_sites_of_several_widths() -> None:
    specimen = classifier("bert", num_attention_heads=4)
    smaller = prune(specimen, np.array([[0.0, 1, 2, 3], [4, 5, 6, 7]]), share=0.25).specimen
    found = attribute(smaller, TEXTS[:2], config=replace(QUICK, keep=2))
    assert [site.num_heads for site in found.sites] == [2, 4]
    assert found.site_scores(0, 0).shape[0] == 2
    dense = attribute(smaller, TEXTS[:2], config=QUICK)
    assert [scores.shape[0] for scores in dense.examples[0].scores] == [2, 4]
    assert dense.layer_links(0).num_layers == 2
