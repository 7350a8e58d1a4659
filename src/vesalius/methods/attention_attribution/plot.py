"""Pictures of attention attribution: trees, graphs, heads, curves."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution.faithfulness_result import (
    CURVE_ORDERS,
    DIRECTIONS,
    Faithfulness,
)
from vesalius.methods.attention_attribution.graph import Graph
from vesalius.methods.attention_attribution.head_result import HeadCorrelation, HeadImportance
from vesalius.methods.attention_attribution.head_study import STUDY_ORDERS, HeadStudy
from vesalius.methods.attention_attribution.prune_curve import PruneCurve
from vesalius.methods.attention_attribution.tree import TauSweep, Tree, receptive_field
from vesalius.plots.distance_bars import distance_histograms
from vesalius.plots.head_map import head_map
from vesalius.plots.heat import heat_map
from vesalius.plots.link_graph import link_graph
from vesalius.plots.link_tree import PREDICTION, link_tree
from vesalius.plots.share_curves import ShareCurve, share_curves


def plot_tree(tree: Tree, *, title: str = "", ax: Any = None) -> Any:
    """Draw an attribution tree: across the text, upwards the layer in which a token was read.

    Returns:
        The matplotlib Axes.

    Source: figure 6 of arXiv 2004.11207.
    """
    footnote = (
        f"{_links(len(tree.links))} {tree.kept:.0%} of all positive attribution between "
        f"different tokens (tau {tree.tau:g}, {tree.rule})"
    )
    if tree.reader is None:
        top = [link for link in tree.terminals if link.reader == PREDICTION]
        return link_tree(
            tree.tokens, [*top, *tree.links], num_layers=tree.num_layers, title=title,
            footnote=footnote, ax=ax,
        )  # fmt: skip
    return link_tree(
        tree.tokens, tree.links, root=tree.root, num_layers=tree.num_layers, title=title,
        footnote=footnote, ax=ax,
    )  # fmt: skip


def _links(number: int) -> str:
    return "1 link, which holds" if number == 1 else f"{number} links, which hold"


def plot_graph(graph: Graph, *, title: str = "", ax: Any = None) -> Any:
    """Draw the strongest links of every layer as one graph.

    Returns:
        The matplotlib Axes.

    Source: figure 1 of arXiv 2004.11207.
    """
    return link_graph(
        graph.tokens,
        graph.links,
        num_layers=graph.num_layers,
        special=[i for i, mark in enumerate(graph.special) if mark],
        title=title,
        ax=ax,
    )


def plot_tau_sweep(sweep: TauSweep, *, title: str = "", ax: Any = None) -> Any:
    """Draw the share of positive attribution that a tree keeps against its threshold.

    Returns:
        The matplotlib Axes.

    Source: this project.
    """
    most = max(float(sweep.num_links.max()), 1.0)
    return share_curves(
        {
            "share of positive attribution kept": ShareCurve(share=sweep.tau, value=sweep.kept),
            f"links, of {most:.0f}": ShareCurve(share=sweep.tau, value=sweep.num_links / most),
        },
        x_label="threshold tau",
        y_label="share",
        title=title,
        ax=ax,
    )


def plot_receptive_field(trees: Sequence[Tree], *, title: str = "", ax: Any = None) -> Any:
    """Draw by layer how far tree links reach, over all trees.

    Returns:
        The matplotlib Axes.

    Source: figure 7 of arXiv 2004.11207.
    """
    return distance_histograms(receptive_field(trees), title=title, ax=ax)


def plot_importance(
    found: HeadImportance,
    *,
    by: str = "max",
    removed: Collection[tuple[int, int]] = (),
    ax: Any = None,
) -> Any:
    """Draw the importance of every head, removed ones crossed.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: a measure that was not taken.

    Source: figure 3 of arXiv 2004.11207.
    """
    cross = any(site.kind == "cross" for site in found.sites)
    names = [f"{site.layer} {site.kind}" if cross else str(site.layer) for site in found.sites]
    return head_map(
        found.importance(by),
        unit=f"importance ({by})",
        marked=removed,
        mark="cross",
        mark_name="removed",
        rows=names,
        title=f"Heads of {found.card.model}",
        ax=ax,
    )


def plot_correlation(found: HeadCorrelation, *, kind: str = "pearson", ax: Any = None) -> Any:
    """Draw how alike tasks rank the heads, negative correlations as 0.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: another kind than pearson or spearman.

    Source: figure 5 of arXiv 2004.11207.
    """
    if kind not in ("pearson", "spearman"):
        raise VesaliusError(
            given=f"kind={kind!r}", expected="pearson or spearman", fix="use pearson"
        )
    values: np.ndarray = getattr(found, kind)
    return heat_map(
        values.clip(min=0), rows=found.tasks, unit=f"{kind} correlation of head importance", ax=ax
    )


def plot_prune_curve(found: PruneCurve, *, ax: Any = None) -> Any:
    """Draw accuracy against the share of heads removed, a curve for every order.

    Returns:
        The matplotlib Axes.

    Source: figure 4 of arXiv 2004.11207.
    """
    curves = {}
    for order in found.orders:
        taken = found.accuracy(order)
        curves[order] = ShareCurve(
            share=found.shares,
            value=np.array([each.estimate for each in taken]),
            low=np.array([each.low for each in taken]),
            high=np.array([each.high for each in taken]),
        )
    return share_curves(
        curves,
        x_label="heads removed",
        y_label="accuracy",
        references={"commonest class": found.majority},
        percent=True,
        title=f"{found.card.model}, heads removed by importance",
        ax=ax,
    )


def plot_faithfulness(found: Faithfulness, *, direction: str = "deletion", ax: Any = None) -> Any:
    """Draw the target's probability while links are taken out, or put in, in three orders.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: another direction than deletion or insertion.

    Source: arXiv 1806.07421.
    """
    if direction not in DIRECTIONS:
        raise VesaliusError(
            given=f"direction={direction!r}",
            expected=f"one of {', '.join(DIRECTIONS)}",
            fix="use deletion",
        )
    mean = found.curves[:, DIRECTIONS.index(direction)].mean(axis=0)
    return share_curves(
        {
            order: ShareCurve(share=found.shares, value=mean[i])
            for i, order in enumerate(CURVE_ORDERS)
        },
        x_label=f"links {'taken out' if direction == 'deletion' else 'left in'}",
        y_label="probability of the target",
        references={"untouched": float(found.prob.mean())},
        title=f"{found.card.model}, {len(found.prob)} texts",
        ax=ax,
    )


def plot_head_study(found: HeadStudy, *, ax: Any = None) -> Any:
    """Draw accuracy while every text loses heads of each layer in its own order.

    Returns:
        The matplotlib Axes.

    Source: figure 2 of arXiv 2004.11207.
    """
    number = found.right.shape[1]
    shares = np.linspace(0, 1, number)
    curves = {}
    for order in STUDY_ORDERS:
        taken = [found.accuracy(order, removed) for removed in range(number)]
        curves[order] = ShareCurve(
            share=shares,
            value=np.array([each.estimate for each in taken]),
            low=np.array([each.low for each in taken]),
            high=np.array([each.high for each in taken]),
        )
    return share_curves(
        curves,
        x_label="heads of each layer removed, in each text's own order",
        y_label="accuracy",
        percent=True,
        title=f"{found.card.model}, {found.right.shape[2]} texts",
        ax=ax,
    )
