"""Options of a training run."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args, get_type_hints

from vesalius.core.errors import VesaliusError


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long, how fast and how often.

    `num_steps` optimiser steps of `micro_batches` batches each, all processes together. The
    learning rate climbs for `warmup_steps`; then it stays and falls linearly to zero over the
    last `decay_share` of the steps ("warmup-stable-decay"), or falls linearly at once
    ("linear"). `optimizer` "muon" orthogonalises the updates of the 2-D weights inside the
    blocks with learning rate `muon_lr` and leaves the others (embeddings, norms, biases) to
    AdamW. `compile` runs the model through `torch.compile`, once per shape of batch. `parallel`
    says what several processes do: "ddp" keeps a whole model in each, "fsdp" a part of one.

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
    parallel: Literal["ddp", "fsdp"] = "ddp"
    seed: int = 0
    log_every: int = 50
    evaluate_every: int = 500
    checkpoint_every: int = 500


# What a resumed run may change: it does not touch the weights.
FREE_ON_RESUME = frozenset({"log_every", "evaluate_every", "checkpoint_every"})


def check_training_options(options: TrainingOptions) -> None:
    """Refuse options that no run can have, before anything is done with them.

    Raises: VesaliusError that names the first such option, or two that do not go together.

    Source: this project.
    """
    least = {"num_steps": 1, "micro_batches": 1, "warmup_steps": 0}
    least |= dict.fromkeys(sorted(FREE_ON_RESUME), 1)
    for name, low in least.items():
        value = getattr(options, name)
        if type(value) is bool or not isinstance(value, Integral) or value < low:
            raise _refused(name, value, f"a whole number from {low}")
    for name in ("lr", "muon_lr", "max_grad_norm"):
        value = getattr(options, name)
        if not value > 0 or (math.isinf(value) and name != "max_grad_norm"):  # NaN, too
            raise _refused(name, value, "a number above 0")
    shares = {"decay_share": options.decay_share}
    shares |= {f"betas[{i}]": beta for i, beta in enumerate(options.betas)}
    for name, value in shares.items():
        if not 0 <= value <= (1 if name == "decay_share" else math.nextafter(1, 0)):
            raise _refused(name, value, "a share between 0 and 1")
    if not 0 <= options.weight_decay < math.inf:
        raise _refused("weight_decay", options.weight_decay, "a number from 0")
    for name in ("optimizer", "schedule", "parallel"):
        words = get_args(get_type_hints(TrainingOptions)[name])
        if getattr(options, name) not in words:
            raise _refused(name, getattr(options, name), f"one of {', '.join(words)}")
    if options.parallel == "fsdp" and options.optimizer == "muon":
        raise VesaliusError(
            given="optimizer='muon' with parallel='fsdp', which cuts the matrices it needs whole",
            expected="adamw with fsdp, or muon with ddp",
            fix="change one of the two in the TrainingOptions",
        )


def _refused(name: str, value: object, expected: str) -> VesaliusError:
    return VesaliusError(
        given=f"{name}={value!r}", expected=expected, fix=f"change {name} in the TrainingOptions"
    )
