"""Hardness heads for a pair that was trained without one, or with the other kind.

Source: this project, paper.md.
"""

from dataclasses import replace

import torch
from tqdm import tqdm

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.electra.config import Sampler
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.methods.electra.variance import Batches
from vesalius.training.random_state import seeded


def fit_head(
    objective: ReplacedTokenObjective,
    batches: Batches,
    *,
    sampler: Sampler,
    num_steps: int = 200,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> ReplacedTokenObjective:
    """Train a hardness head on a pair that stays as it is, and return it with the pair.

    The head starts at zero, draws its own samples and is trained with Adam, the rate falling
    evenly to zero; generator and discriminator are at rest.

    Args:
        objective: the pair, and the options but for the sampler.
        batches: training batches by number, from 0; not those that are held out.
        sampler: "hardness-loss" or "hardness-distribution".
        num_steps: one batch each.
        learning_rate: at the start.
        seed: of the head's first weights.

    Raises:
        VesaliusError: a sampler without a head, or numbers out of range.
    """
    options = replace(objective.options, sampler=sampler, detach_head=True)
    check_count("num_steps", num_steps, lowest=1, usual=200)
    with seeded(derive_seed(seed, "fit-head", sampler)):
        made = ReplacedTokenObjective(objective.pair, options=options)
    if made.head is None:
        raise VesaliusError(
            given=f"sampler={sampler!r}, which has no head",
            expected="hardness-loss or hardness-distribution",
            fix="pass sampler='hardness-loss'",
        )
    device = next(objective.parameters()).device
    weights = list(made.head.to(device).parameters())
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    needed = [weight for weight in objective.pair.parameters() if weight.requires_grad]
    modules = [(module, module.training) for module in objective.modules()]
    objective.eval()
    try:
        for weight in needed:
            weight.requires_grad_(False)
        for step in tqdm(range(num_steps), desc="head", disable=None):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
            batch = {name: values.to(device) for name, values in batches[step].items()}
            loss = made(**batch).terms[-1]
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = slope
            optimizer.step()
    finally:
        for weight in needed:
            weight.requires_grad_(True)
        for module, training in modules:
            module.training = training
    return made
