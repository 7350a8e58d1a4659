"""Rows of one length filled with several documents, of which none sees another.

The mask is additive and 4-D on purpose: a boolean one is right for sdpa and silently wrong for
eager attention (which adds it), and `position_ids` alone are ignored by transformers as soon as
a cache is made, which its causal models do by default. :func:`check_documents_apart` asks a
model whether it takes the batches as they are meant.

Source: this project; best-fit-decreasing as in "Fewer Truncations Improve Language Modeling"
(Ding et al. 2024, arXiv 2404.10830), which also cuts only what is longer than a row.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.data.masking import IGNORE
from vesalius.data.shards import AbstractDocuments

NOBODY: Final = -1  # the document number of padding


class Plan(NamedTuple):
    """Which row holds which piece: sorted by row, and by place in the row.

    `row_starts[r]` is the first piece of row r; the number of pieces stands last.
    """

    pieces: Int64[np.ndarray, "piece"]
    row_starts: Int64[np.ndarray, "boundary"]


def pack_lengths(lengths: Int64[np.ndarray, "piece"], *, context_length: int) -> Plan:
    """Lay pieces of the given lengths into rows of `context_length`, best fit, longest first.

    The number of rows depends on the lengths alone, not on their order.

    Raises:
        VesaliusError: a length is below 1 or above `context_length`.
    """
    if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= context_length:
        raise VesaliusError(
            given=f"lengths from {int(lengths.min())} to {int(lengths.max())}",
            expected=f"lengths from 1 to {context_length}",
            fix="cut the documents first, as PackedBatches does",
        )
    order = np.argsort(-lengths, kind="stable")
    open_rows: list[list[int]] = [[] for _ in range(context_length + 1)]  # by free places
    some_open = 0  # bit f is set when a row with f free places is open
    row_of = np.empty(len(lengths), dtype=np.int64)
    num_rows = 0
    for piece, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = some_open >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[free].pop()
            if not open_rows[free]:
                some_open ^= 1 << free
        else:
            free, row = context_length, num_rows
            num_rows += 1
        row_of[piece] = row
        if free > length:
            open_rows[free - length].append(row)
            some_open |= 1 << (free - length)
    pieces = order[np.argsort(row_of[order], kind="stable")]
    starts = np.searchsorted(row_of[pieces], np.arange(num_rows + 1))
    return Plan(pieces.astype(np.int64), starts.astype(np.int64))


def document_mask(
    document_ids: Int64[Tensor, "batch position"], *, causal: bool, window: int | None = None
) -> Float[Tensor, "batch 1 query key"]:
    """Return what attention adds to its scores: 0 within a document, -inf between two.

    Every position sees itself, padding too, so that no row of attention is empty. `window`
    counts the keys a query sees, itself included, on each side it may look to: what layers
    with a sliding window need, for transformers takes a 4-D mask as it is.
    """
    positions = torch.arange(document_ids.shape[1], device=document_ids.device)
    distance = positions[:, None] - positions[None, :]
    seen = document_ids[:, None, :, None] == document_ids[:, None, None, :]
    if causal:
        seen &= distance >= 0
    if window is not None:
        seen &= distance.abs() < window
    return torch.where(seen, 0.0, -torch.inf)


@final
class PackedBatches:
    """Endless batches of full rows, each a pure function of its number: a run resumes by counting.

    A document longer than a row is cut into pieces, from then on documents of their own. In each
    epoch documents of one length swap places and the rows are shuffled; the rows that fill no
    batch are left out, other ones each time.

    Args:
        documents: token ids; `tokenizer` makes no difference here.
        context_length: tokens of a row.
        rows_per_batch: rows of a batch.
        seed: of the order.
        objective: "causal" gives labels and a causal mask, "none" (encoders) a mask only.
        pad_id: token in the places that stay free.
        window: see :func:`document_mask`.

    Raises:
        VesaliusError: a size is below 1, or the documents fill less than one batch.
    """

    def __init__(
        self,
        documents: AbstractDocuments,
        *,
        context_length: int,
        rows_per_batch: int,
        seed: int,
        objective: Literal["causal", "none"] = "causal",
        pad_id: int = 0,
        window: int | None = None,
    ) -> None:
        _check_sizes(objective, context_length=context_length, rows_per_batch=rows_per_batch)
        self._documents, self._context_length = documents, context_length
        self._rows_per_batch, self._seed, self._pad_id = rows_per_batch, seed, pad_id
        self._causal, self._window = objective == "causal", window
        self._piece_document, self._piece_start, self._piece_length = _cut(
            documents.lengths, context_length=context_length
        )
        self._plan = pack_lengths(self._piece_length, context_length=context_length)
        self.num_rows = len(self._plan.row_starts) - 1
        self.batches_per_epoch = self.num_rows // rows_per_batch
        if not self.batches_per_epoch:
            raise VesaliusError(
                given=f"{len(documents)} documents of {documents.num_tokens} tokens, "
                f"which fill {self.num_rows} rows",
                expected=f"one batch at least: {rows_per_batch} rows of {context_length} tokens, "
                f"{rows_per_batch * context_length} tokens",
                fix="add text, or make context_length or rows_per_batch smaller",
            )
        self.padding_share = 1 - documents.num_tokens / (self.num_rows * context_length)
        self.identity = documents.identity | {
            "packing": "best fit decreasing, 1",
            "context_length": str(context_length),
            "rows_per_batch": str(rows_per_batch),
            "seed": str(seed),
            "objective": objective,
            "pad_id": str(pad_id),
            "window": str(window),
        }
        # Pieces of one length stand together here: an epoch shuffles them inside their group.
        self._by_length = np.argsort(self._piece_length, kind="stable")
        self._epoch: tuple[int, np.ndarray, np.ndarray] = (-1, self._by_length, self._by_length)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return batch `number`.

        Shapes: input_ids, labels and position_ids [batch, position], attention_mask
        [batch, 1, query, key]. The first token of a piece and padding have the label -100. When
        every row is one piece, only input_ids (and labels) are there: nothing is to be hidden.
        """
        epoch, place = divmod(number, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, *self._shuffle(epoch))
        _, stand_in, row_order = self._epoch
        rows = row_order[place * self._rows_per_batch : (place + 1) * self._rows_per_batch]
        shape = (self._rows_per_batch, self._context_length)
        inputs = np.full(shape, self._pad_id, dtype=np.int64)
        labels = np.full(shape, IGNORE, dtype=np.int64)
        positions = np.zeros(shape, dtype=np.int64)
        owners = np.full(shape, NOBODY, dtype=np.int64)
        for i, row in enumerate(rows.tolist()):
            begin = 0
            first, last = self._plan.row_starts[row : row + 2].tolist()
            for owner, slot in enumerate(self._plan.pieces[first:last].tolist()):
                token_ids = self._piece(int(stand_in[slot]))
                end = begin + len(token_ids)
                inputs[i, begin:end] = token_ids
                labels[i, begin + 1 : end] = token_ids[1:]
                positions[i, begin:end] = np.arange(len(token_ids))
                owners[i, begin:end] = owner
                begin = end
        batch = {"input_ids": torch.from_numpy(inputs)}
        if self._causal:
            batch["labels"] = torch.from_numpy(labels)
        if owners.any():
            batch["position_ids"] = torch.from_numpy(positions)
            batch["attention_mask"] = document_mask(
                torch.from_numpy(owners), causal=self._causal, window=self._window
            )
        return batch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches from number 0 without end; shapes as of ``batches[number]``."""
        number = 0
        while True:
            yield self[number]
            number += 1

    def _piece(self, number: int) -> Int64[np.ndarray, "token"]:
        document, start = self._piece_document[number], self._piece_start[number]
        return self._documents[int(document)][start : start + self._piece_length[number]]

    def _shuffle(self, epoch: int) -> tuple[Int64[np.ndarray, "piece"], Int64[np.ndarray, "row"]]:
        random = np.random.default_rng((self._seed, epoch))
        shuffled = np.lexsort((random.random(len(self._piece_length)), self._piece_length))
        stand_in = np.empty_like(shuffled)
        stand_in[self._by_length] = shuffled
        return stand_in, random.permutation(self.num_rows)


def check_documents_apart(model: Any, *, context_length: int, vocab_size: int) -> None:
    """Ask a causal model whether packed documents give the logits they give alone.

    Some classes read a 4-D mask otherwise, and layers with a sliding window shorter than
    `context_length` lose it unless the batches are made with it: both show here.

    Raises:
        VesaliusError: a logit differs by more than 1e-3 of the largest.
    """
    short = min(max(2, context_length // 8), context_length - 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, (1, context_length), generator=generator)
    owners = (torch.arange(context_length) >= context_length - short).long()[None]
    positions = torch.arange(context_length)[None] - owners * (context_length - short)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad():
        packed = model(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=document_mask(owners, causal=True).to(device),
        ).logits
        halves = ids.to(device).split((context_length - short, short), dim=1)
        alone = torch.cat([model(input_ids=half).logits for half in halves], dim=1)
    model.train(was_training)
    difference = ((packed - alone).abs().max() / alone.abs().max()).item()
    if not difference <= 1e-3:  # written so that a NaN fails
        raise VesaliusError(
            given=f"{type(model).__name__}, whose logits change by {difference:.1e} of the "
            "largest when documents share a row",
            expected="the logits that each document gives alone",
            fix="train it on batches of one document per row, or, if it has a sliding window, "
            "choose a context_length within the window",
        )


def _cut(
    lengths: Int64[np.ndarray, "document"], *, context_length: int
) -> tuple[Int64[np.ndarray, "piece"], Int64[np.ndarray, "piece"], Int64[np.ndarray, "piece"]]:
    """Cut documents into pieces of at most a row: document, start and length of each."""
    counts = -(-lengths // context_length)
    document = np.repeat(np.arange(len(lengths)), counts)
    before = np.cumsum(counts) - counts
    start = (np.arange(len(document)) - before[document]) * context_length
    length = np.minimum(lengths[document] - start, context_length)
    return document, start, length


def _check_sizes(objective: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise VesaliusError(
                given=f"{name}={size}", expected=f"{name} >= 1", fix=f"pass {name}=512 or so"
            )
    if objective not in ("causal", "none"):
        raise VesaliusError(
            given=f"objective={objective!r}",
            expected="'causal' or 'none'",
            fix="'causal' for language models that read left to right, 'none' for encoders",
        )
