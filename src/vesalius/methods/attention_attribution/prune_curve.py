"""Accuracy against the share of heads removed, in several orders, on texts of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.attention_attribution.head_measures import MEASURES
from vesalius.methods.attention_attribution.head_result import HeadImportance
from vesalius.methods.attention_attribution.heads import text_hashes
from vesalius.methods.attention_attribution.inputs import Inputs, encode_inputs, plan_batches
from vesalius.methods.attention_attribution.pruning import (
    first_share,
    importance_of,
    rank_units,
    removal_units,
)
from vesalius.methods.attention_attribution.targets import Target, ask
from vesalius.models.attention_replay import replay_heads
from vesalius.models.attention_sites import attention_sites
from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    paired_difference,
)
from vesalius.parallel.memory import parse_bytes

RANDOM: Final = "random"
SHARES: Final = tuple(round(0.1 * i, 1) for i in range(11))


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PruneCurve(AbstractResult):
    """Accuracy of a masked model while heads go, the least important first.

    ``right`` [order, share, text] says which texts are right; for ``random`` it is the mean over
    ``num_random`` orders. ``majority`` is the accuracy of always giving the commonest class.
    """

    kind: ClassVar[str] = "attention_attribution.prune"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("attention_attribution",)

    orders: tuple[str, ...]
    shares: Float[np.ndarray, " share"]
    right: Float[np.ndarray, "order share text"]
    majority: float
    num_random: int
    verdict: str

    def accuracy(self, order: str) -> tuple[Interval, ...]:
        """Give the accuracy at each share with its bootstrap interval over texts.

        Raises:
            VesaliusError: an order that was not taken.
        """
        return tuple(
            bootstrap_interval(right, generator=np.random.default_rng(self.card.seed or 0))
            for right in self.right[self._order(order)]
        )

    def difference(self, first: str, second: str) -> PairedDifference:
        """Compare two orders by the mean accuracy over all shares but none and all, text by text.

        Raises:
            VesaliusError: an order that was not taken.
        """
        inner = (self.shares > 0) & (self.shares < 1)
        means = [self.right[self._order(name)][inner].mean(axis=0) for name in (first, second)]
        return paired_difference(*means, generator=np.random.default_rng(self.card.seed or 0))

    def to_table(self) -> pa.Table:
        """One row per order and share: accuracy and its interval.

        Source: figure 4 of arXiv 2004.11207.
        """
        rows = [
            {
                "order": order,
                "share_removed": float(share),
                "accuracy": found.estimate,
                "low": found.low,
                "high": found.high,
            }
            for order in self.orders
            for share, found in zip(self.shares, self.accuracy(order), strict=True)
        ]
        return pa.Table.from_pylist(rows)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the curves; returns matplotlib Axes.

        Source: figure 4 of arXiv 2004.11207.
        """
        from vesalius.methods.attention_attribution.plot import plot_prune_curve

        return plot_prune_curve(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.attention_attribution.head_report import write_prune_curve

        return write_prune_curve(self, path, force=force)

    def _order(self, name: str) -> int:
        if name not in self.orders:
            raise VesaliusError(
                given=f"order {name!r}",
                expected=f"one of {', '.join(self.orders)}",
                fix="name it when the curve is taken",
            )
        return self.orders.index(name)


def prune_curve(
    specimen: Specimen,
    texts: Inputs,
    importance: HeadImportance,
    *,
    labels: Target | Sequence[Target],
    pairs: Sequence[str] | None = None,
    orders: Sequence[str] | None = None,
    shares: Sequence[float] = SHARES,
    num_random: int = 10,
    memory: str = "1GiB",
    seed: int = 0,
) -> PruneCurve:
    """Remove heads by masking, the least important first, and take the accuracy at each share.

    Args:
        specimen: the model whose heads were measured.
        texts: what to evaluate on; none of them may have been used to measure importance.
        importance: from :func:`head_importance`.
        labels: the right classes.
        pairs: the second texts.
        orders: measures of ``importance``; max, attention and the baselines that were taken.
        shares: of the heads removed.
        num_random: random orders to average, beside the others; 0 for none.
        memory: what the streams of one run may take.
        seed: of the random orders and the intervals.

    Raises:
        VesaliusError: texts that importance was measured on, importance of another model,
            labels that do not fit, a share outside [0, 1], or nothing to draw.

    Source: arXiv 2004.11207, section 4.3, with an evaluation split of its own.
    """
    stopwatch = Stopwatch.start()
    names = tuple(orders) if orders is not None else usual_orders(importance)
    _check_curve(names, shares, num_random)
    _refuse_leak(importance, texts, pairs)
    batch = encode_inputs(specimen, texts, pairs=pairs)
    right = ask(specimen, batch.num_prompts, targets=labels, foils=None, kind="probability").targets
    assert right is not None
    gates = _gates(specimen, importance, names, shares, num_random, seed)
    found = _answers(specimen, batch, right, gates, num_random, parse_bytes(memory))
    names = (*names, RANDOM) if num_random else names
    counts = np.bincount(right.cpu().numpy())
    return PruneCurve(
        card=make_card(
            "attention prune",
            stopwatch=stopwatch,
            config={"shares": list(shares), "num_random": num_random, "num_texts": len(right)},
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            seed=seed,
        ),
        orders=names,
        shares=np.array(shares, dtype=np.float64),
        right=found,
        majority=float(counts.max() / counts.sum()),
        num_random=num_random,
        verdict=_verdict(names, np.array(shares), found),
    )


def usual_orders(importance: HeadImportance) -> tuple[str, ...]:
    """Name the orders that are compared: the paper's measure, and what pools no attributions.

    Source: figure 4 of arXiv 2004.11207. No shapes.
    """
    return ("max", *(name for name in importance.names if name not in MEASURES))


def _gates(
    specimen: Specimen,
    importance: HeadImportance,
    names: Sequence[str],
    shares: Sequence[float],
    num_random: int,
    seed: int,
) -> Float[torch.Tensor, "ranking share one site head"]:
    """One set of gates for each order and share, named orders first, then random ones."""
    sites, units = attention_sites(specimen), removal_units(specimen)
    ranked = [rank_units(importance_of(specimen, importance, by=name), units) for name in names]
    for number in range(num_random):
        generator = np.random.default_rng(derive_seed(seed, "order", number))
        ranked.append(tuple(units[i] for i in generator.permutation(len(units))))
    widest = max(site.num_heads for site in sites)
    gates = torch.ones(len(ranked), len(shares), 1, len(sites), widest)
    for row, order in enumerate(ranked):
        for column, share in enumerate(shares):
            for site, head in first_share(order, share=share):
                gates[row, column, 0, site, head] = 0
    return gates


def _answers(
    specimen: Specimen,
    batch: Batch,
    labels: torch.Tensor,
    gates: Float[torch.Tensor, "ranking share one site head"],
    num_random: int,
    memory: int,
) -> Float[np.ndarray, "order share text"]:
    """What is right in every order, the random ones as their mean."""
    right = _right(specimen, batch, labels, gates.flatten(0, 1), memory).astype(np.float64)
    right = right.reshape(*gates.shape[:2], -1)
    if not num_random:
        return right
    mean = right[-num_random:].mean(axis=0, keepdims=True)
    return np.concatenate((right[:-num_random], mean))


def _right(
    specimen: Specimen, batch: Batch, labels: torch.Tensor, gates: torch.Tensor, memory: int
) -> Bool[np.ndarray, "set text"]:
    found = np.zeros((len(gates), batch.num_prompts), dtype=bool)
    for texts in plan_batches(specimen, batch, memory_bytes=memory):
        part = batch.select(texts).trimmed()
        logits = replay_heads(specimen, part, gates, memory_bytes=memory)
        found[:, texts.cpu().numpy()] = (logits.argmax(-1) == labels[texts]).cpu().numpy()
    return found


def _check_curve(names: Sequence[str], shares: Sequence[float], num_random: int) -> None:
    check_count("num_random", num_random, lowest=0, usual=10)
    if not len(shares) or not (names or num_random):
        raise VesaliusError(
            given=f"{len(names)} orders, {num_random} random ones and {len(shares)} shares",
            expected="an order and a share, at least",
            fix="leave orders and shares out",
        )


def _refuse_leak(importance: HeadImportance, texts: Inputs, pairs: Sequence[str] | None) -> None:
    shared = set(importance.text_hashes) & set(text_hashes(texts, pairs))
    if shared:
        raise VesaliusError(
            given=f"{len(shared)} texts that the importance of heads was measured on",
            expected="evaluation on other texts: a curve on its own texts flatters the order",
            fix="measure importance on train or dev, evaluate on test",
        )


def _verdict(
    names: Sequence[str],
    shares: Float[np.ndarray, " share"],
    right: Float[np.ndarray, "order share text"],
) -> str:
    """The accuracy with all heads and, of each order, with half of them."""
    half = int(np.abs(shares - 0.5).argmin())
    words = [f"{name} {right[i, half].mean():.1%}" for i, name in enumerate(names)]
    whole = right[0, int(shares.argmin())].mean()
    return (
        f"{whole:.1%} right with {1 - shares.min():.0%} of the heads; with {shares[half]:.0%} of "
        f"them removed: {', '.join(words)}."
    )
