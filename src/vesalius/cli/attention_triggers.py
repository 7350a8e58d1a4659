"""`vesalius attention triggers`: tokens that flip a classifier, found and put to the test.

Source: arXiv 2004.11207, section 4.5.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.attention_data import Texts, open_data, score_config, take
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.trigger_flags import TriggerFlags

if TYPE_CHECKING:
    from vesalius.data.labelled import LabelledData
    from vesalius.methods.attention_attribution.attack_result import Attack
    from vesalius.methods.attention_attribution.trigger_result import Triggers
    from vesalius.models.specimen import Specimen

EXAMPLE: Final = (
    "Example: vesalius attention triggers --data sst2.parquet --max-texts 100 --baseline uniform"
)
NO_ATTACK: Final = "none"
_SHOWN: Final = 10
_SUMMARY: Final = {
    "pattern": "trigger",
    "control": "control",
    "worst_class": "class",
    "drop": "drop",
    "control_drop": "of controls",
    "control_highest": "at most",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "beats": "beats",
}
_CLASSES: Final = {
    "pattern": "trigger",
    "class": "class",
    "texts": "texts",
    "clean": "clean",
    "attacked": "attacked",
    "difference": "difference",
    "difference_low": "low",
    "difference_high": "high",
    "flipped": "flipped",
}


def run_triggers(flags: TriggerFlags) -> None:
    """Find triggers in one split, put them into the texts of another; print, save and draw.

    Raises:
        VesaliusError: data, triggers or models that do not fit, or files that exist.
        WrongUsage: an attack on the split that triggers were found in.
    """
    _check(flags)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    found = _found(specimen, data, flags)
    if flags.on == NO_ATTACK:
        write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
        _tell_triggers(found, flags)
        return
    attacked = _attacked(specimen, data, found, flags)
    write_outputs(attacked, flags.out, flags.html, flags.plot, force=flags.force)
    _tell_attack(found, attacked, flags)


def _check(flags: TriggerFlags) -> None:
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    if flags.triggers is None and flags.on == flags.split_from:
        wrong_usage(
            given=f"--split-from {flags.split_from} and --on {flags.on}",
            expected="an attack on texts that triggers were not found in",
            fix="find them in train, attack dev",
        )
    if flags.on == NO_ATTACK and (flags.transfer or flags.language_model):
        wrong_usage(
            given="--on none with --transfer or --language-model",
            expected="an attack for the other model to read",
            fix="leave these out, or --on",
        )


def _found(specimen: "Specimen", data: "LabelledData", flags: TriggerFlags) -> "Triggers":
    from vesalius.methods.attention_attribution.trigger_result import Triggers
    from vesalius.methods.attention_attribution.triggers import find_triggers

    if flags.triggers is not None:
        return Triggers.load(flags.triggers)
    asked = take(data, flags.split_from, max_texts=flags.max_texts, specimen=specimen)
    by: Any = flags.by
    with working(f"looking for triggers in {len(asked.texts)} texts"):
        return find_triggers(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            labels=asked.labels,
            target=flags.label or None,
            min_tokens=flags.min_tokens,
            min_score=flags.min_score,
            config=score_config(flags),
            by=by,
        )


def _attacked(
    specimen: "Specimen", data: "LabelledData", found: "Triggers", flags: TriggerFlags
) -> "Attack":
    from vesalius.methods.attention_attribution.attack import attack

    asked: Texts = take(data, flags.on, max_texts=flags.on_texts, specimen=specimen)
    assert asked.labels is not None
    with working(f"putting triggers into {len(asked.texts)} texts"):
        return attack(
            specimen,
            asked.texts,
            found,
            labels=asked.labels,
            pairs=asked.pairs,
            num_triggers=flags.top,
            num_controls=flags.controls,
            transfer=open_model(flags.transfer, flags) if flags.transfer else None,
            language_model=open_model(flags.language_model, flags)
            if flags.language_model
            else None,
            memory=flags.memory,
            seed=flags.seed,
        )


def _tell_triggers(found: "Triggers", flags: TriggerFlags) -> None:
    if flags.json:
        emit_json({"triggers": _triggers_as_json(found)})
    else:
        _show_triggers(found)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _show_triggers(found: "Triggers") -> None:
    rows: list[dict[str, Any]] = found.to_table().to_pylist()[:_SHOWN]
    columns = ("pattern", "label", "score", "count", "links")
    emit_table(columns, [[row[name] for name in columns] for row in rows])
    emit(found.verdict)


def _tell_attack(found: "Triggers", attacked: "Attack", flags: TriggerFlags) -> None:
    if flags.json:
        emit_json({"triggers": _triggers_as_json(found), "attack": _attack_as_json(attacked)})
    else:
        _show_triggers(found)
        emit("")
        _show_attack(attacked)
    warnings = (*(() if flags.triggers else found.card.warnings), *attacked.card.warnings)
    for warning in warnings:
        say(f"vesalius: {warning}")


def _show_attack(found: "Attack") -> None:
    classes: list[dict[str, Any]] = found.to_table().to_pylist()
    emit_table(list(_CLASSES.values()), [_cells(row, _CLASSES) for row in classes])
    emit("")
    summary: list[dict[str, Any]] = found.to_summary().to_pylist()
    shown = [{**row, "beats": "yes" if row["beats"] else "no"} for row in summary]
    emit_table(list(_SUMMARY.values()), [_cells(row, _SUMMARY) for row in shown])
    emit("")
    if found.fluency is not None:
        clean, after = found.fluency.medians()
        told = ", ".join(f"{value:.4g}" for value in after)
        emit(f"median perplexity by {found.fluency.model}: {clean:.4g} clean, {told} with triggers")
    emit(found.verdict)


def _cells(row: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    """The named cells; a difference of equal accuracies is 0, not the rounding of its sums."""
    cells = [row[name] for name in names]
    return [round(cell, 6) if isinstance(cell, float) else cell for cell in cells]


def _triggers_as_json(found: "Triggers") -> dict[str, Any]:
    return {
        "model": found.card.model,
        "model_fingerprint": found.card.model_fingerprint,
        "by": found.by,
        "found": found.to_table().to_pylist(),
        "num_used": found.num_used,
        "verdict": found.verdict,
        "warnings": list(found.card.warnings),
    }


def _attack_as_json(found: "Attack") -> dict[str, Any]:
    medians = None if found.fluency is None else found.fluency.medians()
    return {
        "classes": found.to_table().to_pylist(),
        "summary": found.to_summary().to_pylist(),
        "perplexity": None
        if medians is None
        else {"clean": medians[0], "attacked": medians[1].tolist()},
        "verdict": found.verdict,
        "warnings": list(found.card.warnings),
    }
