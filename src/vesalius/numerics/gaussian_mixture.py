"""Many restarts of one Gaussian mixture at once: expectation-maximisation as a batch.

From the same responsibilities a restart takes the steps of scikit-learn's ``GaussianMixture``: a
maximisation first, then expectation and maximisation until the mean log-likelihood changes by less
than the tolerance. Restarts that have converged leave the batch.

Operations of one iteration, R restarts, K components, n items of d numbers, counting a product and
a sum as two: with the features (x_i x_j for i <= j, x, 1), F = d(d+1)/2 + d + 1 of them, both
halves are one matrix product each, 4 n R K F; with the triangular factors applied to each item it
is 4 n R K d^2, and n R K d numbers pass through memory on the way. The first way has fewer of both,
and measures about 3 times faster. It subtracts squares of distances from the centre, so
a component that is far thinner than the data are wide would lose digits: its restart takes the
second way until it is thicker again.

Sources: Dempster, Laird & Rubin 1977, Maximum Likelihood from Incomplete Data via the EM Algorithm;
Bishop 2006, Pattern Recognition and Machine Learning, 9.2.2; scikit-learn's documentation of
GaussianMixture. The guards of :class:`MixtureOptions` are our own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vesalius.core.checks import check_count, check_word, words_of
from vesalius.core.errors import VesaliusError

CovarianceKind = Literal["full", "tied", "diag"]

_EMPTY: Final = 10 * torch.finfo(torch.float64).eps  # added to every mass, as scikit-learn does
# Of the largest array of a step. On a processor it should stay in a core's cache (up to a third
# slower at 16 MiB), elsewhere every chunk costs a launch.
_CHUNK_BYTES: Final = (4 << 20, 256 << 20)
# Smallest variance, as a share of the largest squared distance from the centre, for the products of
# squares. Rounding is at most 2e-16 / 1e-8 of a log-density; measured, parameters agree with
# scikit-learn's to 1e-11 at 1e-8, and to 1e-8 without any limit.
_THIN: Final = 1e-8
_JITTER_TRIES: Final = 40


@final
@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """How mixtures are fitted; the first four are scikit-learn's, the last two are guards.

    ``regularisation`` is added to every variance. ``min_mass`` is the least number of items that
    a component's weight is reckoned with. ``shrinkage`` counts pseudo-items that have the pooled
    covariance of all components: one with little mass takes that shape. Zero switches a guard off.
    """

    covariance: CovarianceKind = "full"
    max_iterations: int = 100
    tolerance: float = 1e-3  # nats, of the mean log-likelihood of an item
    regularisation: float = 1e-6
    min_mass: float = 0.0
    shrinkage: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning.

        Raises:
            VesaliusError: an unknown kind, no iterations, or a number below 0.
        """
        check_word("covariance", self.covariance, words_of(CovarianceKind))
        check_count("max_iterations", self.max_iterations, lowest=1, usual=100)
        usual = {"tolerance": 1e-3, "regularisation": 1e-6, "min_mass": 0, "shrinkage": 0}
        for name, value in usual.items():
            given = getattr(self, name)
            if not 0 <= given < math.inf or (name == "regularisation" and given == 0):
                raise VesaliusError(
                    given=f"{name}={given!r}",
                    expected="a finite number, at least 0 (regularisation: above 0)",
                    fix=f"use {name}={value:g}",
                )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MixtureFits:
    """The mixtures that all restarts came to.

    ``covariances`` are matrices whatever their kind. ``log_likelihood`` is the mean over items, in
    nats, at the last expectation. ``smallest_mass`` counts the items of the smallest component.
    """

    weights: Float[Tensor, "restart component"]
    means: Float[Tensor, "restart component dimension"]
    covariances: Float[Tensor, "restart component dimension dimension"]
    log_likelihood: Float[Tensor, " restart"]
    num_iterations: Int[Tensor, " restart"]
    converged: Bool[Tensor, " restart"]
    smallest_mass: Float[Tensor, " restart"]


