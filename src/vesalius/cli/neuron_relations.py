"""`vesalius neurons suppress | amplify --sweep`: the facts of a sweep, relation by relation.

Source: arXiv 2104.08696, section 4.4.
"""

import dataclasses
from typing import TYPE_CHECKING, Final, cast

from vesalius.cli.errors import wrong_usage
from vesalius.cli.flags import TurnFlags
from vesalius.cli.neuron_corpus import check_outputs, write_outputs
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit, emit_json, emit_table
from vesalius.cli.progress import working
from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from vesalius.methods.knowledge_neurons.located import Selector
    from vesalius.methods.knowledge_neurons.relations import RelationChanges

# what the sweep has decided, or what belongs to one fact
_OTHER_SOURCES: Final = (
    *("prompt", "answer", "subject", "facts", "neurons", "location", "dry_run"),
    *("target", "foil", "preset", "baseline", "reference", "nodes", "rule", "threshold"),
)


def run_relations(flags: TurnFlags, *, factor: float) -> None:
    """Turn the refined neurons of every fact of a sweep; print, save and draw the changes.

    Raises:
        WrongUsage: another source of facts or neurons beside --sweep.
        VesaliusError: no finished sweep, another model, or files that exist.
    """
    _check(flags)
    check_outputs(flags.out, flags.html, flags.plot, force=flags.force)
    from vesalius.methods.knowledge_neurons.located import CorpusConfig, read_located
    from vesalius.methods.knowledge_neurons.relations import held_facts, intervene_relations

    assert flags.sweep is not None
    located = read_located(flags.sweep)
    specimen = open_model(flags.model, flags)
    if located.model_fingerprint != specimen.fingerprint:
        raise VesaliusError(
            given=f"--sweep of {located.model} ({located.model_fingerprint}), to be turned in "
            f"another model ({specimen.name}, {specimen.fingerprint})",
            expected="the model in which the facts were located",
            fix="name that model with --model",
        )
    selector = cast("Selector", flags.selector)
    facts = held_facts(
        located.facts,
        config=CorpusConfig(min_answered=flags.min_answered, share=flags.share),
        selector=selector,
        relation=flags.relation,
    )
    with working(f"turning the neurons of {len(facts)} facts"):
        found = intervene_relations(
            specimen,
            facts,
            factor=factor,
            num_controls=flags.controls,
            selector=selector,
            seed=flags.seed,
            memory=flags.memory,
        )
    write_outputs(found, flags.out, flags.html, flags.plot, force=flags.force)
    _show(found, flags)


def _check(flags: TurnFlags) -> None:
    usual = {field.name: field.default for field in dataclasses.fields(flags)}
    others = [
        f"--{name.replace('_', '-')}"
        for name in _OTHER_SOURCES
        if getattr(flags, name) != usual[name]
    ]
    if others:
        wrong_usage(
            given=f"--sweep with {' and '.join(others)}",
            expected="the facts and neurons of the sweep as they were located, and at most a "
            "--relation of it",
            fix="leave them out",
        )
    if flags.controls < 1:
        wrong_usage(
            given=f"--sweep with --controls {flags.controls}",
            expected="one random set for each fact, or more",
            fix="use --controls 1",
        )
    if flags.selector not in ("attribution", "activation"):
        wrong_usage(
            given=f"--selector {flags.selector}",
            expected="attribution or activation",
            fix="leave it out for the knowledge neurons",
        )


def _show(found: "RelationChanges", flags: TurnFlags) -> None:
    if flags.json:
        overall = [None if each is None else vars(each) for each in found.overall]
        told = {
            "model": found.card.model,
            "factor": found.factor,
            "selector": found.selector,
            "relations": found.to_table().to_pylist(),
            "overall": dict(zip(("own", "crossed", "random"), overall, strict=True)),
            "facts_without_neurons": found.num_empty,
            "seed": found.card.seed,
        }
        emit_json({"relations": told})
        return
    emit_table(
        ("relation", "facts", "prompts", "own", "95 %", "other relation", "random"),
        [
            (
                row["relation"], row["facts"], row["prompts"], _percent(row["own"]),
                f"{_percent(row['own_low'])} to {_percent(row['own_high'])}",
                _percent(row["crossed"]), _percent(row["random"]),
            )
            for row in found.to_table().to_pylist()
        ],
        title=f"change of the answers' probability, neurons x {found.factor:g}",
    )  # fmt: skip
    emit(found.verdict)


def _percent(share: float) -> str:
    return "-" if share != share else f"{share:+.1%}"
