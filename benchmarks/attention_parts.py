"""What ``benchmarks/attention.py`` measures, part by part."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from attention_cases import Settings, classifier, picked, random_texts
from attribution_cases import FULL, QUICK
from torch import nn

import vesalius
from vesalius.methods.attention_attribution import AttributeConfig, attribute, head_importance
from vesalius.models.objectives import token_objective
from vesalius.models.pruned import prune_heads
from vesalius.models.reading import row_logits
from vesalius.models.specimen import Specimen
from vesalius.models.staircase import StaircaseOptions, attribute_attention
from vesalius.parallel.memory import parse_bytes

LENGTHS = (32, 128)
BUDGETS = ("512MiB", "1GiB", "2GiB")


def engine(settings: Settings) -> dict[str, Any]:
    """``attribute`` of one text beside the engine on the same batch."""
    specimen = classifier(quick=settings.quick)
    found: dict[str, Any] = {}
    for tokens in (8, 12) if settings.quick else LENGTHS:
        batch = random_texts(specimen, 1, tokens)
        config = AttributeConfig()
        targets = row_logits(specimen, batch).argmax(1)
        options = StaircaseOptions(
            rules=config.rules(), memory_bytes=parse_bytes(config.memory) // 2
        )
        kept: dict[str, Any] = {}

        def ours(batch: Any = batch, kept: dict[str, Any] = kept) -> None:
            kept["public"] = attribute(specimen, batch)

        def rival(
            batch: Any = batch, kept: dict[str, Any] = kept, options: Any = options,
            targets: Any = targets,
        ) -> None:  # fmt: skip
            objective = token_objective(targets)
            kept["engine"] = attribute_attention(
                specimen, batch, objective=objective, options=options
            )

        ours(), rival()
        paired = harness.pair(ours, rival, rounds=settings.rounds)
        public, plain = kept["public"], kept["engine"]
        error = max(
            np.abs(public.site_scores(0, s) - plain.attribution[s][0].numpy()).max()
            / np.abs(plain.attribution[s][0].numpy()).max()
            for s in range(len(public.sites))
        )
        found[str(tokens)] = paired.to_dict() | {"error": float(error), "gap": public.max_gap}
    return found


def importance(settings: Settings) -> dict[str, Any]:
    """Head importance of many texts in one call, beside a call for each, and the floor."""
    specimen = classifier(quick=settings.quick)
    counts = {8: 6, 12: 3} if settings.quick else {32: 8, 128: 2}
    found = {
        f"random BERT-base shape, {tokens} tokens": _importance(
            specimen, random_texts(specimen, count, tokens), settings
        )
        for tokens, count in counts.items()
    }
    bundled = vesalius.open("mini-classifier")
    bundled.plan  # noqa: B018
    from vesalius.data.labelled import load_labelled
    from vesalius.models.texts import encode_texts

    texts = load_labelled("opinions").splits["train"].texts
    batch = encode_texts(bundled, texts[: 8 if settings.quick else 40])
    found["mini-classifier, 40 sentences of its own lengths"] = _importance(
        bundled, batch, settings
    )
    return found


def _importance(specimen: Specimen, batch: Any, settings: Settings) -> dict[str, Any]:
    number = batch.num_prompts
    config = AttributeConfig(refine=False)
    kept: dict[str, Any] = {}

    def together() -> None:
        kept["all"] = head_importance(specimen, batch, baselines=(), config=config)

    def one_by_one() -> None:
        kept["each"] = [
            head_importance(
                specimen, picked(batch, i).trimmed(), baselines=(), config=config
            ).importance()
            for i in range(number)
        ]

    _, operations = harness.counted(together)
    one_by_one()
    paired = harness.pair(together, one_by_one, rounds=settings.rounds)
    mean = np.mean(kept["each"], axis=0)
    error = float(np.abs(kept["all"].importance() - mean).max() / np.abs(mean).max())
    shape = QUICK if settings.quick else FULL
    linears = shape.linears()
    if specimen.name == "mini-classifier":
        linears = [(256, 768), (256, 256), (256, 896), (448, 256)]
    rate = harness.product_rate(512, linears, dtype=torch.float32)
    return paired.to_dict() | {
        "texts": number,
        "texts_per_second": {
            "together": number / paired.to_dict()["ours_seconds"]["median"],
            "one by one": number / paired.to_dict()["rival_seconds"]["median"],
        },
        "operations": operations,
        "floor_seconds": operations / rate,
        "error": error,
    }


def workers(settings: Settings) -> dict[str, Any]:
    """Two processes of one thread beside one process of two: what the resumable sweep does."""
    script = Path(__file__).with_name("attention_worker.py")
    words = ["--quick"] if settings.quick else []
    tokens, count = (8, 4) if settings.quick else (32, 8)

    def start(threads: int, number: int) -> Any:
        command = [sys.executable, script, "--threads", threads, "--texts", number]
        command += ["--tokens", tokens, *words]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)

    def run(processes: list[Any]) -> float:
        outputs = [process.communicate()[0] for process in processes]
        return max(json.loads(text)["seconds"] for text in outputs)

    rounds = []
    for _ in range(settings.rounds):
        two = run([start(1, count), start(1, count)])
        one = run([start(2, 2 * count)])
        rounds.append((two, one))
    paired = harness.Paired(ours=tuple(t for t, _ in rounds), rival=tuple(o for _, o in rounds))
    return paired.to_dict() | {"texts": 2 * count, "tokens": tokens}


def memory(settings: Settings) -> dict[str, Any]:
    """Peak memory of one text of 512 tokens under several budgets, each in a fresh process."""
    script = Path(__file__).with_name("attention_memory.py")
    found: dict[str, Any] = {}
    budgets = BUDGETS[:2] if settings.quick else BUDGETS
    for budget in budgets:
        words = [budget, "--threads", settings.threads, "--tokens", 16 if settings.quick else 512]
        command = [sys.executable, script, *words, *(["--quick"] if settings.quick else [])]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        found[budget] = json.loads(run.stdout)
    return found


def pruning(settings: Settings) -> dict[str, Any]:
    """A forward pass before and after half of the heads are cut, and its attention alone."""
    specimen = classifier(quick=settings.quick)
    heads = specimen.model.config.num_attention_heads
    removed = [
        (site, head)
        for site in range(specimen.num_layers)
        for head in range(heads)
        if (head + site) % 2
    ]
    smaller = prune_heads(specimen, removed)
    found: dict[str, Any] = {
        "weights": [sum(p.numel() for p in s.model.parameters()) for s in (specimen, smaller)]
    }
    shapes = ((2, 16),) if settings.quick else ((8, 32), (8, 128), (2, 512))
    for texts, tokens in shapes:
        batch = random_texts(specimen, texts, tokens)
        kept: dict[str, float] = {"after": 0.0, "before": 0.0}

        def after(batch: Any = batch) -> None:
            row_logits(smaller, batch)

        def before(batch: Any = batch) -> None:
            row_logits(specimen, batch)

        after(), before()
        whole = harness.pair(after, before, rounds=3 * settings.rounds)
        attention: dict[str, list[float]] = {"after": [], "before": []}
        for _ in range(3 * settings.rounds):
            for name, one in (("after", smaller), ("before", specimen)):
                with timed_attention(one.model, kept, name):
                    row_logits(one, batch)
                attention[name].append(kept[name])
        part = harness.Paired(ours=tuple(attention["after"]), rival=tuple(attention["before"]))
        found[f"{texts} x {tokens}"] = {"whole": whole.to_dict(), "attention": part.to_dict()}
    return found


@contextmanager
def timed_attention(model: nn.Module, kept: dict[str, float], name: str) -> Iterator[None]:
    """Add up the seconds inside the attention sub-blocks (projections included)."""
    kept[name] = 0.0
    started: list[float] = []

    def enter(_module: nn.Module, _args: Any) -> None:
        started.append(time.perf_counter())

    def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
        kept[name] += time.perf_counter() - started.pop()

    with ExitStack() as stack:
        for module in model.modules():
            if type(module).__name__ == "BertAttention":
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(leave).remove)
        yield


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "engine": engine,
    "importance": importance,
    "workers": workers,
    "memory": memory,
    "pruning": pruning,
}
