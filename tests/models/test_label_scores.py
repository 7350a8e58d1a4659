"""Label words behind a shared prefix: every way gives the scores of plain, separate passes."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from families import BUILDERS, VOCAB
from vesalius.core.errors import VesaliusError
from vesalius.models import open as open_model
from vesalius.models import prefix as prefixes
from vesalius.models.cloze_scores import plan_cloze, score_cloze
from vesalius.models.label_scores import (
    LabelPlan,
    open_ended,
    plan_labels,
    score_labels,
    word_tokens,
)
from vesalius.models.label_trie import LabelTrie, grow_trie
from vesalius.models.prefix import encode_prefix, prefix_way
from vesalius.models.prefix_attention import PrefixReader
from vesalius.models.reading import read_answers
from vesalius.models.specimen import Specimen, task_of

SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
KV = {**SIZES, "num_key_value_heads": 2}


def _mixtral() -> nn.Module:
    config = hf.MixtralConfig(**KV, num_local_experts=4, num_experts_per_tok=2)
    config._experts_implementation = "eager"  # the grouped product has no double precision
    return hf.MixtralForCausalLM(config)


OUTSIDE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mistral, narrow window": (
        lambda: hf.MistralForCausalLM(hf.MistralConfig(**KV, sliding_window=5)), "shared"),
    "mixtral": (_mixtral, "shared"),
    "gemma2, soft cap and window": (
        lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**KV, head_dim=8, sliding_window=6,
        query_pre_attn_scalar=8)), "shared"),
    "bloom": (
        lambda: hf.BloomForCausalLM(
            hf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=3, n_head=4)), "joined"),
    "gptj": (
        lambda: hf.GPTJForCausalLM(hf.GPTJConfig(vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4,
        n_positions=64, rotary_dim=4)), "joined"),
}  # fmt: skip
SINGLE = ("gemma2, soft cap and window", "bloom")  # their softmax is in single precision
TRIES = {
    "one token": grow_trie([[9], [10], [11]]),
    "several tokens": grow_trie([[9, 12], [9, 13, 14], [10], [10, 12], [11, 9, 9, 9]]),
}


def bare(model: nn.Module, *, dtype: torch.dtype = torch.float64) -> Specimen:
    """An untrained model with large weights: attention that matters."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= 3
    return Specimen(model=model.to(dtype).eval(), tokenizer=None, name="tiny", task="causal-lm")


def tiny_plan(trie: LabelTrie, *, num_prefix: int = 12) -> LabelPlan:
    random = np.random.default_rng(0)
    own = [random.integers(5, VOCAB, size=n).tolist() for n in (3, 9, 1, 5, 5, 7)]
    return LabelPlan(
        prefix=tuple(random.integers(5, VOCAB, size=num_prefix).tolist()),
        own=tuple(map(tuple, own)), trie=trie, kept=tuple(range(len(own))), num_over={},
    )  # fmt: skip


def gathered(specimen: Specimen, plan: LabelPlan, **options: Any) -> np.ndarray:
    found = np.full((len(plan.own), plan.trie.num_labels), np.nan)
    for numbers, scores in score_labels(specimen, plan, **options):
        found[numbers] = scores
    return found


def by_definition(
    specimen: Specimen, plan: LabelPlan, words: Sequence[Sequence[int]]
) -> np.ndarray:
    """One plain pass per text and word over everything, no cache, no padding, no tree."""
    scores = np.zeros((len(plan.own), len(words)))
    for row, own in enumerate(plan.own):
        for label, word in enumerate(words):
            ids = torch.tensor([[*plan.prefix, *own, *word]])
            with torch.no_grad():
                log_probs = specimen.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            first = ids.shape[1] - len(word) - 1
            scores[row, label] = sum(
                float(log_probs[first + i, token]) for i, token in enumerate(word)
            )
    return scores


def words_of(trie: LabelTrie) -> list[list[int]]:
    return [[token for _, token in steps] for steps in trie.steps]


CAUSAL = [name for name, build in BUILDERS.items() if task_of(build()) == "causal-lm"]


