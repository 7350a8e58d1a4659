"""`vesalius attention attribute | tree | graph`: which token read which in some texts.

Source: arXiv 2004.11207.
"""

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vesalius.cli.attention_data import (
    check_apart,
    check_tree_flags,
    counted,
    score_config,
    shorten,
    texts_of,
)
from vesalius.cli.attention_flags import TextFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_corpus import check_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.questions import check_picture

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution import Attributions, Example, Graph, Tree
    from vesalius.plots.link_tree import Link

Verb = Literal["attribute", "tree", "graph"]
_SHOWN = 10  # links of a text in a table


def run_texts(flags: TextFlags, *, verb: Verb) -> None:
    """Attribute the texts; print, save and draw what the command is about.

    Raises:
        VesaliusError: texts, classes or options that do not fit the model, or files that exist.
        WrongUsage: no texts.
    """
    asked = texts_of(flags)
    _check_files(flags, len(asked.texts))
    check_tree_flags(flags)
    config = score_config(flags, keep=flags.keep)
    specimen = open_model(flags.model, flags)
    from vesalius.methods.attention_attribution import attribute, build_graph, build_tree

    if flags.dry_run:
        from vesalius.cli.attention_forecast import show_forecast

        show_forecast(specimen, asked, config, foil=flags.foil, json=flags.json)
        return
    with working(f"attributing {counted(len(asked.texts), 'text')}"):
        found = attribute(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            targets=asked.targets,
            foils=flags.foil or None,
            config=config,
        )
    links = [found.layer_links(i, words=not flags.pieces) for i in range(len(found.examples))]
    rule: Any = flags.tree_rule
    root: Any = flags.root
    trees = [build_tree(each, tau=flags.tau, rule=rule, root=root) for each in links]
    graphs = [build_graph(each, per_layer=flags.per_layer) for each in links]
    _write(found, trees, graphs, flags, verb)
    if verb == "attribute":  # the strongest of all, however many stand in one layer
        graphs = [build_graph(each, per_layer=_SHOWN) for each in links]
    if flags.json:
        emit_json({verb: _as_json(found, trees, graphs, verb)})
    else:
        _show(found, trees, graphs, verb)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")
    if flags.keep:
        say(f"vesalius: --keep {flags.keep}: trees, graphs and shares are those of the links kept")


def _check_files(flags: TextFlags, num_texts: int) -> None:
    """Refuse outputs that could not be written; each picture of several texts is one."""
    from vesalius.core.paths import check_new_output

    check_outputs(flags.out, flags.html, None, force=flags.force)
    check_picture(flags.plot)
    check_apart(out=flags.out, html=flags.html)
    for plot in _plots(flags, num_texts):
        check_new_output(plot, force=flags.force)
        check_apart(out=flags.out, html=flags.html, plot=plot)


def _plots(flags: TextFlags, num_texts: int) -> list[Path]:
    if flags.plot is None or num_texts == 1:
        return [] if flags.plot is None else [flags.plot]
    return [flags.plot.with_stem(f"{flags.plot.stem}-{number}") for number in range(num_texts)]


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
    for number, path in enumerate(_plots(flags, len(trees))):
        axes = plot_graph(graphs[number]) if verb == "graph" else plot_tree(trees[number])
        write_file(path, figure_bytes(axes, format=path.suffix[1:]), force=flags.force)
        written.append(path)
    for path in written:
        say(f"vesalius: wrote {path}")


def _show(
    found: "Attributions", trees: "Sequence[Tree]", graphs: "Sequence[Graph]", verb: Verb
) -> None:
    for number, example in enumerate(found.examples):
        if number:
            emit("")
        emit(shorten(example.text.words, most=100))
        said = "" if example.predicted == example.target else f" (it says {example.predicted})"
        gap = float(example.gap.max())
        emit(f"{_asked(example, found)}{said}   completeness gap at most {gap:.2g}")
        if verb == "tree":
            emit(draw_tree(trees[number]))
        elif verb == "graph":
            _show_graph(graphs[number])
        else:
            _show_links(graphs[number])


