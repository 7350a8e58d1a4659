"""Knowledge neurons through the public API: time beside the engine, memory, a whole corpus.

    python benchmarks/neurons.py --data FACTS             the report, about 12 minutes on 2 cores
    python benchmarks/neurons.py --only memory replay     these parts again, the others kept
    python benchmarks/neurons.py --quick --rounds 1       tiny models, a minute: does it still run?

Writes ``neurons_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it, after every part.
A part that is not measured this time is taken from the JSON of the same name, if there is one, with
the day, the commit and the command it was measured with. Run it on an idle machine: nothing else
may hold the cores. FACTS is a PARAREL-style folder (facts and templates, a column in_kn).
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
from attribution_cases import FULL, QUICK
from neurons_parts import PARTS, Settings
from neurons_report import markdown

PACKAGES = ("torch", "transformers", "numpy", "pyarrow", "vesalius")


def rates(settings: Settings) -> dict[str, float]:
    """Matrix-product rates (operations/s, fp32) of the shapes that the parts are made of."""
    shape = QUICK if settings.quick else FULL
    rows = 5 * settings.num_tokens
    some = 4 if settings.quick else 9
    bundled = [(256, 768), (256, 256), (256, 896), (448, 256)]  # a block of mini-bert
    sizes = {
        f"BERT-base block, {rows} rows (one prompt at the foot)": (rows, shape.linears()),
        f"BERT-base block, {some * rows} rows ({some} prompts at the foot)": (
            some * rows,
            shape.linears(),
        ),
        "mini-bert block, 75 rows (one prompt at the foot)": (75, bundled),
        "mini-bert block, 2400 rows (32 prompts at the foot)": (2400, bundled),
    }
    return {
        name: harness.product_rate(num_rows, maps, dtype=torch.float32)
        for name, (num_rows, maps) in sizes.items()
    }


def measured(part: str, settings: Settings, command: str) -> dict[str, Any]:
    """One part with all that says where its numbers come from."""
    harness.settle(settings.threads)
    before = rates(settings)
    start = time.perf_counter()
    found = PARTS[part](settings)
    seconds = time.perf_counter() - start
    harness.settle(settings.threads)
    return {
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "versions": harness.versions(PACKAGES),
        "machine": harness.machine(settings.threads),
        "rounds": settings.rounds,
        "part_seconds": seconds,
        "rates": before,
        "found": found,
    }


def kept(path: Path, *, quick: bool) -> dict[str, Any]:
    """The parts that a report of the same name holds already."""
    if not path.is_file():
        return {}
    known = json.loads(path.read_text("utf-8"))
    return known["parts"] if known["quick"] == quick else {}


def log(text: str) -> None:
    """Progress, on the error stream."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse, measure part by part, and print the names of both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), help="measure these parts")
    parser.add_argument("--data", type=Path, help="PARAREL-style folder, for the part corpus")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    settings = Settings(
        quick=options.quick, rounds=options.rounds, threads=options.threads, data=options.data
    )
    chosen = options.only or list(PARTS)
    command = f"python benchmarks/neurons.py --rounds {options.rounds} --threads {options.threads}"
    command += f" --only {' '.join(chosen)}" if options.only else ""
    command += (" --data FACTS" if options.data else "") + (" --quick" if options.quick else "")
    hardware = options.hardware or f"{harness.machine(1)['cpu']} {options.threads} threads"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = f"neurons_{harness.slug(hardware)}_{today.replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    page, numbers = options.out / f"{name}.md", options.out / f"{name}.json"
    parts = kept(numbers, quick=options.quick)
    for part in chosen:
        log(f"{part} ...")
        parts[part] = measured(part, settings, command)
        log(f"{part}: {parts[part]['part_seconds']:.0f} s")
        report = {"date": today, "quick": options.quick, "parts": parts}
        numbers.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        page.write_text(markdown(report), "utf-8")
    print(numbers.name)
    print(page.name)


if __name__ == "__main__":
    main()
