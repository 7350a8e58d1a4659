"""The staircase: the integrated gradients of every layer from one growing batch.

At each layer, scaled copies of the clean state join the streams that climb from below; at the top
one backward pass reaches every copy. L layers of m nodes cost about m L^2 / 2 block passes in 2 L
calls, and give exactly what L separate integrals give.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import attention_seam
from vesalius.models.batch import Batch
from vesalius.models.calls import BlockCall
from vesalius.models.ladder import Ladder, Streams, record
from vesalius.models.objectives import Objective
from vesalius.models.plan import Plan, eager
from vesalius.models.sites import NeuronSite, Site, SoftmaxNotes, context_sites
from vesalius.models.specimen import Specimen
from vesalius.models.split import RowWatch
from vesalius.numerics.line_integral import is_complete, rounding_noise
from vesalius.numerics.quadrature import Rule, gauss_legendre
from vesalius.parallel.memory import DEFAULT_BYTES, fill

TOLERANCE = 1e-3  # of |F(1) - F(0)|, point 6 of the engine notes


@dataclass(frozen=True, slots=True, kw_only=True)
class StaircaseOptions:
    """How the integrals are taken.

    ``rules`` are tried in turn on the prompts and sites whose gap exceeds ``tolerance`` times
    |F(1) - F(0)|; one rule means no refinement. ``memory_bytes`` bounds what autograd keeps.
    ``shortcuts=False`` re-runs whole blocks on every row: slower, for checking.
    """

    rules: tuple[Rule, ...]
    tolerance: float = TOLERANCE
    memory_bytes: int = DEFAULT_BYTES
    shortcuts: bool = True


NEURON_OPTIONS = StaircaseOptions(rules=tuple(gauss_legendre(n) for n in (5, 8, 16, 32)))
ATTENTION_OPTIONS = StaircaseOptions(rules=tuple(gauss_legendre(n) for n in (8, 16, 32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """Integrated gradients of every site of a model, for a batch of prompts.

    ``names`` [site] are qualified names of what was scaled; ``signal`` and ``attribution`` hold one
    tensor per site, [batch, neuron] or [batch, head, query, key]; ``end_value`` [batch] is F(1),
    ``start_value`` [site, batch] is F(0), ``gap`` [site, batch] is
    |sum of attributions - (F(1) - F(0))| and ``num_nodes`` [site, batch] the nodes it took.
    """

    names: tuple[str, ...]
    signal: tuple[Tensor, ...]
    attribution: tuple[Tensor, ...]
    end_value: Float[Tensor, " batch"]
    start_value: Float[Tensor, "site batch"]
    gap: Float[Tensor, "site batch"]
    num_nodes: Int[Tensor, "site batch"]


def attribute_neurons(
    specimen: Specimen,
    batch: Batch,
    *,
    objective: Objective,
    options: StaircaseOptions = NEURON_OPTIONS,
) -> Staircase:
    """Integrate the gradient along the scaling of every layer's neurons at the row of interest.

    Args:
        specimen: the opened model.
        batch: prompts; their row of interest is where neurons are scaled.
        objective: from logits [stream, vocab] and prompt [stream] to values [stream].
        options: quadrature, refinement and memory.

    Raises:
        VesaliusError: the model cannot be climbed block by block.

    Source: arXiv 2104.08696, section 3.2; staircase: docs/architecture.md.
    """
    return _attribute(specimen, batch, objective, options, neurons=True)


def attribute_attention(
    specimen: Specimen,
    batch: Batch,
    *,
    objective: Objective,
    options: StaircaseOptions = ATTENTION_OPTIONS,
) -> Staircase:
    """Integrate the gradient along the scaling of every attention module's probabilities.

    Args:
        specimen: the opened model.
        batch: prompts; their row of interest is where logits are read.
        objective: from logits [stream, vocab] and prompt [stream] to values [stream].
        options: quadrature, refinement and memory.

    Raises:
        VesaliusError: the model's attention can be reached in no known way.

    Source: arXiv 2004.11207, section 3; staircase: docs/architecture.md.
    """
    if specimen.plan.seam == "none":
        raise VesaliusError(
            given=f"{specimen.name}: attention that neither calls the registry nor one softmax",
            expected="an attention class that `vesalius check` lists as supported",
            fix="open another architecture, or register this class with AttentionInterface",
        )
    return _attribute(specimen, batch, objective, options, neurons=False)


def _attribute(
    specimen: Specimen, batch: Batch, objective: Objective, options: StaircaseOptions, *,
    neurons: bool,
) -> Staircase:  # fmt: skip
    plan = specimen.plan if options.shortcuts else _plain(specimen.plan)
    if plan.unclimbable:
        raise VesaliusError(
            given=f"{specimen.name}: {plan.unclimbable}",
            expected="a model whose blocks hand hidden states straight to each other",
            fix="run `vesalius check MODEL` and report the architecture",
        )
    with specimen.at_rest(), _seam(specimen, plan):
        ladder, sites = _record(specimen, plan, batch, neurons=neurons)
        climber = _Climber(plan=plan, ladder=ladder, objective=objective, options=options)
        return climber.integrate(sites)


def _plain(plan: Plan) -> Plan:
    return replace(plan, splits={}, row_top=False, last_row=False, slices_tail=False)


@contextmanager
def _seam(specimen: Specimen, plan: Plan) -> Generator[None, None, None]:
    modules = [a.module for part in specimen.parts.blocks for a in part.attentions]
    with ExitStack() as stack:
        if plan.seam == "registry":
            stack.enter_context(attention_seam(specimen.model, modules=modules))
        elif plan.seam == "softmax":
            stack.enter_context(eager(specimen.model))
        yield


def _record(
    specimen: Specimen, plan: Plan, batch: Batch, *, neurons: bool
) -> tuple[Ladder, list[Site]]:
    """The clean pass, and what it found to scale."""
    parts = specimen.parts
    notes = SoftmaxNotes(parts)
    watch = RowWatch(parts, batch, plan.splits)
    with ExitStack() as stack:
        if neurons:
            stack.enter_context(watch.hooked())
        elif plan.seam == "softmax":
            stack.enter_context(notes.watching())
        ladder = record(
            specimen.model,
            parts,
            batch,
            seam=plan.seam == "registry",
            batched=plan.batched,
            slices_tail=plan.slices_tail,
        )
    sites: Sequence[Site]
    if neurons:
        sites = [
            NeuronSite(
                call=call,
                parts=parts,
                signal=watch.neurons[call.index],
                remainder=watch.remainder(call),
            )
            for call in ladder.calls
        ]
    else:
        sites = context_sites(ladder) if plan.seam == "registry" else notes.sites(ladder)
    return ladder, list(sites)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climb:
    """What one climb gave: values [site, node, batch] and leaf gradients [node, batch, ...]."""

    values: Tensor
    gradients: list[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climber:
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
        num_nodes = torch.zeros((len(sites), len(end_value)), dtype=torch.long)
        gap = torch.zeros((len(sites), len(end_value)), dtype=end_value.dtype)
        pending = list(range(len(sites)))
        for rule in self.options.rules:
            chosen = [sites[i] for i in pending]
            found, values = self._rule(chosen, rule)
            if not attribution:
                attribution = found
                if zero_first:
                    start_value = values[:, 0]
            for i, new in zip(pending, found, strict=True):
                better = torch.ones_like(end_value, dtype=torch.bool)
                change = end_value - start_value[i]
                missing = (_total(new) - change).abs()
                if num_nodes[i].any():
                    better = missing < gap[i]
                attribution[i] = torch.where(_like(better, new), new, attribution[i])
                gap[i] = torch.where(better, missing, gap[i])
                num_nodes[i] = torch.where(better, len(rule.nodes), num_nodes[i])
            pending = [i for i in pending if not self._done(gap[i], end_value, start_value[i])]
            if not pending:
                break
        return Staircase(
            names=tuple(site.name for site in sites),
            signal=tuple(site.shown for site in sites),
            attribution=tuple(attribution),
            end_value=end_value,
            start_value=start_value,
            gap=gap,
            num_nodes=num_nodes,
        )

    def _done(self, gap: Tensor, end: Tensor, start: Tensor) -> bool:
        noise = rounding_noise(self.ladder.calls[0].hidden.dtype)
        return all(
            is_complete(g, change=e - s, tolerance=self.options.tolerance, noise=noise * abs(e))
            for g, e, s in zip(gap.tolist(), end.tolist(), start.tolist(), strict=True)
        )

    def _at_zero(self, sites: list[Site]) -> Tensor:
        """F(0) of every site, [site, batch]: one climb without gradients."""
        with torch.no_grad():
            return torch.cat(
                [
                    self._climb(sites[r.start : r.stop], (0.0,)).values[:, 0]
                    for r in self._runs(sites, 1)
                ]
            )

    def _rule(self, sites: list[Site], rule: Rule) -> tuple[list[Tensor], Tensor]:
        """Attributions per site and values [site, node, batch] of one quadrature rule."""
        attributions: list[Tensor] = []
        values: list[Tensor] = []
        for run in self._runs(sites, len(rule.nodes)):
            chosen = sites[run.start : run.stop]
            with torch.enable_grad():
                climb = self._climb(chosen, rule.nodes)
            values.append(climb.values)
            for site, gradient in zip(chosen, climb.gradients, strict=True):
                weights = torch.tensor(rule.weights, dtype=gradient.dtype, device=gradient.device)
                mean = torch.einsum("n,nb...->b...", weights, gradient)
                rows = self.ladder.rows(site.call.index)
                attributions.append(_wide(site.read(mean, rows)))
        return attributions, torch.cat(values)

    def _runs(self, sites: list[Site], num_nodes: int) -> list[range]:
        """Cut the sites into runs whose streams fit the memory."""
        streams = num_nodes * self.ladder.batch.num_prompts
        top = len(self.ladder.calls)
        costs = [
            streams * sum(saved_bytes(c) for c in self.ladder.calls[site.call.index : top])
            for site in sites
        ]
        return fill(costs, self.options.memory_bytes)

    def _climb(self, sites: list[Site], nodes: Sequence[float]) -> _Climb:
        """Climb once with copies of the given sites at every node."""
        ladder = self.ladder
        device = ladder.logits.device
        num_prompts = ladder.batch.num_prompts
        prompt = torch.arange(num_prompts, device=device).repeat(len(nodes))
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
                signal = site.at_rows(ladder.rows(call.index)) if one_row else site.signal
                leaf = _scaled(signal, nodes)
                leaves.append(leaf)
                hidden = site.insert(ladder, leaf, prompt, one_row=one_row)
                memory = None if call.memory is None else call.memory.index_select(0, prompt)
                new = Streams(hidden=hidden, prompt=prompt, memory=memory)
                streams = new if streams is None else streams.join(new)
        assert streams is not None
        logits = ladder.finish(streams)
        values = self.objective(_wide(logits), streams.prompt)
        shape = (len(sites), len(nodes), num_prompts)
        gradients: list[Tensor] = []
        if torch.is_grad_enabled():
            gradients = [
                _wide(g).reshape(len(nodes), num_prompts, *g.shape[1:])
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
        return index == top and self.plan.row_top and self.ladder.calls[top].num_positions > 1

    def _step(self, index: int, streams: Streams, *, last_row: bool, one_row: bool) -> Streams:
        streams = self.ladder.enter(index, streams)
        if last_row:
            return self.ladder.climb_last_row(index, streams)
        if one_row:
            return self.ladder.climb_to_row(index, streams)
        return self.ladder.climb(index, streams)


def saved_bytes(call: BlockCall) -> int:
    """Bytes that autograd keeps of one stream in one block: an upper estimate.

    Source: counted with saved-tensor hooks on all families; see the test of this function.
    """
    num_positions, d_model = call.hidden.shape[1:]
    linear = call.part.feed_forward
    heads = sum(a.num_heads for a in call.part.attentions)
    per_row = 14 * d_model + 5 * linear.num_inputs + 3 * heads * num_positions
    return num_positions * per_row * call.hidden.element_size()


def _scaled(signal: Tensor, nodes: Sequence[float]) -> Tensor:
    """Copies of a signal at every node, [node * batch, ...]: the leaves of a climb."""
    scale = torch.tensor(nodes, dtype=signal.dtype, device=signal.device)
    leaf = torch.einsum("n,b...->nb...", scale, signal).flatten(0, 1)
    return leaf.detach().requires_grad_(torch.is_grad_enabled())


def _wide(numbers: Tensor) -> Tensor:
    """At least single precision, for sums of half-precision numbers."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def _total(attribution: Tensor) -> Tensor:
    return attribution.double().flatten(1).sum(1).to(attribution.dtype)


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (other.dim() - 1))
