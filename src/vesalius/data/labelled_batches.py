"""Labelled texts as numbered batches: fixed rows per batch, texts of like length together.

Source: this project; grouping by length within windows as in Khomenko et al. 2016
(arXiv 1708.05604).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.data.labelled import LabelledSplit

_WINDOW_BATCHES: Final = 16  # rows that are sorted by length together; larger hides the order more
_INPUTS: Final = ("input_ids", "token_type_ids")  # attention_mask follows from the lengths


@final
@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """Token ids of the rows, per input of the model, and the rows' labels.

    ``num_cut`` rows were longer than the limit and lost their end.
    """

    inputs: dict[str, tuple[tuple[int, ...], ...]]
    labels: tuple[int, ...]
    num_cut: int
    pad_id: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each row."""
        return tuple(len(row) for row in self.inputs["input_ids"])


def encode_labelled(split: LabelledSplit, *, tokenizer: Any, max_length: int) -> EncodedSplit:
    """Turn texts and pairs into tokens; what is longer than ``max_length`` tokens is cut.

    Raises:
        VesaliusError: a tokenizer without a padding token, or a text without a single token.
    """
    if tokenizer.pad_token_id is None:
        raise VesaliusError(
            given="a tokenizer without a padding token",
            expected="one that can fill up short rows",
            fix="set tokenizer.pad_token, for a causal model usually to tokenizer.eos_token",
        )
    rows = [list(split.texts)] if split.pairs is None else [list(split.texts), list(split.pairs)]
    whole = tokenizer(*rows, truncation=False, verbose=False)["input_ids"]
    encoded = tokenizer(*rows, truncation=True, max_length=max_length)
    empty = [i for i, row in enumerate(encoded["input_ids"]) if not row]
    if empty:
        raise VesaliusError(
            given=f"text {split.texts[empty[0]]!r} in row {empty[0] + 1}, which has no token",
            expected="texts that the tokenizer knows something of",
            fix="leave that row out",
        )
    return EncodedSplit(
        inputs={
            name: tuple(tuple(row) for row in encoded[name]) for name in _INPUTS if name in encoded
        },
        labels=split.labels,
        num_cut=sum(len(row) > max_length for row in whole),
        pad_id=int(tokenizer.pad_token_id),
    )


def make_batch(split: EncodedSplit, rows: Sequence[int]) -> dict[str, Int64[Tensor, "batch ..."]]:
    """Pad rows to the longest of them, on the right.

    Shapes: input_ids, attention_mask (and token_type_ids) [batch, position]; labels [batch].
    """
    lengths = [len(split.inputs["input_ids"][i]) for i in rows]
    batch = {
        name: np.full((len(rows), max(lengths)), split.pad_id if name == "input_ids" else 0)
        for name in (*split.inputs, "attention_mask")
    }
    for place, (i, length) in enumerate(zip(rows, lengths, strict=True)):
        for name, values in split.inputs.items():
            batch[name][place, :length] = values[i]
        batch["attention_mask"][place, :length] = 1
    tensors = {name: torch.from_numpy(array.astype(np.int64)) for name, array in batch.items()}
    return tensors | {"labels": torch.tensor([split.labels[i] for i in rows])}


@final
class LabelledBatches:
    """Endless batches, each a pure function of its number: a run resumes by counting.

    Every row stands in one batch of an epoch; the last batch of an epoch may be short.
    """

    def __init__(self, split: EncodedSplit, *, batch_size: int, seed: int) -> None:
        """Prepare batches of ``batch_size`` rows, drawn by ``seed``.

        Raises:
            VesaliusError: a batch size below 1.
        """
        if batch_size < 1:
            raise VesaliusError(
                given=f"batch_size={batch_size}", expected="at least 1", fix="use 32"
            )
        self._split, self._batch_size, self._seed = split, batch_size, seed
        self._lengths = np.array(split.lengths)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self.batches_per_epoch = -(-len(split) // batch_size)

    def __getitem__(self, number: int) -> dict[str, Int64[Tensor, "batch ..."]]:
        """Return batch ``number``; shapes as :func:`make_batch`."""
        return make_batch(self._split, self.rows(number))

    def rows(self, number: int) -> list[int]:
        """Give the rows of batch ``number``."""
        epoch, place = divmod(number, self.batches_per_epoch)
        known, plan = self._epoch
        if known != epoch:
            plan = self._plan(epoch)
            self._epoch = (epoch, plan)  # one assignment: another thread may read ahead
        return plan[place]

    def padding_share(self) -> float:
        """Give the share of padding among the tokens of the first epoch."""
        padded = sum(len(rows) * int(self._lengths[rows].max()) for rows in self._plan(0))
        return 1 - int(self._lengths.sum()) / padded

    def _plan(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng((self._seed, epoch))
        order = random.permutation(len(self._lengths))
        window = _WINDOW_BATCHES * self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(self._lengths[part], kind="stable")].tolist()
            size = self._batch_size
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        return [batches[i] for i in random.permutation(len(batches)).tolist()]
