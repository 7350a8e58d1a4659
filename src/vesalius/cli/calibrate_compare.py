"""`vesalius calibrate compare`: every calibrator on the same scores of the same texts.

Source: arXiv 2205.10183, section 4.
"""

from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.attention_data import check_apart, counted
from vesalius.cli.calibrate_data import Asked, ask, options_of, words
from vesalius.cli.calibrate_flags import AbstractFitFlags, CompareFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.checks import check_word

if TYPE_CHECKING:
    from vesalius.data.few_shot import LabelledRow
    from vesalius.methods.calibration.comparison import Comparison
    from vesalius.methods.calibration.inputs import FitInputs
    from vesalius.models.specimen import Specimen

ESTIMATES: Final = ("train", "generated")


def run_compare(flags: CompareFlags) -> None:
    """Score, calibrate in every way, and show which one to take.

    Raises:
        VesaliusError: data, a prompt or a text that does not fit the model, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    check_apart(out=flags.out, html=flags.html, plot=flags.plot, store=flags.store)
    methods = words("methods", flags.methods, known_methods())
    check_word("estimate", flags.estimate, ESTIMATES)
    asked = ask(flags)
    if shared := len({r.texts for r in asked.test} & {r.texts for r in asked.train}):
        say(
            f"vesalius: {counted(shared, 'text')} to judge by stand in train too, from which "
            "calibrators and prompts are made: their answers flatter"
        )
    specimen = open_model(flags.model, flags)
    found = _compared(specimen, asked, methods, flags)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    show_comparison(found, json=flags.json)


def known_methods() -> tuple[str, ...]:
    """Name the calibrators."""
    from vesalius.methods.calibration.calibrators import METHODS

    return tuple(METHODS)


def _compared(
    specimen: "Specimen", asked: Asked, methods: tuple[str, ...], flags: CompareFlags
) -> "Comparison":
    from vesalius.methods.calibration.compare import compare
    from vesalius.methods.calibration.inputs import store_of
    from vesalius.methods.calibration.score import score

    inputs = fitted_inputs(specimen, asked, methods, flags)
    with working(f"scoring {counted(len(asked.test), 'text')}"):
        scores = score(
            specimen,
            asked.prompt,
            [row.texts for row in asked.test],
            labels=[row.label for row in asked.test],
            label_names=asked.label_names,
            store=store_of(flags.store, asked.prompt),
            options=options_of(flags),
        )
    for note in (*inputs.notes, *scores.card.warnings):
        say(f"vesalius: {note}")
    with working("calibrating"):
        return compare(
            scores.log_probs,
            scores.labels,
            inputs=inputs.by_kind(),
            methods=methods or None,
            options=method_options(flags.preset),
            label_names=asked.label_names,
            seed=flags.seed,
            model=specimen.name,
            model_fingerprint=scores.card.model_fingerprint,
            about=about(asked, flags.shots),
        )


def about(asked: Asked, shots: int) -> dict[str, Any]:
    """Say for a card what was asked."""
    return {
        "task": asked.task.name,
        "template": asked.prompt.template,
        "words": list(asked.prompt.words),
        "instruction": asked.prompt.instruction,
        "shots": shots,
        "prompt": asked.prompt.fingerprint(),
    }


def method_options(preset: str) -> dict[str, dict[str, Any]]:
    """Give the options of calibrators that a preset asks for."""
    if preset != "paper":
        return {}
    from vesalius.methods.calibration.calibrators import PrototypicalCalibration

    return {"prototypical": PrototypicalCalibration.paper().get_params()}


def fitted_inputs(
    specimen: "Specimen", asked: Asked, methods: tuple[str, ...], flags: AbstractFitFlags
) -> "FitInputs":
    """Score everything that the methods are fitted on.

    Raises:
        VesaliusError: a text that does not fit the model, or a store of another.
    """
    from vesalius.data.label_draws import draw_estimate
    from vesalius.methods.calibration.calibrators import METHODS
    from vesalius.methods.calibration.inputs import fit_inputs

    wanted = flags.per_class * asked.prompt.num_labels
    there = len({row.texts for row in asked.estimate_rows})
    labelled = draw_estimate(
        asked.train, num=min(wanted, there), seed=flags.seed, exclude=asked.prompt.demonstrations
    )
    kinds = {METHODS[method].fits_on for method in methods or METHODS} - {"nothing"}
    if flags.generated == 0:
        kinds -= {"generated"}
    if there < wanted and kinds & {"domain", "estimate", "labelled"}:
        say(f"vesalius: {there} texts to estimate from, not {wanted}: train has no more")
    estimate = labelled
    if flags.estimate == "generated" and "estimate" in kinds:
        estimate = _written(specimen, asked, num=len(labelled), seed=flags.seed)
    with working("scoring what the calibrators are fitted on"):
        return fit_inputs(
            specimen,
            asked.prompt,
            estimate,
            kinds=sorted(kinds),
            labelled=labelled,
            seed=flags.seed,
            num_generated=flags.generated or 1,
            store=flags.store,
            options=options_of(flags),
        )


def _written(specimen: "Specimen", asked: Asked, *, num: int, seed: int) -> "list[LabelledRow]":
    """Let the model write the estimate set, after its demonstrations in several orders."""
    from vesalius.data.few_shot import LabelledRow
    from vesalius.methods.calibration.generate import generate_texts

    orders = 8 if len(asked.prompt.demonstrations) > 1 else 1
    with working(f"writing {num} texts"):
        made = generate_texts(specimen, asked.prompt, num=num, seed=seed, num_orders=orders)
    say(f"vesalius: {len(made.texts)} texts of the estimate set written by {specimen.name}")
    return [LabelledRow(texts=texts, label=-1) for texts in made.texts]


def show_comparison(found: "Comparison", *, json: bool) -> None:
    """Print a comparison: scores, tests, advice."""
    from vesalius.methods.calibration.wording import comparison_rows, comparison_test_rows

    if json:
        emit_json(
            {
                "model": found.card.model,
                "num_texts": found.num_known,
                "methods": found.to_table().to_pylist(),
                "paired": found.paired_table().to_pylist(),
                "left_out": found.left_out,
                "notes": {name: list(notes) for name, notes in found.notes.items()},
                "advice": None
                if found.advice is None
                else {"recommended": found.advice.recommended, "reasons": found.advice.reasons},
                "warnings": list(found.card.warnings),
            }
        )
    else:
        emit_table(*comparison_rows(found))
        if found.paired:
            emit_table(*comparison_test_rows(found), title="Differences on the same texts")
        if found.advice is not None:
            emit(f"From the estimate set alone, without its labels: {found.advice.recommended}")
            for reason in found.advice.reasons:
                emit(f"  {reason}")
    for name, why in found.left_out.items():
        say(f"vesalius: {name} was left out: {why}")
    for name, notes in found.notes.items():
        for note in notes:
            say(f"vesalius: {name}: {note}")
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")
