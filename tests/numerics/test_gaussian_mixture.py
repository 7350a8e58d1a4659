"""Batched mixtures against scikit-learn, restart by restart, and their guards in closed form."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import log_softmax
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from vesalius.core.errors import VesaliusError
from vesalius.numerics import gaussian_mixture
from vesalius.numerics.gaussian_mixture import MixtureOptions, fit_mixtures, log_densities
from vesalius.numerics.mixture_seeds import hard_responsibilities, refine_labels, seed_labels

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")


class GivenStart(GaussianMixture):
    """scikit-learn's mixture from responsibilities of ours."""

    def _initialize_parameters(self, X, random_state, **more):
        self._initialize(X, self.start, **more)


def log_probs(num_labels: int, num_items: int, *, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Log-probabilities around one prototype per label; a large scale saturates them."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_labels, size=num_items)
    logits = 2 * np.eye(num_labels)[labels] + generator.normal(size=(num_items, num_labels))
    return log_softmax(scale * logits, axis=1)


def starts(items: np.ndarray, num_components: int, num_restarts: int, *, seed: int = 0):
    """Half from k-means, half soft and random: [restart, item, component]."""
    generator = np.random.default_rng(seed)
    values = torch.from_numpy(items)
    options = {"num_components": num_components, "num_restarts": num_restarts}
    labels = refine_labels(
        values,
        seed_labels(values, **options, generator=generator),
        num_components=num_components,
    )
    hard = hard_responsibilities(labels, num_components=num_components)
    soft = generator.dirichlet(np.full(num_components, 0.3), size=(num_restarts, len(items)))
    return torch.where(torch.arange(num_restarts)[:, None, None] % 2 == 0, hard, torch.tensor(soft))


def matrices(mixture: GaussianMixture) -> np.ndarray:
    """Covariances [component, dimension, dimension], whatever the kind."""
    found = mixture.covariances_
    if mixture.covariance_type == "diag":
        return np.stack([np.diag(row) for row in found])
    if mixture.covariance_type == "tied":
        return np.stack([found] * mixture.n_components)
    return found


@pytest.mark.parametrize(
    ("num_labels", "num_items", "scale", "kind"),
    [
        (2, 150, 1.0, "full"),
        (2, 150, 8.0, "full"),
        (4, 300, 1.0, "full"),
        (4, 300, 6.0, "full"),
        (4, 300, 1.0, "tied"),
        (4, 300, 1.0, "diag"),
        (9, 400, 3.0, "full"),
    ],
)
def test_every_restart_is_that_of_scikit_learn(num_labels, num_items, scale, kind):
    """From the same responsibilities: as many iterations, the same numbers."""
    items = log_probs(num_labels, num_items, scale=scale)
    responsibilities = starts(items, num_labels, 6)
    ours = fit_mixtures(
        torch.from_numpy(items), responsibilities, options=MixtureOptions(covariance=kind)
    )
    counts = set()
    for restart, start in enumerate(responsibilities.numpy()):
        theirs = GivenStart(num_labels, covariance_type=kind)
        theirs.start = start
        theirs.fit(items)
        assert ours.num_iterations[restart] == theirs.n_iter_
        assert bool(ours.converged[restart]) == theirs.converged_
        counts.add(theirs.n_iter_)
        close = {"rtol": 1e-8, "atol": 1e-8}
        assert_allclose(ours.means[restart], theirs.means_, **close)
        assert_allclose(ours.covariances[restart], matrices(theirs), **close)
        assert_allclose(ours.weights[restart], theirs.weights_, **close)
        assert_allclose(ours.log_likelihood[restart], theirs.lower_bound_, **close)
    assert len(counts) > 1, "restarts should leave the batch at different times"


def test_the_limit_of_iterations_is_that_of_scikit_learn():
    items = log_probs(3, 200)
    responsibilities = starts(items, 3, 2)
    options = MixtureOptions(max_iterations=3, tolerance=1e-12)
    ours = fit_mixtures(torch.from_numpy(items), responsibilities, options=options)
    theirs = GivenStart(3, max_iter=3, tol=1e-12)
    theirs.start = responsibilities[1].numpy()
    theirs.fit(items)
    assert not theirs.converged_
    assert not ours.converged.any()
    assert ours.num_iterations.tolist() == [3, 3]
    assert_allclose(ours.means[1], theirs.means_, rtol=1e-10)


def test_both_ways_to_the_densities_agree(monkeypatch):
    """Products of squares, and items seen from their means one by one."""
    items = torch.from_numpy(log_probs(4, 200))
    responsibilities = starts(items.numpy(), 4, 4)
    found = []
    for thin in (0.0, math.inf):
        monkeypatch.setattr(gaussian_mixture, "_THIN", thin)
        found.append(fit_mixtures(items, responsibilities))
    assert torch.equal(found[0].num_iterations, found[1].num_iterations)
    assert_allclose(found[0].covariances, found[1].covariances, rtol=1e-9, atol=1e-12)


def test_a_restart_does_not_feel_the_others(monkeypatch):
    items = torch.from_numpy(log_probs(3, 120))
    responsibilities = starts(items.numpy(), 3, 5)
    together = fit_mixtures(items, responsibilities)
    monkeypatch.setattr(gaussian_mixture, "_CHUNK_BYTES", (1, 1))  # one restart at a time
    for restart in range(5):
        alone = fit_mixtures(items, responsibilities[restart : restart + 1])
        assert alone.num_iterations[0] == together.num_iterations[restart]
        assert_allclose(alone.means[0], together.means[restart], rtol=1e-10)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_the_likelihood_never_falls(kind):
    items = torch.from_numpy(log_probs(3, 150))
    responsibilities = starts(items.numpy(), 3, 4)
    values = torch.stack(
        [
            fit_mixtures(
                items,
                responsibilities,
                options=MixtureOptions(covariance=kind, max_iterations=count, tolerance=0.0),
            ).log_likelihood
            for count in (1, 2, 3, 5, 10)
        ]
    )
    assert (values.diff(dim=0) > -1e-6).all()  # the regularisation costs as much


def test_densities_are_those_of_the_normal_distribution():
    generator = np.random.default_rng(0)
    items, means = generator.normal(size=(7, 3)), generator.normal(size=(2, 3))
    roots = generator.normal(size=(2, 3, 3))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(3)
    wanted = [
        multivariate_normal(m, c).logpdf(items) for m, c in zip(means, covariances, strict=True)
    ]
    found = log_densities(*map(torch.from_numpy, (items, means, covariances)))
    assert_allclose(found, np.stack(wanted, axis=1), rtol=1e-10)


def awkward(name: str) -> np.ndarray:
    """Items on which a mixture could break down."""
    corners = np.array([[-1e-12, -40.0, -40.0], [-40.0, -1e-12, -40.0], [-40.0, -40.0, -1e-12]])
    return {
        "all alike": np.tile(np.log([[0.2, 0.3, 0.5]]), (20, 1)),
        "saturated": np.repeat(corners, 10, axis=0),
        "one class absent": np.repeat(corners[:2], 10, axis=0),
        "as few as components": corners,
        "one far away": np.concatenate([np.tile(corners[:1], (20, 1)), corners[1:2]]),
        "wide": 1e5 * np.random.default_rng(0).normal(size=(20, 3)),
        "on a line": np.linspace(-5, -1, 20)[:, None] * np.ones(3),
    }[name]


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "all alike",
        "saturated",
        "one class absent",
        "as few as components",
        "one far away",
        "wide",
        "on a line",
    ],
)
def test_nothing_breaks_down(name, guarded, kind):
    items = torch.from_numpy(awkward(name))
    guards = {"min_mass": 1.0, "shrinkage": 6.0} if guarded else {}
    fits = fit_mixtures(
        items, starts(awkward(name), 3, 4), options=MixtureOptions(covariance=kind, **guards)
    )
    for value in (fits.weights, fits.means, fits.covariances, fits.log_likelihood):
        assert torch.isfinite(value).all()
    assert_allclose(fits.weights.sum(1), 1)
    density = log_densities(items, fits.means[0], fits.covariances[0])
    assert torch.isfinite(density).all()


