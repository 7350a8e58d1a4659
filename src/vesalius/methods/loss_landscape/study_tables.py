"""Rows and sentences about roll-backs, barriers and flatness.

Source: arXiv 1908.05620, table 2; the sources of rollback.py, barrier.py and flatness.py.
"""

from typing import Final

import numpy as np

from vesalius.methods.loss_landscape.barrier import BarrierHeight, BarrierResult
from vesalius.methods.loss_landscape.flatness_result import Flatness
from vesalius.methods.loss_landscape.measures import LOSS
from vesalius.methods.loss_landscape.rollback import ENCODER, Rollback, RollbackRow
from vesalius.methods.loss_landscape.tables import (
    NOTHING,
    Rows,
    number_word,
    value_word,
    width_word,
)
from vesalius.methods.loss_landscape.wording import split_name
from vesalius.numerics.statistics import PairedDifference
from vesalius.numerics.surface_measures import Width

_NORMAL: Final = 1.96  # standard errors that hold the middle 95 % of a normal distribution


def rollback_rows(result: Rollback) -> Rows:
    """One row a group: how far its weights had moved, and the accuracy with them exchanged."""
    header = ("group", "layers", "weights", "moved", "accuracy", "change, points", "p")
    rows: list[list[object]] = [
        [
            row.group,
            ", ".join(map(str, row.layers)),
            f"{row.num_weights:,}",
            f"{row.weight_change:.2%}" if np.isfinite(row.weight_change) else "–",
            f"{row.accuracy:.1%}",
            _change(row.accuracy_change, 100, ".1f"),
            f"{row.accuracy_change.p_value:.2g}",
        ]
        for row in result.rows
    ]
    return header, rows


def rollback_loss_rows(result: Rollback) -> Rows:
    """One row a group: the loss with its weights exchanged."""
    rows: list[list[object]] = [
        [
            row.group,
            value_word(row.loss_nats, LOSS),
            _change(row.loss_change, 1, ".3f"),
            f"{row.loss_change.p_value:.2g}",
        ]
        for row in result.rows
    ]
    return ("group", "loss (nats)", "change", "p"), rows


def rollback_sentences(result: Rollback) -> list[str]:
    """Say what was exchanged, and which single layer or group costs least and most."""
    split, number = split_name(result.split), f"{result.num_examples:,}"
    if result.direction == "back":
        what = "One group of layers after the other gets back the weights it had before training"
    else:
        what = "One group of layers after the other gets its fine-tuned weights, all others the old"
    told = [
        f"{what}; the head stays. Measured on {number} {split} examples: the fine-tuned model is "
        f"right on {result.fine_tuned_accuracy:.1%}, with all of the old weights below the head "
        f"{result.start_accuracy:.1%}."
    ]
    singles = [row for row in result.rows if row.group.startswith("layer ")]
    groups = [row for row in result.rows if row not in singles and row.group != ENCODER]
    for name, rows in (("groups", groups), ("single layers", singles)):
        if len(rows) > 1:
            ranked = sorted(rows, key=lambda row: -abs(row.accuracy_change.mean.estimate))
            most, least = ranked[0], ranked[-1]
            told.append(
                f"Of the {name}, the accuracy changes most with {most.group} "
                f"({_points_of(most)}), least with {least.group} ({_points_of(least)})."
            )
    return told


def barrier_rows(result: BarrierResult) -> Rows:
    """One row a measure: the barrier, where it stands, and the values at both ends."""
    header = ("measure", "barrier", "at alpha", "this model", "the other")
    rows: list[list[object]] = []
    for high in result.heights:
        values = result.values[high.split][high.measure]
        errors = result.standard_errors[high.split][high.measure]
        ends = [value_word(float(values[k]), high.measure, float(errors[k])) for k in (0, -1)]
        height = value_word(high.height, high.measure, high.standard_error)
        name = f"{split_name(high.split)} {high.measure}"
        rows.append([name, height, high.alpha, *ends])
    return header, rows


def barrier_sentences(result: BarrierResult) -> list[str]:
    """Say of the losses whether a barrier stands between the models."""
    return [_barrier_sentence(high) for high in result.heights if high.measure == LOSS]


def flatness_rows(result: Flatness) -> Rows:
    """One row a measure, raw and normalised beside each other."""
    kinds = list(result.geometries.values())
    rows: list[list[object]] = [
        ["average rise (nats)",
         *(value_word(k.average_nats, LOSS, k.average_standard_error) for k in kinds)],
        ["expected length of these shifts", *(number_word(k.radius) for k in kinds)],
        ["rise after climbing the gradient (nats)", *(value_word(k.worst_nats, LOSS)
                                                     for k in kinds)],
        ["length of that shift", *(number_word(k.rho) for k in kinds)],
        ["length of the gradient", *(number_word(k.gradient_norm) for k in kinds)],
    ]  # fmt: skip
    for place in range(max(len(k.eigenvalues) for k in kinds)):
        row: list[object] = [f"eigenvalue {place + 1} of the Hessian (± residual)"]
        for k in kinds:
            if place >= len(k.eigenvalues):
                row.append("–")
                continue
            told = value_word(float(k.eigenvalues[place]), LOSS, float(k.residuals[place]))
            row.append(told if k.eigenvalues_converged else f"{told}, not converged")
        rows.append(row)
    if any(k.trace is not None for k in kinds):
        row = ["trace of the Hessian"]
        for k in kinds:
            error = np.nan if k.trace_standard_error is None else k.trace_standard_error
            row.append("–" if k.trace is None else value_word(k.trace, LOSS, error))
        rows.append(row)
    return ("measure", *result.geometries), rows


def width_rows(result: Flatness) -> Rows:
    """One row an axis: how far the loss stays within the limit, and the same as a length."""
    rows: list[list[object]] = [
        [
            each.axis,
            width_word(
                Width(
                    low=each.low,
                    high=each.high,
                    width=each.width,
                    open_low=each.open_low,
                    open_high=each.open_high,
                )
            ),
            number_word(each.width * each.norm),
        ]
        for each in result.widths
    ]
    return ("axis", "from the model, in units of the axis", "width as a length"), rows


def _change(found: PairedDifference, scale: float, digits: str) -> str:
    estimate, low, high = (
        f"{scale * each:+{digits}}"
        for each in (found.mean.estimate, found.mean.low, found.mean.high)
    )
    told = f"{estimate} ({low} to {high})".replace("-", "\u2212")
    return told.replace(" ", "\xa0")  # never on two lines


def _points_of(row: RollbackRow) -> str:
    found = row.accuracy_change.mean
    estimate, low, high = (f"{100 * each:+.1f}" for each in (found.estimate, found.low, found.high))
    told = f"{estimate} points, {found.level:.0%} interval {low} to {high}"
    return told.replace("-", "\u2212")


def _barrier_sentence(high: BarrierHeight) -> str:
    split = split_name(high.split)
    if not np.isfinite(high.height):
        return f"The {split} loss is {NOTHING} on the way: the two models lie in different basins."
    if high.height <= 0:
        return (
            f"The {split} loss nowhere rises above the straight line between its ends: no barrier."
        )
    told = (
        f"The {split} loss rises by up to {value_word(high.height, LOSS, high.standard_error)} "
        f"nats above the straight line between its ends, at alpha {high.alpha:.2g}."
    )
    error = high.standard_error
    if not np.isfinite(error):
        return told
    if high.height < _NORMAL * error:
        return f"{told} The noise of these examples could make as much."
    return f"{told} That is more than the noise of these examples: there is a barrier."
