"""How the sets of many facts overlap: pure functions of sets, grouped by relation.

Source: arXiv 2104.08696, section 4.3; where the paper draws partners, all pairs can be
counted here, because a mean of intersections is a sum over neurons.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from vesalius.methods.knowledge_neurons.refine import Neuron

Groups = Mapping[str, Sequence[tuple[Neuron, ...]]]
"""The sets of each relation's facts, by relation."""


def layer_counts(groups: Groups, *, num_layers: int) -> Int[np.ndarray, "relation layer"]:
    """Count the neurons of all sets in each layer, shape [relation, layer].

    Source: figure 3 of arXiv 2104.08696.

    >>> layer_counts({"P36": [((0, 5), (2, 1)), ((2, 1),)]}, num_layers=3).tolist()
    [[1, 0, 2]]
    """
    layers = [[layer for found in sets for layer, _ in found] for sets in groups.values()]
    counts = [np.bincount(np.array(each, dtype=int), minlength=num_layers) for each in layers]
    return np.stack(counts)


def shared_neurons(groups: Groups) -> Float[np.ndarray, "relation relation"]:
    """Average the neurons that two facts share, over all pairs of facts of two relations.

    Returns:
        Shape [relation, relation]. The diagonal takes pairs of different facts, and is nan where
        a relation has one fact alone.

    Source: "intersection" of arXiv 2104.08696, section 4.3, over all pairs.

    >>> shared_neurons({"a": [((0, 1), (0, 2)), ((0, 1),)], "b": [((0, 2),)]}).tolist()
    [[1.0, 0.5], [0.5, nan]]
    """
    neurons = sorted({neuron for sets in groups.values() for found in sets for neuron in found})
    column = {neuron: number for number, neuron in enumerate(neurons)}
    counts = np.zeros((len(groups), len(neurons)))
    for row, sets in enumerate(groups.values()):
        for found in sets:
            counts[row, [column[neuron] for neuron in found]] += 1
    sizes = np.array([len(sets) for sets in groups.values()], dtype=np.float64)
    total, pairs = counts @ counts.T, np.outer(sizes, sizes)
    own = np.diag_indices(len(groups))
    total[own] -= counts.sum(axis=1)  # a fact shares all its neurons with itself
    pairs[own] -= sizes
    return np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)


def across_relations(
    groups: Groups, *, num_partners: int, generator: np.random.Generator
) -> Float[np.ndarray, " relation"]:
    """Average the neurons that a fact shares with facts of other relations.

    Args:
        groups: the sets.
        num_partners: facts drawn for each fact, without repetition, from those of all other
            relations together; all of them where there are fewer, or for 0.
        generator: of the draws.

    Returns:
        The mean over each relation's facts, shape [relation]; nan where no other relation is.

    Source: arXiv 2104.08696, section 4.3, with its code's 100 partners.
    """
    frozen = {name: [frozenset(found) for found in sets] for name, sets in groups.items()}
    everyone = [found for sets in frozen.values() for found in sets]
    everywhere = Counter(neuron for found in everyone for neuron in found)
    means: list[float] = []
    first = 0
    for sets in frozen.values():
        others = everyone[:first] + everyone[first + len(sets) :]
        here = Counter(neuron for found in sets for neuron in found)
        first += len(sets)
        if not others:
            means.append(math.nan)
            continue
        if not 0 < num_partners < len(others):
            total = sum(everywhere[n] - here[n] for found in sets for n in found)
            means.append(total / (len(sets) * len(others)))
            continue
        drawn = [generator.choice(len(others), num_partners, replace=False) for _ in sets]
        total = sum(len(s & others[i]) for s, which in zip(sets, drawn, strict=True) for i in which)
        means.append(total / (len(sets) * num_partners))
    return np.array(means)


def common_neurons(sets: Sequence[tuple[Neuron, ...]], *, share: float = 0.1) -> tuple[Neuron, ...]:
    """Keep the neurons that stand in at least a share of the sets, the most frequent first.

    Shapes do not matter here.

    Source: the relation's knowledge neurons of arXiv 2104.08696's code (10 per cent).

    >>> common_neurons([((0, 1),), ((0, 1), (2, 2)), ((2, 2),), ((0, 1),)], share=0.5)
    ((0, 1), (2, 2))
    """
    counts = Counter(neuron for found in sets for neuron in set(found))
    needed = math.ceil(round(share * len(sets), 9))  # 0.1 * 30 is meant exactly
    kept = [neuron for neuron, count in counts.items() if count >= max(needed, 1)]
    return tuple(sorted(kept, key=lambda neuron: (-counts[neuron], neuron)))
