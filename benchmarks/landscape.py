"""Loss landscapes: moving a model, whole points, kept layers, refinement, stacking, workers.

    python benchmarks/landscape.py                       the report, about 10 minutes on 2 cores
    python benchmarks/landscape.py --only groups         this part again, the others kept
    python benchmarks/landscape.py --quick --rounds 1    small sizes, a minute: does it still run?

Writes ``landscape_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it, after every
part; parts that are not measured this time are kept. Run it on an idle machine: nothing else may
hold the cores. With ``pip install --no-deps loss-landscapes`` that package is measured too; the
workers run on Ray (``vesalius[ray]``), with ``--engine local`` in processes of this machine.
"""

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder

import harness
import torch
from landscape_cases import classifier, linears
from landscape_parts import PARTS, Settings
from landscape_report import markdown

PACKAGES = ("torch", "transformers", "numpy", "ray", "loss-landscapes", "vesalius")


def measured(part: str, settings: Settings, command: str) -> dict[str, Any]:
    """One part with all that says where its numbers come from."""
    harness.settle(settings.threads)
    rate = harness.product_rate(4096, linears(classifier()), dtype=torch.float32)
    start = time.perf_counter()
    found = PARTS[part](settings)
    return {
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "versions": harness.versions(PACKAGES),
        "machine": harness.machine(settings.threads),
        "rounds": settings.rounds,
        "part_seconds": time.perf_counter() - start,
        "rate": rate,
        "found": found,
    }


def main() -> None:
    """Parse, measure part by part, and print the names of both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), help="measure these parts")
    parser.add_argument("--engine", choices=("ray", "local"), default="ray", help="of the workers")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    settings = Settings(
        quick=options.quick, rounds=options.rounds, threads=options.threads, engine=options.engine
    )
    chosen = options.only or list(PARTS)
    command = f"python benchmarks/landscape.py --rounds {options.rounds}"
    command += f" --threads {options.threads}" + (" --quick" if options.quick else "")
    command += f" --only {' '.join(chosen)}" if options.only else ""
    command += f" --engine {options.engine}" if options.engine != "ray" else ""
    hardware = options.hardware or f"{harness.machine(1)['cpu']} {options.threads} threads"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = f"landscape_{harness.slug(hardware)}_{today.replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    page, numbers = options.out / f"{name}.md", options.out / f"{name}.json"
    parts: dict[str, Any] = {}
    if numbers.is_file():
        known = json.loads(numbers.read_text("utf-8"))
        parts = known["parts"] if known["quick"] == options.quick else {}
    for part in chosen:
        print(f"{part} ...", file=sys.stderr, flush=True)
        parts[part] = measured(part, settings, command)
        ordered = {known: parts[known] for known in PARTS if known in parts}
        report = {"date": today, "quick": options.quick, "parts": ordered}
        numbers.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        page.write_text(markdown(report), "utf-8")
    print(numbers.name)
    print(page.name)


if __name__ == "__main__":
    main()
