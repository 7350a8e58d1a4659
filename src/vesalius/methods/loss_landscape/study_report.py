"""Pages about roll-backs, barriers and flatness.

Source: this project.
"""

from pathlib import Path

from vesalius.methods.loss_landscape.barrier import BarrierResult
from vesalius.methods.loss_landscape.flatness_result import Flatness
from vesalius.methods.loss_landscape.page_parts import (
    MEASURES,
    Section,
    drawn,
    folded,
    points_table,
    rows_table,
    write_page,
)
from vesalius.methods.loss_landscape.plot import plot_barrier, plot_flatness, plot_rollback
from vesalius.methods.loss_landscape.rollback import Rollback
from vesalius.methods.loss_landscape.study_tables import (
    barrier_rows,
    barrier_sentences,
    flatness_rows,
    rollback_loss_rows,
    rollback_rows,
    rollback_sentences,
    width_rows,
)
from vesalius.methods.loss_landscape.tables import example_words, missing_sentences, moved_words
from vesalius.methods.loss_landscape.wording import split_name


def write_rollback(result: Rollback, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a roll-back: which layers matter, with intervals and tests.

    Args:
        result: the roll-back.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    alt = "Accuracy with each group's weights exchanged; the numbers are in the table below."
    sections: list[Section] = [
        ("What one sees", [*rollback_sentences(result), drawn(plot_rollback(result), alt)]),
        ("Accuracy", [rows_table(rollback_rows(result))]),
        ("Loss", [rows_table(rollback_loss_rows(result))]),
    ]
    how = [
        ("change", "accuracy in points and loss in nats, against the model without any exchange; "
         "95% bootstrap intervals, paired over examples; p by random signs of the differences, "
         "not corrected for the number of groups"),
        ("moved", "length of what training added to these weights over their length before"),
        *MEASURES[:2],
    ]  # fmt: skip
    return write_page(result.card, "Layers rolled back", sections, how, path, force=force)


def write_barrier(result: BarrierResult, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a barrier: the way between two models, how high it rises, every point.

    Args:
        result: the barrier.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    alt = "Loss and error on the straight way between the two models, with the barriers."
    told = [
        "alpha 0 is the model, alpha 1 the other one; between them every weight goes straight from "
        f"one to the other. What moves: {moved_words(result.moved)}. Every point is measured on "
        f"the same {example_words(result.num_examples)}.",
        *barrier_sentences(result),
        *missing_sentences(result.values),
    ]
    sections: list[Section] = [
        ("What one sees", [*told, drawn(plot_barrier(result), alt)]),
        ("The barriers", [rows_table(barrier_rows(result))]),
        ("Every point", [folded(f"{len(result.alphas)} points", points_table(result))]),
    ]
    how = [
        ("barrier", "the most by which a measure rises above the straight line between its values "
         "at both ends; its standard error is over examples, at that place"),
        ("distance", f"{result.distance:.4g} between the weights (Euclidean)"),
        *MEASURES,
    ]  # fmt: skip
    return write_page(result.card, "The way to another model", sections, how, path, force=force)


def write_flatness(result: Flatness, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about flatness: every measure, raw and normalised, and the widths.

    Args:
        result: the flatness.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.
    """
    told = [
        f"How fast the {split_name(result.split)} loss rises around the model, whose own loss is "
        f"{result.loss_nats:.3g} nats on {result.num_examples:,} examples. What moves: "
        f"{moved_words(result.moved)}, {result.num_weights:,} numbers of length "
        f"{result.weights_norm:.4g}.",
        "Raw counts every weight alike. Normalised counts a weight in units of its own size, so "
        "that rescaling one layer and undoing it in the next changes nothing.",
        "Bars of different measures have no common scale. None of these numbers says by itself "
        "which of two models does better on new data: sharpness has been found to follow the "
        "learning rate instead (arXiv 2302.07011).",
    ]
    alt = "The measures of sharpness as bars; the numbers are in the table below."
    sections: list[Section] = [
        ("What one sees", [*told, drawn(plot_flatness(result), alt)]),
        ("In numbers", [rows_table(flatness_rows(result))]),
    ]
    if result.widths:
        sections.append(("Widths", [rows_table(width_rows(result))]))
    how = [
        ("average rise", f"{result.num_gaussian} pairs of opposite Gaussian shifts of size "
         f"{result.sigma:g}, in units of each weight (normalised) or of their root mean square "
         "(raw)"),
        ("rise after climbing", f"{result.num_steps} gradient step(s) to a shift of length "
         f"{result.raw.rho:g} (raw) and {result.normalised.rho:g} (normalised)"),
        ("eigenvalue, trace", "of the Hessian of the mean loss: curvature along the steepest "
         "direction, and summed over all; trace by random signs (Hutchinson)"),
        ("width", f"stretch around the model in which the loss rises by at most "
         f"{result.tau_nats:g} nats; times the axis' length it is Euclidean"),
    ]  # fmt: skip
    return write_page(result.card, "Flatness", sections, how, path, force=force)
