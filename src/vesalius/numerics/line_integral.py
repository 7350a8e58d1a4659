"""The integral of a gradient along a straight line, with the gap that says if it is complete.

attribution_i = (end_i - start_i) * integral over t in [0, 1] of df/dx_i at start + t (end - start).
By the fundamental theorem of calculus the attributions sum to f(end) - f(start); what is missing
is the error of the quadrature, so a caller can see it and have it reduced.

Source: Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv 1703.01365, eq. 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.numerics.quadrature import rule as find_rule

LADDER: Final = (5, 8, 16, 32)  # numbers of nodes; 5 leave 7e-10 on a saturating toy BERT
TOLERANCE: Final = 1e-3  # of |f(end) - f(start)|


@final
@dataclass(frozen=True, kw_only=True)
class LineIntegral:
    """An attribution of ``f(end) - f(start)`` and how far its sum is from that."""

    attribution: Float[Tensor, "*axes"]
    start_value: float
    end_value: float
    gap: float  # |attribution.sum() - (end_value - start_value)|
    complete: bool  # the gap is within the tolerance
    rule: str
    num_nodes: int  # of the last attempt, the one reported
    attempts: tuple[tuple[int, float], ...]  # number of nodes and gap of each, the last included


def integrate_line(
    f: Callable[[Tensor], Tensor],
    end: Float[Tensor, "*axes"],
    *,
    start: Float[Tensor, "*axes"] | None = None,
    rule: str = "gauss_legendre",
    ladder: tuple[int, ...] = LADDER,
    tolerance: float = TOLERANCE,
    batch_size: int | None = None,
) -> LineIntegral:
    """Attribute ``f(end) - f(start)`` to the entries of ``end``, shape [*axes].

    ``f`` takes points of shape [node, *axes] and gives one value each, shape [node]; a point's
    value may not depend on the others. ``start`` is zero unless given. The numbers of nodes in
    ``ladder`` are tried in turn until the gap is at most ``tolerance`` of |f(end) - f(start)|;
    ``ladder=(20,)`` asks for 20 and no refinement. ``batch_size`` limits the points per call.

    Raises:
        VesaliusError: bad options, or ``f`` gives another shape, no gradient, or no finite value.

    >>> integral = integrate_line(lambda x: (x**2).sum(-1), torch.tensor([1.0, 2.0]))
    >>> integral.attribution
    tensor([1., 4.])
    """
    start = torch.zeros_like(end) if start is None else start
    with torch.no_grad():
        ends = _call(f, torch.stack([start, end]))
    start_value, end_value = ends.double().tolist()
    change = end_value - start_value
    attempts: list[tuple[int, float]] = []
    for num_nodes in ladder:
        gradient = _mean_gradient(f, start, end, rule=rule, nodes=num_nodes, batch_size=batch_size)
        attribution = gradient * (end - start).detach()
        gap = abs(attribution.double().sum().item() - change)
        attempts.append((num_nodes, gap))
        scale = max(abs(start_value), abs(end_value), attribution.double().abs().sum().item())
        noise = rounding_noise(end.dtype) * scale
        integral = LineIntegral(
            attribution=attribution,
            start_value=start_value,
            end_value=end_value,
            gap=gap,
            complete=is_complete(gap, change=change, tolerance=tolerance, noise=noise),
            rule=rule,
            num_nodes=num_nodes,
            attempts=tuple(attempts),
        )
        if integral.complete or num_nodes == ladder[-1]:
            return integral
    raise VesaliusError(given="ladder=()", expected="numbers of nodes", fix="use ladder=(5,)")


def is_complete(gap: float, *, change: float, tolerance: float, noise: float = 0.0) -> bool:
    """Tell whether a gap is at most ``tolerance * |change|``, or no more than rounding ``noise``.

    Without the second part a function that does not change would be refined for ever.
    """
    return gap <= max(tolerance * abs(change), noise)


def rounding_noise(dtype: torch.dtype) -> float:
    """Give the relative error that sums of a floating-point type carry whatever the rule does."""
    return 8 * torch.finfo(dtype).eps  # 8: the few roundings between a value and its gradient


def refine_ladder(num_nodes: int, *, ladder: tuple[int, ...] = LADDER) -> tuple[int, ...]:
    """Give the numbers of nodes to try in turn when starting from ``num_nodes``.

    >>> refine_ladder(8)
    (8, 16, 32)
    """
    return (num_nodes, *(more for more in ladder if more > num_nodes))


def _mean_gradient(
    f: Callable[[Tensor], Tensor],
    start: Float[Tensor, "*axes"],
    end: Float[Tensor, "*axes"],
    *,
    rule: str,
    nodes: int,
    batch_size: int | None,
) -> Float[Tensor, "*axes"]:
    """Average the gradient of f over the line; sums are kept in at least single precision."""
    wide = torch.promote_types(end.dtype, torch.float32)
    t, weights = find_rule(rule, nodes).tensors(like=end.to(wide))
    total = torch.zeros_like(end, dtype=wide)
    for some_t, some_weights in zip(
        t.split(batch_size or nodes), weights.split(batch_size or nodes), strict=True
    ):
        line = some_t.view(-1, *[1] * end.dim()) * (end - start).to(wide) + start.to(wide)
        points = line.to(end.dtype).detach().requires_grad_()
        with torch.enable_grad():
            values = _call(f, points)
            total_value = values.sum()
        if not values.requires_grad:
            raise VesaliusError(
                given="a function whose value has no gradient",
                expected="a differentiable function of its argument",
                fix="remove no_grad, detach and argmax from it",
            )
        (gradients,) = torch.autograd.grad(total_value, points, materialize_grads=True)
        total += torch.tensordot(some_weights, gradients.to(wide), dims=1)
    return total


def _call(f: Callable[[Tensor], Tensor], points: Tensor) -> Float[Tensor, " node"]:
    values = f(points)
    if values.shape != points.shape[:1]:
        raise VesaliusError(
            given=f"a function that maps shape {list(points.shape)} to {list(values.shape)}",
            expected=f"one value per point, shape [{points.shape[0]}]",
            fix="sum over every axis but the first",
        )
    if not all(map(math.isfinite, values.detach().tolist())):
        raise VesaliusError(
            given=f"function values {values.detach().tolist()}",
            expected="finite numbers",
            fix="look for NaN weights or a logarithm of zero",
        )
    return values
