"""Where a subject stands among the tokens of encoded prompts.

Source: arXiv 2202.05262, section 2.2 (the last token of the subject).
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.encoding import MASK
from vesalius.models.specimen import Specimen


def subject_rows(
    specimen: Specimen, batch: Batch, prompts: Sequence[str], subject: str
) -> Int[Tensor, " batch"]:
    """Find the last token of a subject in every row of a batch; where it stands twice, the later.

    Args:
        specimen: a masked or causal language model with a fast tokenizer.
        batch: the encoded prompts, tokens of an answer in the gap included.
        prompts: the prompt with ``[MASK]`` that each row was made of.
        subject: as the prompts spell it.

    Returns:
        Shape [batch], counted with the padding.

    Raises:
        VesaliusError: no subject, a prompt without it (a causal model reads only what stands
            before the gap), or a tokenizer that does not tell where its tokens stand.
    """
    tokenizer = specimen.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise VesaliusError(
            given=f"{specimen.name} with a {type(tokenizer).__name__}",
            expected="a fast tokenizer, which tells where its tokens stand in a text",
            fix="load it with use_fast=True, or leave the subject out",
        )
    places = {prompt: _place(specimen, prompt, subject) for prompt in dict.fromkeys(prompts)}
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    rows: list[int] = []
    for row, prompt in enumerate(prompts):
        place, tokens = places[prompt]
        real = mask[row].nonzero()[:, 0]
        if specimen.task == "masked-lm" and place > tokens.index(tokenizer.mask_token_id):
            place += len(real) - len(tokens)  # an answer of several tokens stands before it
        rows.append(int(real[place]))
        assert int(ids[row, rows[-1]]) in tokens, "the batch was made of other prompts"
    return torch.tensor(rows, device=batch.row.device)


def _place(specimen: Specimen, prompt: str, subject: str) -> tuple[int, list[int]]:
    """The index of the subject's last token in a prompt, and the prompt's tokens."""
    if specimen.task == "causal-lm":
        text = prompt.partition(MASK)[0].rstrip()
    else:
        text = prompt.replace(MASK, str(specimen.tokenizer.mask_token))
    matches = list(re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", text))
    if not subject.strip() or not matches:
        causal = ", before the gap" if specimen.task == "causal-lm" else ""
        raise VesaliusError(
            given=f"subject {subject!r}, which does not stand in {prompt!r}",
            expected=f"a subject that every prompt names{causal}",
            fix="spell it as the prompts do, or edit at the answer: leave the subject out",
        )
    start, end = matches[-1].span()
    encoded: Any = specimen.tokenizer(text, return_offsets_mapping=True)
    spans: list[tuple[int, int]] = encoded["offset_mapping"]
    inside = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
    return inside[-1], list(encoded["input_ids"])
