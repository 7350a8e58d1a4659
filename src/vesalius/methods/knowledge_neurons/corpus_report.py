"""Pictures and one self-contained page of the statistics of many facts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.data.facts import load_relations
from vesalius.numerics.statistics import Interval
from vesalius.plots.heat import heat_map
from vesalius.plots.histogram import layer_histogram
from vesalius.plots.style import figure_bytes

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.corpus import Corpus

KINDS: Final = ("attribution", "activation value")
_LOG_FROM: Final = 50.0  # a largest value so many times the smallest hides it on a linear scale
_NEURONS_SHOWN: Final = 8


def plot_layers(corpus: "Corpus", *, ax: Any = None) -> Any:
    """Draw the share of the neurons in each layer, for both ways of choosing them.

    Returns:
        The matplotlib Axes.

    Source: figure 3 of arXiv 2104.08696.
    """
    series: dict[str, np.ndarray] = {}
    for name, found in zip(KINDS, (corpus.attribution, corpus.activation), strict=True):
        counts = found.layers.sum(axis=0)
        series[f"chosen by {name}"] = counts / max(int(counts.sum()), 1)
    title = f"{int(corpus.num_facts.sum()):,} facts"
    return layer_histogram(series, title=f"{corpus.card.model}: {title}", ax=ax)


def plot_shared(corpus: "Corpus", *, ax: Any = None) -> Any:
    """Draw the mean number of neurons that facts of two relations share.

    Returns:
        The matplotlib Axes.

    Source: this project.
    """
    shared = corpus.attribution.shared
    above = shared[np.isfinite(shared) & (shared > 0)]
    wide = len(above) > 0 and float(above.max()) > _LOG_FROM * float(above.min())
    return heat_map(
        shared,
        rows=[relation_name(code) for code in corpus.relations],
        unit="neurons that two facts share, mean",
        scale="log" if wide else "linear",
        title="Neurons shared by facts of two relations",
        ax=ax,
    )


def relation_name(code: str) -> str:
    """Name a relation for people: its code, and what it is called where it is bundled.

    Shapes do not matter here.

    Source: the bundled table of relations.

    >>> relation_name("P36"), relation_name("my-relation")
    ('P36 capital', 'my-relation')
    """
    known = load_relations().get(code)
    name = code or "(unnamed)" if known is None else f"{code} {known.name}"
    return name if len(name) <= 30 else f"{name[:29]}…"


def write_corpus(corpus: "Corpus", path: str | Path, *, force: bool = False) -> Path:
    """Write a page: the numbers in short, the layers, the relations, and what they share.

    Args:
        corpus: the statistics.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    sections: list[tuple[str, Sequence[object]]] = [
        ("In short", [corpus.verdict, _short_table(corpus), *_notes(corpus)]),
        ("Layers", [picture(figure_bytes(plot_layers(corpus)), alt=_layers_in_words(corpus))]),
        ("Relations", [_relation_table(corpus)]),
    ]
    if len(corpus.relations) > 1:
        shown = picture(figure_bytes(plot_shared(corpus)), alt=_shared_in_words(corpus))
        sections.append(("What relations share", [_reading(), shown]))
    sections += [
        ("Neurons of a whole relation", [_common_table(corpus)]),
        ("How these numbers were made", [_provenance(corpus)]),
    ]
    text = page(f"Knowledge neurons of {corpus.card.model}: statistics", sections)
    return write_file(path, text.encode(), force=force)


def _short_table(corpus: "Corpus") -> Html:
    mine, other = corpus.attribution, corpus.activation
    rows = [
        ("neurons per fact", _bracket(mine.num_neurons), _bracket(other.num_neurons)),
        ("shared by two facts of one relation", _bracket(mine.intra), _bracket(other.intra)),
        ("shared by facts of different relations", _bracket(mine.inter), _bracket(other.inter)),
    ]
    return table(("mean over relations, 95 % interval", *(f"by {name}" for name in KINDS)), rows)


