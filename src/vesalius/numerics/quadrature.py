"""Quadrature rules on the unit interval: nodes, and weights that sum to 1.

Line integrals start with Gauss-Legendre, attribution of neurons and heads with Gauss-Radau, whose
node at 0 gives F(0) with no pass of its own. Left and right Riemann sums are kept to repeat what
papers and other libraries computed, not because they are good.

Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 25.4 (formulas 25.4.30 for
Gauss-Legendre and 25.4.31 for Gauss-Radau).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from torch import Tensor

from vesalius.core.errors import VesaliusError


@final
@dataclass(frozen=True)
class Rule:
    """Nodes in [0, 1], ascending, and weights that sum to 1, both in double precision."""

    name: str
    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    degree: int  # polynomials up to this degree are integrated exactly

    def tensors(self, *, like: Tensor) -> tuple[Float[Tensor, " node"], Float[Tensor, " node"]]:
        """Give nodes and weights, each of shape [node], of the type and device of ``like``."""
        nodes, weights = (
            torch.tensor(values, dtype=like.dtype, device=like.device)
            for values in (self.nodes, self.weights)
        )
        return nodes, weights


@cache
def gauss_legendre(num_nodes: int) -> Rule:
    """Make the rule of highest degree, 2n - 1; both ends of the interval are left out.

    Raises:
        VesaliusError: ``num_nodes`` is below 1.
    """
    _check("gauss_legendre", num_nodes, at_least=1)
    nodes, weights = legendre.leggauss(num_nodes)
    return _rule("gauss_legendre", (1 + nodes) / 2, weights, degree=2 * num_nodes - 1)


@cache
def gauss_radau(num_nodes: int) -> Rule:
    """Make the rule of highest degree, 2n - 2, among those with the left end as a node.

    The free nodes are the zeros of (P[n-1] + P[n]) / (1 + x), which is a Jacobi polynomial.

    Raises:
        VesaliusError: ``num_nodes`` is below 1.
    """
    _check("gauss_radau", num_nodes, at_least=1)
    from scipy.special import eval_legendre, roots_jacobi

    free = np.asarray(roots_jacobi(num_nodes - 1, 0, 1)[0]) if num_nodes > 1 else np.empty(0)
    nodes = np.concatenate([[-1.0], free])
    weights = (1 - nodes) / (num_nodes * eval_legendre(num_nodes - 1, nodes)) ** 2
    return _rule("gauss_radau", (1 + nodes) / 2, weights, degree=2 * num_nodes - 2)


@cache
def left_riemann(num_nodes: int) -> Rule:
    """Make the rule of equal weights at 0, 1/n, ..., (n - 1)/n.

    Raises:
        VesaliusError: ``num_nodes`` is below 1.
    """
    _check("left_riemann", num_nodes, at_least=1)
    nodes = np.arange(num_nodes) / num_nodes
    return _rule("left_riemann", nodes, np.ones(num_nodes), degree=0)


@cache
def right_riemann(num_nodes: int) -> Rule:
    """Make the rule of equal weights at 1/n, 2/n, ..., 1: what most attribution papers use.

    Raises:
        VesaliusError: ``num_nodes`` is below 1.
    """
    _check("right_riemann", num_nodes, at_least=1)
    nodes = np.arange(1, num_nodes + 1) / num_nodes
    return _rule("right_riemann", nodes, np.ones(num_nodes), degree=0)


@cache
def midpoint(num_nodes: int) -> Rule:
    """Make the rule of equal weights in the middle of n equal cells; degree 1.

    Raises:
        VesaliusError: ``num_nodes`` is below 1.
    """
    _check("midpoint", num_nodes, at_least=1)
    nodes = (np.arange(num_nodes) + 0.5) / num_nodes
    return _rule("midpoint", nodes, np.ones(num_nodes), degree=1)


@cache
def trapezoid(num_nodes: int) -> Rule:
    """Make the rule of n equidistant nodes with both ends, which weigh half; degree 1.

    Raises:
        VesaliusError: ``num_nodes`` is below 2.
    """
    _check("trapezoid", num_nodes, at_least=2)
    weights = np.ones(num_nodes)
    weights[[0, -1]] = 0.5
    return _rule("trapezoid", np.linspace(0, 1, num_nodes), weights, degree=1)


RULES: Final[dict[str, Callable[[int], Rule]]] = {
    "gauss_legendre": gauss_legendre,
    "gauss_radau": gauss_radau,
    "left_riemann": left_riemann,
    "right_riemann": right_riemann,
    "midpoint": midpoint,
    "trapezoid": trapezoid,
}


def rule(name: str, num_nodes: int) -> Rule:
    """Make a rule by its name.

    Raises:
        VesaliusError: no rule has that name, or it cannot have that many nodes.

    >>> rule("trapezoid", 3).weights
    (0.25, 0.5, 0.25)
    """
    if name not in RULES:
        raise VesaliusError(
            given=f"rule={name!r}",
            expected=f"one of {', '.join(RULES)}",
            fix="use gauss_legendre, the most exact one",
        )
    return RULES[name](num_nodes)


def _rule(name: str, nodes: np.ndarray, weights: np.ndarray, *, degree: int) -> Rule:
    """Divide by the exactly rounded sum: the weights sum to 1 by construction."""
    total = math.fsum(weights)
    return Rule(name, tuple(nodes.tolist()), tuple((weights / total).tolist()), degree)


def _check(name: str, num_nodes: int, *, at_least: int) -> None:
    if num_nodes < at_least:
        raise VesaliusError(
            given=f"{name} with num_nodes={num_nodes}",
            expected=f"num_nodes >= {at_least}",
            fix="start with num_nodes=5",
        )
