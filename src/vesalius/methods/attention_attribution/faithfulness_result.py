"""The result of ``attention faithfulness``: what the model says when links go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.core.result import AbstractResult, register_result
from vesalius.methods.attention_attribution.deletion import MODES
from vesalius.numerics.statistics import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    paired_difference,
)

DELETED: Final = ("tree", "attention", "random")
CURVE_ORDERS: Final = ("attribution", "attention", "random")
DIRECTIONS: Final = ("deletion", "insertion")


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Faithfulness(AbstractResult):
    """What a model says without the links of a text's tree, beside others of the same number.

    ``prob`` [text] is the target's probability untouched, ``num_links`` [text] the size of its
    tree. ``deleted`` [text, mode, way] is the probability with links set to ``zero`` or
    ``uniform``: those of the tree, those with the highest attention, random ones (mean of several
    sets). ``curves`` [text, direction, order, share] is the probability with a share of all links
    out, in the order of attribution, attention or at random, and with that share alone left in.
    ``agreement`` [text] is the rank correlation of the scores with those of a copy with shuffled
    weights; empty where not asked for.
    """

    kind: ClassVar[str] = "attention_attribution.faithfulness"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    prob: Float[np.ndarray, " text"]
    num_links: Int[np.ndarray, " text"]
    deleted: Float[np.ndarray, "text mode way"]
    shares: Float[np.ndarray, " share"]
    curves: Float[np.ndarray, "text direction order share"]
    agreement: Float[np.ndarray, " _"]
    verdict: str

    def drop(self, way: str = "tree", *, mode: str = "zero") -> Interval:
        """Give the mean loss of probability without links, with its bootstrap interval."""
        return bootstrap_interval(self._drops(way, mode), generator=self._generator())

    def difference(self, other: str, *, mode: str = "zero") -> PairedDifference:
        """Compare what the tree's links take away with what other links do, text by text."""
        mine, theirs = self._drops("tree", mode), self._drops(other, mode)
        return paired_difference(mine, theirs, generator=self._generator())

    def area(self, order: str, *, direction: str = "deletion") -> Interval:
        """Give the area under a curve, mean probability over all shares, with its interval.

        In deletion a small area is faithful, in insertion a large one.
        """
        found = self.curves[:, DIRECTIONS.index(direction), CURVE_ORDERS.index(order)]
        areas = np.trapezoid(found, self.shares, axis=1) / np.ptp(self.shares)
        return bootstrap_interval(areas, generator=self._generator())

    def to_table(self) -> pa.Table:
        """One row per mode and way: mean loss of probability, interval, difference to the tree.

        Source: this project, after section 4.2 of arXiv 2004.11207.
        """
        rows: list[dict[str, Any]] = []
        for mode in MODES:
            for way in DELETED:
                drop = self.drop(way, mode=mode)
                row: dict[str, Any] = {
                    "links_become": mode,
                    "links": way,
                    "loss_of_prob": drop.estimate,
                    "low": drop.low,
                    "high": drop.high,
                    "tree_takes_more": None,
                    "p_value": None,
                }
                if way != "tree":
                    more = self.difference(way, mode=mode)
                    row |= {"tree_takes_more": more.mean.estimate, "p_value": more.p_value}
                rows.append(row)
        return pa.Table.from_pylist(rows)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None, *, direction: str = "deletion") -> Any:
        """Draw the deletion or insertion curves; returns matplotlib Axes.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.plot import plot_faithfulness

        return plot_faithfulness(self, direction=direction, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.head_report import write_faithfulness

        return write_faithfulness(self, path, force=force)

    def _drops(self, way: str, mode: str) -> Float[np.ndarray, " text"]:
        place = next(i for i, name in enumerate(MODES) if name == mode)
        return self.prob - self.deleted[:, place, DELETED.index(way)]

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.card.seed or 0)


def faithfulness_verdict(
    prob: Float[np.ndarray, " text"],
    deleted: Float[np.ndarray, "text mode way"],
    num_links: Int[np.ndarray, " text"],
    seed: int,
) -> str:
    """Say whether the tree's links take more away than others; arrays as in Faithfulness.

    Source: this project.
    """
    drops = prob[:, None] - deleted[:, 0]
    words = [f"{name} {drops[:, i].mean():+.3f}" for i, name in enumerate(DELETED)]
    if len(prob) < 5:
        return (
            f"{len(prob)} texts, {num_links.mean():.1f} links each: loss of probability "
            f"{', '.join(words)}; too few texts for a test."
        )
    tests = [
        paired_difference(drops[:, 0], drops[:, i], generator=np.random.default_rng(seed))
        for i in (1, 2)
    ]
    beats = [
        "takes more away than" if t.mean.low > 0 else "takes less away than" if t.mean.high < 0
        else "does not differ from"
        for t in tests
    ]  # fmt: skip
    return (
        f"{len(prob)} texts, {num_links.mean():.1f} links each: without them the probability falls "
        f"by {', '.join(words)}. The tree {beats[0]} the highest attention, and {beats[1]} random "
        "links (95 %)."
    )
