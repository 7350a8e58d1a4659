"""Small tasks for the tests of sweeps; other processes import them from here."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.parallel.task import AbstractTask, Worker


@dataclass(frozen=True, kw_only=True)
class Toy(AbstractTask):
    """Square a number; with a word in the item, do something else.

    ``log`` is a folder in which every opening leaves a file named after its process.
    """

    power: int = 2
    seconds: float = 0.0
    log: str = ""

    def open(self) -> Worker:
        if self.log:
            Path(self.log, f"{os.getpid()}").touch()

        def work(item: dict[str, Any], *, seed: int) -> Any:
            time.sleep(self.seconds)
            if "do" in item:
                return _special(item)
            return {
                "x": item["x"],
                "power": item["x"] ** self.power,
                "grid": np.full((2, 3), item["x"] / 3, dtype=np.float32),
                "draw": np.random.default_rng(seed).normal(),
            }

        return work


def _special(item: dict[str, Any]) -> Any:
    match item["do"]:
        case "raise":
            raise ValueError(f"no {item['x']} today")
        case "refuse":
            raise VesaliusError(given="this", expected="that", fix="do so")
        case "two":
            return [{"x": item["x"], "note": "a"}, {"x": item["x"], "note": None}]
        case "none":
            return []
        case "object":
            return {"x": object()}
        case "text":
            return {"x": "text"}
        case "item column":
            return {"item": 1}
        case "no row":
            return 3
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once" if not Path(item["mark"]).exists():
            Path(item["mark"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "threads":
            import torch

            return {"x": item["x"], "threads": torch.get_num_threads()}
        case "interrupt":
            raise KeyboardInterrupt
    return {"x": item["x"]}


@dataclass(frozen=True, kw_only=True)
class Unopened(AbstractTask):
    """A task that does not open, in one way or another."""

    how: str

    def open(self) -> Worker:
        if self.how == "refuse":
            raise VesaliusError(given="model='x'", expected="a model", fix="choose one")
        if self.how == "die":
            os._exit(9)
        raise RuntimeError("no weights")


def numbers(count: int, **special: str) -> list[dict[str, Any]]:
    """Items 0, 1, 2, ...; ``i3="raise"`` gives item 3 something else to do."""
    items: list[dict[str, Any]] = [{"x": x} for x in range(count)]
    for name, what in special.items():
        items[int(name[1:])]["do"] = what
    return items
