"""Keep a part of the documents back, to measure on what training never reads.

Source: this project.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from jaxtyping import Int64

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.data.shards import AbstractDocuments, Documents, Shard

HIGHEST_SHARE: Final = 0.05  # of the tokens, where there are few


def hold_out(
    documents: AbstractDocuments, *, context_length: int, num_tokens: int = 8192
) -> tuple[Documents, Documents]:
    """Return what is trained on, and what is held out: whole documents, or pieces of long ones.

    Documents are first cut into pieces of at most `context_length` tokens. Pieces are drawn by a
    seed that never changes, until they have `num_tokens`, or a twentieth of all tokens. Nothing
    is copied but what is held out.

    Raises:
        VesaliusError: a number below 1, or a single piece, of which nothing can be held out.
    """
    check_count("context_length", context_length, lowest=1, usual=128)
    check_count("num_tokens", num_tokens, lowest=1, usual=8192)
    shards = [_cut(shard, context_length=context_length) for shard in documents.shards]
    lengths = np.concatenate([np.diff(shard.offsets) for shard in shards])
    if len(lengths) < 2:
        raise VesaliusError(
            given=f"{documents.num_tokens} tokens, which fill no more than one row",
            expected="text for training, and some to hold out",
            fix="add text, or make context_length smaller",
        )
    order = np.random.default_rng(0).permutation(len(lengths))
    wanted = min(num_tokens, int(HIGHEST_SHARE * lengths.sum()))
    enough = int(np.searchsorted(np.cumsum(lengths[order]), wanted)) + 1
    chosen = np.sort(order[: min(enough, len(lengths) - 1)])
    kept: list[Shard] = []
    held: list[list[int]] = []
    first = 0
    for shard in shards:
        count = len(shard.offsets) - 1
        here = chosen[(chosen >= first) & (chosen < first + count)] - first
        held += [shard.tokens[a:b].tolist() for a, b in zip(*_ends(shard, here), strict=True)]
        kept += _between(shard, here)
        first += count
    parts = {"held_out": f"{len(chosen)} of {len(lengths)} pieces, 1"}
    return (
        Documents(kept, identity=documents.identity | parts),
        Documents.from_lists(held),
    )


def token_counts(
    documents: AbstractDocuments,
    *,
    vocab_size: int,
    left_out: Sequence[int] = (),
    most_tokens: int = 1 << 22,
) -> Int64[np.ndarray, " vocab"]:
    """Count each token among the first `most_tokens`; those `left_out`, special ones, as 0.

    Raises:
        VesaliusError: no token is left to count.
    """
    counts = np.zeros(vocab_size, dtype=np.int64)
    left = most_tokens
    for shard in documents.shards:
        seen = np.asarray(shard.tokens[:left], dtype=np.int64)
        counts += np.bincount(seen, minlength=vocab_size)[:vocab_size]
        left -= len(seen)
        if left <= 0:
            break
    counts[list(left_out)] = 0
    if not counts.any():
        raise VesaliusError(
            given="documents of special tokens alone",
            expected="at least one ordinary token",
            fix="look at the texts, and at what the tokenizer makes of them",
        )
    return counts


def _cut(shard: Shard, *, context_length: int) -> Shard:
    """Put a boundary wherever a document reaches `context_length`."""
    begins, lengths = shard.offsets[:-1], np.diff(shard.offsets)
    counts = -(-lengths // context_length)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.append(np.repeat(begins, counts) + inside * context_length, shard.offsets[-1])
    return Shard(shard.tokens, offsets)


def _ends(shard: Shard, pieces: Any) -> tuple[Any, Any]:
    return shard.offsets[pieces], shard.offsets[pieces + 1]


def _between(shard: Shard, left_out: Any) -> list[Shard]:
    """Return the stretches of a shard between the pieces that are left out."""
    edges = [-1, *left_out.tolist(), len(shard.offsets) - 1]
    found: list[Shard] = []
    for before, after in pairwise(edges):
        if after - before > 1:
            offsets = shard.offsets[before + 1 : after + 1]
            tokens = shard.tokens[offsets[0] : offsets[-1]]
            found.append(Shard(tokens, offsets - offsets[0]))
    return found