def _bracket(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _notes(corpus: "Corpus") -> list[Html]:
    least = corpus.card.config["min_answered"]
    notes = [f"Note: {warning}." for warning in corpus.card.warnings]
    unknown = int(corpus.num_unknown.sum())
    if unknown or corpus.dropped:
        gone = f"; none is left of {', '.join(corpus.dropped)}" if corpus.dropped else ""
        notes.append(
            f"Left out: {unknown} facts of these relations that the model does not answer in "
            f"{least:.0%} of their prompts{gone}."
        )
    if corpus.num_skipped:
        notes.append(f"{corpus.num_skipped} facts could not be located; see the sweep's folder.")
    if len(corpus.relations) == 1:
        notes.append("One relation alone: the intervals over relations say nothing.")
    return [element("p", note) for note in notes]


def _relation_table(corpus: "Corpus") -> Html:
    columns = corpus.to_table().to_pydict()
    names = [relation_name(code) for code in columns["relation"]]
    wanted = {
        "facts": "facts",
        "not_answered": "not answered",
        "share": "share of prompts",
        "neurons_per_fact": "neurons per fact",
        "intra": "shared inside",
        "inter": "shared outside",
        "activation_neurons_per_fact": "neurons, activation",
        "activation_intra": "inside, activation",
        "activation_inter": "outside, activation",
    }
    rows = [
        (name, *("-" if (value := columns[c][number]) is None else value for c in wanted))
        for number, name in enumerate(names)
    ]
    return table(("relation", *wanted.values()), rows)


def _common_table(corpus: "Corpus") -> Html:
    rows = [
        (relation_name(code), len(neurons), _listed(neurons))
        for code, neurons in zip(corpus.relations, corpus.attribution.common, strict=True)
    ]
    share = corpus.card.config["relation_share"]
    return table(("relation", "neurons", f"in at least {share:.0%} of its facts"), rows)


def _listed(neurons: Sequence[tuple[int, int]]) -> str:
    names = ", ".join(f"{layer}:{neuron}" for layer, neuron in neurons[:_NEURONS_SHOWN])
    more = len(neurons) - _NEURONS_SHOWN
    return f"{names} and {more} more" if more > 0 else names or "-"


def _reading() -> str:
    return (
        "A cell is the number of neurons that a fact of the row and one of the column share, mean "
        "over all pairs; on the diagonal, two different facts of one relation."
    )


def _layers_in_words(corpus: "Corpus") -> str:
    words: list[str] = []
    for name, found in zip(KINDS, (corpus.attribution, corpus.activation), strict=True):
        counts = found.layers.sum(axis=0)
        total = int(counts.sum())
        best = int(counts.argmax())
        share = f"most in layer {best}, {counts[best] / total:.0%}" if total else "none"
        words.append(f"by {name} {share}")
    num_layers = corpus.attribution.layers.shape[1]
    return f"Share of the neurons in each of {num_layers} layers: {'; '.join(words)}."


def _shared_in_words(corpus: "Corpus") -> str:
    shared = corpus.attribution.shared
    inside = np.diag(shared)
    outside = shared[~np.eye(len(shared), dtype=bool)]
    within = f"{np.nanmean(inside):.2f}" if np.isfinite(inside).any() else "unknown"
    return (
        f"Heat map of {len(shared)} relations: facts share {within} neurons on average on the "
        f"diagonal, {outside.mean():.2f} off it, at most {outside.max():.2f}."
    )


def _provenance(corpus: "Corpus") -> Html:
    card, config = corpus.card, corpus.card.config
    partners = config["num_partners"]
    rows = [
        ("model", f"{card.model} ({card.model_fingerprint})"),
        ("sets", "neurons that reach the sweep's threshold in enough prompts of a fact; the share "
         f"of prompts is one for a relation, searched from {config['start_share']:.0%}"
         if config["share"] is None else f"neurons in {config['share']:.0%} of a fact's prompts"),
        ("baseline", "the same with the neurons' values as their scores"),
        ("partners", f"{partners} facts of other relations for each fact, seed {config['seed']}"
         if partners else "all facts of other relations"),
        ("intervals", "percentile bootstrap over relations"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds:.2f}"),
    ]  # fmt: skip
    return table(("what", "how"), rows)
