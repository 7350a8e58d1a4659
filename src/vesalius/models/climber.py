"""Climbs a recorded ladder with scaled copies, and integrates what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vesalius.models.calls import of_streams
from vesalius.models.costs import StreamCost, recorded_cost
from vesalius.models.integrals import Staircase, StaircaseOptions, complete
from vesalius.models.ladder import Ladder, Streams
from vesalius.models.objectives import Objective
from vesalius.models.plan import Plan
from vesalius.models.sites import NeuronSite, Site
from vesalius.numerics.quadrature import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climb:
    """What one climb gave: values [site, node, prompt] and leaf gradients [node, prompt, ...]."""

    values: Tensor
    gradients: list[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Climber:
    """Climbs a ladder with scaled copies of sites, in runs that fit the memory."""

    plan: Plan
    ladder: Ladder
    objective: Objective
    options: StaircaseOptions

    def integrate(self, sites: list[Site]) -> Staircase:
        """Integrate every site, refining the rule where the sum is not complete."""
        everyone = torch.arange(self.ladder.batch.num_prompts, device=self.ladder.logits.device)
        with torch.no_grad():
            end_value = self.objective(_wide(self.ladder.logits), everyone)
        zero_first = 0.0 in self.options.rules[0].nodes
        start_value = torch.empty(0) if zero_first else self._at_zero(sites)
        attribution: list[Tensor] = []
        gap = torch.full((len(sites), len(end_value)), torch.inf).to(end_value)
        num_nodes = torch.zeros_like(gap, dtype=torch.long)
        done = torch.zeros_like(gap, dtype=torch.bool)
        # twice the nodes square the error of a smooth line: from above this root (with room to
        # spare), and not halved, a gap says that the line is rough and more would not help
        rough = 3 * self.options.tolerance**0.5
        for rule in self.options.rules:
            pending = [i for i in range(len(sites)) if not done[i].all()]
            if not pending:
                break
            # prompts whose sums are complete at every pending site are not climbed again
            open_ = ~done[pending].all(dim=0)
            found, values = self._rule([sites[i] for i in pending], rule, everyone[open_])
            if not attribution:
                attribution = found
                if zero_first:
                    start_value = values[:, 0]
            for i, new in zip(pending, found, strict=True):
                missing = (_total(new) - (end_value - start_value[i])).abs()
                missing = torch.where(open_, missing, torch.inf)
                better = (missing < gap[i]) & ~done[i]
                hopeless = open_ & (num_nodes[i] > 0) & (missing > 0.5 * gap[i])
                hopeless &= missing > rough * (end_value - start_value[i]).abs()
                attribution[i] = torch.where(_like(better, new), new, attribution[i])
                gap[i] = torch.where(better, missing, gap[i])
                num_nodes[i] = torch.where(better, len(rule.nodes), num_nodes[i])
                done[i] |= hopeless | complete(
                    gap[i],
                    end_value=end_value,
                    start_value=start_value[i],
                    attribution=attribution[i],
                    tolerance=self.options.tolerance,
                    dtype=self.ladder.calls[0].hidden.dtype,
                )
        return Staircase(
            names=tuple(site.name for site in sites),
            signal=tuple(site.shown for site in sites),
            attribution=tuple(attribution),
            end_value=end_value,
            start_value=start_value,
            gap=gap,
            num_nodes=num_nodes,
            logits=self.ladder.logits,
        )

    def _at_zero(self, sites: list[Site]) -> Tensor:
        """F(0) of every site, [site, batch]: one climb without gradients."""
        everyone = torch.arange(self.ladder.batch.num_prompts, device=self.ladder.logits.device)
        with torch.no_grad():
            return torch.cat(
                [
                    self._climb(sites[r.start : r.stop], (0.0,), everyone).values[:, 0]
                    for r in self._runs(sites, len(everyone))
                ]
            )

    def _rule(self, sites: list[Site], rule: Rule, prompts: Tensor) -> tuple[list[Tensor], Tensor]:
        """Attributions per site and values [site, node, prompt] of one quadrature rule.

        The attributions of prompts that are not among the given ones are zero.
        """
        num_prompts = self.ladder.batch.num_prompts
        attributions: list[Tensor] = []
        values: list[Tensor] = []
        for run in self._runs(sites, len(rule.nodes) * len(prompts)):
            chosen = sites[run.start : run.stop]
            found, means = self._means(chosen, rule, prompts)
            values.append(found)
            for site, mean in zip(chosen, means, strict=True):
                if len(prompts) < num_prompts:
                    zeros = mean.new_zeros((num_prompts, *mean.shape[1:]))
                    mean = zeros.index_copy(0, prompts.to(mean.device), mean)
                rows = self.ladder.rows(site.call.index)
                attributions.append(_wide(site.read(mean, rows)))
        return attributions, torch.cat(values)

    def _means(self, sites: list[Site], rule: Rule, prompts: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Values [site, node, prompt], and each site's gradient averaged over the nodes.

        Where the copies of one site do not fit the memory, its nodes are climbed in turn.
        """
        at_once = len(rule.nodes)
        if len(sites) == 1:
            each = len(prompts) * self._cost().above(sites[0].call.index)
            at_once = min(at_once, max(1, self.options.memory_bytes // each))
        values: list[Tensor] = []
        means: list[Tensor] = []
        for first in range(0, len(rule.nodes), at_once):
            part = slice(first, first + at_once)
            with torch.enable_grad():
                climb = self._climb(sites, rule.nodes[part], prompts)
            values.append(climb.values)
            added = [_weighted(gradient, rule.weights[part]) for gradient in climb.gradients]
            means = [a + b for a, b in zip(means, added, strict=True)] if means else added
        return torch.cat(values, dim=1), means

    def _runs(self, sites: list[Site], num_streams: int) -> list[range]:
        """Cut the sites into runs whose streams fit the memory."""
        return self._cost().runs(
            [site.call.index for site in sites],
            num_streams=num_streams,
            memory_bytes=self.options.memory_bytes,
        )

    def _cost(self) -> StreamCost:
        calls = self.ladder.calls
        num_rows = 1 if self.ladder.slices_tail else calls[-1].num_positions
        return recorded_cost(
            [call.part for call in calls],
            [call.hidden for call in calls],
            num_logits=self.ladder.logits.shape[1] * num_rows,
        )

    def _climb(self, sites: list[Site], nodes: Sequence[float], prompts: Tensor) -> _Climb:
        """Climb once with copies of the given sites of the given prompts at every node."""
        ladder = self.ladder
        prompt = prompts.repeat(len(nodes))
        leaves: list[Tensor] = []
        streams: Streams | None = None
        last_row = self._last_row(sites)
        for call in ladder.calls:
            one_row = last_row or self._one_row(call.index)
            if streams is not None:
                streams = self._step(call.index, streams, last_row=last_row, one_row=one_row)
            for site in sites:
                if site.call.index != call.index:
                    continue
                rows = ladder.rows(call.index) if one_row else None
                leaf = site.along(nodes, prompts, rows=rows).detach()
                leaf.requires_grad_(torch.is_grad_enabled())
                leaves.append(leaf)
                hidden = site.insert(ladder, leaf, prompt, one_row=one_row)
                memory = None if call.memory is None else of_streams(call.memory, prompt)
                new = Streams(hidden=hidden, prompt=prompt, memory=memory)
                streams = new if streams is None else streams.join(new)
        assert streams is not None
        logits = ladder.finish(streams)
        values = self.objective(_wide(logits), streams.prompt)
        shape = (len(sites), len(nodes), len(prompts))
        gradients: list[Tensor] = []
        if torch.is_grad_enabled():
            gradients = [
                _wide(g).reshape(len(nodes), len(prompts), *g.shape[1:])
                for g in torch.autograd.grad(values.sum(), leaves)
            ]
        return _Climb(values=values.detach().reshape(shape), gradients=gradients)

    def _last_row(self, sites: list[Site]) -> bool:
        """Whether only the last row of the streams can differ from the clean pass."""
        last = self.ladder.calls[0].num_positions - 1
        return (
            self.plan.last_row
            and all(isinstance(site, NeuronSite) for site in sites)
            and bool((self.ladder.batch.row == last).all())
        )

    def _one_row(self, index: int) -> bool:
        """Whether a block's output is needed at the row of interest alone."""
        top = len(self.ladder.calls) - 1
        return (
            index == top
            and self.plan.row_top
            and self.ladder.slices_tail
            and self.ladder.calls[top].num_positions > 1
        )

    def _step(self, index: int, streams: Streams, *, last_row: bool, one_row: bool) -> Streams:
        streams = self.ladder.enter(index, streams)
        if last_row:
            return self.ladder.climb_last_row(index, streams)
        if one_row:
            return self.ladder.climb_to_row(index, streams)
        return self.ladder.climb(index, streams)


def _wide(numbers: Tensor) -> Tensor:
    """At least single precision, for sums of half-precision numbers."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def _weighted(gradient: Tensor, weights: Sequence[float]) -> Tensor:
    """Average leaf gradients [node, prompt, ...] over the nodes of a rule, or a part of them."""
    shares = torch.tensor(weights, dtype=gradient.dtype, device=gradient.device)
    return torch.einsum("n,nb...->b...", shares, gradient)


def _total(attribution: Tensor) -> Tensor:
    return attribution.double().flatten(1).sum(1).to(attribution.dtype)


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (other.dim() - 1))
