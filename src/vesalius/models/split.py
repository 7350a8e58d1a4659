"""What is left of a block after its neurons, for the row of interest alone.

Behind the feed-forward neurons everything in a Transformer block works position by position:
``outer(residual + inner(linear(neurons)))`` with at most two norms. A change at one row therefore
leaves every other row of the block's output as it was. Which norms there are is found by watching
a clean pass, and the finding is checked against the whole block before it is used.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vesalius.models.batch import Batch
from vesalius.models.calls import BlockCall, of_streams, take_rows
from vesalius.models.parts import BlockPart, Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The norms behind a block's feed-forward: on its output, and on the sum with the residual."""

    inner: nn.Module | None
    outer: nn.Module | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRemainder:
    """A block from its neurons to its output at the row of interest.

    ``neurons`` [batch, neuron] and ``residual`` [batch, d_model] are those of the clean pass.
    """

    linear: nn.Module
    split: Split
    neurons: Float[Tensor, "batch neuron"]
    residual: Float[Tensor, "batch d_model"]

    def output(
        self, neurons: Float[Tensor, "stream neuron"], prompt: Int[Tensor, " stream"]
    ) -> Float[Tensor, "stream d_model"]:
        """Compute the block's output row for other neurons.

        Source: the split-block shortcut of docs/architecture.md.
        """
        written = self.linear(neurons)
        if self.split.inner is not None:
            written = self.split.inner(written)
        row = of_streams(self.residual, prompt) + written
        return row if self.split.outer is None else self.split.outer(row)


class RowWatch:
    """Notes, at the row of interest of every block call, neurons and what follows them."""

    def __init__(self, parts: Parts, batch: Batch, splits: dict[str, Split]) -> None:
        self.parts = parts
        self.batch = batch
        self.splits = splits
        self.neurons: list[Tensor] = []
        self.written: list[Tensor] = []
        self.summed: dict[int, Tensor] = {}

    @contextmanager
    def hooked(self) -> Generator[None, None, None]:
        """Watch one forward pass."""
        with ExitStack() as stack:
            for part in self.parts.blocks:
                linear = part.feed_forward.module
                hooks = [linear.register_forward_hook(self._note(part))]
                split = self.splits.get(part.name)
                if split is not None and split.outer is not None:
                    hooks.append(split.outer.register_forward_pre_hook(self._note_sum(part)))
                for hook in hooks:
                    stack.callback(hook.remove)
            yield

    def _row(self, part: BlockPart, states: Tensor) -> Tensor:
        unfolded = states.reshape(self.batch.num_prompts, -1, states.shape[-1])
        return take_rows(unfolded, self.batch.rows_of(part.stack))[:, 0]

    def _note(self, part: BlockPart) -> Any:
        def note(_module: nn.Module, args: Any, output: Tensor) -> None:
            self.neurons.append(self._row(part, args[0]))
            self.written.append(self._row(part, output))

        return note

    def _note_sum(self, part: BlockPart) -> Any:
        def note(_module: nn.Module, args: Any) -> None:
            # the same norm may run before the feed-forward too; the last input is the one
            self.summed[len(self.written) - 1] = self._row(part, args[0])

        return note

    def remainder(self, call: BlockCall) -> RowRemainder | None:
        """The row remainder of a call, or None where the block is not known to split.

        Source: the split-block shortcut of docs/architecture.md.
        """
        split = self.splits.get(call.part.name)
        if split is None:
            return None
        index = call.index
        with torch.no_grad():
            written = self.written[index]
            if split.inner is not None:
                written = split.inner(written)
            total = self.summed.get(index)
            if total is None:
                total = self._row(call.part, call.result)
        return RowRemainder(
            linear=call.part.feed_forward.module,
            split=split,
            neurons=self.neurons[index],
            residual=total - written,
        )


@contextmanager
def watched_modules(parts: Parts) -> Generator[list[tuple[nn.Module, Any, Any]], None, None]:
    """Note input and output of every leaf module of the blocks during one forward pass.

    Source: the split-block shortcut of docs/architecture.md.
    """
    seen: list[tuple[nn.Module, Any, Any]] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            seen.append((module, args[0], output))

    with ExitStack() as stack:
        for part in parts.blocks:
            for module in part.module.modules():
                if not any(module.children()) and "Dropout" not in type(module).__name__:
                    stack.callback(module.register_forward_hook(note).remove)
        yield seen


def guess_split(call: BlockCall, seen: list[tuple[nn.Module, Any, Any]]) -> Split:
    """Guess the norms behind a block's feed-forward from one clean pass of shapes [batch, ...].

    Source: the split-block shortcut of docs/architecture.md.
    """
    linear = call.part.feed_forward.module
    inside = set(call.part.module.modules())
    written = [out for module, _, out in seen if module is linear]
    inner = outer = None
    for module, given, out in seen:
        if module is linear or module not in inside:
            continue
        if any(_same(given, w) for w in written):
            inner = module
        elif _same(out, call.result):
            outer = module
    return Split(inner=inner, outer=outer)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and torch.equal(a.reshape(b.shape), b)
