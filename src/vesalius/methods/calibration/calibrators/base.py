"""What every calibrator is: a scikit-learn classifier on score matrices, saved as JSON.

Source: this project; the interface of estimators is scikit-learn's.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin

from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators.score_checks import (
    FLOOR_NATS,
    check_labels,
    check_scores,
    normalise_rows,
)

InputKind = Literal[
    "nothing", "content-free", "domain", "estimate", "premise", "generated", "labelled"
]
CalibratorT = TypeVar("CalibratorT", bound="AbstractCalibrator")


class AbstractCalibrator(ClassifierMixin, BaseEstimator, ABC):
    """Turns a model's label scores into better ones, fitted on inputs of one kind.

    ``fits_on`` names that kind: ``content-free`` (N/A, empty, [MASK]), ``domain`` (random words of
    the domain), ``estimate`` (unlabelled texts), ``premise`` (the answer cue alone), ``generated``
    (texts that the model wrote), ``labelled``, or ``nothing`` (only the number of labels is read;
    none, as in an array [0, 0], takes scores of any). Scores are natural-log probabilities
    [text, label], normalised over the labels or not. ``notes_`` says in plain words what was
    guarded against during the fit.
    """

    method: ClassVar[str]
    fits_on: ClassVar[InputKind]
    fitted_names: ClassVar[tuple[str, ...]]  # what is saved beside classes_ and notes_

    classes_: Int[np.ndarray, " label"]
    n_features_in_: int
    notes_: tuple[str, ...]

    def fit(
        self: CalibratorT,
        scores: Float[np.ndarray, "input label"],
        labels: Int[np.ndarray, " input"] | None = None,
    ) -> CalibratorT:
        """Learn from scores [input, label] of the kind ``fits_on``; labels [input] where it says.

        Labels are class numbers, -1 for unknown; methods that need none do not look at them.

        Raises:
            VesaliusError: what is no score matrix, labels that do not fit it or are missing, too
                few rows, or an option that has no meaning.
        """
        self.check_options()
        needs_rows = self.fits_on != "nothing"
        matrix, num_raised = check_scores(scores) if needs_rows else (_of_any_rows(scores), 0)
        num_labels = matrix.shape[1]
        self.classes_ = np.arange(num_labels)
        self.n_features_in_ = num_labels
        self.notes_ = (_floor_note(num_raised),) if num_raised else ()
        if labels is not None:
            labels = check_labels(labels, num_rows=len(matrix), num_labels=num_labels)
        if self.fits_on == "labelled":
            matrix, labels = self._keep_labelled(matrix, labels)
        self._learn(matrix, labels)
        return self

    def transform(self, scores: Float[np.ndarray, "text label"]) -> Float[np.ndarray, "text label"]:
        """Give calibrated log-probabilities [text, label]; rows are normalised.

        Raises:
            VesaliusError: it is not fitted, or scores of another number of labels or bad ones.
        """
        self._check_fitted()
        matrix, _ = check_scores(scores, num_labels=len(self.classes_), lowest=0)
        return normalise_rows(self._calibrate(matrix))

    def predict_proba(
        self, scores: Float[np.ndarray, "text label"]
    ) -> Float[np.ndarray, "text label"]:
        """Give calibrated probabilities [text, label].

        Raises:
            VesaliusError: it is not fitted, or scores of another number of labels or bad ones.
        """
        return np.exp(self.transform(scores))

    def predict(self, scores: Float[np.ndarray, "text label"]) -> Int[np.ndarray, " text"]:
        """Give the number of the most probable class of each text, [text]; ties: the lowest.

        Raises:
            VesaliusError: it is not fitted, or scores of another number of labels or bad ones.
        """
        return self.transform(scores).argmax(axis=1)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the fitted calibrator as one JSON file, and return its path.

        Raises:
            VesaliusError: it is not fitted, or the file exists and ``force`` is not given.
        """
        from vesalius.methods.calibration.calibrators.storage import save_calibrator

        self._check_fitted()
        return save_calibrator(self, path, force=force)

    def check_options(self) -> None:
        """Refuse options that have no meaning.

        Raises:
            VesaliusError: there is one.
        """
        self._check_options()

    def _check_options(self) -> None:
        """Refuse options of this method that have no meaning."""

    @abstractmethod
    def _learn(
        self,
        scores: Float[np.ndarray, "input label"],
        labels: Int[np.ndarray, " input"] | None,
    ) -> None:
        """Set the attributes of ``fitted_names`` from checked scores [input, label]."""

    @abstractmethod
    def _calibrate(
        self, scores: Float[np.ndarray, "text label"]
    ) -> Float[np.ndarray, "text label"]:
        """Map checked scores [text, label] to log-weights; rows need not be normalised."""

    def _note(self, text: str) -> None:
        self.notes_ = (*self.notes_, text)

    def _keep_labelled(
        self, scores: np.ndarray, labels: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Leave out rows without a label, and say which classes have none."""
        known = np.zeros(len(scores), dtype=bool) if labels is None else labels >= 0
        if labels is None or not known.any():
            raise VesaliusError(
                given=f"{len(scores)} rows of scores, and not one label",
                expected=f"labelled texts: {self.method} learns from their classes",
                fix="pass labels=class numbers, or take a method without labels, such as batch",
            )
        counts = np.bincount(labels[known], minlength=scores.shape[1])
        for label in np.flatnonzero(counts == 0):
            self._note(f"class {label} has no labelled text; it is taken to be rare")
        return scores[known], labels[known]

    def _check_fitted(self) -> None:
        if not hasattr(self, "classes_") or not all(hasattr(self, n) for n in self.fitted_names):
            raise VesaliusError(
                given=f"{type(self).__name__} that is not fitted",
                expected=f"fit first, on scores of the kind {self.fits_on!r}",
                fix="call fit(scores), or load a saved one with load_calibrator(path)",
            )


class AbstractShift(AbstractCalibrator):
    """A calibrator that takes one number per label off the log-probabilities, ``bias_`` [label]."""

    bias_: Float[np.ndarray, " label"]

    def _calibrate(
        self, scores: Float[np.ndarray, "text label"]
    ) -> Float[np.ndarray, "text label"]:
        return scores - self.bias_


def _of_any_rows(scores: np.ndarray) -> np.ndarray:
    """Insist on two axes where only the number of labels is read."""
    matrix = np.asarray(scores)
    if matrix.ndim != 2:
        raise VesaliusError(
            given=f"scores of {matrix.dtype} and shape {list(matrix.shape)}",
            expected="an array [text, label]; only its number of labels is read",
            fix="pass the scores of some texts, or np.zeros((0, num_labels))",
        )
    return matrix


def _floor_note(num_raised: int) -> str:
    return (
        f"{num_raised} scores lay more than {FLOOR_NATS:g} nats below the best of their row "
        "(-inf, perhaps) and were raised to there"
    )
