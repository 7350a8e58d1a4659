"""What a pretraining takes, before it starts: tokens, operations, time.

Source: this project.
"""

import time
from dataclasses import replace
from typing import Any, Final

import torch

from vesalius.models.kernels import short_attention
from vesalius.recipes.pretrain import PretrainPlan
from vesalius.recipes.pretrain_flops import flops_per_token
from vesalius.recipes.pretrain_run import build_objective, device_of
from vesalius.recipes.pretrain_text import training_batches

_TIMED_TOKENS: Final = 4096  # a batch of so many is timed, and counted up
_TIMED: Final = 3


def forecast(plan: PretrainPlan) -> dict[str, Any]:
    """Count the work of a plan and time a few small batches; nothing is written.

    The time is that of this process alone, without evaluations and checkpoints.
    """
    options, shape, batches = plan.options, plan.options.shape, plan.batches
    objective = build_objective(options, tokenizer=plan.text.tokenizer)
    num_parameters = {
        "discriminator": sum(p.numel() for p in objective.pair.as_discriminator().parameters()),
        "generator": sum(p.numel() for p in objective.pair.as_generator().parameters()),
        "in training": sum(p.numel() for p in objective.parameters()),
    }
    training = options.training
    places = training.num_steps * options.tokens_per_step
    num_tokens = round(places * (1 - batches.padding_share))
    flops = flops_per_token(shape, context_length=options.context_length, electra=options.electra)
    rows = max(1, min(options.rows_per_batch, _TIMED_TOKENS // options.context_length))
    few = training_batches(
        plan.text.training,
        tokenizer=plan.text.tokenizer,
        options=replace(options, rows_per_batch=rows),
    )
    with short_attention(options.device, longest=options.context_length):
        seconds = _time_batch(objective, few, plan) / (rows * options.context_length) * places
    return {
        "text": plan.text.name,
        "documents": plan.text.num_documents,
        "tokens to train on": plan.text.training.num_tokens,
        "tokens held out": plan.text.held_out.num_tokens,
        "vocabulary": shape.vocab_size,
        "padding share": round(batches.padding_share, 4),
        "steps": training.num_steps,
        "tokens per step": options.tokens_per_step,
        "tokens to read": num_tokens,
        "epochs": round(training.num_steps * training.micro_batches / batches.batches_per_epoch, 2),
        **{f"parameters, {name}": count for name, count in num_parameters.items()},
        "operations per token": round(flops),
        "operations": float(f"{flops * num_tokens:.3g}"),
        "seconds about": float(f"{seconds:.2g}"),
    }


def _time_batch(objective: Any, batches: Any, plan: PretrainPlan) -> float:
    """Return the seconds of the fastest of some forward and backward passes."""
    device = device_of(plan.options.device)
    objective.to(device).train()
    batch = {name: tensor.to(device) for name, tensor in batches[0].items()}
    best = float("inf")
    for _ in range(_TIMED):
        start = time.perf_counter()
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=plan.options.training.autocast_bf16
        ):
            loss = objective(**batch).loss
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best
