"""Self-contained pages about landscapes: what one sees, in words, with its numbers.

Source: this project.
"""

from pathlib import Path
from typing import Final

from vesalius.core.card import RunCard
from vesalius.core.html import Html, element
from vesalius.methods.loss_landscape.measures import ERROR, LOSS
from vesalius.methods.loss_landscape.page_parts import (
    MEASURES,
    Section,
    drawn,
    folded,
    points_table,
    rows_table,
    side_by_side,
    write_page,
)
from vesalius.methods.loss_landscape.plot import (
    TRAJECTORY_PARTS,
    plot_line,
    plot_surface,
    plot_trajectory,
    turning_surface,
)
from vesalius.methods.loss_landscape.result import Line, Surface
from vesalius.methods.loss_landscape.study_report import (
    write_barrier,
    write_flatness,
    write_rollback,
)
from vesalius.methods.loss_landscape.tables import (
    agreement_rows,
    example_words,
    line_rows,
    missing_sentences,
    moved_words,
    off_plane_sentence,
    plane_rows,
    surface_rows,
    trajectory_rows,
    way_sentence,
)
from vesalius.methods.loss_landscape.trajectory import Trajectory
from vesalius.methods.loss_landscape.wording import FLOOR, axis_places, split_name
from vesalius.plots.landscape_surface import figure_html

__all__ = [
    "write_barrier",
    "write_flatness",
    "write_line",
    "write_rollback",
    "write_surface",
    "write_trajectory",
]

_TURNING: Final = (("train", LOSS), ("held_out", ERROR))
_FLOOR_WORDS: Final = (
    ("floor", f"the connected part around the lowest point that lies within {FLOOR[LOSS]:g} nats "
     f"(loss) or {FLOOR[ERROR]:.0%} (error) of it"),
    ("agreement", "rank correlation over all points (1: the same order); distance in units of the "
     "axes; overlap: points on both floors over points on either"),
)  # fmt: skip


