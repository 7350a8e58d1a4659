"""`vesalius neurons statistics`: what the neurons of many located facts have in common.

Source: arXiv 2104.08696, section 4.3.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.corpus_flags import StatisticsFlags
from vesalius.cli.errors import say
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.questions import check_picture
from vesalius.core.paths import check_new_output

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.corpus import Corpus
    from vesalius.numerics.statistics import Interval

_COLUMNS = {
    "relation": "relation",
    "facts": "facts",
    "share": "share",
    "neurons_per_fact": "neurons",
    "intra": "shared inside",
    "inter": "outside",
    "activation_neurons_per_fact": "by activation: neurons",
    "activation_intra": "by activation: inside",
    "activation_inter": "by activation: outside",
}


def run_statistics(flags: StatisticsFlags) -> None:
    """Count the neurons of a sweep's facts; print, save and draw what was found.

    Raises:
        VesaliusError: no finished sweep, options without meaning, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    from vesalius.methods.knowledge_neurons.corpus import corpus_statistics
    from vesalius.methods.knowledge_neurons.located import CorpusConfig

    config = CorpusConfig(
        min_answered=flags.min_answered,
        share=flags.share,
        min_neurons=flags.min_neurons,
        max_neurons=flags.max_neurons,
        num_partners=flags.partners,
        seed=flags.seed,
    )
    found = corpus_statistics(flags.sweep, config=config)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json({"statistics": _as_json(found), "saved": flags.out})
    else:
        _show(found)


def check_outputs(out: Path | None, html: Path | None, plot: Path | None, *, force: bool) -> None:
    """Refuse paths that could not be written, before any work is done.

    Raises:
        VesaliusError: something stands there already.
        WrongUsage: a picture of a kind that is not drawn.
    """
    check_picture(plot)
    for path in (out, html, plot):
        if path is not None:
            check_new_output(path, force=force)


def write_outputs(
    found: Any, out: Path | None, html: Path | None, plot: Path | None, *, force: bool
) -> None:
    """Write a result's folder, page and picture, and say where they are.

    Raises:
        VesaliusError: one cannot be written.
    """
    if out is not None:
        found.save(out, force=force)
    if html is not None:
        found.to_html(html, force=force)
    if plot is not None:
        from vesalius.core.paths import write_file
        from vesalius.plots.style import figure_bytes

        write_file(plot, figure_bytes(found.plot(), format=plot.suffix[1:]), force=force)
    for path in filter(None, (out, html, plot)):
        say(f"vesalius: wrote {path}")


def _as_json(found: "Corpus") -> dict[str, Any]:
    kinds = {"attribution": found.attribution, "activation": found.activation}
    return {
        "model": found.card.model,
        "model_fingerprint": found.card.model_fingerprint,
        "relations": found.to_table().to_pylist(),
        **{
            name: {
                "neurons_per_fact": asdict(each.num_neurons),
                "intra": None if each.intra is None else asdict(each.intra),
                "inter": None if each.inter is None else asdict(each.inter),
                "layers": each.layers.sum(axis=0).tolist(),
                "relation_neurons": {
                    relation: [f"{layer}:{neuron}" for layer, neuron in neurons]
                    for relation, neurons in zip(found.relations, each.common, strict=True)
                },
            }
            for name, each in kinds.items()
        },
        "not_answered": int(found.num_unknown.sum()),
        "dropped": list(found.dropped),
        "skipped": found.num_skipped,
        "verdict": found.verdict,
        "warnings": list(found.card.warnings),
    }


def _show(found: "Corpus") -> None:
    rows: list[dict[str, Any]] = found.to_table().to_pylist()
    emit_table(list(_COLUMNS.values()), [[row[name] for name in _COLUMNS] for row in rows])
    emit("")
    emit_table(
        ("mean over relations, 95 % interval", "attribution", "activation value"),
        [
            (name, _bracket(getattr(found.attribution, field)),
             _bracket(getattr(found.activation, field)))
            for field, name in (
                ("num_neurons", "neurons per fact"),
                ("intra", "shared by two facts of one relation"),
                ("inter", "shared by facts of different relations"),
            )
        ],
    )  # fmt: skip
    emit("")
    emit(found.verdict)
    unknown = int(found.num_unknown.sum())
    if unknown or found.dropped:
        gone = f"; no fact is left of {', '.join(found.dropped)}" if found.dropped else ""
        say(f"vesalius: left out {unknown} facts that the model does not answer{gone}")
    if found.num_skipped:
        say(f"vesalius: {found.num_skipped} facts were skipped by the sweep")
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")


def _bracket(interval: "Interval | None") -> str:
    if interval is None:
        return "-"
    return f"{interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})"
