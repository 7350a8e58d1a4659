"""An effect against the size of a set, beside what control sets of the same sizes do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.style import INK, PLAIN, QUIET, RAISED, new_axes, tidy

# Okabe and Ito's green and orange, behind the two controls of our own colours
_COLOURS: Final = (PLAIN, "#009E73", "#E69F00", QUIET)
_LINES: Final = ("--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))
MOST_CONTROLS: Final = len(_COLOURS)


@final
@dataclass(frozen=True, kw_only=True)
class Band:
    """What control sets of each size do: their mean between two bounds, each [size].

    Source: this project.
    """

    name: str  # of the controls, such as "random neurons"
    low: Float[np.ndarray, " size"]
    mean: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]


def effect_curve(
    sizes: Int[np.ndarray, " size"],
    effect: Float[np.ndarray, " size"],
    *,
    low: Float[np.ndarray, " size"] | None = None,
    high: Float[np.ndarray, " size"] | None = None,
    controls: Sequence[Band] = (),
    name: str = "located neurons",
    unit: str = "change of the answer's probability",
    percent: bool = True,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw an effect against the number of neurons, each control as a line in its band.

    Args:
        sizes: numbers of neurons, growing, from 1; drawn in powers of two.
        effect: [size]; what is not finite leaves a gap.
        low, high: bounds of the effect [size], or None for a line without a band.
        controls: at most four, arrays of shape [size].
        name: of the effect's line.
        unit: of effect and controls.
        percent: whether the values are shares, written as per cent.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for sizes that do not grow, arrays of other lengths, or more controls
    than can be told apart.

    Source: the size sweep that arXiv 2405.02421 and its reviews ask of knowledge neurons.
    """
    _check(sizes, {"effect": effect, "low": low, "high": high}, controls)
    ax = new_axes(ax, width=5.2, height=3.6)
    ax.axhline(0, color=INK, linewidth=0.8)
    for number, band in enumerate(controls):
        look = {"color": _COLOURS[number], "label": plain_label(band.name)}
        ax.fill_between(sizes, band.low, band.high, color=_COLOURS[number], alpha=0.2, linewidth=0)
        ax.plot(sizes, band.mean, linestyle=_LINES[number], linewidth=1.4, **look)
    if low is not None and high is not None:
        ax.fill_between(sizes, low, high, color=RAISED, alpha=0.2, linewidth=0)
    ax.plot(
        sizes, effect, color=RAISED, linewidth=1.9, marker="o", markersize=4,
        label=plain_label(name), zorder=3,
    )  # fmt: skip
    ax.legend(frameon=False, fontsize=8.5, loc="best")
    return _finish(ax, sizes, unit=unit, percent=percent, title=title)


def _finish(
    ax: Any, sizes: Int[np.ndarray, " size"], *, unit: str, percent: bool, title: str
) -> Any:
    """Name the axes; the powers of two between the sizes are the ticks."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    first, last = int(sizes[0]), int(sizes[-1])
    ax.set_xscale("log", base=2)
    ticks = [2**power for power in range(32) if first <= 2**power <= last] or [first]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    if first == last:
        ax.set_xlim(first / 2, first * 2)
    if percent:
        # relative changes keep their sign: +12% is not 12% of anything
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(100 * value)))
    ax.set(xlabel="number of neurons", ylabel=plain_label(unit), title=plain_label(title))
    ax.title.set_fontsize(11)
    ax.grid(axis="y", alpha=0.25)
    return tidy(ax)


def _signed(percent: float) -> str:
    return f"{percent:+g}%" if percent else "0%"


def _check(
    sizes: Int[np.ndarray, " n"],
    arrays: dict[str, Float[np.ndarray, " m"] | None],
    controls: Sequence[Band],
) -> None:
    if not len(sizes) or int(sizes[0]) < 1 or bool((np.diff(sizes) <= 0).any()):
        raise VesaliusError(
            given=f"sizes {sizes.tolist()}"[:120],
            expected="numbers of neurons from 1, each larger than the one before",
            fix="take sizes [1, 2, 4, 8, 16, 32, 64]",
        )
    if len(controls) > MOST_CONTROLS:
        raise VesaliusError(
            given=f"{len(controls)} controls in one picture",
            expected=f"at most {MOST_CONTROLS}, which have lines of their own",
            fix="draw them in several pictures",
        )
    known = {name: array for name, array in arrays.items() if array is not None}
    for band in controls:
        known |= {f"{band.name}: {part}": getattr(band, part) for part in ("low", "mean", "high")}
    for name, array in known.items():
        if array.shape != sizes.shape:
            raise VesaliusError(
                given=f"{name} of shape {list(array.shape)} with {len(sizes)} sizes",
                expected="one value for each size",
                fix="take all arrays from the same run over sizes",
            )
