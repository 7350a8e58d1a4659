"""The result of ``attention heads``: how much each head matters, by several measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.attention_attribution.result import Site
from vesalius.numerics.statistics import rank_correlation

ATTENTION: Final = "attention"
TAYLOR: Final = "taylor"
ACCURACY: Final = "accuracy-difference"


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HeadImportance(AbstractResult):
    """How much every head matters to a model's decisions on some texts.

    ``measures`` name the rows of ``values`` [measure, text, site, head]: poolings of attributions,
    ``attention`` (the largest probability) and, where asked for, ``taylor``. ``right_without``
    [site, head, text] says which texts the model still gets right without a head, ``right``
    [text] those it gets right; empty where not asked for. Heads that a site does not have are NaN
    (False). ``num_open`` [site] counts the texts whose attributions miss more than the tolerance,
    ``max_gap`` is the largest gap. ``text_hashes`` tell a later pruning curve which texts it may
    not evaluate on.
    """

    kind: ClassVar[str] = "attention_attribution.heads"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    sites: tuple[Site, ...]
    measures: tuple[str, ...]
    values: Float[np.ndarray, "measure text site head"]
    right: Bool[np.ndarray, " text"]
    right_without: Bool[np.ndarray, "tried head text"]  # no site was tried: 0
    text_hashes: tuple[str, ...]
    max_gap: float
    num_open: Int[np.ndarray, " site"]
    texts_per_second: float

    @property
    def names(self) -> tuple[str, ...]:
        """The measures that ``importance`` knows."""
        return (*self.measures, *((ACCURACY,) if len(self.right_without) else ()))

    def importance(self, by: str = "max") -> Float[np.ndarray, "site head"]:
        """Give one number per head, [site, head]: the mean over texts, or the accuracy lost.

        ``taylor`` is divided by each layer's root of the sum of squares, as its authors do.

        Raises:
            VesaliusError: a measure that was not taken.
        """
        if by not in self.names:
            raise VesaliusError(
                given=f"importance by {by!r}",
                expected=f"one of {', '.join(self.names)}",
                fix="take it: head_importance(..., baselines=('taylor', 'accuracy-difference'))"
                if by in (TAYLOR, ACCURACY)
                else "use max, the paper's",
            )
        if by == ACCURACY:
            lost = float(self.right.mean()) - self.right_without.mean(axis=2)
            return np.where(np.isnan(self.values[0].mean(axis=0)), np.nan, lost)
        mean = self.values[self.measures.index(by)].mean(axis=0, dtype=np.float64)
        if by != TAYLOR:
            return mean
        norm = np.sqrt(np.nansum(mean**2, axis=1, keepdims=True))
        return np.divide(mean, norm, out=np.zeros_like(mean), where=norm > 0) + 0 * mean

    def to_table(self) -> pa.Table:
        """One row per head: site, layer, head, and every measure.

        Source: this project.
        """
        real = np.argwhere(~np.isnan(self.importance(self.measures[0])))
        columns: dict[str, Any] = {
            "site": [self.sites[site].name for site, _ in real],
            "layer": [self.sites[site].layer for site, _ in real],
            "head": real[:, 1],
        }
        for name in self.names:
            columns[name] = self.importance(name)[tuple(real.T)]
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None, *, by: str = "max") -> Any:
        """Draw the importance of every head as a heat map; returns matplotlib Axes.

        Raises:
            VesaliusError: a measure that was not taken.

        Source: figure 3 of arXiv 2004.11207.
        """
        from vesalius.methods.attention_attribution.plot import plot_importance

        return plot_importance(self, by=by, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page about the heads.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.head_report import write_heads

        return write_heads(self, path, force=force)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HeadCorrelation:
    """How alike several tasks rank the same heads: Pearson's r and Spearman's rho, [task, task]."""

    tasks: tuple[str, ...]
    pearson: Float[np.ndarray, "task task"]
    spearman: Float[np.ndarray, "task task"]


def correlate_heads(
    importances: Sequence[HeadImportance], *, names: Sequence[str], by: str = "max"
) -> HeadCorrelation:
    """Correlate the importance of heads between tasks; matrices [task, task].

    Raises:
        VesaliusError: fewer than two, other names than results, models with other heads, or a
            measure by which all heads are equal.

    Source: arXiv 2004.11207, figure 5.
    """
    if len(importances) < 2 or len(names) != len(importances):
        raise VesaliusError(
            given=f"{len(importances)} results with {len(names)} names",
            expected="two or more, each with a name",
            fix="rank the heads of another task first",
        )
    columns = [each.importance(by) for each in importances]
    real = [~np.isnan(column) for column in columns]
    if any(
        c.shape != columns[0].shape or (r != real[0]).any()
        for c, r in zip(columns, real, strict=True)
    ):
        raise VesaliusError(
            given=f"heads of shapes {[list(c.shape) for c in columns]}",
            expected="models with the same heads",
            fix="compare models that were fine-tuned from one checkpoint",
        )
    flat = np.stack([column[real[0]] for column in columns])
    spearman = np.array([[rank_correlation(a, b) for b in flat] for a in flat])
    return HeadCorrelation(tasks=tuple(names), pearson=np.corrcoef(flat), spearman=spearman)
