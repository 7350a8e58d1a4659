"""Self-contained pages about calibration: comparisons and robustness studies."""

from collections.abc import Sequence
from pathlib import Path

from vesalius.core.card import RunCard
from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.calibration.comparison import Comparison
from vesalius.methods.calibration.plot import (
    AXIS_NAMES,
    CURVED,
    METRIC_NAMES,
    plot_comparison,
    plot_planes,
    plot_robustness,
)
from vesalius.methods.calibration.robustness_result import Robustness
from vesalius.methods.calibration.wording import (
    Rows,
    comparison_rows,
    comparison_share_rows,
    comparison_test_rows,
    comparison_verdict,
    robustness_rows,
    robustness_test_rows,
    robustness_verdict,
)
from vesalius.numerics.class_bootstrap import METRICS
from vesalius.plots.style import figure_bytes

Section = tuple[str, Sequence[object]]


def write_comparison(found: Comparison, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a comparison: verdict, advice, scores, the plane, tests, shares.

    Args:
        found: the comparison.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    sections: list[Section] = [
        (
            "What came out",
            [comparison_verdict(found), _table(comparison_rows(found)), *_left_out(found)],
        ),
        *_advice(found),
        ("Before and after", _planes(found)),
    ]
    if any((row.reference, row.metric) == ("none", "accuracy") for row in found.paired):
        drawn = figure_bytes(plot_comparison(found, kind="gains"))
        alt = "Accuracy of every method less that of none; the numbers are in the table below."
        body = [picture(drawn, alt=alt), _table(comparison_test_rows(found))]
        sections.append(("What is gained, text by text", body))
    drawn = figure_bytes(plot_comparison(found, kind="shares"))
    alt = (
        "Share of texts that every method gives to each class; the numbers are in the table below."
    )
    sections.append(
        (
            "What is answered how often",
            [picture(drawn, alt=alt), _table(comparison_share_rows(found))],
        )
    )
    if found.notes:
        lines = [f"{name}: {note}." for name, notes in found.notes.items() for note in notes]
        sections.append(("What the calibrators say", lines))
    how = [
        ("texts", f"{len(found.labels)}, {found.num_known} of them with a known label"),
        ("intervals", f"percentile bootstrap over texts, {found.level:.0%}; the same resamples for "
         "all methods"),
        ("p", "random signs of each text's difference; Holm: raised for all tests in the table"),
        ("nats", "mean negative log-likelihood of the right class; lower is better, as for Brier "
         "(the sum over classes, 0 to 2) and ECE (15 bins; few texts make it too large, "
         "and resamples larger still)"),
        ("seed", str(found.card.seed)),
    ]  # fmt: skip
    return _write(found.card, "Calibrators compared", sections, how, path, force=force)


def write_robustness(found: Robustness, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a study: all axes, then each with boxes, curve, tests; every metric.

    Args:
        found: the study.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    overview = figure_bytes(plot_robustness(found))
    alt = "Box plots of the accuracy over all cells of every axis; the table below has the numbers."
    sections: list[Section] = [
        ("What moves the answers", [picture(overview, alt=alt), _table(robustness_rows(found))]),
        ("Tests", [_table(robustness_test_rows(found))]),
        *((AXIS_NAMES[axis].capitalize(), _axis(found, axis)) for axis in found.axes),
        *(
            (METRIC_NAMES[metric].capitalize(), [_table(robustness_rows(found, metric))])
            for metric in METRICS[1:]
        ),
    ]
    missing = [f"{AXIS_NAMES[axis]}: {why}." for axis, why in found.left_out.items()]
    if missing or found.notes:
        sections.append(("What is not there", [*missing, *(f"{note}." for note in found.notes)]))
    how = [
        ("forward passes", f"{found.num_texts} texts under {found.num_prompts} different prompts; "
         "sizes and shares of the estimate set cost none"),
        ("intervals", f"bootstrap over units, {found.level:.0%}: templates, orders or draws, each "
         "with all of its cells"),
        ("p", "random signs of each unit's difference; Holm: raised for all tests of an axis; "
         "n units give no p below 2 to the power of 1 - n"),
        ("curves", "the mean of the repetitions, in a band from the worst of them to the best"),
        ("commonest class", f"{found.commonest:.1%} of the texts"),
        ("seed", str(found.card.seed)),
    ]  # fmt: skip
    return _write(found.card, "Robustness of calibrators", sections, how, path, force=force)


def _table(rows: Rows) -> Html:
    return table(*rows)


def _left_out(found: Comparison) -> list[str]:
    return [f"Left out: {name}, because {why}." for name, why in found.left_out.items()]


def _advice(found: Comparison) -> list[Section]:
    advice = found.advice
    if advice is None:
        return []
    told = element(
        "p", f"From {advice.num_texts} texts, without their labels: take ",
        element("strong", advice.recommended), ".",
    )  # fmt: skip
    return [("Which one to trust", [told, *advice.reasons])]


def _planes(found: Comparison) -> list[object]:
    """The scores before and after prototypical, and after the best of the others."""
    order = sorted(found.methods, key=lambda name: -found.value(name)[0])
    others = [name for name in order if name not in ("none", "prototypical")][:1]
    shown = [name for name in ("none", "prototypical") if name in found.methods] + others
    drawn = figure_bytes(plot_planes(found, shown))
    alt = f"Scores of the texts by class, and what {', '.join(shown)} answer where."
    return [picture(drawn, alt=alt)]


def _axis(found: Robustness, axis: str) -> list[object]:
    kinds = ("curve", "boxes") if axis in CURVED else ("boxes",)
    pictures = [
        picture(
            figure_bytes(plot_robustness(found, axis=axis, kind=kind)),
            alt=f"Accuracy of every method by {AXIS_NAMES[axis]}, as "
            f"{'a curve' if kind == 'curve' else 'box plots'}.",
        )
        for kind in kinds
    ]
    told: list[object] = [robustness_verdict(found, axis), *pictures]
    if axis == "template":
        rows = [[name, template] for name, template in found.templates.items()]
        told.append(table(("template", "how it reads"), rows))
    failed = _failures(found, axis)
    return [*told, *failed]


def _failures(found: Robustness, axis: str) -> list[str]:
    """Which methods could not be fitted in how many cells, and why."""
    counts: dict[tuple[str, str], int] = {}
    for row in found.table.select(["axis", "method", "why"]).to_pylist():
        if row["axis"] == axis and row["why"]:
            key = (row["method"], row["why"])
            counts[key] = counts.get(key, 0) + 1
    return [f"{method} has no number in {n} cells: {why}." for (method, why), n in counts.items()]


def _write(
    card: RunCard,
    title: str,
    sections: Sequence[Section],
    how: Sequence[tuple[str, str]],
    path: str | Path,
    *,
    force: bool,
) -> Path:
    """Write the page; its last section says how the numbers were made."""
    about = [
        (name, str(value))
        for name, value in card.config.items()
        if isinstance(value, str | int | float) and name not in dict(how)
    ]
    made = [
        ("model", f"{card.model or 'not named'} {card.model_fingerprint}".strip()),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]
    notes = [element("p", f"Note: {warning}.") for warning in card.warnings]
    told = table(("what", "how"), [*how, *about, *made])
    full = f"{title}: {card.model}" if card.model else title
    text = page(full, [*sections, ("How these numbers were made", [*notes, told])])
    return write_file(path, text.encode(), force=force)
