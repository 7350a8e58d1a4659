"""Recorded block calls, and the same call made again for other streams."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor

from vesalius.models.parts import BlockPart

FirstAxis = Literal["batch", "one", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCall:
    """One call of a block during a clean pass: what went in, and what came out.

    ``args`` and ``kwargs`` are as the model passed them, the hidden states included; ``memory`` is
    the encoder output among them, if any; ``first_axes`` tells, by argument path, what the
    first axis of each tensor is, where a probe has found out.
    """

    index: int
    part: BlockPart
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    memory: Tensor | None = None
    first_axes: dict[str, FirstAxis] | None = None

    @property
    def hidden(self) -> Float[Tensor, "batch position d_model"]:
        """The hidden states that entered the block."""
        return self.args[0] if self.args else self.kwargs["hidden_states"]

    @property
    def result(self) -> Float[Tensor, "batch position d_model"]:
        """The hidden states that left the block."""
        return hidden_of(self.output)

    @property
    def num_positions(self) -> int:
        """The sequence length of this stack."""
        return self.hidden.shape[1]

    def repeat(
        self,
        hidden: Float[Tensor, "stream query d_model"],
        prompt: Int[Tensor, " stream"],
        *,
        memory: Tensor | None = None,
        rows: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "stream query d_model"]:
        """Make the call again with other hidden states.

        Args:
            hidden: shape [stream, query, d_model].
            prompt: shape [stream], which recorded prompt each stream belongs to.
            memory: encoder output of the streams, shape [stream, key, d_model].
            rows: shape [batch]; with it, ``hidden`` holds only that row of each prompt, and
                tensors along positions are cut to it.

        Source: the staircase of docs/architecture.md.
        """
        swap: dict[int, Tensor] = {id(self.hidden): hidden}
        if self.memory is not None and memory is not None:
            swap[id(self.memory)] = memory

        def give(path: str, value: Tensor) -> Tensor:
            return swap[id(value)] if id(value) in swap else self._fit(path, value, prompt, rows)

        args, kwargs = map_tensors(give, (self.args, self.kwargs))
        return hidden_of(self.part.module(*args, **kwargs))

    def find_first_axes(self) -> dict[str, FirstAxis]:
        """Tell by argument path whether a tensor's first axis is the batch, of size 1, or neither.

        Source: the probe of docs/architecture.md.
        """
        found: dict[str, FirstAxis] = {}

        def look(path: str, value: Tensor) -> Tensor:
            if value.dim() > 1:
                batched = value.shape[0] == self.hidden.shape[0]
                found[path] = "batch" if batched else "one" if value.shape[0] == 1 else "other"
            return value

        map_tensors(look, (self.args, self.kwargs))
        return found

    def _fit(self, path: str, value: Tensor, prompt: Tensor, rows: Tensor | None) -> Tensor:
        """Cut a recorded tensor to the streams, and to one row where rows are given."""
        num_prompts, num_positions = self.hidden.shape[:2]
        if value.dim() < 2:
            return value
        first = (self.first_axes or {}).get(path, "one")
        # where the probe saw size 1, a tensor of the batch's size now is one of the batch
        batched = first != "other" and value.shape[0] == num_prompts
        batched = batched and (num_prompts > 1 or first == "batch")
        if rows is not None:
            axis = 2 if value.dim() == 4 else 1
            if value.shape[axis] == num_positions:
                value = take_rows(value.expand(num_prompts, *value.shape[1:]), rows, axis=axis)
                batched = True
        if not batched:
            return value
        if num_prompts == 1:
            return value.expand(len(prompt), *value.shape[1:])
        return of_streams(value, prompt)


def hidden_of(output: Any) -> Tensor:
    """The hidden states in what a block returned, shape [batch, position, d_model].

    Source: the block classes of the transformers library.
    """
    return output if isinstance(output, Tensor) else output[0]


def with_hidden(output: Any, hidden: Tensor) -> Any:
    """What a block returned, with other hidden states [stream, position, d_model] in it.

    Source: the block classes of the transformers library.
    """
    return hidden if isinstance(output, Tensor) else (hidden, *output[1:])


def of_streams(states: Tensor, prompt: Tensor) -> Tensor:
    """Repeat states [batch, ...] for streams, ``prompt`` [stream] saying whose copy each is.

    Source: ``torch.index_select``; models spread over devices keep each layer's states on its own.
    """
    return states.index_select(0, prompt.to(states.device))


def take_rows(states: Tensor, rows: Tensor, *, axis: int = 1) -> Tensor:
    """Keep one entry along an axis for each batch entry, the axis itself kept with size 1.

    Args:
        states: shape [batch, ...].
        rows: integer tensor, shape [batch].
        axis: the axis to cut, 1 or later.

    Source: ``torch.gather``.
    """
    size = list(states.shape)
    size[axis] = 1
    index = rows.to(states.device).view(-1, *[1] * (states.dim() - 1)).expand(size)
    return states.gather(axis, index)


def map_tensors(function: Callable[[str, Tensor], Any], value: Any, *, path: str = "") -> Any:
    """Apply ``function(path, tensor)`` inside nested tuples, lists and dicts; leave the rest.

    Tensors of any shape; the function decides what becomes of them.

    Source: the argument conventions of the transformers library.
    """
    if isinstance(value, Tensor):
        return function(path, value)
    if type(value) in (tuple, list):
        return type(value)(
            map_tensors(function, v, path=f"{path}.{i}") for i, v in enumerate(value)
        )
    if type(value) is dict:
        return {k: map_tensors(function, v, path=f"{path}.{k}") for k, v in value.items()}
    return value
