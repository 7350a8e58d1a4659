"""`vesalius neurons sweep`: many facts, one table, several workers.

Source: the sweep of docs/architecture.md.
"""

from typing import TYPE_CHECKING, cast

import typer

from vesalius.cli.errors import FAILED, PARTLY_DONE, say, wrong_usage
from vesalius.cli.flags import SweepFlags
from vesalius.cli.opening import open_model
from vesalius.cli.output import emit_json, emit_table
from vesalius.cli.questions import Question, asked_facts, fitting
from vesalius.data.facts import Fact, load_facts, load_relations, read_facts

if TYPE_CHECKING:
    from vesalius.parallel.folder import SweepResult
    from vesalius.parallel.sweep import Engine


def run_sweep(flags: SweepFlags) -> None:
    """Locate every fact that the flags name; print what came out and where it is.

    Raises:
        Exit: facts were skipped: code 4 when others were not, 1 when all were.
        VesaliusError: faulty flags or facts, or what the sweep refuses.
    """
    questions = asked_facts(_facts(flags))
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
    )
    items = [_item(fitting(question, task=specimen.task)) for question in questions]
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
    _show(result, flags)
    if result.skipped:
        raise typer.Exit(PARTLY_DONE if result.num_rows else FAILED)


def _facts(flags: SweepFlags) -> list[Fact]:
    if flags.facts and flags.relation:
        wrong_usage(
            given="--facts and --relation", expected="at most one of the two", fix="leave one out"
        )
    if flags.facts:
        return list(read_facts(flags.facts))
    if flags.relation and flags.relation not in load_relations():
        wrong_usage(
            given=f"--relation {flags.relation}",
            expected=f"one of {', '.join(load_relations())}",
            fix="choose one, or leave it out for all bundled facts",
        )
    return [f for f in load_facts() if not flags.relation or f.relation == flags.relation]


def _item(question: Question) -> dict[str, object]:
    return {"name": question.name, "prompts": list(question.prompts), "answer": question.answer}


def _show(result: "SweepResult", flags: SweepFlags) -> None:
    facts = {
        "facts": result.num_items,
        "located": result.num_rows,
        "skipped": len(result.skipped),
        "done in this run": result.num_new_items,
        "seconds at work": round(result.work_seconds, 1),
        "table": str(result.folder / "table.parquet"),
    }
    if flags.json:
        emit_json({"sweep": facts, "skipped": [vars(entry) for entry in result.skipped]})
        return
    emit_table(("what", "value"), list(facts.items()))
    for entry in result.skipped[:5]:
        say(f"vesalius: fact {entry.item} was skipped: {entry.reason}")
    if len(result.skipped) > 5:
        say(f"vesalius: {len(result.skipped) - 5} more are in {result.folder / 'skipped.jsonl'}")
