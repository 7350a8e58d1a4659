"""Attribution trees and graphs: worked out by hand, and what holds of every one of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention_tiny import links_of
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution import (
    LayerLinks,
    Tree,
    build_graph,
    build_tree,
    hierarchy,
    receptive_field,
    sweep_tau,
)
from vesalius.methods.attention_attribution.tree import salient_links
from vesalius.plots.link_tree import PREDICTION

RULES = ("score", "paper", "dag")


def placed(num_layers: int, num_tokens: int, **links: float) -> np.ndarray:
    """``l2_ab=0.5``: in layer 2 a reads b with 0.5."""
    scores = np.zeros((num_layers, num_tokens, num_tokens))
    for name, score in links.items():
        layer, pair = name[1:].split("_")
        scores[int(layer), ord(pair[0]) - 97, ord(pair[1]) - 97] = score
    return scores


def edges(tree: Tree) -> list[tuple[int, str, str]]:
    return [(e.layer, tree.tokens[e.reader], tree.tokens[e.read]) for e in tree.links]


# --- by hand

# e is read for the prediction. Two layers below the last one; a is the root:
# its readings are 1 + 0.8 of their layers' largest, those of b 0.9 + 1.
HAND = placed(
    3, 5,
    l1_ab=1.0, l1_bc=0.9, l1_ca=0.3, l1_eb=9.0, l1_aa=7.0,
    l0_ad=0.8, l0_cd=0.95, l0_bd=0.9, l0_ab=1.0, l0_ac=0.7, l0_ea=8.0,
    l2_ea=0.2, l2_eb=0.1, l2_ec=-0.5, l2_ed=0.05,
)  # fmt: skip


def test_the_rule_by_score_by_hand() -> None:
    tree = build_tree(links_of(HAND, reader=4), tau=0.5)
    assert tree.tokens[tree.root] == "a"
    # layer 1: a reads b (1.0); b was not inside before, so its 0.9 waits.
    # layer 0: of a (0.8), b (0.9): b reads d best. c is read by a (0.7).
    assert edges(tree) == [(1, "a", "b"), (0, "b", "d"), (0, "a", "c")]
    assert [e.score for e in tree.links] == [1.0, 0.9, 0.7]
    total = 1.0 + 0.9 + 0.3 + 9 + 0.8 + 0.95 + 0.9 + 1.0 + 0.7 + 8 + 0.2 + 0.1 + 0.05
    assert tree.kept == pytest.approx(2.6 / total)
    # 2 of layer 1 (0.3 is below half of 1.0), 5 of layer 0, 3 positive ones of the last
    assert tree.num_salient == 2 + 5 + 3
    # the reader reads a, b and d of the tree with a positive score, c with a negative one
    assert [(e.reader, e.read, e.layer) for e in tree.terminals] == [
        (4, 0, 2),
        (4, 1, 2),
        (4, 3, 2),
    ]
    assert [e.score for e in tree.terminals] == [0.2, 0.1, 0.05]
    assert tree.members == {0, 1, 2, 3}


def test_the_papers_rule_by_hand() -> None:
    """Row by row: b, just read by a, reads c in the same layer, for its row comes later."""
    tree = build_tree(links_of(HAND, reader=4), tau=0.5, rule="paper")
    # layer 0: a comes first and takes d with 0.8, although b and c read it better
    assert edges(tree) == [(1, "a", "b"), (1, "b", "c"), (0, "a", "d")]


def test_the_graph_without_circles_by_hand() -> None:
    tree = build_tree(links_of(HAND, reader=4), tau=0.5, rule="dag")
    assert edges(tree) == [
        (1, "a", "b"),
        (0, "a", "b"), (0, "b", "d"), (0, "a", "d"), (0, "a", "c"),
    ]  # fmt: skip


def test_a_circle_is_left_open() -> None:
    scores = placed(3, 3, l2_ab=1.0, l1_bc=1.0, l0_cb=0.4, l0_ca=0.3, l0_ac=1.0)
    tree = build_tree(links_of(scores), tau=0, rule="dag")
    assert edges(tree) == [(2, "a", "b"), (1, "b", "c"), (0, "a", "c")]


def test_the_papers_rule_reads_upwards_only_in_lower_layers() -> None:
    scores = placed(2, 3, l1_ab=1.0, l1_ca=1.0, l1_bc=0.9, l0_ca=0.5)
    scores[1, 2, 1] = 0.95  # c reads b, but c is not inside yet when its turn has passed
    tree = build_tree(links_of(scores), tau=0, rule="paper")
    assert tree.tokens[tree.root] == "c"
    backwards = build_tree(links_of(scores), tau=0, rule="score")
    assert edges(backwards)[0] == (1, "c", "a")


def test_the_root_takes_part_most_in_layers_made_alike() -> None:
    """By size a leads with 10; per layer b leads with 1 + 1 against 1."""
    scores = placed(3, 3, l0_ab=10.0, l1_bc=0.1, l2_ba=0.01, l0_aa=50.0)
    assert build_tree(links_of(scores)).root == 1
    # negative links count for the size of a layer and not for the sum
    scores = placed(2, 3, l0_ab=1.0, l0_bc=-4.0, l1_ca=0.5)
    assert build_tree(links_of(scores)).root == 2


def test_without_a_reader_the_last_layer_grows_too() -> None:
    scores = placed(2, 3, l1_ab=1.0, l0_bc=1.0, l1_cc=0.5)
    tree = build_tree(links_of(scores))
    assert edges(tree) == [(1, "a", "b"), (0, "b", "c")]
    assert tree.reader is None
    # the prediction stands above the root with what its row adds
    assert [(e.reader, e.read, e.layer, e.score) for e in tree.terminals] == [
        (PREDICTION, 0, 1, 1.0)
    ]
    assert tree.kept == 1.0


def test_a_reader_as_root_uses_every_layer() -> None:
    scores = placed(3, 4, l2_da=0.5, l2_db=1.0, l1_bc=1.0, l1_da=0.9, l0_ab=3.0)
    tree = build_tree(links_of(scores, reader=3), tau=0.6, root="reader")
    assert (tree.root, tree.terminals) == (3, ())
    assert edges(tree) == [(2, "d", "b"), (1, "b", "c"), (1, "d", "a")]
    word = build_tree(links_of(scores, reader=3), tau=0.6)
    assert edges(word) == [(0, "a", "b")]  # a and b lead alike: the first
    with pytest.raises(VesaliusError, match="read from several tokens"):
        build_tree(links_of(scores), root="reader")


def test_a_model_of_one_layer_and_one_token() -> None:
    one = build_tree(links_of(placed(1, 3, l0_ca=1.0), reader=2))
    assert (one.links, one.kept) == ((), 0.0)
    lone = build_tree(links_of(np.ones((2, 1, 1)), reader=0))
    assert (lone.root, lone.links, lone.terminals, lone.kept) == (0, (), (), 0.0)
    nothing = build_tree(links_of(np.zeros((2, 3, 3))))
    assert (nothing.root, nothing.links, nothing.kept, nothing.num_salient) == (0, (), 0.0, 0)
    against = build_tree(links_of(-np.ones((2, 3, 3))))
    assert (against.links, against.kept) == ((), 0.0)


@pytest.mark.usefixtures("as_users_call_it")
def test_tau_at_its_limits() -> None:
    links = links_of(HAND, reader=4)
    assert edges(build_tree(links, tau=1)) == []  # nothing is above the largest
    all_positive = salient_links(links, tau=0)
    assert all_positive.sum() == 3 + 5 + 3
    # the last layer marks every positive link of the reader whatever tau is
    for tau in (0.0, 0.5, 1.0):
        assert salient_links(links, tau=tau)[-1].sum() == 3
    for tau in (-0.1, 1.1, float("nan")):
        with pytest.raises(VesaliusError, match="tau="):
            build_tree(links, tau=tau)
    with pytest.raises(VesaliusError, match="rule='best'"):
        build_tree(links, rule="best")  # type: ignore[arg-type]


def test_a_sweep_is_its_trees() -> None:
    links = links_of(HAND, reader=4)
    sweep = sweep_tau(links, taus=(0.0, 0.5, 1.0))
    trees = [build_tree(links, tau=tau) for tau in (0.0, 0.5, 1.0)]
    assert sweep.kept.tolist() == [tree.kept for tree in trees]
    assert sweep.num_links.tolist() == [3.0, 3.0, 0.0]
    assert len(sweep_tau(links).tau) == 10


def test_a_receptive_field_counts_links_by_distance() -> None:
    first = build_tree(links_of(HAND, reader=4), tau=0.5)  # 1: a-b; 0: b-d, a-c
    second = build_tree(links_of(placed(2, 6, l1_fa=1.0)))
    field = receptive_field([first, second])
    wanted = np.zeros((3, 6))
    wanted[1, 1], wanted[0, 2], wanted[1, 5] = 1, 2, 1
    np.testing.assert_array_equal(field, wanted)
    assert receptive_field([]).shape == (0, 1)


# --- what always holds


SHAPES = st.tuples(
    st.integers(1, 4), st.integers(1, 6), st.integers(-1, 5), st.integers(0, 2**32 - 1)
)


def some_links(shape: tuple[int, int, int, int]) -> LayerLinks:
    """Distinct scores of either sign, with or without one reader."""
    num_layers, num_tokens, place, seed = shape
    scores = np.random.default_rng(seed).normal(size=(num_layers, num_tokens, num_tokens))
    reader = None if place < 0 else place % num_tokens
    if reader is not None:
        scores[-1, np.arange(num_tokens) != reader] = 0
    return links_of(scores, reader=reader)


@given(SHAPES, st.floats(0, 1), st.sampled_from(RULES))
def test_what_holds_of_every_tree(shape: tuple[int, int, int, int], tau: float, rule: str) -> None:
    links = some_links(shape)
    tree = build_tree(links, tau=tau, rule=rule)  # type: ignore[arg-type]
    assert 0 <= tree.kept <= 1 + 1e-12
    reads = [link.read for link in tree.links]
    assert tree.root not in reads
    inside = {tree.root}
    for link in tree.links:  # top down: who reads is inside already
        assert link.reader in inside
        assert link.reader != link.read
        assert link.score == links.scores[link.layer, link.reader, link.read] > 0
        inside.add(link.read)
    layers = [link.layer for link in tree.links]
    assert layers == sorted(layers, reverse=True)
    if rule != "dag":
        assert len(set(reads)) == len(reads)  # one parent each
    if rule == "score":
        above = {link.read: link.layer for link in tree.links}
        for link in tree.links:
            assert link.layer < above.get(link.reader, links.num_layers)
    assert _has_no_circle(tree)
    top = links.num_layers - (1 if links.reader is None else 2)
    assert all(layer <= top for layer in layers)
    if links.reader is not None:
        assert all(link.reader != links.reader for link in tree.links)
    assert tree.num_salient >= len(tree.links)
    assert all(link.read in tree.members for link in tree.terminals)


def _has_no_circle(tree: Tree) -> bool:
    left = {(link.reader, link.read) for link in tree.links}
    while left:
        leaves = {read for _, read in left} - {reader for reader, _ in left}
        if not leaves:
            return False
        left = {pair for pair in left if pair[1] not in leaves}
    return True


def test_the_check_for_circles_finds_one() -> None:
    tree = build_tree(links_of(HAND, reader=4), tau=0.5)
    first = tree.links[0]
    round_ = replace(tree, links=(first, replace(first, reader=first.read, read=first.reader)))
    assert _has_no_circle(tree)
    assert not _has_no_circle(round_)


@given(SHAPES, st.floats(0, 0.9), st.sampled_from(("score", "dag")), st.randoms())
def test_names_do_not_matter(
    shape: tuple[int, int, int, int], tau: float, rule: str, random: object
) -> None:
    """Tokens in another order give the same tree in that order: scores are distinct."""
    links = some_links(shape)
    order = list(range(links.num_tokens))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = np.argsort(order)  # where a token went
    moved = replace(
        links,
        scores=links.scores[:, order][:, :, order],
        weights=links.weights[:, order][:, :, order],
        special=links.special[order],
        reader=None if links.reader is None else int(place[links.reader]),
    )
    tree, other = (build_tree(each, tau=tau, rule=rule) for each in (links, moved))  # type: ignore[arg-type]
    if links.scores.max() <= 0 or not tree.links:
        return
    assert other.root == place[tree.root]
    wanted = {(link.layer, int(place[link.reader]), int(place[link.read])) for link in tree.links}
    assert {(link.layer, link.reader, link.read) for link in other.links} == wanted
    assert other.kept == pytest.approx(tree.kept)


@given(SHAPES, st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_reaches_no_fewer_tokens(
    shape: tuple[int, int, int, int], one: float, other: float
) -> None:
    """Links may change their reader, but what was reached stays reached."""
    links = some_links(shape)
    low, high = sorted((one, other))
    for rule in RULES:
        small, large = (build_tree(links, tau=tau, rule=rule) for tau in (high, low))
        if rule != "paper":
            assert small.members <= large.members
    assert salient_links(links, tau=high).sum() <= salient_links(links, tau=low).sum()


# --- the graph


def test_a_graph_takes_the_strongest_links_of_each_layer() -> None:
    weights = np.full((3, 5, 5), 0.2)
    graph = build_graph(links_of(HAND, reader=4, weights=weights, special=[4]), per_layer=2)
    found = [
        (link.layer, graph.tokens[link.reader] + graph.tokens[link.read]) for link in graph.links
    ]
    assert found == [(0, "ea"), (0, "ab"), (1, "eb"), (1, "ab"), (2, "ea"), (2, "eb")]
    assert graph.num_links.tolist() == [2, 2, 2]
    np.testing.assert_allclose(graph.kept, [9 / 12.35, 10 / 11.2, 0.3 / 0.35])
    everything = build_graph(links_of(HAND, reader=4), per_layer=100)
    assert everything.num_links.tolist() == [6, 4, 3]
    assert everything.kept.tolist() == [1, 1, 1]
    with pytest.raises(VesaliusError, match="per_layer=0"):
        build_graph(links_of(HAND), per_layer=0)


def test_equal_links_keep_the_order_of_the_text() -> None:
    graph = build_graph(links_of(placed(1, 3, l0_ca=1.0, l0_ab=1.0, l0_bc=1.0)), per_layer=2)
    assert [(link.reader, link.read) for link in graph.links] == [(0, 1), (1, 2)]


def test_the_hierarchy_by_hand() -> None:
    scores = placed(2, 3, l0_ab=3.0, l0_ca=1.0, l0_bb=9.0, l0_bc=-5.0)
    weights = np.zeros((2, 3, 3))
    weights[0] = [[0.5, 0.25, 0.25], [0, 1, 0], [1, 0, 0]]
    found = hierarchy(links_of(scores, weights=weights, special=[2]))
    assert found.positive.tolist() == [4.0, 0.0]
    assert found.distance[0] == pytest.approx((3 * 1 + 1 * 2) / 4)
    assert found.special[0] == pytest.approx(1 / 4)
    assert found.attention_distance[0] == pytest.approx((0.25 * 1 + 0.25 * 2 + 1 * 2) / 1.5)
    assert found.attention_special[0] == pytest.approx((0.25 + 1) / 1.5)
    for name in ("distance", "special", "attention_distance", "attention_special"):
        assert np.isnan(getattr(found, name)[1])
