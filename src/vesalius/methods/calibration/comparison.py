"""The result of ``calibrate compare``: every calibrator on the same scores of the same texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.calibration.advice import Advice
from vesalius.methods.calibration.plane import ScorePlane
from vesalius.numerics.class_bootstrap import METRICS

TESTED: Final = ("accuracy", "nll_nats")


@final
@dataclass(frozen=True, kw_only=True)
class PairedScore:
    """A calibrator's mean score less that of another on the same texts, and a test of it.

    ``p_holm`` is the p-value raised for the number of tests in the table. Texts to whose truth
    one of the two gives probability 0 are in no difference of nats: ``num_texts`` counts the rest.
    """

    method: str
    reference: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    num_texts: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FittedMixture:
    """The clusters of prototypical calibration, in log-probabilities over the labels.

    ``means`` [cluster, label], ``covariances`` [cluster, label, label], and the class number that
    each cluster was assigned, ``assignment`` [cluster].
    """

    means: Float[np.ndarray, "cluster label"]
    covariances: Float[np.ndarray, "cluster label label"]
    assignment: Int[np.ndarray, " cluster"]


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison(AbstractResult):
    """What every calibrator makes of one score matrix.

    ``scores`` [text, label] and ``labels`` [text], -1 where not known, are what came in;
    ``predictions`` [method, text] and ``probabilities`` [method, text, label] what came out.
    ``values``, ``low`` and ``high`` [method, metric] are scores over the texts with known labels,
    in the order of METRICS, with bootstrap intervals over texts. ``num_impossible`` [method]
    counts the texts to whose truth a method gives probability 0: its nats are then infinite, and
    ``finite_nats`` [method] is the mean over the other texts. ``left_out`` says why a method is
    missing, ``notes`` what guards did; ``num_inputs`` on how many inputs each was fitted.
    """

    kind: ClassVar[str] = "calibration.comparison"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("calibration",)

    methods: tuple[str, ...]
    label_names: tuple[str, ...]
    scores: Float[np.ndarray, "text label"]
    labels: Int[np.ndarray, " text"]
    predictions: Int[np.ndarray, "method text"]
    probabilities: Float[np.ndarray, "method text label"]
    values: Float[np.ndarray, "method metric"]
    low: Float[np.ndarray, "method metric"]
    high: Float[np.ndarray, "method metric"]
    level: float
    num_impossible: Int[np.ndarray, " method"]
    finite_nats: Float[np.ndarray, " method"]
    paired: tuple[PairedScore, ...]
    fits_on: tuple[str, ...]
    num_inputs: tuple[int, ...]
    left_out: dict[str, str]
    notes: dict[str, tuple[str, ...]]
    advice: Advice | None
    mixture: FittedMixture | None
    plane: ScorePlane

    @property
    def num_known(self) -> int:
        """Count the texts whose label is known: the scores are over these."""
        return int((self.labels >= 0).sum())

    @property
    def true_shares(self) -> Float[np.ndarray, " label"]:
        """The share of each class among the known labels, [label]."""
        known = self.labels[self.labels >= 0]
        return np.bincount(known, minlength=len(self.label_names)) / len(known)

    @property
    def predicted_shares(self) -> Float[np.ndarray, "method label"]:
        """The share of texts that each method gives to each class, [method, label]."""
        num_labels = len(self.label_names)
        counts = [np.bincount(row, minlength=num_labels) for row in self.predictions]
        return np.stack(counts) / self.predictions.shape[1]

    def value(self, method: str, metric: str = "accuracy") -> tuple[float, float, float]:
        """Give a score with the bounds of its interval: value, low, high.

        Raises:
            VesaliusError: a method or a metric that was not taken.
        """
        row, column = self.row_of(method), _place("metric", metric, METRICS)
        return tuple(float(part[row, column]) for part in (self.values, self.low, self.high))  # pyright: ignore[reportReturnType]

    def row_of(self, method: str) -> int:
        """Give the place of a method in the arrays.

        Raises:
            VesaliusError: it was not compared; says why, where that is known.
        """
        if method in self.left_out:
            raise VesaliusError(
                given=f"method {method!r}, which was left out: {self.left_out[method]}",
                expected=f"one of {', '.join(self.methods)}",
                fix="compare again with the inputs that it is fitted on",
            )
        return _place("method", method, self.methods)

    def difference(
        self, method: str, reference: str = "none", metric: str = "accuracy"
    ) -> PairedScore:
        """Give the paired difference of two methods.

        Raises:
            VesaliusError: it was not tested.
        """
        for row in self.paired:
            if (row.method, row.reference, row.metric) == (method, reference, metric):
                return row
        tested = {f"{row.method} against {row.reference}" for row in self.paired}
        raise VesaliusError(
            given=f"{method} against {reference} by {metric}",
            expected=f"accuracy or nll_nats of {', '.join(sorted(tested)) or 'nothing'}",
            fix="compare again with both methods",
        )

    def to_table(self) -> pa.Table:
        """One row per method: what it was fitted on, every score with its bounds.

        Source: this project.
        """
        columns: dict[str, Any] = {
            "method": self.methods,
            "fits_on": self.fits_on,
            "num_inputs": self.num_inputs,
        }
        for place, metric in enumerate(METRICS):
            columns[metric] = self.values[:, place]
            columns[f"{metric}_low"] = self.low[:, place]
            columns[f"{metric}_high"] = self.high[:, place]
        columns["num_impossible"] = self.num_impossible
        columns["finite_nats"] = self.finite_nats
        return pa.table(columns)

    def paired_table(self) -> pa.Table:
        """One row per pair of methods and score: difference, bounds, p-values.

        Source: this project.
        """
        names = tuple(PairedScore.__dataclass_fields__)
        return pa.table({name: [getattr(row, name) for row in self.paired] for name in names})

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None, *, kind: str = "plane", method: str = "") -> Any:
        """Draw the score plane before and after a method, the gains, or the shares of classes.

        ``kind`` is ``plane``, ``gains`` or ``shares``; ``method`` is the one whose plane is drawn,
        prototypical where it is there. Returns matplotlib Axes.

        Raises:
            VesaliusError: another kind, or a method that was not compared.

        Source: figures 1 to 3 of arXiv 2205.10183.
        """
        from vesalius.methods.calibration.plot import plot_comparison

        return plot_comparison(self, kind=kind, method=method, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.calibration.report import write_comparison

        return write_comparison(self, path, force=force)


def _place(what: str, name: str, known: tuple[str, ...]) -> int:
    if name not in known:
        raise VesaliusError(
            given=f"{what} {name!r}", expected=f"one of {', '.join(known)}", fix=f"use {known[0]}"
        )
    return known.index(name)
