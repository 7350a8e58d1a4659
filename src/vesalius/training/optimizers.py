"""Optimisers from options, and their state as named tensors."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.training.config import TrainingOptions
from vesalius.training.spread import shared_as, whole_tensor


def build_optimizers(
    model: nn.Module, *, options: TrainingOptions, lr_scales: Mapping[str, float] | None = None
) -> list[torch.optim.Optimizer]:
    """Return AdamW, or Muon for the 2-D weights of the blocks and AdamW for the rest.

    Matrices of an `nn.Embedding`, and whatever is tied to one, go to AdamW. `lr_scales` gives
    parameters, by name, a factor on the learning rate; the others have 1.

    Raises: VesaliusError for a name in `lr_scales` that the model does not have, and for a model
    without a parameter to train.

    Source: Loshchilov and Hutter 2019; Jordan et al. 2024 (Muon).
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    scales = dict(lr_scales or {})
    unknown = sorted(scales.keys() - dict(model.named_parameters()).keys())
    if unknown:
        raise VesaliusError(
            given=f"a learning-rate factor for {unknown[0]!r}",
            expected="names of the model's parameters",
            fix="take the names from model.named_parameters()",
        )
    if not named:
        raise VesaliusError(
            given=f"{type(model).__name__}, none of whose parameters is to be trained",
            expected="at least one parameter with requires_grad",
            fix="call requires_grad_() on those that should learn",
        )
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in named.items():
        matrix = parameter.ndim == 2 and id(parameter) not in embedded
        decay = options.weight_decay if parameter.ndim >= 2 else 0.0
        muon = matrix and options.optimizer == "muon"
        groups[muon, decay, scales.get(name, 1.0)].append(parameter)

    def of(muon: bool) -> list[dict[str, Any]]:
        return [
            {"params": members, "weight_decay": decay, "lr_scale": scale}
            for (chosen, decay, scale), members in groups.items()
            if chosen == muon
        ]

    optimizers: list[torch.optim.Optimizer] = []
    if of(False):
        optimizers.append(
            torch.optim.AdamW(of(False), lr=options.lr, betas=options.betas, eps=1e-8, fused=True)
        )
    if of(True):
        optimizers.append(torch.optim.Muon(of(True), lr=options.muon_lr, adjust_lr_fn="original"))
    return optimizers


def groups_hash(model: nn.Module, *, optimizers: Sequence[torch.optim.Optimizer]) -> str:
    """Return the SHA-256 of which parameters are trained, in which order and how fast.

    The optimisers' state is saved by place: it may only be put back where this is the same.

    Source: this project.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [
        (type(optimizer).__name__, group["lr_scale"], [names[id(p)] for p in group["params"]])
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]
    return hashlib.sha256(json.dumps(groups).encode()).hexdigest()


def scale_learning_rates(
    optimizers: Sequence[torch.optim.Optimizer], *, factor: float, options: TrainingOptions
) -> None:
    """Set every group's learning rate to `factor` times its peak.

    Source: this project.
    """
    for optimizer in optimizers:
        peak = options.muon_lr if isinstance(optimizer, torch.optim.Muon) else options.lr
        for group in optimizer.param_groups:
            group["lr"] = peak * factor * group["lr_scale"]


def optimizer_tensors(
    optimizers: Sequence[torch.optim.Optimizer],
) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the optimisers' state as tensors named `optimizer/parameter/name`.

    Under FSDP all processes must come here.

    Shapes: those of the parameters, or [] for counters.

    Source: this project.
    """
    return {
        f"{i}/{j}/{name}": whole_tensor(value)
        for i, optimizer in enumerate(optimizers)
        for j, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimizer_tensors(
    optimizers: Sequence[torch.optim.Optimizer], *, tensors: Mapping[str, Shaped[Tensor, "..."]]
) -> None:
    """Put back what `optimizer_tensors` returned; the optimisers are built the same way.

    Shapes: those of the parameters, or [] for counters.

    Source: this project.
    """
    for i, optimizer in enumerate(optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, parameter, name = key.split("/")
            if int(owner) == i:
                like = parameters[int(parameter)]
                part = shared_as(value.to(like.device), like) if value.ndim else value
                state.setdefault(int(parameter), {})[name] = part
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
