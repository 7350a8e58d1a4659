"""Isotonic calibration: any rising function of each label's probability, one against the rest.

Source: Zadrozny & Elkan 2002, Transforming Classifier Scores into Accurate Multiclass Probability
Estimates, sections 3 and 4; the fit is scikit-learn's IsotonicRegression.
"""

from typing import ClassVar, Final, final

import numpy as np
from jaxtyping import Float, Int
from sklearn.isotonic import IsotonicRegression

from vesalius.methods.calibration.calibrators.base import AbstractCalibrator, InputKind
from vesalius.methods.calibration.calibrators.score_checks import normalise_rows

_ENOUGH: Final = 1000  # labelled texts; with fewer it overfits, says scikit-learn's user guide


@final
class IsotonicCalibration(AbstractCalibrator):
    """A staircase for each label, joined by lines, then normalised over the labels.

    ``knots_`` holds the log-probabilities and probabilities of all staircases one after the other,
    ``num_knots_`` [label] how many each has. No label is given less than 1 / (n + 2), n the number
    of labelled texts: a probability of 0 would claim more than n texts can show.
    """

    method: ClassVar[str] = "isotonic"
    fits_on: ClassVar[InputKind] = "labelled"
    fitted_names: ClassVar[tuple[str, ...]] = ("knots_", "num_knots_", "least_")

    knots_: Float[np.ndarray, "2 knot"]
    num_knots_: Int[np.ndarray, " label"]
    least_: float

    def _learn(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        assert labels is not None
        features = normalise_rows(scores)
        stairs: list[np.ndarray] = []
        for label in self.classes_:
            fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            fitted.fit(features[:, label], (labels == label).astype(np.float64))
            stairs.append(np.stack([fitted.X_thresholds_, fitted.y_thresholds_]))
        self.knots_ = np.concatenate(stairs, axis=1)
        self.num_knots_ = np.array([part.shape[1] for part in stairs])
        self.least_ = 1 / (len(labels) + 2)
        if len(labels) < _ENOUGH:
            self._note(
                f"{len(labels)} labelled texts: isotonic overfits below about {_ENOUGH}; "
                "temperature needs fewer"
            )

    def _calibrate(self, scores: np.ndarray) -> np.ndarray:
        features = normalise_rows(scores)
        stairs = np.split(self.knots_, np.cumsum(self.num_knots_)[:-1], axis=1)
        columns = [
            np.interp(features[:, label], at, height)  # ends stay level beyond the last knots
            for label, (at, height) in enumerate(stairs)
        ]
        return np.log(np.clip(np.stack(columns, axis=1), self.least_, 1 - self.least_))
