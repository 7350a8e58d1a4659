"""Label words of several tokens as one tree: what they share is written, and read, once.

Source: token trees of SpecInfer, arXiv 2305.09781; section 4 of the calibration notes in
docs/architecture.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool
from torch import Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTrie:
    """The tokens that stand behind a query so that every label word can be read in one pass.

    Only tokens that another one follows are written: ``tokens`` [node], with ``parents`` [node]
    (-1 is the end of the query) and ``depths`` [node] from 0. Place 0 reads at the end of the
    query, place n + 1 at node n. ``steps`` holds for each word the (place, token) pairs whose
    log-probabilities add up to its own.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def num_places(self) -> int:
        """How many places are read behind each query."""
        return len(self.tokens) + 1

    @property
    def num_labels(self) -> int:
        """How many words there are."""
        return len(self.steps)

    @property
    def longest(self) -> int:
        """Tokens of the longest word."""
        return max(map(len, self.steps))

    def sees(self) -> Bool[Tensor, "node node"]:
        """Tell which node sees which: itself and its ancestors; shape [node, node]."""
        seen = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def grow_trie(words: Sequence[Sequence[int]]) -> LabelTrie:
    """Grow the tree of label words, each a sequence of token ids; no shapes.

    Source: this module.
    """
    nodes: dict[tuple[int, ...], int] = {}
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    steps: list[tuple[tuple[int, int], ...]] = []
    for word in words:
        path: list[tuple[int, int]] = []
        place = 0
        for depth, token in enumerate(word):
            path.append((place, token))
            if depth + 1 == len(word):
                break
            name = tuple(word[: depth + 1])
            if name not in nodes:
                nodes[name] = len(tokens)
                tokens.append(token)
                parents.append(place - 1)
                depths.append(depth)
            place = nodes[name] + 1
        steps.append(tuple(path))
    return LabelTrie(
        tokens=tuple(tokens), parents=tuple(parents), depths=tuple(depths), steps=tuple(steps)
    )
