"""The restarts of the mixture behind prototypical calibration: starts, guards, both engines.

Sources: arXiv 2205.10183, section 3.2 and 4.1 (k-means starts, 100 of them from one stream of
random numbers, full covariances); the rule for the kind of covariance and the sizes of the guards
are ours.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.numerics.gaussian_mixture import (
    CovarianceKind,
    MixtureFits,
    MixtureOptions,
    fit_mixtures,
)
from vesalius.numerics.mixture_seeds import hard_responsibilities, refine_labels, seed_labels

# A component with less than this share of an equal part is a corner of a cluster, not a class: with
# classes 9 to 1 the rare one still has twice as much at K=2.
LEAST_SHARE: Final = 0.1
# Pseudo-items with the pooled covariance, per label. Of 0, 3, 10, 2 K, 30 and 40 on planted
# mixtures (K = 2, 6, 14; 5 to 100 texts per class; even and skewed classes) 10 and 2 K were best or
# near it everywhere; 0 lost up to 0.6 of accuracy at few texts, 40 up to 0.05 at K=2.
SHRINKAGE_PER_LABEL: Final = 2.0
_START_BYTES: Final = 64 << 20  # of the responsibilities that one group of restarts begins with


@final
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the restarts are run with."""

    num_restarts: int
    covariance: CovarianceKind
    max_iterations: int
    tolerance: float
    regularisation: float
    seed: int
    guards: bool
    device: str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MixtureRuns:
    """All restarts as arrays; ``skipped`` of the wanted ones failed and are not among them."""

    weights: Float[np.ndarray, "restart component"]
    means: Float[np.ndarray, "restart component dimension"]
    covariances: Float[np.ndarray, "restart component dimension dimension"]
    table: dict[str, np.ndarray]  # numbers of each restart, [restart]
    skipped: int = 0


def num_parameters(num_labels: int, covariance: CovarianceKind) -> int:
    """Count the free numbers of a mixture of K components in K dimensions.

    >>> num_parameters(2, "full"), num_parameters(14, "full"), num_parameters(14, "tied")
    (11, 1679, 314)
    """
    matrix = num_labels * (num_labels + 1) // 2
    shape = {"full": num_labels * matrix, "tied": matrix, "diag": num_labels**2}[covariance]
    return num_labels**2 + shape + num_labels - 1


def choose_covariance(num_items: int, num_labels: int, *, guards: bool) -> CovarianceKind:
    """Choose the kind of covariance from the number of items against that of parameters.

    Without guards ``full`` from one item per parameter on, else ``diag``. With guards covariances
    lean on the pooled one anyway, so ``full`` serves from a tenth of that on, else ``tied``. These
    are the crossings on planted mixtures with K = 2, 6, 14 and 5 to 100 texts per class.
    """
    ratio = num_items / num_parameters(num_labels, "full")
    if guards:
        return "full" if ratio >= 0.1 else "tied"
    return "full" if ratio >= 1 else "diag"


def least_mass(num_items: int, num_labels: int) -> float:
    """Give the number of items that a component must have to stand for a class."""
    return LEAST_SHARE * num_items / num_labels


def run_batched(
    items: Float[np.ndarray, "item dimension"], num_labels: int, options: RunOptions
) -> MixtureRuns:
    """Fit all restarts to items [item, dimension] as one batch.

    With guards the starts are k-means from k-means++ seeds, likewise in one batch; without them
    they are those of :func:`run_sequential`, and so are the results.
    """
    values = torch.from_numpy(items).to(options.device)
    settings = MixtureOptions(
        covariance=options.covariance,
        max_iterations=options.max_iterations,
        tolerance=options.tolerance,
        regularisation=options.regularisation,
        min_mass=least_mass(len(items), num_labels) if options.guards else 0.0,
        shrinkage=SHRINKAGE_PER_LABEL * num_labels if options.guards else 0.0,
    )
    if options.guards:
        generator = np.random.default_rng(derive_seed(options.seed, "prototypical", "restarts"))
        labels = seed_labels(
            values,
            num_components=num_labels,
            num_restarts=options.num_restarts,
            generator=generator,
        )
    else:
        labels = torch.from_numpy(_kmeans_labels(items, num_labels, options)).to(options.device)
    fits: list[MixtureFits] = []
    for group in labels.split(max(1, _START_BYTES // (8 * num_labels * len(items)))):
        start = refine_labels(values, group, num_components=num_labels) if options.guards else group
        responsibilities = hard_responsibilities(start, num_components=num_labels)
        fits.append(fit_mixtures(values, responsibilities, options=settings))
    return _join(fits)


def run_sequential(
    items: Float[np.ndarray, "item dimension"], num_labels: int, options: RunOptions
) -> MixtureRuns:
    """Fit the restarts to items [item, dimension] one after the other with scikit-learn.

    Raises:
        VesaliusError: every restart failed.
    """
    stream = _stream(options.seed)
    done: list[Any] = []
    reason = ""
    with warnings.catch_warnings():
        # too few different items, or no convergence: the restarts table and the notes say so
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(options.num_restarts):
            mixture = GaussianMixture(
                n_components=num_labels,
                covariance_type=options.covariance,
                reg_covar=options.regularisation,
                tol=options.tolerance,
                max_iter=options.max_iterations,
                random_state=stream,
            )
            try:
                done.append(mixture.fit(items))
            except ValueError as error:  # scikit-learn's word for a collapsed component
                reason = str(error)
    if not done:
        raise VesaliusError(
            given=f"{len(items)} texts on which scikit-learn's mixture failed: {reason[:80]}",
            expected="texts whose scores differ",
            fix="take engine='batched', or more texts",
        )
    return MixtureRuns(
        weights=np.stack([one.weights_ for one in done]),
        means=np.stack([one.means_ for one in done]),
        covariances=np.stack([_matrices(one, options.covariance) for one in done]),
        table={
            "log_likelihood": np.array([one.lower_bound_ for one in done], dtype=np.float64),
            "num_iterations": np.array([one.n_iter_ for one in done], dtype=np.int64),
            "converged": np.array([one.converged_ for one in done], dtype=bool),
            "smallest_mass": np.array([one.weights_.min() * len(items) for one in done]),
        },
        skipped=options.num_restarts - len(done),
    )


def _stream(seed: int) -> Any:
    """The generator that scikit-learn knows; its seeds have 32 bits."""
    return np.random.RandomState(seed % 2**32)


def _kmeans_labels(items: np.ndarray, num_labels: int, options: RunOptions) -> np.ndarray:
    """Draw the starts that GaussianMixture would draw from the same stream, [restart, item]."""
    stream = _stream(options.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different items than labels
        one_run: Any = KMeans  # its own annotations know "auto" alone
        rows: list[np.ndarray] = [
            one_run(n_clusters=num_labels, n_init=1, random_state=stream).fit(items).labels_
            for _ in range(options.num_restarts)
        ]
    return np.stack(rows).astype(np.int64)


def _join(fits: list[MixtureFits]) -> MixtureRuns:
    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name).numpy(force=True) for part in fits])

    table = ("log_likelihood", "num_iterations", "converged", "smallest_mass")
    return MixtureRuns(
        weights=column("weights"),
        means=column("means"),
        covariances=column("covariances"),
        table={name: column(name) for name in table},
    )


def _matrices(mixture: Any, kind: Literal["full", "tied", "diag"]) -> np.ndarray:
    if kind == "full":
        return mixture.covariances_
    if kind == "diag":
        return np.stack([np.diag(variances) for variances in mixture.covariances_])
    return np.stack([mixture.covariances_] * len(mixture.means_))
