"""What ``electra.py`` measures, part by part: numbers that its report reads."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import electra_cases as cases
import electra_ways as ways
import harness
from electra_cases import Case, Composition, OursOf, Padded, Pieces, Settings
from electra_ways import Measured
from training_cases import product_rates

from vesalius.methods.electra import objective as objectives
from vesalius.recipes.pretrain_flops import flops_per_token

SAMPLERS = {"plain": "generator"} | {s: s for s in ("hardness-loss", "hardness-distribution")}
OURS, COMPILED = "ours", "ours, compiled"
PLAIN, EAGER = "composition", "composition, eager attention"
_FIXED = 2**20  # number and seed of the batch on which losses are read
Found = dict[str, Any]


def log(text: str) -> None:
    """Progress, on the error stream."""
    print(text, file=sys.stderr, flush=True)


def texts_of(settings: Settings, case: Case, tokenizer: Any) -> dict[str, Pieces]:
    """The texts at their real lengths, and the same tokens in full rows."""
    limit = 2000 if settings.quick else 20_000 if settings.device == "cpu" else 100_000
    pieces = cases.pieces_of(
        cases.read_texts(settings.data, limit=limit), case, tokenizer=tokenizer
    )
    return {"real lengths": pieces, "no padding": cases.full_rows(pieces, case)}


def composition(settings: Settings) -> Found:
    """Ours beside the plain composition of the library's classes, at real lengths and without."""
    tokenizer = cases.tokenizer_of()
    found: Found = {}
    for case in cases.cases_of(settings):
        rates = product_rates(_rated(case), device=settings.device)["bfloat16"]
        texts = texts_of(settings, case, tokenizer)
        found[case.name] = _described(case) | {
            "rates": rates,
            **{
                name: _composed(name, pieces, case, settings, tokenizer, rates)
                for name, pieces in texts.items()
            },
        }
    return found


def _composed(
    name: str, pieces: Pieces, case: Case, settings: Settings, tokenizer: Any, rates: Found
) -> Found:
    device, rounds = settings.device, settings.rounds
    ours = cases.objective_of(case, tokenizer).to(device)
    rivals = {PLAIN: Composition(ours.pair)}
    if case.attention != "sdpa" and case.name == "small":
        rivals[EAGER] = Composition(ours.pair, attention=case.attention)
    share = 1 - cases.packed(pieces, case, tokenizer=tokenizer).padding_share
    rows = cases.texts_a_batch(pieces, case, share=share)
    fixed = Padded(pieces, tokenizer=tokenizer, rows=rows, seed=_FIXED)[_FIXED]
    before = cases.composed_loss(ours, fixed, device=device)

    compiled = cases.objective_of(case, tokenizer).to(device) if settings.compile else None
    if compiled is not None:
        compiled.pair.compile_bodies()

    def ours_of(objective: Any) -> Callable[[int], Measured]:
        def run(seed: int) -> Measured:
            batches = cases.packed(pieces, case, tokenizer=tokenizer, seed=seed)
            return ways.run_ours(objective, case, batches, device=device)

        return run

    def running(model: Composition) -> Callable[[int], Measured]:
        def run(seed: int) -> Measured:
            padded = Padded(pieces, tokenizer=tokenizer, rows=rows, seed=seed)
            batches = [padded[i] for i in range(case.warmup_steps + case.num_steps)]
            return ways.run_plain(model.to(device), case, batches, device=device)

        return run

    mine = {OURS: ours} | ({COMPILED: compiled} if compiled is not None else {})
    runs = ways.in_turns(
        {way: ours_of(model) for way, model in mine.items()}
        | {way: running(model) for way, model in rivals.items()},
        rounds=rounds,
        log=lambda text: log(f"  {case.name}, {name}: {text}"),
    )
    models: dict[str, Any] = {**mine, **rivals}
    after = {way: cases.composed_loss(model, fixed, device=device) for way, model in models.items()}
    flops = flops_per_token(case.shape, context_length=case.length, electra=ours.options)
    return {
        "num_texts": len(pieces),
        "mean_length": sum(map(len, pieces)) / len(pieces),
        "texts_a_batch": rows,
        "loss_before": before,
        "ways": _summaries(runs, flops=flops, rates=rates, loss_after=after),
        "ratios": {way: _ratios(runs[OURS], runs[way]) for way in rivals},
    }


