"""The parts of ``benchmarks/neurons.py``: each measures one requirement and gives plain numbers."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import neurons_cases as cases
import numpy as np
import torch
from neurons_cases import Question

import vesalius
from vesalius.data.bags import bundled_bags
from vesalius.methods.knowledge_neurons.guesses import best_guesses
from vesalius.models.answers import encode_answers
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import StaircaseOptions, attribute_neurons
from vesalius.parallel.memory import parse_bytes
from vesalius.parallel.sweep import sweep

Found = dict[str, Any]
CONFIG = vesalius.neurons.LocateConfig()
NUM_PARAPHRASES, NUM_BATCH = 9, 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is measured."""

    quick: bool
    rounds: int
    threads: int
    data: Path | None

    @property
    def num_tokens(self) -> int:
        """Tokens of a random BERT prompt, as in ``attribution.py``."""
        return 8 if self.quick else 16

    def some(self, full: int, quick: int) -> int:
        """A count for a full or a quick run."""
        return quick if self.quick else full


def locate(question: Question, *, prompts: list[str] | None = None) -> Any:
    """One call of the public function with its default options."""
    chosen = question.prompts if prompts is None else prompts
    return vesalius.neurons.locate(question.specimen, chosen, question.answer)


def compared(first: harness.Run, second: harness.Run, *, rounds: int, scale: float = 1.0) -> Found:
    """Seconds of two ways that took turns; ``ratio`` is second over first, round by round.

    The first way's seconds are divided by ``scale``, the number of things it did at once.
    """
    paired = harness.pair(first, second, rounds=rounds)
    paired = harness.Paired(ours=tuple(s / scale for s in paired.ours), rival=paired.rival)
    return {
        "first_seconds": harness.spread(paired.ours),
        "second_seconds": harness.spread(paired.rival),
        "ratio": harness.spread(paired.ratios),
    }


