"""One self-contained page about located facts."""

from collections.abc import Sequence
from pathlib import Path

from vesalius.core.card import RunCard
from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.knowledge_neurons.plot import plot_evidence, plot_location, plot_story
from vesalius.methods.knowledge_neurons.refine import Neuron
from vesalius.methods.knowledge_neurons.relations import RelationChanges
from vesalius.methods.knowledge_neurons.result import Evidence, Guess, Intervention, Location
from vesalius.models.encoding import MASK
from vesalius.plots.style import figure_bytes

Story = tuple[Location, Sequence[Intervention]]


def write_report(
    stories: Sequence[Story],
    path: str | Path,
    *,
    evidence: Sequence[Evidence | None] = (),
    notes: Sequence[str] = (),
    force: bool = False,
) -> Path:
    """Write a page with a section per fact: answers, map, interventions, and how far to trust it.

    Args:
        stories: each fact's location and the interventions on its neurons.
        path: of the HTML file.
        evidence: for each story, effect against size, or None; nothing where left out.
        notes: sentences for the last section, such as how the facts were chosen.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    card = stories[0][0].card
    shown = evidence or [None] * len(stories)
    sections = [_section(*story, each) for story, each in zip(stories, shown, strict=True)]
    sections.append(("How these numbers were made", [*notes, *_provenance(stories)]))
    text = page(f"Knowledge neurons of {card.model}", sections)
    return write_file(path, text.encode(), force=force)


def write_intervention(found: Intervention, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about one intervention: picture, each prompt, the controls, best answers.

    Args:
        found: the intervention.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    model = found.card.model
    asked = list(zip(found.prompts, found.prob_before, found.prob_after, strict=True))
    controls = found.control_after.mean(axis=0) if len(found.control_after) else None
    means = ["-"] * len(asked) if controls is None else controls.tolist()
    body: list[object] = [
        f"{_neuron_names(found.neurons)}: values times {found.factor:g} where the answer is read. "
        f"The probability of “{found.answer}” changes by {found.change:+.1%}; "
        + _controls_in_words(found),
        picture(figure_bytes(found.plot()), alt=_intervention_in_words(found).strip()),
        element("h3", "The prompts"),
        table(
            ("prompt", "before", "after", "after, random neurons"),
            [
                (prompt, float(before), float(after), mean)
                for (prompt, before, after), mean in zip(asked, means, strict=True)
            ],
        ),
        element("h3", "Best answers to the first prompt"),
        _guess_table(found.guesses_before, [found], prompt=found.prompts[0]),
    ]
    body += [element("p", f"Note: {warning}.") for warning in found.card.warnings]
    rows = [("seed of the random neurons", str(found.card.seed)), *_made_by(found.card)]
    sections = [
        (found.prompts[0].replace(MASK, found.answer), body),
        ("How these numbers were made", [table(("what", "how"), rows)]),
    ]
    text = page(f"Neurons times {found.factor:g} in {model}", sections)
    return write_file(path, text.encode(), force=force)


def write_relations(found: RelationChanges, path: str | Path, *, force: bool = False) -> Path:
    """Write a page about the turned neurons of many facts, relation by relation.

    Args:
        found: the changes.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    percents = ("own", "own_low", "own_high", "crossed", "random")
    rows = [
        (
            *(row[name] for name in ("relation", "facts", "prompts")),
            *("-" if row[name] != row[name] else f"{row[name]:+.2%}" for name in percents),
        )
        for row in found.to_table().to_pylist()
    ]
    body: list[object] = [
        found.verdict,
        picture(figure_bytes(found.plot()), alt=found.verdict),
        table(
            ("relation", "facts", "prompts", "own neurons", "low", "high", "other relation",
             "random neurons"),
            rows,
        ),
    ]  # fmt: skip
    how = [
        ("measure", "mean(after - before) / mean(before) over all prompts of all facts of a "
         "relation (arXiv 2104.08696); low and high: bootstrap over facts, 95 %"),
        ("other relation", "the same neurons, a random fact of another relation asked"),
        ("random neurons", "as many, in the same layers, on the fact's own prompts"),
        ("neurons chosen by", found.selector),
        ("seed", str(found.card.seed)),
        *_made_by(found.card),
    ]  # fmt: skip
    sections: list[tuple[str, Sequence[object]]] = [
        (f"Neurons times {found.factor:g}", body),
        ("How these numbers were made", [table(("what", "how"), how)]),
    ]
    text = page(f"Turned neurons of {found.card.model}", sections)
    return write_file(path, text.encode(), force=force)


def _controls_in_words(found: Intervention) -> str:
    sets = found.control_change
    if not len(sets):
        return "no random neurons were turned beside them."
    return (
        f"with as many random neurons in the same layers by {found.control_mean:+.1%} on average "
        f"({sets.min():+.1%} to {sets.max():+.1%}, {len(sets)} sets)."
    )


