"""Attention read, gated and changed on the climb equals whole forwards, in every family."""

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import families
from helpers import assert_equal_numbers
from masking import specimen_of
from vesalius.core.errors import VesaliusError
from vesalius.models.attention import AttentionCall, attention_seam, tapped
from vesalius.models.attention_replay import (
    head_sensitivity,
    read_attention,
    replay_heads,
    replay_links,
    visible_keys,
)
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.batch import Batch
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.objectives import Objective, token_objective
from vesalius.models.plan import eager
from vesalius.models.softmax_watch import watched
from vesalius.models.specimen import Specimen


def budgets_of(family: str) -> tuple[int, ...]:
    """One stream at a time, too, where that says something new."""
    return (1, 2**30) if family in ("bert", "albert", "llama", "t5", "deberta-v2") else (2**30,)


def in_double(family: str) -> Specimen:
    """The plain way is eager, and some eager classes take the softmax in single precision."""
    return specimen_of(family, torch.float64, kernel="eager")


def forward_with(specimen: Specimen, batch: Batch, change) -> Tensor:
    """One whole forward, ``change(call number, probabilities)`` in the place of each A."""
    sites = attention_sites(specimen)
    count = iter(range(1000))

    def tap(call: AttentionCall) -> Tensor:
        weights = change(next(count), call.weights())
        return (weights @ call.values()).transpose(1, 2).contiguous()

    modules = [site.module for site in sites]
    if specimen.plan.seam == "softmax":
        taps = dict.fromkeys(modules, lambda weights: change(next(count), weights))
        with specimen.at_rest(), eager(specimen.model), watched(taps):
            return logits_row(run_model(specimen.model, batch).logits, batch)
    with (
        specimen.at_rest(),
        attention_seam(specimen.model, modules=modules),
        tapped(dict.fromkeys(modules, tap)),
    ):
        return logits_row(run_model(specimen.model, batch).logits, batch)


def objective_of(batch: Batch) -> Objective:
    return token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")


def reported(specimen: Specimen, batch: Batch) -> list[Tensor]:
    """What the library itself reports, sites in our order."""
    with torch.no_grad():
        out = specimen.model(**batch.inputs, output_attentions=True)
    if "attentions" in out:
        return list(out.attentions)
    pairs = zip(out.decoder_attentions, out.cross_attentions, strict=True)
    return [*out.encoder_attentions, *(tensor for pair in pairs for tensor in pair)]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_attention_is_what_the_library_reports(family: str) -> None:
    specimen = specimen_of(family, kernel="eager")
    batch = specimen.probe()
    found, logits = read_attention(specimen, batch)
    for actual, wanted in zip(found, reported(specimen, batch), strict=True):
        assert_equal_numbers(actual, wanted)
    with torch.no_grad():
        wanted = logits_row(run_model(specimen.model, batch).logits, batch)
    assert_equal_numbers(logits, wanted)
    assert len(found) == len(attention_sites(specimen))
    assert [w.shape[1] for w in found] == [s.num_heads for s in attention_sites(specimen)]


@pytest.mark.parametrize("family", [f for f in families.FAMILIES if f != "vit"])
def test_masks_hold(family: str) -> None:
    """Padding is read by nobody, the future by no decoder, and every real row sums to one."""
    specimen = specimen_of(family)
    batch = specimen.probe()
    mask = batch.inputs["attention_mask"].bool()
    for site, weights in zip(
        attention_sites(specimen), read_attention(specimen, batch)[0], strict=True
    ):
        reads_source = site.stack != "decoder" or site.kind == "cross"
        rows = mask if site.stack != "decoder" else torch.ones(5, weights.shape[2]).bool()
        real = weights.transpose(1, 2)[rows]  # [row, head, key]
        torch.testing.assert_close(real.sum(-1), torch.ones_like(real.sum(-1)))
        if reads_source:
            hidden = ~mask[:, None, None, :].expand_as(weights)
            seen = weights.masked_fill(~hidden, 0).transpose(1, 2)[rows]
            assert (seen == 0).all()
        if family in families.CAUSAL or (site.stack == "decoder" and site.kind == "self"):
            future = torch.ones(weights.shape[2:]).triu(1).bool()
            assert (weights.transpose(1, 2)[rows] >= 0).all()
            ahead = (weights * future).transpose(1, 2)[rows]
            assert (ahead == 0).all()
    if family in ("mistral", "gemma3"):  # a sliding window of 5 in 7 tokens
        assert any((w[1, :, 6, :2] == 0).all() for w in read_attention(specimen, batch)[0])


