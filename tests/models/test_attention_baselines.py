"""Lines of attention from other starts than zero: the definition, completeness, refinement."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import definition
import families
from helpers import assert_equal_numbers
from masking import specimen_of
from vesalius.core.errors import VesaliusError
from vesalius.models.attention_replay import read_attention
from vesalius.models.batch import Batch
from vesalius.models.climber import Climber
from vesalius.models.integrals import StaircaseOptions, complete
from vesalius.models.objectives import Objective, token_objective
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import attribute_attention
from vesalius.numerics.quadrature import gauss_legendre, gauss_radau

RULE = gauss_legendre(3)
FAST = StaircaseOptions(rules=(RULE,))


def objective_of(batch: Batch) -> Objective:
    return token_objective(torch.arange(batch.num_prompts) % 5, kind="log-probability")


def another_start(specimen: Specimen, batch: Batch) -> list[Tensor]:
    """Rows that sum to one over what can be seen, another in every head."""
    generator = torch.Generator().manual_seed(4)
    start: list[Tensor] = []
    for weights in read_attention(specimen, batch)[0]:
        other = torch.rand(weights.shape, generator=generator).to(weights) * (weights > 0)
        start.append(other / other.sum(-1, keepdim=True).clamp_min(1e-9))
    return start


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_line_from_elsewhere_equals_the_definition(family: str, dtype: torch.dtype) -> None:
    specimen = specimen_of(family, dtype, kernel="eager" if dtype == torch.float64 else "")
    batch = specimen.probe()
    objective = objective_of(batch)
    start = another_start(specimen, batch)
    wanted = definition.attention_attributions(specimen, batch, objective, RULE, start=start)
    found = attribute_attention(specimen, batch, objective=objective, options=FAST, start=start)
    for actual, expected in zip(found.attribution, wanted, strict=True):
        assert_equal_numbers(actual, expected)


@pytest.mark.parametrize("family", ["bert", "t5", "deberta-v2"])
def test_memory_changes_no_number(family: str) -> None:
    """One node of one site of one prompt at a time."""
    specimen = specimen_of(family)
    batch = specimen.probe().select(torch.tensor([0, 3]))
    start = another_start(specimen, batch)
    for rule in (gauss_radau(3), gauss_legendre(2))[: 2 if family == "bert" else 1]:
        roomy, tight, middling = (
            attribute_attention(
                specimen,
                batch,
                objective=objective_of(batch),
                options=StaircaseOptions(rules=(rule,), memory_bytes=memory),
                start=start,
            )
            for memory in (2**30, 1, 200_000)
        )
        for other in (tight, middling):
            for a, b in zip(other.attribution, roomy.attribution, strict=True):
                assert_equal_numbers(a, b)
            assert_equal_numbers(other.start_value, roomy.start_value)
            assert_equal_numbers(other.end_value, roomy.end_value)


@pytest.mark.parametrize("family", ["bert", "gpt2", "bart", "deberta-v2"])
def test_sums_are_complete_from_any_start(family: str) -> None:
    specimen = specimen_of(family, torch.float64)
    batch = specimen.probe()
    options = StaircaseOptions(rules=(gauss_radau(48),))
    for start in (None, another_start(specimen, batch)):
        found = attribute_attention(
            specimen, batch, objective=objective_of(batch), options=options, start=start
        )
        change = found.end_value - found.start_value
        sums = torch.stack([a.flatten(1).sum(1) for a in found.attribution])
        assert (change.abs() > 1e-6).any(1).all()
        torch.testing.assert_close(sums, change, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.gap, (sums - change).abs())


def test_a_line_of_no_length_attributes_nothing() -> None:
    specimen = specimen_of("bert")
    batch = specimen.probe()
    clean, _ = read_attention(specimen, batch)
    found = attribute_attention(specimen, batch, objective=objective_of(batch), start=clean)
    assert all((a == 0).all() for a in found.attribution)
    assert found.gap.max() < 1e-4


def test_another_number_of_starts_is_refused() -> None:
    specimen = specimen_of("t5")
    batch = specimen.probe()
    with pytest.raises(VesaliusError, match="a start for 2 attention sites"):
        attribute_attention(
            specimen, batch, objective=objective_of(batch), start=[torch.zeros(5, 4, 7, 7)] * 2
        )


# --- refinement, on lines whose integrals are known


def integrated(
    monkeypatch: pytest.MonkeyPatch, slopes: list[Any], values: list[Any], tolerance: float = 1e-3
) -> Any:
    """Integrate lines t -> value(t) with the rules of attention."""
    rules = tuple(gauss_radau(n) for n in (8, 16, 32))
    options = StaircaseOptions(rules=rules, tolerance=tolerance)
    ends = torch.tensor([v(1.0) for v in values], dtype=torch.float64).unsqueeze(1)

    def take(_self: Any, sites: list[Any], rule: Any, prompts: Tensor) -> Any:
        found = torch.zeros(len(values), 1, dtype=torch.float64)
        at_nodes = torch.zeros(len(sites), len(rule.nodes), len(prompts), dtype=torch.float64)
        for column, prompt in enumerate(prompts.tolist()):
            pairs = zip(rule.nodes, rule.weights, strict=True)
            found[prompt, 0] = sum(w * slopes[prompt](t) for t, w in pairs)
            at_nodes[0, :, column] = torch.tensor([values[prompt](t) for t in rule.nodes])
        return [found], at_nodes

    monkeypatch.setattr(Climber, "_rule", take)
    climber = object.__new__(Climber)
    ladder = SimpleNamespace(
        batch=SimpleNamespace(num_prompts=len(values)),
        logits=ends,
        calls=[SimpleNamespace(hidden=ends)],
    )
    for name, value in {
        "plan": None,
        "ladder": ladder,
        "objective": lambda logits, prompt: logits[prompt, 0],
        "options": options,
    }.items():
        object.__setattr__(climber, name, value)
    site = SimpleNamespace(name="line", shown=ends.view(-1, 1, 1, 1))
    return Climber.integrate(climber, [site])


def judged(found: Any, tolerance: float = 1e-3) -> list[bool]:
    return complete(
        found.gap[0],
        end_value=found.end_value,
        start_value=found.start_value[0],
        attribution=found.attribution[0],
        tolerance=tolerance,
        dtype=torch.float64,
    ).tolist()


def logistic(steep: float, middle: float) -> tuple[Any, Any]:
    def value(t: float) -> float:
        return 1 / (1 + math.exp(-steep * (t - middle)))

    return value, lambda t: steep * value(t) * (1 - value(t))


@pytest.mark.usefixtures("as_users_call_it")
def test_no_smooth_line_is_given_up_that_the_next_rule_completes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps of any steepness, anywhere on the line."""
    lines = [logistic(k, m) for k in np.geomspace(0.5, 60, 30) for m in np.linspace(-0.2, 1.2, 29)]
    values, slopes = zip(*lines, strict=True)
    found = integrated(monkeypatch, list(slopes), list(values))
    several = 0
    for number, whole in enumerate(judged(found)):
        change = values[number](1) - values[number](0)
        gaps = {n: abs(_sum(n, slopes[number]) - change) for n in (8, 16, 32)}
        enough = [n for n, gap in gaps.items() if gap <= 1e-3 * abs(change)]
        assert whole or not enough
        if enough:
            # earlier where rounding is all that is missing
            assert int(found.num_nodes[0, number]) <= enough[0]
            several += enough[0] == 32
    assert several > 20


