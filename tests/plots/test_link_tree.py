"""The link tree: every link and token is drawn in its place, in any order; bad input is refused."""

import random
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import plain_label
from vesalius.plots.link_tree import PREDICTION, Link, link_scale, link_tree, link_width
from vesalius.plots.style import figure_bytes

TOKENS = ["[CLS]", "seldom", "has", "a", "movie", "so", "closely", "matched", "the", "spirit"]
LINKS = (
    Link(reader=0, read=4, layer=3, score=0.4),
    Link(reader=0, read=7, layer=2, score=0.1),
    Link(reader=4, read=1, layer=0, score=0.2),
    Link(reader=7, read=6, layer=0, score=0.3),
)


def _curves(ax) -> dict:
    return {p.get_gid(): p for p in ax.patches if (p.get_gid() or "").startswith("link-")}


def _nodes(ax) -> dict:
    return {t.get_gid(): t for t in ax.texts if (t.get_gid() or "").startswith("node-")}


def _grown(num_tokens: int, num_layers: int, *, seed: int) -> list[Link]:
    """Grow a tree over all tokens: each reads in a layer below the one it was read in."""
    chance = random.Random(seed)
    level, links = {0: num_layers}, []
    for read in chance.sample(range(1, num_tokens), num_tokens - 1):
        reader = chance.choice([place for place in level if level[place]])
        level[read] = chance.randrange(level[reader])
        links.append(Link(reader=reader, read=read, layer=level[read], score=chance.random()))
    return links


def test_every_link_and_token_stands_in_its_place():
    ax = link_tree(TOKENS, LINKS, root=0, num_layers=4, title="tree", footnote="tau = 0.4")
    nodes = _nodes(ax)
    assert {gid: text.get_text() for gid, text in nodes.items()} == {
        f"node-{place}": TOKENS[place] for place in (0, 1, 4, 6, 7)
    }
    assert len(_curves(ax)) == len(LINKS)
    heights = {gid: text.get_position()[1] for gid, text in nodes.items()}
    for link in LINKS:
        (x0, y0), *_, (x1, y1) = _curves(ax)[f"link-{link.reader}-{link.read}-{link.layer}"]._path \
            .vertices  # fmt: skip
        assert (x0, x1) == (link.reader, link.read)
        assert heights[f"node-{link.reader}"] > y0 > y1 > heights[f"node-{link.read}"]
    assert heights["node-0"] > heights["node-4"] > heights["node-7"] > heights["node-1"]
    # the ticks name the layers: a token stands nearest to the number of its own
    ticks = ax.get_yticks()
    assert [int(np.abs(ticks - heights[f"node-{p}"]).argmin()) for p in (4, 7, 1, 6)] == [
        3,
        2,
        0,
        0,
    ]
    assert heights["node-0"] > ticks[-1]
    assert (ax.get_title(), ax.get_xlabel()) == ("tree", "tau = 0.4")


def test_the_whole_text_is_below_and_grey_outside_of_the_tree():
    ax = link_tree(TOKENS, LINKS, root=0, num_layers=4)
    labels = ax.get_xticklabels()
    assert [label.get_text() for label in labels] == TOKENS
    colours = [label.get_color() for label in labels]
    inside = {colours[place] for place in (0, 1, 4, 6, 7)}
    outside = {colours[place] for place in (2, 3, 5, 8, 9)}
    assert len(inside) == len(outside) == 1
    assert inside != outside


def test_colour_and_width_grow_with_the_score():
    ax = link_tree(TOKENS, LINKS, root=0, num_layers=4)
    curves = _curves(ax)
    ranked = sorted(LINKS, key=lambda link: link.score)
    drawn = [curves[f"link-{one.reader}-{one.read}-{one.layer}"] for one in ranked]
    widths = [curve.get_linewidth() for curve in drawn]
    greys = [float(np.dot(curve.get_edgecolor()[:3], (0.3, 0.59, 0.11))) for curve in drawn]
    assert widths == sorted(widths)
    assert greys == sorted(greys, reverse=True)  # on grey paper too
    scale = link_scale([link.score for link in LINKS])
    assert drawn[-1].get_edgecolor() == scale.to_rgba(0.4)
    assert widths[0] == pytest.approx(link_width(0.1, scale))
    bar = ax.figure.axes[1]
    assert (bar.get_xlabel(), bar.get_xlim()) == ("attribution", (0.0, 0.4))


