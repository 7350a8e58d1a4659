"""What `landscape line` and `landscape surface` return.

Grids are indexed [x, y]: ``values[split][measure][i, j]`` belongs to ``(alphas[i], betas[j])``.
A value that is not finite is NaN, and stays NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.numerics.adaptive_grid import Interpolation

# places of examples, or whether each is taken
Chosen = Sequence[int] | Int[np.ndarray, " chosen"] | Bool[np.ndarray, " example"]
# split -> measure -> numbers
Measured = dict[str, dict[str, Float[np.ndarray, "..."]]]


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Line(AbstractResult):
    """Loss and other measures along one axis.

    ``values`` and ``standard_errors`` hold, by split and measure, the mean over examples at every
    point [x] and its standard error; loss in nats per example, error as a share. ``examples``
    hold each example's own [x, example] where they were kept, and ``labels`` its class.
    """

    kind: ClassVar[str] = "loss_landscape.line"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    axis: str
    norm: float  # Euclidean length of the axis
    alphas: Float[np.ndarray, " x"]
    solution: float  # where the model's own weights stand
    values: Measured
    standard_errors: Measured
    num_examples: dict[str, int]
    examples: Measured
    labels: dict[str, Int[np.ndarray, " example"]]

    def subset(self, chosen: Mapping[str, Chosen]) -> "Line":
        """Take the means over some examples of each split alone; costs no forward pass.

        Raises:
            VesaliusError: examples were not kept, or none is left.
        """
        return _subset(self, chosen)

    def of_class(self, label: int) -> "Line":
        """Take the means over the examples of one class.

        Raises:
            VesaliusError: examples were not kept, or there is none of that class.
        """
        return _subset(self, _of_class(self, label))

    def measured(self, split: str, measure: str) -> Float[np.ndarray, " x"]:
        """Give the mean of a measure at every point.

        Raises:
            VesaliusError: a split or measure that was not taken.
        """
        return pick(self.values, split, measure)

    def to_table(self) -> pa.Table:
        """One row for each point, split and measure: mean and standard error.

        Source: arXiv 1908.05620, figure 1.
        """
        return pa.Table.from_pylist(
            [
                {"alpha": float(alpha), "split": split, "measure": measure}
                | _cell(self, split, measure, (place,))
                for split, measures in self.values.items()
                for measure in measures
                for place, alpha in enumerate(self.alphas)
            ]
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw loss and error along the axis; returns matplotlib Axes.

        Source: arXiv 1908.05620, figure 1.
        """
        from vesalius.methods.loss_landscape.plot import plot_line

        return plot_line(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.report import write_line

        return write_line(self, path, force=force)


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Surface(AbstractResult):
    """Loss and other measures over a plane of two axes.

    ``values`` and ``standard_errors`` hold, by split and measure, the mean over examples at every
    point [x, y] and its standard error. ``evaluated`` [x, y] is False where ``interpolation``
    filled a point in. ``examples`` hold [x, y, example] where they were kept.
    """

    kind: ClassVar[str] = "loss_landscape.surface"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    axes: tuple[str, str]
    norms: tuple[float, float]  # Euclidean lengths of the axes
    cosine: float  # between the axes
    alphas: Float[np.ndarray, " x"]
    betas: Float[np.ndarray, " y"]
    solution: tuple[float, float]  # where the model's own weights stand
    values: Measured
    standard_errors: Measured
    num_examples: dict[str, int]
    evaluated: Bool[np.ndarray, "x y"]
    interpolation: Interpolation | None
    examples: Measured
    labels: dict[str, Int[np.ndarray, " example"]]

    def subset(self, chosen: Mapping[str, Chosen]) -> "Surface":
        """Take the means over some examples of each split alone; costs no forward pass.

        Raises:
            VesaliusError: examples were not kept, or none is left.
        """
        return _subset(self, chosen)

    def of_class(self, label: int) -> "Surface":
        """Take the means over the examples of one class.

        Raises:
            VesaliusError: examples were not kept, or there is none of that class.
        """
        return _subset(self, _of_class(self, label))

    def measured(self, split: str, measure: str) -> Float[np.ndarray, "x y"]:
        """Give the mean of a measure at every point.

        Raises:
            VesaliusError: a split or measure that was not taken.
        """
        return pick(self.values, split, measure)

    def minimum(self, split: str, measure: str) -> tuple[float, float, float]:
        """Give alpha, beta and value of the lowest finite point of the grid.

        Raises:
            VesaliusError: no such split or measure, or no finite point.
        """
        values = self.measured(split, measure)
        if not np.isfinite(values).any():
            raise VesaliusError(
                given=f"{split} {measure}: no point of the grid is finite",
                expected="a surface with finite values",
                fix="draw it with narrower bounds around the solution",
            )
        i, j = np.unravel_index(np.nanargmin(values), values.shape)
        return float(self.alphas[i]), float(self.betas[j]), float(values[i, j])

    def to_table(self) -> pa.Table:
        """One row for each point, split and measure: mean, standard error, whether evaluated.

        Source: arXiv 1908.05620, figure 2.
        """
        return pa.Table.from_pylist(
            [
                {"alpha": float(alpha), "beta": float(beta), "split": split, "measure": measure}
                | _cell(self, split, measure, (i, j))
                | {"evaluated": bool(self.evaluated[i, j])}
                for split, measures in self.values.items()
                for measure in measures
                for i, alpha in enumerate(self.alphas)
                for j, beta in enumerate(self.betas)
            ]
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the training loss as contours; returns matplotlib Axes.

        Source: arXiv 1908.05620, figure 2.
        """
        from vesalius.methods.loss_landscape.plot import plot_surface

        return plot_surface(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page, with a surface that can be turned.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.loss_landscape.report import write_surface

        return write_surface(self, path, force=force)


def pick(values: Measured, split: str, measure: str) -> Float[np.ndarray, "..."]:
    """Look a measure up, shape [x] or [x, y].

    Raises:
        VesaliusError: a split or measure that was not taken.

    Source: this project.
    """
    if split not in values or measure not in values[split]:
        raise VesaliusError(
            given=f"{measure!r} of {split!r}",
            expected="; ".join(f"{s}: {', '.join(m)}" for s, m in values.items()),
            fix="name one of these",
        )
    return values[split][measure]


def summarise(examples: Measured) -> tuple[Measured, Measured]:
    """Average measures [..., example] over examples: means and their standard errors [...].

    A mean that is not finite, and its error, are NaN.

    Source: the standard error of a mean.
    """
    means: Measured = {}
    errors: Measured = {}
    for split, measures in examples.items():
        means[split], errors[split] = {}, {}
        for measure, kept in measures.items():
            found = kept.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                mean = found.mean(axis=-1)
                spread = found.std(axis=-1, ddof=1) if found.shape[-1] > 1 else np.nan * mean
                error = spread / np.sqrt(found.shape[-1])
            finite = np.isfinite(mean)
            means[split][measure] = np.where(finite, mean, np.nan)
            errors[split][measure] = np.where(finite, error, np.nan)
    return means, errors


def _cell(
    result: Line | Surface, split: str, measure: str, place: tuple[int, ...]
) -> dict[str, float]:
    return {
        "mean": float(result.values[split][measure][place]),
        "standard_error": float(result.standard_errors[split][measure][place]),
    }


def _of_class(result: Line | Surface, label: int) -> dict[str, Bool[np.ndarray, " example"]]:
    if not result.labels:
        raise _not_kept()
    return {split: labels == label for split, labels in result.labels.items()}


def _subset(result: Any, chosen: Mapping[str, Any]) -> Any:
    if not result.examples:
        raise _not_kept()
    kept: Measured = {}
    labels: dict[str, Int[np.ndarray, " example"]] = {}
    for split, measures in result.examples.items():
        size = next(iter(measures.values())).shape[-1]
        rows = _rows(split, chosen[split], size) if split in chosen else np.arange(size)
        kept[split] = {measure: found[..., rows] for measure, found in measures.items()}
        if split in result.labels:
            labels[split] = result.labels[split][rows]
    means, errors = summarise(kept)
    return replace(
        result,
        values=means,
        standard_errors=errors,
        examples=kept,
        labels=labels,
        num_examples={s: next(iter(m.values())).shape[-1] for s, m in kept.items()},
    )


def _rows(split: str, chosen: Any, size: int) -> Int[np.ndarray, " chosen"]:
    """Give the places of the chosen examples; shape [chosen]."""
    given = np.asarray(chosen)
    rows = np.flatnonzero(given) if given.dtype == bool else given.astype(np.int64)
    inside = (given.dtype != bool or len(given) == size) and bool(
        ((rows >= 0) & (rows < size)).all()
    )
    if not len(rows) or not inside:
        raise VesaliusError(
            given=f"a subset {'outside' if len(rows) else 'without an example'} of {split}",
            expected=f"at least one of the {size} examples of each split that is named",
            fix="choose others, or leave the split out of the choice: it stays whole",
        )
    return rows


def _not_kept() -> VesaliusError:
    return VesaliusError(
        given="a result without the losses of single examples",
        expected="one that was made with keep_examples=True (--keep-examples)",
        fix="draw it again so",
    )
