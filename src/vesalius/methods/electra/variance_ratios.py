"""Slots put together: the arrays of a result, its ratios with intervals, and the slot it shows.

Source: this project.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float64

from vesalius.core.seeds import derive_seed
from vesalius.methods.electra.moments import SlotMoments
from vesalius.methods.electra.result import (
    GENERATOR,
    LOSS,
    QUANTILES,
    QUANTITIES,
    SlotExample,
    VarianceRatio,
    divide,
)
from vesalius.numerics.statistics import bootstrap_interval, ratio_interval

_MOST_SHOWN: Final = 8  # candidates of the example
_NUM_RESAMPLES: Final = 2000


def gather(
    found: Sequence[SlotMoments], *, max_weight: float, tokenizer: Any, seed: int
) -> dict[str, Any]:
    """Return the fields of a `VarianceResult` that come from the slots.

    Shapes: as in `VarianceResult`. ``tokenizer`` names tokens; None shows their ids.
    """
    # the best for a quantity that was taken nowhere is left out
    kept = [k for k in range(len(found[0].samplers)) if any(map(_has(k), found))]
    variances = np.stack([each.variances[:, kept] for each in found], axis=-1)
    samplers = tuple(found[0].samplers[place] for place in kept)

    def by_sampler(rows: Sequence[Float64[np.ndarray, " sampler"]]) -> Any:
        return np.stack([row[kept] for row in rows], axis=-1)

    return {
        "samplers": samplers,
        "is_exact": all(each.candidates.is_exact for each in found),
        "vocab_size": found[0].slot.logits.shape[-1],
        "max_weight": max_weight,
        "originals": np.array([each.slot.original for each in found]),
        "masked": np.array([each.slot.masked for each in found]),
        "num_candidates": np.array([len(each.candidates.ids) for each in found]),
        "variances": variances,
        "means_nats": by_sampler([each.means_nats for each in found]),
        "cut_means_nats": by_sampler([each.cut_means(max_weight=max_weight) for each in found]),
        "elsewhere_nats": by_sampler(
            [each.expected(each.verdict.elsewhere_nats) for each in found]
        ),
        "probs_original": by_sampler([each.probs_original() for each in found]),
        "effective_shares": by_sampler([each.effective_shares() for each in found]),
        "ratios": summarise(samplers, variances, seed=seed),
        "example": _example(found, kept, variances[QUANTITIES.index(LOSS), 0], tokenizer),
    }


def summarise(
    samplers: Sequence[str], variances: Float[np.ndarray, "quantity sampler slot"], *, seed: int
) -> tuple[VarianceRatio, ...]:
    """Divide every sampler's variances [quantity, sampler, slot] by the generator's.

    Slots at which the generator has no variance, or where a quantity was not taken, are left out;
    a sampler and quantity without any slot has no ratio.
    """
    found: list[VarianceRatio] = []
    for quantity, of_it in zip(QUANTITIES, variances, strict=True):
        for sampler, own in zip(samplers, of_it, strict=True):
            ratios = divide(own, of_it[0])
            known = np.isfinite(ratios)
            if sampler == GENERATOR or not known.any():
                continue
            generator = np.random.default_rng(derive_seed(seed, "ratios", quantity, sampler))
            options: dict[str, Any] = {"generator": generator, "num_resamples": _NUM_RESAMPLES}
            found.append(
                VarianceRatio(
                    sampler=sampler,
                    quantity=quantity,
                    num_slots=int(known.sum()),
                    median=bootstrap_interval(ratios[known], statistic=np.median, **options),
                    mean=bootstrap_interval(ratios[known], **options),
                    total=ratio_interval(own[known], of_it[0][known], **options),
                    quantiles=tuple(float(q) for q in np.quantile(ratios[known], QUANTILES)),
                )
            )
    return tuple(found)


def _has(sampler: int) -> Callable[[SlotMoments], bool]:
    return lambda each: bool(each.weights[sampler].isfinite().any())


def _example(
    found: Sequence[SlotMoments],
    kept: Sequence[int],
    variances: Float[np.ndarray, " slot"],
    tokenizer: Any,
) -> SlotExample:
    """Show the slot of the median variance under the generator: neither easy nor extreme."""
    place = int(np.argsort(variances, kind="stable")[len(variances) // 2])
    chosen = found[place]
    ids, original = chosen.candidates.ids, chosen.slot.original
    q = chosen.slot.logits[0].double().softmax(-1)[ids]
    matters = q * chosen.verdict.nats
    matters[ids == original] = torch.inf
    shown = matters.argsort(descending=True, stable=True)[:_MOST_SHOWN]
    weights = chosen.weights[list(kept)][:, shown]
    names = list(map(str, ids[shown].tolist()))
    if tokenizer is not None:
        names = list(map(str, tokenizer.convert_ids_to_tokens(ids[shown].tolist())))
    return SlotExample(
        slot=place,
        tokens=tuple(names),
        ids=ids[shown].numpy(),
        nats=chosen.verdict.nats[shown].numpy(),
        probs=(q[shown] / weights).numpy(),
        weights=weights.numpy(),
        mean_nats=float(chosen.means_nats[0]),
    )
