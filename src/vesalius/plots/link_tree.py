"""The tree of which token was read by which, over the text, on the way to a prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import (
    bar_below,
    label_inches,
    label_size,
    label_width,
    name_tokens,
    title_above,
    token_label,
    wrapped,
)
from vesalius.plots.curves import plain_label
from vesalius.plots.style import DIVERGING, INK, QUIET, new_axes

PREDICTION: Final = -1  # as a reader: no token, the prediction itself

_SHADE: Final = "#f7f5f0"  # behind every other layer
_MARGIN_INCHES: Final = 0.75  # numbers of the layers, beside the axes
_ROW_INCHES: Final = 0.27  # a label and the room between it and the next
_HALF_INCHES: Final = 0.115  # of the box of a label
_EMPTY_INCHES: Final = 0.17  # a layer in which nothing was read


@final
@dataclass(frozen=True, kw_only=True)
class Link:
    """Say that in a layer one token read another, and how much that was worth; single numbers.

    Source: this project.
    """

    reader: int  # a position in the text, or PREDICTION
    read: int
    layer: int  # 0 is the lowest
    score: float


def link_tree(
    tokens: Sequence[str],
    links: Sequence[Link],
    *,
    root: int | None = None,
    num_layers: int,
    unit: str = "attribution",
    title: str = "",
    footnote: str = "",
    ax: Any = None,
) -> Any:
    """Draw who read whom: across, the place in the text; upwards, the layer it was read in.

    Args:
        tokens: the text in reading order; those outside of the tree stay grey. No shapes.
        links: in any order. A token with several readers stands in the highest of its layers,
            and its other links have their layer written on them.
        root: the token on top, or None where links from `PREDICTION` say what was read last.
        num_layers: of the model.
        unit: of the scores, for the colour bar.
        title: of the Axes; footnote: a line under the text.
        ax: matplotlib Axes, or None for a new figure that grows with the tree.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no tokens, a place or a layer that is not there, a score that is
    no number, or a link that does not hang on the root.

    Source: the attribution trees of arXiv 2004.11207, each token at its place in the text.
    """
    check_links(tokens, links, num_layers)
    _check_tree(tokens, links, root)
    size = label_size(len(tokens))
    across = inches_per_token(len(tokens), ax)
    names = {place: token_label(token) for place, token in enumerate(tokens)}
    names[PREDICTION] = "prediction"
    top = PREDICTION if root is None else root
    plan = _plan(names, links, top, num_layers, size, across)
    height = plan.bands[-1][1]
    ax = new_axes(
        ax,
        width=_MARGIN_INCHES + across * (plan.right - plan.left),
        height=1.25 + height + label_inches(tokens, size, across) + (0.3 if title else 0),
    )
    ax.set_xlim(plan.left, plan.right)
    ax.set_ylim(0, height)
    _draw_layers(ax, plan, num_layers)
    _draw_links(ax, links, plan, size)
    _draw_nodes(ax, names, plan, top, size)
    name_tokens(ax, tokens, size=size, across=across, quiet=set(names) - plan.places.keys())
    finish_links(ax, [link.score for link in links], unit=unit, title=title, footnote=footnote)
    return ax


@final
@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Where things stand: across in tokens, upwards in inches."""

    places: Mapping[int, tuple[float, float]]
    levels: Mapping[int, int]
    bands: Sequence[tuple[float, float]]  # of each layer, and of the root above them
    left: float
    right: float


def _plan(
    names: Mapping[int, str],
    links: Sequence[Link],
    top: int,
    num_layers: int,
    size: float,
    across: float,
) -> _Plan:
    """Give every token of the tree a place in which its label covers no other."""
    levels = {top: num_layers}
    for link in links:
        if link.read != top:
            levels[link.read] = max(levels.get(link.read, 0), link.layer)
    middle: dict[int, float] = {place: float(place) for place in names}
    first = sorted({link.read for link in links if link.reader == PREDICTION})
    last = len(names) - 2
    middle[PREDICTION] = sum(first) / len(first) if first else last / 2
    width = {place: (label_width(names[place], size) + 0.14) / across for place in levels}
    places: dict[int, tuple[float, float]] = {}
    bands: list[tuple[float, float]] = []
    height = 0.0
    for level in range(num_layers + 1):
        inside = [place for place in levels if levels[place] == level]
        rows = _rows(inside, links, middle, width, 0.06 / across)
        room = len(rows) * _ROW_INCHES + 0.16 if rows else _EMPTY_INCHES
        for number, row in enumerate(rows):
            for place in row:
                upwards = height + room - 0.09 - (number + 0.5) * _ROW_INCHES
                places[place] = (middle[place], upwards)
        bands.append((height, height + room))
        height += room
    left = min([-0.7, *(middle[place] - width[place] / 2 for place in levels)])
    right = max([last + 0.7, *(middle[place] + width[place] / 2 for place in levels)])
    return _Plan(places=places, levels=levels, bands=bands, left=left, right=right)


