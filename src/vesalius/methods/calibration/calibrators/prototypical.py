"""Prototypical calibration: one Gaussian for each label, found without labels.

Source: Han et al. 2023, Prototypical Calibration for Few-shot Learning of Language Models, arXiv
2205.10183, section 3. Ours: the batched restarts, the guards, the log-ratio coordinates.
"""

from typing import ClassVar, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import helmert
from scipy.special import log_softmax

from vesalius.core.checks import check_count, check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators.base import AbstractCalibrator, InputKind
from vesalius.methods.calibration.calibrators.component_matching import (
    assignment_scores,
    match_components,
)
from vesalius.methods.calibration.calibrators.mixture_runs import (
    MixtureRuns,
    RunOptions,
    choose_covariance,
    least_mass,
    num_parameters,
    run_batched,
    run_sequential,
)
from vesalius.methods.calibration.calibrators.score_checks import check_number, normalise_rows
from vesalius.numerics.gaussian_mixture import CovarianceKind, log_densities

_SAME: Final = 1e-8  # relative difference of scores below which two restarts are one
_FEW: Final = 10  # texts per class below which the fit is a matter of luck
LOG_PROBABILITY: Final = "log-probability"
LOG_RATIO: Final = "log-ratio"


@final
class PrototypicalCalibration(AbstractCalibrator):
    """Labels a text by the Gaussian under which its log-probabilities are most likely.

    ``covariance`` is the kind of matrix, ``auto`` from the number of texts. ``selection`` takes the
    restart whose component means match the labels best, or the most likely one. ``keep_weights``
    lets class shares of the estimate set weigh in. ``coordinates`` are the K log-probabilities, or
    the K - 1 log-ratios, in which the points fill their space. ``guards`` keep components from
    shrinking onto a few texts; ``engine="sklearn"`` has none. ``paper()`` is the authors' method.

    Fitted, component by component: ``means_`` [component, label] as log-probabilities,
    ``covariances_`` [component, label, label] (with log-ratios: of each log-probability less the
    mean over labels), ``weights_``, ``assignment_`` (the label of a component). ``restarts_`` has a
    number for each restart in every column.
    """

    method: ClassVar[str] = "prototypical"
    fits_on: ClassVar[InputKind] = "estimate"
    fitted_names: ClassVar[tuple[str, ...]] = (
        "means_", "covariances_", "weights_", "assignment_", "assignment_score_",
        "log_likelihood_", "covariance_", "best_restart_", "num_texts_", "restarts_",
    )  # fmt: skip

    means_: Float[np.ndarray, "component label"]
    covariances_: Float[np.ndarray, "component label label"]
    weights_: Float[np.ndarray, " component"]
    assignment_: Int[np.ndarray, " component"]
    assignment_score_: float
    log_likelihood_: float
    covariance_: CovarianceKind
    best_restart_: int
    num_texts_: int
    restarts_: dict[str, np.ndarray]

    def __init__(
        self,
        *,
        num_restarts: int = 100,
        covariance: CovarianceKind | Literal["auto"] = "auto",
        max_iterations: int = 100,
        tolerance: float = 1e-3,
        regularisation: float = 1e-6,
        selection: Literal["assignment", "likelihood"] = "assignment",
        keep_weights: bool = False,
        seed: int = 0,
        engine: Literal["batched", "sklearn"] = "batched",
        coordinates: Literal["log-probability", "log-ratio"] = "log-probability",
        guards: bool = True,
        device: str = "cpu",
    ) -> None:
        self.num_restarts = num_restarts
        self.covariance: CovarianceKind | Literal["auto"] = covariance
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self.regularisation = regularisation
        self.selection = selection
        self.keep_weights = keep_weights
        self.seed = seed
        self.engine = engine
        self.coordinates = coordinates
        self.guards = guards
        self.device = device

    @classmethod
    def paper(cls, *, num_restarts: int = 100, seed: int = 0) -> "PrototypicalCalibration":
        """Give the authors' choices: scikit-learn's mixture, full covariances, no guards."""
        return cls(
            num_restarts=num_restarts, covariance="full", seed=seed, engine="sklearn", guards=False
        )

    def _check_options(self) -> None:
        check_count("num_restarts", self.num_restarts, lowest=1, usual=100)
        check_count("max_iterations", self.max_iterations, lowest=1, usual=100)
        check_count("seed", self.seed, lowest=0, usual=0)
        check_number("tolerance", self.tolerance, above=0, usual=1e-3)
        check_number("regularisation", self.regularisation, above=0, usual=1e-6)
        check_word("covariance", self.covariance, ("auto", "full", "tied", "diag"))
        check_word("selection", self.selection, ("assignment", "likelihood"))
        check_word("engine", self.engine, ("batched", "sklearn"))
        check_word("coordinates", self.coordinates, (LOG_PROBABILITY, LOG_RATIO))
        if self.engine == "sklearn" and self.guards:
            raise VesaliusError(
                given="engine='sklearn' with guards",
                expected="guards=False: scikit-learn's mixture has none",
                fix="take PrototypicalCalibration.paper(), or engine='batched'",
            )

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        num_texts, num_labels = scores.shape
        if num_texts < num_labels:
            raise VesaliusError(
                given=f"{num_texts} texts for {num_labels} labels",
                expected=f"at least one for each label; {100 * num_labels} serve",
                fix="score more unlabelled texts, or take the method batch",
            )
        _check_device(self.device)
        features = normalise_rows(scores)
        self.covariance_ = (
            choose_covariance(num_texts, num_labels, guards=self.guards)
            if self.covariance == "auto"
            else self.covariance
        )
        self.num_texts_ = num_texts
        self._note_size(features)
        run = run_batched if self.engine == "batched" else run_sequential
        runs = run(self._place(features), num_labels, self._run_options())
        self._choose(runs)

    def _run_options(self) -> RunOptions:
        return RunOptions(
            num_restarts=int(self.num_restarts),
            covariance=self.covariance_,
            max_iterations=int(self.max_iterations),
            tolerance=float(self.tolerance),
            regularisation=float(self.regularisation),
            seed=int(self.seed),
            guards=self.guards,
            device=self.device,
        )

    def _choose(self, runs: MixtureRuns) -> None:
        """Match components to labels in every restart, and keep the best restart."""
        means = runs.means if self.coordinates == LOG_PROBABILITY else self._unplace(runs.means)
        scores = assignment_scores(means)
        usable = np.ones(len(scores), dtype=bool)
        if self.guards:
            usable = runs.table["smallest_mass"] >= least_mass(self.num_texts_, means.shape[1])
        self.restarts_ = {"assignment_score": scores, **runs.table, "usable": usable}
        self._note_restarts(usable, runs.skipped)
        by = scores if self.selection == "assignment" else runs.table["log_likelihood"]
        by = np.where(usable | ~usable.any(), by, -np.inf)
        # restarts that end in the same place differ in the last bits: the first of them, everywhere
        best = int((by >= by.max() - _SAME * abs(by.max())).argmax())
        self.best_restart_ = best
        self.means_ = means[best]
        self.covariances_ = runs.covariances[best]
        if self.coordinates == LOG_RATIO:
            basis = helmert(means.shape[1])
            self.covariances_ = basis.T @ self.covariances_ @ basis
        self.weights_ = runs.weights[best]
        self.assignment_ = match_components(self.means_)
        self.assignment_score_ = float(scores[best])
        self.log_likelihood_ = float(runs.table["log_likelihood"][best])
        if not runs.table["converged"][best]:
            self._note(f"the chosen restart still moved after {self.max_iterations} iterations")

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        means, covariances = self.means_, self.covariances_
        if self.coordinates == LOG_RATIO:
            basis = helmert(len(means))
            means, covariances = means @ basis.T, basis @ covariances @ basis.T
        items = torch.from_numpy(self._place(normalise_rows(scores)))
        density = log_densities(items, torch.from_numpy(means), torch.from_numpy(covariances))
        by_component = density.numpy() + (np.log(self.weights_) if self.keep_weights else 0.0)
        return by_component[:, np.argsort(self.assignment_)]

    def _place(self, features: np.ndarray) -> np.ndarray:
        """Give features [text, label] in the coordinates of the mixture."""
        if self.coordinates == LOG_PROBABILITY:
            return features
        return features @ helmert(features.shape[1]).T

    def _unplace(self, means: np.ndarray) -> np.ndarray:
        """Turn log-ratios [restart, component, coordinate] into log-probabilities."""
        return log_softmax(means @ helmert(means.shape[-1] + 1), axis=-1)

    def _note_size(self, features: np.ndarray) -> None:
        num_texts, num_labels = features.shape
        count = num_parameters(num_labels, self.covariance_)
        if self.covariance == "auto" and self.covariance_ != "full":
            self._note(
                f"{self.covariance_} covariances: {num_texts} texts are few for the "
                f"{num_parameters(num_labels, 'full')} numbers of full ones"
            )
        if num_texts < _FEW * num_labels:
            self._note(f"{num_texts / num_labels:.3g} texts per class: fewer than {_FEW}")
        if num_texts < count / 2:
            self._note(f"{num_texts} texts for a mixture of {count} numbers: too few to trust")
        if (num_different := len(np.unique(features, axis=0))) < num_labels:
            self._note(f"only {num_different} different scores for {num_labels} labels")

    def _note_restarts(self, usable: np.ndarray, skipped: int) -> None:
        if skipped:
            self._note(f"restarts that failed in scikit-learn and were left out: {skipped}")
        if not usable.any():
            self._note("every restart has a component of next to no texts: a class may be absent")
        elif not usable.all():
            num_left_out = int((~usable).sum())
            self._note(f"restarts with a component of next to no texts, not chosen: {num_left_out}")


def _check_device(name: str) -> None:
    """Only a fit needs the device: a file made on a GPU is read and used anywhere."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise VesaliusError(
            given=f"device={name!r}: {str(error).splitlines()[0][:80]}",
            expected="a device of this machine, such as cpu or cuda",
            fix="use device='cpu'",
        ) from error