class _Items(NamedTuple):
    """The items about their centre, and what every step needs of them."""

    centre: Tensor  # [dimension]
    columns: Tensor  # [dimension, item]
    features: Tensor  # [item, feature]
    left: Tensor  # [pair], features x_left x_right come first
    right: Tensor  # [pair]
    largest: float  # squared distance from the centre


class _Mixture(NamedTuple):
    """Parameters of some restarts; means about the items' centre."""

    weights: Tensor  # [restart, component]
    means: Tensor  # [restart, component, dimension]
    covariances: Tensor  # [restart, component, dimension, dimension]
    mass: Tensor  # [restart, component]

    def pick(self, rows: Tensor) -> "_Mixture":
        return _Mixture(*(part[rows] for part in self))


class _Moments(NamedTuple):
    """What a maximisation needs: sums over items, weighted by responsibilities."""

    mass: Tensor  # [restart, component]
    means: Tensor  # [restart, component, dimension]
    scatter: Tensor  # [restart, component, dimension, dimension], about the means


def fit_mixtures(
    items: Float[Tensor, "item dimension"],
    responsibilities: Float[Tensor, "restart item component"],
    *,
    options: MixtureOptions | None = None,
) -> MixtureFits:
    """Fit one mixture from each of the starts ``responsibilities`` [restart, item, component].

    Everything is computed in double precision on the device of ``items`` [item, dimension].

    Raises:
        VesaliusError: fewer items than components, other shapes, or numbers that are not finite.
    """
    options = options or MixtureOptions()
    _check(items, responsibilities)
    data = _prepare(items.double(), options.covariance)
    mixture = _maximise(_start(data, responsibilities, options), options)
    num_restarts = len(responsibilities)
    found = _Mixture(*(torch.empty_like(part) for part in mixture))
    log_likelihood = mixture.weights.new_full((num_restarts,), -math.inf)
    num_iterations = torch.zeros(num_restarts, dtype=torch.long, device=items.device)
    converged = torch.zeros(num_restarts, dtype=torch.bool, device=items.device)
    active = torch.arange(num_restarts, device=items.device)
    for iteration in range(1, options.max_iterations + 1):
        value, moments = _step(data, mixture, options)
        mixture = _maximise(moments, options)
        done = (value - log_likelihood[active]).abs() < options.tolerance
        log_likelihood[active], num_iterations[active], converged[active] = value, iteration, done
        leaving = done | (iteration == options.max_iterations)
        for kept, part in zip(found, mixture, strict=True):
            kept[active[leaving]] = part[leaving]
        active, mixture = active[~leaving], mixture.pick(~leaving)
        if len(active) == 0:
            break
    return MixtureFits(
        weights=found.weights,
        means=found.means + data.centre,
        covariances=found.covariances,
        log_likelihood=log_likelihood,
        num_iterations=num_iterations,
        converged=converged,
        smallest_mass=found.mass.amin(1),
    )


def log_densities(
    items: Float[Tensor, "item dimension"],
    means: Float[Tensor, "component dimension"],
    covariances: Float[Tensor, "component dimension dimension"],
) -> Float[Tensor, "item component"]:
    """Give the log-density of every item under every Gaussian, [item, component], in nats."""
    inverse, log_scale = _factor(covariances.double())
    columns = [
        ((items.double() - mean) @ factor.mT).square().sum(1)  # one at a time: bounded memory
        for mean, factor in zip(means.double(), inverse, strict=True)
    ]
    constant = items.shape[1] * math.log(2 * math.pi)
    return -0.5 * (torch.stack(columns, dim=1) + constant) - log_scale


def _prepare(items: Tensor, kind: CovarianceKind) -> _Items:
    """Centre the items and lay out their features; a diagonal kind needs only the squares."""
    centre = items.mean(0)
    values = items - centre
    dimension = values.shape[1]
    if kind == "diag":
        left = right = torch.arange(dimension, device=items.device)
    else:
        left, right = torch.triu_indices(dimension, dimension, device=items.device)
    squares = values[:, left] * values[:, right]
    features = torch.cat([squares, values, torch.ones_like(values[:, :1])], dim=1)
    largest = float(values.square().sum(1).max())
    return _Items(centre, values.mT.contiguous(), features, left, right, largest)