def some_gates(specimen: Specimen, batch: Batch) -> Tensor:
    """Untouched, from the top only, own heads for every prompt, half a head, and none at all."""
    sites = attention_sites(specimen)
    widest = max(site.num_heads for site in sites)
    gates = torch.ones(5, batch.num_prompts, len(sites), widest)
    gates[1, :, -1, 1] = 0
    for prompt in range(batch.num_prompts):
        gates[2, prompt, prompt % len(sites), prompt % widest] = 0
    gates[3, :, len(sites) // 2, 0] = 0.5
    gates[4] = 0
    return gates


@pytest.mark.parametrize("family", families.FAMILIES)
def test_gated_heads_equal_whole_forwards(family: str) -> None:
    specimen = in_double(family)
    batch = specimen.probe()
    gates = some_gates(specimen, batch)
    found = [
        replay_heads(specimen, batch, gates, memory_bytes=memory) for memory in budgets_of(family)
    ]
    for number, gate in enumerate(gates):
        wanted = forward_with(
            specimen, batch, lambda i, a, g=gate: a * g[:, i, : a.shape[1], None, None]
        )
        for each in found:
            assert_equal_numbers(each[number], wanted)
    # one set of gates for all prompts alike
    alike = replay_heads(specimen, batch, gates[3:, :1])
    assert_equal_numbers(alike, found[0][3:])


def test_gates_beyond_the_heads_are_ignored() -> None:
    specimen = in_double("gpt2")
    batch = specimen.probe()
    wide = torch.ones(1, 1, 3, 9)
    wide[:, :, :, 4:] = 0
    clean = read_attention(specimen, batch)[1]
    assert_equal_numbers(replay_heads(specimen, batch, wide)[0], clean)


def crop(site: AttentionSite, weights: Tensor, sets: Tensor, prompt: Tensor) -> Tensor:
    """What set and prompt say: links of one prompt go, rows become even, all is scaled by site."""
    weights = weights.clone()
    weights[(sets == 0) & (prompt == 1), :, -1, 0] = 0
    even = (sets == 1)[:, None, None, None]
    seen = (weights > 0).to(weights)
    weights = torch.where(even, seen / seen.sum(-1, keepdim=True).clamp_min(1), weights)
    return torch.where((sets == 2)[:, None, None, None], weights * (1 + site.index), weights)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_changed_links_equal_whole_forwards(family: str) -> None:
    specimen = in_double(family)
    batch = specimen.probe()
    sites = attention_sites(specimen)
    found = [
        replay_links(specimen, batch, crop, num_sets=4, memory_bytes=memory)
        for memory in budgets_of(family)
    ]
    everyone = torch.arange(batch.num_prompts)
    for number in range(4):
        sets = torch.full_like(everyone, number)
        wanted = forward_with(specimen, batch, lambda i, a, s=sets: crop(sites[i], a, s, everyone))
        for each in found:
            assert_equal_numbers(each[number], wanted)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_sensitivity_equals_the_gradient_of_the_probabilities(family: str) -> None:
    """A dF/dA, by autograd through one whole forward."""
    specimen = in_double(family)
    batch = specimen.probe()
    objective = objective_of(batch)
    leaves: list[Tensor] = []

    def keep(_: int, weights: Tensor) -> Tensor:
        if not weights.requires_grad:  # the first of a stack
            weights = weights.detach().requires_grad_()
        weights.retain_grad()
        leaves.append(weights)
        return weights

    logits = forward_with(specimen, batch, keep)
    objective(logits, torch.arange(batch.num_prompts)).sum().backward()
    for memory in budgets_of(family):
        found = head_sensitivity(specimen, batch, objective=objective, memory_bytes=memory)
        for actual, weights in zip(found, leaves, strict=True):
            assert weights.grad is not None
            assert weights.grad.abs().sum() > 0  # gradients reach the probabilities
            assert_equal_numbers(actual, (weights * weights.grad).sum(-1))


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "llama", "t5", "deberta-v2", "vit"])
def test_sensitivity_equals_finite_differences(family: str) -> None:
    """dF/dg of a gate g at 1, summed over queries: the same number without any gradient."""
    specimen = specimen_of(family, torch.float64)  # its kernel computes in double precision
    batch = specimen.probe()
    objective = objective_of(batch)
    found = head_sensitivity(specimen, batch, objective=objective)
    sites = attention_sites(specimen)
    step = 1e-3  # some norms compute in single precision
    everyone = torch.arange(batch.num_prompts)
    for site in (sites[0], sites[-1]):
        gates = torch.ones(2, 1, len(sites), 4, dtype=torch.float64)
        gates[:, 0, site.index, 2] += torch.tensor([step, -step], dtype=torch.float64)
        up, down = (objective(x, everyone) for x in replay_heads(specimen, batch, gates))
        slope = (up - down) / (2 * step)
        torch.testing.assert_close(found[site.index][:, 2].sum(1), slope, rtol=1e-3, atol=1e-3)


