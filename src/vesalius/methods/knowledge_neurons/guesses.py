"""A model's best answers to prompts."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.methods.knowledge_neurons.result import Guess
from vesalius.models.batch import Batch
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.objectives import probabilities
from vesalius.models.specimen import Specimen

NUM_GUESSES = 5


def best_guesses(
    specimen: Specimen, batch: Batch, prompts: Sequence[str], targets: Int[Tensor, " batch"]
) -> tuple[tuple[Guess, ...], Float[np.ndarray, " batch"]]:
    """Ask a model for its five best answers, and for the probability of the wanted ones.

    Args:
        specimen: the opened model.
        batch: the encoded prompts.
        prompts: their texts, for the record.
        targets: the wanted token of every prompt, shape [batch].

    Returns:
        Five guesses per prompt, best first, and probabilities of shape [batch].

    Source: the softmax at the row of interest, arXiv 2104.08696.
    """
    with specimen.at_rest(), torch.no_grad():
        probs = probabilities(logits_row(run_model(specimen.model, batch).logits, batch))
    best = probs.topk(min(NUM_GUESSES, probs.shape[1]), dim=1)
    guesses = tuple(
        Guess(prompt=prompt, rank=rank + 1, token=word_of(specimen, token), prob=prob)
        for prompt, tokens, values in zip(
            prompts, best.indices.tolist(), best.values.tolist(), strict=True
        )
        for rank, (token, prob) in enumerate(zip(tokens, values, strict=True))
    )
    return guesses, probs.gather(1, targets.unsqueeze(1))[:, 0].cpu().numpy()


def word_of(specimen: Specimen, token: int) -> str:
    """Spell a token as people read it; no shapes.

    Source: the tokenizer's own decoding.
    """
    return str(specimen.tokenizer.decode([token])).strip() or f"<{token}>"
