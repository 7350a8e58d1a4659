"""One look for every picture: colours that colour-blind readers tell apart, on paper and screen."""

from typing import Any

from vesalius.core.errors import VesaliusError

FORMATS = ("png", "svg", "pdf")

INK = "#1b1b1b"
QUIET = "#8a8578"
RULE = "#d8d4ca"
PLAIN = "#4c6a92"  # what was there before
RAISED = "#c8553d"  # what was located, or turned up
LOWERED = "#2a9d8f"  # what was turned down
CONTROL = "#b9b2a3"  # random neurons

DIVERGING = "RdBu_r"  # safe for the common colour blindnesses


def new_axes(ax: Any, *, width: float, height: float) -> Any:
    """Return the given matplotlib Axes, or new ones of a size in inches.

    Source: this project.
    """
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # no pyplot: a library that draws should not keep windows or global state
    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def tidy(ax: Any) -> Any:
    """Take away what carries no information from matplotlib Axes, and return them.

    Source: this project.
    """
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(RULE)
    ax.tick_params(colors=INK, labelsize=9)
    return ax


def figure_bytes(ax: Any, *, format: str = "png", dots_per_inch: int = 150) -> bytes:
    """Render the figure that holds some Axes: ``png``, ``svg`` or ``pdf``.

    A sign that the font lacks, such as one of a Chinese token, becomes a box.

    Raises:
        VesaliusError: another format.

    Source: matplotlib.
    """
    if format not in FORMATS:
        raise VesaliusError(
            given=f"a picture as {format!r}",
            expected=f"one of {', '.join(FORMATS)}",
            fix="end the file name in .png",
        )
    import warnings
    from io import BytesIO

    buffer = BytesIO()
    with warnings.catch_warnings():
        # tokens come in every script, and a box in a label is no reason to stop
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        ax.figure.savefig(buffer, format=format, dpi=dots_per_inch)
    return buffer.getvalue()
