"""A picture and one self-contained page of what neurons do at the gaps of texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.models.encoding import MASK
from vesalius.numerics.statistics import Interval
from vesalius.plots.means import Mean, mean_dots
from vesalius.plots.style import figure_bytes

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.activation_result import Activations

_TEXTS_SHOWN: Final = 5
_AROUND: Final = 160  # characters shown on each side of a gap


def plot_kinds(found: "Activations", *, ax: Any = None) -> Any:
    """Draw the mean activation by kind of text, over the means of the facts or the texts.

    Returns:
        The matplotlib Axes.

    Source: section 4.5 of arXiv 2104.08696, with intervals.
    """
    rows: list[dict[str, Any]] = found.texts.to_pylist()
    means: list[Mean] = []
    alone = all(each.num_facts == 1 for each in found.kinds)
    for each in found.kinds:
        groups: dict[object, list[float]] = {}
        for number, row in enumerate(rows):
            if row["kind"] == each.kind:
                fact = (row["relation"], row["subject"], row["answer"])
                groups.setdefault(number if alone else fact, []).append(row["mean"])
        means.append(
            Mean(
                name=f"{each.kind} ({each.num_texts})",
                estimate=each.mean.estimate,
                low=each.mean.low,
                high=each.mean.high,
                points=np.array([np.mean(values) for values in groups.values()]),
            )
        )
    return mean_dots(
        means,
        unit=f"mean {'size of the ' * found.card.config['magnitude']}activation at the gap",
        point_name="a text" if alone else "a fact",
        title=found.card.model,
        ax=ax,
    )


def write_activations(found: "Activations", path: str | Path, *, force: bool = False) -> Path:
    """Write a page: the kinds of texts compared, and the most and least active texts.

    Args:
        found: what was read.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    alt = f"Dots with intervals. {found.verdict}"
    body: list[object] = [
        found.verdict,
        picture(figure_bytes(plot_kinds(found)), alt=alt),
        _kind_table(found),
        _correlation_in_words(found),
    ]
    body += [element("p", f"Note: {warning}.") for warning in found.card.warnings]
    sections: list[tuple[str, list[object]]] = [("Kinds of texts", body)]
    for each in found.kinds:
        sections.append((f"Most and least active: {each.kind}", [_ranked_table(found, each.kind)]))
    sections.append(("How these numbers were made", [_provenance(found)]))
    text = page(f"Activation of knowledge neurons of {found.card.model}", sections)
    return write_file(path, text.encode(), force=force)


def _kind_table(found: "Activations") -> Html:
    header = (
        "texts with", "texts", "facts", "relations", "activation", "95 % interval",
        "answer's probability", "correlation",
    )  # fmt: skip
    rows = [
        (
            each.kind, each.num_texts, each.num_facts, each.num_relations, each.mean.estimate,
            f"{each.mean.low:.3f} to {each.mean.high:.3f}",
            _or_dash(each.prob), _or_dash(each.correlation),
        )
        for each in found.kinds
    ]  # fmt: skip
    return table(header, rows)


def _or_dash(value: float | None) -> object:
    return "-" if value is None else value


def _correlation_in_words(found: "Activations") -> str:
    if found.correlation is None:
        return "No rank correlation: too few texts, or no answers of one token."
    within = found.within_facts
    return (
        f"Spearman's rho between activation and the answer's probability is "
        f"{found.correlation:.2f} over all texts" + _within_in_words(within)
    )


def _within_in_words(within: Interval | None) -> str:
    if within is None:
        return "."
    return (
        f", and {within.estimate:.2f} ({within.low:.2f} to {within.high:.2f}) inside a fact, mean "
        "over facts."
    )


def _ranked_table(found: "Activations", kind: str) -> Html:
    rows: list[dict[str, Any]] = found.ranked(_TEXTS_SHOWN, kind=kind).to_pylist()
    return table(
        ("rank", "sum of activations", "fact", "answer's probability", "text"),
        [
            (
                row["rank"],
                row["total"],
                " ".join(filter(None, (row["relation"], row["subject"], "→", row["answer"]))),
                _or_dash(row["prob"]),
                _shortened(row["text"]),
            )
            for row in rows
        ],
    )


def _shortened(text: str) -> str:
    before, gap, after = text.partition(MASK)
    start = before if len(before) <= _AROUND else f"… {before[-_AROUND:]}"
    return f"{start}{gap}{after if len(after) <= _AROUND else f'{after[:_AROUND]} …'}"


def _provenance(found: "Activations") -> Html:
    card = found.card
    measure = "size, without the sign," if card.config["magnitude"] else "value"
    rows = [
        ("model", f"{card.model} ({card.model_fingerprint})"),
        ("activation", f"{measure} of a neuron where the gap is; mean over the neurons of a fact, "
         "its texts, the facts of a relation, the relations"),
        ("order of texts", "by the sum over the neurons"),
        ("tokens of a text", f"at most {card.config['most_tokens']}, cut around the gap"),
        ("intervals", "percentile bootstrap over the facts of each relation, or over the texts of "
         f"a single fact; seed {card.seed}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]  # fmt: skip
    return table(("what", "how"), rows)
