"""The link graph: a link joins the right rows and columns; bad input is refused."""

import random

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.link_graph import link_graph
from vesalius.plots.link_tree import Link
from vesalius.plots.style import INK, QUIET, figure_bytes

TOKENS = ["[CLS]", "a", "movie", "of", "spirit", "[SEP]"]
LINKS = (
    Link(reader=0, read=2, layer=3, score=0.4),
    Link(reader=2, read=2, layer=1, score=0.1),
    Link(reader=4, read=1, layer=0, score=0.2),
)


def _lines(ax):
    """The one collection that has segments."""
    (found,) = [c for c in ax.collections if hasattr(c, "get_segments")]
    return found


def _dots(ax, name: str) -> set:
    (found,) = [c for c in ax.collections if c.get_gid() == name]
    return {(int(x), int(y)) for x, y in np.asarray(found.get_offsets())}


def test_a_link_goes_from_above_its_layer_to_below_it():
    ax = link_graph(TOKENS, LINKS, num_layers=4, title="graph", footnote="the strongest")
    segments = [segment.tolist() for segment in _lines(ax).get_segments()]
    assert segments == [  # the strongest last, on top of the others
        [[2, 2], [2, 1]],
        [[4, 1], [1, 0]],
        [[0, 4], [2, 3]],
    ]
    assert [label.get_text() for label in ax.get_xticklabels()] == TOKENS
    assert dict(
        zip(ax.get_yticks(), [t.get_text() for t in ax.get_yticklabels()], strict=True)
    ) == {
        0.5: "0",
        1.5: "1",
        2.5: "2",
        3.5: "3",
    }


def test_colour_and_width_grow_with_the_score():
    lines = _lines(link_graph(TOKENS, LINKS, num_layers=4))
    assert list(lines.get_linewidths()) == sorted(lines.get_linewidths())
    greys = [float(np.dot(colour[:3], (0.3, 0.59, 0.11))) for colour in lines.get_colors()]
    assert greys == sorted(greys, reverse=True)


def test_dots_tell_where_links_end_and_which_tokens_are_special():
    ax = link_graph(TOKENS, LINKS, num_layers=4, special=(0, 5))
    assert _dots(ax, "used") == {(2, 3), (2, 2), (2, 1), (4, 1), (1, 0)}
    assert _dots(ax, "special") == {(0, 4)}
    assert len(_dots(ax, "idle")) == len(TOKENS) * 5 - 6
    colours = [label.get_color() for label in ax.get_xticklabels()]
    assert colours == [QUIET, INK, INK, INK, INK, QUIET]


@pytest.mark.parametrize(("num_tokens", "num_layers"), [(1, 1), (17, 12), (40, 24), (128, 12)])
def test_any_order_gives_the_same_picture(num_tokens, num_layers):
    chance = random.Random(0)
    links = [
        Link(
            reader=chance.randrange(num_tokens),
            read=chance.randrange(num_tokens),
            layer=layer,
            score=chance.gauss(0, 1),
        )
        for layer in range(num_layers)
        for _ in range(10)
    ]
    tokens = ["words"] * num_tokens
    first = figure_bytes(link_graph(tokens, links, num_layers=num_layers), dots_per_inch=50)
    chance.shuffle(links)
    again = figure_bytes(link_graph(tokens, links, num_layers=num_layers), dots_per_inch=50)
    assert again == first


@pytest.mark.parametrize("format", ["png", "svg"])
def test_strange_tokens_and_no_links_are_drawn(format):
    tokens = ["$", "_x", "</script>", "中", "🙂", "\n"]
    assert figure_bytes(link_graph(tokens, (), num_layers=2, unit="$", title="_"), format=format)
    ax = link_graph(tokens, LINKS, num_layers=4)
    assert ax.get_xticklabels()[0].get_text() == r"\$"
    assert figure_bytes(ax, format=format)


@pytest.mark.parametrize(
    ("tokens", "links", "options", "said"),
    [
        ([], [], {}, "0 tokens"),
        (TOKENS, [Link(reader=-1, read=0, layer=0, score=1.0)], {}, "a token at -1"),
        (TOKENS, [Link(reader=6, read=0, layer=0, score=1.0)], {}, "reader=6"),
        (TOKENS, [Link(reader=0, read=0, layer=4, score=1.0)], {}, "layer=4"),
        (TOKENS, [Link(reader=0, read=0, layer=0, score=float("inf"))], {}, "score=inf"),
        (TOKENS, LINKS, {"special": (6,)}, "a token at 6"),
    ],
)
def test_bad_input_is_refused(tokens, links, options, said):
    with pytest.raises(VesaliusError) as caught:
        link_graph(tokens, links, num_layers=4, **options)
    assert said in str(caught.value)
