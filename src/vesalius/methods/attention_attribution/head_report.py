"""Self-contained pages about heads, pruning curves and faithfulness."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from vesalius.core.html import Html, picture, table
from vesalius.methods.attention_attribution.faithfulness_result import Faithfulness
from vesalius.methods.attention_attribution.head_result import ACCURACY, TAYLOR, HeadImportance
from vesalius.methods.attention_attribution.plot import (
    plot_faithfulness,
    plot_importance,
    plot_prune_curve,
)
from vesalius.methods.attention_attribution.prune_curve import PruneCurve
from vesalius.methods.attention_attribution.report import write_page
from vesalius.plots.style import figure_bytes


def write_heads(found: HeadImportance, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about the importance of heads: a map for the paper's measure and each baseline.

    Args:
        found: the importance.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    shown = ["max", *(name for name in (TAYLOR, ACCURACY) if name in found.names)]
    sections: list[tuple[str, Sequence[object]]] = [
        (f"Importance by {name}", [_map(found, name)]) for name in shown
    ]
    sections.append(("Every head", [_table_of(found.to_table())]))
    number = found.values.shape[1]
    how = [
        ("max", "largest attribution of a link of the head, mean over texts (arXiv 2004.11207)"),
        ("texts", str(number)),
        (
            "integrals that are not complete",
            f"{int(found.num_open.sum())} of {number * len(found.sites)}",
        ),
        ("seed", str(found.card.seed)),
    ]
    return write_page(found.card, f"Heads of {found.card.model}", sections, how, path, force=force)


def write_prune_curve(found: PruneCurve, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a pruning curve.

    Args:
        found: the curve.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    drawn = picture(figure_bytes(plot_prune_curve(found)), alt=found.verdict)
    sections: list[tuple[str, Sequence[object]]] = [
        ("Accuracy while heads go", [found.verdict, drawn, _table_of(found.to_table())])
    ]
    how = [
        ("removal", "attention of the head times 0 in every text, least important heads first"),
        ("texts", f"{found.right.shape[2]}, none of which importance was measured on"),
        ("random", f"mean over {found.num_random} orders"),
        ("intervals", "bootstrap over texts, 95 %"),
        ("commonest class", f"{found.majority:.1%}"),
        ("seed", str(found.card.seed)),
    ]
    return write_page(found.card, f"Pruned heads of {found.card.model}", sections, how, path,
                  force=force)  # fmt: skip


def write_faithfulness(found: Faithfulness, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about what the model says when links go.

    Args:
        found: the result.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    curves = [
        picture(
            figure_bytes(plot_faithfulness(found, direction=direction)),
            alt=f"{direction} curves: mean areas "
            + ", ".join(
                f"{order} {found.area(order, direction=direction).estimate:.3f}"
                for order in ("attribution", "attention", "random")
            ),
        )
        for direction in ("deletion", "insertion")
    ]
    sections: list[tuple[str, Sequence[object]]] = [
        ("The tree's links taken out", [found.verdict, _table_of(found.to_table())]),
        ("More and more links", curves),
    ]
    if len(found.agreement):
        mean = float(found.agreement.mean())
        sections.append(
            (
                "A model that knows nothing",
                [
                    "Rank correlation of the scores with those of a copy whose weights were "
                    f"shuffled: {mean:+.3f} on average (0: they depend on what was learned)."
                ],
            )
        )
    how = [
        ("zero, uniform", "what the probability of a link that goes becomes in all heads"),
        ("texts", str(len(found.prob))),
        ("intervals", "bootstrap over texts, 95 %; p by random signs"),
        ("seed", str(found.card.seed)),
    ]
    title = f"Does {found.card.model} hang on these links?"
    return write_page(found.card, title, sections, how, path, force=force)


def _map(found: HeadImportance, name: str) -> Html:
    return picture(
        figure_bytes(plot_importance(found, by=name)),
        alt=f"Heat map of the importance of every head by {name}; the numbers are in the table.",
    )


def _table_of(found: pa.Table) -> Html:
    rows: list[dict[str, Any]] = found.to_pylist()
    return table(
        found.column_names,
        [["-" if value is None else value for value in row.values()] for row in rows],
    )
