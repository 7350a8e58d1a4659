"""What `verify-variance` returns: how much a sampler steadies the discriminator, slot by slot.

Source: this project, paper.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from vesalius.core.checks import check_word
from vesalius.core.result import AbstractResult, register_result
from vesalius.numerics.statistics import Interval

GENERATOR: Final = "generator"
LOSS: Final = "loss"
LOGIT: Final = "logit gradient"
PARAMETERS: Final = "parameter gradient"
QUANTITIES: Final = (LOSS, LOGIT, PARAMETERS)
OPTIMA: Final[Mapping[str, str]] = MappingProxyType(
    {quantity: f"best for the {quantity}" for quantity in QUANTITIES}
)
QUANTILES: Final = (0.1, 0.25, 0.75, 0.9)
HIGHEST_MEDIAN: Final = 1.001  # above it a sampler does harm; 1 with room for rounding
LARGEST_BIAS: Final = 1e-3  # relative; float32 weights keep far within


@final
@dataclass(frozen=True, kw_only=True)
class VarianceRatio:
    """A sampler's variance over the generator's, over the slots where the generator has any.

    ``median`` and ``mean`` are of the slots' ratios; ``total`` is the ratio of the sums, in which
    slots count by their variance. ``quantiles`` are those of `QUANTILES`. Intervals: bootstrap
    over slots.
    """

    sampler: str
    quantity: str
    num_slots: int
    median: Interval
    mean: Interval
    total: Interval
    quantiles: tuple[float, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SlotExample:
    """The candidates that matter most at one slot: the original, then by q times the loss."""

    slot: int  # its number in the result
    tokens: tuple[str, ...]
    ids: Int[np.ndarray, " candidate"]
    nats: Float[np.ndarray, " candidate"]
    probs: Float[np.ndarray, "sampler candidate"]
    weights: Float[np.ndarray, "sampler candidate"]
    mean_nats: float  # over the whole vocabulary


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VarianceResult(AbstractResult):
    """Mean and variance of the discriminator's weighted loss and gradients at held-out slots.

    At a slot the token is varied and all others are those of one draw. ``samplers`` begin with
    the generator and end with the best possible for each quantity. ``variances``
    [quantity, sampler, slot] are in nats², 1, and squared units of the gradient; NaN where a
    quantity was not taken. ``means_nats`` are E[w l] with the weights as the training has them;
    all samplers have the generator's. ``cut_means_nats``: the same, weights cut at ``max_weight``.
    ``elsewhere_nats``: expected loss, summed over the document's other tokens, which no weight
    corrects. ``probs_original``: chance of drawing the original. ``effective_shares``: 1 / E[w²],
    small at the optimum too: no sign of trouble.
    """

    kind: ClassVar[str] = "electra.variance"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("electra", "electra_pretraining")

    samplers: tuple[str, ...]
    is_exact: bool  # every token of the vocabulary was looked at
    vocab_size: int
    max_weight: float
    batch_numbers: Int[np.ndarray, " slot"]
    slots: Int[np.ndarray, " slot"]  # places in the flattened batch
    originals: Int[np.ndarray, " slot"]
    masked: Bool[np.ndarray, " slot"]
    num_candidates: Int[np.ndarray, " slot"]
    variances: Float[np.ndarray, "quantity sampler slot"]
    means_nats: Float[np.ndarray, "sampler slot"]
    cut_means_nats: Float[np.ndarray, "sampler slot"]
    elsewhere_nats: Float[np.ndarray, "sampler slot"]
    probs_original: Float[np.ndarray, "sampler slot"]
    effective_shares: Float[np.ndarray, "sampler slot"]
    ratios: tuple[VarianceRatio, ...]
    example: SlotExample

    @property
    def learned(self) -> tuple[str, ...]:
        """The samplers between the generator and the optima: those with a hardness head."""
        return tuple(name for name in self.samplers[1:] if name not in OPTIMA.values())

    @property
    def largest_bias(self) -> float:
        """The largest relative difference of a learned sampler's mean from the generator's."""
        places = [self.samplers.index(name) for name in self.learned]
        if not places:
            return 0.0
        return float(np.abs(self.means_nats[places] / self.means_nats[0] - 1).max())

    def ratio(self, sampler: str, quantity: str = LOSS) -> VarianceRatio:
        """Give the ratio of a sampler's variance to the generator's.

        Raises:
            VesaliusError: a sampler or a quantity that was not taken.
        """
        check_word("quantity", quantity, tuple(dict.fromkeys(r.quantity for r in self.ratios)))
        of_it = {each.sampler: each for each in self.ratios if each.quantity == quantity}
        check_word("sampler", sampler, tuple(of_it))
        return of_it[sampler]

    def slot_ratios(self, sampler: str, quantity: str = LOSS) -> Float[np.ndarray, " slot"]:
        """Give a sampler's variance over the generator's at each slot, [slot].

        NaN where it was not taken, or where the generator has no variance.

        Raises:
            VesaliusError: an unknown sampler or quantity.
        """
        check_word("sampler", sampler, self.samplers)
        check_word("quantity", quantity, QUANTITIES)
        here = self.variances[QUANTITIES.index(quantity)]
        return divide(here[self.samplers.index(sampler)], here[0])

    def alarms(self) -> tuple[str, ...]:
        """Say what is wrong with a learned sampler: a median ratio above 1, or a mean that moved.

        Source: this project, paper.md.
        """
        found = [
            f"{name}: at most slots the variance of the loss is above the generator's "
            f"(median ratio {self.ratio(name).median.estimate:.3f})"
            for name in self.learned
            if self.ratio(name).median.estimate > HIGHEST_MEDIAN
        ]
        if self.largest_bias > LARGEST_BIAS:
            found.append(
                f"a weighted mean is off by {self.largest_bias:.2%}: the sampler misses tokens"
            )
        return tuple(found)

    def to_table(self) -> pa.Table:
        """One row for each slot and sampler.

        Source: this project.
        """
        return pa.Table.from_pylist(
            [self._row(k, i) for i in range(len(self.slots)) for k in range(len(self.samplers))]
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw how the ratios spread over the slots; returns matplotlib Axes.

        Source: this project.
        """
        from vesalius.methods.electra.plot import plot_variance

        return plot_variance(self, ax=ax)

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.

        Source: this project.
        """
        from vesalius.methods.electra.report import write_variance

        return write_variance(self, path, force=force)

    def _row(self, sampler: int, slot: int) -> dict[str, Any]:
        numbers = {
            "mean_nats": self.means_nats,
            "cut_mean_nats": self.cut_means_nats,
            "elsewhere_nats": self.elsewhere_nats,
            "prob_original": self.probs_original,
            "effective_share": self.effective_shares,
        }
        return {
            "batch": int(self.batch_numbers[slot]),
            "slot": int(self.slots[slot]),
            "original": int(self.originals[slot]),
            "masked": bool(self.masked[slot]),
            "num_candidates": int(self.num_candidates[slot]),
            "sampler": self.samplers[sampler],
            **{name: float(values[sampler, slot]) for name, values in numbers.items()},
            **{
                f"{quantity.replace(' ', '_')}_variance": float(self.variances[q, sampler, slot])
                for q, quantity in enumerate(QUANTITIES)
            },
        }


def divide(
    variance: Float[np.ndarray, " slot"], generators: Float[np.ndarray, " slot"]
) -> Float[np.ndarray, " slot"]:
    """Divide by the generator's variance, [slot]; NaN where that is nothing but rounding.

    Source: this project.
    """
    known = generators > 1e-14  # of a loss of a few nats, or a slope of one
    return np.where(known, variance / np.where(known, generators, 1.0), np.nan)
