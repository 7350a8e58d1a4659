"""`vesalius attention heads | prune | faithfulness`: which heads and links matter.

Source: arXiv 2004.11207, sections 4.2 and 4.3.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.attention_data import Texts, open_data, score_config, take
from vesalius.cli.attention_flags import FaithfulnessFlags, HeadsFlags, PruneFlags
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.data.labelled import LabelledData
    from vesalius.methods.attention_attribution import HeadImportance, PruneCurve, PrunedModel
    from vesalius.models.specimen import Specimen

NO_CURVE = "none"


def run_heads(flags: HeadsFlags) -> None:
    """Measure the importance of every head; print, save and draw it.

    Raises:
        VesaliusError: data or options that do not fit the model, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    found = _measured(specimen, data, flags, refine=flags.refine, baselines=not flags.no_baselines)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json({"heads": _heads_as_json(found)})
    else:
        _show_heads(found)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _measured(
    specimen: "Specimen",
    data: "LabelledData",
    flags: HeadsFlags | PruneFlags,
    *,
    refine: bool = False,
    baselines: bool = True,
) -> "HeadImportance":
    from vesalius.methods.attention_attribution import head_importance
    from vesalius.methods.attention_attribution.heads import BASELINES

    asked = take(data, flags.split, max_texts=flags.max_texts, specimen=specimen)
    with working(f"measuring heads on {len(asked.texts)} texts"):
        return head_importance(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            labels=asked.labels,
            baselines=BASELINES if baselines else (),
            config=score_config(flags, refine=refine),
        )


def _heads_as_json(found: "HeadImportance") -> dict[str, Any]:
    return {
        "model": found.card.model,
        "model_fingerprint": found.card.model_fingerprint,
        "num_texts": found.values.shape[1],
        "texts_per_second": found.texts_per_second,
        "max_gap": found.max_gap,
        "heads": found.to_table().to_pylist(),
        "warnings": list(found.card.warnings),
    }


def _show_heads(found: "HeadImportance") -> None:
    shown = [
        "max",
        *(n for n in ("taylor", "accuracy-difference", "attention") if n in found.names),
    ]
    rows = sorted(found.to_table().to_pylist(), key=lambda row: -row["max"])
    emit_table(
        ("layer", "head", *shown),
        [(row["layer"], row["head"], *(float(row[name]) for name in shown)) for row in rows],
    )
    emit(f"{found.values.shape[1]} texts, {found.texts_per_second:.3g} a second")


def run_prune(flags: PruneFlags) -> None:
    """Remove the least important heads: accuracy while they go, and the smaller model.

    Raises:
        VesaliusError: data or heads that do not fit the model, or files that exist.
        WrongUsage: the curve on the split that importance was measured on.
    """
    _check_prune(flags)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    importance = _importance(specimen, data, flags)
    curve = None
    if flags.on != NO_CURVE:
        texts = take(data, flags.on, max_texts=flags.on_texts, specimen=specimen)
        curve = _curve(specimen, texts, importance, flags)
        write_outputs(curve, flags.out, flags.html, flags.plot, force=flags.force)
    from vesalius.methods.attention_attribution import prune

    with working("cutting heads"):
        smaller = prune(specimen, importance, share=flags.share, by=flags.by)
    _write_models(specimen, smaller, flags)
    if flags.json:
        emit_json({"prune": _prune_as_json(smaller, curve)})
    else:
        _show_prune(smaller, curve, flags)


def _check_prune(flags: PruneFlags) -> None:
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    for path in (flags.checkpoint, flags.plain):
        if path is not None:
            check_new_output(path, force=flags.force, marker="config.json")
    if flags.smaller and flags.plain is None:
        wrong_usage(
            given="--smaller without --plain",
            expected="a folder for the plain checkpoint",
            fix="add --plain FOLDER; what --checkpoint writes is always smaller",
        )
    if flags.heads is None and flags.on == flags.split:
        wrong_usage(
            given=f"--split {flags.split} and --on {flags.on}",
            expected="a curve on texts that importance was not measured on",
            fix="measure on dev, evaluate on test",
        )
    if flags.on == NO_CURVE and any((flags.out, flags.html, flags.plot)):
        wrong_usage(
            given="--on none with --out, --html or --plot",
            expected="a curve to write",
            fix="leave these out, or --on",
        )


