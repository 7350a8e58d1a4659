"""What autograd keeps of one stream of the staircase, and how runs are cut by it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from vesalius.models.batch import Batch
from vesalius.models.parts import BlockPart
from vesalius.models.plan import Plan
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import fill


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCost:
    """Bytes that autograd keeps of one stream: ``blocks`` in each block, ``head`` above them.

    Source: this project; upper estimates.
    """

    blocks: tuple[int, ...]
    head: int

    def above(self, block: int) -> int:
        """Bytes of a stream that starts in ``block`` and climbs to the top, no shapes.

        Source: this project.
        """
        return sum(self.blocks[block:]) + self.head

    def prompts_at_once(self, memory_bytes: int, *, num_nodes: int) -> int:
        """Count the prompts whose copies of one site fit the memory, at least 1; no shapes.

        Source: this project.
        """
        return max(1, memory_bytes // (num_nodes * self.above(0)))

    def runs(self, starts: Sequence[int], *, num_streams: int, memory_bytes: int) -> list[range]:
        """Cut sites that start in these blocks into runs that fit the memory, no shapes.

        Source: this project.
        """
        return fill([num_streams * self.above(start) for start in starts], memory_bytes)


def stream_cost(specimen: Specimen, plan: Plan, batch: Batch) -> StreamCost:
    """Estimate a stream's bytes before the model is run, from the longest input of a prompt.

    Source: this project.
    """
    lengths = [v.shape[1] for v in batch.inputs.values() if isinstance(v, Tensor) and v.dim() == 2]
    num_positions = max(lengths, default=plan.num_positions)
    itemsize = specimen.dtype.itemsize
    num_rows = 1 if plan.slices(batch) else num_positions
    return StreamCost(
        blocks=tuple(
            saved_bytes(
                part,
                num_positions=num_positions,
                d_model=specimen.parts.d_model,
                bytes_each=itemsize,
            )
            for part in plan.calls
        ),
        head=head_bytes((specimen.parts.num_vocab or 0) * num_rows, itemsize),
    )


def recorded_cost(
    parts: Sequence[BlockPart],
    hidden: Sequence[Shaped[Tensor, "batch _ d_model"]],
    *,
    num_logits: int,
) -> StreamCost:
    """Estimate a stream's bytes from the states that entered each block in a recorded run.

    Shapes: hidden states [batch, position, d_model], one per part.

    Source: this project.
    """
    blocks = tuple(
        saved_bytes(
            part,
            num_positions=state.shape[1],
            d_model=state.shape[2],
            bytes_each=state.element_size(),
        )
        for part, state in zip(parts, hidden, strict=True)
    )
    return StreamCost(blocks=blocks, head=head_bytes(num_logits, hidden[-1].element_size()))


def head_bytes(num_logits: int, bytes_each: int) -> int:
    """Bytes that the head and the objective keep of one stream: an upper estimate, no shapes.

    Source: logits, their softmax and the gradients of both, in single precision at least.
    """
    return 4 * num_logits * max(bytes_each, 4)


def saved_bytes(part: BlockPart, *, num_positions: int, d_model: int, bytes_each: int) -> int:
    """Bytes that autograd keeps of one stream in one block: an upper estimate, no shapes.

    Source: counted with saved-tensor hooks on all families; see the test of this function.
    """
    heads = sum(attention.num_heads for attention in part.attentions)
    per_row = 14 * d_model + 5 * part.feed_forward.num_inputs + 3 * heads * num_positions
    return num_positions * per_row * bytes_each
