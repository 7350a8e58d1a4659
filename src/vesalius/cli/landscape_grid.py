"""The points that `landscape line` and `surface` are asked for: bounds and steps, read from words.

Source: the commands of docs/architecture.md.
"""

import math
from collections.abc import Sequence
from typing import Final

from vesalius.cli.errors import wrong_usage
from vesalius.cli.landscape_flags import AbstractGridFlags, LineFlags, SurfaceFlags
from vesalius.core.checks import check_word

_PRESETS: Final = ("default", "paper")


def line_grid(flags: LineFlags) -> tuple[tuple[float, float] | None, int]:
    """Read bounds (None: the usual ones of the axis) and number of points of a line.

    Raises:
        VesaliusError: bounds without meaning, fewer than two points.
        WrongUsage: something that is no list of two numbers.
    """
    from vesalius.methods.loss_landscape.config import LINE_STEPS, PAPER_STEPS, grid_axis

    bounds = _numbers("bounds", flags.bounds, (2,), "-1,2") or _paper_bounds(flags)
    steps = flags.steps or (PAPER_STEPS if flags.preset == "paper" else LINE_STEPS)
    grid_axis("bounds", bounds or (0.0, 1.0), steps)
    return (bounds[0], bounds[1]) if bounds else None, steps


def surface_grid(
    flags: SurfaceFlags,
) -> tuple[tuple[tuple[float, float], tuple[float, float]] | None, tuple[int, int]]:
    """Read bounds and numbers of points of both axes.

    Raises:
        VesaliusError: bounds without meaning, fewer than two points along an axis.
        WrongUsage: bounds or steps that are no numbers.
    """
    from vesalius.methods.loss_landscape.config import PAPER_STEPS, SURFACE_STEPS, grid_axis

    found = _numbers("bounds", flags.bounds, (2, 4), "-1,2,-1.5,1.5") or _paper_bounds(flags)
    usual = (PAPER_STEPS, PAPER_STEPS) if flags.preset == "paper" else SURFACE_STEPS
    steps = _steps(flags.steps) or usual
    bounds = None if found is None else ((found[0], found[1]), (found[-2], found[-1]))
    for name, pair, number in zip(("first bounds", "second bounds"), bounds or ((0.0, 1.0),) * 2,
                                  steps, strict=True):  # fmt: skip
        grid_axis(name, pair, number)
    return bounds, steps


def _paper_bounds(flags: AbstractGridFlags) -> tuple[float, ...] | None:
    from vesalius.methods.loss_landscape.config import PAPER_BOUNDS

    check_word("preset", flags.preset, _PRESETS)
    return PAPER_BOUNDS if flags.preset == "paper" else None


def _numbers(
    name: str, given: str, counts: Sequence[int], example: str
) -> tuple[float, ...] | None:
    """Read numbers with commas between; None for nothing."""
    try:
        found = tuple(float(word) for word in given.split(",")) if given else ()
    except ValueError:
        found = (math.nan,) * (max(counts) + 1)
    if found and len(found) not in counts:
        wrong_usage(
            given=f"--{name} {given}",
            expected=f"{' or '.join(map(str, counts))} numbers with commas between",
            fix=f"write --{name} {example}",
        )
    return found or None


def _steps(given: str) -> tuple[int, int] | None:
    words = given.replace("\u00d7", "x").split("x") if given else []
    if len(words) > 2 or not all(word.strip().isdecimal() for word in words):
        wrong_usage(
            given=f"--steps {given}",
            expected="one whole number, or two with an x between",
            fix="write --steps 25x21",
        )
    return (int(words[0]), int(words[-1])) if words else None
