"""The staircase: the integrated gradients of every layer from one growing batch.

At each layer, scaled copies of the clean state join the streams that climb from below; at the top
one backward pass reaches every copy. L layers of m nodes cost about m L^2 / 2 block passes in 2 L
calls, and give exactly what L separate integrals give.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import attention_seam
from vesalius.models.batch import Batch
from vesalius.models.climber import Climber
from vesalius.models.costs import stream_cost
from vesalius.models.integrals import (
    ATTENTION_OPTIONS,
    NEURON_OPTIONS,
    Staircase,
    StaircaseOptions,
)
from vesalius.models.ladder import Ladder, record
from vesalius.models.objectives import Objective
from vesalius.models.plan import Plan, eager
from vesalius.models.sites import NeuronSite, Site, SoftmaxNotes, context_sites
from vesalius.models.specimen import Specimen
from vesalius.models.split import RowWatch

__all__ = [
    "ATTENTION_OPTIONS",
    "NEURON_OPTIONS",
    "Staircase",
    "StaircaseOptions",
    "attribute_attention",
    "attribute_neurons",
    "open_seam",
]


def attribute_neurons(
    specimen: Specimen,
    batch: Batch,
    *,
    objective: Objective,
    options: StaircaseOptions = NEURON_OPTIONS,
    start: Sequence[Tensor] | None = None,
) -> Staircase:
    """Integrate the gradient along the line to every layer's neurons at the row of interest.

    Args:
        specimen: the opened model.
        batch: prompts; their row of interest is where neurons are scaled.
        objective: from logits [stream, vocab] and prompt [stream] to values [stream].
        options: quadrature, refinement and memory.
        start: where the line begins, by layer [batch, neuron]; zero (the paper) where left out.

    Raises:
        VesaliusError: the model cannot be climbed block by block, or another number of layers.

    Source: arXiv 2104.08696, section 3.2; staircase: docs/architecture.md.
    """
    if start is not None and len(start) != specimen.num_layers:
        raise VesaliusError(
            given=f"a start for {len(start)} layers",
            expected=f"one for each of the {specimen.num_layers} layers, [batch, neuron]",
            fix="read it with vesalius.models.neurons.read_neurons",
        )
    return _attribute(specimen, batch, objective, options, neurons=True, start=start)


def attribute_attention(
    specimen: Specimen,
    batch: Batch,
    *,
    objective: Objective,
    options: StaircaseOptions = ATTENTION_OPTIONS,
    start: Sequence[Tensor] | None = None,
) -> Staircase:
    """Integrate the gradient along the line to every attention module's probabilities.

    Args:
        specimen: the opened model.
        batch: prompts; their row of interest is where logits are read.
        objective: from logits [stream, vocab] and prompt [stream] to values [stream].
        options: quadrature, refinement and memory.
        start: where the line begins, by site [batch, head, query, key]; zero (the paper), which
            scales the probabilities, where left out.

    Raises:
        VesaliusError: attention that can be reached in no known way, or another number of sites.

    Source: arXiv 2004.11207, section 3; staircase: docs/architecture.md.
    """
    if specimen.plan.seam == "none":
        raise VesaliusError(
            given=f"{specimen.name}: attention that neither calls the registry nor one softmax",
            expected="an attention class that `vesalius check` lists as supported",
            fix="open another architecture, or register this class with AttentionInterface",
        )
    num_sites = sum(len(call.attentions) for call in specimen.plan.calls)
    if start is not None and len(start) != num_sites:
        raise VesaliusError(
            given=f"a start for {len(start)} attention sites",
            expected=f"one for each of the {num_sites} sites, [batch, head, query, key]",
            fix="read it with vesalius.models.attention_replay.read_attention",
        )
    return _attribute(specimen, batch, objective, options, neurons=False, start=start)


def _attribute(
    specimen: Specimen, batch: Batch, objective: Objective, options: StaircaseOptions, *,
    neurons: bool, start: Sequence[Tensor] | None = None,
) -> Staircase:  # fmt: skip
    plan = specimen.plan if options.shortcuts else _plain(specimen.plan)
    if plan.unclimbable:
        raise VesaliusError(
            given=f"{specimen.name}: {plan.unclimbable}",
            expected="a model whose blocks hand hidden states straight to each other",
            fix="run `vesalius check MODEL` and report the architecture",
        )
    if not options.rules:
        raise VesaliusError(
            given="no quadrature rule", expected="one or more", fix="leave the options out"
        )
    batch = batch.to(specimen.device)
    found: list[Staircase] = []
    with specimen.at_rest(), open_seam(specimen, plan, neurons=neurons):
        for prompts in _prompt_runs(specimen, plan, batch, options):
            ladder, sites = _record(specimen, plan, batch.select(prompts), neurons=neurons)
            if start is not None:
                sites = _started(sites, [layer[prompts] for layer in start])
            climber = Climber(
                plan=plan,
                ladder=ladder,
                objective=_shifted(objective, int(prompts[0])),
                options=options,
            )
            found.append(climber.integrate(sites))
    return found[0] if len(found) == 1 else _joined(found)


def _prompt_runs(
    specimen: Specimen, plan: Plan, batch: Batch, options: StaircaseOptions
) -> list[Tensor]:
    """Cut the prompts into runs whose copies of one site fit the memory."""
    most_nodes = max(len(rule.nodes) for rule in options.rules)
    cost = stream_cost(specimen, plan, batch)
    size = cost.prompts_at_once(options.memory_bytes, num_nodes=most_nodes)
    everyone = torch.arange(batch.num_prompts, device=batch.row.device)
    return list(everyone.split(size))


def _joined(parts: Sequence[Staircase]) -> Staircase:
    """One staircase for the prompts of several."""
    sites = range(len(parts[0].names))
    return Staircase(
        names=parts[0].names,
        signal=tuple(torch.cat([p.signal[i] for p in parts]) for i in sites),
        attribution=tuple(torch.cat([p.attribution[i] for p in parts]) for i in sites),
        end_value=torch.cat([p.end_value for p in parts]),
        start_value=torch.cat([p.start_value for p in parts], dim=1),
        gap=torch.cat([p.gap for p in parts], dim=1),
        num_nodes=torch.cat([p.num_nodes for p in parts], dim=1),
        logits=torch.cat([p.logits for p in parts]),
    )


def _plain(plan: Plan) -> Plan:
    return replace(plan, splits={}, row_top=False, last_row=False, tail="no")


@contextmanager
def open_seam(specimen: Specimen, plan: Plan, *, neurons: bool) -> Generator[None, None, None]:
    """Hold a model's attention in the seam that its plan names; shapes do not matter here.

    With ``neurons`` only what the climb itself needs is opened.

    Source: seam 2 of docs/architecture.md.
    """
    modules = [a.module for part in specimen.parts.blocks for a in part.attentions]
    with ExitStack() as stack:
        if plan.seam == "registry":
            stack.enter_context(attention_seam(specimen.model, modules=modules))
        elif plan.seam == "softmax" and not neurons:
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
            first_axes=plan.first_axes,
            slices_tail=plan.slices(batch),
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


def _started(sites: Sequence[Site], start: Sequence[Tensor]) -> list[Site]:
    """The sites with other starts of their lines."""
    return [site.started(begin) for site, begin in zip(sites, start, strict=True)]


def _shifted(objective: Objective, first: int) -> Objective:
    """The objective of a run of prompts that starts with another than prompt 0."""
    return lambda logits, prompt: objective(logits, prompt + first)
