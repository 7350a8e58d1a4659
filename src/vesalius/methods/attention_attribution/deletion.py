"""Ways to take links out of a text's attention, as masks that many streams share."""

from collections.abc import Sequence
from typing import Final, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.models.attention_replay import replay_links
from vesalius.models.attention_sites import AttentionSite
from vesalius.models.batch import Batch
from vesalius.models.specimen import Specimen

Mode = Literal["zero", "uniform"]
MODES: Final[tuple[Mode, ...]] = ("zero", "uniform")


@final
class Deletions:
    """Links to take out of one text: ``masks`` [way, layer, query, key], ``uniform`` [way].

    In a ``uniform`` way a link that goes gets the probability that it would have if its reader read
    all it can see alike; otherwise 0.
    """

    def __init__(
        self,
        masks: Bool[np.ndarray, "way layer query key"],
        *,
        uniform: Bool[np.ndarray, " way"],
        num_source: int,
    ) -> None:
        """Keep the masks; tokens from ``num_source`` on are the decoder's."""
        self._masks, self._uniform = torch.from_numpy(masks), torch.from_numpy(uniform)
        self._num_source = num_source

    def __len__(self) -> int:
        """How many ways there are."""
        return len(self._masks)

    def change(
        self, site: AttentionSite, weights: Tensor, ways: Tensor, prompt: Tensor
    ) -> Float[Tensor, "stream head query key"]:
        """Take the links of each stream's way out of a site's probabilities."""
        del prompt  # there is one text
        first_query = self._num_source if site.stack == "decoder" else 0
        first_key = first_query if site.kind == "self" else 0
        queries = slice(first_query, first_query + weights.shape[2])
        keys = slice(first_key, first_key + weights.shape[3])
        ways = ways.cpu()
        gone = self._masks[ways, site.layer, queries, keys].to(weights.device).unsqueeze(1)
        uniform = self._uniform[ways].to(weights.device)[:, None, None, None]
        seen = weights > 0
        alike = seen.to(weights) / seen.sum(-1, keepdim=True).clamp_min(1).to(weights)
        return torch.where(gone, torch.where(uniform, alike, 0), weights)


def deleted_logits(
    specimen: Specimen, text: Batch, deletions: Deletions, *, memory_bytes: int
) -> Float[Tensor, "way vocab"]:
    """Read one text's logits with its links taken out in every way.

    Returns:
        Shape [way, vocab].

    Raises:
        VesaliusError: attention that can be reached in no known way.

    Source: arXiv 2004.11207, section 4.2; models/attention_replay.py.
    """
    found = replay_links(
        specimen, text, deletions.change, num_sets=len(deletions), memory_bytes=memory_bytes
    )
    return found[:, 0]


def candidate_links(links: LayerLinks) -> Bool[np.ndarray, "layer query key"]:
    """Mark every link that a text has between different tokens: probability above 0.

    Source: this project.
    """
    marked = links.weights > 0
    diagonal = np.arange(links.num_tokens)
    marked[:, diagonal, diagonal] = False
    return marked


def strongest_first(
    values: Float[np.ndarray, "layer query key"], among: Bool[np.ndarray, "layer query key"]
) -> np.ndarray:
    """Order the marked links from the largest value down: flat places, whole numbers [link].

    Ties keep the order of layers, queries and keys.

    Source: this project.
    """
    places = np.flatnonzero(among)
    return places[np.argsort(-values.ravel()[places], kind="stable")]


def masks_of(
    chosen: Sequence[np.ndarray], shape: tuple[int, ...]
) -> Bool[np.ndarray, "way layer query key"]:
    """Make one mask of each set of flat places; shape [way, layer, query, key].

    Source: this project.
    """
    masks = np.zeros((len(chosen), int(np.prod(shape))), dtype=bool)
    for row, places in zip(masks, chosen, strict=True):
        row[places] = True
    return masks.reshape(len(chosen), *shape)
