"""Scoring label words behind a shared prefix: beside plain passes, the paper's code, a peer.

    python benchmarks/calibration.py                      the report, about 15 minutes on 2 cores
    python benchmarks/calibration.py --only trie memory   these parts again, the others kept
    python benchmarks/calibration.py --quick --rounds 1   a tiny model, a minute: does it still run?

Writes ``calibration_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it, after every
part; parts that are not measured this time are kept. Run it on an idle machine: nothing else may
hold the cores. With ``pip install lm-eval`` the lm-evaluation-harness is measured too.
"""

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import harness
import torch
from calibration_parts import PARTS, Settings
from calibration_report import markdown

PACKAGES = ("torch", "transformers", "numpy", "lm_eval", "vesalius")


def measured(part: str, settings: Settings, command: str) -> dict[str, Any]:
    """One part with all that says where its numbers come from."""
    harness.settle(settings.threads)
    rate = harness.product_rate(2048, settings.shape.linears(), dtype=torch.float32)
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
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), help="measure these parts")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    settings = Settings(quick=options.quick, rounds=options.rounds, threads=options.threads)
    chosen = options.only or list(PARTS)
    command = f"python benchmarks/calibration.py --rounds {options.rounds}"
    command += f" --threads {options.threads}" + (" --quick" if options.quick else "")
    command += f" --only {' '.join(chosen)}" if options.only else ""
    hardware = options.hardware or f"{harness.machine(1)['cpu']} {options.threads} threads"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = f"calibration_{harness.slug(hardware)}_{today.replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    page, numbers = options.out / f"{name}.md", options.out / f"{name}.json"
    parts: dict[str, Any] = {}
    if numbers.is_file():
        known = json.loads(numbers.read_text("utf-8"))
        parts = known["parts"] if known["quick"] == options.quick else {}
    for part in chosen:
        print(f"{part} ...", file=sys.stderr, flush=True)
        parts[part] = measured(part, settings, command)
        report = {"date": today, "quick": options.quick, "parts": parts}
        numbers.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        page.write_text(markdown(report), "utf-8")
    print(numbers.name)
    print(page.name)


if __name__ == "__main__":
    main()
