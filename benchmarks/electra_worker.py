"""A few training steps in a fresh process, or in one of several; `electra.py` calls it.

    torchrun --standalone --nproc-per-node 2 benchmarks/electra_worker.py --out DIR

The first process prints what the steps after warm-up took. A step has two batches, shared out among
the processes.
"""

import argparse
import json
import sys
from pathlib import Path

import harness
import torch
from electra_cases import (
    Settings,
    cases_of,
    objective_of,
    packed,
    pieces_of,
    read_texts,
    tokenizer_of,
)
from electra_ways import BETAS, LEARNING_RATE, Meter
from torch import nn

from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train

MICRO_BATCHES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder that all share")
    options = parser.parse_args()
    settings = Settings(quick=options.quick, rounds=1, threads=1, device="cpu", data=options.data)
    harness.settle(1)
    case = cases_of(settings)[0]
    tokenizer = tokenizer_of()
    pieces = pieces_of(read_texts(settings.data, limit=2000), case, tokenizer=tokenizer)
    meter = Meter(case=case, device="cpu")

    def on_step(_: nn.Module, step: int) -> None:
        meter.step(step)

    summary = train(
        objective_of(case, tokenizer),
        batches=packed(pieces, case, tokenizer=tokenizer),
        options=TrainingOptions(
            num_steps=meter.last,
            micro_batches=MICRO_BATCHES,
            lr=LEARNING_RATE,
            betas=BETAS,
            warmup_steps=0,
            log_every=1000,
            checkpoint_every=1000,
        ),
        out=options.out,
        on_step=on_step,
    )
    if meter.clock:
        seconds = meter.clock[meter.last] - meter.clock[case.warmup_steps]
        found = {"seconds": seconds, "steps": case.num_steps, "loss": summary.loss_nats}
        sys.stdout.write(json.dumps(found | {"tokens": summary.num_tokens}) + "\n")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