def write_line(result: Line, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a line: the picture, its numbers, agreement, every point.

    Args:
        result: the line.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    places = axis_places([result.axis], [result.solution])
    told: list[object] = [
        f"The model is moved along one axis through its weights, “{result.axis}”. "
        + _place_words({name: f"alpha {at[0]:g}" for name, at in places.items()})
        + _moved(result.card),
        f"Every point is measured on the same {example_words(result.num_examples)}.",
        *filter(None, [way_sentence(result)]),
        *missing_sentences(result.values),
    ]
    alt = f"Loss and error along the axis {result.axis}; the numbers are in the tables below."
    sections: list[Section] = [
        ("What one sees", [*told, drawn(plot_line(result), alt)]),
        ("In numbers", [rows_table(line_rows(result))]),
        *_agreement(result),
        ("Every point", [folded(f"{len(result.alphas)} points", points_table(result))]),
    ]
    how = [("axis", f"{result.axis}; length {result.norm:.4g}"), *MEASURES, *_FLOOR_WORDS]
    return write_page(
        result.card, "A line through the loss landscape", sections, how, path, force=force
    )


def write_surface(
    result: Surface,
    path: str | Path,
    *,
    trajectory: Trajectory | None = None,
    force: bool = False,
) -> Path:
    """Write a page about a surface: maps, a surface to turn, numbers, plane, agreement, path.

    Args:
        result: the surface.
        path: of the HTML file; it carries plotly, 4.8 MB.
        trajectory: a Trajectory in the same plane.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, a trajectory in another plane,
            or the disk is full.
    """
    first, second = result.axes
    places = axis_places(result.axes, result.solution)
    told: list[object] = [
        "The model is moved over a plane through its weights: alpha goes along the axis "
        f"“{first}”, beta along “{second}”. "
        + _place_words({n: f"({at[0]:g}, {at[1]:g})" for n, at in places.items()})
        + _moved(result.card),
        f"Every point is measured on the same {example_words(result.num_examples)}. The outline "
        "holds what lies on the floor: nearly as low as the lowest point. Each map has its own "
        "colours; the numbers are below.",
        *missing_sentences(result.values),
        *([] if trajectory is None else [_path_words(trajectory)]),
    ]
    maps = [
        drawn(
            plot_surface(result, split=split, measure=measure, trajectory=trajectory),
            f"Map of the {split_name(split)} {measure} over the plane; its numbers are below.",
        )
        for split, measures in result.values.items()
        for measure in measures
    ]
    sections: list[Section] = [
        ("What one sees", [*told, side_by_side(maps)]),
        ("Turn it", _turned(result, trajectory)),
        ("In numbers", [rows_table(surface_rows(result))]),
        *_agreement(result),
        ("The plane", [rows_table(plane_rows(result))]),
    ]
    if trajectory is not None:
        sections.append(("The checkpoints", _checkpoints(trajectory, result)))
    how = [*MEASURES, *_FLOOR_WORDS]
    return write_page(result.card, "A loss surface", sections, how, path, force=force)


def write_trajectory(result: Trajectory, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a trajectory: the path, what checkpoints reach, how far off they are.

    Args:
        result: the trajectory.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    alts = {"path": "The path in its axes.", "reached": "What the checkpoints reach.",
            "away": "How far they are off the axes."}  # fmt: skip
    parts = [each for each in TRAJECTORY_PARTS if each != "reached" or result.values]
    drawings = [drawn(plot_trajectory(result, parts=[each]), alts[each]) for each in parts]
    sections: list[Section] = [
        ("What one sees", [_path_words(result), side_by_side(drawings)]),
        ("The checkpoints", _checkpoints(result, None)),
    ]
    letters = ("alpha", "beta")[: len(result.axes)]
    how = [*zip(letters, result.axes, strict=True), *MEASURES]
    return write_page(result.card, "The path of a training", sections, how, path, force=force)


def _agreement(result: Line | Surface) -> list[Section]:
    found = agreement_rows(result)
    told = "Whether training loss and held-out measures have their low places in the same spots."
    return [("Training against held-out", [told, rows_table(found)])] if found[1] else []


def _turned(result: Surface, trajectory: Trajectory | None) -> list[object]:
    """Surfaces to turn; the first one brings plotly along."""
    shown = [(s, m) for s, m in _TURNING if m in result.values.get(s, {})]
    parts: list[object] = [
        "Drag to turn, scroll to come nearer, point at a place to read its numbers."
    ]
    for number, (split, measure) in enumerate(shown):
        figure = turning_surface(result, split=split, measure=measure, trajectory=trajectory)
        # plotly escapes what it writes, and figure_html's tests see to it
        turning = figure_html(figure, name=f"surface-{number}", with_plotly=number == 0)
        parts += [element("h3", f"{split_name(split)} {measure}"), Html(turning)]
    return parts


def _checkpoints(result: Trajectory, surface: Surface | None) -> list[object]:
    heads = {
        "own": "Checkpoints are measured as they are, with their own heads.",
        "solution": "Checkpoints are measured with the head of the solution.",
    }[result.heads]
    told = [off_plane_sentence(result), *([heads] if result.values else [])]
    if surface is not None and result.values:
        told.append(
            "The last column is the height of the surface below: a checkpoint that is off the "
            "plane, or has another head, need not stand on it."
        )
    return [*told, rows_table(trajectory_rows(result, surface))]


def _path_words(result: Trajectory) -> str:
    told = f"The path has {len(result.steps)} checkpoints, up to step {int(result.steps[-1]):,}. "
    if result.projection == "paper":
        told += (
            "As in the paper, alpha is the part of the way along the first axis, and beta the "
            "length of all that is beside it: it is never negative, and no place on a second "
            "axis. "
        )
    else:
        told += "Each stands at the nearest point of the axes (least squares). "
    return told + off_plane_sentence(result)


def _place_words(places: dict[str, str]) -> str:
    whose = {"start": "where training began", "solution": "the model itself"}
    told = [f"{at} is {whose[name]}" for name, at in places.items()]
    return f"{', '.join(told)}. "


def _moved(card: RunCard) -> str:
    moved = str(card.config.get("moved", ""))
    return f"What moves: {moved_words(moved)}." if moved else ""