def test_a_matrix_without_a_factor_is_mended():
    """Regularisation can be too small for the width of the data."""
    items = torch.from_numpy(1e9 * np.repeat(np.eye(3), 5, axis=0))
    fits = fit_mixtures(items, starts(items.numpy(), 2, 2))
    assert torch.isfinite(fits.means).all()


def test_an_empty_component_lies_where_scikit_learn_puts_it_or_at_the_centre():
    items = log_probs(2, 40)
    responsibilities = torch.zeros(1, 40, 2, dtype=torch.float64)
    responsibilities[..., 0] = 1
    theirs = GivenStart(2)
    theirs.start = responsibilities[0].numpy()
    theirs.fit(items)
    assert_allclose(theirs.means_[1], 0, atol=1e-12)  # log-probability 0: all labels are certain
    ours = fit_mixtures(torch.from_numpy(items), responsibilities)
    assert_allclose(ours.means[0], theirs.means_, atol=1e-10)
    guarded = fit_mixtures(
        torch.from_numpy(items),
        responsibilities,
        options=MixtureOptions(min_mass=1.0, shrinkage=4.0, max_iterations=1),
    )
    assert_allclose(guarded.means[0, 1], items.mean(0), atol=0.3)


def test_shrinkage_and_least_mass_in_closed_form():
    """One maximisation: the pooled covariance enters as pseudo-items; weights have a floor."""
    items = np.random.default_rng(0).normal(size=(30, 2))
    labels = torch.tensor([[0] * 28 + [1] * 2])
    options = MixtureOptions(max_iterations=1, min_mass=5.0, shrinkage=4.0, tolerance=1e9)
    start = hard_responsibilities(labels, num_components=2)
    data = gaussian_mixture._prepare(torch.from_numpy(items), "full")
    mixture = gaussian_mixture._maximise(gaussian_mixture._start(data, start, options), options)
    parts = [items[:28], items[28:]]
    scatters = [(part - part.mean(0)).T @ (part - part.mean(0)) for part in parts]
    pooled = sum(scatters) / 30
    for index, (scatter, count) in enumerate(zip(scatters, (28, 2), strict=True)):
        wanted = (scatter + 4 * pooled) / (count + 4) + 1e-6 * np.eye(2)
        assert_allclose(mixture.covariances[0, index], wanted, rtol=1e-9)
    assert_allclose(mixture.weights[0], [28 / 33, 5 / 33], rtol=1e-12)
    assert_allclose(mixture.mass[0], [28, 2])


