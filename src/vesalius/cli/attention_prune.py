"""`vesalius attention prune`: accuracy while heads go, and the model without them.

Source: arXiv 2004.11207, section 4.3.
"""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vesalius.cli.attention_data import Texts, check_apart, counted, open_data, score_config, take
from vesalius.cli.attention_flags import PruneFlags
from vesalius.cli.attention_heads import measured_heads, place_of
from vesalius.cli.errors import say, wrong_usage
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading
from vesalius.core.checks import check_share, check_word
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution import HeadImportance, PruneCurve, PrunedModel
    from vesalius.models.specimen import Specimen

NO_CURVE: Final = "none"
# how importance is measured: a folder of --heads has said so already
_MEASURING: Final = ("target", "baseline", "reference", "preset", "nodes", "rule", "split",
                     "max_texts")  # fmt: skip


def run_prune(flags: PruneFlags) -> None:
    """Remove the least important heads: accuracy while they go, and the smaller model.

    Raises:
        VesaliusError: data or heads that do not fit the model, or files that exist.
        WrongUsage: the curve on the split that importance was measured on.
    """
    _check_prune(flags)
    config = score_config(flags, refine=False)
    importance = None if flags.heads is None else _load_heads(flags)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    held: Texts | None = None
    if flags.on != NO_CURVE:
        held = take(data, flags.on, max_texts=flags.on_texts, specimen=specimen)
    if importance is None:
        asked = take(data, flags.split, max_texts=flags.max_texts, specimen=specimen)
        _refuse_shared(asked, held, flags)
        importance = measured_heads(specimen, asked, config)
    from vesalius.methods.attention_attribution import prune

    with working("cutting heads"):
        smaller = prune(specimen, importance, share=flags.share, by=flags.by)
    if flags.checkpoint is not None and not smaller.removed:
        raise VesaliusError(
            given=f"--share {flags.share:g} of {smaller.num_heads} heads: none",
            expected="a head to remove, for --checkpoint",
            fix="raise --share, or leave --checkpoint out",
        )
    curve = None if held is None else _curve(specimen, held, importance, flags)
    _write_models(specimen, smaller, flags)
    if curve is not None:
        write_outputs(curve, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json({"prune": _prune_as_json(smaller, importance, curve)})
    else:
        _show_prune(smaller, importance, curve, flags)
    for warning in importance.card.warnings if flags.heads is None else ():
        say(f"vesalius: {warning}")


def _check_prune(flags: PruneFlags) -> None:
    """Refuse before any work what could not be done after it."""
    from vesalius.methods.attention_attribution.head_measures import MEASURES
    from vesalius.methods.attention_attribution.head_result import ACCURACY, ATTENTION, TAYLOR

    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    for path in (flags.checkpoint, flags.plain):
        if path is not None:
            check_new_output(path, force=flags.force, marker="config.json")
    check_apart(out=flags.out, html=flags.html, plot=flags.plot, checkpoint=flags.checkpoint,
                plain=flags.plain)  # fmt: skip
    check_share("share", flags.share, usual=0.5, zero=True)
    check_word("by", flags.by, (*MEASURES, ATTENTION, TAYLOR, ACCURACY))
    if flags.smaller and flags.plain is None:
        wrong_usage(
            given="--smaller without --plain",
            expected="a folder for the plain checkpoint",
            fix="add --plain FOLDER; what --checkpoint writes is always smaller",
        )
    usual = {field.name: field.default for field in fields(flags)}
    given = [name for name in _MEASURING if getattr(flags, name) != usual[name]]
    if flags.heads is not None and given:
        wrong_usage(
            given=f"--heads with --{given[0].replace('_', '-')}",
            expected="importance from the folder, or measured now",
            fix="leave one of the two out",
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


def _load_heads(flags: PruneFlags) -> "HeadImportance":
    from vesalius.methods.attention_attribution import HeadImportance

    assert flags.heads is not None
    found = HeadImportance.load(flags.heads)
    if flags.by not in found.names:
        raise VesaliusError(
            given=f"--by {flags.by}, and {flags.heads}, where it was not measured",
            expected=f"one of {', '.join(found.names)}",
            fix="measure heads again without --no-baselines, or choose another --by",
        )
    return found


def _refuse_shared(asked: Texts, held: Texts | None, flags: PruneFlags) -> None:
    """Tell before importance is measured that the curve would be refused for texts in common."""
    shared = _both(asked) & _both(held) if held is not None else set()
    if shared:
        raise VesaliusError(
            given=f"{counted(len(shared), 'text')} of {flags.on} that "
            f"{'is' if len(shared) == 1 else 'are'} also in {flags.split}, such as "
            f"{min(shared)[0][:60]!r}",
            expected="a curve on texts that importance was not measured on",
            fix="take them out of one of the two splits",
        )


def _both(texts: Texts) -> set[tuple[str, str]]:
    return set(zip(texts.texts, texts.pairs or [""] * len(texts.texts), strict=True))


def _curve(
    specimen: "Specimen", held: Texts, importance: "HeadImportance", flags: PruneFlags
) -> "PruneCurve":
    from vesalius.methods.attention_attribution import prune_curve
    from vesalius.methods.attention_attribution.prune_curve import usual_orders

    orders = usual_orders(importance)
    assert held.labels is not None
    with working(f"removing heads in {counted(len(held.texts), 'text')}"):
        return prune_curve(
            specimen,
            held.texts,
            importance,
            labels=held.labels,
            pairs=held.pairs,
            orders=orders if flags.by in orders else (flags.by, *orders),
            num_random=flags.controls,
            memory=flags.memory,
            seed=flags.seed,
        )


def _write_models(specimen: "Specimen", smaller: "PrunedModel", flags: PruneFlags) -> None:
    from vesalius.models.pruned import export_plain, save_pruned

    written: list[Path] = []
    with quiet_loading():
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


def _prune_as_json(
    smaller: "PrunedModel", importance: "HeadImportance", curve: "PruneCurve | None"
) -> dict[str, Any]:
    sites = importance.sites
    return {
        "removed": [
            {"site": sites[site].name, "layer": sites[site].layer, "head": head}
            for site, head in smaller.removed
        ],
        "num_heads": smaller.num_heads,
        "weights_before": smaller.num_weights_before,
        "weights_after": smaller.num_weights_after,
        "curve": None if curve is None else curve.to_table().to_pylist(),
        "majority": None if curve is None else curve.majority,
        "verdict": None if curve is None else curve.verdict,
    }


def _show_prune(
    smaller: "PrunedModel",
    importance: "HeadImportance",
    curve: "PruneCurve | None",
    flags: PruneFlags,
) -> None:
    if curve is not None:
        rows = [
            (f"{share:.0%}", *(float(curve.right[i, j].mean()) for i in range(len(curve.orders))))
            for j, share in enumerate(curve.shares)
        ]
        emit(
            f"accuracy on {counted(curve.right.shape[2], 'text')}; {curve.majority:.4g} by always "
            "saying the commonest class"
        )
        emit_table(("heads removed", *curve.orders), rows)
        emit(curve.verdict)
        emit("")
    emit(f"removed by {flags.by}: {len(smaller.removed)} of {smaller.num_heads} heads")
    where = place_of(importance.sites)
    by_site = dict[int, list[int]]()
    for site, head in smaller.removed:
        by_site.setdefault(site, []).append(head)
    cut: list[tuple[int | str, str, int]] = []
    for index, heads in by_site.items():
        site = importance.sites[index]
        place = site.layer if where == "layer" else site.name
        cut.append((place, " ".join(map(str, heads)), site.num_heads - len(heads)))
    if cut:
        emit_table((where, "heads removed", "left"), cut)
    emit(f"weights: {smaller.num_weights_before:,} -> {smaller.num_weights_after:,}")
    if any(left == 0 for _, _, left in cut):
        emit(f"a {where} that loses all heads keeps weights of its first ones, which write nothing")