def _start(data: _Items, responsibilities: Tensor, options: MixtureOptions) -> _Moments:
    """Take the moments of the given responsibilities."""
    parts = [
        _centred_moments(data, responsibilities[rows].to(data.columns).mT, options)
        for rows in _chunks(data, responsibilities.shape[0], responsibilities.shape[2], wide=True)
    ]
    return _Moments(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _step(
    data: _Items, mixture: _Mixture, options: MixtureOptions
) -> tuple[Float[Tensor, " restart"], _Moments]:
    """Do one expectation: the mean log-likelihood of every restart, and the moments."""
    inverse, log_scale = _factor(mixture.covariances)
    num_restarts, num_components, dimension = mixture.means.shape
    thickness = inverse.diagonal(dim1=-2, dim2=-1).amax((1, 2)) ** -2
    thin = thickness < _THIN * data.largest
    value = mixture.weights.new_empty(num_restarts)
    moments = _Moments(
        torch.empty_like(mixture.mass),
        torch.empty_like(mixture.means),
        mixture.means.new_empty(num_restarts, num_components, dimension, dimension),
    )
    constant = mixture.weights.log() - log_scale - 0.5 * dimension * math.log(2 * math.pi)
    for wide in (False, True):
        places = torch.nonzero(thin == wide)[:, 0]
        for rows in _chunks(data, len(places), num_components, wide=wide):
            at = places[rows]
            arguments = (mixture.means[at], inverse[at], constant[at])
            density = (_centred_density if wide else _quadratic_density)(data, *arguments)
            value[at] = _normalise(density)
            make = _centred_moments if wide else _quadratic_moments
            for kept, part in zip(moments, make(data, density, options), strict=True):
                kept[at] = part
    return value, moments


def _chunks(data: _Items, total: int, num_components: int, *, wide: bool) -> Iterator[slice]:
    """Cut restarts so that the largest array of a step stays in bounds."""
    dimension, num_items = data.columns.shape
    size = _CHUNK_BYTES[data.columns.device.type != "cpu"] // (8 * num_items * num_components)
    size = max(1, size // dimension if wide else size)
    return (slice(first, first + size) for first in range(0, total, size))


def _normalise(density: Float[Tensor, "restart component item"]) -> Float[Tensor, " restart"]:
    """Turn log-densities into responsibilities in place; return the mean log-likelihood."""
    largest = density.amax(1, keepdim=True)
    total = density.sub_(largest).exp_().sum(1, keepdim=True)
    density.div_(total)
    return (largest + total.log_()).mean((1, 2))


def _quadratic_density(data: _Items, means: Tensor, inverse: Tensor, constant: Tensor) -> Tensor:
    """Log-densities [restart, component, item] as one product with the items' features."""
    precision = inverse.mT @ inverse
    linear = (precision @ means[..., None])[..., 0]
    square = precision[..., data.left, data.right] * torch.where(data.left == data.right, -0.5, -1)
    constant = constant - 0.5 * (means * linear).sum(-1)
    coefficients = torch.cat([square, linear, constant[..., None]], dim=-1)
    return (coefficients.flatten(0, 1) @ data.features.mT).view(*constant.shape, -1)


def _centred_density(data: _Items, means: Tensor, inverse: Tensor, constant: Tensor) -> Tensor:
    """Log-densities [restart, component, item], every item seen from every mean."""
    away = (inverse.flatten(0, 2) @ data.columns).view(*inverse.shape[:3], -1)
    away -= inverse @ means[..., None]
    return constant[..., None] - 0.5 * away.square_().sum(2)


def _means(data: _Items, mass: Tensor, sums: Tensor, options: MixtureOptions) -> Tensor:
    """Divide sums by masses, about the items' centre.

    An empty component has its mean at the origin of the items, as in scikit-learn. There a
    log-probability is 0, which looks like a perfect match; with guards it has it at the centre.
    """
    guarded = options.min_mass > 0 or options.shrinkage > 0
    full = (mass + _EMPTY)[..., None]
    missing = 0.0 if guarded else data.centre * (mass[..., None] / full - 1)
    return sums / full + missing


def _quadratic_moments(data: _Items, share: Tensor, options: MixtureOptions) -> _Moments:
    """Moments from one product of the responsibilities [restart, component, item]."""
    sums = (share.flatten(0, 1) @ data.features).view(*share.shape[:2], -1)
    num_pairs = len(data.left)
    mass, first = sums[..., -1], sums[..., num_pairs:-1]
    means = _means(data, mass, first, options)
    half = first - 0.5 * mass[..., None] * means
    cross = half[..., None] * means[..., None, :]
    scatter = -(cross + cross.mT)
    scatter[..., data.left, data.right] += sums[..., :num_pairs]
    scatter[..., data.right, data.left] = scatter[..., data.left, data.right]
    return _Moments(mass, means, scatter)


def _centred_moments(data: _Items, share: Tensor, options: MixtureOptions) -> _Moments:
    """Moments about the new means, item by item, from [restart, component, item]."""
    mass = share.sum(-1)
    means = _means(data, mass, share @ data.columns.mT, options)
    away = (data.columns - means[..., None]).mul_(share.sqrt()[:, :, None])
    return _Moments(mass, means, away @ away.mT)


def _maximise(moments: _Moments, options: MixtureOptions) -> _Mixture:
    """Take the parameters from the moments, with the guards that are on."""
    mass, means, scatter = moments
    full = (mass + _EMPTY)[..., None, None]
    if options.covariance == "diag":
        scatter = torch.diag_embed(scatter.diagonal(dim1=-2, dim2=-1))
    pooled = scatter.sum(1, keepdim=True) / full.sum(1, keepdim=True)
    if options.covariance == "tied":
        covariances = pooled.expand_as(scatter).clone()
    else:
        covariances = (scatter + options.shrinkage * pooled) / (full + options.shrinkage)
    covariances.diagonal(dim1=-2, dim2=-1).add_(options.regularisation)
    counted = mass.clamp(min=options.min_mass) + _EMPTY
    return _Mixture(counted / counted.sum(1, keepdim=True), means, covariances, mass)


def _factor(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Give the inverse Cholesky factors [..., d, d] and half the log-determinants [...].

    A matrix that rounding has left without a factor gets a growing multiple of the identity.
    """
    factor, failed = torch.linalg.cholesky_ex(covariances)
    jitter = torch.finfo(covariances.dtype).eps
    for _ in range(_JITTER_TRIES):
        if not failed.any():
            break
        size = covariances.diagonal(dim1=-2, dim2=-1).abs().amax(-1)
        extra = torch.where(failed > 0, jitter * size, 0.0)[..., None]
        factor, failed = torch.linalg.cholesky_ex(
            covariances + torch.diag_embed(extra.expand(covariances.shape[:-1]))
        )
        jitter *= 4
    identity = torch.eye(covariances.shape[-1], dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return inverse, factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _check(items: Tensor, responsibilities: Tensor) -> None:
    num_items, num_components = responsibilities.shape[1:]
    if len(items) != num_items or responsibilities.numel() == 0 or items.shape[1] == 0:
        raise VesaliusError(
            given=f"items {list(items.shape)}, responsibilities {list(responsibilities.shape)}",
            expected="[item, dimension] and [restart, item, component], none of them 0",
            fix="pass one start, with a row for every item, or more",
        )
    if num_items < num_components:
        raise VesaliusError(
            given=f"{num_items} items for {num_components} components",
            expected="at least one item for each component",
            fix="give more items (100 for each component serve), or fewer components",
        )
    if not (torch.isfinite(items).all() and torch.isfinite(responsibilities).all()):
        raise VesaliusError(
            given="items or responsibilities that are not finite",
            expected="finite numbers",
            fix="clip log-probabilities of -inf first",
        )