def test_seeds_are_items_far_apart():
    """Three heaps far apart: each of many restarts finds them all, and every item its own."""
    generator = np.random.default_rng(0)
    heaps = 100 * np.eye(3)[np.arange(60) % 3] + generator.normal(size=(60, 3))
    labels = seed_labels(
        torch.from_numpy(heaps), num_components=3, num_restarts=50, generator=generator
    )
    assert labels.shape == (50, 60)
    assert len(set(map(tuple, labels[:, :3].tolist()))) > 1  # not always in the same order
    for row in labels:
        assert torch.equal(row, row[:3].repeat(20))
        assert len(set(row[:3].tolist())) == 3


def test_seeds_of_duplicates_are_allowed():
    labels = seed_labels(
        torch.zeros(5, 2, dtype=torch.float64),
        num_components=3,
        num_restarts=2,
        generator=np.random.default_rng(0),
    )
    assert labels.shape == (2, 5)


def test_refined_labels_are_a_fixed_point_of_k_means():
    items = torch.from_numpy(log_probs(4, 200))
    labels = seed_labels(
        items, num_components=4, num_restarts=6, generator=np.random.default_rng(1)
    )
    refined = refine_labels(items, labels, num_components=4, max_iterations=200)
    for before, row in zip(labels, refined, strict=True):
        means = torch.stack([items[row == component].mean(0) for component in range(4)])
        assert torch.equal(torch.cdist(items, means).argmin(1), row)
        assert within(items, row) <= within(items, before)


def within(items: torch.Tensor, labels: torch.Tensor) -> float:
    """Squared distances from the means of the groups."""
    parts = [items[labels == label] for label in labels.unique()]
    return float(sum((part - part.mean(0)).square().sum() for part in parts))


def test_mistakes_are_named():
    items = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(VesaliusError, match="2 items for 3 components"):
        fit_mixtures(items, torch.full((1, 2, 3), 1 / 3, dtype=torch.float64))
    with pytest.raises(VesaliusError, match="2 items for 3 components"):
        seed_labels(items, num_components=3, num_restarts=1, generator=np.random.default_rng())
    with pytest.raises(VesaliusError, match="not finite"):
        fit_mixtures(items / 0, torch.full((1, 2, 2), 0.5, dtype=torch.float64))
    with pytest.raises(VesaliusError, match="none of them 0"):
        fit_mixtures(items, torch.zeros(0, 2, 2, dtype=torch.float64))


@pytest.mark.usefixtures("as_users_call_it")
def test_options_without_meaning_are_named():
    for options in (
        {"covariance": "spherical"},
        {"max_iterations": 0},
        {"regularisation": 0.0},
        {"tolerance": math.nan},
        {"shrinkage": -1.0},
    ):
        with pytest.raises(VesaliusError):
            MixtureOptions(**options)


@pytest.mark.usefixtures("as_users_call_it")
def test_unequal_numbers_of_items_are_named():
    with pytest.raises(VesaliusError, match=r"items \[4, 3\]"):
        fit_mixtures(
            torch.zeros(4, 3, dtype=torch.float64), torch.ones(1, 5, 2, dtype=torch.float64)
        )
