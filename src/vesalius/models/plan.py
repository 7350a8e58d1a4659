"""What the staircase may do on a model: found by a probe, each shortcut checked before it counts.

The probe runs tiny batches. A shortcut whose numbers differ from the plain way is not used, and
the plan says so; nothing is assumed from the name of an architecture.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.attention import SEAM, attention_seam
from vesalius.models.batch import Batch
from vesalius.models.calls import FirstAxis, of_streams
from vesalius.models.ladder import Ladder, Streams, record
from vesalius.models.neurons import row_replaced
from vesalius.models.parts import BlockPart, Parts
from vesalius.models.sites import NeuronSite
from vesalius.models.softmax_watch import watched
from vesalius.models.split import RowRemainder, RowWatch, Split, guess_split, watched_modules

SeamKind = Literal["registry", "softmax", "none"]
Sliceable = Literal["any row", "first row", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a model is climbed.

    ``calls`` are the blocks in the order they run, a shared block several times. ``seam`` tells how
    attention is reached. ``splits`` holds, by block name, the norms behind the feed-forward.
    ``tail`` tells for which rows what follows the blocks may run on that row alone; ``row_top`` and
    ``last_row`` are the other shortcuts that the probe confirmed. ``num_positions`` is the length
    of the probe. ``unclimbable`` is empty, or the reason why the staircase does not serve.
    """

    calls: tuple[BlockPart, ...]
    seam: SeamKind
    num_positions: int
    splits: dict[str, Split] = field(default_factory=dict[str, Split])
    first_axes: dict[int, dict[str, FirstAxis]] = field(
        default_factory=dict[int, dict[str, FirstAxis]]
    )
    tail: Sliceable = "no"
    row_top: bool = False
    last_row: bool = False
    unclimbable: str = ""

    def slices(self, batch: Batch) -> bool:
        """Whether the head may run on the row of interest alone, for the rows of this batch.

        Source: the target-row shortcut of docs/architecture.md.
        """
        if self.tail == "first row":
            return not bool(batch.logits_row.any())
        return self.tail == "any row"


def make_plan(model: nn.Module, parts: Parts, probe: Batch) -> Plan:
    """Probe a model and find out how it may be climbed.

    Args:
        model: the model, in evaluation mode.
        parts: its parts table.
        probe: a small batch of at least two prompts; for a causal model the row of interest is
            the last one of every prompt.

    Raises:
        VesaliusError: a part of the table did not run, hidden states change between blocks, or the
            model does not run at all on the probe.

    Source: seam 3 and the staircase of docs/architecture.md.
    """
    try:
        return _probed(model, parts, probe)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise VesaliusError(
            given=f"{type(model).__name__}, which fails on a small probe: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            expected="a model whose forward takes token ids (or pixels) and gives logits",
            fix="open the model with the head it is used with, and report its class if that fails",
        ) from error


def _probed(model: nn.Module, parts: Parts, probe: Batch) -> Plan:
    seam = _seam_kind(model, parts, probe)
    modules = [a.module for p in parts.blocks for a in p.attentions]
    with ExitStack() as stack:
        if seam == "registry":
            stack.enter_context(attention_seam(model, modules=modules))
        with watched_modules(parts) as seen:
            ladder = record(model, parts, probe, seam=seam == "registry", slices_tail=False)
        plan = Plan(
            calls=tuple(call.part for call in ladder.calls),
            seam=seam,
            num_positions=ladder.calls[0].num_positions,
            splits={call.part.name: guess_split(call, seen) for call in ladder.calls},
            first_axes={call.index: call.find_first_axes() for call in ladder.calls},
        )
        with torch.no_grad():
            return _confirm(plan, parts, ladder)


def _seam_kind(model: nn.Module, parts: Parts, probe: Batch) -> SeamKind:
    """Registry when every attention module called it; else softmax when each ran one."""
    modules = [a.module for p in parts.blocks for a in p.attentions]
    with attention_seam(model, modules=modules):
        ladder = record(model, parts, probe, seam=True)
    if all(len(ladder.seam_calls.get(c.index, ())) == len(c.part.attentions) for c in ladder.calls):
        return "registry"
    counts = dict.fromkeys(modules, 0)

    def count(module: nn.Module) -> Callable[[Tensor], Tensor]:
        def tap(weights: Tensor) -> Tensor:
            counts[module] += 1
            return weights

        return tap

    with eager(model), watched({m: count(m) for m in modules}):
        record(model, parts, probe, seam=False)
    times = dict.fromkeys(modules, 0)
    for call in ladder.calls:
        for attention in call.part.attentions:
            times[attention.module] += 1
    return "softmax" if counts == times else "none"


def eager(model: nn.Module) -> ExitStack:
    """Run a model's attention eagerly inside a ``with`` block; undone on exit.

    Source: seam 2 of docs/architecture.md.
    """
    stack = ExitStack()
    for module in model.modules():
        config = getattr(module, "config", None)
        name = getattr(config, "_attn_implementation_internal", None)
        if config is not None and name not in (None, "eager", SEAM):
            stack.callback(setattr, config, "_attn_implementation_internal", name)
            config._attn_implementation_internal = "eager"
    return stack


