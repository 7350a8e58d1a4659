"""The command `vesalius pretrain electra`.

Source: Clark et al. 2020, arXiv 2003.10555; arXiv 2106.13715.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, Final

import typer

from vesalius.cli.errors import FAILED, say, wrong_usage
from vesalius.cli.flags import takes
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.pretrain_flags import NAMES, RUN_FLAGS, PretrainFlags
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.recipes.pretrain_config import PretrainOptions
    from vesalius.recipes.pretrain_result import PretrainResult
    from vesalius.recipes.pretrain_text import TextRequest

EXAMPLES: Final = {
    "electra": "Example: vesalius pretrain electra --text notes.txt --out runs/mine",
}
COLUMNS: Final = ("on held-out text", "learned", "without a model")

app = typer.Typer(
    help="Pretrain an encoder of your own.", no_args_is_help=True, epilog=EXAMPLES["electra"]
)


@app.command("electra", epilog=EXAMPLES["electra"])
@takes(PretrainFlags)
def electra(flags: PretrainFlags) -> None:
    """Train a generator and a discriminator on text; the same command goes on where it stopped.

    Ends in two ordinary Hugging Face checkpoints, discriminator/ and generator/. Without --text it
    learns sentences that this project writes from its fact tables.
    """
    check_flags(flags)
    with only_main_speaks(), quiet_loading():
        if flags.dry_run:
            _show_forecast(flags)
            return
        result, was_finished = _pretrain(flags)
        if was_finished:
            say(f"vesalius: {flags.out} is finished; nothing was done (--force starts again)")
        _show(result, flags)


def check_flags(flags: PretrainFlags) -> None:
    """Refuse flags that do not go together.

    Raises:
        WrongUsage: two sources of text, or two tokenizers.
    """
    for one, other, fix in (
        ("text", "data", "leave one out: the shards were made from texts"),
        ("train_tokenizer", "data", "give the texts, or the --tokenizer that made the shards"),
        ("train_tokenizer", "tokenizer", "leave one out"),
    ):
        if getattr(flags, one) and getattr(flags, other):
            names = [f"--{name.replace('_', '-')}" for name in (one, other)]
            wrong_usage(given=" and ".join(names), expected="one of the two", fix=fix)


@contextmanager
def only_main_speaks() -> Generator[None, None, None]:
    """Let the first of several processes print, and end the others without a word."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        except VesaliusError as error:
            raise typer.Exit(FAILED) from error


def _pretrain(flags: PretrainFlags) -> "tuple[PretrainResult, bool]":
    with working("reading the text"):
        from vesalius.recipes.pretrain import plan_together, processes_of, run_pretrain

        request, options = _request(flags), _options(flags)
        processes = processes_of(options)
        plan = plan_together(
            request, out=flags.out, options=options, force=flags.force, processes=processes
        )
    was_finished = plan.finished is not None
    result = run_pretrain(plan, trackers=flags.tracker or (), processes=processes)
    return result, was_finished


def _request(flags: PretrainFlags) -> "TextRequest":
    from vesalius.data.sources import SourceOptions
    from vesalius.recipes.pretrain_text import TOKENIZER, TextRequest

    boundary: Any = flags.boundary
    return TextRequest(
        text=tuple(flags.text or ()),
        data=str(flags.data or ""),
        tokenizer=flags.tokenizer or TOKENIZER,
        train_tokenizer=flags.train_tokenizer,
        reading=SourceOptions(column=flags.column, split=flags.split, boundary=boundary),
    )


def _options(flags: PretrainFlags) -> "PretrainOptions":
    import torch

    from vesalius.recipes.pretrain_config import pretrain_preset

    if flags.threads:
        torch.set_num_threads(flags.threads)
    changes = {
        NAMES.get(name, name): value
        for name, value in vars(flags).items()
        if name not in RUN_FLAGS and value is not None
    }
    return pretrain_preset(flags.preset, recipe=flags.recipe, **changes)


def _show_forecast(flags: PretrainFlags) -> None:
    from tempfile import TemporaryDirectory

    with working("counting"), TemporaryDirectory() as workspace:
        from vesalius.recipes.pretrain import plan_pretrain
        from vesalius.recipes.pretrain_forecast import forecast

        plan = plan_pretrain(
            _request(flags),
            out=flags.out,
            options=_options(flags),
            force=flags.force,
            workspace=workspace,
        )
        found = forecast(plan)
    if flags.json:
        emit_json({"plan": found})
    else:
        emit_table(("what", "value"), [(name, _plain(value)) for name, value in found.items()])


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value}"


def _show(result: "PretrainResult", flags: PretrainFlags) -> None:
    parts = [flags.out / part for part in ("discriminator", "generator")]
    page = flags.out / "training.html"
    if flags.json:
        emit_json(
            {
                "scores": result.scores,
                "baselines": result.baselines,
                "measures": result.measures,
                "steps": result.num_steps,
                "tokens": result.num_tokens,
                "seconds": result.seconds,
                "folders": [str(part) for part in parts],
                "page": str(page),
                "warnings": list(result.card.warnings),
            }
        )
        return
    emit_table(COLUMNS, result.rows())
    emit(
        f"{result.num_steps:,} steps, {result.num_tokens:,} tokens, {result.seconds:,.0f} s, "
        f"{result.tokens_per_second:,.0f} tokens/s"
    )
    emit("\n".join(map(str, [*parts, page])))
    for warning in result.card.warnings:
        say(f"vesalius: {warning}")
    say("next:")
    for command in _next(flags):
        say(f"  {command}")


def _next(flags: PretrainFlags) -> list[str]:
    """Name what can be done with the checkpoints."""
    question = '--prompt "A sentence with a [MASK]." --answer WORD'
    if not (flags.tokenizer or flags.train_tokenizer):  # its vocabulary has the answers
        question = "--relation P36 --subject France"
    return [
        f"vesalius finetune {flags.out / 'discriminator'} --out {flags.out}-kinds",
        f"vesalius electra verify-variance {flags.out}",
        f"vesalius neurons locate --model {flags.out / 'generator'} {question}",
    ]
