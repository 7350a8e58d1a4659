"""Replaced-token pretraining beside transformers' classes put together plainly; what costs what.

    python benchmarks/electra.py --data DIR                   the report, 15 minutes on 2 cores
    python benchmarks/electra.py --data DIR --only hardness   this part again, the others kept
    python benchmarks/electra.py --data DIR --device cuda
    python benchmarks/electra.py --quick --rounds 1           tiny models, a minute: does it run?

Writes ``electra_<hardware>_<yyyymmdd>.md`` and a JSON of the same name beside it, after every part;
parts that are not measured this time are kept. DIR holds facts/trex_sentences.parquet and
text/wiki_movies.parquet. Run it on an idle machine: nothing else may hold the cores.
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
from electra_cases import Settings
from electra_parts import PARTS
from electra_report import markdown

PACKAGES = ("torch", "transformers", "accelerate", "vesalius")


def measured(part: str, settings: Settings, command: str) -> dict[str, Any]:
    """One part with all that says where its numbers come from."""
    harness.settle(settings.threads)
    machine = harness.machine(settings.threads)
    if settings.device != "cpu":
        machine["gpu"] = torch.cuda.get_device_name(settings.device)
    start = time.perf_counter()
    found = PARTS[part](settings)
    return {
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "versions": harness.versions(PACKAGES),
        "machine": machine,
        "device": settings.device,
        "rounds": settings.rounds,
        "texts": "T-REx sentences and first paragraphs on films"
        if settings.data
        else "sentences that this project writes",
        "part_seconds": time.perf_counter() - start,
        "found": found,
    }


def main() -> None:
    """Parse, measure part by part, and print the names of both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the texts")
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU when there is one)")
    parser.add_argument(
        "--compile", action="store_true", help="on a CPU too: minutes, for a few per cent"
    )
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), help="measure these parts")
    parser.add_argument("--hardware", help="name of the hardware in the file name")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    options = parser.parse_args()
    if options.data is None and not options.quick:
        parser.error("a report needs --data DIR; --quick runs without")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    settings = Settings(
        quick=options.quick,
        rounds=options.rounds,
        threads=options.threads,
        device=device,
        data=options.data,
        compile=options.compile or (device != "cpu" and not options.quick),
    )
    chosen = options.only or list(PARTS)
    command = "python benchmarks/electra.py" + (" --data DIR" if options.data else "")
    command += f" --rounds {options.rounds} --threads {options.threads} --device {device}"
    command += " --compile" if options.compile else ""
    command += f" --only {' '.join(chosen)}" if options.only else ""
    command += " --quick" if options.quick else ""
    name = torch.cuda.get_device_name(device) if device != "cpu" else harness.machine(1)["cpu"]
    hardware = options.hardware or f"{name} {options.threads} threads"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    stem = f"electra_{harness.slug(hardware)}_{today.replace('-', '')}"
    options.out.mkdir(parents=True, exist_ok=True)
    page, numbers = options.out / f"{stem}.md", options.out / f"{stem}.json"
    known = json.loads(numbers.read_text("utf-8")) if numbers.is_file() else {}
    parts = known["parts"] if known.get("quick") == options.quick else {}
    for part in chosen:
        print(f"{part} ...", file=sys.stderr, flush=True)
        parts[part] = measured(part, settings, command)
        print(f"{part}: {parts[part]['part_seconds']:.0f} s", file=sys.stderr, flush=True)
        ordered = {each: parts[each] for each in PARTS if each in parts}
        report = {"date": today, "quick": options.quick, "parts": ordered}
        numbers.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        page.write_text(markdown(report), "utf-8")
    print(numbers.name)
    print(page.name)


if __name__ == "__main__":
    main()
