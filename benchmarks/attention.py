"""Self-attention attribution through the public API: overhead, batches, memory, real pruning.

    python benchmarks/attention.py                          the report, about 15 minutes on 2 cores
    python benchmarks/attention.py --only memory pruning    these parts again, the others kept
    python benchmarks/attention.py --quick --rounds 1       tiny models, a minute: does it run?

Writes ``attention_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it, after every
part. Run it on an idle machine: nothing else may hold the cores. What the engine itself does beside
the papers' own way is in ``attribution.py``.
"""

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import harness
from attention_cases import Settings
from attention_parts import PARTS
from attention_report import markdown

PACKAGES = ("torch", "transformers", "numpy", "vesalius")


def measured(part: str, settings: Settings, command: str) -> dict[str, Any]:
    """One part with all that says where its numbers come from."""
    harness.settle(settings.threads)
    start = time.perf_counter()
    found = PARTS[part](settings)
    return {
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "versions": harness.versions(PACKAGES),
        "machine": harness.machine(settings.threads),
        "rounds": settings.rounds,
        "part_seconds": time.perf_counter() - start,
        "found": found,
    }


def main() -> None:
    """Parse, measure part by part, and print the names of both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), help="measure these parts")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    settings = Settings(quick=options.quick, rounds=options.rounds, threads=options.threads)
    chosen = options.only or list(PARTS)
    command = f"python benchmarks/attention.py --rounds {options.rounds}"
    command += f" --threads {options.threads}"
    command += f" --only {' '.join(chosen)}" if options.only else ""
    command += " --quick" if options.quick else ""
    hardware = options.hardware or f"{harness.machine(1)['cpu']} {options.threads} threads"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = f"attention_{harness.slug(hardware)}_{today.replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    page, numbers = options.out / f"{name}.md", options.out / f"{name}.json"
    known = json.loads(numbers.read_text("utf-8")) if numbers.is_file() else {}
    parts = known["parts"] if known.get("quick") == options.quick else {}
    for part in chosen:
        print(f"{part} ...", file=sys.stderr, flush=True)
        parts[part] = measured(part, settings, command)
        print(f"{part}: {parts[part]['part_seconds']:.0f} s", file=sys.stderr, flush=True)
        report = {"date": today, "quick": options.quick, "parts": parts}
        numbers.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        page.write_text(markdown(report), "utf-8")
    print(numbers.name)
    print(page.name)


if __name__ == "__main__":
    main()
