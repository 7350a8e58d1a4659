"""`vesalius neurons update`: plan the edit of one fact, see what it does, save it.

Source: arXiv 2104.08696, section 5.1; arXiv 2202.05262 for rank-one edits.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, final

from vesalius.cli.edit_flags import AbstractEditFlags, UpdateFlags
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.flags import AbstractLocateFlags, LocateFlags
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.questions import Question, asked_before, fitting, questions_of
from vesalius.cli.turning import Neuron, neurons_of
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.edits import Edit
    from vesalius.methods.knowledge_neurons.result import Guess, Location
    from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, kw_only=True)
class Said:
    """What the model says to the prompts: probabilities of both answers, five best guesses."""

    old_prob: float
    new_prob: float
    num_new_first: int
    guesses: tuple["Guess", ...]


def run_update(flags: UpdateFlags) -> None:
    """Plan an edit of one fact; print what it does, save it, write the edited model.

    Raises:
        WrongUsage: flags that do not go together.
        VesaliusError: a bad question or answer, another model, or folders that exist.
    """
    _check(flags)
    check_folders(flags)
    known = None
    if flags.location is not None:
        from vesalius.methods.knowledge_neurons.result import Location

        known = Location.load(flags.location)
    if known is not None:
        question = asked_before(known.prompts, known.answer)
    else:
        (question,) = questions_of(question_flags(flags))
    specimen = open_model(flags.model, flags)
    if known is not None:
        insist_on_the_model("--location", known.card.model_fingerprint, specimen)
    question = fitting(question, task=specimen.task)
    if flags.dry_run:
        _show_forecast(specimen, question, flags, known)
        return
    with working("planning the edit"):
        edit, sets = _planned(specimen, question, flags, known)
        before = _said(specimen, edit)
        from vesalius.methods.knowledge_neurons.edits import edited

        with edited(specimen, edit):
            after = _said(specimen, edit)
    write_edit(specimen, edit, flags)
    _show(edit, before, after, sets, flags)


def _check(flags: UpdateFlags) -> None:
    ways = {"--prompt": flags.prompt, "--relation": flags.relation, "--location": flags.location}
    used = [flag for flag, value in ways.items() if value]
    if len(used) != 1:
        wrong_usage(
            given=" and ".join(used) or "no question",
            expected="exactly one of --prompt, --relation and --location",
            fix="--relation P36 --subject France --to London",
        )
    if flags.method not in ("slots", "rank-one"):
        wrong_usage(
            given=f"--method {flags.method}",
            expected="slots or rank-one",
            fix="leave it out for the value slots of the located neurons",
        )
    if flags.location and (flags.neurons or flags.answer):
        wrong_usage(
            given=f"--location with {'--neurons' if flags.neurons else '--answer'}",
            expected="neurons and answer of the location",
            fix="leave one of the two out",
        )
    slots = ("neurons", "sweep", "max_shared", "lambda_old", "lambda_new", "by_sign")
    others = slots if flags.method == "rank-one" else ("layer",)
    named = [name for name in others if getattr(flags, name) not in ("", None)]
    odd = [f"--{name.replace('_', '-')}" for name in named]
    if odd or (flags.max_shared is not None and flags.sweep is None):
        wrong_usage(
            given=f"--method {flags.method} with {odd[0] if odd else '--max-shared alone'}",
            expected="the flags of that method, and --max-shared only with --sweep",
            fix="leave it out" if odd else "add --sweep, the folder of the relation's facts",
        )
    if flags.neurons:
        neurons_of(flags.neurons)


def check_folders(flags: AbstractEditFlags) -> None:
    """Refuse folders that could not be written, before any work is done.

    Raises:
        VesaliusError: one exists and may not be replaced.
    """
    if flags.dry_run:
        return
    if flags.out is not None:
        check_new_output(flags.out, force=flags.force)
    if flags.checkpoint is not None:
        from vesalius.methods.knowledge_neurons.edits import NOTE

        check_new_output(flags.checkpoint, force=flags.force, marker=NOTE)
    if flags.out is not None and flags.checkpoint is not None:
        out, model = flags.out.resolve(), flags.checkpoint.resolve()
        if out.is_relative_to(model) or model.is_relative_to(out):
            wrong_usage(
                given=f"--out {flags.out} and --checkpoint {flags.checkpoint}",
                expected="two folders beside each other: for the edit, and for the edited model",
                fix=f"write --checkpoint {flags.out}-model",
            )


def question_flags(flags: UpdateFlags) -> LocateFlags:
    """Give the flags of an update as those of ``locate``, which ask the same question."""
    shared = {field.name: getattr(flags, field.name) for field in fields(AbstractLocateFlags)}
    return LocateFlags(
        **shared,
        prompt=flags.prompt,
        answer=flags.answer,
        relation=flags.relation,
        # with --prompt it only says where a rank-one edit is made
        subject="" if flags.prompt and flags.method == "rank-one" else flags.subject,
        model=flags.model,
        evidence=False,
    )


def insist_on_the_model(flag: str, fingerprint: str, specimen: "Specimen") -> None:
    """Refuse what was found in a model with other weights.

    Raises:
        VesaliusError: the fingerprints differ.
    """
    if fingerprint != specimen.fingerprint:
        raise VesaliusError(
            given=f"{flag} found in weights {fingerprint}, to edit {specimen.name} "
            f"({specimen.fingerprint})",
            expected="the model in which the neurons were located",
            fix="name that model with --model",
        )


def _planned(
    specimen: "Specimen", question: Question, flags: UpdateFlags, known: "Location | None"
) -> "tuple[Edit, int]":
    """The edit, and how many sets of the relation it was held against."""
    if flags.method == "rank-one":
        from vesalius.methods.knowledge_neurons.rank_one import rank_one

        edit = rank_one(
            specimen, question.prompts, question.answer, flags.to, subject=flags.subject,
            layer=flags.layer,
        )  # fmt: skip
        return edit, 0
    from vesalius.methods.knowledge_neurons.update import update

    sets = _relation_sets(specimen, flags)
    options: dict[str, Any] = {
        "weight_old": flags.lambda_old,
        "weight_new": flags.lambda_new,
        "max_shared": flags.max_shared,
        "by_sign": flags.by_sign,
    }
    edit = update(
        specimen,
        question.prompts,
        question.answer,
        flags.to,
        _neurons(specimen, question, flags, known),
        relation_sets=sets,
        **{name: value for name, value in options.items() if value is not None},
    )
    return edit, len(sets)


def _neurons(
    specimen: "Specimen", question: Question, flags: UpdateFlags, known: "Location | None"
) -> tuple[Neuron, ...]:
    if flags.neurons:
        return neurons_of(flags.neurons)
    if known is not None:
        return known.neurons
    from vesalius.cli.stories import config_of
    from vesalius.methods.knowledge_neurons.locate import locate

    return locate(specimen, question.prompts, question.answer, config=config_of(flags)).neurons


def _relation_sets(specimen: "Specimen", flags: UpdateFlags) -> list[tuple[Neuron, ...]]:
    if flags.sweep is None:
        return []
    from vesalius.methods.knowledge_neurons.located import (
        CorpusConfig,
        answered_facts,
        read_located,
        refined_sets,
    )

    located = read_located(flags.sweep)
    insist_on_the_model("--sweep", located.model_fingerprint, specimen)
    relations = {fact.relation for fact in located.facts}
    if not flags.relation and len(relations) > 1:
        raise VesaliusError(
            given=f"--sweep of {len(relations)} relations, and no --relation",
            expected="the relation of the fact that is edited",
            fix="ask with --relation and --subject, or sweep that relation alone",
        )
    config = CorpusConfig(share=flags.share)
    facts = answered_facts(located.facts, config=config, relation=flags.relation)
    return [refined.neurons for refined in refined_sets(facts, config=config)]


def _said(specimen: "Specimen", edit: "Edit") -> Said:
    from vesalius.methods.knowledge_neurons.guesses import best_guesses
    from vesalius.models.answers import encode_answers
    from vesalius.models.reading import read_answers

    asked = len(edit.prompts)
    several = edit.method == "rank-one"
    old, new = (
        encode_answers(specimen, edit.prompts, [word] * asked, several_tokens=several)
        for word in (edit.answer, edit.new_answer)
    )
    guesses, old_probs = best_guesses(specimen, old, edit.prompts)
    _, new_probs = best_guesses(specimen, new, edit.prompts)
    ranks = read_answers(specimen, edit.prompts, [edit.new_answer] * asked).rank
    return Said(
        old_prob=float(old_probs.mean()),
        new_prob=float(new_probs.mean()),
        num_new_first=int((ranks == 1).sum()),
        guesses=guesses,
    )


def write_edit(specimen: "Specimen", edit: "Edit", flags: AbstractEditFlags) -> None:
    """Save the edit and the edited model where the flags say so.

    Raises:
        VesaliusError: one cannot be written.
    """
    from vesalius.methods.knowledge_neurons.edits import write_checkpoint

    if flags.checkpoint is not None:
        from vesalius.cli.quiet import quiet_loading

        with quiet_loading():
            write_checkpoint(specimen, edit, flags.checkpoint, force=flags.force)
    if flags.out is not None:
        edit.save(flags.out, force=flags.force)


def emit_written(edit: "Edit", flags: AbstractEditFlags) -> None:
    """Say what was written, and the warnings of the edit."""
    for warning in edit.card.warnings:
        say(f"vesalius: warning: {warning}")
    for path in filter(None, (flags.out, flags.checkpoint)):
        say(f"vesalius: wrote {path}")


def _show(edit: "Edit", before: Said, after: Said, sets: int, flags: UpdateFlags) -> None:
    if flags.json:
        told = edit_dict(edit, flags) | {"before": _told(before), "after": _told(after)}
        emit_json({"edit": told})
        emit_written(edit, flags)
        return
    asked = len(edit.prompts)
    emit(f"{edit.prompts[0]}  {edit.answer} -> {edit.new_answer}   ({asked} prompts, "
         f"{edit.card.model})")  # fmt: skip
    rows = _rows(edit)
    emit_table(list(rows[0]), [list(row.values()) for row in rows])
    emit(_in_words(edit, sets))
    emit(f"probability of {edit.answer}: {before.old_prob:.4f} -> {after.old_prob:.4f}")
    emit(f"probability of {edit.new_answer}: {before.new_prob:.4f} -> {after.new_prob:.4f}")
    emit(f"{edit.new_answer} is the best answer to {after.num_new_first} of {asked} prompts "
         f"(before: {before.num_new_first})")  # fmt: skip
    emit("")
    spoken = [
        [f"{g.token} {g.prob:.4f}" for g in said.guesses if g.prompt == edit.prompts[0]]
        for said in (before, after)
    ]
    emit_table(
        ("untouched", "edited"),
        list(zip(*spoken, strict=True)),
        title="best answers",
    )
    emit("")
    emit_written(edit, flags)


def _rows(edit: "Edit") -> list[dict[str, Any]]:
    """The edited slots, or for a rank-one edit the layers that were tried."""
    if edit.method != "rank-one":
        return edit.to_table().to_pylist()
    names = ("layer", "reached", "prob", "size")
    return [{name: row[name] for name in names} for row in edit.card.config["trials"]]


def _in_words(edit: "Edit", sets: int) -> str:
    if edit.method == "rank-one":
        where = edit.card.config["subject"] or "the token where the answer is read"
        return (
            f"layer {edit.card.config['layer']} is edited at {where}; its weights change by "
            f"{edit.size:.3g} of their length"
        )
    if not sets:
        return "no sets of the relation were given (--sweep): no shared neuron was looked for"
    return (
        f"{len(edit.dropped)} of {len(edit.dropped) + len(edit.slots)} neurons left out: the "
        f"relation's {sets} facts share them"
    )


def edit_dict(edit: "Edit", flags: AbstractEditFlags) -> dict[str, Any]:
    """Tell an edit in plain values; the vectors stay in the saved result."""
    return {
        "model": edit.card.model,
        "model_fingerprint": edit.card.model_fingerprint,
        "method": edit.method,
        "prompts": list(edit.prompts),
        "answer": edit.answer,
        "new_answer": edit.new_answer,
        "num_slots": len(edit.slots),
        "slots": _rows(edit) if edit.method != "rank-one" else [],
        "size": edit.size,
        "dropped": [{"layer": layer, "neuron": neuron} for layer, neuron in edit.dropped],
        "config": edit.card.config,
        "warnings": list(edit.card.warnings),
        "saved": flags.out,
        "checkpoint": flags.checkpoint,
    }


def _told(said: Said) -> dict[str, Any]:
    rows = [{"prompt": g.prompt, "rank": g.rank, "token": g.token, "prob": g.prob}
            for g in said.guesses]  # fmt: skip
    return {
        "old_prob": said.old_prob,
        "new_prob": said.new_prob,
        "prompts_with_new_answer_first": said.num_new_first,
        "guesses": rows,
    }


def _show_forecast(
    specimen: "Specimen", question: Question, flags: UpdateFlags, known: "Location | None"
) -> None:
    """Count the work of an edit; locating has a forecast of its own."""
    from vesalius.cli.forecast import show_forecast
    from vesalius.models.answers import encode_answers

    several = flags.method == "rank-one"
    steps = encode_answers(
        specimen, question.prompts, [flags.to] * len(question.prompts), several_tokens=several
    )
    if not several and known is None and not flags.neurons:
        show_forecast(specimen, [question], question_flags(flags))
        return
    row: dict[str, Any] = {"name": question.name, "prompts": len(question.prompts)}
    if several:
        from vesalius.methods.knowledge_neurons.rank_one import RankOneConfig, reference_texts

        layers = [flags.layer] if flags.layer is not None else list(range(specimen.num_layers))
        widest = max(call.feed_forward.num_inputs for call in specimen.plan.calls)
        row |= {
            "layers_tried": len(layers),
            "steps_at_most": RankOneConfig().num_steps * len(layers),
            "streams": len(steps.prompt),
            "reference_texts": len(reference_texts(masks=specimen.task == "masked-lm")),
            "moment_bytes": 8 * widest**2,
        }
    else:
        named = neurons_of(flags.neurons) if flags.neurons else known.neurons if known else ()
        row["slots"] = len(named)
    if flags.json:
        emit_json({"forecast": [row]})
    else:
        emit_table(list(row), [list(row.values())])
