"""Means and variances at one slot, under the generator, learned samplers and the best possible.

Source: this project, paper.md; importance sampling as in Owen 2013, Monte Carlo theory, methods
and examples, chapter 9.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from vesalius.core.checks import check_count
from vesalius.methods.electra.candidates import Candidates, Sampler, choose_candidates
from vesalius.methods.electra.enumeration import Slot, Verdict, judge, parameter_gradients
from vesalius.methods.electra.result import GENERATOR, OPTIMA, QUANTITIES
from vesalius.models.electra import EncoderPair

_LEAST: Final = 1e-30  # a loss of exactly 0 is drawn next to never, not never: w stays finite


@final
@dataclass(frozen=True, kw_only=True)
class Enumeration:
    """Which tokens are put at a slot.

    The ``num_top`` likeliest ones of the generator, which are all where the vocabulary has no
    more, and ``num_draws`` from the rest; at most ``tokens_at_once`` tokens in a forward pass.

    Raises:
        VesaliusError: a number out of range.
    """

    num_top: int = 1024
    num_draws: int = 64
    tokens_at_once: int = 8192

    def __post_init__(self) -> None:
        check_count("num_top", self.num_top, lowest=1, usual=1024)
        check_count("num_draws", self.num_draws, lowest=2, usual=64)
        check_count("tokens_at_once", self.tokens_at_once, lowest=1, usual=8192)


@final
@dataclass(frozen=True, kw_only=True)
class SlotMoments:
    """What was found at a slot.

    ``samplers``: the generator, the learned ones, the best for each quantity. ``variances``
    [quantity, sampler]; NaN where a quantity was not taken. ``means_nats`` [sampler] are E[w l],
    ``weights`` [sampler, candidate] w.
    """

    slot: Slot
    candidates: Candidates
    verdict: Verdict
    samplers: tuple[str, ...]
    weights: Float64[Tensor, "sampler candidate"]
    variances: Float64[np.ndarray, "quantity sampler"]
    means_nats: Float64[np.ndarray, " sampler"]

    def expected(self, values: Float64[Tensor, " candidate"]) -> Float64[np.ndarray, " sampler"]:
        """Return E_p of values [candidate] under each sampler, [sampler]."""
        return np.array([self.candidates.mean(values / row) for row in self.weights])

    def cut_means(self, *, max_weight: float) -> Float64[np.ndarray, " sampler"]:
        """Return E[min(w, max_weight) l] under each sampler, [sampler]."""
        cut = self.weights.clamp_max(max_weight)
        return np.array(
            [
                self.candidates.mean(self.verdict.nats * few / row)
                for few, row in zip(cut, self.weights, strict=True)
            ]
        )

    def effective_shares(self) -> Float64[np.ndarray, " sampler"]:
        """Return 1 / E[w^2] under each sampler, [sampler]."""
        return np.array([1 / self.candidates.mean(row) for row in self.weights])

    def probs_original(self) -> Float64[np.ndarray, " sampler"]:
        """Return the chance of drawing the original under each sampler, [sampler]."""
        is_original = (self.candidates.ids == self.slot.original).double()
        return self.expected(is_original)


def slot_moments(
    pair: EncoderPair,
    slot: Slot,
    learned: Sequence[str],
    *,
    how: Enumeration,
    generator: torch.Generator,
    with_gradient: bool = False,
) -> SlotMoments:
    """Put every candidate at a slot, and take means and variances under all samplers.

    Args:
        pair: the discriminator to ask.
        slot: from `open_slots`.
        learned: names of the slot's samplers behind the generator.
        how: which tokens.
        generator: of the draws from the rest of a large vocabulary.
        with_gradient: whether the gradient by all parameters is taken too.

    Shapes: as in `SlotMoments`.
    """
    log_probs = slot.logits.double().log_softmax(-1)
    candidates = choose_candidates(
        log_probs[0],
        always=slot.original,
        num_top=how.num_top,
        num_draws=how.num_draws,
        generator=generator,
    )
    verdict = judge(pair, slot, candidates.ids, tokens_at_once=how.tokens_at_once)
    norms, squared_norm = torch.full_like(verdict.nats, torch.nan), float("nan")
    if with_gradient:
        norms, squared_norm = parameter_gradients(pair, slot, candidates)
    sizes = (verdict.nats, verdict.slope.abs(), norms)
    squared_means = (
        candidates.squared_mean(verdict.nats),
        candidates.squared_mean(verdict.slope),  # with its sign, unlike the size
        squared_norm,
    )
    samplers = _samplers(log_probs[:, candidates.ids], learned, sizes)
    return SlotMoments(
        slot=slot,
        candidates=candidates,
        verdict=verdict,
        samplers=tuple(each.name for each in samplers),
        weights=torch.stack([each.weights(candidates) for each in samplers]),
        variances=np.array(
            [
                [each.variance(candidates, size, squared_mean=square) for each in samplers]
                for size, square in zip(sizes, squared_means, strict=True)
            ]
        ),
        means_nats=_means(slot, candidates, verdict.nats, len(samplers)),
    )


def _samplers(
    log_probs: Float64[Tensor, "known candidate"],
    learned: Sequence[str],
    sizes: Sequence[Float64[Tensor, " candidate"]],
) -> list[Sampler]:
    ratios = (log_probs - log_probs[0]).exp()
    named = zip([GENERATOR, *learned], ratios, strict=True)
    best = zip(QUANTITIES, sizes, strict=True)
    return [
        *(Sampler(name=name, ratio=ratio) for name, ratio in named),
        *(
            Sampler(name=OPTIMA[quantity], ratio=size.clamp_min(_LEAST), is_normalised=False)
            for quantity, size in best
        ),
    ]


def _means(
    slot: Slot, candidates: Candidates, nats: Float64[Tensor, " candidate"], num_samplers: int
) -> Float64[np.ndarray, " sampler"]:
    """E[w l] with probabilities and weights in float32, as the training makes them.

    The generator's own mean, and that of the optima, is sum q l in float64.
    """
    log_probs = slot.logits.log_softmax(-1)
    probs = log_probs.exp().double()
    probs = (probs / probs.sum(-1, keepdim=True))[:, candidates.ids]
    weights = (log_probs[:1] - log_probs).exp().double()[:, candidates.ids]
    q = slot.logits[0].double().softmax(-1)[candidates.ids]
    means = np.full(num_samplers, candidates.mean(nats))
    for place in range(1, len(probs)):
        means[place] = candidates.mean(probs[place] * weights[place] * nats / q)
    return means
