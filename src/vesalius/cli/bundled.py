"""What `vesalius models` lists, and which bundled models can be trained again.

Source: the cards of the bundled models.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from vesalius.cli.errors import say
from vesalius.cli.output import emit_json, emit_table
from vesalius.core.errors import VesaliusError
from vesalius.models import zoo

COLUMNS: Final = ("name", "task", "parameters", "size_mib", "licence", "headline")


class Recipe(NamedTuple):
    """Where the function stands that makes a model, and the files it needs below --data.

    The function takes data, out, preset, seed, device, tokenizer, threads and notes, of a family
    of models the name too, and returns an object with `run.summary`, `folder` and `results`.
    """

    module: str
    function: str
    needs: tuple[str, ...]
    is_family: bool = False


_MINI_GPT: Final = Recipe(
    "vesalius.recipes.mini_gpt_card",
    "make_mini_gpt",
    ("facts/trex_sentences.parquet", "text/*.parquet", "cls/*.parquet", "nli/snli.parquet"),
    True,
)
RECIPES: Final = {
    "mini-bert": Recipe("vesalius.recipes.zoo", "make_mini_bert", ("facts/*.parquet",)),
    "mini-classifier": Recipe(
        "vesalius.recipes.mini_classifier", "make_mini_classifier", ("cls/sst2.parquet",)
    ),
    "mini-gpt": _MINI_GPT,
    "mini-gpt-small": _MINI_GPT,
    "mini-gpt-tiny": _MINI_GPT,
}


def bundled_rows() -> list[dict[str, Any]]:
    """Read a row per bundled model from its card and its files."""
    return [_row(name) for name in zoo.names()]


def _row(name: str) -> dict[str, Any]:
    card, folder = zoo.card(name), zoo.stored(name)
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


def show_models(*, json: bool) -> None:
    """Print the table of the bundled models, or say that there is none."""
    rows = bundled_rows()
    if json:
        emit_json({"models": rows})
    elif rows:
        emit_table(COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    else:
        say("vesalius: this installation bundles no model")


def find_recipe(name: str, data: Path) -> Callable[..., Any]:
    """Return the function that makes a model; it takes what `vesalius zoo train` gives it.

    Names and data are checked before torch is loaded.

    Raises:
        VesaliusError: a name without a recipe, or a data folder without what it needs.
    """
    if name not in RECIPES:
        raise VesaliusError(
            given=f"bundled model {name!r}",
            expected=f"one of {', '.join(RECIPES)}",
            fix=f"vesalius zoo train {next(iter(RECIPES))} --data DIR --out DIR",
        )
    recipe = RECIPES[name]
    missing = [pattern for pattern in recipe.needs if not any(data.glob(pattern))]
    if missing:
        raise VesaliusError(
            given=f"--data {data} without {missing[0]} in it",
            expected=f"the folder of the training data: {', '.join(recipe.needs)}",
            fix="give the folder that holds them, as the model's card describes it",
        )
    make = getattr(import_module(recipe.module), recipe.function)
    return partial(make, name=name) if recipe.is_family else make