def test_albert_gates_each_call_of_its_one_module_apart() -> None:
    specimen = in_double("albert")
    batch = specimen.probe()
    sites = attention_sites(specimen)
    assert len({id(site.module) for site in sites}) == 1
    assert [site.layer for site in sites] == [0, 1, 2]
    gates = torch.ones(3, 1, 3, 4)
    for site in range(3):
        gates[site, 0, site, 1] = 0
    found = replay_heads(specimen, batch, gates)
    assert len(torch.unique(found[:, 0, 0])) == 3


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_sites_of_an_encoder_decoder_stand_in_running_order(family: str) -> None:
    specimen = in_double(family)
    sites = attention_sites(specimen)
    assert [(s.stack, s.kind) for s in sites] == [
        *[("encoder", "self")] * 3,
        *[("decoder", "self"), ("decoder", "cross")] * 3,
    ]
    assert [s.layer for s in sites] == [0, 1, 2, 3, 3, 4, 4, 5, 5]
    assert [s.index for s in sites] == list(range(9))
    weights, _ = read_attention(specimen, specimen.probe())
    assert [tuple(w.shape[2:]) for w in weights] == [(7, 7)] * 3 + [(3, 3), (3, 7)] * 3


@pytest.mark.parametrize("family", families.FAMILIES)
def test_without_words_only_positions_are_left(family: str) -> None:
    """Other words, the same attention; and not that to the words."""
    specimen = in_double(family)
    batch = specimen.probe()
    name = "pixel_values" if family == "vit" else "input_ids"
    other = {**batch.inputs, name: batch.inputs[name].flip(0)}
    if "decoder_input_ids" in other:
        other["decoder_input_ids"] = batch.inputs["decoder_input_ids"].flip(0)
    changed = Batch(inputs=other, row=batch.row, decoder_row=batch.decoder_row)
    silent, _ = read_attention(specimen, batch, without_words=True)
    for a, b in zip(silent, read_attention(specimen, changed, without_words=True)[0], strict=True):
        assert_equal_numbers(a, b)
    for a, b in zip(silent, read_attention(specimen, batch)[0], strict=True):
        assert not torch.equal(a, b)
    embedding: nn.Module = specimen.model.get_input_embeddings()
    assert not embedding._forward_hooks


def test_nothing_to_replay_gives_nothing() -> None:
    specimen = in_double("bert")
    batch = specimen.probe()
    vocab = families.VOCAB
    assert replay_heads(specimen, batch, torch.ones(0, 1, 3, 4)).shape == (0, 5, vocab)
    assert replay_links(specimen, batch, crop, num_sets=0).shape == (0, 5, vocab)


def test_what_does_not_fit_is_refused() -> None:
    specimen = in_double("bert")
    batch = specimen.probe()
    with pytest.raises(VesaliusError, match=r"gates of shape \[1, 1, 2, 4\]"):
        replay_heads(specimen, batch, torch.ones(1, 1, 2, 4))
    with pytest.raises(VesaliusError, match=r"gates of shape \[1, 1, 3, 3\]"):
        replay_heads(specimen, batch, torch.ones(1, 1, 3, 3))


def test_a_change_is_seen_by_the_comparison() -> None:
    """The plain forward above tells a wrong answer from a right one."""
    specimen = in_double("llama")
    batch = specimen.probe()
    gates = torch.ones(1, 1, 3, 4)
    gates[0, 0, 1, 2] = 0
    found = replay_heads(specimen, batch, gates)[0]
    wrong = forward_with(specimen, batch, lambda i, a: a * (1 - 0.999 * (i == 1)))
    with pytest.raises(AssertionError):
        assert_equal_numbers(found, wrong)


def test_a_live_model_comes_back_as_it_was() -> None:
    config = hf.BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1,
                           num_attention_heads=2, intermediate_size=16)  # fmt: skip
    model = hf.BertForMaskedLM(config).train()
    specimen = Specimen(model=model, tokenizer=None, name="live", task="masked-lm")
    batch = specimen.probe()
    before = model.config._attn_implementation
    replay_heads(specimen, batch, torch.ones(1, 1, 1, 2))
    head_sensitivity(specimen, batch, objective=objective_of(batch))
    read_attention(specimen, batch, without_words=True)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.config._attn_implementation == before
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("family", families.FAMILIES)
def test_visible_keys_are_those_with_a_probability(family: str) -> None:
    specimen = specimen_of(family)
    batch = specimen.probe()
    weights, _ = read_attention(specimen, batch)
    for seen, probability in zip(visible_keys(specimen, batch), weights, strict=True):
        assert torch.equal(seen, probability > 0)


def test_a_key_whose_probability_underflows_is_still_visible() -> None:
    specimen = specimen_of("bert")
    for block in specimen.parts.blocks:
        block.attentions[0].module.query.weight.data *= 300
    batch = specimen.probe()
    weights, _ = read_attention(specimen, batch)
    real = batch.inputs["attention_mask"].bool()[:, None, None, :]
    assert any(bool((w == 0).logical_and(real).any()) for w in weights)
    for seen in visible_keys(specimen, batch):
        assert torch.equal(seen, real.expand_as(seen))
