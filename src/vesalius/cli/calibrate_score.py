"""`vesalius calibrate score`: what a model says of texts under a few-shot prompt.

Source: arXiv 2205.10183, section 2.
"""

import time
from typing import TYPE_CHECKING, Final

from vesalius.cli.attention_data import check_apart, counted
from vesalius.cli.calibrate_data import Asked, ask, options_of, read_pairs
from vesalius.cli.calibrate_flags import ScoreFlags
from vesalius.cli.errors import say
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import counting, working
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.methods.calibration.scores import Scores
    from vesalius.models.specimen import Specimen

_SHOWN: Final = 5
WIDEST: Final = 6  # label words that a table has columns for


def run_score(flags: ScoreFlags) -> None:
    """Score texts; print a summary, keep the scores.

    Raises:
        VesaliusError: data, a prompt or a text that does not fit the model, or files that exist.
    """
    check_apart(out=flags.out, store=flags.store)
    if flags.out is not None:
        check_new_output(flags.out, force=flags.force)
    asked = ask(flags)
    rows = [row.texts for row in asked.test]
    if flags.texts is not None:
        rows = read_pairs(flags.texts, num_texts=asked.prompt.num_texts)
    specimen = open_model(flags.model, flags)
    if flags.dry_run:
        _forecast(specimen, asked, rows, flags)
        return
    from vesalius.methods.calibration.inputs import store_of
    from vesalius.methods.calibration.score import score

    with working(f"scoring {counted(len(rows), 'text')}", total=len(rows)) as step:
        shown = counting(step)
        found = score(
            specimen,
            asked.prompt,
            rows,
            labels=None if flags.texts else [row.label for row in asked.test],
            label_names=asked.label_names,
            store=store_of(flags.store, asked.prompt),
            options=options_of(flags),
            # what is in the store, or left out, is done from the start
            progress=lambda done, total: shown(len(rows) - total + done, len(rows)),
        )
    if flags.out is not None:
        found.save(flags.out, force=flags.force)
        say(f"vesalius: wrote {flags.out}")
    _show(found, rows, flags)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _show(found: "Scores", rows: list[tuple[str, ...]], flags: ScoreFlags) -> None:
    import numpy as np

    known = found.labels >= 0
    right = float((found.predictions == found.labels)[known].mean()) if known.any() else None
    said = np.bincount(found.predictions, minlength=len(found.words)) / len(found.predictions)
    summary = {
        "model": found.card.model,
        "prompt": found.prompt,
        "num_texts": len(found.labels),
        "num_computed": found.num_computed,
        "prefix_tokens": found.num_prefix_tokens,
        "way": found.way,
        "accuracy_uncalibrated": right,
        "mean_label_mass": float(found.label_mass.mean()),
        "predicted_shares": dict(zip(found.label_names, said.tolist(), strict=True)),
    }
    if flags.json:
        table = found.to_table().to_pylist()
        emit_json({**summary, "words": list(found.words), "scores": table})
        return
    emit_table(*_first_rows(found, rows))
    emit(
        f"{counted(len(found.labels), 'text')}, {found.num_computed} computed behind "
        f"{found.num_prefix_tokens} shared tokens ({found.way}); label words hold "
        f"{summary['mean_label_mass']:.1%} of the probability"
    )
    if right is not None:
        emit(f"accuracy without calibration: {right:.1%}")


def _first_rows(
    found: "Scores", rows: list[tuple[str, ...]]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Name the columns and give the first rows: all words, or the likeliest of many."""
    texts = [_short(" | ".join(rows[number])) for number in found.numbers[:_SHOWN]]
    log_probs = found.log_probs[:_SHOWN].tolist()
    if len(found.words) <= WIDEST:
        columns = ("text", *(f"log P({word})" for word in found.words))
        return columns, [(text, *row) for text, row in zip(texts, log_probs, strict=True)]
    likeliest: list[tuple[object, ...]] = [
        (text, found.words[label], log_probs[n][label], float(found.label_mass[n]))
        for n, (text, label) in enumerate(zip(texts, found.predictions[:_SHOWN], strict=True))
    ]
    return ("text", "likeliest word", "its log P", "P of all words"), likeliest


def _short(text: str, length: int = 48) -> str:
    text = " ".join(text.split())  # a text may hold the end of a line
    return text if len(text) <= length else text[: length - 3] + "..."


def _forecast(
    specimen: "Specimen", asked: Asked, rows: list[tuple[str, ...]], flags: ScoreFlags
) -> None:
    """Print what scoring would take; a single text is all that is run."""
    from vesalius.methods.calibration.score import planned, score

    options = options_of(flags)
    plan = planned(specimen, asked.prompt, rows, options=options)
    each = 0.0
    if plan.kept:
        one = [rows[plan.kept[0]]]
        score(specimen, asked.prompt, one, options=options)  # sets things up
        start = time.perf_counter()
        score(specimen, asked.prompt, one, options=options)
        seconds = time.perf_counter() - start
        each = seconds / planned(specimen, asked.prompt, one, options=options).num_tokens
    row = {
        "texts": len(plan.kept),
        "left_out": len(plan.num_over),
        "tokens": plan.num_tokens,
        "tokens_without_sharing": plan.num_tokens_unshared,
        "seconds_about": float(f"{each * plan.num_tokens:.2g}"),
    }
    if flags.json:
        emit_json({"forecast": row})
    else:
        emit_table(list(row), [list(row.values())])
