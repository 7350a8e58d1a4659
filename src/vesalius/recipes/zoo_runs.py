"""What the recipes of all bundled models share: notes, hardware, weights on disk, licence."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from vesalius.core.errors import VesaliusError

MAX_LOG_BYTES: Final = 100_000


def read_notes(path: str | Path | None) -> list[str]:
    """Return the lines of a notes file for the card; none without a file.

    Raises: VesaliusError for notes that cannot be read as UTF-8 text.

    Source: this project.
    """
    if path is None:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VesaliusError(
            given=f"notes {str(path)!r}, which cannot be read as UTF-8 text",
            expected="a text file with a line for each thing to know",
            fix="check its name, or leave the notes out",
        ) from error
    return [line.strip() for line in lines if line.strip()]


def describe_hardware(device: str) -> str:
    """Say on what a run was done, without the name of a machine.

    Source: this project.
    """
    if device != "cpu":
        return f"one {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    used = "one thread" if threads == 1 else f"{threads} threads"
    return f"{os.cpu_count()}-core {platform.machine()} CPU, {used}, products in bf16"


def save_half(model: Any, *, tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Save a model in fp16 with its tokenizer; return size and sha256 of the weights' file.

    Source: this project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.chmod(0o644)  # it is written for its owner only
    return {"num_bytes": weights.stat().st_size, "sha256": sha256_of(weights)}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Source: this project.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_log(source: Path, target: Path, *, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Copy a log.jsonl; where it is too large keep every second step, and again, evaluations all.

    Source: this project.
    """
    lines = source.read_text(encoding="utf-8").splitlines()
    while sum(len(line) + 1 for line in lines) > max_bytes:
        steps = [line for line in lines if "evaluation" not in line]
        if len(steps) < 4:
            break
        kept = set(steps[1::2]) | {steps[-1]}
        lines = [line for line in lines if "evaluation" in line or line in kept]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_card(card: Mapping[str, Any], *, readme: Sequence[str], folder: Path) -> None:
    """Write card.json and README.md.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text("\n".join(readme) + "\n", encoding="utf-8")