def test_scores_below_zero_are_blue_and_zero_lies_in_the_middle():
    red, _, blue, _ = link_scale([-0.1, 0.3]).to_rgba(-0.1)
    assert blue > red
    scale = link_scale([-0.1, 0.3])
    assert (scale.norm.vmin, scale.norm.vmax) == (-0.3, 0.3)
    red, _, blue, _ = scale.to_rgba(0.3)
    assert red > blue


@pytest.mark.parametrize("num_tokens", [5, 17, 40])
def test_the_order_of_the_links_changes_nothing(num_tokens):
    links = _grown(num_tokens, 12, seed=1)
    tokens = [f"word{place}" for place in range(num_tokens)]
    first = figure_bytes(link_tree(tokens, links, root=0, num_layers=12), dots_per_inch=60)
    random.Random(2).shuffle(links)
    assert figure_bytes(link_tree(tokens, links, root=0, num_layers=12), dots_per_inch=60) == first


@pytest.mark.parametrize(("num_tokens", "num_layers"), [(5, 4), (17, 4), (40, 12), (128, 24)])
def test_no_label_covers_another_or_is_cut_off(num_tokens, num_layers):
    words = [
        "seldom",
        "has",
        "a",
        "movie",
        "so",
        "closely",
        "matched",
        "the",
        "spirit",
        "of",
        "masterpieces",
    ]
    tokens = [words[place % len(words)] for place in range(num_tokens)]
    links = _grown(num_tokens, num_layers, seed=3)
    ax = link_tree(tokens, links, root=0, num_layers=num_layers)
    ax.figure.draw_without_rendering()
    frame = ax.get_window_extent()
    boxes = [text.get_bbox_patch().get_window_extent() for text in _nodes(ax).values()]
    assert len(boxes) == num_tokens
    for place, box in enumerate(boxes):
        assert frame.x0 - 2 <= box.x0
        assert box.x1 <= frame.x1 + 2
        assert frame.y0 - 2 <= box.y0
        assert box.y1 <= frame.y1 + 2
        assert not any(box.overlaps(other) for other in boxes[:place])
    names = [label.get_window_extent() for label in ax.get_xticklabels()]
    for place, name in enumerate(names):
        assert name.y0 >= 0
        assert not any(name.overlaps(other) for other in names[:place])


def test_a_token_read_in_the_layer_of_its_reader_stands_below_it():
    chain = [Link(reader=i, read=i + 1, layer=2, score=0.1) for i in range(4)]
    nodes = _nodes(link_tree(TOKENS, chain, root=0, num_layers=4))
    heights = [nodes[f"node-{place}"].get_position()[1] for place in range(5)]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 5


def test_without_a_root_the_prediction_stands_on_top():
    tops = (Link(reader=PREDICTION, read=0, layer=3, score=0.5), *LINKS[1:2])
    ax = link_tree(TOKENS, tops, num_layers=4)
    nodes = _nodes(ax)
    assert nodes["node--1"].get_text() == "prediction"
    highest = max(text.get_position()[1] for text in nodes.values())
    assert nodes["node--1"].get_position()[1] == highest
    assert set(_curves(ax)) == {"link--1-0-3", "link-0-7-2"}
    assert not [line for line in ax.lines if line.get_gid() == "drop--1"]


def test_a_token_with_several_readers_has_its_other_layers_written_on_the_links():
    more = (
        *LINKS,
        Link(reader=4, read=6, layer=2, score=0.1),
        Link(reader=4, read=6, layer=1, score=0.3),
    )
    ax = link_tree(TOKENS, more, root=0, num_layers=4)
    written = sorted(text.get_text() for text in ax.texts if text.get_gid() == "layer")
    assert written == ["layer 0", "layer 1"]  # it stands in layer 2
    twins = [_curves(ax)[f"link-4-6-{layer}"]._path.vertices for layer in (1, 2)]
    assert not np.allclose(*twins)


