"""Replacements for masked tokens: the distribution they are drawn from, the draw, the weights.

With q the generator's distribution at a slot (after temperature), l the discriminator's loss for
each candidate and p_S any distribution that is positive where q l is,

    E_{v ~ q} l(v) = E_{v ~ p_S} w(v) l(v),   w = q / p_S,

so the objective does not move, and the variance is zero at p_S proportional to q l.

Source: Clark et al. 2020, arXiv 2003.10555, section 2 (drawing from the generator); importance
sampling as in Owen 2013, Monte Carlo theory, chapter 9; arXiv 2106.13715 for the idea of learning
the sampler; paper.md has the derivation, which is ours.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import softplus

from vesalius.methods.electra.config import ElectraOptions


@final
@dataclass(frozen=True, kw_only=True)
class HeadScores:
    """What scores hardness: states of the head and its bias over the vocabulary.

    Score of token v at a slot: ``states . embedding(v) + bias[v]``.
    """

    states: Float[Tensor, "slot embedding"]
    bias: Float[Tensor, " vocab"]


@final
@dataclass(frozen=True, kw_only=True)
class Draw:
    """One replacement per slot, and what is known about it.

    ``generator_loss`` [slot] is the focal loss in nats; ``log_weight`` [slot] is log q - log p_S of
    the candidate; ``predicted`` [slot] is what the head is trained through: the predicted hardness
    of the candidate ("hardness-loss") or its log-probability ("hardness-distribution"), None
    without a head. The rest is for looking at: the original's probability under the generator and
    under the sampler, whether the generator's first choice is right, its entropy in nats.
    """

    candidates: Int64[Tensor, " slot"]
    generator_loss: Float[Tensor, " slot"]
    log_weight: Float[Tensor, " slot"]
    predicted: Float[Tensor, " slot"] | None
    prob_original: Float[Tensor, " slot"]
    sampler_prob_original: Float[Tensor, " slot"]
    is_first_choice: Bool[Tensor, " slot"]
    entropy_nats: Float[Tensor, " slot"]


def draw_replacements(
    states: Float[Tensor, "slot embedding"],
    table: Float[Tensor, "vocab embedding"],
    bias: Float[Tensor, " vocab"],
    *,
    originals: Int64[Tensor, " slot"],
    uniforms: Float64[Tensor, " slot"],
    options: ElectraOptions,
    head: HeadScores | None = None,
    temperature: float | Float[Tensor, ""] = 1.0,
) -> Draw:
    """Draw a replacement for every slot, plainly: all logits stand in memory.

    ``uniforms``, from [0, 1), decide the draws. Gradients reach states, table and bias through
    ``generator_loss``, the head through ``predicted``, nothing through the draw.

    Source: this project; `fused.py` does the same in pieces.
    """
    logits = (states @ table.T).float() + bias
    log_generator = logits.log_softmax(-1)
    log_original = _at(log_generator, originals)
    with torch.no_grad():
        probs = log_generator.exp()
        entropy = -(probs * log_generator).sum(-1)
        first = log_generator.argmax(-1) == originals
    base = base_logits(
        logits.detach(), originals, temperature=temperature, exclude=options.exclude_original
    )
    mixed, scores = base, None
    if head is not None:
        detached = table.detach() if options.detach_head else table
        scores = (head.states @ detached.T).float() + head.bias
        mixed = base + log_ratio(scores, options=options)
    log_sampler = mixed.log_softmax(-1)
    log_base = base.log_softmax(-1)
    with torch.no_grad():
        candidates = draw_from(log_sampler.exp(), uniforms)
        log_weight = _at(log_base, candidates) - _at(log_sampler, candidates)
    predicted = None
    if scores is not None:
        predicted = _at(log_sampler, candidates)
        if options.sampler == "hardness-loss":
            predicted = predicted_hardness(_at(scores, candidates), options=options)
    return Draw(
        candidates=candidates,
        generator_loss=focal_loss(log_original, gamma=options.focal_gamma),
        log_weight=log_weight,
        predicted=predicted,
        prob_original=log_original.detach().exp(),
        sampler_prob_original=_at(log_sampler.detach(), originals).exp(),
        is_first_choice=first,
        entropy_nats=entropy,
    )


def base_logits(
    logits: Float[Tensor, "slot vocab"],
    originals: Int64[Tensor, " slot"],
    *,
    temperature: float | Float[Tensor, ""] = 1.0,
    exclude: bool = False,
) -> Float[Tensor, "slot vocab"]:
    """Return the logits of q: the generator's over the temperature, the original left out or not.

    Source: Clark et al. 2020 (their code has the option to leave the original out); a temperature
    is the control that hardness prediction has to beat.
    """
    found = logits / temperature
    if exclude:
        found = found.scatter(-1, originals[:, None], -torch.inf)
    return found


def log_ratio(
    scores: Float[Tensor, "slot vocab"], *, options: ElectraOptions
) -> Float[Tensor, "slot vocab"]:
    """Return log p_S - log q up to a constant per slot; zero scores give zeros.

    Source: this project, paper.md: residual for the distribution, log of the predicted loss.
    """
    if options.sampler == "hardness-distribution":
        return scores
    start = predicted_hardness(torch.zeros((), device=scores.device), options=options)
    return (predicted_hardness(scores, options=options) / start).log()


def predicted_hardness(
    scores: Float[Tensor, "..."], *, options: ElectraOptions
) -> Float[Tensor, "..."]:
    """Turn scores of "hardness-loss" into hardness, above ``hardness_floor``; any shape.

    Source: this project: at score 0 it is log 2, the loss of an undecided discriminator.
    """
    return softplus(scores) + options.hardness_floor


def draw_from(
    probs: Float[Tensor, "slot vocab"], uniforms: Float64[Tensor, " slot"]
) -> Int64[Tensor, " slot"]:
    """Draw a token per slot by inverting the cumulative distribution, in float64.

    Source: Devroye 1986, Non-Uniform Random Variate Generation, chapter III.2.

    >>> draw_from(torch.tensor([[0.25, 0.0, 0.75]]), torch.tensor([0.25], dtype=torch.float64))
    tensor([2])
    """
    total = probs.double().cumsum(-1)
    found = torch.searchsorted(total, uniforms[:, None] * total[:, -1:], right=True)
    return found.squeeze(-1).clamp_max(probs.shape[-1] - 1)


def focal_loss(log_prob: Float[Tensor, "..."], *, gamma: float = 0.0) -> Float[Tensor, "..."]:
    """Return -(1 - p)^gamma log p in nats, for log p of any shape.

    Source: Lin et al. 2017, arXiv 1708.02002, equation 4; as the generator's loss arXiv 2106.13715.

    >>> focal_loss(torch.tensor(0.5).log(), gamma=1.0).item() == 0.5 * focal_loss(
    ...     torch.tensor(0.5).log()
    ... ).item()
    True
    """
    if gamma == 0:
        return -log_prob
    # 1 - p without the rounding of p near 1, and with a gradient at p = 1
    rest = (-torch.expm1(log_prob)).clamp_min(torch.finfo(log_prob.dtype).tiny)
    return -(rest**gamma) * log_prob


def importance_weights(
    log_weight: Float[Tensor, " slot"], *, options: ElectraOptions
) -> Float[Tensor, " slot"]:
    """Return what each slot's discriminator loss is multiplied with; no gradient.

    Source: this project, paper.md: q / p_S, cut at ``max_weight``; ones when they are switched off.
    """
    if not options.importance_weights:
        return torch.ones_like(log_weight)
    found = log_weight.detach().exp().clamp_max(options.max_weight)
    return found / found.mean() if options.normalise_weights else found


def _at(rows: Float[Tensor, "slot vocab"], ids: Int64[Tensor, " slot"]) -> Float[Tensor, " slot"]:
    return rows.gather(-1, ids[:, None]).squeeze(-1)
