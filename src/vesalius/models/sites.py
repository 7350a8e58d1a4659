"""What the staircase scales: the neurons of a row, or the attention probabilities of a module.

A site knows its clean signal, how a block goes on from a scaled copy of it, and how the mean
gradient along the line becomes an attribution.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.models.attention import tapped
from vesalius.models.calls import BlockCall, of_streams, take_rows
from vesalius.models.ladder import Ladder
from vesalius.models.neurons import neurons_replaced, row_replaced
from vesalius.models.parts import Parts
from vesalius.models.softmax_watch import watched
from vesalius.models.split import RowRemainder


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSite:
    """The feed-forward neurons of one block call at the row of interest.

    ``start`` [batch, neuron] is where the line to the clean neurons begins; None is zero.
    """

    call: BlockCall
    parts: Parts
    signal: Float[Tensor, "batch neuron"]
    remainder: RowRemainder | None
    start: Float[Tensor, "batch neuron"] | None = None

    @property
    def name(self) -> str:
        """The qualified name of the layer that reads the neurons."""
        return self.call.part.feed_forward.name

    @property
    def shown(self) -> Float[Tensor, "batch neuron"]:
        """The clean neurons."""
        return self.signal

    def started(self, neurons: Float[Tensor, "batch neuron"]) -> "NeuronSite":
        """Begin the line at other neurons than zero, shape [batch, neuron].

        Source: baselines of arXiv 1703.01365.
        """
        return replace(self, start=neurons.to(self.signal))

    def along(
        self, nodes: Sequence[float], prompts: Tensor, *, rows: Tensor | None
    ) -> Float[Tensor, "stream neuron"]:
        """Points of the line to the neurons, [node * prompt, neuron]; ``rows`` change nothing.

        Source: arXiv 1703.01365, the straight path from a baseline.
        """
        del rows  # neurons are those of the row of interest anyway
        return line(self.signal, self.start, nodes, prompts)

    def insert(
        self, ladder: Ladder, leaf: Tensor, prompt: Tensor, *, one_row: bool
    ) -> Float[Tensor, "stream query d_model"]:
        """Continue the block from scaled neurons, ``leaf`` [stream, neuron].

        Source: arXiv 2104.08696, equation for P_x(w); split as in docs/architecture.md.
        """
        rows = of_streams(ladder.rows(self.call.index), prompt)
        if self.remainder is None:
            return self._whole_block(leaf, prompt, rows, one_row=one_row)
        changed = self.remainder.output(leaf, prompt)
        if one_row:
            return changed.unsqueeze(1)
        return row_replaced(of_streams(self.call.result, prompt), rows, changed)

    def _whole_block(self, leaf: Tensor, prompt: Tensor, rows: Tensor, *, one_row: bool) -> Tensor:
        def put(_layer: int, neurons: Tensor) -> Tensor:
            return row_replaced(neurons, rows, leaf)

        hidden = of_streams(self.call.hidden, prompt)
        with neurons_replaced(self.parts, put, num_prompts=len(prompt)):
            hidden = self.call.repeat(hidden, prompt)
        return take_rows(hidden, rows) if one_row else hidden

    def read(self, mean_gradient: Tensor, _rows: Tensor) -> Float[Tensor, "batch neuron"]:
        """Turn the mean gradient [batch, neuron] into attributions.

        Source: arXiv 2104.08696, integrated gradients of section 3.2.
        """
        moved = self.signal if self.start is None else self.signal - self.start
        return moved * mean_gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSite:
    """The attention probabilities A of a registered module, through what they are used for.

    A enters the model only as A V. A line from B to A is one from B V to A V, and
    dF/dA = dF/d(AV) V^T, so streams carry the context A V [batch, query, head, d_head] and no
    square matrix. ``start_weights`` is B, ``start`` is B V; None is zero.
    """

    call: BlockCall
    module: nn.Module
    weights: Float[Tensor, "batch head query key"]
    values: Float[Tensor, "batch head key d_head"]
    signal: Float[Tensor, "batch query head d_head"]
    start_weights: Float[Tensor, "batch head query key"] | None = None
    start: Float[Tensor, "batch query head d_head"] | None = None

    @property
    def name(self) -> str:
        """The qualified name of the attention module."""
        return _attention_name(self.call, self.module)

    @property
    def shown(self) -> Float[Tensor, "batch head query key"]:
        """The clean attention probabilities."""
        return self.weights

    def started(self, weights: Float[Tensor, "batch head query key"]) -> "ContextSite":
        """Begin the line at other probabilities than zero, shape [batch, head, query, key].

        Source: baselines of arXiv 1703.01365; derivation above is ours.
        """
        weights = weights.to(self.weights)
        context = torch.einsum("bhqk,bhkd->bqhd", weights, self.values)
        return replace(self, start_weights=weights, start=context)

    def along(
        self, nodes: Sequence[float], prompts: Tensor, *, rows: Tensor | None
    ) -> Float[Tensor, "stream query head d_head"]:
        """Points of the line to the context [node * prompt, ...], of one row where rows are given.

        Source: arXiv 2004.11207, section 3.
        """
        if rows is None:
            return line(self.signal, self.start, nodes, prompts)
        start = None if self.start is None else take_rows(self.start, rows)
        return line(take_rows(self.signal, rows), start, nodes, prompts)

    def insert(
        self, ladder: Ladder, leaf: Tensor, prompt: Tensor, *, one_row: bool
    ) -> Float[Tensor, "stream query d_model"]:
        """Continue the block from scaled contexts, ``leaf`` [stream, query, head, d_head].

        Source: arXiv 2004.11207, F(aA) of section 3; derivation above is ours.
        """
        hidden = of_streams(self.call.hidden, prompt)
        rows = ladder.rows(self.call.index)
        with tapped({self.module: lambda _: leaf}):
            if one_row:
                hidden = take_rows(hidden, of_streams(rows, prompt))
                return self.call.repeat(hidden, prompt, rows=rows)
            return self.call.repeat(hidden, prompt)

    def read(self, mean_gradient: Tensor, rows: Tensor) -> Float[Tensor, "batch head query key"]:
        """Turn the mean gradient of the context into attributions of the probabilities.

        Source: arXiv 2004.11207, Attr_h(A) of section 3.
        """
        moved = self.weights
        if self.start_weights is not None:
            moved = moved - self.start_weights
        gradient = torch.einsum("bqhd,bhkd->bhqk", mean_gradient, self.values.to(mean_gradient))
        if gradient.shape[2] == moved.shape[2]:
            return gradient.mul_(moved)  # in place: a square matrix per head is the largest thing
        row = take_rows(moved, rows, axis=2) * gradient
        index = rows.view(-1, 1, 1, 1).expand_as(row)
        return torch.zeros_like(moved, dtype=row.dtype).scatter(2, index, row)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxSite:
    """The attention probabilities of a module outside the registry, replaced at its softmax."""

    call: BlockCall
    module: nn.Module
    signal: Float[Tensor, "batch head query key"]
    start: Float[Tensor, "batch head query key"] | None = None

    @property
    def name(self) -> str:
        """The qualified name of the attention module."""
        return _attention_name(self.call, self.module)

    @property
    def shown(self) -> Float[Tensor, "batch head query key"]:
        """The clean attention probabilities."""
        return self.signal

    def started(self, weights: Float[Tensor, "batch head query key"]) -> "SoftmaxSite":
        """Begin the line at other probabilities than zero, shape [batch, head, query, key].

        Source: baselines of arXiv 1703.01365.
        """
        return replace(self, start=weights.to(self.signal))

    def along(
        self, nodes: Sequence[float], prompts: Tensor, *, rows: Tensor | None
    ) -> Float[Tensor, "stream head query key"]:
        """Points of the line to the probabilities [node * prompt, ...]; ``rows`` change nothing.

        Source: arXiv 2004.11207, section 3.
        """
        del rows  # a softmax cannot be cut to a row
        return line(self.signal, self.start, nodes, prompts)

    def insert(
        self, ladder: Ladder, leaf: Tensor, prompt: Tensor, *, one_row: bool
    ) -> Float[Tensor, "stream query d_model"]:
        """Continue the block from scaled probabilities, ``leaf`` [stream, head, query, key].

        Source: arXiv 2004.11207, F(aA) of section 3.
        """
        hidden = of_streams(self.call.hidden, prompt)
        with watched({self.module: lambda _: leaf}):
            hidden = self.call.repeat(hidden, prompt)
        rows = of_streams(ladder.rows(self.call.index), prompt)
        return take_rows(hidden, rows) if one_row else hidden

    def read(self, mean_gradient: Tensor, _rows: Tensor) -> Float[Tensor, "batch head query key"]:
        """Turn the mean gradient [batch, head, query, key] into attributions.

        Source: arXiv 2004.11207, Attr_h(A) of section 3.
        """
        moved = self.signal if self.start is None else self.signal - self.start
        return moved * mean_gradient


Site = NeuronSite | ContextSite | SoftmaxSite


def line(signal: Tensor, start: Tensor | None, nodes: Sequence[float], prompts: Tensor) -> Tensor:
    """Points between a start and a signal [batch, ...] at every node, [node * prompt, ...].

    ``start`` has the signal's shape; None is zero.

    Source: the straight path from a baseline, arXiv 1703.01365.
    """
    end = of_streams(signal, prompts)
    begin = None if start is None else of_streams(start, prompts)
    moved = end if begin is None else end - begin
    scale = torch.tensor(nodes, dtype=moved.dtype, device=moved.device)
    points = torch.einsum("n,b...->nb...", scale, moved)
    return (points if begin is None else points + begin).flatten(0, 1)


def _attention_name(call: BlockCall, module: nn.Module) -> str:
    return next(part.name for part in call.part.attentions if part.module is module)


def context_sites(ladder: Ladder) -> list[ContextSite]:
    """One site for every attention module of every recorded block call.

    Source: the staircase of docs/architecture.md.
    """
    sites: list[ContextSite] = []
    for call in ladder.calls:
        for seam in ladder.seam_calls[call.index]:
            with torch.no_grad():
                weights = seam.weights()
                sites.append(
                    ContextSite(
                        call=call,
                        module=seam.module,
                        weights=weights,
                        values=seam.values(),
                        signal=seam.attend(weights),
                    )
                )
    return sites


class SoftmaxNotes:
    """Notes the attention probabilities of watched modules during a clean pass."""

    def __init__(self, parts: Parts) -> None:
        self.modules = [a.module for part in parts.blocks for a in part.attentions]
        self.seen: list[tuple[nn.Module, Tensor]] = []

    def watching(self) -> AbstractContextManager[None]:
        """Watch while the context is open."""

        def note(module: nn.Module) -> Callable[[Tensor], Tensor]:
            def tap(weights: Tensor) -> Tensor:
                self.seen.append((module, weights))
                return weights

            return tap

        return watched({module: note(module) for module in self.modules})

    def sites(self, ladder: Ladder) -> list[SoftmaxSite]:
        """One site for every noted softmax, in the order of the block calls.

        Source: the staircase of docs/architecture.md.
        """
        notes = iter(self.seen)
        sites: list[SoftmaxSite] = []
        for call in ladder.calls:
            for _ in call.part.attentions:
                module, weights = next(notes)
                sites.append(SoftmaxSite(call=call, module=module, signal=weights))
        return sites
