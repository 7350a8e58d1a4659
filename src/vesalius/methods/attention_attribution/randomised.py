"""The sanity check: scores of a model whose weights mean nothing should look different."""

from copy import deepcopy

import numpy as np
import torch

from vesalius.core.seeds import derive_seed
from vesalius.methods.attention_attribution.layer_links import LayerLinks
from vesalius.models.specimen import Specimen
from vesalius.numerics.statistics import rank_correlation


def shuffled_copy(specimen: Specimen, *, seed: int = 0) -> Specimen:
    """Copy a model with the entries of every weight matrix in its blocks shuffled.

    Shuffling keeps the size of the weights, so that activations neither vanish nor explode. Norms
    and biases stay, embeddings and head too: what is asked is whether the scores depend on what the
    blocks have learned.

    Source: arXiv 1810.03292, section 3.2 (randomised weights). No shapes change.
    """
    model = deepcopy(specimen.model)
    copy = Specimen(
        model=model,
        tokenizer=specimen.tokenizer,
        name=f"{specimen.name}, shuffled",
        task=specimen.task,
    )
    blocks = {part.name: part.module for part in copy.parts.blocks}
    with torch.no_grad():
        for name, block in sorted(blocks.items()):
            for own, parameter in block.named_parameters():
                if parameter.dim() < 2:
                    continue
                generator = torch.Generator().manual_seed(derive_seed(seed, name, own))
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
    return copy


def similarity(first: LayerLinks, second: LayerLinks) -> float:
    """Correlate the scores of the links between different tokens by rank; NaN where all are equal.

    Source: Spearman 1904.
    """
    between = np.broadcast_to(~np.eye(first.num_tokens, dtype=bool), first.scores.shape)
    a, b = first.scores[between], second.scores[between]
    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return float("nan")
    return rank_correlation(a, b)
