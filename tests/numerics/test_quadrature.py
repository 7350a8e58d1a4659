"""Quadrature rules against polynomials in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from vesalius.core.errors import VesaliusError
from vesalius.numerics.quadrature import RULES, gauss_legendre, gauss_radau, rule, trapezoid

FEWEST = {name: 2 if name == "trapezoid" else 1 for name in RULES}


@pytest.mark.parametrize(
    ("name", "num_nodes"), [(name, n) for name in RULES for n in range(FEWEST[name], 65)]
)
def test_weights_sum_to_one(name: str, num_nodes: int):
    made = rule(name, num_nodes)
    assert len(made.nodes) == len(made.weights) == num_nodes
    assert abs(math.fsum(made.weights) - 1) <= 1e-14
    assert abs(sum(made.weights) - 1) <= 1e-14
    assert all(weight > 0 for weight in made.weights)
    assert all(0 <= node <= 1 for node in made.nodes)
    assert sorted(set(made.nodes)) == list(made.nodes)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("num_nodes", [2, 3, 5, 8, 20, 64])
def test_polynomials_up_to_the_degree_are_exact(name: str, num_nodes: int):
    made = rule(name, num_nodes)
    for power in range(made.degree + 1):
        assert abs(_power_error(made, power)) < 1e-13
    if num_nodes <= 8:  # beyond that the error of the next power drowns in rounding
        assert abs(_power_error(made, made.degree + 1)) > 1e-12


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=10))
def test_five_legendre_nodes_integrate_any_polynomial_of_degree_nine(coefficients: list[float]):
    made = gauss_legendre(5)
    value = math.fsum(
        weight * c * node**power
        for node, weight in zip(made.nodes, made.weights, strict=True)
        for power, c in enumerate(coefficients)
    )
    truth = math.fsum(c / (power + 1) for power, c in enumerate(coefficients))
    assert_allclose(value, truth, rtol=0, atol=1e-12)


def test_known_rules():
    """Two- and three-point rules whose nodes have closed forms."""
    half = 1 / (2 * math.sqrt(3))
    assert_allclose(gauss_legendre(2).nodes, [0.5 - half, 0.5 + half], rtol=1e-15)
    assert gauss_radau(1).nodes == (0.0,)
    assert_allclose(gauss_radau(2).nodes, [0, 2 / 3], rtol=1e-15)
    assert_allclose(gauss_radau(2).weights, [1 / 4, 3 / 4], rtol=1e-15)
    assert trapezoid(2).weights == (0.5, 0.5)


@pytest.mark.parametrize("num_nodes", [1, 5, 64])
def test_radau_starts_at_zero(num_nodes: int):
    assert gauss_radau(num_nodes).nodes[0] == 0


def test_tensors_follow_the_one_they_are_like():
    nodes, weights = gauss_legendre(3).tensors(like=torch.zeros(2, dtype=torch.float64))
    assert nodes.dtype == weights.dtype == torch.float64
    assert nodes.tolist() == list(gauss_legendre(3).nodes)


@pytest.mark.parametrize("name", RULES)
def test_too_few_nodes_are_refused(name: str):
    with pytest.raises(VesaliusError, match="num_nodes >= "):
        rule(name, FEWEST[name] - 1)


def test_an_unknown_rule_is_answered_with_the_known_ones():
    with pytest.raises(VesaliusError, match=r"simpson.*\n.*gauss_legendre, gauss_radau"):
        rule("simpson", 3)


def _power_error(made, power: int) -> float:
    pairs = zip(made.nodes, made.weights, strict=True)
    return math.fsum(weight * node**power for node, weight in pairs) - 1 / (power + 1)
