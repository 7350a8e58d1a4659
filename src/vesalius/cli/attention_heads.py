"""`vesalius attention heads`: how much every head matters.

Source: arXiv 2004.11207, section 4.3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from vesalius.cli.attention_data import Texts, check_apart, counted, open_data, score_config, take
from vesalius.cli.attention_flags import HeadsFlags
from vesalius.cli.errors import say
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution import AttributeConfig, HeadImportance
    from vesalius.methods.attention_attribution.result import Site
    from vesalius.models.specimen import Specimen


def run_heads(flags: HeadsFlags) -> None:
    """Measure the importance of every head; print, save and draw it.

    Raises:
        VesaliusError: data or options that do not fit the model, or files that exist.
    """
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    check_apart(out=flags.out, html=flags.html, plot=flags.plot)
    config = score_config(flags, refine=flags.refine)
    data = open_data(flags)
    specimen = open_model(flags.model, flags)
    asked = take(data, flags.split, max_texts=flags.max_texts, specimen=specimen)
    found = measured_heads(specimen, asked, config, baselines=not flags.no_baselines)
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    if flags.json:
        emit_json({"heads": _heads_as_json(found)})
    else:
        _show_heads(found)
    for warning in found.card.warnings:
        say(f"vesalius: {warning}")
    if found.num_open.any() and not flags.refine:
        say("vesalius: --refine takes more nodes where they are needed")


def measured_heads(
    specimen: "Specimen", asked: Texts, config: "AttributeConfig", *, baselines: bool = True
) -> "HeadImportance":
    """Measure the importance of every head on some texts and their right classes.

    Raises:
        VesaliusError: texts or classes that do not fit the model.
    """
    from vesalius.methods.attention_attribution import head_importance
    from vesalius.methods.attention_attribution.heads import BASELINES

    with working(f"measuring heads on {counted(len(asked.texts), 'text')}"):
        return head_importance(
            specimen,
            asked.texts,
            pairs=asked.pairs,
            labels=asked.labels,
            baselines=BASELINES if baselines else (),
            config=config,
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
    where = place_of(found.sites)
    rows = sorted(found.to_table().to_pylist(), key=lambda row: -row["max"])
    emit_table(
        (where, "head", *shown),
        [(row[where], row["head"], *(float(row[name]) for name in shown)) for row in rows],
    )
    speed = found.texts_per_second
    shown_speed = f"{speed:.3g}" if speed < 100 else f"{speed:,.0f}"
    emit(f"{counted(found.values.shape[1], 'text')}, {shown_speed} a second")


def place_of(sites: "Sequence[Site]") -> Literal["layer", "site"]:
    """Say what tells the sites of a model apart: layers, or names where a block has two."""
    return "layer" if len({site.layer for site in sites}) == len(sites) else "site"
