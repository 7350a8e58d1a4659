"""What every benchmark shares: paired timing, versions, the machine, its matrix-product rate."""

import gc
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Run = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Seconds of two implementations that took turns, round by round."""

    ours: tuple[float, ...]
    rival: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times longer the rival took, in each round."""
        return tuple(r / o for o, r in zip(self.ours, self.rival, strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {
            "ours_seconds": spread(self.ours),
            "rival_seconds": spread(self.rival),
            "ratio": spread(self.ratios),
        }


def spread(values: tuple[float, ...] | list[float]) -> dict[str, Any]:
    """Median, extremes and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def seconds_of(run: Run) -> float:
    """Time one run, garbage collected beforehand (modules frozen, see :func:`settle`)."""
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def settle(num_threads: int) -> None:
    """Set the threads, and spare the collector what importing has made."""
    torch.set_num_threads(num_threads)
    gc.collect()
    gc.freeze()


def pair(ours: Run, rival: Run, *, rounds: int) -> Paired:
    """Time two warm implementations in turns; who goes first alternates too."""
    times: dict[str, list[float]] = {"ours": [], "rival": []}
    for index in range(rounds):
        order = [("ours", ours), ("rival", rival)]
        for name, run in order if index % 2 == 0 else reversed(order):
            times[name].append(seconds_of(run))
    return Paired(ours=tuple(times["ours"]), rival=tuple(times["rival"]))


class OperationCounter(TorchDispatchMode):
    """Counts the operations of matrix products and attention kernels, forward and backward.

    A multiplication and an addition count as two, as in torch's own counter, whose formulas are
    used. That counter itself follows modules and fails on gradients with respect to leaves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        times = _CPU_ATTENTION.get(func)
        if times is not None:  # torch has no formula for the fused kernels of the CPU
            query, key = (args[0], args[1]) if times == 2 else (args[1], args[2])
            batch, heads, num_query, d_head = query.shape
            self.total += times * 2 * batch * heads * num_query * key.shape[-2] * d_head
        elif (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


_ATEN: Any = torch.ops.aten
# products of [query, key, d_head] per head; the backward takes the scores again
_CPU_ATTENTION = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default: 2,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default: 5,
}


def counted(run: Run) -> tuple[Any, int]:
    """Run once and count the operations."""
    with OperationCounter() as counter:
        result = run()
    return result, counter.total


def product_rate(num_rows: int, shapes: list[tuple[int, int]], *, dtype: torch.dtype) -> float:
    """Operations per second of ``rows @ weight.T``, best of several runs, over the given shapes.

    ``shapes`` are (inputs, outputs) of the linear maps of one block; the rate is that of all of
    them one after the other, on ``num_rows`` rows.
    """
    pairs = [(torch.randn(num_rows, i).to(dtype), torch.randn(o, i).to(dtype)) for i, o in shapes]

    def run() -> None:
        for rows, weight in pairs:
            functional.linear(rows, weight)

    run()
    operations = sum(2 * num_rows * i * o for i, o in shapes)
    return operations / min(seconds_of(run) for _ in range(7))


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of Python, of packages, and the commit of this repository."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {"commit": _commit()}


def _commit() -> str:
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/benchmarks"
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return commit + (" and uncommitted changes" if changed else "")


def machine(num_threads: int) -> dict[str, Any]:
    """Processor model, instruction set and threads; nothing that names the machine."""
    return {
        "cpu": _cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_products": _has_flag("avx512_bf16") or _has_flag("amx_bf16"),
        "threads": num_threads,
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _has_flag(flag: str) -> bool:
    try:
        return flag in Path("/proc/cpuinfo").read_text("utf-8").split()
    except OSError:
        return False


def slug(text: str) -> str:
    """A text as part of a file name.

    >>> slug("AMD EPYC (tm) 9B45")
    'amd-epyc-9b45'
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"\((r|tm|c)\)", "", text.lower()))
    return "-".join(words)
