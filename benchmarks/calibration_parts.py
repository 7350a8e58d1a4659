"""The parts of ``calibration.py``: each gives numbers, and the error beside every time."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import numpy as np
from calibration_cases import (
    FULL,
    QUICK,
    Shape,
    gpt2,
    harness_way,
    last_position,
    paper_way,
    prompt_and_texts,
    two_token_words,
    word_by_word,
)

from vesalius.methods.calibration.score import score
from vesalius.models.label_scores import _one_by_one, plan_labels, score_labels
from vesalius.models.prefix import encode_prefix
from vesalius.models.specimen import Specimen

_HARNESS_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line asked for."""

    quick: bool
    rounds: int
    threads: int

    @property
    def shape(self) -> Shape:
        """The sizes."""
        return QUICK if self.quick else FULL


def scoring(settings: Settings) -> dict[str, Any]:
    """One-token label words: ours beside the whole prompt per query, and the paper's way."""
    shape = settings.shape
    specimen = gpt2(shape)
    prompt, texts = prompt_and_texts(shape, ("the", "a"))
    few = texts[: shape.num_rival]
    prompts = [prompt.text((text,)) for text in few]
    peer = harness_way(specimen, _HARNESS_BATCH)

    def ours() -> np.ndarray:
        return score(specimen, prompt, texts).log_probs

    rivals: dict[str, Callable[[], np.ndarray]] = {
        "last position": lambda: last_position(specimen, prompts, prompt.answers),
        "paper's code": lambda: paper_way(specimen, prompts, prompt.answers),
    }
    if peer is not None:
        rivals["lm-evaluation-harness"] = lambda: peer(prompts, prompt.answers)
    found, operations = harness.counted(ours)
    plan = plan_labels(specimen, [prompt.text((text,)) for text in texts], prompt.answers)
    cases: dict[str, Any] = {}
    for name, rival in rivals.items():
        values, counted = harness.counted(rival)
        paired = harness.pair(ours, rival, rounds=settings.rounds)
        cases[name] = {
            **_per_query(paired, len(texts), len(few)),
            "operations_per_query": counted / len(few),
            "error": float(np.abs(found[: len(few)] - values).max()),
        }
    return {
        "prefix_tokens": len(plan.prefix),
        "own_tokens": float(np.mean([len(own) for own in plan.own])),
        "num_queries": len(texts),
        "num_rival": len(few),
        "operations_per_query": operations / len(texts),
        "cases": cases,
    }


def trie(settings: Settings) -> dict[str, Any]:
    """Fourteen words of two tokens: one pass, a pass per word with the cache, and without it."""
    shape = settings.shape
    specimen = gpt2(shape)
    words = two_token_words(specimen)
    prompt, texts = prompt_and_texts(shape, words)
    prompts = [prompt.text((text,)) for text in texts]
    some = prompts[: max(4, len(prompts) // 4)]
    few = prompts[: max(2, len(prompts) // 64)]
    plan = plan_labels(specimen, some, prompt.answers)

    def ours() -> np.ndarray:
        return score(specimen, prompt, texts[: len(some)]).log_probs

    def cached() -> np.ndarray:
        prefix = encode_prefix(specimen, plan.prefix)
        values = np.zeros((len(plan.own), len(words)))
        order = sorted(range(len(plan.own)), key=lambda i: len(plan.own[i]))
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            values[batch] = _one_by_one(
                specimen, prefix, [plan.own[i] for i in batch], plan.trie
            ).numpy()
        return values

    def uncached() -> np.ndarray:
        return word_by_word(specimen, few, prompt.answers)

    found = ours()
    cases = {}
    for name, rival, number in (
        ("a cached pass per word", cached, len(some)),
        ("a whole pass per word", uncached, len(few)),
    ):
        values, operations = harness.counted(rival)
        paired = harness.pair(ours, rival, rounds=settings.rounds)
        cases[name] = {
            **_per_query(paired, len(some), number),
            "operations_per_query": operations / number,
            "error": float(np.abs(found[:number] - values).max()),
        }
    _, operations = harness.counted(ours)
    return {
        "num_labels": len(words),
        "tree_tokens": len(plan.trie.tokens),
        "operations_per_query": operations / len(some),
        "cases": cases,
    }


def memory(settings: Settings) -> dict[str, Any]:
    """Peak memory of a fresh process, by the number of queries and by the batch."""
    worker = Path(__file__).with_name("calibration_memory.py")
    cases = {}
    sizes = ((24, 256), (48, 256)) if settings.quick else _MEMORY
    for queries, batch in sizes:
        words = [str(worker), "--queries", str(queries), "--tokens", str(batch)]
        words += ["--threads", str(settings.threads)] + (["--quick"] if settings.quick else [])
        run = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
        cases[f"{queries} queries, {batch} tokens a run"] = json.loads(run.stdout)
    return cases


_MEMORY = ((64, 2048), (256, 2048), (1024, 2048), (1024, 4096), (1024, 512))


def ways(settings: Settings) -> dict[str, Any]:
    """The three ways to read a prefix, of which the probe takes the first that is exact."""
    shape = settings.shape
    specimen: Specimen = gpt2(shape)
    prompt, texts = prompt_and_texts(shape, ("the", "a"))
    some = texts[: max(6, len(texts) // 4)]
    plan = plan_labels(specimen, [prompt.text((text,)) for text in some], prompt.answers)

    def run(way: Any) -> np.ndarray:
        values = np.zeros((len(plan.own), 2))
        for numbers, scores in score_labels(specimen, plan, way=way):
            values[numbers] = scores
        return values

    wanted = run("whole")
    found = {}
    for way in ("shared", "joined"):
        paired = harness.pair(lambda w=way: run(w), lambda: run("whole"), rounds=settings.rounds)
        error = float(np.abs(run(way) - wanted).max())
        found[way] = {**_per_query(paired, len(some), len(some)), "error": error}
    return found


def _per_query(paired: harness.Paired, num_ours: int, num_rival: int) -> dict[str, Any]:
    """Seconds per query of both, and their ratio, round by round."""
    scaled = harness.Paired(
        ours=tuple(s / num_ours for s in paired.ours),
        rival=tuple(s / num_rival for s in paired.rival),
    )
    return scaled.to_dict()


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "scoring": scoring,
    "trie": trie,
    "ways": ways,
    "memory": memory,
}
