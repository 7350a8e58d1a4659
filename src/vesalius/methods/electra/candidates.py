"""Sums over a vocabulary at one slot: every token, or the likely ones and draws from the rest.

With q the generator's distribution, p a sampler's and w = q / p, all that is asked is a sum
under q: the mean E_p[w f] = sum q f, and the variance E_p|w f|^2 - |E_p[w f]|^2 with
E_p|w f|^2 = sum q w |f|^2.

Source: Owen 2013, Monte Carlo theory, methods and examples, chapters 8 (strata) and 9 (importance
sampling); the two halves are this project's.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Tokens and what each stands for: ``mass @ f`` is the sum of q f over the vocabulary.

    The two halves are equal where all tokens are there. Otherwise each has draws of its own from
    the rest: either sum is unbiased then, and so is the product of one from each half.
    """

    ids: Int64[Tensor, " candidate"]
    mass: Float64[Tensor, "2 candidate"]
    is_exact: bool

    def sums(self, values: Float64[Tensor, " candidate"]) -> Float64[Tensor, "2"]:
        """Return the sum of q f of each half, for values f [candidate]."""
        return self.mass @ values

    def mean(self, values: Float64[Tensor, " candidate"]) -> float:
        """Return the sum of q f for values f [candidate]."""
        return float(self.sums(values).mean())

    def squared_mean(self, values: Float64[Tensor, " candidate"]) -> float:
        """Return the square of the sum of q f for values f [candidate]."""
        return float(self.sums(values).prod())


@final
@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A distribution over the candidates: ``ratio`` [candidate] is p / q.

    ``is_normalised`` False leaves a constant open: the optima, whose normalisers are sums too.
    """

    name: str
    ratio: Float64[Tensor, " candidate"]
    is_normalised: bool = True

    def weights(self, candidates: Candidates) -> Float64[Tensor, " candidate"]:
        """Return w = q / p of each candidate; shape [candidate]."""
        scale = 1.0 if self.is_normalised else candidates.mean(self.ratio)
        return scale / self.ratio

    def variance(
        self,
        candidates: Candidates,
        sizes: Float64[Tensor, " candidate"],
        *,
        squared_mean: float,
    ) -> float:
        """Return E|w f|^2 - |E[w f]|^2 under this sampler.

        Shapes: ``sizes`` |f| [candidate]; ``squared_mean`` is |E[w f]|^2, which all share.
        """
        squares = torch.where(sizes > 0, sizes.square() / self.ratio, 0.0)
        sums = candidates.sums(squares)
        if not self.is_normalised:  # one half's normaliser with the other's sum: independent
            sums = sums * candidates.sums(self.ratio).flip(0)
        found = float(sums.mean()) - squared_mean
        return max(found, 0.0) if candidates.is_exact else found


def choose_candidates(
    log_q: Float64[Tensor, " vocab"],
    *,
    always: int,
    num_top: int,
    num_draws: int,
    generator: torch.Generator,
) -> Candidates:
    """Choose the tokens to look at: all, or the likeliest ones and draws from the others.

    Args:
        log_q: log-probabilities of the generator [vocab]; tokens of -inf are left out.
        always: a token that is not left to chance, if it can be drawn at all.
        num_top: of the likeliest; nothing is drawn where no more than these can be.
        num_draws: from the rest, in proportion to q, half of them for each half, one from each of
            as many strata of equal mass.
        generator: of the draws.
    """
    q = log_q.exp()
    possible = (q > 0).nonzero().squeeze(-1)
    if len(possible) <= num_top:
        return Candidates(ids=possible, mass=q[possible].expand(2, -1), is_exact=True)
    top = q.topk(num_top).indices
    if q[always] > 0 and not bool((top == always).any()):
        top = torch.cat([top, torch.tensor([always])])
    rest = q.index_fill(0, top, 0.0).cumsum(0)
    strata = max(1, num_draws // 2)
    uniforms = torch.rand(2, strata, generator=generator, dtype=torch.float64)
    places = (torch.arange(strata) + uniforms) / strata * rest[-1]
    drawn = torch.searchsorted(rest, places, right=True).clamp_max(len(q) - 1)
    mass = torch.zeros(2, len(q), dtype=torch.float64)
    mass.scatter_add_(1, drawn, (rest[-1] / strata).expand(2, strata))
    mass[:, top] = q[top]
    ids = mass.sum(0).nonzero().squeeze(-1)
    return Candidates(ids=ids, mass=mass[:, ids], is_exact=False)
