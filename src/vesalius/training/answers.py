"""Top-1 accuracy of a masked language model on prompts with one masked answer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError


def answer_logits(
    model: nn.Module,
    *,
    prompts: Sequence[Sequence[int]],
    mask_id: int,
    pad_id: int,
    tokens_per_batch: int = 4096,
) -> Float[Tensor, "prompt vocab"]:
    """Return the logits at the first mask of every prompt (token ids), in the prompts' order.

    The model is called with input_ids and attention_mask and returns an object with `.logits`.

    Raises: VesaliusError when there is no prompt, or one has no mask.

    Source: this project.
    """
    unmasked = [i for i, prompt in enumerate(prompts) if mask_id not in prompt]
    if unmasked or not prompts:
        raise VesaliusError(
            given=f"prompt {unmasked[0]}, in which no token is {mask_id}" if prompts else "none",
            expected="prompts that hold the mask of the tokenizer each",
            fix="write the mask where the answer belongs, and cut no prompt",
        )
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    device = next(model.parameters()).device
    found: dict[int, Float[Tensor, " vocab"]] = {}
    while order:
        size = 1
        while size < len(order) and (size + 1) * len(prompts[order[size]]) <= tokens_per_batch:
            size += 1
        rows, order = order[:size], order[size:]
        length = len(prompts[rows[-1]])
        padded = [list(prompts[i]) + [pad_id] * (length - len(prompts[i])) for i in rows]
        tokens: Int64[Tensor, "batch position"] = torch.tensor(padded, device=device)
        places = (tokens == mask_id).int().argmax(dim=1)
        with torch.no_grad():
            logits = model(input_ids=tokens, attention_mask=(tokens != pad_id).long()).logits
        chosen = logits[torch.arange(len(rows), device=device), places].float().cpu()
        found.update(zip(rows, chosen, strict=True))
    return torch.stack([found[i] for i in range(len(prompts))])