def away(found: Any, wanted: Any) -> float:
    """Largest difference as a share of the largest number; refuses an all-zero reference."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    largest = float(abs(wanted).max())
    if found.shape != wanted.shape or not largest > 0:
        raise RuntimeError(f"scores {found.shape} beside {wanted.shape}, largest {largest}")
    return float(abs(found - wanted).max()) / largest


def median_seconds(run: harness.Run, *, times: int = 5) -> float:
    """Median of a few runs after one that does not count."""
    run()
    return harness.spread([harness.seconds_of(run) for _ in range(times)])["median"]


# ---- 1: the public API beside the engine ----


def refine_part(settings: Settings) -> Found:
    """Nine paraphrases through locate, and the engine alone on the same nine prompts."""
    specimen = cases.bert(quick=settings.quick)
    random = cases.random_question(specimen, [settings.num_tokens] * NUM_PARAPHRASES)
    bundled = cases.paraphrases(cases.bundled())
    return {
        "BERT-base": _beside_engine(random, rounds=settings.rounds),
        cases.BUNDLED: _beside_engine(bundled, rounds=settings.some(5, 1) * settings.rounds),
    }


def _beside_engine(question: Question, *, rounds: int) -> Found:
    specimen, prompts = question.specimen, question.prompts
    steps = encode_answers(specimen, prompts, [question.answer] * len(prompts))
    objective = token_objective(steps.targets)
    options = StaircaseOptions(
        rules=CONFIG.rules(),
        tolerance=CONFIG.tolerance,
        memory_bytes=parse_bytes(CONFIG.memory),
    )

    def engine() -> Any:
        return attribute_neurons(specimen, steps.batch, objective=objective, options=options)

    (alone, engine_operations), (whole, operations) = (
        harness.counted(engine),
        harness.counted(lambda: locate(question)),
    )
    apart = {
        "encoding": lambda: encode_answers(specimen, prompts, [question.answer] * len(prompts)),
        "guesses": lambda: best_guesses(specimen, steps, prompts, logits=alone.logits),
        "fingerprint": lambda: specimen.fingerprint,
    }
    return {
        **compared(engine, lambda: locate(question), rounds=rounds),
        "operations": {"engine": engine_operations, "locate": operations},
        "error": away(whole.scores, torch.stack(alone.attribution, dim=1).numpy()),
        "tokens": int(steps.batch.inputs["input_ids"].shape[1]),
        "nodes": whole.num_nodes.max(axis=0).tolist(),
        "apart_seconds": {name: median_seconds(run) for name, run in apart.items()},
    }


# ---- 2: many prompts at once ----


def batch_part(settings: Settings) -> Found:
    """32 prompts in one call beside one prompt, and beside 32 calls."""
    specimen = cases.bert(quick=settings.quick)
    random = cases.random_question(specimen, [settings.num_tokens] * NUM_BATCH)
    bundled = cases.same_answer(cases.bundled(), NUM_BATCH)
    return {
        "BERT-base": _beside_one(random, settings),
        cases.BUNDLED: _beside_calls(bundled, settings),
    }


def _beside_one(question: Question, settings: Settings) -> Found:
    """The lone prompts are four of the 32, others in every round."""
    prompts, num_lone = question.prompts, 4
    turns = itertools.cycle(range(NUM_BATCH // num_lone))

    def lone() -> list[Any]:
        return [
            locate(question, prompts=[p]) for p in prompts[next(turns) :: NUM_BATCH // num_lone]
        ]

    (single, lone_operations), (whole, operations) = (
        harness.counted(lone),
        harness.counted(lambda: locate(question)),
    )
    wanted = np.concatenate([one.scores for one in single])
    return {
        **compared(lone, lambda: locate(question), rounds=settings.rounds, scale=num_lone),
        "operations": {"one": lone_operations / num_lone, "32": operations},
        "error": away(whole.scores[:: NUM_BATCH // num_lone], wanted),
        "nodes": {
            "one": np.mean([one.num_nodes.sum() for one in single]).item(),
            "32": float(whole.num_nodes.sum()),
        },
        "tokens": settings.num_tokens,
    }


def _beside_calls(question: Question, settings: Settings) -> Found:
    """One call with all prompts (first) beside a call for each (second)."""

    def calls() -> list[Any]:
        return [locate(question, prompts=[p]) for p in question.prompts]

    (single, call_operations), (whole, operations) = (
        harness.counted(calls),
        harness.counted(lambda: locate(question)),
    )
    lengths = cases.lengths_of(
        question.specimen, [b for b in bundled_bags("P103") if b.answer == "French"]
    )
    return {
        **compared(lambda: locate(question), calls, rounds=settings.rounds),
        "operations": {"32 calls": call_operations, "one call": operations},
        "error": away(whole.scores, np.concatenate([one.scores for one in single])),
        "lengths": list(itertools.chain(*lengths))[:NUM_BATCH],
    }


# ---- 3: memory ----


def memory_part(settings: Settings) -> Found:
    """Peak memory under three budgets, each in a fresh process."""
    budgets = ("256KiB", "16MiB") if settings.quick else ("256MiB", "1GiB", "2GiB")
    script = Path(__file__).with_name("neurons_memory.py")
    found: Found = {}
    for budget in budgets:
        command = [sys.executable, str(script), budget, "--threads", str(settings.threads)]
        command += ["--prompts", str(NUM_PARAPHRASES), "--tokens", str(settings.num_tokens)]
        command += ["--quick"] if settings.quick else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[budget] = json.loads(done.stdout) | {"budget": parse_bytes(budget)}
    sums = [of_budget["scores"] for of_budget in found.values()]
    return {"budgets": found, "error": away(sums, [sums[-1]] * len(sums))}


# ---- 4: one token on the key/value cache ----


def replay_part(settings: Settings) -> Found:
    """A causal model with the one-token replay, without it, and without any shortcut."""
    specimen = cases.gpt2(quick=settings.quick)
    question = cases.random_question(specimen, [settings.some(128, 24)])
    plan = specimen.plan
    if not plan.last_row:
        raise RuntimeError("the probe did not confirm the one-token replay")
    plain = replace(plan, splits={}, row_top=False, last_row=False, tail="no")
    others = {"no replay": replace(plan, last_row=False), "no shortcut": plain}
    ours, operations = harness.counted(lambda: locate(question))
    found: Found = {"operations": {"replay": operations}, "error": {}, "pairs": {}}
    for name, other in others.items():
        slow = replace(question, specimen=with_plan(specimen, other))
        result, found["operations"][name] = harness.counted(lambda slow=slow: locate(slow))
        found["error"][name] = away(ours.scores, result.scores)
        found["pairs"][name] = compared(
            lambda: locate(question), lambda slow=slow: locate(slow), rounds=settings.rounds
        )
    return found | {
        "tokens": settings.some(128, 24),
        "nodes": ours.num_nodes.max(axis=0).tolist(),
        "apart_seconds": {
            "clean pass": median_seconds(lambda: _guess(question), times=3),
            "fingerprint": median_seconds(lambda: specimen.fingerprint, times=3),
        },
    }


def with_plan(specimen: Specimen, plan: Any) -> Specimen:
    """The same live model, climbed by another plan than the one its probe gave."""
    other = Specimen(
        model=specimen.model, tokenizer=specimen.tokenizer, name=specimen.name, task=specimen.task
    )
    other.plan  # noqa: B018 - probed, to be replaced
    hooks, _ = other.__dict__["_plan"]
    other.__dict__["_plan"] = (hooks, plan)
    assert other.plan is plan
    return other


def _guess(question: Question) -> Any:
    answers = [question.answer] * len(question.prompts)
    steps = encode_answers(question.specimen, question.prompts, answers)
    return best_guesses(question.specimen, steps, question.prompts)


# ---- 5: a corpus ----


def corpus_part(settings: Settings) -> Found:
    """Facts through the sweep with one and two workers, and facts of real lengths at BERT shape."""
    specimen = cases.bundled()
    bags = bundled_bags()
    sources = {"bundled facts": (bags, {"prompts": sum(len(bag.prompts) for bag in bags)})}
    if settings.data is not None:
        sources["PARAREL"] = cases.pararel(settings.data, specimen)
    found: Found = {"sweeps": {}, "projected_prompts": cases.NUM_PARAREL_PROMPTS}
    for name, (facts, counts) in sources.items():
        chosen = cases.spaced(facts, settings.some(64, 3))
        found["sweeps"][name] = _swept(specimen, chosen, settings) | {"whole": counts}
    name, (facts, _) = list(sources.items())[-1]
    lengths = cases.lengths_of(specimen, cases.spaced(facts, settings.rounds, first=7))
    return found | {"BERT-base": _real_lengths(lengths, settings) | {"source": name}}


def _swept(specimen: Specimen, bags: cases.Bags, settings: Settings) -> Found:
    """Two workers take turns with one; the table must be the same byte by byte."""
    items = [
        {
            "name": bag.name,
            "relation": bag.relation,
            "subject": bag.subject,
            "prompts": list(bag.prompts),
            "answer": bag.answer,
        }
        for bag in bags
    ]
    task = vesalius.neurons.LocateTask(
        model=cases.BUNDLED, fingerprint=specimen.fingerprint, keep_scores=False
    )
    runs: dict[int, list[float]] = {1: [], 2: []}
    starts: dict[int, list[float]] = {1: [], 2: []}
    digests: set[str] = set()
    for index in range(settings.rounds):
        for workers in (2, 1) if index % 2 == 0 else (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                result = sweep(task, items, Path(folder, "out"), workers=workers, shard_size=4)
                wall = time.perf_counter() - begin
                if result.skipped:
                    raise RuntimeError(f"an item failed: {result.skipped[0]}")
                table = (result.folder / "table.parquet").read_bytes()
            runs[workers].append(result.work_seconds)
            starts[workers].append(wall - result.work_seconds)
            digests.add(hashlib.sha256(table).hexdigest()[:16])
    worker, sample = task.open(), items[:: max(1, len(items) // 8)]
    operations = sum(harness.counted(lambda i=i: worker(i, seed=0))[1] for i in sample)
    num_prompts = sum(len(item["prompts"]) for item in items)
    return {
        "facts": len(items),
        "prompts": num_prompts,
        "prompts_per_second": {
            str(n): harness.spread([num_prompts / seconds for seconds in of_them])
            for n, of_them in runs.items()
        },
        "startup_seconds": {str(n): harness.spread(of_them) for n, of_them in starts.items()},
        "operations_per_prompt": operations / sum(len(item["prompts"]) for item in sample),
        "digests": sorted(digests),
        "cores": os.cpu_count(),
    }


def _real_lengths(lengths: list[list[int]], settings: Settings) -> Found:
    """One fact of real lengths per round, through locate in this process."""
    specimen = cases.bert(quick=settings.quick)
    rates: list[float] = []
    operations = 0
    for index, of_fact in enumerate(lengths):
        question = cases.random_question(specimen, of_fact, seed=index)
        if index == 0:
            locate(question, prompts=question.prompts[:2])  # warm
        rates.append(len(of_fact) / harness.seconds_of(lambda q=question: locate(q)))
    _, operations = harness.counted(lambda: locate(question))
    return {
        "lengths": lengths,
        "prompts_per_second": harness.spread(rates),
        "operations_per_prompt": operations / len(lengths[-1]),
    }


# ---- 6: a GPU ----


def gpu_part(settings: Settings) -> Found:
    """Prompts/s of BERT-base and of a Llama of the 1B shape; nothing where there is no GPU.

    A quick run takes tiny models on whatever is there, so that this code runs everywhere.
    """
    if not (settings.quick or torch.cuda.is_available()):
        return {"device": "none"}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: Found = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu (only: does it run?)"
    }
    makers: dict[str, Callable[[], torch.nn.Module]] = {
        "BERT-base": lambda: cases.bert(quick=settings.quick).model,
        "Llama 1B": lambda: cases.llama(quick=settings.quick),
    }
    for name, make in makers.items():
        model = make()
        for dtype in (torch.float32, torch.bfloat16):
            specimen = cases.opened(model.to(device=device, dtype=dtype))
            lengths = [settings.num_tokens] * settings.some(64, 3)
            question = cases.random_question(specimen, lengths)
            _, operations = harness.counted(lambda q=question: locate(q))  # the warm-up too
            seconds = [
                harness.seconds_of(lambda q=question: locate(q)) for _ in range(settings.rounds)
            ]
            found[f"{name}, {str(dtype).removeprefix('torch.')}"] = {
                "prompts": len(lengths),
                "tokens": settings.num_tokens,
                "prompts_per_second": harness.spread([len(lengths) / s for s in seconds]),
                "operations_per_prompt": operations / len(lengths),
            }
        del model
    return found


PARTS: dict[str, Callable[[Settings], Found]] = {
    "refine": refine_part,
    "batch": batch_part,
    "memory": memory_part,
    "replay": replay_part,
    "corpus": corpus_part,
    "gpu": gpu_part,
}
