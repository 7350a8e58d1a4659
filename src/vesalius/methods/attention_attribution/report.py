"""One self-contained page about attributed texts: tree, links, heads, numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vesalius.core.card import RunCard
from vesalius.core.html import element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.attention_attribution.graph import Graph, build_graph
from vesalius.methods.attention_attribution.plot import plot_graph, plot_tree
from vesalius.methods.attention_attribution.result import Attributions
from vesalius.methods.attention_attribution.tree import Tree, build_tree
from vesalius.plots.head_map import head_map
from vesalius.plots.link_tree import Link
from vesalius.plots.style import figure_bytes

_SHOWN_LINKS = 15


def write_attributions(
    found: Attributions,
    path: str | Path,
    *,
    trees: Sequence[Tree] = (),
    graphs: Sequence[Graph] = (),
    force: bool = False,
) -> Path:
    """Write a page with a section per text: its tree, its strongest links, its heads.

    Args:
        found: the attributions.
        path: of the HTML file.
        trees: one for each text; with tau 0.4 where left out.
        graphs: one for each text; the eight strongest links of a layer where left out.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    everyone = range(len(found.examples))
    shown = trees or [build_tree(found.layer_links(i)) for i in everyone]
    drawn = graphs or [build_graph(found.layer_links(i)) for i in everyone]
    sections = [_section(found, i, shown[i], drawn[i]) for i in everyone]
    sections.append(("How these numbers were made", _provenance(found)))
    text = page(f"Which token read which in {found.card.model}", sections)
    return write_file(path, text.encode(), force=force)


def _section(
    found: Attributions, number: int, tree: Tree, graph: Graph
) -> tuple[str, Sequence[object]]:
    example = found.examples[number]
    told = f"“{example.target}” with probability {example.prob:.3f}"
    if example.predicted != example.target:
        told += f" (the model says “{example.predicted}”)"
    largest = np.array(
        [found.site_scores(number, site).max(axis=(1, 2)) for site in range(len(found.sites))],
        dtype=object,
    )
    body: list[object] = [
        element("p", "Attributed: ", element("strong", told), "."),
        picture(figure_bytes(plot_tree(tree)), alt=tree_in_words(tree)),
        element("h3", "The strongest links of every layer"),
        picture(figure_bytes(plot_graph(graph)), alt=_graph_in_words(graph)),
        element("h3", "The tree's links"),
        table(
            ("layer", "reader", "reads", "attribution"),
            [_link_row(tree.tokens, link) for link in tree.links[:_SHOWN_LINKS]],
        ),
        element("h3", "Heads: the largest attribution of each"),
        picture(
            figure_bytes(head_map(_rectangular(largest), unit="largest attribution")),
            alt="Heat map of the largest attribution of every head, layer by layer.",
        ),
        element("h3", "The hierarchy"),
        _hierarchy_table(graph),
        element("p", f"Completeness gap: at most {float(example.gap.max()):.1e} (0 is exact)."),
    ]
    words = " ".join(w for w, s in zip(tree.tokens, tree.special, strict=True) if not s)
    return words[:120], body


def tree_in_words(tree: Tree) -> str:
    """Say in words what a picture of a tree shows; no shapes.

    Source: text alternatives, WCAG 2.2, 1.1.1.
    """
    links = [
        f"{tree.tokens[link.reader]} reads {tree.tokens[link.read]} in layer {link.layer}"
        for link in tree.links
    ]
    return f"Attribution tree with root {tree.tokens[tree.root]}: {'; '.join(links) or 'no links'}."


def _graph_in_words(graph: Graph) -> str:
    best = sorted(graph.links, key=lambda link: -link.score)[:5]
    words = [
        f"{graph.tokens[link.reader]} reads {graph.tokens[link.read]} in layer {link.layer}"
        for link in best
    ]
    return f"Graph of the strongest links of every layer; the strongest: {'; '.join(words)}."


def _link_row(tokens: Sequence[str], link: Link) -> tuple[object, ...]:
    return (link.layer, tokens[link.reader], tokens[link.read], link.score)


def _hierarchy_table(graph: Graph) -> object:
    found = graph.hierarchy
    columns = (found.positive, found.distance, found.special, found.attention_distance)
    rows = [
        (layer, *("-" if np.isnan(column[layer]) else float(column[layer]) for column in columns))
        for layer in range(graph.num_layers)
    ]
    names = ("layer", "positive attribution", "link distance (tokens)", "share of special tokens",
             "distance by attention alone")  # fmt: skip
    return table(names, rows)


def _rectangular(rows: np.ndarray) -> np.ndarray:
    """Heads of every site in one array, NaN where a site has fewer."""
    widest = max(len(row) for row in rows)
    found = np.full((len(rows), widest), np.nan)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found


def _provenance(found: Attributions) -> list[object]:
    card = found.card
    rows = [
        ("attribution", f"integrated gradients of the {card.config['target']} along the line from "
         f"the baseline “{card.config['baseline']}” to each layer's attention probabilities, "
         "heads summed (arXiv 2004.11207), one backward pass for all layers"),
        ("quadrature", f"{card.config['rule']}, {card.config['num_nodes']} nodes or more"),
        ("largest completeness gap", f"{found.max_gap:.1e} (0 would be exact)"),
        *made_by(card),
    ]  # fmt: skip
    return [*(element("p", f"Note: {w}.") for w in card.warnings), table(("what", "how"), rows)]


def write_page(
    card: RunCard,
    title: str,
    sections: Sequence[tuple[str, Sequence[object]]],
    how: Sequence[tuple[str, str]],
    path: str | Path,
    *,
    force: bool,
) -> Path:
    """Write a page of sections whose last one says how its numbers were made; no shapes.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project.
    """
    notes = [element("p", f"Note: {warning}.") for warning in card.warnings]
    told = table(("what", "how"), [*how, *made_by(card)])
    text = page(title, [*sections, ("How these numbers were made", [*notes, told])])
    return write_file(path, text.encode(), force=force)


def made_by(card: RunCard) -> list[tuple[str, str]]:
    """Say which model, versions and seconds made a result; no shapes.

    Source: this project.
    """
    return [
        ("model", f"{card.model} ({card.model_fingerprint})"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]