def _rows(
    inside: Sequence[int],
    links: Sequence[Link],
    middle: Mapping[int, float],
    width: Mapping[int, float],
    gap: float,
) -> list[list[int]]:
    """Part the tokens of one layer into rows without overlap, readers above what they read."""
    depth = dict.fromkeys(inside, 0)
    for _ in inside:  # as often as a chain within the layer can be long
        for link in links:
            if link.reader in depth and link.read in depth:
                depth[link.read] = min(max(depth[link.read], depth[link.reader] + 1), len(inside))
    rows: list[list[int]] = []
    for one in sorted(set(depth.values())):
        ends: list[float] = []
        group: list[list[int]] = []
        for place in sorted((p for p in inside if depth[p] == one), key=lambda p: (middle[p], p)):
            start = middle[place] - width[place] / 2
            free = [number for number, end in enumerate(ends) if end + gap <= start]
            if not free:
                free = [len(ends)]
                ends.append(0.0)
                group.append([])
            ends[free[0]] = middle[place] + width[place] / 2
            group[free[0]].append(place)
        rows += group
    return rows


def _draw_layers(ax: Any, plan: _Plan, num_layers: int) -> None:
    for layer, (low, high) in enumerate(plan.bands[:-1]):
        if (num_layers - layer) % 2:  # the highest, below the white of the root, always
            ax.axhspan(low, high, facecolor=_SHADE, edgecolor="none", zorder=0)
    middles = [(low + high) / 2 for low, high in plan.bands[:-1]]
    ax.set_yticks(middles, [str(layer) for layer in range(num_layers)])
    ax.set_ylabel("layer", fontsize=10)


def _draw_links(ax: Any, links: Sequence[Link], plan: _Plan, size: float) -> None:
    """Draw a curve per link, the strongest last."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    scale = link_scale([link.score for link in links])
    inch = plan.bands[-1][1] / _height_inches(ax)
    twins: dict[tuple[int, int], int] = {}
    for link in sorted(links, key=lambda one: (abs(one.score), one.reader, one.read, one.layer)):
        (x0, y0), (x1, y1) = plan.places[link.reader], plan.places[link.read]
        down = 1 if y0 >= y1 else -1  # a link of a token with many readers may go up
        y0, y1 = y0 - down * _HALF_INCHES * inch, y1 + down * (_HALF_INCHES + 0.01) * inch
        # the same two tokens may be linked in several layers: their curves swing out in turn
        twin = twins[link.reader, link.read] = twins.get((link.reader, link.read), -1) + 1
        swing = ((twin + 1) // 2) * (1 if twin % 2 else -1)
        x2, half = 0.9 * swing, (y0 + y1) / 2 + 0.14 * swing * inch
        points = [(x0, y0), (x0 + x2, half), (x1 + x2, half), (x1, y1)]
        curve = Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
        colour, wide = scale.to_rgba(link.score), link_width(link.score, scale)
        patch = PathPatch(
            curve, facecolor="none", edgecolor=colour, capstyle="round", linewidth=wide, zorder=2
        )
        patch.set_gid(f"link-{link.reader}-{link.read}-{link.layer}")
        ax.add_patch(patch)
        # where a link ends, not where it passes behind a label
        ax.plot([x1], [y1], "o", color=colour, markersize=3 + wide, markeredgewidth=0, zorder=2)
        if link.read in plan.levels and plan.levels[link.read] != link.layer:
            share = 0.5 + 0.13 * swing
            (a, b, c, d) = ((1 - share) ** 3, 3 * share * (1 - share) ** 2, 0.0, share**3)
            c = 1 - a - b - d
            ax.text(
                a * x0 + b * (x0 + x2) + c * (x1 + x2) + d * x1, (a * y0 + d * y1 + (b + c) * half),
                f"layer {link.layer}", ha="center", va="center", fontsize=size - 2.5, color=INK,
                zorder=2.5, gid="layer",
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            )  # fmt: skip


def _height_inches(ax: Any) -> float:
    return float(ax.get_position().height * ax.figure.get_size_inches()[1])


def _draw_nodes(ax: Any, names: Mapping[int, str], plan: _Plan, top: int, size: float) -> None:
    for place, (x, y) in sorted(plan.places.items()):
        if place != PREDICTION:
            ax.plot(
                [x, x], [0, y], color=QUIET, linestyle=(0, (1, 2.5)), linewidth=0.7, zorder=1,
                gid=f"drop-{place}",
            )  # fmt: skip
        chief = place == top
        box = {
            "boxstyle": "round,pad=0.2,rounding_size=0.25",
            "facecolor": INK if chief else "white",
            "edgecolor": INK if chief else QUIET,
            "linewidth": 0.8,
        }
        ax.text(
            x, y, plain_label(names[place]), ha="center", va="center_baseline", fontsize=size,
            color="white" if chief else INK, bbox=box, zorder=3, gid=f"node-{place}",
        )  # fmt: skip


def finish_links(
    ax: Any, scores: Sequence[float], *, unit: str, title: str, footnote: str = ""
) -> None:
    """Give matplotlib Axes that show links their title, their footnote and their colour bar.

    Source: this project.
    """
    title_above(ax, title)
    if footnote:
        text = plain_label(wrapped(footnote, ax, 8.5))
        ax.set_xlabel(text, fontsize=8.5, color=QUIET, loc="left")
    if scores:
        bar_below(ax, link_scale(scores), unit)


def link_scale(scores: Sequence[float]) -> Any:
    """Return the one colour scale of some scores, a matplotlib ScalarMappable.

    A score above zero is red, one below blue; one near zero is pale and can still be seen.

    Source: this project.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    largest = max((abs(score) for score in scores), default=0.0) or 1.0
    signed = any(score < 0 for score in scores)
    ends = [(0.66 + 0.32 * step / 10) for step in range(11)]
    if signed:
        ends = [*(1 - end for end in reversed(ends)), *ends]
    colours = [colormaps[DIVERGING](end) for end in ends]
    scale = LinearSegmentedColormap.from_list("links", colours)
    return ScalarMappable(norm=Normalize(-largest if signed else 0.0, largest), cmap=scale)


