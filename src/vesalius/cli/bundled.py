"""What `vesalius models` lists, and which bundled models can be trained again.

Source: the cards of the bundled models.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vesalius.core.errors import VesaliusError
from vesalius.models import zoo

COLUMNS: Final = ("name", "task", "parameters", "size_mib", "licence", "headline")
TRAINABLE: Final = ("mini-bert",)


def bundled_rows() -> list[dict[str, Any]]:
    """Read a row per bundled model from its card and its files."""
    return [_row(name) for name in zoo.names()]


def _row(name: str) -> dict[str, Any]:
    card, folder = zoo.card(name), zoo.path(name)
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "name": name,
        "task": card.get("task"),
        "parameters": card.get("num_parameters"),
        "size_mib": round(size_bytes / 2**20, 1),
        "licence": str(card.get("licence", "")).partition(":")[0],
        "headline": _headline(card),
    }


def _headline(card: Mapping[str, Any]) -> str:
    """One line on how good a model is: its own, or the facts it knows."""
    if "headline" in card:
        return str(card["headline"])
    parts = card.get("scores", {})
    shown = [
        f"{name} {parts[name]['macro']:.0%} (majority {parts[name]['majority_macro']:.0%})"
        for name in ("all", "natural")
        if name in parts
    ]
    return "facts known, macro: " + "; ".join(shown) if shown else ""


def check_trainable(name: str, data: Path) -> None:
    """Refuse what cannot be trained, before torch is loaded.

    Raises:
        VesaliusError: a name without a recipe, or a data folder without facts.
    """
    if name not in TRAINABLE:
        raise VesaliusError(
            given=f"bundled model {name!r}",
            expected=f"one of {', '.join(TRAINABLE)}",
            fix=f"vesalius zoo train {TRAINABLE[0]} --data DIR --out DIR",
        )
    if not any(data.glob("facts/*.parquet")):
        raise VesaliusError(
            given=f"--data {data} without facts/*.parquet in it",
            expected="the folder of the training sentences",
            fix="give the folder that holds facts/, as the model's card describes it",
        )