def _importance(specimen: "Specimen", data: "LabelledData", flags: PruneFlags) -> "HeadImportance":
    if flags.heads is None:
        return _measured(specimen, data, flags)
    from vesalius.methods.attention_attribution import HeadImportance

    return HeadImportance.load(flags.heads)


def _curve(
    specimen: "Specimen", texts: Texts, importance: "HeadImportance", flags: PruneFlags
) -> "PruneCurve":
    from vesalius.methods.attention_attribution import prune_curve
    from vesalius.methods.attention_attribution.prune_curve import usual_orders

    orders = usual_orders(importance)
    assert texts.labels is not None
    with working(f"removing heads in {len(texts.texts)} texts"):
        return prune_curve(
            specimen,
            texts.texts,
            importance,
            labels=texts.labels,
            pairs=texts.pairs,
            orders=orders if flags.by in orders else (flags.by, *orders),
            num_random=flags.controls,
            memory=flags.memory,
            seed=flags.seed,
        )


def _write_models(specimen: "Specimen", smaller: "PrunedModel", flags: PruneFlags) -> None:
    from vesalius.models.pruned import export_plain, save_pruned

    written: list[Path] = []
    if flags.checkpoint is not None:
        written.append(save_pruned(smaller.specimen, flags.checkpoint, force=flags.force))
    if flags.plain is not None:
        written.append(
            export_plain(
                specimen, smaller.removed, flags.plain, smaller=flags.smaller, force=flags.force
            )
        )
    for path in written:
        say(f"vesalius: wrote {path}")


def _prune_as_json(smaller: "PrunedModel", curve: "PruneCurve | None") -> dict[str, Any]:
    return {
        "removed": [f"{site}:{head}" for site, head in smaller.removed],
        "num_heads": smaller.num_heads,
        "weights_before": smaller.num_weights_before,
        "weights_after": smaller.num_weights_after,
        "curve": None if curve is None else curve.to_table().to_pylist(),
        "majority": None if curve is None else curve.majority,
        "verdict": None if curve is None else curve.verdict,
    }


def _show_prune(smaller: "PrunedModel", curve: "PruneCurve | None", flags: PruneFlags) -> None:
    if curve is not None:
        rows = [
            (f"{share:.0%}", *(float(curve.right[i, j].mean()) for i in range(len(curve.orders))))
            for j, share in enumerate(curve.shares)
        ]
        emit_table(("heads removed", *curve.orders), rows)
        emit(f"accuracy on {curve.right.shape[2]} texts; commonest class {curve.majority:.4g}")
        emit(curve.verdict)
        emit("")
    names = ", ".join(f"{site}:{head}" for site, head in smaller.removed) or "none"
    emit(
        f"removed by {flags.by}: {len(smaller.removed)} of {smaller.num_heads} heads "
        f"(site:head {names})"
    )
    emit(f"weights: {smaller.num_weights_before:,} -> {smaller.num_weights_after:,}")


def run_faithfulness(flags: FaithfulnessFlags) -> None:
    """Take the links of each text's tree out, beside others; print, save and draw what happens.

    Raises:
        VesaliusError: data or options that do not fit the model, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    asked = take(data, flags.split, max_texts=flags.max_texts, specimen=specimen)
    from vesalius.methods.attention_attribution import faithfulness

    rule: Any = flags.tree_rule
    root: Any = flags.root
    with working(f"taking links out of {len(asked.texts)} texts"):
        found = faithfulness(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            tau=flags.tau,
            rule=rule,
            root=root,
            num_random=flags.controls,
            randomise=not flags.no_shuffle,
            config=score_config(flags),
            seed=flags.seed,
        )
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    rows: list[dict[str, Any]] = found.to_table().to_pylist()
    if flags.json:
        agreement = float(found.agreement.mean()) if len(found.agreement) else None
        emit_json({"faithfulness": {"rows": rows, "verdict": found.verdict,
                                    "agreement_with_shuffled": agreement}})  # fmt: skip
        return
    emit_table(list(rows[0]), [list(row.values()) for row in rows])
    emit(found.verdict)
    if len(found.agreement):
        emit(f"scores of a copy with shuffled weights: rank correlation "
             f"{found.agreement.mean():+.3f}")  # fmt: skip
