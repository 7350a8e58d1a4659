"""The strongest links of every layer, as a graph that the information climbs."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import label_inches, label_size, name_tokens
from vesalius.plots.link_tree import (
    Link,
    check_links,
    finish_links,
    inches_per_token,
    link_scale,
    link_width,
)
from vesalius.plots.style import INK, QUIET, RULE, new_axes

_LAYER_INCHES: Final = 0.42
_MARGIN_INCHES: Final = 0.75  # numbers of the layers, beside the axes


def link_graph(
    tokens: Sequence[str],
    links: Sequence[Link],
    *,
    num_layers: int,
    special: Collection[int] = (),
    unit: str = "attribution",
    title: str = "",
    footnote: str = "",
    ax: Any = None,
) -> Any:
    """Draw links as lines: from what a layer gave for a token down to what it read.

    Every layer lies between two rows of dots, one dot per token: below is what the layer was
    given, above is what it made of it. A token that a layer read from itself is an upright line.

    Args:
        tokens: the text in reading order, along the bottom; no shapes.
        links: in any order, all of them readers in the text.
        num_layers: of the model.
        special: places whose names and dots are grey, such as those of [CLS] and [SEP].
        unit: of the scores, for the colour bar.
        title: of the Axes; footnote: a line under the text.
        ax: matplotlib Axes, or None for a new figure that grows with the graph.

    Returns:
        The matplotlib Axes.

    Raises: VesaliusError for no tokens, a place or a layer that is not there, or a score that is
    no number.

    Source: this project.
    """
    check_links(tokens, links, num_layers)
    _check_readers(tokens, links, special)
    size = label_size(len(tokens))
    across = inches_per_token(len(tokens), ax)
    ax = new_axes(
        ax,
        width=_MARGIN_INCHES + across * (len(tokens) + 0.4),
        height=1.25 + _LAYER_INCHES * (num_layers + 0.5) + label_inches(tokens, size, across)
        + (0.3 if title else 0),
    )  # fmt: skip
    ax.set_xlim(-0.7, len(tokens) - 0.3)
    ax.set_ylim(-0.25, num_layers + 0.25)
    _draw_dots(ax, len(tokens), links, num_layers, set(special))
    _draw_lines(ax, links)
    ax.set_yticks([layer + 0.5 for layer in range(num_layers)], [*map(str, range(num_layers))])
    ax.set_ylabel("layer", fontsize=10)
    name_tokens(ax, tokens, size=size, across=across, quiet=set(special))
    finish_links(ax, [link.score for link in links], unit=unit, title=title, footnote=footnote)
    return ax


def _draw_dots(
    ax: Any, num_tokens: int, links: Sequence[Link], num_layers: int, special: set[int]
) -> None:
    """Draw a dot per token and layer; small and pale where no link ends."""
    used = {(link.reader, link.layer + 1) for link in links}
    used |= {(link.read, link.layer) for link in links}
    everywhere = [(x, y) for y in range(num_layers + 1) for x in range(num_tokens)]
    idle = [place for place in everywhere if place not in used]
    grey = sorted(place for place in used if place[0] in special)
    inked = sorted(place for place in used if place[0] not in special)
    for name, places, area, colour in (
        ("idle", idle, 3, RULE),
        ("special", grey, 16, QUIET),
        ("used", inked, 16, INK),
    ):
        ax.scatter(
            [x for x, _ in places], [y for _, y in places], s=area, color=colour, linewidths=0,
            zorder=3, gid=name,
        )  # fmt: skip


def _draw_lines(ax: Any, links: Sequence[Link]) -> None:
    """Draw a line per link, the strongest last."""
    from matplotlib.collections import LineCollection

    if not links:
        return
    scale = link_scale([link.score for link in links])
    inorder = sorted(links, key=lambda one: (abs(one.score), one.reader, one.read, one.layer))
    lines = LineCollection(
        [[(one.reader, one.layer + 1), (one.read, one.layer)] for one in inorder],
        colors=[scale.to_rgba(one.score) for one in inorder],
        linewidths=[link_width(one.score, scale) for one in inorder],
        capstyle="round",
        zorder=2,
    )
    ax.add_collection(lines, autolim=False)


def _check_readers(tokens: Sequence[str], links: Sequence[Link], special: Collection[int]) -> None:
    for place in [*(link.reader for link in links), *special]:
        if not 0 <= place < len(tokens):
            raise VesaliusError(
                given=f"a token at {place}",
                expected=f"a place in 0..{len(tokens) - 1}",
                fix="draw links of the prediction with link_tree",
            )