def hardness(settings: Settings) -> Found:
    """What predicting hardness costs over plain draws."""
    tokenizer = cases.tokenizer_of()
    found: Found = {}
    for case in cases.cases_of(settings):
        pieces = texts_of(settings, case, tokenizer)["no padding"]
        runs = ways.in_turns(
            {
                name: _training(pieces, case, settings, tokenizer, sampler=sampler)
                for name, sampler in SAMPLERS.items()
            },
            rounds=settings.rounds,
            log=lambda text, case=case: log(f"  {case.name}: {text}"),
        )
        found[case.name] = _described(case) | {
            "ways": _summaries(runs),
            "costs": {
                way: harness.spread(
                    [1 / r - 1 for r in _ratios(runs[way], runs["plain"])["values"]]
                )
                for way in SAMPLERS
                if way != "plain"
            },
        }
    return found


def loading(settings: Settings) -> Found:
    """Batches made beside batches used: alone in one thread, and how long a step waits for one."""
    tokenizer = cases.tokenizer_of()
    found: Found = {}
    for case in cases.cases_of(settings):
        pieces = texts_of(settings, case, tokenizer)["real lengths"]
        batches = cases.packed(pieces, case, tokenizer=tokenizer)
        batches[0]
        count = 3 if settings.quick else 20
        start = time.perf_counter()
        tokens = sum(int(batches[number]["real"].sum()) for number in range(1, count + 1))
        made = time.perf_counter() - start
        used = _training(pieces, case, settings, tokenizer)(0)
        found[case.name] = _described(case) | {
            "made_tokens_per_second": tokens / made,
            "used_tokens_per_second": used.tokens_per_second,
            "times": tokens / made / used.tokens_per_second,
            "waited_share": used.waited_share,
        }
    return found


def processes(settings: Settings) -> Found:
    """Two processes of one thread (DDP over gloo) beside one: the same steps, the same loss."""
    times: dict[int, list[float]] = {1: [], 2: []}
    losses: dict[int, float] = {}
    tokens = 0
    for index in range(settings.rounds):
        for number in (2, 1) if index % 2 == 0 else (1, 2):
            log(f"  round {index + 1} of {settings.rounds}, {number}")
            found = _worked(number, settings)
            times[number].append(found["seconds"] / found["steps"])
            losses[number], tokens = found["loss"], found["tokens"]
    pair = harness.Paired(ours=tuple(times[2]), rival=tuple(times[1]))
    return {**pair.to_dict(), "losses": losses, "tokens": tokens}


def _worked(number: int, settings: Settings) -> Found:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(number), str(Path(__file__).with_name("electra_worker.py"))]
    command += ["--quick"] if settings.quick else []
    command += ["--data", str(settings.data)] if settings.data else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        command += ["--out", str(Path(folder) / "run")]
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    return json.loads(run.stdout.splitlines()[-1])


def gains(settings: Settings) -> Found:
    """The parts of the gain, one added after the other, at the small shape."""
    tokenizer = cases.tokenizer_of()
    case = cases.cases_of(settings)[0]
    texts = texts_of(settings, case, tokenizer)
    rows = cases.texts_a_batch(texts["real lengths"], case, share=1.0)
    first = cases.objective_of(case, tokenizer)
    ladder: dict[str, Callable[[int], Measured]] = {PLAIN: _plainly(first, texts, case, settings)}

    def add(name: str, **words: Any) -> None:
        ladder[name] = _training(texts["no padding"], case, settings, tokenizer, **words)

    add("logits at the slots alone", fused=False, attention="sdpa")
    add("and draws in pieces", fused=True, attention="sdpa")
    if case.attention != "sdpa":
        add(f"and {case.attention} attention", fused=True)
    if settings.compile:
        add("and both encoders compiled", fused=True, compiled=True)
    unpadded = ways.in_turns(ladder, rounds=settings.rounds, log=lambda text: log(f"  {text}"))

    def padded(seed: int) -> Any:
        pieces = texts["real lengths"]
        return OursOf(Padded(pieces, tokenizer=tokenizer, rows=rows, seed=seed))

    packing = ways.in_turns(
        {
            "one text a row, padded": _training([], case, settings, tokenizer, batches=padded),
            "packed": _training(texts["real lengths"], case, settings, tokenizer),
        },
        rounds=settings.rounds,
        log=lambda text: log(f"  {text}"),
    )
    return _described(case) | {
        "no padding": _summaries(unpadded) | {"gains": _gains(unpadded)},
        "real lengths": _summaries(packing) | {"gains": _gains(packing)},
    }