def _confirm(plan: Plan, parts: Parts, ladder: Ladder) -> Plan:
    """Keep of a plan what gives the numbers of the plain way."""
    everyone = torch.arange(ladder.batch.num_prompts, device=ladder.logits.device)
    twice = everyone.repeat_interleave(2)  # every prompt as two streams
    clean = Streams(hidden=of_streams(ladder.calls[0].hidden, twice), prompt=twice)
    if not _agrees(lambda: _climb_all(ladder, clean), ladder.logits[twice]):
        return replace(plan, unclimbable="climbing block by block does not give the model's logits")
    plan = replace(plan, tail=_tail(ladder), splits=_confirmed_splits(plan, parts, ladder))
    one_attention = all(len(call.part.attentions) == 1 for call in ladder.calls)
    if plan.seam != "registry" or not one_attention or not plan.slices(ladder.batch):
        return plan
    ladder = replace(ladder, slices_tail=True)
    top = ladder.calls[-1]
    streams = Streams(hidden=top.hidden * 0.5, prompt=everyone)
    full = ladder.climb(top.index, streams).hidden
    wanted = full[everyone, ladder.rows(top.index)].unsqueeze(1)
    row_top = _agrees(lambda: ladder.climb_to_row(top.index, streams).hidden, wanted)
    plan = replace(plan, row_top=row_top)
    return replace(plan, last_row=row_top and plan.tail == "any row" and _last_row_agrees(ladder))


def _climb_all(ladder: Ladder, streams: Streams) -> Tensor:
    for call in ladder.calls:
        streams = ladder.climb(call.index, ladder.enter(call.index, streams))
    return ladder.finish(streams)


def _tail(ladder: Ladder) -> Sliceable:
    """Whether the head gives the same logits from one row: tried on several rows, then on row 0."""
    num_rows = ladder.calls[-1].num_positions
    several = torch.arange(ladder.batch.num_prompts, device=ladder.logits.device) % num_rows
    tries: tuple[tuple[Tensor, Sliceable], ...] = (
        (several, "any row"),
        (torch.zeros_like(several), "first row"),
    )
    for rows, answer in tries:
        decoder_row = None if ladder.batch.decoder_row is None else rows
        row = ladder.batch.row if ladder.batch.decoder_row is not None else rows
        there = replace(ladder, batch=replace(ladder.batch, row=row, decoder_row=decoder_row))
        # logits of altered states: those of the clean pass may hide in a constant
        top = Streams(
            hidden=ladder.calls[-1].result * 0.5, prompt=torch.arange(len(rows), device=rows.device)
        )
        plain = there.finish(top)
        if _agrees(partial(replace(there, slices_tail=True).finish, top), plain):
            return answer
    return "no"


def _last_row_agrees(ladder: Ladder) -> bool:
    """A change at the last row, carried on through the rest, with and without the other rows."""
    first, batch = ladder.calls[0], ladder.batch
    last = torch.full_like(batch.row, first.num_positions - 1)
    if not torch.equal(batch.row, last):
        return False
    everyone = torch.arange(batch.num_prompts, device=last.device)
    changed = row_replaced(first.hidden, last, first.hidden[everyone, last] * 0.5)
    wanted = _climb_all(ladder, Streams(hidden=changed, prompt=everyone))

    def alone() -> Tensor:
        streams = Streams(hidden=changed[:, -1:], prompt=everyone)
        for call in ladder.calls:
            streams = ladder.climb_last_row(call.index, streams)
        return ladder.finish(streams)

    return _agrees(alone, wanted)


def _confirmed_splits(plan: Plan, parts: Parts, ladder: Ladder) -> dict[str, Split]:
    """Change the neurons of every block: does the row remainder give the block's row?"""
    watch = RowWatch(parts, ladder.batch, plan.splits)
    with watch.hooked():
        record(ladder.model, parts, ladder.batch, seam=False)
    everyone = torch.arange(ladder.batch.num_prompts, device=ladder.logits.device)
    kept: dict[str, Split] = {}
    for call in ladder.calls:
        remainder, rows = watch.remainder(call), ladder.rows(call.index)
        if remainder is None:
            continue
        clean = call.result[everyone, rows]
        other = _other(remainder, written=watch.written[call.index])
        whole = NeuronSite(call=call, parts=parts, signal=remainder.neurons, remainder=None)
        wanted = whole.insert(ladder, other, everyone, one_row=False)[everyone, rows]
        changed = partial(_difference, partial(remainder.output, other, everyone), clean)
        if _agrees(changed, wanted - clean):
            kept[call.part.name] = plan.splits[call.part.name]
    return kept


def _other(remainder: RowRemainder, *, written: Tensor) -> Tensor:
    """Neurons that write something else, well above the rounding of the residual.

    Every third changes its sign: a norm right behind them would not notice a mere factor.
    """
    largest = remainder.residual.abs().max() / written.abs().max().clamp_min(1e-12)
    sign = 1.0 - 2.0 * (torch.arange(remainder.neurons.shape[1]) % 3 == 0)
    return remainder.neurons * (2.0 + 4.0 * float(largest)) * sign.to(remainder.neurons)


def _difference(way: Callable[[], Tensor], clean: Tensor) -> Tensor:
    return way() - clean


def _agrees(way: Callable[[], Tensor], wanted: Tensor) -> bool:
    """Whether a shortcut runs at all and gives the wanted numbers."""
    try:
        return _close(way(), wanted)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return False


def _close(actual: Tensor, wanted: Tensor) -> bool:
    if actual.shape != wanted.shape:
        return False
    # rounding through a block, against a wrong formula (errors of the order of the change)
    share = 1e-3 if wanted.dtype in (torch.float32, torch.float64) else 5e-2
    scale = wanted.float().abs().max().clamp_min(1e-6)
    return bool((actual.float() - wanted.float()).abs().max() <= share * scale)
