"""Which neurons are turned, and how far: the flags of suppress and amplify.

Source: arXiv 2104.08696, section 4.4.
"""

import math
import re

from vesalius.cli.errors import wrong_usage
from vesalius.cli.flags import TurnFlags

Neuron = tuple[int, int]


def factor_of(flags: TurnFlags, *, verb: str) -> float:
    """Read the factor: below 1 to suppress, above 1 to amplify; 0 and 2 when left out.

    Raises:
        WrongUsage: a factor that does the opposite, or no number of random sets.
    """
    if flags.controls < 0:
        wrong_usage(given=f"--controls {flags.controls}", expected="0 or more", fix="use 20")
    down = verb == "suppress"
    factor = flags.factor if flags.factor is not None else (0.0 if down else 2.0)
    if not math.isfinite(factor) or (factor >= 1 if down else factor <= 1):
        wrong_usage(
            given=f"{verb} with --factor {factor:g}",
            expected="a factor below 1 to suppress, above 1 to amplify",
            fix=f"use --factor {0 if down else 2}, or the other command",
        )
    return factor


def turn(flags: TurnFlags, *, verb: str) -> None:
    """Turn the neurons of one question, of a file of facts, or of a sweep.

    Raises:
        Exit: some facts of a file failed.
        VesaliusError: the flags or files are faulty, or nothing could be turned.
    """
    factor = factor_of(flags, verb=verb)
    if flags.sweep is not None:
        from vesalius.cli.neuron_relations import run_relations

        run_relations(flags, factor=factor)
        return
    if flags.selector != "attribution" or flags.min_answered != 0.5:
        wrong_usage(
            given="--selector or --min-answered without --sweep",
            expected="a sweep whose facts they choose",
            fix="add --sweep FOLDER, or leave them out",
        )
    from vesalius.cli.neuron_runs import run_neurons

    run_neurons(flags, verb=verb, factor=factor)


def neurons_of(text: str) -> tuple[Neuron, ...]:
    """Read ``LAYER:INDEX,LAYER:INDEX``.

    Raises:
        WrongUsage: anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    matches = [re.fullmatch(r"(\d+):(\d+)", part, re.ASCII) for part in parts]
    if not all(matches):
        wrong_usage(
            given=f"--neurons {text!r}",
            expected="LAYER:INDEX pairs with commas between them, counted from 0",
            fix="write them like --neurons 3:117,3:410",
        )
    return tuple((int(match[1]), int(match[2])) for match in matches if match)


def check_source(flags: TurnFlags) -> None:
    """Refuse neurons from two sources, and pages that need a location.

    Raises:
        WrongUsage: --neurons with --location or --html, --location with a question.
    """
    asked = bool(flags.prompt or flags.relation or flags.facts or flags.answer)
    if flags.neurons and flags.location:
        given, fix = "--neurons and --location", "leave one of them out"
    elif flags.location and asked:
        given, fix = "--location and a question", "leave the question out: the location has one"
    elif flags.neurons and flags.html:
        given, fix = "--neurons with --html", "leave --neurons out, or use --plot: no map is known"
    else:
        return
    wrong_usage(given=given, expected="one source of the neurons, located for a page", fix=fix)
