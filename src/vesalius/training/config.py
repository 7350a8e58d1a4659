"""Options of a training run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long, how fast and how often.

    `num_steps` optimiser steps of `micro_batches` batches each, all processes together. The
    learning rate climbs for `warmup_steps`; then it stays and falls linearly to zero over the
    last `decay_share` of the steps ("warmup-stable-decay"), or falls linearly at once
    ("linear"). `optimizer` "muon" orthogonalises the updates of the 2-D weights inside the
    blocks with learning rate `muon_lr` and leaves the others (embeddings, norms, biases) to
    AdamW. `compile` runs the model through `torch.compile`, once per shape of batch.

    Source: warm-up-stable-decay of Hu et al. 2024 (arXiv 2404.06395); linear decay of Devlin et
    al. 2019; AdamW of Loshchilov and Hutter 2019; Muon of Jordan et al. 2024 as in
    `torch.optim.Muon`.
    """

    num_steps: int
    micro_batches: int = 1
    lr: float = 2e-3
    muon_lr: float = 0.02
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    schedule: Literal["warmup-stable-decay", "linear"] = "warmup-stable-decay"
    warmup_steps: int = 200
    decay_share: float = 0.25
    max_grad_norm: float = 1.0
    autocast_bf16: bool = True
    compile: bool = False
    seed: int = 0
    log_every: int = 50
    evaluate_every: int = 500
    checkpoint_every: int = 500


# What a resumed run may change: it does not touch the weights.
FREE_ON_RESUME = frozenset({"log_every", "evaluate_every", "checkpoint_every"})
