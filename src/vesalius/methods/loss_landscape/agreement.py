"""`landscape agreement`: whether training loss and held-out measures are low in the same places.

The paper judges that by eye. Here it is three numbers for every held-out measure: the rank
correlation over the grid, the distance of the lowest points, and the overlap of the low regions;
and beside them how wide the low region around the solution is. All are computed from a finished
line or surface, without a forward pass.

Source: arXiv 1908.05620, section 3.4 (the question); this project (the numbers).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.methods.loss_landscape.examples import HELD_OUT, TRAIN
from vesalius.methods.loss_landscape.measures import LOSS
from vesalius.methods.loss_landscape.result import Line, Surface, pick
from vesalius.numerics.statistics import Interval
from vesalius.numerics.surface_measures import agreement as compare
from vesalius.numerics.surface_measures import region_area, width_at


@final
@dataclass(frozen=True, kw_only=True)
class Pair:
    """The training loss against one held-out measure.

    ``rank_interval`` resamples examples of both splits, where single examples were kept.
    """

    measure: str
    rank_correlation: float  # NaN where one of the two is the same everywhere
    rank_interval: Interval | None
    argmin_distance: float  # in units of the axes
    overlap: float  # of the low regions, as a share of their union


@final
@dataclass(frozen=True, kw_only=True)
class LowRegion:
    """The connected region around the solution within ``tau_nats`` of the loss there.

    ``extent`` is a width on a line, an area on a surface, in units of the axes; a lower bound where
    the region reaches the rim, ``is_open``.
    """

    split: str
    extent: float
    is_open: bool
    lowest_nats: float
    lowest_at: tuple[float, ...]
    solution_nats: float  # at the grid point that is nearest to the solution
    measured_at: tuple[float, ...]  # that point: the solution itself where the grid holds it


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceAgreement(AbstractResult):
    """How alike training and held-out landscapes are, and how wide their low regions."""

    kind: ClassVar[str] = "loss_landscape.agreement"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("loss_landscape",)

    tau_nats: float  # above the minimum of a loss, or for regions the loss at the solution
    margin: float  # above the minimum of another held-out measure
    pairs: tuple[Pair, ...]
    regions: tuple[LowRegion, ...]

    def to_table(self) -> pa.Table:
        """One row for each held-out measure.

        Source: this project.
        """
        return pa.Table.from_pylist(
            [
                {
                    "measure": pair.measure,
                    "rank_correlation": pair.rank_correlation,
                    "low": None if pair.rank_interval is None else pair.rank_interval.low,
                    "high": None if pair.rank_interval is None else pair.rank_interval.high,
                    "argmin_distance": pair.argmin_distance,
                    "overlap": pair.overlap,
                }
                for pair in self.pairs
            ]
        )

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()


def agreement(
    landscape: Line | Surface,
    *,
    tau_nats: float = 0.1,
    margin: float = 0.02,
    num_resamples: int = 200,
    seed: int = 0,
) -> SurfaceAgreement:
    """Compare the training loss with every held-out measure of a line or surface.

    Args:
        landscape: with train and held-out data.
        tau_nats: how far above its minimum the low region of a loss reaches, of train or held out.
        margin: how far that of an error, a share, or of another held-out measure does.
        num_resamples: of the examples, for intervals; needs single examples.
        seed: of the resampling.

    Raises:
        VesaliusError: no held-out data, no training loss, nothing finite, a number out of range.

    Source: arXiv 1908.05620, section 3.4; this project.
    """
    stopwatch = Stopwatch.start()
    check_count("num_resamples", num_resamples, lowest=0, usual=200)
    if not (0 <= tau_nats < np.inf and 0 <= margin < np.inf):
        raise VesaliusError(
            given=f"tau_nats={tau_nats}, margin={margin}",
            expected="finite numbers from 0",
            fix="use tau_nats=0.1 and margin=0.02",
        )
    if HELD_OUT not in landscape.values:
        raise VesaliusError(
            given="a landscape of training data alone",
            expected="held-out data measured in the same pass",
            fix="draw it again with held-out examples",
        )
    generator = np.random.default_rng(derive_seed(seed, "agreement"))
    again = list(_resampled(landscape, num_resamples, generator))
    return SurfaceAgreement(
        card=make_card(
            "landscape agreement",
            stopwatch=stopwatch,
            config={"tau_nats": tau_nats, "margin": margin, "num_resamples": num_resamples}
            | {"of": landscape.card.config},
            model=landscape.card.model,
            model_fingerprint=landscape.card.model_fingerprint,
            seed=seed,
        ),
        tau_nats=tau_nats,
        margin=margin,
        pairs=tuple(
            _pair(landscape, again, measure, tau_nats=tau_nats, margin=margin)
            for measure in landscape.values[HELD_OUT]
        ),
        regions=tuple(_region(landscape, split, tau_nats) for split in landscape.values),
    )


def _pair(
    landscape: Line | Surface,
    again: list[Line | Surface],
    measure: str,
    *,
    tau_nats: float,
    margin: float,
) -> Pair:
    found = _compared(landscape, measure, tau_nats=tau_nats, margin=margin)
    ranks = [
        _compared(other, measure, tau_nats=tau_nats, margin=margin).spearman for other in again
    ]
    interval = None
    if ranks and np.isfinite(ranks).all():
        low, high = np.quantile(ranks, [0.025, 0.975])
        interval = Interval(
            estimate=found.spearman,
            low=float(low),
            high=float(high),
            level=0.95,
            num_resamples=len(ranks),
        )
    return Pair(
        measure=measure,
        rank_correlation=found.spearman,
        rank_interval=interval,
        argmin_distance=found.argmin_distance,
        overlap=found.overlap,
    )


def _compared(landscape: Line | Surface, measure: str, *, tau_nats: float, margin: float) -> Any:
    return compare(
        pick(landscape.values, TRAIN, LOSS),
        pick(landscape.values, HELD_OUT, measure),
        alphas=landscape.alphas,
        betas=landscape.betas if isinstance(landscape, Surface) else None,
        tau_nats=tau_nats,
        margin=tau_nats if measure == LOSS else margin,
    )


def _resampled(
    landscape: Line | Surface, count: int, generator: np.random.Generator
) -> Iterator[Line | Surface]:
    """Draw the examples of each split anew, with replacement."""
    if not landscape.examples:
        return
    for _ in range(count):
        yield landscape.subset(
            {split: generator.integers(n, size=n) for split, n in landscape.num_examples.items()}
        )


def _region(landscape: Line | Surface, split: str, tau_nats: float) -> LowRegion:
    losses = pick(landscape.values, split, LOSS)
    if isinstance(landscape, Surface):
        i = _nearest(landscape.alphas, landscape.solution[0])
        j = _nearest(landscape.betas, landscape.solution[1])
        at_solution = float(losses[i, j])
        places = float(landscape.alphas[i]), float(landscape.betas[j])
        region = region_area(
            landscape.alphas, landscape.betas, losses, centre=places, level=at_solution + tau_nats
        )
        extent, is_open = region.area, region.open
        measured_at = places
        alpha, beta, lowest = landscape.minimum(split, LOSS)
        lowest_at = (alpha, beta)
    else:
        place = _nearest(landscape.alphas, landscape.solution)
        at_solution = float(losses[place])
        width = width_at(
            landscape.alphas,
            losses,
            centre=float(landscape.alphas[place]),
            level=at_solution + tau_nats,
        )
        extent, is_open = width.width, width.open_low or width.open_high
        measured_at = (float(landscape.alphas[place]),)
        best = int(np.nanargmin(losses))
        lowest, lowest_at = float(losses[best]), (float(landscape.alphas[best]),)
    return LowRegion(
        split=split,
        extent=extent,
        is_open=is_open,
        lowest_nats=lowest,
        lowest_at=lowest_at,
        solution_nats=at_solution,
        measured_at=measured_at,
    )


def _nearest(places: np.ndarray, wanted: float) -> int:
    """The grid point that is nearest to the solution, which lies on the grid as a rule."""
    return int(np.abs(places - wanted).argmin())
