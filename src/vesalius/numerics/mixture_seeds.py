"""Where the restarts of a mixture begin: k-means++ for all of them at once.

Source: Arthur & Vassilvitskii 2007, k-means++: The Advantages of Careful Seeding, section 2.2.
"""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError

_CHUNK_BYTES: Final = 4 << 20  # of the distances that are held at once: a core's cache


def seed_labels(
    items: Float[Tensor, "item dimension"],
    *,
    num_components: int,
    num_restarts: int,
    generator: np.random.Generator,
) -> Int[Tensor, "restart item"]:
    """Draw k-means++ seeds and give every item [item, dimension] to its nearest one.

    A seed is an item drawn with probability in proportion to its squared distance from the
    nearest seed so far; where all distances are 0, all items are equally likely.

    Raises:
        VesaliusError: fewer items than components, or fewer than one of either count.
    """
    check_count("num_components", num_components, lowest=1, usual=2)
    check_count("num_restarts", num_restarts, lowest=1, usual=100)
    num_items = len(items)
    if num_items < num_components:
        raise VesaliusError(
            given=f"{num_items} items for {num_components} components",
            expected="at least one item for each component",
            fix="give more items, or ask for fewer components",
        )
    # drawn on the CPU whatever the device, so that all devices begin alike
    draws = torch.from_numpy(generator.random((num_components, num_restarts, 1))).to(items.device)
    labels = torch.zeros(num_restarts, num_items, dtype=torch.long, device=items.device)
    nearest = torch.full(labels.shape, torch.inf, dtype=torch.float64, device=items.device)
    chance = torch.ones_like(nearest)
    for component in range(num_components):
        totals = chance.cumsum(1)
        places = torch.searchsorted(totals, draws[component] * totals[:, -1:], right=True)
        seeds = items[places.clamp(max=num_items - 1)[:, 0]].double()
        # not by products of the vectors: a duplicate of a seed has distance 0 and is no seed again
        distance = torch.cdist(seeds, items.double(), compute_mode="donot_use_mm_for_euclid_dist")
        closer = distance.square_() < nearest
        labels[closer] = component
        nearest = torch.where(closer, distance, nearest)
        chance = torch.where(nearest.sum(1, keepdim=True) > 0, nearest, 1.0)
    return labels


def hard_responsibilities(
    labels: Int[Tensor, "restart item"], *, num_components: int
) -> Float[Tensor, "restart item component"]:
    """Turn component numbers [restart, item] into responsibilities of 0 and 1."""
    one_hot = torch.nn.functional.one_hot(labels, num_components)
    return one_hot.to(torch.float64)


def refine_labels(
    items: Float[Tensor, "item dimension"],
    labels: Int[Tensor, "restart item"],
    *,
    num_components: int,
    max_iterations: int = 30,
) -> Int[Tensor, "restart item"]:
    """Move labels [restart, item] to the nearest mean until none moves: k-means, all at once.

    A component that has lost all its items stays where the centre of all items is.
    """
    # about the centre: products of vectors far from the origin would lose their differences
    values = items.double() - items.double().mean(0)
    size = max(1, _CHUNK_BYTES // (8 * num_components * len(items)))
    parts = [_refine(values, part, num_components, max_iterations) for part in labels.split(size)]
    return torch.cat(parts)


def _refine(values: Tensor, labels: Tensor, num_components: int, max_iterations: int) -> Tensor:
    labels = labels.clone()
    active = torch.arange(len(labels), device=values.device)
    components = torch.arange(num_components, device=values.device)[:, None]
    columns = values.mT.contiguous()
    for _ in range(max_iterations):
        share = (labels[active, None] == components).to(values.dtype)  # [restart, component, item]
        means = share @ values / share.sum(2, keepdim=True).clamp(min=1)
        # half the squared distance; the item's own square is the same for all means: left out
        half = 0.5 * means.square().sum(2, keepdim=True) - means @ columns
        moved = half.min(1).indices
        changed = (moved != labels[active]).any(1)
        labels[active] = moved
        active = active[changed]
        if len(active) == 0:
            break
    return labels
