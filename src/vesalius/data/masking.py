"""Documents as token ids, batches of like length, and the masks of a masked language model."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.data.batching import plan_by_length
from vesalius.data.corpus import Example
from vesalius.data.shards import tokenizer_hash

IGNORE = -100  # the label that the loss leaves out, torch's own default


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text as token ids, and the positions of the words that answer its facts.

    Source: this project.
    """

    token_ids: tuple[int, ...]
    answer_positions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class MaskingOptions:
    """How many tokens are hidden: shares between 0 and 1.

    With probability `answer_share` a text with answers has all of them hidden, and each other
    token with `random_share_beside`; else each token with `random_share`. Of the hidden tokens
    `keep_share` stay visible and are predicted all the same.

    Source: 15 % and the visible tenth from BERT (Devlin et al. 2019); hiding answers as a whole
    after salient span masking (Guu et al. 2020, arXiv 2002.08909).
    """

    answer_share: float = 0.7
    random_share: float = 0.2
    random_share_beside: float = 0.07
    keep_share: float = 0.1


def encode_examples(
    examples: Sequence[Example], *, tokenizer: Any, max_length: int
) -> list[Document]:
    """Return the documents of the examples that fit into `max_length` tokens, in order.

    Source: this project.
    """
    answer_ids = {
        word: tokenizer.convert_tokens_to_ids(word)
        for word in {word for example in examples for word in example.answers}
    }
    encoded = tokenizer([example.text for example in examples])["input_ids"]
    documents: list[Document] = []
    for example, token_ids in zip(examples, encoded, strict=True):
        if len(token_ids) > max_length:
            continue
        wanted = {answer_ids[word] for word in example.answers}
        positions = tuple(i for i, token in enumerate(token_ids) if token in wanted)
        documents.append(Document(token_ids=tuple(token_ids), answer_positions=positions))
    return documents


class MaskedBatches:
    """Endless masked batches, each a pure function of its number: a run resumes by counting.

    One batch holds at most `tokens_per_batch` tokens, padding included; texts of like length
    stand together and are never joined.

    Raises:
        VesaliusError: there is no document, one has nothing between its first and its last token
            (which no mask hides), or the tokenizer has no mask or no padding.

    Source: this project.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        tokenizer: Any,
        tokens_per_batch: int,
        seed: int,
        options: MaskingOptions,
    ) -> None:
        self._documents = documents
        self._lengths = np.array([len(row.token_ids) for row in documents], dtype=np.int64)
        self._tokens_per_batch = tokens_per_batch
        self._seed = seed
        self._options = options
        _check_hideable(self._lengths, tokenizer)
        self._pad = int(tokenizer.pad_token_id)
        self._mask = int(tokenizer.mask_token_id)
        self._special = frozenset(int(i) for i in tokenizer.all_special_ids)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self.batches_per_epoch = len(self._plan(0))  # equal in all epochs
        self._tokenizer = tokenizer

    @property
    def identity(self) -> dict[str, str]:
        """Return what makes these batches these: hashes of documents and tokenizer, settings."""
        digest = hashlib.sha256()
        for document in self._documents:
            digest.update(repr((document.token_ids, document.answer_positions)).encode())
        return {
            "documents": digest.hexdigest(),
            "tokenizer": tokenizer_hash(self._tokenizer),
            "tokens_per_batch": str(self._tokens_per_batch),
            "seed": str(self._seed),
            "masking": repr(self._options),
        }

    def __getitem__(self, number: int) -> dict[str, Int64[Tensor, "batch position"]]:
        """Return batch `number`: input_ids, labels, attention_mask (unless nothing is padded).

        Shapes: all [batch, position]; labels are -100 where nothing is to be predicted.
        """
        epoch, place = divmod(number, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._plan(epoch))
        rows = [self._documents[i] for i in self._epoch[1][place]]
        random = np.random.default_rng((self._seed, 1, number))
        length = max(len(row.token_ids) for row in rows)
        inputs = np.full((len(rows), length), self._pad, dtype=np.int64)
        labels = np.full((len(rows), length), IGNORE, dtype=np.int64)
        attention = np.zeros((len(rows), length), dtype=np.int64)
        for i, row in enumerate(rows):
            size = len(row.token_ids)
            inputs[i, :size] = row.token_ids
            attention[i, :size] = 1
            hidden = self._choose(row, random)
            labels[i, hidden] = inputs[i, hidden]
            inputs[i, hidden[random.random(len(hidden)) >= self._options.keep_share]] = self._mask
        batch = {"input_ids": torch.from_numpy(inputs), "labels": torch.from_numpy(labels)}
        if not attention.all():
            batch["attention_mask"] = torch.from_numpy(attention)
        return batch

    def __iter__(self) -> Iterator[dict[str, Int64[Tensor, "batch position"]]]:
        """Yield the batches from number 0 without end."""
        number = 0
        while True:
            yield self[number]
            number += 1

    def _choose(self, row: Document, random: np.random.Generator) -> np.ndarray:
        options = self._options
        hide_answers = bool(row.answer_positions) and random.random() < options.answer_share
        share = options.random_share_beside if hide_answers else options.random_share
        chosen = random.random(len(row.token_ids)) < share
        chosen &= np.array([token not in self._special for token in row.token_ids])
        if hide_answers:
            chosen[list(row.answer_positions)] = True
        elif not chosen.any():
            chosen[random.integers(1, len(row.token_ids) - 1)] = True
        return np.flatnonzero(chosen)

    def _plan(self, epoch: int) -> list[list[int]]:
        return plan_by_length(
            self._lengths,
            tokens_per_batch=self._tokens_per_batch,
            generator=np.random.default_rng((self._seed, 0, epoch)),
        )


def _check_hideable(lengths: Int64[np.ndarray, "document"], tokenizer: Any) -> None:
    for name in ("mask", "pad"):
        if getattr(tokenizer, f"{name}_token_id") is None:
            raise VesaliusError(
                given=f"a tokenizer without a {name} token",
                expected="that of a masked language model",
                fix="use one such as bert-base-cased's",
            )
    short = np.flatnonzero(lengths < 3)
    if len(short):
        raise VesaliusError(
            given=f"document {short[0]} of {lengths[short[0]]} tokens",
            expected="at least one token between the first and the last, which are never hidden",
            fix="leave empty texts out",
        )
