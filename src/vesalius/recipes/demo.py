"""The first thing to see: three facts, the neurons that hold them, and what turning them does."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
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
from vesalius.models.encoding import MASK
from vesalius.models.specimen import Specimen
from vesalius.plots.style import figure_bytes

MARKER = "facts.html"
NUM_FACTS = 3
# Facts that readers know, one relation after the other; the first three that the model answers
# rightly are shown, each of another relation.
CANDIDATES = (
    Fact(relation="P36", subject="France", answer="Paris"),
    Fact(relation="P36", subject="Japan", answer="Tokyo"),
    Fact(relation="P36", subject="Italy", answer="Rome"),
    Fact(relation="P37", subject="Brazil", answer="Portuguese"),
    Fact(relation="P37", subject="Austria", answer="German"),
    Fact(relation="P37", subject="Mexico", answer="Spanish"),
    Fact(relation="P30", subject="Kenya", answer="Africa"),
    Fact(relation="P30", subject="Peru", answer="Americas"),
    Fact(relation="P30", subject="Alps", answer="Europe"),
    Fact(relation="P176", subject="iPhone", answer="Apple"),
    Fact(relation="P103", subject="Victor Hugo", answer="French"),
    Fact(relation="P19", subject="Mozart", answer="Salzburg"),
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
    """What the demo found, and the files it wrote: the page first, then a picture per fact."""

    stories: tuple[Story, ...]
    files: tuple[Path, ...]


def run_demo(
    specimen: Specimen,
    *,
    out: str | Path,
    facts: Sequence[Fact] = CANDIDATES,
    force: bool = False,
    seed: int = 0,
) -> Demo:
    """Locate, suppress and amplify the neurons of three facts of different relations.

    Args:
        specimen: an opened masked or causal language model.
        out: a new folder for the page, the pictures and the saved results; a folder that the demo
            made before is replaced.
        facts: candidates; the first three relations with a fact that the model knows are taken.
        force: whether to replace a folder that something else made.
        seed: of the random neurons.

    Raises:
        VesaliusError: the model knows none of the facts, or the folder may not be written.

    Source: arXiv 2104.08696, figures 3 and 4. No shapes change hands.
    """
    stories = tuple(islice(_known(specimen, facts, seed), NUM_FACTS))
    if not stories:
        raise VesaliusError(
            given=f"{specimen.name}, which answers none of {len(facts)} well-known facts rightly",
            expected="a model that knows at least one of them",
            fix="ask it for facts of yours: vesalius neurons locate --prompt ... --answer ...",
        )
    out = Path(out)
    made_before = (out / MARKER).is_file()
    with new_folder(out, force=force or made_before, marker=MARKER) as folder:
        names = [MARKER]
        pages = [(s.location, (s.suppressed, s.amplified)) for s in stories]
        write_report(pages, folder / MARKER)
        for story in stories:
            stem = _stem(story.fact)
            axes = plot_story(story.location, (story.suppressed, story.amplified))
            (folder / f"{stem}.png").write_bytes(figure_bytes(axes))
            names.append(f"{stem}.png")
            story.location.save(folder / stem / "location")
            story.suppressed.save(folder / stem / "suppressed")
            story.amplified.save(folder / stem / "amplified")
    return Demo(stories=stories, files=tuple(out / name for name in names))


def _known(specimen: Specimen, facts: Sequence[Fact], seed: int) -> Iterator[Story]:
    """A story for the first fact of each relation that the model answers rightly."""
    told: set[str] = set()
    for fact in facts:
        if fact.relation in told:
            continue
        try:
            location = _located(specimen, fact)
        except VesaliusError:
            continue  # the answer is not one token of this model, or it wants the gap at the end
        if location.guesses[0].token != fact.answer or not location.neurons:
            continue
        told.add(fact.relation)
        prompts, neurons = location.prompts, location.neurons
        yield Story(
            fact=fact,
            location=location,
            suppressed=suppress(specimen, prompts, fact.answer, neurons, seed=seed),
            amplified=amplify(specimen, prompts, fact.answer, neurons, seed=seed),
        )


def _located(specimen: Specimen, fact: Fact) -> Location:
    prompts = prompts_for(fact, mask_token=MASK)
    if specimen.task == "causal-lm":
        prompts = [p for p in prompts if p.rstrip(" .").endswith(MASK)]
    return locate(specimen, prompts, fact.answer, config=LocateConfig())


def _stem(fact: Fact) -> str:
    return re.sub(r"\W+", "-", f"{fact.relation} {fact.subject} {fact.answer}").strip("-").lower()