def _sum(num_nodes: int, slope: Any) -> float:
    rule = gauss_radau(num_nodes)
    return sum(w * slope(t) for t, w in zip(rule.nodes, rule.weights, strict=True))


@pytest.mark.usefixtures("as_users_call_it")
def test_a_rough_line_is_given_up_and_not_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 nodes miss nearly as much as 8; a smooth prompt beside it goes on."""
    value, slope = logistic(30.0, 0.2)
    rough = _by_rule({8: 0.3, 16: 0.25, 32: 0.0})
    found = integrated(monkeypatch, [rough, slope], [lambda t: t, value])
    assert judged(found) == [False, True]
    assert float(found.gap[0, 0]) == pytest.approx(0.25)
    assert found.num_nodes[0].tolist() == [16, 32]


@pytest.mark.usefixtures("as_users_call_it")
def test_a_gap_that_happens_to_be_small_gives_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 nodes are nearly right by luck, 16 are not, 32 are: the line is smooth."""
    missing = {8: 0.002, 16: 0.004, 32: 1e-6}
    found = integrated(monkeypatch, [_by_rule(missing)], [lambda t: t])
    assert judged(found) == [True]
    assert int(found.num_nodes) == 32


def _by_rule(missing: dict[int, float]) -> Any:
    """A slope whose mean under the rule of n nodes is 1 + missing[n]."""
    places = {t: n for n in (8, 16, 32) for t in gauss_radau(n).nodes if t > 0}
    share = {n: 1 - gauss_radau(n).weights[gauss_radau(n).nodes.index(0.0)] for n in (8, 16, 32)}
    return lambda t: 1.0 if t == 0 else 1.0 + missing[places[t]] / share[places[t]]


def test_one_rule_is_never_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    specimen = specimen_of("bert")
    batch = specimen.probe()
    options = replace(FAST, rules=(gauss_radau(2),))
    found = attribute_attention(specimen, batch, objective=objective_of(batch), options=options)
    assert found.num_nodes.unique().tolist() == [2]
