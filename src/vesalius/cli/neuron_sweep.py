"""`vesalius neurons sweep`: many facts, one table, several workers.

Source: the sweep of docs/architecture.md.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import typer

from vesalius.cli.errors import FAILED, PARTLY_DONE, say, wrong_usage
from vesalius.cli.flags import SweepFlags
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit_json, emit_table
from vesalius.cli.questions import read_facts_of
from vesalius.data.bags import FactBag, bundled_bags, gap_last
from vesalius.data.facts import load_relations

if TYPE_CHECKING:
    from vesalius.parallel.folder import SweepResult
    from vesalius.parallel.sweep import Engine

_REASONS = 3  # that are printed


def run_sweep(flags: SweepFlags) -> None:
    """Locate every fact that the flags name; print what came out and where it is.

    Raises:
        Exit: facts were skipped: code 4 when others were not, 1 when all were.
        VesaliusError: faulty flags or facts, or what the sweep refuses.
    """
    bags = _bags(flags)
    from vesalius.cli.stories import config_of
    from vesalius.methods.knowledge_neurons import LocateTask
    from vesalius.parallel.sweep import sweep

    config = config_of(flags)
    specimen = open_model(flags.model, flags)
    task = LocateTask(
        model=flags.model,
        fingerprint=specimen.fingerprint,
        revision=flags.revision,
        device=flags.device,
        dtype=flags.dtype,
        config=config,
        keep_scores=not flags.no_scores,
    )
    items = _items(_fitting(bags) if specimen.task == "causal-lm" else bags)
    del specimen  # every worker opens its own
    result = sweep(
        task,
        items,
        flags.out,
        engine=cast("Engine", flags.engine),
        workers=flags.workers,
        address=flags.address or None,
        shard_size=flags.shard_size,
        name="neurons sweep",
    )
    names = [str(item["name"]) for item in items]
    show_sweep(result, json=flags.json, unit="fact", names=names)
    if result.skipped:
        raise typer.Exit(PARTLY_DONE if result.num_rows else FAILED)


def _bags(flags: SweepFlags) -> list[FactBag]:
    if flags.facts and flags.relation:
        wrong_usage(
            given="--facts and --relation", expected="at most one of the two", fix="leave one out"
        )
    if flags.only and not flags.facts:
        wrong_usage(
            given=f"--only {flags.only} without --facts",
            expected="a column of your own facts",
            fix="add --facts, or leave it out",
        )
    if flags.facts:
        return read_facts_of(flags.facts, only=flags.only)
    if flags.relation and flags.relation not in load_relations():
        wrong_usage(
            given=f"--relation {flags.relation}",
            expected=f"one of {', '.join(load_relations())}",
            fix="choose one, or leave it out for all bundled facts",
        )
    return bundled_bags(flags.relation)


def _fitting(bags: Sequence[FactBag]) -> list[FactBag]:
    """Leave out prompts that a left-to-right model cannot answer.

    A fact without any other stays with all of them: the worker refuses it, and the reason is
    noted among what was skipped.
    """
    kept = [gap_last(bag) for bag in bags]
    num_prompts = sum(len(bag.prompts) for bag in bags)
    num_kept = sum(len(bag.prompts) for bag in kept if bag is not None)
    say(
        f"vesalius: {num_kept} of {num_prompts} prompts end with the gap, as a model that reads "
        f"from left to right needs; {kept.count(None)} of {len(bags)} facts have none"
    )
    return [bag if fit is None else fit for bag, fit in zip(bags, kept, strict=True)]


def _items(bags: Sequence[FactBag]) -> list[dict[str, object]]:
    return [
        {
            "name": bag.name,
            "relation": bag.relation,
            "subject": bag.subject,
            "prompts": list(bag.prompts),
            "answer": bag.answer,
        }
        for bag in bags
    ]


def show_sweep(result: "SweepResult", *, json: bool, unit: str, names: Sequence[str]) -> None:
    """Print how many items a sweep did and skipped, and where its table is.

    Items with one and the same fault are told of together.
    """
    facts = {
        f"{unit}s": result.num_items,
        "located" if unit == "fact" else "attributed": result.num_rows,
        "skipped": len(result.skipped),
        "done in this run": result.num_new_items,
        "seconds at work": round(result.work_seconds, 1),
        "table": str(result.folder / "table.parquet"),
    }
    if json:
        skipped = [{"name": names[entry.item], **vars(entry)} for entry in result.skipped]
        emit_json({"sweep": facts, "skipped": skipped})
        return
    emit_table(("what", "value"), list(facts.items()))
    by_reason: dict[str, list[str]] = {}
    for entry in result.skipped:
        by_reason.setdefault(entry.reason, []).append(names[entry.item])
    for reason, skipped in list(by_reason.items())[:_REASONS]:
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        what = unit if len(skipped) == 1 else f"{len(skipped)} {unit}s"
        say(f"vesalius: skipped {what}: {', '.join(skipped[:3])}{more}")
        for line in reason.splitlines():
            say(f"  {line}")
    if len(by_reason) > _REASONS:
        say(f"vesalius: all reasons are in {result.folder / 'skipped.jsonl'}")
