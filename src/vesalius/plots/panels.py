"""Several pictures beside each other in one figure, or inside of one matplotlib Axes.

Source: this project.
"""

from typing import Any


def beside(
    ax: Any, count: int, *, width: float, height: float, gap: float = 0.32
) -> tuple[Any, list[Any]]:
    """Give the Axes to hand back, and those to draw in from left to right; no shapes.

    Args:
        ax: matplotlib Axes, or None for a new figure; several pictures stand inside of it.
        count: of pictures.
        width, height: of one of them in a new figure, in inches.
        gap: between two of them inside of given Axes, in widths of one.

    Returns: The uppermost Axes, or those that were given; and one for each picture.
    """
    if ax is not None and count == 1:
        return ax, [ax]
    if ax is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width * count, height), layout="constrained")
        places = [figure.add_subplot(1, count, number + 1) for number in range(count)]
        return places[0], places
    ax.set_axis_off()
    share = 1 / (count + gap * (count - 1))
    lefts = [(1 + gap) * share * number for number in range(count)]
    return ax, [ax.inset_axes((left, 0, share, 1)) for left in lefts]