def _asked(example: "Example", found: "Attributions") -> str:
    """What was attributed, and its value: the links of a text add up to it."""
    kind = found.card.config["target"]
    if kind == "probability":
        return f"{example.target} {example.prob:.4f}"
    foil = f" against {example.foil}" if example.foil else ""
    return f"{example.target}{foil}, {kind} {example.end_value:.4g}"


def _show_links(graph: "Graph") -> None:
    names = distinct(graph.tokens)
    rows = [
        (link.layer, names[link.reader], names[link.read], link.score) for link in _strongest(graph)
    ]
    if rows:
        emit_table(("layer", "reader", "reads", "attribution"), rows)
    else:
        emit("no link between two tokens adds to it")


def _strongest(graph: "Graph") -> "list[Link]":
    return sorted(graph.links, key=lambda link: -link.score)[:_SHOWN]


def _show_graph(graph: "Graph") -> None:
    names = distinct(graph.tokens)
    rows: list[tuple[int, str]] = []
    for layer in reversed(range(graph.num_layers)):
        here = [link for link in graph.links if link.layer == layer]
        words = [f"{names[k.reader]}<-{names[k.read]} {k.score:.3g}" for k in here]
        rows.append((layer, "   ".join(words) or "nothing above zero"))
    emit_table(("layer", "reader<-what it reads, attribution"), rows)
    emit("")
    found = graph.hierarchy
    columns = (found.positive, found.distance, found.attention_distance, found.special)
    emit_table(
        ("layer", "positive sum", "mean distance", "by attention", "special tokens"),
        [
            (layer, *(_number(column[layer]) for column in columns))
            for layer in reversed(range(graph.num_layers))
        ],
    )


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def distinct(tokens: Sequence[str]) -> tuple[str, ...]:
    """Number the tokens that a text has several times.

    >>> distinct(["the", "cat", "the"])
    ('the#1', 'cat', 'the#2')
    """
    total, seen = Counter(tokens), Counter[str]()
    names: list[str] = []
    for token in tokens:
        seen[token] += 1
        names.append(token if total[token] == 1 else f"{token}#{seen[token]}")
    return tuple(names)


def draw_tree(tree: "Tree") -> str:
    """Draw a tree with indentation: each token under the one that reads it, strongest first."""
    names = distinct(tree.tokens)
    if not tree.links:
        return f"{names[tree.root]}: no link of it reaches {tree.tau:g} of its layer's largest"
    kept = f"keeps {percent(tree.kept)} of the positive attribution between different tokens"
    if tree.rule == "dag":  # a token has several readers
        lines = [
            f"layer {k.layer}: {names[k.reader]}<-{names[k.read]}  {k.score:.3g}"
            for k in tree.links
        ]
        return "\n".join((*lines, kept))
    children: dict[int, list[Link]] = {}
    for link in tree.links:
        children.setdefault(link.reader, []).append(link)
    lines = [names[tree.root]]

    def grow(token: int, indent: str) -> None:
        below = sorted(children.get(token, []), key=lambda link: (-link.score, link.read))
        for link in below:
            last = link is below[-1]
            lines.append(
                f"{indent}{'└' if last else '├'}─ {names[link.read]}  "
                f"(layer {link.layer}, {link.score:.3g})"
            )
            grow(link.read, f"{indent}{' ' if last else '│'}  ")

    grow(tree.root, "")
    return "\n".join((*lines, kept))


def percent(share: float) -> str:
    """Write a share with digits enough to tell it from nothing.

    >>> percent(0.28), percent(0.0042), percent(0.0)
    ('28%', '0.4%', '0%')
    """
    if share >= 0.01 or not share:
        return f"{share:.0%}"
    return f"{100 * share:.1g}%" if share >= 1e-5 else "under 0.001%"


def _as_json(
    found: "Attributions", trees: "Sequence[Tree]", graphs: "Sequence[Graph]", verb: Verb
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for example, tree, graph in zip(found.examples, trees, graphs, strict=True):
        chosen = {"tree": tree.links, "graph": graph.links, "attribute": _strongest(graph)}[verb]
        row: dict[str, Any] = {
            "tokens": list(tree.tokens),
            "target": example.target,
            "predicted": example.predicted,
            "prob": example.prob,
            "foil": example.foil or None,
            "attributed": found.card.config["target"],
            "value": example.end_value,
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
