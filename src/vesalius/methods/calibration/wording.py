"""Results of calibration in words and rows: for pages and for the tables of the command line.

Source: this project.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from vesalius.methods.calibration.comparison import Comparison
from vesalius.methods.calibration.robustness_result import (
    PairedSpread,
    Robustness,
    Spread,
)
from vesalius.numerics.class_bootstrap import METRICS

SHARES: Final = ("accuracy", "macro_f1")
SIGNIFICANT: Final = 0.05
_GLUE: Final = "\u00a0"  # a space at which no line breaks
_SHORT: Final = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "nll_nats": "nats",
    "brier": "Brier",
    "calibration_error": "ECE",
}
Rows = tuple[tuple[str, ...], list[list[object]]]  # columns, rows


def comparison_rows(found: Comparison) -> Rows:
    """Give the table of scores as columns and rows: a method, what it was fitted on, its scores.

    Every score stands with its interval, as text; no shapes.
    """
    columns = ("method", "fitted on", *(_SHORT[metric] for metric in METRICS))
    rows: list[list[object]] = []
    for row, method in enumerate(found.methods):
        fitted = found.fits_on[row]
        if found.num_inputs[row]:
            fitted = f"{found.num_inputs[row]} {fitted}"
        cells = [bracketed(found.value(method, metric), metric) for metric in METRICS]
        rows.append([method, fitted, *cells])
    return columns, rows


def comparison_test_rows(found: Comparison) -> Rows:
    """Give the paired tests as columns and rows; no shapes."""
    columns = ("method", "against", "score", "difference", "p", "p (Holm)", "texts")
    return columns, [
        [
            row.method,
            row.reference,
            _SHORT[row.metric],
            signed((row.difference, row.low, row.high), row.metric),
            _p(row.p_value),
            _p(row.p_holm),
            row.num_texts,
        ]
        for row in found.paired
    ]


def comparison_share_rows(found: Comparison) -> Rows:
    """Give the shares of the classes, true and predicted, as columns and rows; no shapes."""
    everyone = [
        ("truth", found.true_shares),
        *zip(found.methods, found.predicted_shares, strict=True),
    ]
    return ("", *found.label_names), [
        [name, *(f"{share:.1%}" for share in shares)] for name, shares in everyone
    ]


def robustness_rows(found: Robustness, metric: str = "accuracy") -> Rows:
    """Give the summary of a study as columns and rows; no shapes.

    Raises:
        VesaliusError: an unknown metric.
    """
    deviation = "sd, points" if metric in SHARES else "sd"
    columns = ("axis", "method", _SHORT.get(metric, metric), deviation, "worst", "best", "cells")
    return columns, [_spread_row(row) for row in found.summary(metric)]


def robustness_test_rows(found: Robustness, metric: str = "accuracy") -> Rows:
    """Give the paired tests of a study as columns and rows; no shapes.

    Raises:
        VesaliusError: an unknown metric.
    """
    columns = ("axis", "method", "against", "difference", "p", "p (Holm)", "units")
    return columns, [
        [
            row.axis,
            row.method,
            row.reference,
            signed((row.difference, row.low, row.high), metric),
            _p(row.p_value),
            _p(row.p_holm),
            _units(row),
        ]
        for row in found.paired(metric)
    ]


def comparison_verdict(found: Comparison) -> str:
    """Say in sentences which method is right most often, and whether prototypical beats the others.

    Source: this project; no shapes.
    """
    best = max(found.methods, key=lambda name: found.value(name)[0])
    equal = [name for name in found.methods if found.value(name)[0] == found.value(best)[0]]
    told = [
        f"Of {found.num_known} texts, {' and '.join(equal)} "
        f"{'answers' if len(equal) == 1 else 'answer'} most right: "
        f"{bracketed(found.value(best), 'accuracy')}."
    ]
    tests = [row for row in found.paired if row.metric == "accuracy"]
    mine = "prototypical" if "prototypical" in found.methods else best
    for row in tests:
        if row.method == mine:
            told.append(_told(row, f"{row.num_texts} texts"))
    return " ".join(told)


def robustness_verdict(found: Robustness, axis: str) -> str:
    """Say in sentences how the methods hold along an axis, and which differ.

    Raises:
        VesaliusError: an axis that was not studied.

    Source: this project; no shapes.
    """
    found.cells(axis)
    told = [
        f"{row.method} {_number(row.mean, 'accuracy')} on average, standard deviation "
        f"{_points(row.deviation, 'accuracy')} points, worst {_number(row.worst, 'accuracy')}"
        for row in found.summary()
        if row.axis == axis
    ]
    tests = [_told(row, _units(row)) for row in found.paired() if row.axis == axis]
    return " ".join([f"{'; '.join(told).capitalize()}.", *tests])


def bracketed(values: Sequence[float], metric: str) -> str:
    r"""Write a value and its bounds; shares as per cent.

    >>> print(bracketed((0.5, 0.4, 0.6), "accuracy").replace("\xa0", " "))
    50.0% (40.0 to 60.0)
    """
    value, low, high = (_number(each, metric) for each in values)
    return f"{value} ({low.rstrip('%')}{_GLUE}to{_GLUE}{high.rstrip('%')})"


def signed(values: Sequence[float], metric: str) -> str:
    r"""Write a difference and its bounds with their signs; shares in points.

    >>> print(signed((0.05, -0.01, 0.11), "accuracy").replace("\xa0", " "))
    +5.0 points (-1.0 to +11.0)
    """
    if metric in SHARES:
        value, low, high = (f"{100 * each:+.1f}" for each in values)
        return f"{value} points ({low}{_GLUE}to{_GLUE}{high})"
    value, low, high = (f"{each:+.3f}" for each in values)
    return f"{value} ({low}{_GLUE}to{_GLUE}{high})"


def _told(row: Any, over: str) -> str:
    """A test as a sentence."""
    less = signed((row.difference, row.low, row.high), "accuracy")
    if row.p_holm >= SIGNIFICANT:
        verb = "does not differ for certain from"
    else:
        verb = "beats" if row.difference > 0 else "falls behind"
    found = f"{less}, p = {_p(row.p_holm)} over {over}"
    return f"{row.method.capitalize()} {verb} {row.reference}: {found}."


def _spread_row(row: Spread) -> list[object]:
    missing = f" ({row.num_missing} missing)" if row.num_missing else ""
    return [
        row.axis,
        row.method,
        bracketed((row.mean, row.low, row.high), row.metric),
        _points(row.deviation, row.metric),
        *(_number(each, row.metric) for each in (row.worst, row.best)),
        f"{row.num_cells}{missing}",
    ]


def _units(row: PairedSpread) -> str:
    names = {"condition": f"{row.axis}s", "seed": "draws", "cell": "draws"}
    return f"{row.num_units} {names[row.unit]}"


def _number(value: float, metric: str) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1%}" if metric in SHARES else f"{value:.3f}"


def _points(value: float, metric: str) -> str:
    """A standard deviation; of shares in points."""
    return _number(value, metric).rstrip("%")


def _p(value: float) -> str:
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}"
