"""The training loop beside transformers' Trainer: tokens/s and the share of the machine's rate.

    python benchmarks/training.py --data DIR         the report, about 10 minutes on 2 cores
    python benchmarks/training.py --data DIR --device cuda
    python benchmarks/training.py --quick --rounds 1 tiny models, seconds: does it still run?

Writes ``training_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it. DIR holds
facts/trex_sentences.parquet. Run it on an idle machine: nothing else may hold the cores.
"""

import argparse
import copy
import datetime
import gc
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from torch import nn
from training_cases import (
    Case,
    Cost,
    cases_of,
    cost_of,
    documents_of,
    full_rows,
    product_rates,
    read_texts,
)
from training_report import markdown
from training_ways import Measured, our_batches, run_ours, run_trainer
from transformers import AutoTokenizer

from vesalius.data.masking import Document, MaskedBatches
from vesalius.models import zoo

PACKAGES = ("torch", "transformers", "accelerate", "vesalius")
OURS, RANDOM, GROUPED = "ours", "Trainer", "Trainer, group_by_length"
SAMPLING = {RANDOM: "random", GROUPED: "group_by_length"}


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The documents of one comparison and the ways that are compared on them."""

    documents: list[Document]
    rivals: tuple[str, ...]
    batches: MaskedBatches  # of the fixed batch on which every way's loss is read
    rows: int  # in a batch of the Trainer: as many tokens as a step of ours has

    def describe(self) -> dict[str, Any]:
        """Number of texts and quantiles of their lengths."""
        lengths = np.array([len(document.token_ids) for document in self.documents])
        return {
            "num_texts": len(lengths),
            "mean": float(lengths.mean()),
            "quantiles": {str(q): int(np.quantile(lengths, q)) for q in (0, 0.1, 0.5, 0.9, 1)},
            "trainer_rows": self.rows,
        }


def texts_of(
    documents: list[Document], case: Case, *, tokenizer: Any, rivals: tuple[str, ...]
) -> Texts:
    """The documents, and the Trainer's batch size for the tokens of our steps."""
    batches = our_batches(documents, case, tokenizer=tokenizer, seed=2**31)
    rows = max(1, round(len(documents) / batches.batches_per_epoch))
    return Texts(documents=documents, rivals=rivals, batches=batches, rows=rows)


def loss_of(model: nn.Module, texts: Texts, *, device: str) -> float:
    """The loss on one fixed batch that no run has as such."""
    batch = {name: tensor.to(device) for name, tensor in texts.batches[0].items()}
    with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16):
        return float(model.eval()(**batch).loss)


