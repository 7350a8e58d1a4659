"""The attribution tree: from the prediction down to the words, each read by one other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float

from vesalius.core.checks import check_share, check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.plots.link_tree import PREDICTION, Link

TreeRule = Literal["score", "paper", "dag"]
RootRule = Literal["word", "reader"]
DEFAULT_TAU: Final = 0.4  # of arXiv 2004.11207


@final
@dataclass(frozen=True, kw_only=True)
class Tree:
    """The tree of one text.

    ``root`` is the token on top. ``links`` are the tree's, top down; ``terminals`` are the links of
    the last layer by which the token that the prediction is read from reads tokens of the tree
    (reader -1 where there is no such token: what the last layer's rows add). ``kept`` is the share
    of all positive attribution between different tokens that ``links`` hold, ``num_links`` how
    many there are in all above the threshold.
    """

    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    num_layers: int
    rule: TreeRule
    tau: float
    reader: int | None
    root: int
    links: tuple[Link, ...]
    terminals: tuple[Link, ...]
    kept: float
    num_salient: int

    @property
    def members(self) -> frozenset[int]:
        """The tokens of the tree."""
        return frozenset({self.root, *(link.read for link in self.links)})


def build_tree(
    links: LayerLinks,
    *,
    tau: float = DEFAULT_TAU,
    rule: TreeRule = "score",
    root: RootRule = "word",
) -> Tree:
    """Grow the attribution tree of one text from the top layer down.

    A layer's links count where their score is above ``tau`` of the layer's largest; the row of the
    one token that the prediction is read from is left out of that, for its links matter in the last
    layer alone.

    Args:
        links: scores [layer, query, key], heads summed.
        tau: share of a layer's largest score.
        rule: ``score`` lets each token be read by the tree's best reader of the highest layer that
            reads it, whatever the order of the links; ``paper`` scans rows and columns in turn,
            first come, first served, also within a layer; ``dag`` keeps every reader that closes
            no circle.
        root: start at the ``word`` that takes part most (the paper), or at the ``reader``, whose
            links then count in every layer: for language models, which read at one token.

    Raises:
        VesaliusError: a tau outside [0, 1], an unknown rule, or a reader where there is none.

    Source: arXiv 2004.11207, section 4.4 and algorithm 1.
    """
    check_share("tau", tau, usual=DEFAULT_TAU, zero=True)
    check_word("rule", rule, words_of(TreeRule))
    check_word("root", root, words_of(RootRule))
    from_reader = root == "reader"
    if from_reader and links.reader is None:
        raise VesaliusError(
            given="root='reader' and a prediction that is read from several tokens",
            expected="a model that reads it from one, such as a language model",
            fix="use root='word' (--root word)",
        )
    salient = salient_links(links, tau=tau, with_reader=from_reader)
    start = int(links.reader or 0) if from_reader else _root(links)
    # the last layer is the reader's alone, where one token is read
    top = links.num_layers - (1 if from_reader or links.reader is None else 2)
    grow = {"score": _by_score, "paper": _by_scan, "dag": _as_dag}[rule]
    found = grow(links.scores, salient, start, top)
    kept = sum(link.score for link in found)
    total = links.positive_total
    return Tree(
        tokens=links.tokens,
        special=tuple(map(bool, links.special)),
        num_layers=links.num_layers,
        rule=rule,
        tau=tau,
        reader=links.reader,
        root=start,
        links=tuple(found),
        terminals=() if from_reader else _terminals(links, start, found),
        kept=kept / total if total > 0 else 0.0,
        num_salient=int(salient.sum()),
    )


def salient_links(
    links: LayerLinks, *, tau: float, with_reader: bool = False
) -> Bool[np.ndarray, "layer query key"]:
    """Mark the links between different tokens above ``tau`` of their layer's largest score.

    The reader's row counts for nothing below the last layer unless ``with_reader``; in the last
    layer, where one token reads alone, every positive link of its row is marked.

    Source: arXiv 2004.11207, section 4.4 (tau is 0 in the last layer).
    """
    scores = links.scores.copy()
    diagonal = np.arange(links.num_tokens)
    scores[:, diagonal, diagonal] = 0
    if links.reader is not None and not with_reader:
        scores[: links.num_layers - 1, links.reader] = 0
    highest = scores.max(axis=(1, 2), keepdims=True)
    marked = (scores > tau * highest) & (scores > 0)
    if links.reader is not None and not with_reader:
        marked[-1] = scores[-1] > 0
    return marked


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TauSweep:
    """How much a tree keeps against its size: share [tau] of positive attribution, links [tau]."""

    tau: Float[np.ndarray, " tau"]
    kept: Float[np.ndarray, " tau"]
    num_links: Float[np.ndarray, " tau"]


def sweep_tau(
    links: LayerLinks, *, taus: Sequence[float] = tuple(np.linspace(0, 0.9, 10).round(2)),
    rule: TreeRule = "score", root: RootRule = "word",
) -> TauSweep:  # fmt: skip
    """Grow a tree for several thresholds: the share of positive attribution kept, and the links.

    Returns:
        Arrays of shape [tau].

    Raises:
        VesaliusError: a tau outside [0, 1].

    Source: this project; the recall that arXiv 2004.11207 leaves out.
    """
    trees = [build_tree(links, tau=float(tau), rule=rule, root=root) for tau in taus]
    return TauSweep(
        tau=np.array(taus, dtype=float),
        kept=np.array([tree.kept for tree in trees]),
        num_links=np.array([float(len(tree.links)) for tree in trees]),
    )


def receptive_field(trees: Sequence[Tree]) -> Float[np.ndarray, "layer distance"]:
    """Count tree links by layer and distance in tokens, over all trees.

    Returns:
        Counts of shape [layer, distance], distance 0 to that of the longest link.

    Source: arXiv 2004.11207, figure 7.
    """
    num_layers = max((tree.num_layers for tree in trees), default=0)
    found = [(link.layer, abs(link.reader - link.read)) for tree in trees for link in tree.links]
    counts = np.zeros((num_layers, 1 + max((distance for _, distance in found), default=0)))
    for layer, distance in found:
        counts[layer, distance] += 1
    return counts


def _root(links: LayerLinks) -> int:
    """The token whose readings add most, each layer divided by its largest score by size."""
    scores = links.scores.copy()
    diagonal = np.arange(links.num_tokens)
    scores[:, diagonal, diagonal] = 0
    if links.reader is not None:
        scores[:, links.reader] = 0
    largest = np.abs(scores).max(axis=(1, 2), keepdims=True)
    shares = np.divide(scores, largest, out=np.zeros_like(scores), where=largest > 0)
    return int(shares.clip(min=0).sum(axis=(0, 2)).argmax())


def _by_score(scores: np.ndarray, salient: np.ndarray, root: int, top: int) -> list[Link]:
    """Only what was in the tree before a layer reads in it, so a path goes down layer by layer."""
    inside = np.zeros(scores.shape[1], dtype=bool)
    inside[root] = True
    found: list[Link] = []
    for layer in range(top, -1, -1):
        open_ = salient[layer] & inside[:, None] & ~inside[None, :]
        best = np.where(open_, scores[layer], -np.inf)
        readers = best.argmax(axis=0)
        new = np.flatnonzero(open_.any(axis=0))
        order = sorted(new.tolist(), key=lambda j: (-best[readers[j], j], j))
        found += [_link(scores, layer, int(readers[j]), j) for j in order]
        inside[new] = True
    return found


def _by_scan(scores: np.ndarray, salient: np.ndarray, root: int, top: int) -> list[Link]:
    """Row by row: who has been read may read in the same layer, if its row comes later."""
    inside = np.zeros(scores.shape[1], dtype=bool)
    inside[root] = True
    found: list[Link] = []
    for layer in range(top, -1, -1):
        for reader, read in np.argwhere(salient[layer]).tolist():
            if inside[reader] and not inside[read]:
                inside[read] = True
                found.append(_link(scores, layer, reader, read))
    return found


def _as_dag(scores: np.ndarray, salient: np.ndarray, root: int, top: int) -> list[Link]:
    """Every reader that was inside before the layer, unless it stands below what it reads."""
    num_tokens = scores.shape[1]
    above = np.eye(num_tokens, dtype=bool)  # [token, ancestor], a token its own
    inside = np.zeros(num_tokens, dtype=bool)
    inside[root] = True
    found: list[Link] = []
    for layer in range(top, -1, -1):
        pairs = np.argwhere(salient[layer] & inside[:, None])
        order = sorted(map(tuple, pairs.tolist()), key=lambda p: (-scores[layer][p], p))
        for reader, read in order:
            if above[reader, read]:
                continue
            # whoever has the read token above it now has the reader's ancestors above it too
            above[above[:, read]] |= above[reader]
            inside[read] = True
            found.append(_link(scores, layer, reader, read))
    return found


def _terminals(links: LayerLinks, root: int, found: Sequence[Link]) -> tuple[Link, ...]:
    """What the last layer's reader reads of the tree; without one, what each row's links add."""
    members = sorted({root, *(link.read for link in found)})
    last = links.num_layers - 1
    if links.reader is None:
        adds = links.scores[last].sum(axis=1)
        return tuple(
            Link(reader=PREDICTION, read=j, layer=last, score=float(adds[j]))
            for j in members
            if j == root
        )
    row = links.scores[last, links.reader]
    return tuple(
        Link(reader=links.reader, read=j, layer=last, score=float(row[j]))
        for j in members
        if j != links.reader and row[j] > 0
    )


def _link(scores: np.ndarray, layer: int, reader: int, read: int) -> Link:
    return Link(reader=reader, read=read, layer=layer, score=float(scores[layer, reader, read]))
