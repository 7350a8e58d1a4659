"""Passes that skip the blocks below give the whole pass's numbers, on every family."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import families
from helpers import assert_equal_numbers
from masking import specimen_of
from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.ladder import run_model
from vesalius.models.lower_cache import LowerCache
from vesalius.models.specimen import Specimen


def logits(specimen: Specimen, batch: Batch | None = None) -> Tensor:
    with torch.no_grad():
        return run_model(specimen.model, batch or specimen.probe()).logits


def change(specimen: Specimen, layers: range, *, seed: int) -> None:
    """Move the weights of some blocks by half of what they are made of."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers:
            for parameter in specimen.parts.blocks[layer].module.parameters():
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.add_(noise, alpha=0.1)


def other_batch(specimen: Specimen) -> Batch:
    """The probe's prompts backwards: another input of the same shapes."""
    batch = specimen.probe()
    return batch.select(torch.arange(batch.num_prompts - 1, -1, -1))


CACHED = tuple(family for family in families.FAMILIES if family != "albert")


@pytest.mark.parametrize("family", CACHED)
def test_equals_the_whole_pass_after_changes_above(family: str) -> None:
    specimen = specimen_of(family)
    num_blocks = len(specimen.parts.blocks)
    before = logits(specimen)
    for layer in range(1, num_blocks + 1):
        with LowerCache(specimen, from_layer=layer) as cache:
            assert cache.active, cache.reason
            with cache.of("a"):
                assert torch.equal(logits(specimen), logits_again := logits(specimen))
            change(specimen, range(layer, num_blocks), seed=layer)
            whole = logits(specimen)
            with cache.of("a"):
                assert torch.equal(logits(specimen), whole)
            assert cache.num_skipped == layer
        assert logits_again.shape == before.shape
    assert not torch.equal(before, logits(specimen))


@pytest.mark.parametrize("family", CACHED)
def test_a_sweep_over_single_blocks_goes_up_by_one(family: str) -> None:
    specimen = specimen_of(family)
    num_blocks = len(specimen.parts.blocks)
    own = {n: p.detach().clone() for n, p in specimen.model.named_parameters()}
    with LowerCache(specimen, from_layer=0) as cache:
        for layer in range(num_blocks):
            change(specimen, range(layer, layer + 1), seed=layer)
            whole = logits(specimen)
            with cache.of(0, from_layer=layer):
                assert torch.equal(logits(specimen), whole)
            specimen.model.load_state_dict(own, strict=False)
        # block k was begun at block k - 1, whose input was kept before
        assert cache.num_skipped == sum(range(num_blocks - 1))


def test_a_skipped_block_does_not_run() -> None:
    specimen = specimen_of("bert")
    calls: list[int] = []
    for index, part in enumerate(specimen.parts.blocks):
        part.feed_forward.module.register_forward_hook(lambda *_, i=index: calls.append(i))
    with LowerCache(specimen, from_layer=2) as cache:
        for wanted in ([0, 1, 2], [2]):
            calls.clear()
            with cache.of("a"):
                logits(specimen)
            assert calls == wanted


def test_shared_blocks_are_not_cached() -> None:
    specimen = specimen_of("albert")
    with LowerCache(specimen, from_layer=1) as cache:
        assert not cache.active
        assert "once each" in cache.reason
        with cache.of("a"):
            assert torch.equal(logits(specimen), logits(specimen))
        assert cache.num_skipped == cache.held_bytes == 0


def test_a_model_that_reads_a_lower_block_is_not_cached() -> None:
    """A head on the mean of all blocks: found by the probe, not by name."""
    specimen = specimen_of("bert")
    seen: list[Tensor] = []
    for block in specimen.model.bert.encoder.layer:
        block.register_forward_hook(lambda _m, _a, out: seen.append(out))

    def mixed(_module: nn.Module, args: Any) -> Any:
        states = [s if isinstance(s, Tensor) else s[0] for s in seen]
        seen.clear()
        return (torch.stack(states).mean(0), *args[1:])

    specimen.model.cls.register_forward_pre_hook(mixed)
    with LowerCache(specimen, from_layer=1) as cache:
        assert cache.active  # the one block below hands on its own output
    with LowerCache(specimen, from_layer=2) as cache:
        assert "changes its logits" in cache.reason
        with cache.of("a"):
            logits(specimen)
        assert cache.held_bytes == 0


def test_gradients_of_the_upper_blocks_are_those_of_the_whole_pass() -> None:
    specimen = specimen_of("gpt2")
    batch = specimen.probe()
    upper = list(specimen.parts.blocks[2].module.parameters())
    wanted = torch.autograd.grad(run_model(specimen.model, batch).logits.sum(), upper)
    with LowerCache(specimen, from_layer=2) as cache:
        for _ in range(2):
            with cache.of("a"):
                found = torch.autograd.grad(run_model(specimen.model, batch).logits.sum(), upper)
            for one, other in zip(found, wanted, strict=True):
                assert_equal_numbers(one, other)


