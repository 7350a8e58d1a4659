"""Packed rows with the places that are to be masked, and all the chance that a step needs.

A batch is a pure function of its number, the uniform numbers that decide the replacements
included: any device and any process draws the same.

Source: Clark et al. 2020, arXiv 2003.10555 (15 % of the tokens, 85 % of them shown as a mask); the
places are distinct here, which those of the published code are not.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.data.packing import PackedBatches
from vesalius.data.shards import AbstractDocuments

_SPARE_SHARE: Final = 0.005  # rounding up: the most slots of a row are 15.5 % of its places


@final
class ReplacedBatches:
    """Endless batches for replaced-token pretraining, each a pure function of its number.

    Args:
        documents: token ids, as `data.shards` holds them.
        context_length: tokens of a row; several documents share one, none sees another.
        rows_per_batch: rows of a batch.
        seed: of the order, the masks and the draws.
        special_ids: tokens that are never masked.
        pad_id: token in the places that stay free.
        mask_prob: share of a row's tokens that become slots.
        mask_token_prob: share of the slots that show the mask to the generator.
        temperature: of the batch of a number, where it changes on the way; None leaves it out.

    Raises:
        VesaliusError: a size or a share that cannot be, or documents that fill less than a batch.
    """

    def __init__(
        self,
        documents: AbstractDocuments,
        *,
        context_length: int,
        rows_per_batch: int,
        seed: int,
        special_ids: Sequence[int],
        pad_id: int,
        mask_prob: float = 0.15,
        mask_token_prob: float = 0.85,
        temperature: Callable[[int], float] | None = None,
    ) -> None:
        if not (0 < mask_prob <= 1 and 0 <= mask_token_prob <= 1):
            raise VesaliusError(
                given=f"mask_prob={mask_prob}, mask_token_prob={mask_token_prob}",
                expected="shares of the tokens, the first above 0",
                fix="leave them out: 0.15 and 0.85",
            )
        self._packed = PackedBatches(
            documents,
            context_length=context_length,
            rows_per_batch=rows_per_batch,
            seed=seed,
            objective="none",
            pad_id=pad_id,
        )
        self._special = torch.tensor(sorted({*special_ids, pad_id}))
        self._pad_id, self._seed = pad_id, seed
        self._mask_prob, self._mask_token_prob = mask_prob, mask_token_prob
        self._most = max(1, int((mask_prob + _SPARE_SHARE) * context_length))
        self._temperature = temperature
        self.batches_per_epoch = self._packed.batches_per_epoch
        self.padding_share = self._packed.padding_share
        self.identity = self._packed.identity | {
            "mask_prob": str(mask_prob),
            "mask_token_prob": str(mask_token_prob),
            "special_ids": ",".join(map(str, self._special.tolist())),
        }

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return batch `number`: the packed rows with slots, masked, uniforms and real.

        Shapes: slots (sorted places in the flattened batch), masked and uniforms [slot]; real
        [batch, position]; input_ids, position_ids and attention_mask as in `PackedBatches`.
        """
        batch: dict[str, Tensor] = self._packed[number]
        ids = batch["input_ids"]
        real = ids != self._pad_id
        random = np.random.default_rng((self._seed, number, _STREAM))
        slots = self._slots(ids, real, random)
        batch["slots"] = slots
        batch["masked"] = torch.from_numpy(random.random(len(slots)) < self._mask_token_prob)
        batch["uniforms"] = torch.from_numpy(random.random(len(slots)))
        batch["real"] = real
        if self._temperature is not None:
            batch["temperature"] = torch.tensor(self._temperature(number), dtype=torch.float64)
        return batch

    def _slots(
        self,
        ids: Int64[Tensor, "batch position"],
        real: Bool[Tensor, "batch position"],
        random: Any,
    ) -> Int64[Tensor, " slot"]:
        """Choose exactly k places of each row, none twice, none special.

        k is `mask_prob` of the row's tokens, at least one, at most what the row's length allows
        and its ordinary tokens are.
        """
        open_to_it = real & ~torch.isin(ids, self._special)
        wanted = (self._mask_prob * real.sum(1)).round().long().clamp(1, self._most)
        wanted = torch.minimum(wanted, open_to_it.sum(1))
        order = torch.from_numpy(random.random(tuple(ids.shape)))
        order[~open_to_it] = 2.0  # behind every place that may be chosen
        rank = order.argsort(dim=1).argsort(dim=1)
        return (rank < wanted[:, None]).reshape(-1).nonzero().squeeze(-1)


_STREAM: Final = 0x5107  # keeps these numbers apart from those of the order
