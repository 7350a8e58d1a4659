"""The entry point: build the commands, run one, turn what happened into an exit code.

Source: the exit codes of docs/architecture.md.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vesalius.cli import (
    attention,
    calibrate,
    commands,
    data,
    electra,
    finetune,
    landscape,
    neurons,
    pretrain,
    zoo,
)
from vesalius.cli.errors import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    WrongUsage,
    say,
    say_error,
)
from vesalius.cli.quiet import quiet
from vesalius.core.errors import VesaliusError

# Plain help: markup would swallow [MASK], and boxes would break the lines of a message.
app = typer.Typer(
    name="vesalius",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: vesalius neurons suppress --relation P36 --subject France",
)
app.add_typer(neurons.app, name="neurons")
app.add_typer(attention.app, name="attention")
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(landscape.app, name="landscape")
app.add_typer(pretrain.app, name="pretrain")
app.add_typer(electra.app, name="electra")
app.add_typer(zoo.app, name="zoo")
app.add_typer(data.app, name="data")
for _name, _command in commands.COMMANDS.items():
    app.command(_name, epilog=commands.EXAMPLES[_name])(_command)
app.command("finetune", epilog=finetune.EXAMPLE)(finetune.finetune)


def _print_version(wanted: bool) -> None:
    if wanted:
        from vesalius.core.card import installed_versions

        print(f"vesalius {installed_versions()['vesalius']}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """Look inside pretrained Transformers: the anatomy of a model on the command line.

    Data goes to stdout, progress and messages to stderr. Exit codes: 0 done, 1 failed, 2 wrong
    usage, 4 partly done (the same command goes on), 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; no traceback without ``--debug``.

    Args:
        arguments: the words after ``vesalius``; those of the process when left out.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with quiet(debug=debug):
            app(args=words, prog_name="vesalius")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else DONE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        if debug:
            raise
        code = _explain(error)
    else:
        code = DONE
    if code == INTERRUPTED:
        say("vesalius: interrupted; nothing is half-written, and the same command starts again")
    return code


def _explain(error: Exception) -> int:
    if isinstance(error, WrongUsage):
        say_error(error.error, about="wrong usage")
        return WRONG_USAGE
    if isinstance(error, VesaliusError):
        say_error(error)
        return FAILED
    say(f"vesalius: {type(error).__name__}: {error}")
    say("  this is a fault of ours: run the command again with --debug, and report what it prints")
    return FAILED
