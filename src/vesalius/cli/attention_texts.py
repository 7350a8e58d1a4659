"""`vesalius attention attribute | tree | graph`: which token read which in some texts.

Source: arXiv 2004.11207.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vesalius.cli.attention_data import score_config, shorten, texts_of
from vesalius.cli.attention_flags import TextFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_corpus import check_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution import Attributions, Graph, Tree

Verb = Literal["attribute", "tree", "graph"]
_SHOWN = 10  # links of a text in a table


def run_texts(flags: TextFlags, *, verb: Verb) -> None:
    """Attribute the texts; print, save and draw what the command is about.

    Raises:
        VesaliusError: texts, classes or options that do not fit the model, or files that exist.
        WrongUsage: no texts.
    """
    asked = texts_of(flags)
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    config = score_config(flags, keep=flags.keep)
    specimen = open_model(flags.model, flags)
    from vesalius.methods.attention_attribution import attribute, build_graph, build_tree

    if flags.dry_run:
        from vesalius.cli.attention_forecast import show_forecast

        show_forecast(specimen, asked, config, json=flags.json)
        return
    labels = asked.labels
    with working(f"attributing {len(asked.texts)} texts"):
        found = attribute(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            targets=labels[0] if labels is not None and len(labels) == 1 else labels,
            foils=flags.foil or None,
            config=config,
        )
    links = [found.layer_links(i, words=not flags.pieces) for i in range(len(found.examples))]
    rule: Any = flags.tree_rule
    root: Any = flags.root
    trees = [build_tree(each, tau=flags.tau, rule=rule, root=root) for each in links]
    graphs = [build_graph(each, per_layer=flags.per_layer) for each in links]
    _write(found, trees, graphs, flags, verb)
    if flags.json:
        emit_json({verb: _as_json(found, trees, graphs, verb)})
    else:
        _show(found, trees, graphs, verb)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _write(
    found: "Attributions",
    trees: "Sequence[Tree]",
    graphs: "Sequence[Graph]",
    flags: TextFlags,
    verb: Verb,
) -> None:
    from vesalius.core.paths import write_file
    from vesalius.methods.attention_attribution import plot_graph, plot_tree
    from vesalius.methods.attention_attribution.report import write_attributions
    from vesalius.plots.style import figure_bytes

    if flags.out is not None:
        found.save(flags.out, force=flags.force)
    if flags.html is not None:
        write_attributions(found, flags.html, trees=trees, graphs=graphs, force=flags.force)
    written = [path for path in (flags.out, flags.html) if path is not None]
    for number in range(len(trees)) if flags.plot is not None else ():
        assert flags.plot is not None
        path = _numbered(flags.plot, number, len(trees))
        axes = plot_graph(graphs[number]) if verb == "graph" else plot_tree(trees[number])
        write_file(path, figure_bytes(axes, format=path.suffix[1:]), force=flags.force)
        written.append(path)
    for path in written:
        say(f"vesalius: wrote {path}")


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_stem(f"{path.stem}-{number}")


def _show(
    found: "Attributions", trees: "Sequence[Tree]", graphs: "Sequence[Graph]", verb: Verb
) -> None:
    for number, example in enumerate(found.examples):
        if number:
            emit("")
        emit(f"{shorten(example.text.words, most=100)}")
        said = "" if example.predicted == example.target else f" (it says {example.predicted})"
        gap = float(example.gap.max())
        emit(f"{example.target} {example.prob:.4f}{said}   completeness gap at most {gap:.1e}")
        if verb == "tree":
            emit(draw_tree(trees[number]))
        elif verb == "graph":
            _show_graph(graphs[number])
        else:
            _show_links(graphs[number])


def _show_links(graph: "Graph") -> None:
    best = sorted(graph.links, key=lambda link: -link.score)[:_SHOWN]
    rows = [
        (link.layer, graph.tokens[link.reader], graph.tokens[link.read], link.score)
        for link in best
    ]
    emit_table(("layer", "reader", "reads", "attribution"), rows)


def _show_graph(graph: "Graph") -> None:
    for layer in reversed(range(graph.num_layers)):
        here = [link for link in graph.links if link.layer == layer]
        words = [f"{graph.tokens[k.reader]}<-{graph.tokens[k.read]} {k.score:.3g}" for k in here]
        emit(f"layer {layer}: {', '.join(words) or 'nothing above zero'}")
    found = graph.hierarchy
    emit_table(
        ("layer", "positive attribution", "distance", "special tokens", "distance by attention"),
        [
            (layer, *(float(column[layer]) for column in (
                found.positive, found.distance, found.special, found.attention_distance)))
            for layer in range(graph.num_layers)
        ],
    )  # fmt: skip


def draw_tree(tree: "Tree") -> str:
    """Draw a tree with indentation: each token under the one that reads it, strongest first."""
    children: dict[int, list[Any]] = {}
    for link in tree.links:
        children.setdefault(link.reader, []).append(link)
    lines = [tree.tokens[tree.root]]

    def grow(token: int, indent: str) -> None:
        below = sorted(children.get(token, []), key=lambda link: (-link.score, link.read))
        for place, link in enumerate(below):
            last = place == len(below) - 1
            lines.append(
                f"{indent}{'└' if last else '├'}─ {tree.tokens[link.read]}  "
                f"(layer {link.layer}, {link.score:.3g})"
            )
            # in a graph with several readers what is below is written once
            grow(link.read, f"{indent}{' ' if last else '│'}  ") if tree.rule != "dag" else None

    grow(tree.root, "")
    if tree.rule == "dag":
        lines = [
            f"layer {k.layer}: {tree.tokens[k.reader]} reads {tree.tokens[k.read]}  {k.score:.3g}"
            for k in tree.links
        ]
    lines.append(f"keeps {tree.kept:.0%} of the positive attribution between different tokens")
    return "\n".join(lines)


def _as_json(
    found: "Attributions", trees: "Sequence[Tree]", graphs: "Sequence[Graph]", verb: Verb
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for example, tree, graph in zip(found.examples, trees, graphs, strict=True):
        chosen = tree.links if verb == "tree" else graph.links
        row: dict[str, Any] = {
            "tokens": list(tree.tokens),
            "target": example.target,
            "predicted": example.predicted,
            "prob": example.prob,
            "gap": example.gap.tolist(),
            "num_nodes": example.num_nodes.tolist(),
            "links": [
                {"layer": k.layer, "reader": k.reader, "read": k.read, "attribution": k.score}
                for k in chosen
            ],
        }
        if verb == "tree":
            row |= {"root": tree.root, "kept": tree.kept, "tau": tree.tau}
        if verb == "graph":
            row["hierarchy"] = {
                name: getattr(graph.hierarchy, name).tolist()
                for name in ("positive", "distance", "special", "attention_distance")
            }
        rows.append(row)
    return rows
