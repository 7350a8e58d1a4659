"""The first thing to see: three facts, the neurons that hold them, and what turning them does."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.data.facts import Fact, prompts_for
from vesalius.methods.knowledge_neurons import (
    Intervention,
    LocateConfig,
    Location,
    amplify,
    locate,
    suppress,
)
from vesalius.methods.knowledge_neurons.plot import plot_story
from vesalius.methods.knowledge_neurons.report import write_report
from vesalius.models.encoding import MASK, answer_ids
from vesalius.models.specimen import Specimen
from vesalius.plots.style import figure_bytes

MARKER = "facts.html"
NUM_FACTS = 3
# Facts that readers know, of several relations.
CANDIDATES = tuple(
    Fact(relation=relation, subject=subject, answer=answer)
    for relation, pairs in {
        "P27": ("Auguste Rodin, France", "Margaret Atwood, Canada"),
        "P30": ("Bulgaria, Europe", "Lebanon, Asia"),
        "P36": ("Austria, Vienna", "Denmark, Copenhagen", "France, Paris"),
        "P449": ("Cheers, NBC", "The Big Bang Theory, CBS"),
        "P159": ("BP, London",),
        "P364": ("Amadeus, English",),
        "P103": ("Franz Kafka, German", "Shakira, Spanish"),
        "P37": ("Poland, Polish",),
        "P740": ("The Beatles, Liverpool",),
        "P495": ("golf, Scotland",),
        "P178": ("Itanium, Intel",),
    }.items()
    for subject, answer in (pair.split(", ") for pair in pairs)
)


@final
@dataclass(frozen=True, kw_only=True)
class Story:
    """One fact of the demo: where it is held, and what suppressing and amplifying does."""

    fact: Fact
    location: Location
    suppressed: Intervention
    amplified: Intervention


@final
@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo found, and the files it wrote: the page first, then a picture per fact.

    ``changes`` holds the relative change under suppression of every fact that the model knew,
    ``how_chosen`` one sentence on which of them are shown.
    """

    stories: tuple[Story, ...]
    changes: dict[str, float]
    how_chosen: str
    files: tuple[Path, ...]


def run_demo(
    specimen: Specimen,
    *,
    out: str | Path,
    facts: Sequence[Fact] = CANDIDATES,
    notes: Sequence[str] = (),
    force: bool = False,
    seed: int = 0,
) -> Demo:
    """Locate, suppress and amplify the neurons of three facts of different relations.

    Of the candidates that the model answers rightly, the three relations' facts whose neurons move
    the answer most when suppressed are shown; ``Demo.changes`` keeps the rest.

    Args:
        specimen: an opened masked or causal language model.
        out: a new folder for the page, the pictures and the saved results; a folder that the demo
            made before is replaced.
        facts: candidates.
        notes: more sentences for the page.
        force: whether to replace a folder that something else made.
        seed: of the random neurons.

    Raises:
        VesaliusError: the model knows none of the facts, or the folder may not be written.

    Source: arXiv 2104.08696, figures 3 and 4. No shapes change hands.
    """
    known = _known(specimen, facts)
    if not known:
        raise VesaliusError(
            given=f"{specimen.name}, which answers none of {len(facts)} well-known facts rightly",
            expected="a model that knows at least one of them",
            fix="ask it for facts of yours: vesalius neurons locate --prompt ... --answer ...",
        )
    changes = {f"{k.fact.subject}, {k.fact.answer}": k.change for k in known}
    stories = tuple(_story(specimen, fact, location, seed) for fact, location in _shown(known))
    out = Path(out)
    made_before = (out / MARKER).is_file()
    with new_folder(out, force=force or made_before, marker=MARKER) as folder:
        names = [MARKER]
        pages = [(s.location, (s.suppressed, s.amplified)) for s in stories]
        write_report(pages, folder / MARKER, notes=[_how_chosen(changes), *notes])
        for story in stories:
            stem = _stem(story.fact)
            axes = plot_story(story.location, (story.suppressed, story.amplified))
            (folder / f"{stem}.png").write_bytes(figure_bytes(axes))
            names.append(f"{stem}.png")
            story.location.save(folder / stem / "location")
            story.suppressed.save(folder / stem / "suppressed")
            story.amplified.save(folder / stem / "amplified")
    return Demo(
        stories=stories,
        changes=changes,
        how_chosen=_how_chosen(changes),
        files=tuple(out / name for name in names),
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Known:
    """A fact that the model knows, and how far suppressing its neurons moves the answer."""

    fact: Fact
    location: Location
    change: float


def _known(specimen: Specimen, facts: Sequence[Fact]) -> list[_Known]:
    known: list[_Known] = []
    for fact in facts:
        try:
            answer_ids(specimen, [fact.answer])
        except VesaliusError:
            continue  # not one token of this model
        location = _located(specimen, fact)
        if location.guesses[0].token != fact.answer or not location.neurons:
            continue
        moved = suppress(specimen, location.prompts, fact.answer, location.neurons, num_controls=0)
        known.append(_Known(fact=fact, location=location, change=moved.change))
    return known


def _shown(known: Sequence[_Known]) -> list[tuple[Fact, Location]]:
    """The fact that moves most of each relation; of these the three that move most."""
    best: dict[str, _Known] = {}
    for each in sorted(known, key=lambda k: k.change):
        best.setdefault(each.fact.relation, each)
    return [(each.fact, each.location) for each in list(best.values())[:NUM_FACTS]]


def _story(specimen: Specimen, fact: Fact, location: Location, seed: int) -> Story:
    prompts, neurons = location.prompts, location.neurons
    return Story(
        fact=fact,
        location=location,
        suppressed=suppress(specimen, prompts, fact.answer, neurons, seed=seed),
        amplified=amplify(specimen, prompts, fact.answer, neurons, seed=seed),
    )


def _how_chosen(changes: dict[str, float]) -> str:
    """One sentence on the choice, so that nobody takes the strongest movers for the average."""
    mean = sum(changes.values()) / len(changes)
    return (
        f"Shown: of {len(changes)} well-known facts that the model answers rightly, those that "
        "move most when their neurons are suppressed, one of a relation. All of them move by "
        f"{mean:+.1%} on average."
    )


def _located(specimen: Specimen, fact: Fact) -> Location:
    prompts = prompts_for(fact, mask_token=MASK)
    if specimen.task == "causal-lm":
        prompts = [p for p in prompts if p.rstrip(" .").endswith(MASK)]
    return locate(specimen, prompts, fact.answer, config=LocateConfig())


def _stem(fact: Fact) -> str:
    return re.sub(r"\W+", "-", f"{fact.relation} {fact.subject} {fact.answer}").strip("-").lower()