@pytest.mark.parametrize("trie", TRIES.values(), ids=TRIES)
@pytest.mark.parametrize("name", [*CAUSAL, *OUTSIDE])
def test_cached_is_uncached_on_every_family(name: str, trie: LabelTrie) -> None:
    torch.manual_seed(1)
    build, way = OUTSIDE.get(name) or (BUILDERS[name], "shared")
    specimen, plan = bare(build()), tiny_plan(trie)
    assert prefix_way(specimen) == way
    wanted = by_definition(specimen, plan, words_of(trie))
    found = gathered(specimen, plan, tokens_per_batch=32)
    close = 1e-6 if name in SINGLE else 1e-9
    np.testing.assert_allclose(found, wanted, rtol=0, atol=close * np.abs(wanted).max())
    assert np.ptp(wanted) > 0.1, "scores that hardly differ test nothing"


@pytest.mark.parametrize("way", prefixes.WAYS)
@pytest.mark.parametrize("trie", TRIES.values(), ids=TRIES)
def test_every_way_gives_the_same(way: prefixes.Way, trie: LabelTrie) -> None:
    torch.manual_seed(2)
    specimen = bare(BUILDERS["llama"]())
    plan = tiny_plan(trie)
    wanted = by_definition(specimen, plan, words_of(trie))
    np.testing.assert_allclose(gathered(specimen, plan, way=way), wanted, rtol=0, atol=1e-9)


def test_no_prefix_at_all() -> None:
    specimen = bare(BUILDERS["gpt2"]())
    for trie in TRIES.values():
        plan = tiny_plan(trie, num_prefix=0)
        wanted = by_definition(specimen, plan, words_of(trie))
        np.testing.assert_allclose(gathered(specimen, plan), wanted, rtol=0, atol=1e-9)


def test_label_columns_alone_give_renormalised_scores() -> None:
    for name in ("gpt2", "llama", "opt"):
        specimen = bare(BUILDERS[name]())
        plan = tiny_plan(TRIES["one token"])
        whole = gathered(specimen, plan)
        part = gathered(specimen, plan, label_mass=False)
        wanted = whole - np.logaddexp.reduce(whole, axis=1, keepdims=True)
        np.testing.assert_allclose(part, wanted, rtol=0, atol=1e-9)
        assert "forward" not in vars(specimen.model.get_output_embeddings())


def test_the_prefix_is_merged_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[PrefixReader] = []
    real = PrefixReader.attend

    def watch(self: PrefixReader, *args: Any) -> Any:
        calls.append(self)
        return real(self, *args)

    monkeypatch.setattr(PrefixReader, "attend", watch)
    specimen = bare(BUILDERS["gpt2"]())
    gathered(specimen, tiny_plan(TRIES["several tokens"]))
    assert calls
    assert all(reader.num_joined == 0 for reader in calls)


def test_a_narrow_window_is_joined_with_its_mask() -> None:
    specimen = bare(OUTSIDE["mistral, narrow window"][0]())
    plan = tiny_plan(TRIES["one token"])
    wide = bare(hf.MistralForCausalLM(hf.MistralConfig(**KV, sliding_window=None)))
    wide.model.load_state_dict(specimen.model.state_dict())
    assert np.abs(gathered(specimen, plan) - gathered(wide, plan)).max() > 1e-3