def _plainly(
    objective: Any, texts: dict[str, Pieces], case: Case, settings: Settings
) -> Callable[[int], Measured]:
    model = Composition(objective.pair).to(settings.device)
    tokenizer = cases.tokenizer_of()

    def run(seed: int) -> Measured:
        padded = Padded(texts["no padding"], tokenizer=tokenizer, rows=case.rows, seed=seed)
        batches = [padded[i] for i in range(case.warmup_steps + case.num_steps)]
        return ways.run_plain(model, case, batches, device=settings.device)

    return run


def _training(
    pieces: Pieces,
    case: Case,
    settings: Settings,
    tokenizer: Any,
    *,
    fused: bool | None = None,
    attention: str = "",
    compiled: bool = False,
    batches: Callable[[int], Any] | None = None,
    **options: Any,
) -> Callable[[int], Measured]:
    """Our training of one model that lives on from round to round, with changes."""
    objective = cases.objective_of(case, tokenizer, **options).to(settings.device)
    if attention:
        objective.pair.use_attention(attention)
    if compiled:
        objective.pair.compile_bodies()

    def run(seed: int) -> Measured:
        some = (
            batches(seed) if batches else cases.packed(pieces, case, tokenizer=tokenizer, seed=seed)
        )
        if fused is None:
            return ways.run_ours(objective, case, some, device=settings.device)
        with patch.object(objectives, "is_worth_fusing", lambda *_: fused):
            return ways.run_ours(objective, case, some, device=settings.device)

    return run


def _summaries(
    runs: dict[str, list[Measured]],
    *,
    flops: float = 0.0,
    rates: Found | None = None,
    loss_after: dict[str, float] | None = None,
) -> dict[str, Found]:
    """Tokens/s, padding and share of the machine's rates of every way."""
    found: dict[str, Found] = {}
    for way, measured in runs.items():
        speeds = [run.tokens_per_second for run in measured]
        found[way] = {
            "tokens_per_second": harness.spread(speeds),
            "padding_share": 1 - sum(r.tokens for r in measured) / sum(r.places for r in measured),
            "tokens_a_step": sum(r.tokens for r in measured) / sum(r.steps for r in measured),
            "waited_share": statistics.median(run.waited_share for run in measured),
            "shares": {
                name: flops * statistics.median(speeds) / rate
                for name, rate in (rates or {}).items()
            },
        }
        if loss_after:
            found[way]["loss_after"] = loss_after[way]
    return found


def _ratios(ours: list[Measured], rival: list[Measured]) -> Found:
    """How many times more real tokens ours takes in a second, round by round."""
    pairs = zip(ours, rival, strict=True)
    return harness.spread([o.tokens_per_second / r.tokens_per_second for o, r in pairs])


def _gains(runs: dict[str, list[Measured]]) -> dict[str, Found]:
    """How many times faster each way is than the one before it."""
    names = list(runs)
    return {b: _ratios(runs[b], runs[a]) for a, b in itertools.pairwise(names)}


def _described(case: Case) -> Found:
    shape = case.shape
    sizes = (
        f"{shape.num_layers} layers, width {shape.width}, embeddings {shape.embedding_size}, "
        f"generator {shape.generator_width} wide, vocabulary {shape.vocab_size:,}, dropout 0"
    )
    return {
        "what": sizes, "length": case.length, "rows": case.rows, "tokens_per_step": case.tokens,
        "num_steps": case.num_steps, "warmup_steps": case.warmup_steps,
        "attention": case.attention,
    }  # fmt: skip


def _rated(case: Case) -> Any:
    """What `training_cases.product_rates` asks of a case."""
    width, inner = case.shape.width, case.shape.ffn_width
    linears = [(width, width)] * 4 + [(width, inner), (inner, width)]
    return SimpleNamespace(name=case.name, tokens_per_step=case.tokens, linears=linears)


PARTS: dict[str, Callable[[Settings], Found]] = {
    "composition": composition,
    "hardness": hardness,
    "loading": loading,
    "processes": processes,
    "gains": gains,
}