def test_several_passes_under_one_key_are_told_apart() -> None:
    specimen = specimen_of("roberta")
    batches = [specimen.probe(), other_batch(specimen)]
    with LowerCache(specimen, from_layer=2) as cache:
        for turn in range(2):
            wanted = [logits(specimen, batch) for batch in batches]
            with cache.of("both"):
                found = [logits(specimen, batch) for batch in batches]
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)
            assert cache.num_skipped == 4 * turn


def test_what_does_not_fit_runs_whole() -> None:
    specimen = specimen_of("bert")
    size = specimen.probe().inputs["input_ids"].numel() * 32 * 4
    with LowerCache(specimen, from_layer=2, memory_bytes=2 * size) as cache:
        for turn in range(2):
            for key in range(4):
                with cache.of(key):
                    assert torch.equal(logits(specimen), logits(specimen))
            assert cache.held_bytes == 2 * size
            # within a key the second pass has a place of its own, so that one key fills the room
            assert cache.num_skipped == 4 * turn
    assert cache.held_bytes == 0


def test_hidden_states_and_training_run_whole() -> None:
    specimen = specimen_of("bert")
    inputs = specimen.probe().inputs
    with LowerCache(specimen, from_layer=3) as cache, torch.no_grad():
        with cache.of("a"):
            specimen.model(**inputs)
        wanted = specimen.model(**inputs, output_hidden_states=True).hidden_states
        with cache.of("a"):
            found = specimen.model(**inputs, output_hidden_states=True).hidden_states
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        specimen.model.train()
        with cache.of("a"):
            specimen.model(**inputs)
        assert cache.num_skipped == 0
        specimen.model.eval()
        with cache.of("a"):
            specimen.model.bert(**inputs)
        assert cache.num_skipped == 3


def test_forwards_and_hooks_are_as_before_also_after_an_exception() -> None:
    specimen = specimen_of("gpt2")
    block = specimen.parts.blocks[0].module
    own = block.forward
    block.forward = lambda *args, **kwargs: own(*args, **kwargs)
    kept = block.__dict__["forward"]
    with LowerCache(specimen, from_layer=2) as cache:
        with pytest.raises(IndexError), cache.of("a"):
            specimen.model(input_ids=torch.zeros(2, 100, dtype=torch.long))  # longer than it reads
        assert block.__dict__["forward"] is kept
        assert "forward" not in specimen.parts.blocks[1].module.__dict__
        with cache.of("a"):
            assert torch.equal(logits(specimen), logits(specimen))
    hooks = [(m._forward_pre_hooks, m._forward_hooks) for m in specimen.model.modules()]
    assert not any(before or after for before, after in hooks)


def test_other_inputs_under_a_key_are_refused() -> None:
    specimen = specimen_of("bert")
    with LowerCache(specimen, from_layer=1) as cache:
        with cache.of("a"):
            logits(specimen)
        with pytest.raises(VesaliusError, match="other inputs"), cache.of("a"):
            logits(specimen, other_batch(specimen))


def test_changed_lower_weights_are_refused() -> None:
    specimen = specimen_of("bert")
    with LowerCache(specimen, from_layer=2) as cache:
        with cache.of("a"):
            logits(specimen)
        change(specimen, range(1, 2), seed=0)
        with pytest.raises(VesaliusError, match="changed weights of block 1"), cache.of("a"):
            logits(specimen)
    embeddings = specimen.model.bert.embeddings
    with LowerCache(specimen, from_layer=2) as cache:
        with cache.of("a"):
            logits(specimen)
        with torch.no_grad():
            embeddings.LayerNorm.bias.add_(0.1)
        with pytest.raises(VesaliusError, match="other embeddings"), cache.of("a"):
            logits(specimen)


def test_from_block_zero_any_module_runs_as_it_is() -> None:
    specimen = Specimen(model=nn.Linear(3, 2), tokenizer=None, name="map", task="classifier")
    with LowerCache(specimen, from_layer=0) as cache, cache.of("a"):
        assert specimen.model(torch.zeros(1, 3)).shape == (1, 2)
    assert not specimen.model._forward_pre_hooks


def test_wrong_use_is_refused() -> None:
    specimen = specimen_of("bert")
    for layer in (-1, 4):
        with pytest.raises(VesaliusError, match=f"from_layer={layer}"):
            LowerCache(specimen, from_layer=layer)
    cache = LowerCache(specimen, from_layer=1)
    assert not cache.active
    with pytest.raises(VesaliusError, match="not open"), cache.of("a"):
        pass
    with cache, cache.of("a"), pytest.raises(VesaliusError, match="in use"), cache.of("b"):
        pass
