"""A batch of model inputs with the row that is read: what the staircase climbs with."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vesalius.core.errors import VesaliusError


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Model inputs for some prompts, and the row of each prompt that is of interest.

    ``inputs`` are keyword arguments of the model's forward, tensors [batch, ...].
    ``row`` [batch] is the position whose neurons are scaled and, except in an encoder-decoder
    model, whose logits are read; ``decoder_row`` [batch] is its twin in the decoder.
    """

    inputs: dict[str, Any]
    row: Int[Tensor, " batch"]
    decoder_row: Int[Tensor, " batch"] | None = None

    def __post_init__(self) -> None:
        """Refuse rows that are not there.

        Raises:
            VesaliusError: a row outside the prompts, or another number of rows than of prompts.
        """
        ids = self.inputs.get("input_ids")
        if not isinstance(ids, Tensor) or ids.dim() != 2:
            return
        if ids.shape[0] != len(self.row) or not bool(
            ((self.row >= 0) & (self.row < ids.shape[1])).all()
        ):
            raise VesaliusError(
                given=f"rows {self.row.tolist()[:8]} for input_ids of shape {list(ids.shape)}",
                expected="one row for each prompt, from 0 and inside it",
                fix="let encode_prompts or encode_texts make the batch",
            )

    @property
    def num_prompts(self) -> int:
        """How many prompts the batch holds."""
        return len(self.row)

    @property
    def logits_row(self) -> Int[Tensor, " batch"]:
        """The row whose logits are read."""
        return self.row if self.decoder_row is None else self.decoder_row

    def rows_of(self, stack: str) -> Int[Tensor, " batch"]:
        """The row of interest in a stack: ``only``, ``encoder`` or ``decoder``."""
        if stack == "decoder" and self.decoder_row is not None:
            return self.decoder_row
        return self.row

    def select(self, prompts: Tensor) -> "Batch":
        """Repeat or pick prompts by index, integer tensor [stream], into a new batch.

        Source: the streams of the staircase, docs/architecture.md.
        """

        def pick(value: Any) -> Any:
            is_batch = isinstance(value, Tensor) and value.shape[:1] == self.row.shape
            return value.index_select(0, prompts) if is_batch else value

        return Batch(
            inputs={name: pick(value) for name, value in self.inputs.items()},
            row=self.row.index_select(0, prompts),
            decoder_row=None
            if self.decoder_row is None
            else self.decoder_row.index_select(0, prompts),
        )

    def lengths(self) -> Int[Tensor, " batch"]:
        """Count the tokens of every prompt that are no padding, shape [batch].

        A batch without a mask has none, one without texts counts 1 each.

        Source: this project.
        """
        mask = self.inputs.get("attention_mask")
        if isinstance(mask, Tensor):
            return mask.sum(1)
        ids = self.inputs.get("input_ids")
        width = ids.shape[1] if isinstance(ids, Tensor) else 1
        return torch.full_like(self.row, width)

    def trimmed(self) -> "Batch":
        """Leave out the columns in which every prompt is padding; the decoder's inputs stay.

        Source: padding that changes nothing need not be computed.
        """
        mask = self.inputs.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.dim() != 2:
            return self
        used = mask.any(0).nonzero()[:, 0]
        first, end = int(used[0]), int(used[-1]) + 1

        def cut(name: str, value: Any) -> Any:
            along = isinstance(value, Tensor) and value.shape == mask.shape
            return value[:, first:end] if along and not name.startswith("decoder_") else value

        inputs = {name: cut(name, value) for name, value in self.inputs.items()}
        # a classifier that reads elsewhere may name row 0 where padding is on the left
        row = (self.row - first).clamp(0, end - first - 1)
        return Batch(inputs=inputs, row=row, decoder_row=self.decoder_row)

    def one_position(self) -> "Batch":
        """Keep only the row of interest of every input along positions.

        For running what comes after the blocks, where the blocks themselves are passed over.

        Source: point 8 of the engine notes, docs/architecture.md.
        """

        def cut(name: str, value: Any) -> Any:
            if not isinstance(value, Tensor) or value.dim() != 2:
                return value
            row = self.logits_row if name.startswith("decoder_") else self.row
            return value.expand(len(row), -1).gather(1, row.unsqueeze(1))

        zero = torch.zeros_like(self.row)
        return Batch(
            inputs={name: cut(name, value) for name, value in self.inputs.items()},
            row=zero,
            decoder_row=None if self.decoder_row is None else zero,
        )

    def to(self, device: torch.device) -> "Batch":
        """Move every tensor to a device.

        Source: ``torch.Tensor.to``.
        """

        def move(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        return Batch(
            inputs={name: move(value) for name, value in self.inputs.items()},
            row=self.row.to(device),
            decoder_row=None if self.decoder_row is None else self.decoder_row.to(device),
        )
