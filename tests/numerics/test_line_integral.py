"""Line integrals against closed forms, and the completeness gap against its definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.numerics.line_integral import (
    LADDER,
    integrate_line,
    is_complete,
    refine_ladder,
)
from vesalius.numerics.quadrature import RULES

F64 = torch.float64
VECTORS = st.lists(st.floats(-3, 3), min_size=3, max_size=3).map(
    lambda numbers: torch.tensor(numbers, dtype=F64)
)


@given(VECTORS, VECTORS)
def test_a_linear_function_gives_weight_times_change(start: torch.Tensor, end: torch.Tensor):
    weight = torch.tensor([2.0, -1.0, 0.5], dtype=F64)
    integral = integrate_line(lambda x: x @ weight, end, start=start)
    torch.testing.assert_close(integral.attribution, weight * (end - start), rtol=1e-13, atol=1e-13)
    assert integral.complete
    assert integral.num_nodes == 5


def test_a_product_shares_its_value_equally():
    """Of x*y from the origin, each factor gets half: integral of y*t times x."""
    integral = integrate_line(lambda p: p[:, 0] * p[:, 1], torch.tensor([3.0, 7.0], dtype=F64))
    assert_equal_numbers(integral.attribution, torch.tensor([10.5, 10.5], dtype=F64))
    assert integral.start_value == 0
    assert integral.end_value == 21


@given(VECTORS)
def test_attributions_sum_to_the_change_up_to_the_gap(end: torch.Tensor):
    mix = torch.randn(3, 4, dtype=F64, generator=torch.Generator().manual_seed(1))
    integral = integrate_line(lambda x: torch.tanh(x @ mix).square().sum(-1), end)
    change = integral.end_value - integral.start_value
    assert abs(abs(integral.attribution.sum().item() - change) - integral.gap) < 1e-14
    assert integral.complete
    assert integral.gap <= max(1e-3 * abs(change), 1e-12)


def test_refinement_climbs_until_the_gap_is_small_and_says_so():
    def steep(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(40 * (x.sum(-1) - 0.3))

    end = torch.tensor([0.5, 0.5], dtype=F64)
    integral = integrate_line(steep, end)
    assert [nodes for nodes, _ in integral.attempts] == [5, 8, 16, 32]
    assert integral.complete
    assert integral.gap == integral.attempts[-1][1] < integral.attempts[0][1]
    once = integrate_line(steep, end, ladder=(5,))
    assert not once.complete
    assert once.attempts == integral.attempts[:1]
    assert integrate_line(steep, end, tolerance=10.0).num_nodes == 5


def test_a_constant_function_is_complete_at_once():
    integral = integrate_line(lambda x: 0 * x.sum(-1) + 1, torch.ones(4))
    assert (integral.attribution == 0).all()
    assert integral.complete
    assert integral.num_nodes == 5


def test_batches_of_points_change_nothing():
    end = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(2))
    whole = integrate_line(lambda x: x.sin().flatten(1).sum(1), end, ladder=(20,))
    parts = integrate_line(lambda x: x.sin().flatten(1).sum(1), end, ladder=(20,), batch_size=3)
    assert_equal_numbers(parts.attribution, whole.attribution)
    assert_equal_numbers(whole.attribution, end.sin())  # no interaction: each its own change


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_converges_to_the_same_integral(rule: str):
    end = torch.tensor([1.0, 2.0], dtype=F64)
    integral = integrate_line(lambda x: x.prod(-1).exp(), end, rule=rule, ladder=(400,))
    fine = integrate_line(lambda x: x.prod(-1).exp(), end, ladder=(64,))
    torch.testing.assert_close(integral.attribution, fine.attribution, rtol=2e-2, atol=0)


def test_half_precision_is_summed_in_single():
    end = torch.linspace(-1, 1, 8).to(torch.bfloat16)
    integral = integrate_line(lambda x: x.float().square().sum(-1), end)
    torch.testing.assert_close(integral.attribution, end.float().square(), rtol=1e-2, atol=1e-6)


def test_it_works_under_no_grad_and_leaves_its_inputs_alone():
    end = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        integral = integrate_line(lambda x: x.square().sum(-1), end)
    assert not integral.attribution.requires_grad
    assert end.grad is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ladder": ()}, "ladder"),
        ({"rule": "simpson"}, "simpson"),
        ({"f": lambda x: x}, "one value per point"),
        ({"f": lambda x: x.detach().sum(-1)}, "no gradient"),
        ({"f": lambda x: x.sum(-1).log() * 0}, "finite"),
    ],
)
def test_mistakes_are_named(options: dict, match: str):
    f = options.pop("f", lambda x: x.sum(-1))
    with pytest.raises(VesaliusError, match=match):
        integrate_line(f, torch.ones(2), **options)


def test_ladders_and_completeness():
    assert refine_ladder(5) == LADDER
    assert refine_ladder(20) == (20, 32)
    assert refine_ladder(64) == (64,)
    assert is_complete(1e-3, change=-1.0, tolerance=1e-3)
    assert not is_complete(1.1e-3, change=1.0, tolerance=1e-3)
    assert not is_complete(1e-9, change=0.0, tolerance=1e-3)
    assert is_complete(1e-9, change=0.0, tolerance=1e-3, noise=1e-8)
    assert not is_complete(float("nan"), change=1.0, tolerance=1e-3)
