"""The numbers beside the pictures of landscapes, as rows of tables and as sentences.

Source: arXiv 1908.05620, whose claims about widths, monotone ways and agreement of surfaces are
made by eye; the numbers are ours.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape.measures import ERROR, LOSS
from vesalius.methods.loss_landscape.result import Line, Measured, Surface
from vesalius.methods.loss_landscape.trajectory import Trajectory
from vesalius.methods.loss_landscape.wording import FLOOR, axis_places, floor_level, split_name
from vesalius.numerics.surface_measures import (
    Width,
    agreement,
    largest_rise,
    region_area,
    width_at,
)

Rows = tuple[Sequence[str], Sequence[Sequence[object]]]
NOTHING: Final = "not finite"
OUTSIDE: Final = "outside"
_FEWEST: Final = 3  # points of a way, below which none could rise between its ends


def number_word(value: float, digits: int = 3, *, zeros: bool = False) -> str:
    """Write a number with so many digits that count, and no exponent where it can be avoided.

    >>> number_word(0.05), number_word(0.05, zeros=True), number_word(7712.3, 2)
    ('0.05', '0.0500', '7700')
    """
    if not np.isfinite(value):
        return NOTHING
    rounded = float(f"{value:.{digits - 1}e}")
    if 10**digits <= abs(rounded) < 1e6:
        return f"{rounded:.0f}"
    told = f"{value:#.{digits}g}" if zeros and value else f"{value:.{digits}g}"
    return told.removesuffix(".")


def value_word(value: float, measure: str, error: float = float("nan")) -> str:
    """Write a value with its standard error, never on two lines; errors are shares, as per cent.

    >>> value_word(0.2513, "loss", 0.0312).replace("\xa0", " "), value_word(0.25, "error")
    ('0.251 ± 0.031', '25.0%')
    """
    if not np.isfinite(value):
        return NOTHING
    share = measure == ERROR
    told = f"{value:.1%}" if share else number_word(value, zeros=True)
    if not np.isfinite(error):
        return told
    return f"{told}\xa0±\xa0{f'{error:.1%}' if share else number_word(error, 2, zeros=True)}"


def width_word(found: Width) -> str:
    """Write a stretch of the floor; an open end is one that was not reached.

    >>> width_word(Width(low=0.5, high=2.0, width=1.5, open_low=False, open_high=True))
    '0.5 to 2 or further: at least 1.5 wide'
    """
    low = f"{found.low:.3g}{' or further' if found.open_low else ''}"
    high = f"{found.high:.3g}{' or further' if found.open_high else ''}"
    least = "at least " if found.open_low or found.open_high else ""
    return f"{low} to {high}: {least}{found.width:.3g} wide"


def missing_sentences(values: Measured) -> list[str]:
    """Say where measures [x] or [x, y] are not finite, and what the pictures make of it."""
    told = [
        f"The {split_name(split)} {measure} is not finite at {missing} of {found.size} points."
        for split, measures in values.items()
        for measure, found in measures.items()
        if (missing := int((~np.isfinite(found)).sum()))
    ]
    if not told:
        return []
    why = "The weights there lead to numbers that overflow. The places stay empty (hatched, or a "
    return [*told, f"{why}hole): nothing is filled in."]


def line_rows(result: Line) -> Rows:
    """One row a measure: at the named places, lowest, the floor around it, rises on the way."""
    places = axis_places([result.axis], [result.solution])
    header = ["measure", *(f"at the {name}" for name in places), "lowest", "at alpha"]
    header += ["floor around it", "largest rise from start to solution"]
    rows: list[list[object]] = []
    for split, measure, values, errors in _each(result.values, result.standard_errors):
        row: list[object] = [f"{split_name(split)} {measure}"]
        for place in places.values():
            at = [float(np.interp(place[0], result.alphas, each)) for each in (values, errors)]
            row.append(_there(at[0], at[1], measure, place, (result.alphas,)))
        rows.append([*row, *_lowest_of_line(result, values, errors, measure)])
    if "start" not in places or "solution" not in places:
        return header[:-1], [row[:-1] for row in rows]
    return header, rows


def way_sentence(result: Line) -> str:
    """Say whether the training loss falls all the way from start to solution.

    "" without a way, or with fewer than three points on it, both ends among them.
    """
    if not result.solution or LOSS not in result.values.get("train", {}):
        return ""
    rise = _rise(result, result.values["train"][LOSS])
    if rise is None:
        return ""
    if not np.isfinite(rise):
        return "Between the start and the solution the training loss is not finite somewhere."
    if rise == 0:
        return (
            "From the start to the solution the training loss never rises from one measured point "
            "to the next."
        )
    return (
        f"On the way from the start to the solution the training loss rises by up to {rise:.3g} "
        "nats above the lowest point before."
    )


def agreement_rows(result: Line | Surface) -> Rows:
    """How alike the training loss and the held-out measures are: one row for each of these."""
    header = (
        "training loss and", "rank correlation", "distance of the lowest points",
        "overlap of the floors",
    )  # fmt: skip
    rows: list[list[object]] = []
    train = result.values.get("train", {}).get(LOSS)
    betas = result.betas if isinstance(result, Surface) else None
    for measure, values in result.values.get("held_out", {}).items():
        if train is None or measure not in FLOOR:
            continue
        try:
            found = agreement(
                train, values, alphas=result.alphas, betas=betas, tau_nats=FLOOR[LOSS],
                margin=FLOOR[measure],
            )  # fmt: skip
        except VesaliusError:  # no point at which both are finite
            rows.append([f"held-out {measure}", NOTHING, NOTHING, NOTHING])
            continue
        told: list[object] = [found.spearman, found.argmin_distance, f"{found.overlap:.0%}"]
        if not np.isfinite(found.spearman):
            told[0] = "one is the same everywhere"
        rows.append([f"held-out {measure}", *told])
    return header, rows


def surface_rows(result: Surface) -> Rows:
    """One row a measure: at the named places, the lowest point, the area of the floor around it."""
    places = axis_places(result.axes, result.solution)
    header = ["measure", *(f"at the {name}" for name in places), "lowest", "alpha", "beta"]
    rows: list[list[object]] = []
    for split, measure, values, errors in _each(result.values, result.standard_errors):
        row: list[object] = [f"{split_name(split)} {measure}"]
        for place in places.values():
            at = np.array([place], dtype=np.float64)
            height, error = (float(height_at(result, each, at)[0]) for each in (values, errors))
            row.append(_there(height, error, measure, place, (result.alphas, result.betas)))
        if not np.isfinite(values).any():
            rows.append([*row, NOTHING, "", "", ""])
            continue
        i, j = (int(k) for k in np.unravel_index(np.nanargmin(values), values.shape))
        lowest = value_word(float(values[i, j]), measure, float(errors[i, j]))
        alpha, beta = float(result.alphas[i]), float(result.betas[j])
        rows.append([*row, lowest, alpha, beta, _area_word(result, values, measure, (alpha, beta))])
    return [*header, "floor: area"], rows


def plane_rows(result: Surface) -> Rows:
    """What the axes are, how they lie to each other, and what was measured on them."""
    (first, second), (long, other) = result.axes, result.norms
    grid = [
        f"{len(axis)} points from {axis[0]:g} to {axis[-1]:g}"
        for axis in (result.alphas, result.betas)
    ]
    rows: list[Sequence[object]] = []
    rows += [
        ["alpha", f"{first}; length {long:.4g}; {grid[0]}"],
        ["beta", f"{second}; length {other:.4g}; {grid[1]}"],
        ["cosine between the axes", f"{result.cosine:.4f}"],
    ]
    known = result.interpolation
    if known is None or known.num_evaluated == known.num_points:
        rows.append(["points", f"all {result.evaluated.size} were measured"])
    else:
        rows += [
            ["points", f"{known.num_evaluated} of {known.num_points} measured, the rest "
             f"interpolated where the training loss bends by less than {known.tolerance:g} nats"],
            ["how far that is off", f"at most {known.largest_miss:.3g} nats, {known.mean_miss:.3g} "
             f"in the mean, at {known.num_checks} random points that were measured afterwards"],
        ]  # fmt: skip
    return ("what", "how"), rows


def trajectory_rows(result: Trajectory, surface: Surface | None = None) -> Rows:
    """One row a checkpoint: where it lies, how far off, what it reaches, and what lies below it."""
    taken = [(split, m) for split, measures in result.values.items() for m in measures]
    letters = ("alpha", "beta")[: len(result.axes)]
    header = ["step", *letters, "off the axes", "length"]
    header += [f"{split_name(split)} {measure}" for split, measure in taken]
    below = None
    if surface is not None and LOSS in surface.values.get("train", {}):
        heights = surface.values["train"][LOSS]
        below = height_at(surface, heights, result.coordinates.astype(np.float64))
        header.append("train loss below")
    rows: list[list[object]] = []
    for point, step in enumerate(result.steps):
        row: list[object] = [
            int(step),
            *(f"{round(float(place), 3) + 0.0:.3f}" for place in result.coordinates[point]),
        ]
        row += [f"{result.off_plane[point]:.1%}", f"{result.lengths[point]:.3f}"]
        row += [
            value_word(
                float(result.values[s][m][point]), m, float(result.standard_errors[s][m][point])
            )
            for s, m in taken
        ]
        if below is not None:
            told = value_word(float(below[point]), LOSS)
            row.append(OUTSIDE if told == NOTHING else told)
        rows.append(row)
    return header, rows


def off_plane_sentence(result: Trajectory) -> str:
    """Say how much of the way leads out of what is drawn."""
    moved = result.lengths > 0
    away = result.off_plane[moved]
    if not len(away):
        return "No checkpoint has left the origin."
    what = {"paper": "away from the first axis"}.get(
        result.projection, "out of the plane" if len(result.axes) == 2 else "away from the axis"
    )
    if away.max() < 0.005:
        return f"Of the way to a checkpoint less than 1% leads {what}."
    worst = int(result.steps[moved][int(np.argmax(away))])
    return (
        f"Of the way from the origin to a checkpoint {away.mean():.0%} leads {what} in the mean, "
        f"{away.max():.0%} at most (step {worst:,})."
    )


def height_at(
    result: Surface, values: Float[np.ndarray, "x y"], places: Float[np.ndarray, "point 2"]
) -> Float[np.ndarray, " point"]:
    """Interpolate a surface between its points; NaN outside of the grid and beside a hole."""
    from scipy.interpolate import RegularGridInterpolator

    corners = (result.alphas, result.betas)
    known = RegularGridInterpolator(corners, values, bounds_error=False, fill_value=np.nan)
    return np.asarray(known(places), dtype=np.float64)


def _there(
    value: float,
    error: float,
    measure: str,
    place: Sequence[float],
    axes: Sequence[Float[np.ndarray, "..."]],
) -> str:
    """A value at a named place: as measured, or about so where no point was measured there."""
    pairs = list(zip(place, axes, strict=True))
    if not all(axis[0] <= at <= axis[-1] for at, axis in pairs):
        return OUTSIDE
    told = value_word(value, measure, error)
    exact = told == NOTHING or all(_is_point(at, axis) for at, axis in pairs)
    return told if exact else f"about {told}"


def _is_point(place: float, axis: Float[np.ndarray, " point"]) -> bool:
    return bool(np.isclose(axis, place, rtol=0, atol=1e-9).any())


def _each(
    values: Measured, errors: Measured
) -> list[tuple[str, str, Float[np.ndarray, "..."], Float[np.ndarray, "..."]]]:
    return [
        (split, measure, found, errors[split][measure])
        for split, measures in values.items()
        for measure, found in measures.items()
    ]


def _lowest_of_line(
    result: Line,
    values: Float[np.ndarray, " x"],
    errors: Float[np.ndarray, " x"],
    measure: str,
) -> list[object]:
    """The lowest value, its place, the floor around it, and the largest rise on the way there."""
    if not np.isfinite(values).any():
        return [NOTHING, "", "", ""]
    place = int(np.nanargmin(values))
    alpha, level = float(result.alphas[place]), floor_level(values, measure)
    floor = "" if level is None or len(values) < 2 else width_word(
        width_at(result.alphas, values, centre=alpha, level=level)
    )  # fmt: skip
    rise = _rise(result, values)
    lowest = value_word(float(values[place]), measure, float(errors[place]))
    return [lowest, alpha, floor, "" if rise is None else value_word(rise, measure)]


def _rise(result: Line, values: Float[np.ndarray, " x"]) -> float | None:
    """The largest rise from place 0 to 1; NaN where it is not finite, None without such a way."""
    way = values[(result.alphas >= 0) & (result.alphas <= 1)]
    if len(way) < _FEWEST or not all(_is_point(end, result.alphas) for end in (0.0, 1.0)):
        return None
    if not np.isfinite(way).all():
        return float("nan")
    return largest_rise(way)


def _area_word(
    result: Surface,
    values: Float[np.ndarray, "x y"],
    measure: str,
    centre: tuple[float, float],
) -> str:
    level = floor_level(values, measure)
    if level is None:
        return ""
    found = region_area(result.alphas, result.betas, values, centre=centre, level=level)
    whole = float(np.ptp(result.alphas) * np.ptp(result.betas))
    share = f"{found.area:.3g} ({found.area / whole:.0%} of the map)"
    return f"at least {share}: it reaches the rim" if found.open else share


def example_words(num_examples: Mapping[str, int]) -> str:
    """Name the numbers of examples.

    >>> example_words({"train": 64, "held_out": 32})
    '64 train and 32 held-out examples'
    """
    told = [f"{number:,} {split_name(split)}" for split, number in num_examples.items()]
    return f"{' and '.join(told)} examples"


def moved_words(moved: str) -> str:
    """Say which weights a group's word means.

    >>> moved_words("encoder"), moved_words("layer 3")
    ('all weights but those of the head', 'the weights of layer 3')
    """
    words = {"encoder": "all weights but those of the head", "all": "all weights"}
    words |= {third: f"the weights of the {third} third of the layers" for third in
              ("low", "middle", "high")}  # fmt: skip
    return words.get(moved, f"the weights of {moved}")