def measure(
    way: str, model: nn.Module, case: Case, texts: Texts, *, tokenizer: Any, device: str, seed: int
) -> tuple[Measured, float]:
    """One run of one way from the same weights; and the loss that it reached."""
    gc.collect()
    own = copy.deepcopy(model)
    nn.Module.to(own, device)
    words: dict[str, Any] = {"documents": texts.documents, "tokenizer": tokenizer, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        words |= {"folder": Path(folder) / "run", "device": device}
        if way == OURS:
            found = run_ours(own, case, **words)
        else:
            found = run_trainer(own, case, **words, rows=texts.rows, sampling=SAMPLING[way])
    return found, loss_of(own, texts, device=device)


def study(
    model: nn.Module, case: Case, texts: Texts, *, tokenizer: Any, device: str, rounds: int
) -> dict[str, Any]:
    """All ways in turns, round by round; who goes first alternates too."""
    ways = [OURS, *texts.rivals]
    runs: dict[str, list[Measured]] = {way: [] for way in ways}
    losses: dict[str, list[float]] = {way: [] for way in ways}
    for index in range(rounds):
        for way in ways if index % 2 == 0 else reversed(ways):
            log(f"{case.name}: round {index + 1} of {rounds}, {way}")
            found, loss = measure(
                way, model, case, texts, tokenizer=tokenizer, device=device, seed=index
            )
            runs[way].append(found)
            losses[way].append(loss)
    return {
        "texts": texts.describe(),
        "loss_before": loss_of(nn.Module.to(copy.deepcopy(model), device), texts, device=device),
        "ways": {
            way: summary_of(runs[way]) | {"loss_after": harness.spread(losses[way])} for way in ways
        },
        "ratios": {rival: ratio_of(runs[OURS], runs[rival]) for rival in texts.rivals},
    }


def summary_of(runs: list[Measured]) -> dict[str, Any]:
    """Tokens/s and padding of the rounds of one way."""
    return {
        "tokens_per_second": harness.spread([run.tokens / run.seconds for run in runs]),
        "seconds_per_step": harness.spread([run.seconds / run.steps for run in runs]),
        "padding_share": 1 - sum(run.tokens for run in runs) / sum(run.slots for run in runs),
        "tokens_per_step": sum(run.tokens for run in runs) / sum(run.steps for run in runs),
        "runs": [vars(run) for run in runs],
    }


def ratio_of(ours: list[Measured], rival: list[Measured]) -> dict[str, Any]:
    """How many times more real tokens ours takes in a second, round by round."""
    paired = harness.Paired(
        ours=tuple(run.seconds / run.tokens for run in ours),
        rival=tuple(run.seconds / run.tokens for run in rival),
    )
    return harness.spread(paired.ratios)


def add_shares(found: dict[str, Any], cost: Cost, rates: dict[str, dict[str, float]]) -> None:
    """Useful operations per second, and their share of each measured bf16 rate."""
    for way in found["ways"].values():
        useful = statistics.median(
            cost.of(tokens=run["tokens"], squares=run["squares"]) / run["seconds"]
            for run in way["runs"]
        )
        way["operations_per_second"] = useful
        way["shares"] = {name: useful / rate for name, rate in rates["bfloat16"].items()}


def study_case(
    case: Case, texts: list[str], *, tokenizer: Any, device: str, rounds: int
) -> dict[str, Any]:
    """Rates, operations, and both comparisons of one shape."""
    log(f"{case.name}: rates and operations")
    rates = product_rates(case, device=device)
    model = case.build(tokenizer)
    cost = cost_of(model, case)
    documents = documents_of(texts, tokenizer=tokenizer, max_length=case.max_length)
    found: dict[str, Any] = {
        "what": case.what,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens_per_step": case.tokens_per_step,
        "num_steps": case.num_steps,
        "warmup_steps": case.warmup_steps,
        "max_length": case.max_length,
        "left_out_share": 1 - len(documents) / len(texts),
        "rates": rates,
        "operations_per_token": cost.linear,
        "operations_per_squared_length": cost.square,
    }
    rows = full_rows(documents, length=case.row_length)
    for name, some, rivals in (
        ("real lengths", documents, (RANDOM, GROUPED)),
        ("no padding", rows, (RANDOM,)),
    ):
        chosen = texts_of(some, case, tokenizer=tokenizer, rivals=rivals)
        found[name] = study(model, case, chosen, tokenizer=tokenizer, device=device, rounds=rounds)
        add_shares(found[name], cost, rates)
    return found


def benchmark(
    *, quick: bool, rounds: int, threads: int, device: str, data_dir: Path | None
) -> dict[str, Any]:
    """Run every case and gather what the report says."""
    harness.settle(threads)
    words = "--data DIR " if data_dir else ""
    words += f"--rounds {rounds} --threads {threads} --device {device}"
    machine = harness.machine(threads)
    if device != "cpu":
        machine["gpu"] = torch.cuda.get_device_name(device)
    limit = 2000 if quick else 20_000 if device == "cpu" else 100_000
    texts = read_texts(data_dir, limit=limit)
    tokenizer = AutoTokenizer.from_pretrained(zoo.path("mini-bert"))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python benchmarks/training.py {words}" + (" --quick" if quick else ""),
        "versions": harness.versions(PACKAGES),
        "machine": machine,
        "device": device,
        "rounds": rounds,
        "quick": quick,
        "texts": "T-REx sentences" if data_dir else "sentences that this project writes",
        "cases": {
            case.name: study_case(case, texts, tokenizer=tokenizer, device=device, rounds=rounds)
            for case in cases_of(device=device, quick=quick)
        },
    }


def log(text: str) -> None:
    """Progress, on the error stream."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, write both files and print their names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with facts/trex_sentences.parquet")
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    if options.data is None and not options.quick:
        parser.error("the report needs --data DIR; --quick does without")
    report = benchmark(
        quick=options.quick,
        rounds=options.rounds,
        threads=options.threads,
        device=options.device,
        data_dir=options.data,
    )
    machine = report["machine"]
    hardware = options.hardware or machine.get("gpu", f"{machine['cpu']} {options.threads} threads")
    name = f"training_{harness.slug(hardware)}_{report['date'].replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("json", json.dumps(report, indent=1) + "\n"), ("md", markdown(report))):
        path = options.out / f"{name}.{suffix}"
        path.write_text(text, "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
