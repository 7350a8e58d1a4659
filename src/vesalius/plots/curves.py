"""What a run logged, over its steps: losses, rates, and scores of several kinds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.style import INK, PLAIN, QUIET, new_axes, tidy

# Okabe and Ito's colours without yellow and black; told apart by the common colour blindnesses
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS: Final = "osD^vP"
_LINES: Final = ("-", "--", "-.", ":")
MOST_SERIES: Final = len(COLOURS) * len(_LINES)  # each a colour and a line of its own

_WIDTH_INCHES: Final = 4.8  # the letters stay legible on a telephone
_HEIGHT_INCHES: Final = 3.0


@final
@dataclass(frozen=True, kw_only=True)
class Series:
    """Values at some steps of a run, as many as steps; a value that is no number leaves a gap.

    Raises: VesaliusError when there are more steps than values, or fewer.

    Source: this project.
    """

    step: Float[np.ndarray, " step"]
    value: Float[np.ndarray, " point"]

    def __post_init__(self) -> None:
        """Refuse steps and values that do not go together."""
        _check_pairs(self.step, self.value)


def running_mean(values: Float[np.ndarray, " point"], *, width: int) -> Float[np.ndarray, " point"]:
    """Return the mean of `width` values around each; fewer at the two ends.

    Values that are not finite are left out of the means; nothing but such gives nan.

    Shapes: values and result [point].

    Raises: VesaliusError for a width below 1.

    Source: this project.

    >>> running_mean(np.array([0.0, 3.0, 6.0, 9.0]), width=3).tolist()
    [1.5, 3.0, 6.0, 7.5]
    """
    if width < 1:
        raise VesaliusError(given=f"width={width}", expected="width >= 1", fix="take width=20")
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    place = np.arange(len(values))
    first = np.maximum(place - width // 2, 0)
    end = np.minimum(place + width - width // 2, len(values))
    number = counts[end] - counts[first]
    means = (sums[end] - sums[first]) / np.maximum(number, 1)
    return np.where(number > 0, means, np.nan)


def step_curve(
    step: Float[np.ndarray, " step"],
    value: Float[np.ndarray, " point"],
    *,
    unit: str,
    smoothed: int = 1,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw one quantity over the steps: as logged, light, and its running mean, strong.

    Args:
        step: of each value, as many as values.
        value: [point]; what is not finite leaves a gap.
        unit: of the value, such as "loss (nats)".
        smoothed: number of values in a mean; 1 draws the values alone.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes; the value's axis starts at 0 unless there are negative values.

    Raises: VesaliusError when steps and values differ in number, or for `smoothed` below 1.

    Source: this project.
    """
    _check_pairs(step, value)
    mean = running_mean(value, width=smoothed)
    ax = new_axes(ax, width=_WIDTH_INCHES, height=_HEIGHT_INCHES)
    if smoothed > 1 and len(value) > 1:
        ax.plot(step, value, color=QUIET, alpha=0.45, linewidth=0.8, label="as logged")
        ax.plot(step, mean, color=INK, linewidth=1.8, label=f"mean of {smoothed} logged values")
        ax.legend(frameon=False, fontsize=9)
    else:
        alone = "o" if len(value) == 1 else ""  # a line through one point cannot be seen
        ax.plot(step, value, color=PLAIN, linewidth=1.8, marker=alone, markersize=4)
    return _finish(ax, value, unit=unit, title=title)


def evaluation_curves(
    series: Mapping[str, Series],
    *,
    unit: str,
    references: Mapping[str, float] | None = None,
    reference_name: str = "reference",
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draw scores of one unit over the steps, each with a colour, a line and a mark of its own.

    Args:
        series: by name; steps and values [point].
        unit: of all the values.
        references: a constant to beat for some of the names, such as the majority answer: a
            dotted line of the same colour.
        reference_name: what that constant is.
        title: of the Axes.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes; the value's axis starts at 0 unless there are negative values.

    Raises: VesaliusError for no series, for more than can be told apart, or for a reference
    without its series.

    Source: colours of Okabe and Ito 2008, Color Universal Design.
    """
    known = dict(references or {})
    _check_names(series, known)
    ax = new_axes(ax, width=_WIDTH_INCHES, height=_HEIGHT_INCHES)
    for number, (name, one) in enumerate(series.items()):
        turn, which = divmod(number, len(COLOURS))
        ax.plot(
            one.step,
            one.value,
            color=COLOURS[which],
            linestyle=_LINES[turn],
            linewidth=1.6,
            marker=_MARKERS[which] if len(one.step) <= 40 else "",
            markersize=3.5,
            label=plain_label(name),
        )
        if name in known:
            label = plain_label(f"{name}: {reference_name}")
            ax.axhline(known[name], color=COLOURS[which], linestyle=":", linewidth=1.2, label=label)
    if known or list(series) != [unit]:  # a lone series may be named by its axis
        # below the picture: inside, it would hide what it explains
        ax.legend(
            frameon=False,
            fontsize=8.5,
            ncols=1 if max(map(len, series)) > 24 else 2,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.19),
        )
    values = np.concatenate([*(one.value for one in series.values()), [*known.values()]])
    return _finish(ax, values, unit=unit, title=title)


def plain_label(text: str) -> str:
    """Return a text that matplotlib shows as it stands: no formula, and never left out.

    Source: matplotlib, which reads ``$`` as a formula and leaves a label out that starts with
    an underscore.

    >>> plain_label("_cost in $")
    '\\u200b_cost in \\\\$'
    """
    shown = text.replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def _finish(ax: Any, values: Float[np.ndarray, " value"], *, unit: str, title: str) -> Any:
    """Name the axes and set their limits."""
    from matplotlib.ticker import EngFormatter

    finite = values[np.isfinite(values)]
    ax.set(xlabel="step", ylabel=plain_label(unit), title=plain_label(title))
    ax.title.set_fontsize(11)
    if len(finite) and float(finite.min()) >= 0:
        ax.set_ylim(0, 1.05 * float(finite.max()) or 1.0)
    if len(finite) and ax.dataLim.x0 >= 0:
        ax.set_xlim(left=0)
    ax.grid(axis="y", alpha=0.25)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, not 20000
    if len(finite) and float(finite.max()) >= 1e4:
        ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    return tidy(ax)


def _check_pairs(step: Float[np.ndarray, " n"], value: Float[np.ndarray, " m"]) -> None:
    if step.shape != value.shape or step.ndim != 1:
        raise VesaliusError(
            given=f"steps of shape {list(step.shape)} with values of shape {list(value.shape)}",
            expected="one value for each step, both in one dimension",
            fix="take both from the same entries of the log",
        )


def _check_names(series: Mapping[str, Series], references: Mapping[str, float]) -> None:
    if not 1 <= len(series) <= MOST_SERIES:
        raise VesaliusError(
            given=f"{len(series)} series in one picture",
            expected=f"1 to {MOST_SERIES}, which have lines of their own",
            fix="draw them in several pictures",
        )
    strangers = sorted(references.keys() - series.keys())
    if strangers:
        raise VesaliusError(
            given=f"a reference for {strangers[0]!r}, which is no series",
            expected=f"names among {', '.join(series)}",
            fix="leave it out, or draw its series too",
        )
