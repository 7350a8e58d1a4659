"""What a model makes of given answers, teacher forced: probability, rank, its own best tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.answers import AnswerSteps, encode_answers
from vesalius.models.batch import Batch
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.specimen import Specimen

_LOGIT_BYTES: Final = 1 << 28  # of one run: 64 prompts of 32 tokens over 32,000 words


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Answers read from prompts, the true earlier tokens given at every step.

    ``log_prob`` [prompt] is in nats, summed over an answer's tokens. ``rank`` [prompt] is that of
    an answer's worst token: 1 means that every token is the model's best one, 5 that each is among
    its five best. ``best`` are the model's best tokens at the steps of each prompt, ``num_tokens``
    how many steps those are.
    """

    log_prob: Float[Tensor, " prompt"]
    rank: Int[Tensor, " prompt"]
    best: tuple[tuple[int, ...], ...]

    @property
    def num_tokens(self) -> tuple[int, ...]:
        """How many tokens each answer takes."""
        return tuple(map(len, self.best))


def read_answers(specimen: Specimen, prompts: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read answers of one or several tokens from their prompts, in as many runs as memory asks.

    Args:
        specimen: the opened model.
        prompts: texts with ``[MASK]``.
        answers: one for each prompt.

    Returns:
        Log-probabilities and ranks of shape [prompt].

    Raises:
        VesaliusError: what cannot be encoded, or logits that are no numbers.

    Source: teacher forcing as in arXiv 2202.05262; ranks as in arXiv 2104.08696, section 5.1.
    """
    steps = encode_answers(specimen, prompts, answers, several_tokens=True)
    log_probs: list[Tensor] = []
    ranks: list[Tensor] = []
    best: list[Tensor] = []
    for rows in runs_of(specimen, steps.batch):
        logits = row_logits(specimen, steps.batch.select(rows))
        target = steps.targets[rows].unsqueeze(1)
        wanted = logits.gather(1, target)
        # among equals the first is the best, as argmax says
        earlier = torch.arange(logits.shape[1], device=logits.device) < target
        ranks.append(1 + ((logits > wanted) | ((logits == wanted) & earlier)).sum(1))
        log_probs.append(logits.log_softmax(-1).gather(1, target)[:, 0])
        best.append(logits.argmax(1))
    return _gathered(steps, torch.cat(log_probs), torch.cat(ranks), torch.cat(best))


def _gathered(steps: AnswerSteps, log_prob: Tensor, rank: Tensor, best: Tensor) -> Reading:
    owners = steps.prompt.tolist()
    said: list[list[int]] = [[] for _ in range(steps.num_prompts)]
    for owner, token in zip(owners, best.tolist(), strict=True):
        said[owner].append(token)
    worst = rank.new_zeros(steps.num_prompts).scatter_reduce(0, steps.prompt, rank, "amax")
    return Reading(
        log_prob=steps.total(log_prob).cpu(), rank=worst.cpu(), best=tuple(map(tuple, said))
    )


def row_logits(specimen: Specimen, batch: Batch) -> Float[Tensor, "batch vocab"]:
    """Run a model and take the logits at the row of interest, at least in single precision.

    Returns:
        Shape [batch, vocab], without gradients.

    Raises:
        VesaliusError: logits that are no numbers, as those of a model whose weights overflow.

    Source: the softmax at the row of interest, arXiv 2104.08696.
    """
    with specimen.at_rest(), torch.no_grad():
        logits = logits_row(run_model(specimen.model, batch).logits, batch)
    return checked_logits(specimen, logits)


def checked_logits(
    specimen: Specimen, logits: Float[Tensor, "batch vocab"]
) -> Float[Tensor, "batch vocab"]:
    """Give logits [batch, vocab] in single precision or better, and insist that they are numbers.

    Raises:
        VesaliusError: one that is none: every word would then seem to be the best one.

    Source: the bad-input table of this project.
    """
    if bool(torch.isnan(logits).any()):
        raise VesaliusError(
            given=f"{specimen.name}: logits that are not a number (NaN)",
            expected="a model whose answers are finite",
            fix="make a smaller edit, or open the model with dtype float32",
        )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def runs_of(
    specimen: Specimen, batch: Batch, *, num_added: int = 0
) -> Iterator[Int[Tensor, " stream"]]:
    """Cut the prompts of a batch into runs whose logits fit in memory; indices [stream] each.

    ``num_added`` positions come to every prompt later.

    Source: this project; equal batches are cut equally, so that unchanged weights give equal bits.
    """
    positions = batch.inputs["input_ids"].shape[1] + num_added
    per_prompt = 4 * positions * (specimen.parts.num_vocab or 1 << 15)
    at_once = max(1, _LOGIT_BYTES // per_prompt)
    everyone = torch.arange(batch.num_prompts, device=batch.row.device)
    yield from everyone.split(at_once)
