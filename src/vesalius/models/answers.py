"""Answers of one or several tokens, teacher forced: one batch row for every token to be read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.encoding import MASK, answer_tokens, encode_gaps, one_token
from vesalius.models.ladder import logits_row, run_model
from vesalius.models.specimen import Specimen


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSteps:
    """Prompts with the answers that are read from them, one batch row for each answer token.

    ``batch`` holds the steps of prompt 0, then those of prompt 1, and so on; at a step the earlier
    tokens of the answer stand in the gap. ``targets`` [step] are the tokens read there, ``prompt``
    [step] says whose they are. With answers of one token a step is a prompt.
    """

    batch: Batch
    targets: Int[Tensor, " step"]
    prompt: Int[Tensor, " step"]
    num_prompts: int

    @property
    def first(self) -> Int[Tensor, " prompt"]:
        """The step of each prompt at which the answer begins."""
        return torch.searchsorted(
            self.prompt, torch.arange(self.num_prompts, device=self.prompt.device)
        )

    @property
    def is_plain(self) -> bool:
        """Whether every answer is one token."""
        return len(self.prompt) == self.num_prompts

    def total(self, per_step: Float[Tensor, "step *axes"]) -> Float[Tensor, "prompt *axes"]:
        """Sum what belongs to one prompt over its steps.

        Args:
            per_step: shape [step, ...].

        Returns:
            Shape [prompt, ...].

        Source: log p(answer) is the sum of the log p of its tokens.
        """
        if self.is_plain:
            return per_step
        zeros = per_step.new_zeros((self.num_prompts, *per_step.shape[1:]))
        return zeros.index_add(0, self.prompt.to(per_step.device), per_step)

    def mean(self, per_step: Float[Tensor, "step *axes"]) -> Float[Tensor, "prompt *axes"]:
        """Average what belongs to one prompt over its steps, shapes as in :meth:`total`.

        Source: this project.
        """
        counts = self.total(torch.ones_like(per_step[:, None].flatten(1)[:, 0]))
        return self.total(per_step) / counts.view(-1, *[1] * (per_step.dim() - 1))


def encode_answers(
    specimen: Specimen,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    several_tokens: bool = False,
    pad_to: int | None = None,
) -> AnswerSteps:
    """Encode cloze prompts and the answers that are to be read from their gaps.

    Args:
        specimen: the opened model.
        prompts: texts with ``[MASK]``, as in :func:`vesalius.models.encoding.encode_prompts`.
        answers: one for each prompt.
        several_tokens: whether an answer may take several tokens; a masked LM then gets one mask
            for each, filled from left to right.
        pad_to: positions, instead of those of the longest prompt.

    Returns:
        Steps in the order of the prompts, batch of shape [step, position].

    Raises:
        VesaliusError: another number of answers than of prompts, a prompt that cannot be encoded,
            an answer that is unknown or takes several tokens where one is wanted.

    Source: arXiv 2104.08696, section 3.1; teacher forcing as in arXiv 2202.05262.
    """
    if len(prompts) != len(answers):
        raise VesaliusError(
            given=f"{len(prompts)} prompts and {len(answers)} answers",
            expected="one answer for each prompt",
            fix="repeat the answer for every paraphrase",
        )
    led = [_is_led(specimen, prompt) for prompt in prompts]
    cut = answer_tokens if several_tokens else _one
    asked = list(zip(answers, led, strict=True))  # paraphrases have one answer: it is cut once
    cuts = {each: cut(specimen, each[0], led=each[1]) for each in dict.fromkeys(asked)}
    tokens = [cuts[each] for each in asked]
    steps = [(i, j) for i, answer in enumerate(tokens) for j in range(len(answer))]
    batch = encode_gaps(
        specimen,
        [prompts[i] for i, _ in steps] if steps else prompts,
        [tokens[i][:j] for i, j in steps],
        num_open=[len(tokens[i]) - j for i, j in steps],
        pad_to=pad_to,
    )
    device = specimen.device
    return AnswerSteps(
        batch=batch,
        targets=torch.tensor([tokens[i][j] for i, j in steps], device=device),
        prompt=torch.tensor([i for i, _ in steps], device=device),
        num_prompts=len(prompts),
    )


def answer_log_probs(specimen: Specimen, steps: AnswerSteps) -> Float[Tensor, " step"]:
    """Read the log-probability (nats) of every answer token, without gradients; shape [step].

    Source: the softmax at the row of interest, arXiv 2104.08696.
    """
    with specimen.at_rest(), torch.no_grad():
        logits = logits_row(run_model(specimen.model, steps.batch).logits, steps.batch)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide.log_softmax(-1).gather(1, steps.targets.unsqueeze(1))[:, 0]


def _one(specimen: Specimen, answer: str, *, led: bool) -> list[int]:
    return [one_token(specimen, answer, led=led)]


def _is_led(specimen: Specimen, prompt: str) -> bool:
    """Whether a space stands before the gap, so that the answer is spelled with one."""
    before, gap, _ = prompt.partition(MASK)
    return not gap or before[-1:].isspace()
