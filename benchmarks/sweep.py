"""Sweeps with two workers of one thread beside one worker of one thread, on Ray and without.

    python benchmarks/sweep.py                     the report, about half an hour on 2 cores
    python benchmarks/sweep.py --quick --rounds 1  a few facts, a minute: does it still run?

Writes ``sweep_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it. Run it on an idle
machine: nothing else may hold the cores. Needs the extra ``vesalius[ray]``; ``--engines local``
does without.
"""

import argparse
import datetime
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch loads: one thread in every worker
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder

import harness
from sweep_tasks import Locate, Multiply, fact_items

from vesalius.parallel.sweep import sweep

PACKAGES = ("torch", "transformers", "ray", "numpy", "pyarrow", "vesalius")
REQUIRED = 1.7  # times faster with two workers on Ray
SHARD_SIZE = 4  # about 3 s of work: little waiting at the end, and little to lose


def run_once(items: list[dict[str, Any]], *, engine: str, workers: int) -> dict[str, Any]:
    """Sweep into a fresh folder: seconds of work, of everything, and a digest of the table."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = sweep(
            Locate(),
            items,
            Path(folder, "out"),
            engine=engine,
            workers=workers,
            shard_size=SHARD_SIZE,
        )
        wall = time.perf_counter() - start
        if result.skipped:
            raise RuntimeError(f"an item failed: {result.skipped[0]}")
        digest = hashlib.sha256((result.folder / "table.parquet").read_bytes()).hexdigest()
    return {"work": result.work_seconds, "wall": wall, "digest": digest[:16]}


def study(items: list[dict[str, Any]], *, engine: str, rounds: int) -> dict[str, Any]:
    """Two workers and one take turns; who goes first alternates."""
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for index in range(rounds):
        for workers in (2, 1) if index % 2 == 0 else (1, 2):
            runs[workers].append(run_once(items, engine=engine, workers=workers))
            log(f"{engine}, {workers} workers: {runs[workers][-1]['work']:.1f} s")
    paired = harness.Paired(
        ours=tuple(run["work"] for run in runs[2]), rival=tuple(run["work"] for run in runs[1])
    )
    return {
        **paired.to_dict(),
        "startup_seconds": {
            str(workers): harness.spread([run["wall"] - run["work"] for run in of_them])
            for workers, of_them in runs.items()
        },
        "digests": sorted({run["digest"] for of_them in runs.values() for run in of_them}),
    }


def operations_of(items: list[dict[str, Any]], *, sample: int) -> float:
    """Operations of one item, counted over some of them."""
    worker = Locate().open()
    chosen = items[:: max(1, len(items) // sample)][:sample]
    counts = [harness.counted(lambda item=item: worker(item, seed=0))[1] for item in chosen]
    return sum(counts) / len(counts)


def product_rates(*, seconds: float) -> dict[str, float]:
    """Products per second of one process alone, and of each of two at the same time.

    The shape is that of the wider linear map of mini-bert's block on 15 copies of 6 prompts.
    """
    rates: dict[str, float] = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found = sweep(
                Multiply(rows=900, inputs=448, outputs=112, seconds=seconds),
                [{"run": run} for run in range(3 * workers)],
                Path(folder, "out"),
                workers=workers,
                shard_size=1,
            )
            rates[str(workers)] = float(found.array("rate").mean())
    return rates


def benchmark(*, quick: bool, rounds: int, facts: int, engines: list[str]) -> dict[str, Any]:
    """Run everything and gather what the report says."""
    harness.settle(1)
    items = fact_items(facts)
    command = f"python benchmarks/sweep.py --rounds {rounds} --facts {facts}"
    command += f" --engines {' '.join(engines)}" + (" --quick" if quick else "")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "versions": harness.versions(PACKAGES),
        "machine": harness.machine(1),
        "cores": os.cpu_count(),
        "facts": facts,
        "prompts": sum(len(item["prompts"]) for item in items),
        "shard_size": SHARD_SIZE,
        "rounds": rounds,
        "quick": quick,
        "product_rates": product_rates(seconds=0.1 if quick else 3.0),
        "operations_per_item": operations_of(items, sample=2 if quick else 12),
        "engines": {engine: study(items, engine=engine, rounds=rounds) for engine in engines},
    }


def markdown(report: dict[str, Any]) -> str:
    """The report as a page of Markdown."""
    machine, rates = report["machine"], report["product_rates"]
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    floor = report["operations_per_item"] * report["facts"] / rates["1"]
    lines = [
        f"# Sweeps: two workers beside one, {report['date']}",
        "",
        "| | |",
        "|---|---|",
        f"| command | `{report['command']}` |",
        f"| versions | {versions} |",
        f"| machine | {machine['cpu']}, {machine['instructions']}, {report['cores']} cores, "
        "1 thread in each worker |",
        f"| task | knowledge neurons of {report['facts']} bundled facts "
        f"({report['prompts']} prompts) in mini-bert, default options, fp32; "
        f"{report['shard_size']} facts in a shard |",
        f"| rounds | {report['rounds']} paired, turns alternating; ratios round by round |",
        "",
        "Time runs from the moment when all workers are ready (the model is open in each) to the",
        "last shard on the disk; start-up is given apart. One worker is the same engine with one.",
        "`local` is this process alone for one worker, two fresh processes for two. Correct means:",
        "the tables of all runs, of every engine, are equal byte by byte.",
        "",
        *_verdict(report),
        "",
        "| engine | 2 workers: median s (min to max) | 1 worker | ratio | start-up s: 2, 1 |",
        "|---|---|---|---|---|",
    ]
    for engine, found in report["engines"].items():
        cells = [found["ours_seconds"], found["rival_seconds"], found["ratio"]]
        text = " | ".join(f"{c['median']:.4g} ({c['min']:.4g} to {c['max']:.4g})" for c in cells)
        startup = ", ".join(f"{found['startup_seconds'][n]['median']:.3g}" for n in ("2", "1"))
        lines.append(f"| {engine} | {text} | {startup} |")
    one = min(found["rival_seconds"]["median"] for found in report["engines"].values())
    digests = {digest for found in report["engines"].values() for digest in found["digests"]}
    lines += [
        "",
        f"Tables: {'all equal' if len(digests) == 1 else '**not equal**'} "
        f"({', '.join(sorted(digests))}).",
        "",
        f"Operations: {report['operations_per_item'] / 1e9:.3g} Gop for one fact. One thread alone "
        f"makes {rates['1'] / 1e9:.3g} Gop/s of matrix products, each of two at once "
        f"{rates['2'] / 1e9:.3g}: two processes of nothing but products would be "
        f"{2 * rates['2'] / rates['1']:.2f} times as fast as one. The products explain "
        f"{floor / one:.0%} of the time of one worker; the rest is small operations and Python.",
    ]
    if report["quick"]:
        lines += ["", "A few facts: the times mean nothing, only that everything runs."]
    return "\n".join(lines) + "\n"


def _verdict(report: dict[str, Any]) -> list[str]:
    ray = report["engines"].get("ray")
    if ray is None:
        return ["Ray was not measured."]
    ratio, seconds = ray["ratio"]["median"], ray["ours_seconds"]["min"]
    return [
        "| at least | asked for | found | |",
        "|---|---|---|---|",
        f"| Ray: times as fast with 2 workers | {REQUIRED} | {ratio:.3g} "
        f"| {_yes(ratio, REQUIRED)} |",
        f"| seconds of work in the shortest run | 60 | {seconds:.3g} | {_yes(seconds, 60)} |",
    ]


def _yes(found: float, wanted: float) -> str:
    return "yes" if found >= wanted else "**no**"


def log(text: str) -> None:
    """Progress, on the error stream."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse, run, write both files and print their names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few facts, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--facts", type=int, help="number of facts (default 280; quick 8)")
    parser.add_argument("--engines", nargs="+", choices=("ray", "local"), default=["ray", "local"])
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    facts = options.facts or (8 if options.quick else 280)
    report = benchmark(
        quick=options.quick, rounds=options.rounds, facts=facts, engines=options.engines
    )
    hardware = options.hardware or f"{report['machine']['cpu']} {report['cores']} cores"
    name = f"sweep_{harness.slug(hardware)}_{report['date'].replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("json", json.dumps(report, indent=1) + "\n"), ("md", markdown(report))):
        path = options.out / f"{name}.{suffix}"
        path.write_text(text, "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