def link_width(score: float, scale: Any) -> float:
    """Return how many points wide a link is: 0.8, and more in proportion to its score.

    Source: this project.
    """
    return 0.8 + 3.0 * abs(score) / scale.norm.vmax


def inches_per_token(num_tokens: int, ax: Any) -> float:
    """Return how much room a token has across, in given matplotlib Axes or in new ones.

    Source: this project.
    """
    if ax is None:
        least = 0.165 if num_tokens <= 56 else 0.115
        return min(max(4.2 / num_tokens, least), 0.62)
    share = ax.get_position().width
    return 0.9 * share * float(ax.figure.get_size_inches()[0]) / (num_tokens + 1)


def check_links(tokens: Sequence[str], links: Sequence[Link], num_layers: int) -> None:
    """Refuse links that do not belong to a text and a number of layers; there are no shapes.

    Raises: VesaliusError for no tokens, a place or a layer that is not there, or a score that is
    no number.

    Source: this project.
    """
    if not tokens or num_layers < 1:
        raise VesaliusError(
            given=f"{len(tokens)} tokens and num_layers={num_layers}",
            expected="at least one of each",
            fix="take both from the run that found the links",
        )
    for link in links:
        inside = -1 <= link.reader < len(tokens) and 0 <= link.read < len(tokens)
        finite = link.score - link.score == 0
        if not (inside and 0 <= link.layer < num_layers and finite):
            raise VesaliusError(
                given=f"{link}",
                expected=f"places in 0..{len(tokens) - 1}, a layer in 0..{num_layers - 1}, and a "
                "score that is a number",
                fix="take links, tokens and num_layers from the same run",
            )


def _check_tree(tokens: Sequence[str], links: Sequence[Link], root: int | None) -> None:
    if root is not None and not 0 <= root < len(tokens):
        raise VesaliusError(
            given=f"root={root} with {len(tokens)} tokens",
            expected=f"a place in 0..{len(tokens) - 1}",
            fix="leave it out where no token is the root",
        )
    hanging = {PREDICTION if root is None else root}
    for _ in links:
        found = {link.read for link in links if link.reader in hanging}
        if found <= hanging:
            break
        hanging |= found
    loose = [link for link in links if link.reader not in hanging or link.reader == link.read]
    if loose:
        raise VesaliusError(
            given=f"{loose[0]} in a tree with root={root}",
            expected="readers that the root reaches, other tokens than what they read",
            fix="give the root, or links from reader=-1 to what the prediction reads",
        )
