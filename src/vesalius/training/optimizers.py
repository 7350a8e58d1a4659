"""Optimisers from options, and their state as named tensors."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from vesalius.training.config import TrainingOptions


def build_optimizers(model: nn.Module, *, options: TrainingOptions) -> list[torch.optim.Optimizer]:
    """Return AdamW, or Muon for the 2-D weights of the blocks and AdamW for the rest.

    Matrices of an `nn.Embedding`, and whatever is tied to one, go to AdamW.

    Source: Loshchilov and Hutter 2019; Jordan et al. 2024 (Muon).
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for p in named.values() if p.ndim == 2 and id(p) not in embedded]
    if options.optimizer == "adamw":
        matrices = []
    chosen = {id(p) for p in matrices}
    rest = [p for p in named.values() if id(p) not in chosen]
    decayed = [p for p in rest if p.ndim >= 2]
    plain = [p for p in rest if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=options.lr,
            betas=options.betas,
            eps=1e-8,
            fused=True,
        )
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=options.muon_lr,
                weight_decay=options.weight_decay,
                adjust_lr_fn="original",
            )
        )
    return optimizers


def scale_learning_rates(
    optimizers: Sequence[torch.optim.Optimizer], *, factor: float, options: TrainingOptions
) -> None:
    """Set every group's learning rate to `factor` times its peak.

    Source: this project.
    """
    for optimizer in optimizers:
        peak = options.muon_lr if isinstance(optimizer, torch.optim.Muon) else options.lr
        for group in optimizer.param_groups:
            group["lr"] = peak * factor


def optimizer_tensors(
    optimizers: Sequence[torch.optim.Optimizer],
) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the optimisers' state as tensors named `optimizer/parameter/name`.

    Shapes: those of the parameters, or [] for counters.

    Source: this project.
    """
    return {
        f"{i}/{j}/{name}": value
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
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, parameter, name = key.split("/")
            if int(owner) == i:
                state.setdefault(int(parameter), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
