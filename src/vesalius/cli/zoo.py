"""The commands of `vesalius zoo`: list, verify and train the bundled models.

Source: the commands of docs/architecture.md.
"""

from dataclasses import asdict
from typing import Any, Final

import typer

from vesalius.cli.errors import FAILED, say
from vesalius.cli.flags import ModelsFlags, TrainFlags, VerifyFlags, takes
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working

EXAMPLES: Final = {
    "list": "Example: vesalius zoo list",
    "verify": "Example: vesalius zoo verify mini-bert",
    "train": "Example: vesalius zoo train mini-bert --data corpora --out runs/mini-bert",
}
COLUMNS: Final = ("name", "files", "numbers", "difference", "result")

app = typer.Typer(
    help="List the bundled models, verify them, make them again.",
    no_args_is_help=True,
    epilog=EXAMPLES["verify"],
)


@app.command("list", epilog=EXAMPLES["list"])
@takes(ModelsFlags)
def list_models(flags: ModelsFlags) -> None:
    """List the bundled models: task, size, licence, score."""
    from vesalius.cli.bundled import show_models

    show_models(json=flags.json)


@app.command("verify", epilog=EXAMPLES["verify"])
@takes(VerifyFlags)
def verify(flags: VerifyFlags) -> None:
    """Check files, weights and a few numbers of the bundled models against their records.

    Ends with exit code 1 when anything differs.
    """
    from vesalius.models.zoo import stored

    names = list(dict.fromkeys(flags.names or ()))
    for name in names:
        stored(name)  # an unknown name is refused before torch is loaded
    with working("verifying"):
        from vesalius.recipes.zoo_verify import verify as verify_names

        found = verify_names(names)
    if flags.json:
        emit_json({"models": [asdict(row) for row in found]})
    else:
        rows = [
            [row.name, row.num_files, row.num_numbers, f"{row.difference:.1e}", _result(row)]
            for row in found
        ]
        emit_table(COLUMNS, rows)
        for row in found:
            if not row.ok:
                say(f"vesalius: {row.what}")
    if not all(row.ok for row in found):
        raise typer.Exit(FAILED)


def _result(row: Any) -> str:
    return "ok" if row.ok else "differs"


@app.command("train", epilog=EXAMPLES["train"])
@takes(TrainFlags)
def train(flags: TrainFlags) -> None:
    """Train, score and export a bundled model; the same command goes on where it was stopped."""
    from vesalius.cli.bundled import find_recipe

    recipe = find_recipe(flags.name, flags.data)
    made = recipe(
        flags.data,
        flags.out,
        preset=flags.preset,
        seed=flags.seed,
        device=flags.device,
        tokenizer=flags.tokenizer,
        threads=flags.threads,
        notes=flags.notes,
    )
    summary: dict[str, Any] = {"name": flags.name, "preset": flags.preset}
    summary |= asdict(made.run.summary)
    if flags.json:
        emit_json(summary | dict(made.results) | {"model": str(made.folder)})
        return
    rows = list(summary.items())
    for name, value in made.results.items():
        if isinstance(value, dict):
            rows += [(f"{name}, {part}", share) for part, share in value.items()]
        else:
            rows.append((name, value))
    emit_table(("what", "value"), rows)
    emit(str(made.folder))
