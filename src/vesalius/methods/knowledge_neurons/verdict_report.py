"""Verdicts as pictures and as pages.

Source: this project.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.knowledge_neurons.verdict import (
    WAYS,
    AbstractVerdict,
    Measure,
    SequenceVerdict,
    Verdict,
    Verdicts,
    shown,
)
from vesalius.plots.before_after import Pair, before_after_bars
from vesalius.plots.curves import plain_label
from vesalius.plots.style import figure_bytes

_PANELS: Final = {
    "forced": "share of prompts, teacher forced",
    "free": "share of prompts, said freely",
    "accuracy": "share answered right",
    "perplexity": "perplexity",
}
COLUMNS: Final = ("measure", "how", "over", "before", "after", "change", "random control")


def plot_verdict(verdict: AbstractVerdict, *, ax: Any = None) -> Any:
    """Draw the measures of a verdict, one panel per way of asking; one panel only into given Axes.

    Returns:
        The matplotlib Axes of the first panel.

    Source: this project, plots/before_after.py.
    """
    panels = {way: shown(verdict.measures, (way,)) for way in _PANELS}
    panels = {way: found for way, found in panels.items() if found}
    if ax is not None or not panels:
        way, found = next(iter(panels.items()), ("forced", []))
        return _panel(found, way, ax)
    from matplotlib.figure import Figure

    most = max(map(len, panels.values()))
    figure = Figure(figsize=(5.4 * len(panels), 1.6 + 0.7 * most), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for each, (way, found) in zip(axes, panels.items(), strict=True):
        _panel(found, way, each)
        if each is not axes[0]:
            each.get_legend().remove()  # the same for all panels
    figure.suptitle(plain_label(verdict.title()))
    return axes[0]


def _panel(measures: Sequence[Measure], way: str, ax: Any) -> Any:
    pairs = [
        Pair(
            name=each.words,
            before=each.before,
            after=each.after,
            after_range=(each.low, each.high),
            control=each.control,
            control_range=(each.control_low, each.control_high),
        )
        for each in measures
    ]
    return before_after_bars(pairs, unit=_PANELS[way], log=way == "perplexity", ax=ax)


def write_verdict(verdict: AbstractVerdict, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about a verdict: the sentence, the picture, all measures, every prompt.

    Args:
        verdict: of one edit, of many, or of a sequence.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    body: list[object] = [
        element("p", element("strong", verdict.sentence)),
        picture(figure_bytes(verdict.plot()), alt=_in_words(verdict)),
        element("h3", "The measures"),
        measure_table(verdict.measures),
        *(element("p", f"Note: {warning}.") for warning in verdict.card.warnings),
    ]
    sections = [(verdict.title(), body), *_details(verdict), _provenance(verdict)]
    text = page(f"Verdict on an edit of {verdict.card.model}", sections)
    return write_file(path, text.encode(), force=force)


def measure_table(measures: Sequence[Measure]) -> Html:
    """Lay measures out as an HTML table; no shapes.

    Source: tables 4 and 5 of arXiv 2104.08696.
    """
    return table(COLUMNS, [measure_cells(each) for each in measures])


def measure_cells(each: Measure) -> tuple[object, ...]:
    """One measure as the cells of a table for people; no shapes.

    Source: this project.
    """
    after: object = each.after
    if not math.isnan(each.low):
        after = f"{each.after:.4g} ({each.low:.3g} to {each.high:.3g})"
    control: object = "-"
    if not math.isnan(each.control):
        control = f"{each.control:.4g} ({each.control_low:.3g} to {each.control_high:.3g})"
    way = WAYS[each.way]
    return (each.words, way, each.count, each.before, after, each.change, control)


def _details(verdict: AbstractVerdict) -> list[tuple[str, Sequence[object]]]:
    """The rows behind the measures."""
    match verdict:
        case Verdict():
            return [("Every prompt", [_probe_table(verdict)])]
        case Verdicts():
            names = ("relation", "subject", "answer", "new_answer", "sentence")
            rows = verdict.cases.to_pylist()
            cells = [tuple(row.get(name) for name in names) for row in rows]
            return [("Every case", [table(names, cells)])]
        case SequenceVerdict():
            rows = verdict.steps.to_pylist()
            body: list[object] = [
                table(verdict.steps.column_names, [tuple(r.values()) for r in rows])
            ]
            return [("Edit by edit", body)]
        case _:
            return []


def _probe_table(verdict: Verdict) -> Html:
    rows: list[tuple[object, ...]] = []
    for row in verdict.probes.to_pylist():
        before, after = ("" if row[n] is None else row[n] for n in ("text_before", "text_after"))
        rows.append(
            (
                " ".join(filter(None, (row["group"], row["kind"]))),
                row["prompt"],
                row["wanted"],
                before,
                after,
                f"{row['prob_before']:.3f} → {row['prob_after']:.3f}",
                f"{row['rank_before']} → {row['rank_after']}",
                "yes" if row["forced_after"] else "no",
            )
        )
    columns = ("group", "prompt", "wanted", "said before", "said after", "probability", "rank")
    return table((*columns, "as it should"), rows)


def _in_words(verdict: AbstractVerdict) -> str:
    """The picture for those who cannot see it."""
    told = [
        f"{each.words}, {WAYS[each.way]}: {each.before:.3g} before, {each.after:.3g} after"
        for each in shown(verdict.measures, tuple(_PANELS))
    ]
    return f"Bars before and after. {'; '.join(told)}."


def _provenance(verdict: AbstractVerdict) -> tuple[str, Sequence[object]]:
    card = verdict.card
    rows = [
        ("teacher forced", "every token of the wanted answer is the model's best one, the true "
         "earlier ones given; locality: its best tokens are those of the untouched model"),
        ("said freely", "the model's own greedy answer starts with the wanted one; locality: it is "
         "the answer of the untouched model"),
        ("rank", "of the answer's worst token, 1 is the best"),
        ("perplexity", "exp(mean(-ln p)) of the gold answers (arXiv 2104.08696, section 5.1); of "
         "plain sentences: each token in turn"),
        ("entropy of texts", "weighted entropy of pairs and triples of words in greedy texts "
         "(arXiv 2202.05262)"),
        ("after", "in brackets a 95 % bootstrap interval, over the edits or, where a relation was "
         "erased, over its facts"),
        ("random control", "mean over control edits, 95 % bootstrap interval"),
        ("options", ", ".join(f"{name}={value}" for name, value in card.config.items())),
        ("model", f"{card.model} ({card.model_fingerprint})"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]  # fmt: skip
    return "How these numbers were made", [table(("what", "how"), rows)]
