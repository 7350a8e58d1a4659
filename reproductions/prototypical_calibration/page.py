"""README.md of the stored numbers: tables, gains, the ablation, robustness, what holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from claims import claims
from counted import PAPER_MIXTURE, Cells, cells_of, condition_spread, differences, mean_sd, values
from paper import AVERAGES, SELECTION
from pictures import draw
from sets import MODELS, SETS

from vesalius.core.paths import write_file

HERE = Path(__file__).parent
METHODS = ("none", "contextual", "domain-context", "pmi", "batch", "prototypical", PAPER_MIXTURE,
           "affine")  # fmt: skip
SHOWN = ("none", "contextual", "batch", "prototypical", PAPER_MIXTURE)
WORDINGS = {
    "given": "With the paper's templates and label words",
    "suited": "With templates and label words that suit the models",
}
Results = dict[str, Mapping[str, Any]]


def write_page(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write the page and its pictures; every number in them is one of results/."""
    files = sorted((folder / "results").glob("*.json"))
    results: Results = {path.stem: json.loads(path.read_text("utf-8")) for path in files}
    results = {name: results[name] for name in sorted(results, key=_place)}
    cells = {
        wording: {name: cells_of(result, wording) for name, result in results.items()}
        for wording in WORDINGS
    }
    first = results[next(iter(results))]
    drawn = draw(first, cells["given"], folder) if pictures else []
    parts = [
        (HERE / "intro.md").read_text("utf-8").rstrip(),
        "## The sets", _sets(first),
        "## Where it helps, and where not", _by_set(cells["given"]),
        "## Does it hold?", table(("what", "the paper", "here", "holds"), claims(cells, results)),
        (HERE / "notes.md").read_text("utf-8").strip(),
        *[part for wording in WORDINGS for part in _wording(wording, cells[wording])],
        "## Which restart: by assignment or by likelihood", _selection(results),
        "## Probabilities", _probabilities(cells["given"]),
        "## How far the answers hang on the prompt", *_robust(first),
    ]  # fmt: skip
    page = write_file(folder / "README.md", ("\n\n".join(parts) + "\n").encode(), force=True)
    return [page, *drawn]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _place(name: str) -> tuple[int, str]:
    return (MODELS.index(name) if name in MODELS else len(MODELS), name)


def _sets(result: Mapping[str, Any]) -> str:
    rows = []
    for chosen in SETS:
        found = result["sets"][chosen.name]
        about, choice = found["about"], found["choice"]
        limit = f"up to {chosen.max_characters} characters" if chosen.max_characters else "all"
        asked = [_asked(found[wording]) for wording in WORDINGS]
        areas = [f"{choice['areas'][n]:.2f}" for n in (0, choice["variant"])]
        rows.append((
            chosen.told, "yes" if chosen.seen else "no", asked[0], areas[0], asked[1], areas[1],
            str(about["num_train"]), str(about["num_test"]), f"{100 * about['majority']:.1f}",
            limit,
        ))  # fmt: skip
    head = ("set", "trained on its train rows", "the paper's prompt", "area", "suited prompt",
            "area", "train", "judged", "commonest %", "rows")  # fmt: skip
    notes = [
        f"- {chosen.told}: {note}"
        for chosen in SETS
        for note in result["sets"][chosen.name]["about"]["notes"]
    ]
    return table(head, rows) + "\n\n" + "\n".join(notes)


def _asked(step: Mapping[str, Any]) -> str:
    written = step["prompt"].replace("\n", "\\n")
    return f"`{written}` {', '.join(step['words'])}"


def _by_set(cells: Mapping[str, Cells]) -> str:
    """Differences to the uncalibrated answers, set by set, over shots and seeds."""
    rows: list[tuple[str, ...]] = []
    for name, found in cells.items():
        for method in METHODS[1:]:
            by_set = differences(found, method, "none")
            shown = [f"{by_set[s.name].mean():+.1f}" if s.name in by_set else "-" for s in SETS]
            rows.append((name, method, *shown))
    told = "With the paper's prompts: points of accuracy over *none*, mean over shots and seeds."
    return told + "\n\n" + table(("model", "method", *(s.told for s in SETS)), rows)


def _wording(wording: str, cells: Mapping[str, Cells]) -> list[str]:
    tables = [part for name in cells for part in _main(name, cells[name])]
    return [f"## {WORDINGS[wording]}", _averages(cells, paper=wording == "given"), *tables]


