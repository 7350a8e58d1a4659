"""The tasks of ``benchmarks/sweep.py``; the workers import them from here."""

import time
from dataclasses import dataclass
from typing import Any

from vesalius.parallel.task import AbstractTask, Worker


@dataclass(frozen=True, kw_only=True)
class Locate(AbstractTask):
    """Score all neurons of a model for a fact and its paraphrases."""

    model: str = "mini-bert"

    def open(self) -> Worker:
        import vesalius
        from vesalius.methods.knowledge_neurons import locate

        specimen = vesalius.open(self.model)

        def work(item: dict[str, Any], *, seed: int) -> dict[str, Any]:
            found = locate(specimen, item["prompts"], item["answer"])
            return {
                "subject": item["subject"],
                "prob": found.prob.mean().item(),
                "scores": found.scores.mean(axis=0),
                "neurons": [f"{layer}.{neuron}" for layer, neuron in found.neurons],
            }

        return work


@dataclass(frozen=True, kw_only=True)
class Multiply(AbstractTask):
    """Measure the rate of matrix products on one thread, for some seconds."""

    rows: int
    inputs: int
    outputs: int
    seconds: float

    def open(self) -> Worker:
        import torch

        left, right = torch.ones(self.rows, self.inputs), torch.ones(self.inputs, self.outputs)
        operations = 2 * self.rows * self.inputs * self.outputs

        def work(item: dict[str, Any], *, seed: int) -> dict[str, Any]:
            count, start = 0, time.perf_counter()
            while (seconds := time.perf_counter() - start) < self.seconds:
                left @ right
                count += 1
            return {"rate": count * operations / seconds}

        return work


def fact_items(count: int) -> list[dict[str, Any]]:
    """Bundled facts at even distances in their table, each with all of its prompts."""
    from vesalius.data.facts import load_facts, prompts_for

    facts = load_facts()
    chosen = [facts[index * len(facts) // count] for index in range(count)]
    return [
        {
            "subject": fact.subject,
            "answer": fact.answer,
            "prompts": prompts_for(fact, mask_token="[MASK]"),
        }
        for fact in chosen
    ]
