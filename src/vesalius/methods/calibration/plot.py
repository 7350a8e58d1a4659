"""Pictures of calibration: the score plane before and after, gains, shares, spreads.

Source: arXiv 2205.10183, figures 1 to 7.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.comparison import Comparison
from vesalius.methods.calibration.robustness_result import Robustness
from vesalius.numerics.class_bootstrap import METRICS
from vesalius.plots.boxes import box_groups
from vesalius.plots.heat import heat_map
from vesalius.plots.means import Mean, mean_dots
from vesalius.plots.score_line import Bell, LinePanel, score_line
from vesalius.plots.score_plane import Cluster, Panel, Regions, score_plane
from vesalius.plots.size_curves import SizeCurve, size_curves

COMPARISON_KINDS = ("plane", "gains", "shares")
ROBUSTNESS_KINDS = ("boxes", "curve")
METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "nll_nats": "negative log-likelihood (nats)",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
}
AXIS_NAMES = {
    "template": "template and label words",
    "order": "order of the demonstrations",
    "proportion": "class shares of the demonstrations",
    "estimate-proportion": "class shares of the estimate set",
    "estimate-size": "size of the estimate set",
    "shots": "number of demonstrations",
    "seed": "choice of the demonstrations",
}
CURVED = ("proportion", "estimate-proportion", "estimate-size", "shots")


def plot_comparison(
    found: Comparison, *, kind: str = "plane", method: str = "", ax: Any = None
) -> Any:
    """Draw a comparison; no shapes.

    Args:
        found: the comparison.
        kind: ``plane``, the scores with what is answered where, before and after a method;
            ``gains``, the accuracy of each method less that of none; ``shares``, how many texts
            each method gives to each class.
        method: whose plane it is; prototypical where it is there, else the last one.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: another kind, a method that was not compared, or gains without none.
    """
    check_word("kind", kind, COMPARISON_KINDS)
    if kind == "gains":
        return _gains(found, ax)
    if kind == "shares":
        return _shares(found, ax)
    if not method:
        method = "prototypical" if "prototypical" in found.methods else found.methods[-1]
    return plot_planes(found, [*(["none"] if "none" in found.methods else []), method], ax=ax)


def plot_planes(found: Comparison, methods: Sequence[str], *, ax: Any = None) -> Any:
    """Draw the same scores with what each of some methods answers where; no shapes.

    Args:
        found: the comparison.
        methods: one panel each, in this order; each once.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: a method that was not compared.
    """
    shown = list(dict.fromkeys(methods))
    for name in shown:
        found.row_of(name)
    return (_line if len(found.label_names) == 2 else _plane)(found, shown, ax)


def plot_robustness(
    found: Robustness,
    *,
    axis: str = "",
    kind: str = "",
    metric: str = "accuracy",
    ax: Any = None,
) -> Any:
    """Draw the cells of a study; no shapes.

    Args:
        found: the study.
        axis: which one; all of them side by side where left out.
        kind: ``boxes``, or ``curve`` for shares, sizes and shots (its default); a curve is the
            mean of the repetitions, its band reaches from the worst of them to the best.
        metric: of METRICS.
        ax: matplotlib Axes, or None for a new figure.

    Returns:
        The matplotlib Axes.

    Raises:
        VesaliusError: an axis that was not studied, an unknown kind or metric, or a curve over an
            axis without an order.
    """
    check_word("metric", metric, METRICS)
    kind = kind or ("curve" if axis in CURVED else "boxes")
    check_word("kind", kind, ROBUSTNESS_KINDS)
    if kind == "curve" and axis not in CURVED:
        raise VesaliusError(
            given=f"a curve over {axis or 'all axes'}",
            expected=f"one of {', '.join(CURVED)}, which grow",
            fix="use kind='boxes'",
        )
    return (_curve if kind == "curve" else _boxes)(found, axis, metric, ax)


def _titled(found: Comparison, method: str) -> str:
    value, low, high = found.value(method)
    return f"{method}: {value:.1%} right ({low:.1%} to {high:.1%})"


def _line(found: Comparison, methods: list[str], ax: Any) -> Any:
    plane, mixture = found.plane, found.mixture
    bells: tuple[Bell, ...] = ()
    if mixture is not None:
        means = plane.project(mixture.means)[:, 0]
        variances = [plane.project_covariance(each)[0, 0] for each in mixture.covariances]
        bells = tuple(
            Bell(mean=float(mean), deviation=float(np.sqrt(variance)), label=int(label))
            for mean, variance, label in zip(means, variances, mixture.assignment, strict=True)
        )
    panels = [
        LinePanel(
            title=_titled(found, method),
            places=plane.x,
            answers=plane.regions[found.row_of(method), 0].astype(np.int64),
            bells=bells if method == "prototypical" else (),
        )
        for method in methods
    ]
    return score_line(
        plane.project(found.scores)[:, 0], found.labels, names=found.label_names, panels=panels,
        x_label=plane.axis_names[0], ax=ax,
    )  # fmt: skip


def _plane(found: Comparison, methods: list[str], ax: Any) -> Any:
    plane, mixture = found.plane, found.mixture
    clusters: tuple[Cluster, ...] = ()
    if mixture is not None:
        parts = zip(mixture.means, mixture.covariances, mixture.assignment, strict=True)
        clusters = tuple(
            Cluster(
                mean=plane.project(mean[None])[0],
                covariance=plane.project_covariance(covariance),
                label=int(label),
            )
            for mean, covariance, label in parts
        )
    panels = [
        Panel(
            title=_titled(found, method),
            regions=Regions(
                x=plane.x, y=plane.y, labels=plane.regions[found.row_of(method)].astype(np.int64)
            ),
            clusters=clusters if method == "prototypical" else (),
        )
        for method in methods
    ]
    return score_plane(
        plane.project(found.scores), found.labels, names=found.label_names, panels=panels,
        x_label=plane.axis_names[0], y_label=plane.axis_names[1], note=plane.note, ax=ax,
    )  # fmt: skip


def _gains(found: Comparison, ax: Any) -> Any:
    rows = [row for row in found.paired if (row.reference, row.metric) == ("none", "accuracy")]
    if not rows:
        raise VesaliusError(
            given="gains of " + ", ".join(found.methods),
            expected="'none' and another method among them",
            fix="compare again with methods=None",
        )
    means = [
        Mean(
            name=row.method, estimate=100 * row.difference, low=100 * row.low, high=100 * row.high,
            points=np.empty(0),
        )
        for row in sorted(rows, key=lambda row: -row.difference)
    ]  # fmt: skip
    unit = f"accuracy less that of none, points ({found.level:.0%} interval over texts)"
    return mean_dots(means, unit=unit, ax=ax)


def _shares(found: Comparison, ax: Any) -> Any:
    return heat_map(
        np.vstack([found.true_shares[None], found.predicted_shares]),
        rows=["truth", *found.methods],
        columns=found.label_names,
        unit="share of texts given to the class",
        ax=ax,
    )


def _values(cells: list[dict[str, Any]]) -> np.ndarray:
    return np.array([cell["value"] for cell in cells], dtype=np.float64)


def _boxes(found: Robustness, axis: str, metric: str, ax: Any) -> Any:
    """All axes beside each other, the conditions of one, or all its cells where each has one."""
    shares = metric in ("accuracy", "macro_f1")
    references = {"commonest class": found.commonest} if metric == "accuracy" else {}
    if not axis:
        groups = {
            AXIS_NAMES[each]: {m: _values(cells) for m, cells in found.cells(each, metric).items()}
            for each in found.axes
        }
        return box_groups(groups, unit=METRIC_NAMES[metric], percent=shares,
                          references=references, ax=ax)  # fmt: skip
    cells = found.cells(axis, metric)
    seeds = {cell["seed"] for rows in cells.values() for cell in rows}
    names = dict.fromkeys(cell["condition"] for rows in cells.values() for cell in rows)
    if len(seeds) == 1:
        groups = {f"{len(names)} {axis}s": {m: _values(rows) for m, rows in cells.items()}}
    else:
        groups = {
            name: {
                m: _values([cell for cell in rows if cell["condition"] == name])
                for m, rows in cells.items()
            }
            for name in names
        }
    return box_groups(
        groups, unit=METRIC_NAMES[metric], x_label=_axis_label(found, axis), percent=shares,
        references=references, ax=ax,
    )  # fmt: skip


def _curve(found: Robustness, axis: str, metric: str, ax: Any) -> Any:
    curves: dict[str, SizeCurve] = {}
    for method, cells in found.cells(axis, metric).items():
        known = [cell for cell in cells if np.isfinite(cell["value"])]
        places = sorted({cell["place"] for cell in known})
        if not places:
            continue
        groups = [_values([cell for cell in known if cell["place"] == place]) for place in places]
        shown = np.array(places) * (100 if "proportion" in axis else 1)
        curves[method] = SizeCurve(
            size=shown,
            value=np.array([group.mean() for group in groups]),
            low=np.array([group.min() for group in groups]),
            high=np.array([group.max() for group in groups]),
        )
    return size_curves(
        curves,
        x_label=_axis_label(found, axis),
        y_label=METRIC_NAMES[metric],
        log=axis == "estimate-size",
        percent=metric in ("accuracy", "macro_f1"),
        references={"commonest class": found.commonest} if metric == "accuracy" else {},
        ax=ax,
    )


def _axis_label(found: Robustness, axis: str) -> str:
    leading = found.label_names[found.design.leading]
    return {
        "proportion": f"share of {leading} in {found.design.proportion_shots} demonstrations, %",
        "estimate-proportion": f"share of {leading} in the estimate set, %",
        "estimate-size": "texts in the estimate set",
        "shots": "demonstrations",
    }.get(axis, AXIS_NAMES[axis])