def test_a_root_without_links_and_given_axes_are_drawn():
    ax = link_tree(TOKENS, (), root=3, num_layers=2)
    assert list(_nodes(ax)) == ["node-3"]
    assert list(_nodes(link_tree(TOKENS, (), num_layers=2))) == ["node--1"]
    here = Figure(figsize=(9, 4), layout="constrained").subplots(1, 2)[1]
    assert link_tree(TOKENS, LINKS, root=0, num_layers=4, ax=here, title="right") is here
    loose = Figure(figsize=(9, 4)).add_axes((0.1, 0.3, 0.8, 0.5))
    assert link_tree(TOKENS, LINKS, root=0, num_layers=4, ax=loose, title="loose") is loose
    for axes in (ax, here, loose):
        assert figure_bytes(axes).startswith(b"\x89PNG")


def test_scores_of_zero_are_drawn():
    links = [Link(reader=0, read=1, layer=0, score=0.0)]
    assert figure_bytes(link_tree(TOKENS, links, root=0, num_layers=1)).startswith(b"\x89PNG")


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_strange_tokens_are_shown_as_they_stand(format):
    strange = ["$", "_x", "</script>", "-->", "&amp;", r"\frac{", "$a$", "", " ", "\n", "\x0b"]
    strange += ["\ud800", "中文", "🙂", "שלום", "a" * 60]
    links = [Link(reader=0, read=i, layer=0, score=0.1) for i in range(1, len(strange))]
    ax = link_tree(strange, links, root=0, num_layers=2, title="$", unit="_x", footnote="$a")
    shown = _nodes(ax)
    assert shown["node-0"].get_text() == r"\$"
    assert shown["node-2"].get_text() == "</script>"
    assert [shown[f"node-{i}"].get_text() for i in (7, 8, 9)] == ["∅", "␣", "⏎"]
    assert shown["node-15"].get_text() == "a" * 15 + "…"
    assert shown["node-12"].get_text() == plain_label("中文")
    picture = figure_bytes(ax, format=format)
    if format == "svg":
        ElementTree.fromstring(picture)
        assert b"</script>" not in picture


@pytest.mark.parametrize(
    ("tokens", "links", "options", "said"),
    [
        ([], [], {}, "0 tokens"),
        (TOKENS, [], {"num_layers": 0}, "num_layers=0"),
        (TOKENS, [Link(reader=0, read=10, layer=0, score=1.0)], {}, "places in 0..9"),
        (TOKENS, [Link(reader=-2, read=1, layer=0, score=1.0)], {}, "reader=-2"),
        (TOKENS, [Link(reader=0, read=-1, layer=0, score=1.0)], {}, "read=-1"),
        (TOKENS, [Link(reader=0, read=1, layer=4, score=1.0)], {}, "a layer in 0..3"),
        (TOKENS, [Link(reader=0, read=1, layer=-1, score=1.0)], {}, "layer=-1"),
        (TOKENS, [Link(reader=0, read=1, layer=0, score=float("nan"))], {}, "score=nan"),
        (TOKENS, [Link(reader=0, read=1, layer=0, score=float("-inf"))], {}, "score=-inf"),
        (TOKENS, [], {"root": 10}, "root=10"),
        (TOKENS, [Link(reader=2, read=1, layer=0, score=1.0)], {}, "that the root reaches"),
        (TOKENS, [Link(reader=0, read=0, layer=0, score=1.0)], {}, "other tokens"),
        (TOKENS, LINKS, {"root": None}, "root=None"),
        (TOKENS, [Link(reader=-1, read=1, layer=0, score=1.0)], {}, "reader=-1"),
    ],
)
def test_bad_input_is_refused(tokens, links, options, said):
    with pytest.raises(VesaliusError) as caught:
        link_tree(tokens, links, **{"root": 0, "num_layers": 4, **options})
    assert said in str(caught.value)
