"""A run over one or many questions: check, open, answer each, write, print.

Source: the output rules of docs/architecture.md.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vesalius.cli.errors import FAILED, PARTLY_DONE, say, say_error
from vesalius.cli.flags import AbstractQuestionFlags, TurnFlags
from vesalius.cli.opening import open_model
from vesalius.cli.progress import working
from vesalius.cli.questions import Question, asked_before, check_picture, fitting, questions_of
from vesalius.cli.turning import check_source, neurons_of
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output, new_folder

if TYPE_CHECKING:
    from vesalius.cli.stories import Story, Teller
    from vesalius.methods.knowledge_neurons import Location
    from vesalius.models.specimen import Specimen

MANIFEST = "run.json"
_NOT_IN_MANIFEST = ("debug", "json", "out", "html", "plot", "force", "dry_run", "device", "memory")
Failure = tuple[Question, VesaliusError]


def run_neurons(flags: AbstractQuestionFlags, *, verb: str, factor: float | None = None) -> None:
    """Answer the questions of the flags, and print, save and draw what was found.

    Raises:
        Exit: some questions failed: code 4 when others did not, 1 when none was answered.
        VesaliusError: the only question failed, or the flags or files are faulty.
    """
    questions, known = _checked(flags)
    from vesalius.cli.stories import Teller, config_of

    config_of(flags)  # faulty options are refused before a model is opened
    specimen = open_model(flags.model, flags)
    if known is not None:
        _insist_on_the_model(known, specimen)
    teller = Teller(specimen=specimen, flags=flags, factor=factor, known=known)
    if flags.dry_run:
        from vesalius.cli.forecast import show_forecast

        show_forecast(specimen, [fitting(q, task=specimen.task) for q in questions], flags)
        return
    stories, failures = _told(teller, questions, verb)
    _write(stories, flags)
    _print(stories, failures, flags)
    if failures:
        raise typer.Exit(PARTLY_DONE if stories else FAILED)


def _checked(flags: AbstractQuestionFlags) -> tuple[tuple[Question, ...], "Location | None"]:
    """Read the question, and refuse early what would be refused late."""
    check_picture(flags.plot)
    known = None
    if isinstance(flags, TurnFlags):
        check_source(flags)
        if flags.neurons:
            neurons_of(flags.neurons)
        if flags.location:
            from vesalius.methods.knowledge_neurons import Location

            known = Location.load(flags.location)
    questions = (
        (asked_before(known.prompts, known.answer),) if known is not None else questions_of(flags)
    )
    for path in (flags.html, flags.plot):
        if path is not None and not flags.dry_run:
            check_new_output(path, force=flags.force)
    return questions, known


def _insist_on_the_model(known: "Location", specimen: "Specimen") -> None:
    if known.card.model_fingerprint != specimen.fingerprint:
        raise VesaliusError(
            given=f"--location found in {known.card.model} ({known.card.model_fingerprint}), "
            f"to be turned in another model ({specimen.name}, {specimen.fingerprint})",
            expected="the model in which the neurons were located",
            fix="name that model with --model, or these neurons with --neurons",
        )


def _told(
    teller: "Teller", questions: Sequence[Question], verb: str
) -> tuple[list["Story"], list[Failure]]:
    """Answer every question; one that fails does not stop the others."""
    flags = teller.flags
    several = flags.facts is not None
    if several and flags.out is not None:
        _open_batch(flags.out, _manifest(teller, questions, verb), force=flags.force)
    stories: list[Story] = []
    failures: list[Failure] = []
    with working(f"neurons {verb}", total=len(questions)) as step:
        for question in questions:
            folder = flags.out / question.name if flags.out and several else flags.out
            try:
                stories.append(teller.tell(fitting(question, task=teller.specimen.task), folder))
            except VesaliusError as error:
                if not several:
                    raise
                failures.append((question, error))
                say_error(error, about=question.name)
            step()
    return stories, failures


def _manifest(teller: "Teller", questions: Sequence[Question], verb: str) -> dict[str, Any]:
    """What has to agree for a folder to be gone on with; no path of this machine is in it."""
    flags = {k: v for k, v in asdict(teller.flags).items() if k not in _NOT_IN_MANIFEST}
    return {
        "command": f"neurons {verb}",
        "flags": flags | {"facts": None, "model": teller.specimen.name},
        "model_fingerprint": teller.specimen.fingerprint,
        "questions": [asdict(question) for question in questions],
    }


def _open_batch(out: Path, manifest: dict[str, Any], *, force: bool) -> None:
    """Begin a folder for several results, or go on with one of the same command."""
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    place = out / MANIFEST
    if not force and place.is_file() and json.loads(place.read_text("utf-8")) == json.loads(text):
        num_done = sum(1 for _ in out.glob("*/result.json"))
        say(f"vesalius: going on in {out}: {num_done} of {len(manifest['questions'])} are done")
        return
    with new_folder(out, force=force, marker=MANIFEST) as folder:
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _write(stories: Sequence["Story"], flags: AbstractQuestionFlags) -> None:
    """Write the page and the picture."""
    if flags.html is not None and stories:
        from vesalius.methods.knowledge_neurons.report import write_report

        told = [(s.location, s) for s in stories if s.location is not None]
        pages = [
            (location, () if s.intervention is None else (s.intervention,)) for location, s in told
        ]
        shown = [s.evidence for _, s in told]
        write_report(pages, flags.html, evidence=shown, force=flags.force)
    if flags.plot is not None and stories:
        _draw(stories[0], flags.plot, force=flags.force)


def _draw(story: "Story", path: Path, *, force: bool) -> None:
    from vesalius.core.paths import write_file
    from vesalius.methods.knowledge_neurons.plot import plot_story
    from vesalius.plots.style import figure_bytes

    if story.location is None:
        axes = story.intervention.plot() if story.intervention else None
    elif story.intervention is None:
        axes = story.location.plot()
    else:
        axes = plot_story(story.location, (story.intervention,))
    write_file(path, figure_bytes(axes, format=path.suffix[1:]), force=force)


def _print(
    stories: Sequence["Story"], failures: Sequence[Failure], flags: AbstractQuestionFlags
) -> None:
    from vesalius.cli.neuron_tables import emit_story, story_dict
    from vesalius.cli.output import emit_json

    if flags.json:
        results = [
            story_dict(s.location, s.intervention, s.evidence)
            | {"name": s.question.name, "saved": s.saved}
            for s in stories
        ]
        failed = [{"name": q.name, **vars(error)} for q, error in failures]
        emit_json({"results": results, "failed": failed})
    else:
        for story in stories:
            turned = () if story.intervention is None else (story.intervention,)
            emit_story(story.location, turned, story.evidence)
    for path in filter(None, (flags.out if stories else None, flags.html, flags.plot)):
        say(f"vesalius: wrote {path}")
