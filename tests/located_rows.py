"""Rows and folders as `vesalius neurons sweep` writes them, made by hand."""

import json
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet


def row(name: str, relation: str, coarse, *, activation=None, answered: float = 1.0, **changes):
    """A row as `neurons sweep` writes it."""
    return {
        "name": name,
        "relation": relation,
        "subject": f"subject of {name}",
        "answer": "Paris",
        "coarse": coarse,
        "prompts": [f"{name} is [MASK], said in way {way}." for way in range(len(coarse))],
        "activation_coarse": activation or [["0:0", "0:1"]] * len(coarse),
        "prob": 0.5,
        "answered": answered,
        **changes,
    }


def rows() -> list[dict[str, object]]:
    """Two relations of three facts, and one with a single fact; own neurons and common ones."""
    made = [
        row(f"{code}-{i}", code, [[f"3:{number}", f"2:{10 * number + i}"]] * 4)
        for number, code in enumerate(("P36", "P19"))
        for i in range(3)
    ]
    return [*made, row("lone", "P1376", [["3:0", "3:5"]] * 3)]


def save_sweep(folder: Path, made: list[dict[str, object]]) -> None:
    """Write rows as the folder of a finished sweep."""
    (folder / "shards").mkdir(parents=True)
    task = {"class": "LocateTask", "options": {"model": "tiny-bert", "fingerprint": "f00"}}
    manifest = {"kind": "vesalius.sweep", "num_items": len(made) + 1, "task": task}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "skipped.jsonl").write_text('{"item": 7, "error": "E", "reason": "two tokens"}\n')
    parquet.write_table(pa.Table.from_pylist(made), folder / "table.parquet")
