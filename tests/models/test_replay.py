"""Lines from other starts than zero, and many sets replayed at once: each against the plain way."""

import pytest
import torch

import definition
import families
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.neurons import neurons_replaced
from vesalius.models.objectives import token_objective
from vesalius.models.replay import replay_scaled
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.staircase import (
    StaircaseOptions,
    attribute_attention,
    attribute_neurons,
)
from vesalius.numerics.quadrature import gauss_legendre, gauss_radau


def specimen_of(family: str) -> Specimen:
    model = families.make(family, dtype=torch.float64)
    return Specimen(model=model, tokenizer=None, name=family, task=task_of(model))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_line_from_elsewhere_equals_the_definition(family: str) -> None:
    specimen = specimen_of(family)
    batch = specimen.probe()
    rule = gauss_legendre(3)
    objective = token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")
    generator = torch.Generator().manual_seed(3)
    start = [
        torch.randn(w.shape, generator=generator, dtype=w.dtype)
        for w in definition.clean_neurons(specimen, batch)
    ]
    wanted = definition.neuron_attributions(specimen, batch, objective, rule, start=start)
    for memory in (1, 2**30):
        options = StaircaseOptions(rules=(rule,), memory_bytes=memory)
        found = attribute_neurons(
            specimen, batch, objective=objective, options=options, start=start
        )
        for actual, expected in zip(found.attribution, wanted, strict=True):
            assert_equal_numbers(actual, expected)


def plainly_scaled(specimen: Specimen, batch: Batch, neurons: list, factor: float) -> torch.Tensor:
    """One forward of the whole model with one set scaled."""
    calls = specimen.plan.calls  # before the hooks: a hooked model is probed anew

    def scale(layer: int, states: torch.Tensor) -> torch.Tensor:
        states = states.clone()
        rows = batch.rows_of(calls[layer].stack)
        for k, n in neurons:
            if k == layer:
                states[torch.arange(len(rows)), rows, n] *= factor
        return states

    with torch.no_grad(), neurons_replaced(specimen.parts, scale, num_prompts=batch.num_prompts):
        return logits_row(run_model(specimen.model, batch).logits, batch)


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_sets_replayed_together_equal_whole_forwards(family: str, memory: int) -> None:
    specimen = specimen_of(family)
    batch = specimen.probe()
    top = specimen.num_layers - 1
    sets = [[(top, 3)], [(0, 1), (1, 5), (top, 3)], [], [(1, 7), (1, 8)]]
    factors = [0.0, 2.0, 5.0, -1.0]
    objective = token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")
    found = replay_scaled(
        specimen, batch, sets, factor=factors, objective=objective, memory_bytes=memory
    )
    everyone = torch.arange(batch.num_prompts)
    for number, (neurons, factor) in enumerate(zip(sets, factors, strict=True)):
        logits = plainly_scaled(specimen, batch, neurons, factor)
        assert_equal_numbers(found[number], objective(logits, everyone))


def test_what_cannot_be_replayed_is_refused() -> None:
    specimen = specimen_of("bert")
    batch = specimen.probe()
    objective = token_objective(torch.zeros(batch.num_prompts, dtype=torch.long))
    with pytest.raises(VesaliusError, match="neuron 99 of layer 0"):
        replay_scaled(specimen, batch, [[(0, 99)]], factor=0.0, objective=objective)
    with pytest.raises(VesaliusError, match="2 factors for 1 sets"):
        replay_scaled(specimen, batch, [[(0, 1)]], factor=[0.0, 1.0], objective=objective)
    with pytest.raises(VesaliusError, match="a start for 1 layers"):
        attribute_neurons(specimen, batch, objective=objective, start=[torch.zeros(5, 48)])
    assert replay_scaled(specimen, batch, [], factor=0.0, objective=objective).shape == (0, 5)


@pytest.mark.parametrize("neurons", [True, False])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "deberta-v2"])
def test_a_prompt_is_refined_in_a_batch_as_it_is_alone(family: str, neurons: bool) -> None:
    specimen = specimen_of(family)
    batch = specimen.probe()
    rules = tuple(gauss_radau(n) for n in (4, 8, 16, 32))
    # some prompts and layers need more nodes than others
    options = StaircaseOptions(rules=rules, tolerance=1e-3)
    attribute = attribute_neurons if neurons else attribute_attention
    targets = torch.arange(batch.num_prompts) % 5
    together = attribute(
        specimen,
        batch,
        objective=token_objective(targets, kind="log-probability"),
        options=options,
    )
    assert len(together.num_nodes.unique()) > 1
    for prompt in range(batch.num_prompts):
        alone = attribute(
            specimen,
            batch.select(torch.tensor([prompt])),
            objective=token_objective(targets[prompt : prompt + 1], kind="log-probability"),
            options=options,
        )
        assert torch.equal(alone.num_nodes[:, 0], together.num_nodes[:, prompt])
        assert_equal_numbers(together.logits[prompt : prompt + 1], alone.logits)
        for of_all, of_one in zip(together.attribution, alone.attribution, strict=True):
            assert_equal_numbers(of_all[prompt : prompt + 1], of_one)