def _averages(cells: Mapping[str, Cells], *, paper: bool) -> str:
    """Averages over the sets that have a number of shots, beside the paper's."""
    rows: list[tuple[str, ...]] = []
    for name, found in cells.items():
        for shots in sorted({c["shots"] for c in found}):
            each = [
                [values(found, method=m, set=s.name, shots=shots) for s in SETS] for m in METHODS
            ]
            means = [np.mean([v.mean() for v in sets if len(v)]) for sets in each]
            number = sum(len(v) > 0 for v in each[0])
            rows.append((name, str(shots), str(number), *(f"{100 * mean:.1f}" for mean in means)))
    for name, by_shots in AVERAGES.items() if paper else ():
        for shots, (none, contextual, prototypical) in by_shots.items():
            rows.append((f"*{name}, the paper*", str(shots), "9", str(none), str(contextual), "",
                         "", "", "", str(prototypical), ""))  # fmt: skip
    return "Accuracy %, averaged over the sets.\n\n" + table(
        ("model", "shots", "sets", *METHODS), rows
    )


def _main(name: str, cells: Cells) -> list[str]:
    rows = []
    for shots in sorted({c["shots"] for c in cells}):
        for method in SHOWN:
            marks = [mean_sd(cells, method=method, set=s.name, shots=shots) for s in SETS]
            rows.append((str(shots), method, *marks))
    told = "Accuracy %, mean (standard deviation) over five seeds."
    head = ("shots", "method", *(s.told for s in SETS))
    return [f"### {name}", told + "\n\n" + table(head, rows)]


def _selection(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for name, result in results.items():
        for which, kind in (("", "default"), ("paper ", "paper's mixture")):
            for chosen in SETS:
                step = result["sets"][chosen.name]["given"]
                if "likelihood" not in step["mixtures"]:
                    continue
                mine = step["rows"] if not which else step["mixtures"]["paper"]
                by_likelihood = step["mixtures"][f"{which}likelihood"]
                pairs = []
                for shots in (0, 1, 4, 8):
                    first = _mean_of(by_likelihood, shots)
                    second = _mean_of(mine, shots)
                    pairs.append("-" if first is None else f"{first:.1f} → {second:.1f}")
                rows.append((name, chosen.told, kind, *pairs))
    for name, models in SELECTION.items():
        told = next(s.told for s in SETS if s.name == name)
        for model, pairs in models.items():
            shown_pairs = [f"{a:.1f} → {b:.1f}" for a, b in pairs]
            rows.append((f"*{model}, the paper*", told, "", *shown_pairs))
    head = ("model", "set", "mixture", "0 shots", "1", "4", "8")
    told = "Accuracy %, the most likely restart → the one whose means match the labels best."
    return told + "\n\n" + table(head, rows)


def _mean_of(rows: Sequence[Mapping[str, Any]], shots: int) -> float | None:
    found = [
        100 * row["accuracy"]
        for row in rows
        if row["method"] == "prototypical" and row["place"] == shots and row["accuracy"] is not None
    ]
    return float(np.mean(found)) if found else None


def _probabilities(cells: Mapping[str, Cells]) -> str:
    rows = []
    for name, found in cells.items():
        for method in METHODS:
            means = [values(found, metric, method=method).mean()
                     for metric in ("nll_nats", "brier", "calibration_error")]  # fmt: skip
            f1 = 100 * values(found, "macro_f1", method=method).mean()
            rows.append((name, method, f"{f1:.1f}", *(f"{mean:.3f}" for mean in means)))
    told = "Means over all sets, shots and seeds. The papers give no such numbers."
    return told + "\n\n" + table(("model", "method", "macro-F1 %", "nats", "Brier", "ECE"), rows)


def _robust(result: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    names = {"template": "templates", "order": "orders of four demonstrations",
             "proportion": "class shares of eight demonstrations, twelve draws and orders each",
             "estimate-proportion": "class shares of the estimate set",
             "estimate-size": "sizes of the estimate set"}  # fmt: skip
    methods = ("none", "contextual", "batch", "prototypical")
    for axis, told in names.items():
        rows: list[tuple[str, ...]] = []
        for chosen in SETS:
            step = result["sets"][chosen.name].get("robust") or {}
            for method in methods:
                found = condition_spread(step.get("rows", []), axis, method)
                if len(found):
                    rows.append((
                        chosen.told, method, f"{found.mean():.1f}", f"{found.std(ddof=1):.1f}",
                        f"{found.min():.1f}", f"{found.max():.1f}", str(len(found)),
                    ))  # fmt: skip
        head = ("set", "method", "accuracy %", "standard deviation", "worst", "best", "cells")
        parts += [f"### {axis}: {told}", table(head, rows), f"![{told}](figures/{axis}.png)"]
    return parts
