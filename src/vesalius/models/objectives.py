"""What is attributed: a probability (the papers' choice), its logarithm, a logit, a difference."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError

TargetKind = Literal["probability", "log-probability", "logit", "logit-difference"]
Objective = Callable[[Tensor, Tensor], Tensor]


def token_objective(
    targets: Int[Tensor, " batch"],
    *,
    kind: TargetKind = "probability",
    foils: Int[Tensor, " batch"] | None = None,
) -> Objective:
    """Make the function that the gradient is taken of.

    Args:
        targets: vocabulary or class index of every prompt, shape [batch].
        kind: probability, log-probability (nats), logit, or the logit's lead over a foil.
        foils: the indices to lead over, shape [batch]; only for ``logit-difference``.

    Returns:
        A function from logits [stream, vocab] and prompt indices [stream] to values [stream].

    Raises:
        VesaliusError: an unknown kind, or a foil that is missing or superfluous.

    Source: arXiv 2104.08696 (probability); the others are alternatives of later work.
    """
    if kind not in get_args(TargetKind):
        raise VesaliusError(
            given=f"target={kind!r}",
            expected=f"one of {', '.join(get_args(TargetKind))}",
            fix="use probability, the papers' choice",
        )
    if (foils is not None) != (kind == "logit-difference"):
        raise VesaliusError(
            given=f"target={kind!r} {'with' if foils is not None else 'without'} a foil",
            expected="a foil for logit-difference, and for nothing else",
            fix="name the word that the answer should be told apart from, or drop it",
        )

    def objective(
        logits: Float[Tensor, "stream vocab"], prompt: Int[Tensor, " stream"]
    ) -> Float[Tensor, " stream"]:
        wanted = targets.index_select(0, prompt).unsqueeze(1)
        if kind == "probability":
            return logits.softmax(-1).gather(1, wanted)[:, 0]
        if kind == "log-probability":
            return logits.log_softmax(-1).gather(1, wanted)[:, 0]
        logit = logits.gather(1, wanted)[:, 0]
        if foils is None:
            return logit
        return logit - logits.gather(1, foils.index_select(0, prompt).unsqueeze(1))[:, 0]

    return objective


def probabilities(logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, "batch vocab"]:
    """Turn logits into probabilities, at least in single precision; shapes [batch, vocab].

    Source: the softmax.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
