"""The staircase equals the papers' definitions on every family, padded or not, fast or plain."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import definition
import families
from helpers import assert_equal_numbers
from vesalius.models.batch import Batch
from vesalius.models.objectives import Objective, token_objective
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.staircase import (
    Staircase,
    StaircaseOptions,
    attribute_attention,
    attribute_neurons,
)
from vesalius.numerics.quadrature import gauss_legendre, gauss_radau, left_riemann

RULE = gauss_legendre(3)
FAST = StaircaseOptions(rules=(RULE,))
PLAIN = StaircaseOptions(rules=(RULE,), shortcuts=False, memory_bytes=1)


def specimen_of(family: str, dtype: torch.dtype = torch.float32, *, kernel: str = "") -> Specimen:
    model = families.make(family, dtype=dtype)
    if kernel:
        model.set_attn_implementation(kernel)
    return Specimen(model=model, tokenizer=None, name=family, task=task_of(model))


def objective_of(batch: Batch) -> Objective:
    return token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")


def assert_same(actual: tuple[Tensor, ...], wanted: list[Tensor]) -> None:
    for a, w in zip(actual, wanted, strict=True):
        assert_equal_numbers(a, w)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_neurons_equal_the_definition(family: str, dtype: torch.dtype) -> None:
    specimen = specimen_of(family, dtype)
    batch = specimen.probe()
    objective = objective_of(batch)
    wanted = definition.neuron_attributions(specimen, batch, objective, RULE)
    fast = attribute_neurons(specimen, batch, objective=objective, options=FAST)
    plain = attribute_neurons(specimen, batch, objective=objective, options=PLAIN)
    assert_same(fast.attribution, wanted)
    assert_same(plain.attribution, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_attention_equals_the_definition(family: str, dtype: torch.dtype) -> None:
    # the definition is eager, and some eager classes take the softmax in single precision
    specimen = specimen_of(family, dtype, kernel="eager" if dtype == torch.float64 else "")
    batch = specimen.probe()
    objective = objective_of(batch)
    wanted = definition.attention_attributions(specimen, batch, objective, RULE)
    fast = attribute_attention(specimen, batch, objective=objective, options=FAST)
    plain = attribute_attention(specimen, batch, objective=objective, options=PLAIN)
    assert_same(fast.attribution, wanted)
    assert_same(plain.attribution, wanted)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_shortcuts_are_found_where_they_exist(family: str) -> None:
    plan = specimen_of(family).plan
    assert not plan.unclimbable
    assert plan.seam == ("softmax" if family == "deberta-v2" else "registry")
    assert set(plan.splits) == {part.name for part in plan.calls}
    assert plan.tail == ("first row" if family == "vit" else "any row")
    assert plan.row_top == (family not in ("deberta-v2", "t5", "bart"))
    assert plan.last_row == (family in families.CAUSAL)


@pytest.mark.parametrize("family", [f for f in families.FAMILIES if f != "vit"])
def test_padding_and_company_are_invisible(family: str) -> None:
    """The padded prompt of the probe gives the same numbers alone, without its padding."""
    specimen = specimen_of(family)
    batch = specimen.probe()
    mask = batch.inputs["attention_mask"][0].bool()
    first = torch.tensor([0])
    alone = batch.select(first)
    inputs = {
        name: value if name.startswith("decoder_") else value[:, mask]
        for name, value in alone.inputs.items()
    }
    shift = int((~mask).sum()) if family in families.CAUSAL else 0
    alone = replace(alone, inputs=inputs, row=alone.row - shift)
    together = _all(specimen, batch)
    apart = _all(specimen, alone)
    for whole, single in zip(together, apart, strict=True):
        real = whole[:1]
        if real.dim() == 4 and real.shape != single.shape:
            real = real[:, :, mask] if real.shape[2] == len(mask) else real
            real = real[..., mask] if real.shape[3] == len(mask) else real
        assert_equal_numbers(real, single)


def _all(specimen: Specimen, batch: Batch) -> list[Tensor]:
    objective = objective_of(batch)
    neurons = attribute_neurons(specimen, batch, objective=objective, options=FAST)
    attention = attribute_attention(specimen, batch, objective=objective, options=FAST)
    return [*neurons.attribution, *attention.attribution]


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_memory_changes_no_number(family: str) -> None:
    specimen = specimen_of(family)
    batch = specimen.probe()
    objective = objective_of(batch)
    roomy = attribute_neurons(specimen, batch, objective=objective, options=FAST)
    tight = attribute_neurons(
        specimen, batch, objective=objective, options=replace(FAST, memory_bytes=30_000)
    )
    assert_same(tight.attribution, list(roomy.attribution))
    assert_equal_numbers(tight.start_value, roomy.start_value)


def test_sums_are_complete_and_refinement_is_reported() -> None:
    specimen = specimen_of("bert", torch.float64)
    batch = specimen.probe()
    found = attribute_neurons(specimen, batch, objective=objective_of(batch))
    change = (found.end_value - found.start_value).abs()
    assert (found.gap <= 1e-3 * change + 1e-12).all()
    assert set(found.num_nodes.unique().tolist()) <= {5, 8, 16, 32}
    coarse = attribute_neurons(
        specimen,
        batch,
        objective=objective_of(batch),
        options=StaircaseOptions(rules=(left_riemann(2),)),
    )
    assert coarse.gap.max() > found.gap.max()  # the gap tells a bad rule from a good one


def test_radau_takes_the_start_value_from_its_own_first_node() -> None:
    specimen = specimen_of("bert", torch.float64)
    batch = specimen.probe()
    objective = objective_of(batch)
    radau = attribute_neurons(
        specimen, batch, objective=objective, options=StaircaseOptions(rules=(gauss_radau(9),))
    )
    legendre = attribute_neurons(
        specimen, batch, objective=objective, options=StaircaseOptions(rules=(gauss_legendre(9),))
    )
    torch.testing.assert_close(radau.start_value, legendre.start_value)
    assert (radau.gap < 1e-2).all()


def test_a_live_model_comes_back_as_it_was() -> None:
    model = families.make("llama").train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    implementation = model.config._attn_implementation
    specimen = Specimen(model=model, tokenizer=None, name="live", task="causal-lm")
    _all(specimen, specimen.probe())
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.config._attn_implementation == implementation
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not any("forward" in m.__dict__ for m in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_half_precision_runs_and_stays_near() -> None:
    wide, half = specimen_of("bert"), specimen_of("bert", torch.bfloat16)
    batch = wide.probe()
    a = _neurons(wide, batch)
    b = _neurons(half, batch)
    for x, y in zip(a.attribution, b.attribution, strict=True):
        assert y.dtype == torch.float32
        assert (x - y).abs().sum() < 0.2 * x.abs().sum()  # bf16 keeps 8 bits


def test_half_precision_is_not_refined_on_its_own_rounding() -> None:
    specimen = specimen_of("bert", torch.bfloat16)
    batch = specimen.probe()
    found = attribute_neurons(specimen, batch, objective=objective_of(batch))
    wide = specimen_of("bert")
    same = attribute_neurons(wide, batch, objective=objective_of(batch))
    assert found.num_nodes.sum() <= same.num_nodes.sum()


def _neurons(specimen: Specimen, batch: Batch) -> Staircase:
    return attribute_neurons(specimen, batch, objective=objective_of(batch), options=FAST)