def test_the_model_comes_back_as_it_was() -> None:
    model = BUILDERS["llama"]().train()
    model.set_attn_implementation("sdpa")
    specimen = Specimen(model=model, tokenizer=None, name="tiny", task="causal-lm")
    for mass in (True, False):
        gathered(specimen, tiny_plan(TRIES["one token"]), label_mass=mass)
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_a_model_that_reads_prefixes_its_own_way_runs_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specimen = bare(BUILDERS["gpt2"]())

    def wrong(*_args: Any) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(prefixes, "_run_shared", wrong)
    assert prefix_way(specimen) == "joined"
    prefixes._WAY_OF.clear()
    real = prefixes._run_joined
    monkeypatch.setattr(prefixes, "_run_joined", lambda *a: real(*a).roll(1, dims=-1))
    assert prefix_way(specimen) == "whole"
    prefixes._WAY_OF.clear()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=8,
        unique_by=tuple,
    )
)  # fmt: skip
def test_a_trie_spells_its_words(words: list[list[int]]) -> None:
    trie = grow_trie(words)
    assert words_of(trie) == words
    proper = {tuple(word[:i]) for word in words for i in range(1, len(word))}
    assert len(trie.tokens) == len(proper)
    for steps in trie.steps:
        for (before, token), (after, _) in pairwise(steps):
            assert trie.parents[after - 1] == before - 1
            assert trie.tokens[after - 1] == token
    assert trie.sees().tril().equal(trie.sees())
    assert trie.sees().sum(1).tolist() == [depth + 1 for depth in trie.depths]


def test_a_shared_layer_is_asked_once() -> None:
    specimen = bare(BUILDERS["llama"]())
    prefix = encode_prefix(specimen, [5, 6, 7], way="shared")
    layers = prefixes._layers(prefix, joined=False)
    with pytest.raises(VesaliusError, match="asked"):
        prefixes._check(layers, 3)


@pytest.fixture(scope="module")
def gpt() -> Specimen:
    return open_model("mini-gpt")


def test_texts_become_a_prefix_and_the_rest(gpt: Specimen) -> None:
    texts = [f"Review: {text}\nSentiment:" for text in ("a fine film", "dull", "a bore of a film")]
    plan = plan_labels(gpt, texts, [" positive", " negative"])
    ids = open_ended(gpt, texts)
    assert [[*plan.prefix, *own] for own in plan.own] == ids
    assert len({own[0] for own in plan.own}) > 1
    assert plan.num_tokens == len(plan.prefix) + sum(map(len, plan.own))
    single = plan_labels(gpt, texts[:1], [" positive", " negative"])
    assert len(single.own[0]) == 1


def test_a_long_text_is_named_or_left_out(gpt: Specimen) -> None:
    texts = ["short", "word " * 600, "also short", "word " * 520]
    with pytest.raises(VesaliusError) as caught:
        plan_labels(gpt, texts, [" yes", " no"], numbers=[10, 11, 12, 13])
    assert "text 11 is" in caught.value.given
    assert "2 of 4 prompts" in caught.value.given
    plan = plan_labels(gpt, texts, [" yes", " no"], too_long="skip")
    assert plan.kept == (0, 2)
    assert set(plan.num_over) == {1, 3}
    nothing = plan_labels(gpt, texts[1:2], [" yes", " no"], too_long="skip")
    assert not nothing.kept
    assert not list(score_labels(gpt, nothing))


def test_words_are_told_apart(gpt: Specimen) -> None:
    assert word_tokens(gpt, [" positive", "\npositive"])[0] != word_tokens(gpt, [" a", "\nb"])[1]
    with pytest.raises(VesaliusError, match="same tokens"):
        word_tokens(gpt, [" good", " bad", " good"])
    with pytest.raises(VesaliusError, match="one token for each"):
        word_tokens(gpt, [" positive", " very positive"], one_token=True)
    with pytest.raises(VesaliusError, match="two or more"):
        word_tokens(gpt, [" good"])


def test_a_cloze_reads_what_the_reader_reads() -> None:
    bert = open_model("mini-bert")
    texts = ["Paris is the capital of [MASK].", "The city of Rome lies in [MASK], they say."]
    words = ["France", "Italy", "New Zealand", "South Africa"]
    plan = plan_cloze(bert, texts, [f" {word}" for word in words])
    found = np.zeros((2, 4))
    for numbers, scores in score_cloze(bert, plan, tokens_per_batch=10):
        found[numbers] = scores
    wanted = [read_answers(bert, texts, [word] * 2).log_prob.numpy() for word in words]
    np.testing.assert_allclose(found, np.stack(wanted, axis=1), rtol=0, atol=1e-4)
    with pytest.raises(VesaliusError, match="0 masks"):
        list(score_cloze(bert, plan_cloze(bert, ["no gap"], [" a", " the"])))
