"""A model's best answers to prompts."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.methods.knowledge_neurons.result import Guess
from vesalius.models.answers import AnswerSteps
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.objectives import probabilities
from vesalius.models.specimen import Specimen

NUM_GUESSES = 5


def best_guesses(
    specimen: Specimen,
    steps: AnswerSteps,
    prompts: Sequence[str],
    *,
    logits: Float[Tensor, "step vocab"] | None = None,
) -> tuple[tuple[Guess, ...], Float[np.ndarray, " prompt"]]:
    """Ask a model for its five best answers, and for the probability of the wanted ones.

    Args:
        specimen: the opened model.
        steps: the encoded prompts and answers.
        prompts: their texts, for the record.
        logits: shape [step, vocab], where they are known; else the model is run.

    Returns:
        Five guesses per prompt, best first (of the first token, where an answer has several), and
        the answers' probabilities, shape [prompt].

    Source: the softmax at the row of interest, arXiv 2104.08696.
    """
    batch = steps.batch
    with specimen.at_rest(), torch.no_grad():
        if logits is None:
            logits = logits_row(run_model(specimen.model, batch).logits, batch)
        probs = probabilities(logits)
    best = probs[steps.first].topk(min(NUM_GUESSES, probs.shape[1]), dim=1)
    guesses = tuple(
        Guess(prompt=prompt, rank=rank + 1, token=word_of(specimen, token), prob=prob)
        for prompt, tokens, values in zip(
            prompts, best.indices.tolist(), best.values.tolist(), strict=True
        )
        for rank, (token, prob) in enumerate(zip(tokens, values, strict=True))
    )
    wanted = probs.gather(1, steps.targets.unsqueeze(1))[:, 0]
    wanted = wanted if steps.is_plain else steps.total(wanted.log()).exp()
    return guesses, wanted.cpu().numpy()


def word_of(specimen: Specimen, token: int) -> str:
    """Spell a token as people read it; no shapes.

    Source: the tokenizer's own decoding.
    """
    return str(specimen.tokenizer.decode([token])).strip() or f"<{token}>"
