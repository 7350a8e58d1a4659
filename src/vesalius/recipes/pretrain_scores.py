"""What a pair has learned, on text that it never read, beside what needs no model.

The discriminator is asked twice: about replacements drawn by frequency, the same in every run over
the same text, and about those of its own generator, which grow harder while both learn.

Source: this project.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.variance import PROBE_MEANINGS, probe_variance

PROBED_SLOTS: Final = 16
MEANINGS: Final[Mapping[str, str]] = {
    "generator_accuracy": "share of masked tokens that are the generator's first guess",
    "generator_nats": "cross entropy of the generator at masked tokens, in nats",
    "noise_auc": "area under the ROC curve of the discriminator, tokens replaced by frequency",
    "noise_recall": "share replaced of the tokens it suspects most, as many as were replaced",
    "noise_nats": "loss of the discriminator on that text, unweighted, in nats",
    "own_auc": "area under the ROC curve, tokens replaced by its own generator",
    "own_recall": "share replaced of the tokens it suspects most, as many as were replaced",
    "own_share": "share of all tokens that its own generator replaced: chance for own_recall",
    "own_nats": "loss of the discriminator on that text, unweighted, in nats",
    **PROBE_MEANINGS,
}


@final
@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One batch of held-out text and how often each token occurs in training text, [vocab]."""

    batch: Mapping[str, Tensor]
    counts: Int64[np.ndarray, " vocab"]

    def baselines(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Score what needs no model: the commonest token, frequencies, and chance.

        A discriminator that knows nothing suspects tokens at random, and has the entropy of the
        share that was replaced as its loss. `scores` are those of the pair.
        """
        originals = self._originals.numpy()
        smoothed = (self.counts + 1.0) / (self.counts + 1.0).sum()
        replaced = self.noise() != self.batch["input_ids"]
        noise, own = float(replaced[self.batch["real"]].double().mean()), scores["own_share"]
        return {
            "generator_accuracy": float((originals == self.counts.argmax()).mean()),
            "generator_nats": float(-np.log(smoothed[originals]).mean()),
            "noise_auc": 0.5,
            "noise_recall": noise,
            "noise_nats": _entropy_nats(noise),
            "own_auc": 0.5,
            "own_recall": own,
            "own_nats": _entropy_nats(own),
        }

    def noise(self) -> Int64[Tensor, "batch position"]:
        """Return the text with every slot drawn by frequency."""
        shares = torch.from_numpy(self.counts).double().cumsum(0)
        drawn = torch.searchsorted(shares, self.batch["uniforms"] * shares[-1], right=True)
        return self.put(drawn.clamp_max(len(shares) - 1))

    def put(self, tokens: Int64[Tensor, " slot"]) -> Int64[Tensor, "batch position"]:
        """Return the text with these tokens at its slots."""
        ids = self.batch["input_ids"]
        return ids.reshape(-1).index_copy(0, self.batch["slots"], tokens).view_as(ids)

    @property
    def _originals(self) -> Int64[Tensor, " slot"]:
        return self.batch["input_ids"].reshape(-1)[self.batch["slots"]]


@torch.no_grad()
def score_pair(objective: ReplacedTokenObjective, held_out: HeldOut) -> dict[str, float]:
    """Score generator and discriminator on the held-out text; names as in `MEANINGS`.

    With a hardness head the variance of its draws is probed too.
    """
    device = next(objective.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in held_out.batch.items()}
    seen = {
        name: batch[name]
        for name in ("slots", "masked", "uniforms", "position_ids", "attention_mask")
        if name in batch
    }
    drawn = objective.draw(batch["input_ids"], **seen)
    log_prob = drawn.prob_original.double().clamp_min(torch.finfo(torch.float32).tiny).log()
    found = {
        "generator_accuracy": float(drawn.is_first_choice.double().mean()),
        "generator_nats": float(-log_prob.mean()),
    }
    texts = {"noise": held_out.noise(), "own": held_out.put(drawn.candidates.cpu())}
    for name, text in texts.items():
        logits = objective.pair.discriminator_logits(
            text.to(device),
            position_ids=batch.get("position_ids"),
            attention_mask=batch.get("attention_mask"),
        )
        real = held_out.batch["real"]
        scores = logits.float().cpu()[real]
        replaced = (text != held_out.batch["input_ids"])[real]
        found |= {f"{name}_{key}": value for key, value in _told(scores, replaced).items()}
        if name == "own":
            found["own_share"] = float(replaced.double().mean())
    if objective.head is not None:
        found |= probe_variance(objective, batch, num_slots=PROBED_SLOTS)
    return found


def _told(logits: Float[Tensor, " token"], replaced: Bool[Tensor, " token"]) -> dict[str, float]:
    """Tell how well logits of "was replaced" tell replaced tokens from others."""
    from sklearn.metrics import roc_auc_score

    both = bool(replaced.any()) and not bool(replaced.all())
    usable = both and bool(logits.isfinite().all())
    suspects = logits.topk(int(replaced.sum())).indices
    return {
        "auc": float(roc_auc_score(replaced.numpy(), logits.numpy())) if usable else math.nan,
        "recall": float(replaced[suspects].double().mean()) if usable else math.nan,
        "nats": float(binary_cross_entropy_with_logits(logits, replaced.float())),
    }


def _entropy_nats(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
