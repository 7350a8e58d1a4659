"""The most salient links of every layer as one graph, and what they say about the hierarchy."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.checks import check_count
from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.plots.link_tree import Link


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """How far links reach and what they read, by layer.

    ``distance`` [layer] is the mean distance in tokens between reader and read, ``special``
    [layer] the share that goes to or comes from special tokens, both weighted by positive
    attribution; ``attention_distance`` and ``attention_special`` [layer] the same weighted by
    attention probabilities. ``positive`` [layer] is the sum of positive attribution. NaN where a
    layer has none.
    """

    distance: Float[np.ndarray, " layer"]
    special: Float[np.ndarray, " layer"]
    attention_distance: Float[np.ndarray, " layer"]
    attention_special: Float[np.ndarray, " layer"]
    positive: Float[np.ndarray, " layer"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """The strongest links of each layer, ``num_links`` [layer] of them, and the hierarchy.

    ``kept`` [layer] is the share of the layer's positive attribution that they hold.
    """

    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    num_layers: int
    reader: int | None
    links: tuple[Link, ...]
    num_links: Int[np.ndarray, " layer"]
    kept: Float[np.ndarray, " layer"]
    hierarchy: Hierarchy


def build_graph(links: LayerLinks, *, per_layer: int = 8) -> Graph:
    """Take the links of each layer with the largest positive scores, between different tokens.

    Args:
        links: scores [layer, query, key], heads summed.
        per_layer: at most so many of each layer.

    Raises:
        VesaliusError: ``per_layer`` below 1.

    Source: arXiv 2004.11207, figure 1.
    """
    check_count("per_layer", per_layer, lowest=1, usual=8)
    between = _between(links.scores)
    chosen: list[Link] = []
    kept = np.full(links.num_layers, np.nan)
    counts = np.zeros(links.num_layers, dtype=np.int64)
    for layer, scores in enumerate(between):
        places = np.argwhere(scores > 0)
        order = sorted(map(tuple, places.tolist()), key=lambda p: (-scores[p], p))[:per_layer]
        chosen += [Link(reader=i, read=j, layer=layer, score=float(scores[i, j])) for i, j in order]
        counts[layer] = len(order)
        total = scores.sum()
        if total > 0:
            kept[layer] = sum(scores[p] for p in order) / total
    return Graph(
        tokens=links.tokens,
        special=tuple(map(bool, links.special)),
        num_layers=links.num_layers,
        reader=links.reader,
        links=tuple(chosen),
        num_links=counts,
        kept=kept,
        hierarchy=hierarchy(links),
    )


def hierarchy(links: LayerLinks) -> Hierarchy:
    """Measure link distance and the share of special tokens, layer by layer; arrays [layer].

    Source: this project, for the hierarchy that arXiv 2004.11207 sees in its graphs.
    """
    scores, weights = _between(links.scores), _between(links.weights)
    places = np.arange(links.num_tokens)
    distance = np.abs(places[:, None] - places[None, :]).astype(float)
    marked = links.special[:, None] | links.special[None, :]
    return Hierarchy(
        distance=_mean(distance, scores),
        special=_mean(marked.astype(float), scores),
        attention_distance=_mean(distance, weights),
        attention_special=_mean(marked.astype(float), weights),
        positive=scores.sum(axis=(1, 2)),
    )


def _between(
    matrices: Float[np.ndarray, "layer query key"],
) -> Float[np.ndarray, "layer query key"]:
    """The positive entries off the diagonal."""
    num_tokens = matrices.shape[1]
    return matrices.clip(min=0) * ~np.eye(num_tokens, dtype=bool)


def _mean(
    values: Float[np.ndarray, "query key"], weights: Float[np.ndarray, "layer query key"]
) -> Float[np.ndarray, " layer"]:
    total = weights.sum(axis=(1, 2))
    summed = (values * weights).sum(axis=(1, 2))
    return np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0)
