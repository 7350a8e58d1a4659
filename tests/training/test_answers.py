from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vesalius.training.answers import answer_logits


@dataclass
class _Output:
    logits: Tensor


class _Counts(nn.Module):
    """Says at each position how many real tokens the row has, and which position it is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> _Output:
        size = attention_mask.sum(dim=1, keepdim=True).expand_as(input_ids)
        place = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        return _Output(logits=torch.stack([size, place], dim=-1) * self.scale)


def test_logits_come_from_the_first_mask_and_in_order():
    prompts = [[1, 9, 2], [1, 5, 5, 5, 9, 2], [9], [1, 5, 9, 9, 2]]
    for budget in (1, 12, 1000):
        found = answer_logits(
            _Counts(), prompts=prompts, mask_id=9, pad_id=0, tokens_per_batch=budget
        )
        assert found.tolist() == [[3, 1], [6, 4], [1, 0], [5, 2]]
