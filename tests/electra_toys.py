"""Tiny pairs of generator and discriminator, and batches for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesalius.data.replaced import ReplacedBatches
from vesalius.data.shards import Documents
from vesalius.methods.electra.config import ElectraOptions
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.models.electra import EncoderPair, PairShape, SpecialIds

SPECIAL = SpecialIds(pad=0, mask=1, cls=2, sep=3)
VOCAB = 23
ARCHITECTURES = ("electra", "modern")
SHARINGS = ("tied", "disentangled", "none")


def make_shape(architecture: str = "electra", sharing: str = "tied", **changes: Any) -> PairShape:
    """Return sizes of which no two that could be mistaken for each other are equal."""
    sizes: dict[str, Any] = {
        "architecture": architecture,
        "sharing": sharing,
        "vocab_size": VOCAB,
        "max_length": 32,
        "embedding_size": 12 if architecture == "electra" else 0,
        "width": 24,
        "num_layers": 2,
        "num_heads": 2,
        "ffn_width": 40,
        "generator_width": 16,
        "generator_layers": 2,
        "generator_heads": 2,
        "generator_ffn_width": 28,
    }
    return PairShape(**(sizes | changes))


def make_objective(
    architecture: str = "electra",
    sharing: str = "tied",
    *,
    seed: int = 0,
    spread: float = 0.15,
    head_spread: float = 0.0,
    shape: dict[str, Any] | None = None,
    **options: Any,
) -> ReplacedTokenObjective:
    """Return a random pair with its objective; larger weights than usual, so that logits differ.

    The weights of the pair are those of the seed whether there is a head or not. `head_spread`
    takes the head away from its start at zero.
    """
    torch.manual_seed(seed)
    pair = EncoderPair(make_shape(architecture, sharing, **(shape or {})), SPECIAL)
    torch.manual_seed(seed + 1)
    objective = ReplacedTokenObjective(pair, options=ElectraOptions(**options))
    torch.manual_seed(seed + 2)
    with torch.no_grad():
        for weight in pair.parameters():
            if weight.ndim > 1:
                weight += spread * torch.randn_like(weight)
        if objective.head is not None and head_spread:
            for weight in objective.head.parameters():
                weight += head_spread * torch.randn_like(weight)
    return objective


def with_head(objective: ReplacedTokenObjective, sampler: str, **options: Any) -> Any:
    """Return an objective over the same pair with a head that is away from zero."""
    torch.manual_seed(11)
    made = ReplacedTokenObjective(
        objective.pair, options=ElectraOptions(sampler=sampler, **options)
    )
    with torch.no_grad():
        for weight in made.head.parameters():
            weight += 0.4 * torch.randn_like(weight)
    return made


def make_documents(lengths: Sequence[int], *, seed: int = 0, vocab: int = VOCAB) -> Documents:
    """Return documents of ordinary tokens between [CLS] and [SEP]."""
    random = np.random.default_rng(seed)
    return Documents.from_lists(
        [[2, *random.integers(4, vocab, length - 2).tolist(), 3] for length in lengths]
    )


def make_batches(
    lengths: Sequence[int] = (22, 13, 8, 10, 13, 24, 19, 4),
    *,
    context_length: int = 24,
    rows_per_batch: int = 2,
    seed: int = 0,
    **options: Any,
) -> ReplacedBatches:
    """Return batches of packed rows: by default several documents in a row, few free places."""
    return ReplacedBatches(
        make_documents(lengths, seed=seed),
        context_length=context_length,
        rows_per_batch=rows_per_batch,
        seed=seed,
        special_ids=SPECIAL,
        pad_id=SPECIAL.pad,
        **options,
    )


def gradients(objective: torch.nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    """Return the gradient of a loss for every parameter by name, None where none arrives."""
    named = dict(objective.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return dict(zip(named, found, strict=True))