def _section(
    location: Location, interventions: Sequence[Intervention], evidence: Evidence | None = None
) -> tuple[str, Sequence[object]]:
    axes = plot_story(location, interventions) if interventions else plot_location(location)
    neurons = location.to_table().to_pylist()
    asked = (
        f" to “{location.prompts[0]}”: probability {float(location.prob.mean()):.3f}, "
        f"mean over {len(location.prompts)} paraphrases."
    )
    body: list[object] = [
        element("p", element("strong", location.answer), asked),
        location.verdict,
        picture(figure_bytes(axes), alt=_in_words(location, interventions)),
        element("h3", "The neurons"),
        table(
            ("layer", "neuron", "mean score", "mean activation", "paraphrases"),
            [tuple(row.values()) for row in neurons],
        ),
        element("h3", "Best answers"),
        _guess_table(location.guesses, interventions, prompt=location.prompts[0]),
    ]
    body += [] if evidence is None else _evidence_part(evidence)
    body += [element("p", f"Note: {warning}.") for warning in location.card.warnings]
    return location.prompts[0].replace(MASK, location.answer), body


def _evidence_part(found: Evidence) -> list[object]:
    """Effect against size, drawn for every factor, and in numbers."""
    changes = ("change", "random_mean", "active_mean")
    rows = [
        (f"× {row['factor']:g}", row["size"], *(f"{row[name]:+.1%}" for name in changes))
        for row in found.to_table().to_pylist()
    ]
    agreement = "-" if found.stability is None else f"{found.stability:.2f}"
    pictures = [
        picture(
            figure_bytes(plot_evidence(found, factor=factor)),
            alt=f"Change of the probability against the number of neurons, times {factor:g}, "
            "beside random and equally active neurons; the numbers are in the table.",
        )
        for factor in found.factors.tolist()
    ]
    return [
        element("h3", "How far to believe it"),
        element("p", found.verdict),
        element(
            "p",
            f"Agreement of the paraphrases (mean Jaccard index): {agreement}; largest completeness "
            f"gap: {found.max_gap:.1e}.",
        ),
        *pictures,
        table(("neurons", "how many", "change", "random", "as active"), rows),
    ]


def _guess_table(
    untouched: Sequence[Guess], interventions: Sequence[Intervention], *, prompt: str
) -> Html:
    """The five best answers to a prompt, untouched and after each intervention."""
    columns = [_spoken(untouched, prompt)]
    columns += [_spoken(each.guesses_after, prompt) for each in interventions]
    names = ["untouched", *(f"neurons x {each.factor:g}" for each in interventions)]
    return table(names, list(zip(*columns, strict=True)))


def _spoken(guesses: Sequence[Guess], prompt: str) -> list[str]:
    return [f"{guess.token} ({guess.prob:.3f})" for guess in guesses if guess.prompt == prompt]


def _in_words(location: Location, interventions: Sequence[Intervention]) -> str:
    names = _neuron_names(location.neurons) or "none"
    words = f"Map of attribution scores by layer and neuron; ringed: {names}."
    return words + "".join(map(_intervention_in_words, interventions))


def _intervention_in_words(found: Intervention) -> str:
    return (
        f" Neurons times {found.factor:g}: probability {found.prob_before.mean():.3f} to "
        f"{found.prob_after.mean():.3f}; random neurons {found.control_mean:+.1%}."
    )


def _neuron_names(neurons: Sequence[Neuron]) -> str:
    return ", ".join(f"layer {layer} neuron {neuron}" for layer, neuron in neurons)


def _provenance(stories: Sequence[Story]) -> list[object]:
    location = stories[0][0]
    card = location.card
    gap = max(float(each.gap.max()) for each, _ in stories)
    rows = [
        ("scores", "integrated gradients of the answer's probability along the scaling of each "
         "layer's neurons from zero (arXiv 2104.08696), one backward pass for all layers"),
        ("quadrature", f"{card.config['rule']}, {card.config['num_nodes']} nodes or more"),
        ("largest completeness gap", f"{gap:.1e} (0 would be exact)"),
        ("random neurons", "as many, in the same layers; bars show their mean and whole range"),
    ]  # fmt: skip
    rows += _made_by(card, seconds=sum(each.card.wall_seconds for each, _ in stories))
    return [table(("what", "how"), rows)]


def _made_by(card: RunCard, *, seconds: float | None = None) -> list[tuple[str, str]]:
    return [
        ("model", f"{card.model} ({card.model_fingerprint})"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{card.wall_seconds if seconds is None else seconds:.2f}"),
    ]
