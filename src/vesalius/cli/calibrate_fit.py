"""`vesalius calibrate fit` and `predict`: a classifier without training, kept and used.

Source: arXiv 2205.10183.
"""

from typing import TYPE_CHECKING

from vesalius.cli.attention_data import check_apart, counted
from vesalius.cli.calibrate_compare import (
    ESTIMATES,
    fitted_inputs,
    known_methods,
    method_options,
)
from vesalius.cli.calibrate_data import ask, read_pairs
from vesalius.cli.calibrate_flags import FitFlags, PredictFlags
from vesalius.cli.calibrate_score import WIDEST
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.methods.calibration.classifier import FewShotClassifier
    from vesalius.models.specimen import Specimen


def run_fit(flags: FitFlags) -> None:
    """Fit one calibrator for a prompt and a model, and keep it.

    Raises:
        VesaliusError: data or a prompt that does not fit, an unknown method, a folder that exists.
    """
    check_word("method", flags.method, known_methods())
    check_word("estimate", flags.estimate, ESTIMATES)
    check_apart(out=flags.out, store=flags.store)
    asked = ask(flags)
    from vesalius.methods.calibration.classifier import MARKER, FewShotClassifier
    from vesalius.methods.calibration.fitting import fit_methods

    check_new_output(flags.out, force=flags.force, marker=MARKER)
    specimen = open_model(flags.model, flags)
    inputs = fitted_inputs(specimen, asked, (flags.method,), flags)
    try:
        with working("fitting"):
            fitted = fit_methods(
                (flags.method,),
                inputs.by_kind(),
                num_labels=asked.prompt.num_labels,
                options=method_options(flags.preset),
                seed=flags.seed,
            )
    except VesaliusError as error:
        raise VesaliusError(
            given="; ".join((error.given, *inputs.notes)),
            expected="inputs that it can be fitted on",
            fix="choose another method, such as batch",
        ) from error
    calibrator = fitted.calibrators[flags.method]
    made = FewShotClassifier(
        prompt=asked.prompt,
        calibrator=calibrator,
        label_names=asked.label_names,
        model=specimen.name,
        fingerprint=specimen.fingerprint,
    )
    made.save(flags.out, force=flags.force)
    for note in (*inputs.notes, *calibrator.notes_):
        say(f"vesalius: {note}")
    say(f"vesalius: wrote {flags.out}")
    if flags.json:
        emit_json({"method": flags.method, "fits_on": calibrator.fits_on, "out": str(flags.out)})


def run_predict(flags: PredictFlags) -> None:
    """Classify texts with a kept classifier.

    Raises:
        VesaliusError: a folder without one, another model, texts that do not fit.
        WrongUsage: no texts, or texts from two places.
    """
    if bool(flags.text) == (flags.texts is not None):
        wrong_usage(
            given="--text and --texts" if flags.text else "no text",
            expected="one of --text and --texts",
            fix="add --text 'A fine film.'",
        )
    from vesalius.methods.calibration.classifier import FewShotClassifier

    classifier = FewShotClassifier.load(flags.classifier)
    rows = _rows(flags, classifier)
    specimen = _opened(flags, classifier.model)
    with working(f"classifying {counted(len(rows), 'text')}"):
        found = classifier.classify(specimen, rows)
    names = classifier.label_names
    said = [names[number] for number in found.predictions]
    probabilities = found.probabilities.tolist()
    if flags.json:
        told = [
            {"texts": row, "label": label, "probabilities": dict(zip(names, each, strict=True))}
            for row, label, each in zip(rows, said, probabilities, strict=True)
        ]
        emit_json({"method": classifier.calibrator.method, "answers": told})
        return
    texts = [" ".join(" | ".join(row).split()) for row in rows]  # a text may hold a line's end
    if len(names) <= WIDEST:
        answers = zip(texts, said, probabilities, strict=True)
        emit_table(("text", "label", *names), [(text, word, *each) for text, word, each in answers])
    else:
        best = found.probabilities.max(axis=1).tolist()
        emit_table(("text", "label", "probability"), list(zip(texts, said, best, strict=True)))


def _opened(flags: PredictFlags, name: str) -> "Specimen":
    try:
        return open_model(flags.model or name, flags)
    except VesaliusError as error:
        if flags.model:
            raise
        raise VesaliusError(
            given=f"{name}, the model of {flags.classifier.name}, which is not found by its name",
            expected=f"the model that it was fitted for ({error.expected})",
            fix="say where it is: --model FOLDER",
        ) from error


def _rows(flags: PredictFlags, classifier: "FewShotClassifier") -> list[tuple[str, ...]]:
    num_texts = classifier.prompt.num_texts
    if flags.texts is not None:
        return read_pairs(flags.texts, num_texts=num_texts)
    first, second = flags.text or [], flags.pair or []
    if len(second) != (len(first) if num_texts == 2 else 0):
        wrong_usage(
            given=f"{counted(len(first), 'text')} and {len(second)} --pair",
            expected="a --pair for each --text"
            if num_texts == 2
            else "no --pair: the prompt is for single texts",
            fix="repeat --text and --pair in turn" if num_texts == 2 else "leave --pair out",
        )
    return list(zip(first, second, strict=True)) if second else [(text,) for text in first]
