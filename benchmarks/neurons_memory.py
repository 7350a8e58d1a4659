"""Peak memory of one ``locate`` in a fresh process; prints JSON. ``neurons.py`` starts it.

    python benchmarks/neurons_memory.py 256MiB --prompts 9 --tokens 16 --threads 2

Two numbers. ``saved``: the most bytes that autograd held at once for the backward pass, counted by
storage with saved-tensor hooks, weights left out. ``grown``: the peak of the process's resident
memory over a run of its own, less what was resident before it; Linux only (elsewhere null).
"""

import argparse
import contextlib
import ctypes
import json
import weakref
from pathlib import Path
from typing import Any

import harness
import torch
from neurons_cases import bert, random_question

import vesalius


class SavedBytes:
    """Bytes that autograd holds, now and at most; a storage saved several times counts once."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.holders: dict[int, int] = {}
        self.now = self.most = 0

    def pack(self, tensor: torch.Tensor) -> "Saved":
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        saved = Saved(tensor)
        if place not in self.weights:
            if place not in self.holders:
                self.now += size
                self.most = max(self.most, self.now)
            self.holders[place] = self.holders.get(place, 0) + 1
            weakref.finalize(saved, self._released, place, size)
        return saved

    def _released(self, place: int, size: int) -> None:
        self.holders[place] -= 1
        if not self.holders[place]:
            del self.holders[place]
            self.now -= size


class Saved:
    """What stands in for a tensor that autograd holds."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def resident(word: str) -> int:
    """VmRSS or VmHWM (its peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(word):
            return int(line.split()[1]) * 1024
    raise KeyError(word)


def grown(run: harness.Run) -> int | None:
    """Peak of the resident memory during a run, less what was resident before."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed is given back first
    try:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak starts anew
        before = resident("VmRSS")
        run()
        return resident("VmHWM") - before
    except OSError:
        return None


def measure(memory: str, *, quick: bool, num_prompts: int, num_tokens: int) -> dict[str, Any]:
    """Both numbers for one budget, and the sum of the scores."""
    specimen = bert(quick=quick)
    question = random_question(specimen, [num_tokens] * num_prompts)
    config = vesalius.neurons.LocateConfig(memory=memory)
    vesalius.neurons.locate(specimen, question.prompts[:1], question.answer, config=config)  # warm
    found: list[Any] = []

    def run() -> None:
        found.append(
            vesalius.neurons.locate(specimen, question.prompts, question.answer, config=config)
        )

    grown_bytes = grown(run)
    counter = SavedBytes(specimen.model)
    with torch.autograd.graph.saved_tensors_hooks(counter.pack, lambda saved: saved.tensor):
        run()
    return {
        "memory": memory,
        "grown": grown_bytes,
        "saved": counter.most,
        "weights": sum(p.nbytes for p in specimen.model.parameters()),
        "scores": float(abs(found[0].scores).sum(dtype="float64")),
        "nodes": int(found[0].num_nodes.sum()),
    }


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("memory")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--prompts", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    harness.settle(options.threads)
    print(
        json.dumps(
            measure(
                options.memory,
                quick=options.quick,
                num_prompts=options.prompts,
                num_tokens=options.tokens,
            )
        )
    )


if __name__ == "__main__":
    main()
