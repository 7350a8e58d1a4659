"""From scores to sets: what one prompt says, and what paraphrases agree on.

Pure functions of stored scores; no model is needed to try another threshold.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from vesalius.core.checks import check_share
from vesalius.core.errors import VesaliusError

Neuron = tuple[int, int]
"""Layer and index in the layer, both from 0."""

STEP = 0.05  # of the share search, arXiv 2104.08696's code
EVALUATIONS = 6  # at most, arXiv 2104.08696's code


@final
@dataclass(frozen=True, kw_only=True)
class Refined:
    """The neurons that enough paraphrases agree on.

    ``counts`` says for each neuron in how many coarse sets it stands; ``found`` is False when the
    search over shares ended outside the wanted range.
    """

    neurons: tuple[Neuron, ...]
    counts: tuple[int, ...]
    share: float
    found: bool


def coarse_set(
    scores: Float[np.ndarray, "layer neuron"], *, threshold: float = 0.2
) -> frozenset[Neuron]:
    """Keep the neurons of one prompt that reach a share of its highest score.

    Args:
        scores: attributions, shape [layer, neuron].
        threshold: share of the maximum; nothing is kept when no score is positive.

    Raises:
        VesaliusError: a threshold outside (0, 1], or scores that are not finite.

    Source: arXiv 2104.08696, section 3.3 (t = 0.2).
    """
    check_share("threshold", threshold, usual=0.7)
    if not np.isfinite(scores).all():
        raise VesaliusError(
            given="scores with NaN or infinity in them",
            expected="finite attributions",
            fix="locate again, with dtype='float32' if it was a half-precision type",
        )
    highest = float(scores.max())
    if highest <= 0:
        return frozenset()
    layers, neurons = np.nonzero(scores >= threshold * highest)
    return frozenset(zip(layers.tolist(), neurons.tolist(), strict=True))


def refine(
    coarse_sets: Sequence[frozenset[Neuron]], *, share: float, min_prompts: int = 3
) -> Refined:
    """Keep the neurons that stand in at least ``max(share * n, min_prompts)`` of n coarse sets.

    With fewer than ``min_prompts`` prompts all of them must agree. The neurons come back most
    agreed upon first. No shapes.

    >>> sets = [frozenset({(0, 1), (2, 3)}), frozenset({(0, 1)}), frozenset({(0, 1), (2, 4)})]
    >>> refine(sets, share=0.7).neurons
    ((0, 1),)

    Raises:
        VesaliusError: a share outside (0, 1].

    Source: arXiv 2104.08696, section 3.3; the floor of 3 prompts is in the authors' code.
    """
    check_share("share", share, usual=0.7)
    counts = Counter(neuron for found in coarse_sets for neuron in found)
    # 0.7 * 10 is 7.000000000000001 in binary: the share is meant exactly
    needed = max(math.ceil(round(share * len(coarse_sets), 9)), min(min_prompts, len(coarse_sets)))
    kept = sorted((n for n, c in counts.items() if c >= needed), key=lambda n: (-counts[n], n))
    return Refined(
        neurons=tuple(kept), counts=tuple(counts[n] for n in kept), share=share, found=True
    )


def search_share(
    facts: Sequence[Sequence[frozenset[Neuron]]],
    *,
    start: float = 0.7,
    wanted: tuple[int, int] = (2, 5),
    min_prompts: int = 3,
) -> tuple[float, tuple[Refined, ...]]:
    """Find the share at which the facts of one relation keep a wanted number of neurons on average.

    Args:
        facts: the coarse sets of every fact's prompts.
        start: the first share to try.
        wanted: lowest and highest mean number of neurons.
        min_prompts: see :func:`refine`.

    Returns:
        The share, and the refined set of every fact at it; ``found`` says if the mean is in range.

    Raises:
        VesaliusError: no fact, or a fact without prompts. No shapes.

    Source: arXiv 2104.08696's code: steps of 0.05, at most 6 evaluations, p shared by a relation.
    """
    if not facts or not all(facts):
        raise VesaliusError(
            given="no coarse sets", expected="at least one prompt per fact", fix="locate first"
        )
    low, high = wanted
    tried: dict[float, float] = {}
    share = start
    for _ in range(EVALUATIONS):
        mean = _mean_size(facts, share, min_prompts)
        tried[share] = mean
        if low <= mean <= high:
            break
        following = round(share + (STEP if mean > high else -STEP), 2)
        if following in tried or not 0 < following <= 1:
            break
        share = following
    share = min(tried, key=lambda s: (max(low - tried[s], tried[s] - high, 0), abs(s - start)))
    found = low <= tried[share] <= high
    refined = [refine(sets, share=share, min_prompts=min_prompts) for sets in facts]
    return share, tuple(
        Refined(neurons=r.neurons, counts=r.counts, share=share, found=found) for r in refined
    )


def _mean_size(
    facts: Sequence[Sequence[frozenset[Neuron]]], share: float, min_prompts: int
) -> float:
    sizes = [len(refine(sets, share=share, min_prompts=min_prompts).neurons) for sets in facts]
    return sum(sizes) / len(sizes)
