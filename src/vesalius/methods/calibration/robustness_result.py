"""The result of ``calibrate robustness``: how far each calibrator's answers hang on the prompt."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.calibration.robustness_design import UNITS, StudyDesign
from vesalius.numerics.class_bootstrap import METRICS
from vesalius.numerics.statistics import bootstrap_interval, holm, sign_flip_p_value

HIGHER_IS_BETTER: Final = ("accuracy", "macro_f1")
# (method, what it is tested against)
TESTS: Final = (
    ("prototypical", "none"),
    ("prototypical", "contextual"),
    ("prototypical", "batch"),
    ("batch", "none"),
    ("batch", "contextual"),
)


@final
@dataclass(frozen=True, kw_only=True)
class Spread:
    """What a method scores over all cells of an axis: mean, spread, the two ends.

    ``low`` and ``high`` bracket the mean by a bootstrap over ``num_units`` units (templates,
    orders, or draws of demonstrations; cells of the same unit go together). ``num_missing`` cells
    have no number: the method could not be fitted there.
    """

    axis: str
    method: str
    metric: str
    mean: float
    low: float
    high: float
    deviation: float
    worst: float
    best: float
    num_cells: int
    num_missing: int
    unit: str
    num_units: int


@final
@dataclass(frozen=True, kw_only=True)
class PairedSpread:
    """The mean difference of two methods over the same cells, and a test by units.

    ``p_holm`` is the p-value raised for the number of tests of the metric on the axis; with
    ``num_units`` units no p-value is below 2 to the power of 1 - num_units.
    """

    axis: str
    method: str
    reference: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    num_cells: int
    unit: str
    num_units: int


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Robustness(AbstractResult):
    """Scores of every method in every cell of a study.

    ``table`` has a row for each axis, condition, seed (the repetition) and method: ``place`` of the
    condition on its axis, the prompt's fingerprint, the scores (METRICS), on how many texts and
    from how many estimate texts, ``num_impossible`` texts to whose truth the method gave
    probability 0, and ``why`` there are no numbers where it could not be fitted. ``commonest`` is
    the share of the commonest class among the texts. ``num_texts`` were scored, texts times
    prompts; ``templates`` tells how the templates read.
    """

    kind: ClassVar[str] = "calibration.robustness"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("calibration",)

    design: StudyDesign
    label_names: tuple[str, ...]
    table: pa.Table
    templates: dict[str, str]
    commonest: float
    num_prompts: int
    num_texts: int
    left_out: dict[str, str]
    notes: tuple[str, ...]
    level: float
    num_resamples: int

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that were studied, in the order of the table."""
        return self._names("axis")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of the design."""
        return self._names("method")

    def _names(self, column: str) -> tuple[str, ...]:
        if not self.table.num_rows:  # every axis was left out: there are no columns either
            return ()
        return tuple(dict.fromkeys(self.table.column(column).to_pylist()))

    def cells(self, axis: str, metric: str = "accuracy") -> dict[str, list[dict[str, Any]]]:
        """Give the cells of an axis by method: condition, place, seed and value of each.

        Raises:
            VesaliusError: an axis that was not studied, or an unknown metric.
        """
        check_word("metric", metric, METRICS)
        if axis in self.left_out:
            raise VesaliusError(
                given=f"axis {axis!r}, which was left out: {self.left_out[axis]}",
                expected=f"one of {', '.join(self.axes)}",
                fix="study it again with what is missing",
            )
        check_word("axis", axis, self.axes)
        found: dict[str, list[dict[str, Any]]] = {method: [] for method in self.methods}
        names = ["axis", "condition", "place", "seed", "method", metric]
        for row in self.table.select(names).to_pylist():
            if row["axis"] == axis:
                found[row["method"]].append({**row, "value": row[metric]})
        return found

    def summary(self, metric: str = "accuracy") -> list[Spread]:
        """Sum every axis and method up.

        Raises:
            VesaliusError: an unknown metric.
        """
        return [
            self._spread(axis, method, metric, cells)
            for axis in self.axes
            for method, cells in self.cells(axis, metric).items()
        ]

    def paired(self, metric: str = "accuracy") -> list[PairedSpread]:
        """Test prototypical and batch calibration against the others over the same cells.

        Raises:
            VesaliusError: an unknown metric.
        """
        found: list[PairedSpread] = []
        for axis in self.axes:
            cells, tests = self.cells(axis, metric), list[dict[str, Any]]()
            for method, reference in TESTS:
                if method in cells and reference in cells:
                    tests += self._test(axis, metric, method, reference, cells)
            raised = holm([row["p_value"] for row in tests])
            found += [PairedSpread(**row, p_holm=p) for row, p in zip(tests, raised, strict=True)]
        return found

    def to_table(self) -> pa.Table:
        """One row per axis, condition, seed and method.

        Source: this project.
        """
        return self.table

    def summary_table(self, metric: str = "accuracy") -> pa.Table:
        """One row per axis and method: mean, bounds, standard deviation, worst, best.

        Source: this project.
        """
        return _table(Spread, self.summary(metric))

    def paired_table(self, metric: str = "accuracy") -> pa.Table:
        """One row per axis and pair of methods: difference, bounds, p-values.

        Source: this project.
        """
        return _table(PairedSpread, self.paired(metric))

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.table.to_pandas()

    def plot(
        self, ax: Any = None, *, axis: str = "", kind: str = "", metric: str = "accuracy"
    ) -> Any:
        """Draw the cells of an axis as ``boxes`` or a ``curve``; all axes where none is named.

        Returns matplotlib Axes.

        Raises:
            VesaliusError: an axis that was not studied, an unknown kind or metric, or a curve over
                templates, orders or seeds, which stand in no order.

        Source: figures 3 to 6 of arXiv 2205.10183.
        """
        from vesalius.methods.calibration.plot import plot_robustness

        return plot_robustness(self, axis=axis, kind=kind, metric=metric, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.calibration.report import write_robustness

        return write_robustness(self, path, force=force)

    def _spread(self, axis: str, method: str, metric: str, cells: list[dict[str, Any]]) -> Spread:
        known = [cell for cell in cells if not np.isnan(cell["value"])]
        values = np.array([cell["value"] for cell in known], dtype=np.float64)
        units = _unit_means(axis, known, lambda cell: cell["value"])
        finite = bool(np.isfinite(values).all()) and len(values) > 0
        interval = (
            bootstrap_interval(
                units,
                generator=self._generator(axis, metric),
                level=self.level,
                num_resamples=self.num_resamples,
            )
            if finite
            else None
        )
        ends = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
        worst, best = ends if metric in HIGHER_IS_BETTER else ends[::-1]
        return Spread(
            axis=axis,
            method=method,
            metric=metric,
            mean=float(units.mean()) if len(units) else np.nan,
            low=interval.low if interval else np.nan,
            high=interval.high if interval else np.nan,
            deviation=float(values.std(ddof=1)) if finite and len(values) > 1 else np.nan,
            worst=float(worst),
            best=float(best),
            num_cells=len(values),
            num_missing=len(cells) - len(known),
            unit=UNITS[axis],
            num_units=len(units),
        )

    def _test(
        self,
        axis: str,
        metric: str,
        method: str,
        reference: str,
        cells: dict[str, list[dict[str, Any]]],
    ) -> list[dict[str, Any]]:
        """The test of one pair, in a list; an empty one where no cell has both numbers."""
        pairs = [
            {**mine, "pair": (mine["value"], theirs["value"])}
            for mine, theirs in zip(cells[method], cells[reference], strict=True)
            if np.isfinite([mine["value"], theirs["value"]]).all()
        ]
        if not pairs:
            return []
        first, second = (
            _unit_means(axis, pairs, lambda cell, i=i: cell["pair"][i]) for i in (0, 1)
        )
        options: dict[str, Any] = {"num_resamples": self.num_resamples}
        mean = bootstrap_interval(
            first - second, generator=self._generator(axis, metric), level=self.level, **options
        )
        p_value = sign_flip_p_value(
            first - second, generator=self._generator(axis, metric), **options
        )
        return [
            {
                "axis": axis,
                "method": method,
                "reference": reference,
                "metric": metric,
                "difference": mean.estimate,
                "low": mean.low,
                "high": mean.high,
                "p_value": p_value,
                "num_cells": len(pairs),
                "unit": UNITS[axis],
                "num_units": len(first),
            }
        ]

    def _generator(self, axis: str, metric: str) -> np.random.Generator:
        """The same draws for every method of an axis."""
        return np.random.default_rng(derive_seed(self.card.seed or 0, "resamples", axis, metric))


def unit_of(axis: str, cell: dict[str, Any]) -> tuple[Any, ...]:
    """Name the unit that a cell belongs to: its condition, its repetition, or itself; no shapes.

    Source: this project.
    """
    whole = {"condition": cell["condition"], "seed": cell["seed"]}
    return tuple(whole.values()) if UNITS[axis] == "cell" else (whole[UNITS[axis]],)


def _unit_means(
    axis: str, cells: Iterable[dict[str, Any]], value: Callable[[dict[str, Any]], float]
) -> Float[np.ndarray, " unit"]:
    groups: dict[tuple[Any, ...], list[float]] = {}
    for cell in cells:
        groups.setdefault(unit_of(axis, cell), []).append(value(cell))
    return np.array([np.mean(group) for group in groups.values()], dtype=np.float64)


def _table(kind: type[Any], rows: list[Any]) -> pa.Table:
    return pa.table({n: [getattr(row, n) for row in rows] for n in kind.__dataclass_fields__})
