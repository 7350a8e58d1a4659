"""One self-contained page about located facts."""

from collections.abc import Sequence
from pathlib import Path

from vesalius.core.html import Html, element, page, picture, table
from vesalius.core.paths import write_file
from vesalius.methods.knowledge_neurons.plot import plot_location, plot_story
from vesalius.methods.knowledge_neurons.result import Guess, Intervention, Location
from vesalius.models.encoding import MASK
from vesalius.plots.style import figure_bytes

Story = tuple[Location, Sequence[Intervention]]


def write_report(stories: Sequence[Story], path: str | Path, *, force: bool = False) -> Path:
    """Write a page with a section per fact: answers, map, interventions, and how far to trust it.

    Args:
        stories: each fact's location and the interventions on its neurons.
        path: of the HTML file.
        force: whether an existing file is replaced.

    Returns:
        The path.

    Raises:
        VesaliusError: the file exists and ``force`` is not given, or the disk is full.

    Source: this project; no shapes change hands.
    """
    card = stories[0][0].card
    sections = [_section(location, interventions) for location, interventions in stories]
    sections.append(("How these numbers were made", _provenance(card.model, stories)))
    text = page(f"Knowledge neurons of {card.model}", sections)
    return write_file(path, text.encode(), force=force)


def _section(
    location: Location, interventions: Sequence[Intervention]
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
        _guess_table(location, interventions),
    ]
    body += [element("p", f"Note: {warning}.") for warning in location.card.warnings]
    return location.prompts[0].replace(MASK, location.answer), body


def _guess_table(location: Location, interventions: Sequence[Intervention]) -> Html:
    """The five best answers to the first prompt, untouched and after each intervention."""
    first = location.prompts[0]
    columns = [_spoken(location.guesses, first)]
    columns += [_spoken(each.guesses_after, first) for each in interventions]
    names = ["untouched", *(f"neurons x {each.factor:g}" for each in interventions)]
    return table(names, list(zip(*columns, strict=True)))


def _spoken(guesses: Sequence[Guess], prompt: str) -> list[str]:
    return [f"{guess.token} ({guess.prob:.3f})" for guess in guesses if guess.prompt == prompt]


def _in_words(location: Location, interventions: Sequence[Intervention]) -> str:
    names = ", ".join(f"layer {layer} neuron {neuron}" for layer, neuron in location.neurons)
    words = f"Map of attribution scores by layer and neuron; ringed: {names or 'none'}."
    for each in interventions:
        words += (
            f" Neurons times {each.factor:g}: probability {each.prob_before.mean():.3f} to "
            f"{each.prob_after.mean():.3f}; random neurons {each.control_mean:+.1%}."
        )
    return words


def _provenance(model: str, stories: Sequence[Story]) -> list[object]:
    location = stories[0][0]
    card = location.card
    gap = max(float(each.gap.max()) for each, _ in stories)
    rows = [
        ("model", f"{model} ({card.model_fingerprint})"),
        ("scores", "integrated gradients of the answer's probability along the scaling of each "
         "layer's neurons from zero (arXiv 2104.08696), one backward pass for all layers"),
        ("quadrature", f"{card.config['rule']}, {card.config['num_nodes']} nodes or more"),
        ("largest completeness gap", f"{gap:.1e} (0 would be exact)"),
        ("random neurons", "as many, in the same layers; bars show their mean and whole range"),
        ("versions", ", ".join(f"{name} {number}" for name, number in card.versions.items())),
        ("seconds", f"{sum(each.card.wall_seconds for each, _ in stories):.2f}"),
    ]  # fmt: skip
    return [table(("what", "how"), rows)]
