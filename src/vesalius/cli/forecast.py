"""What a run would take: prompts, streams, block passes and bytes, before it starts.

Counts are exact for the first quadrature rule; prompts whose sums are not complete are taken again
with more nodes. The bytes are the upper estimate by which the staircase cuts its runs, the seconds
a guess from one clean pass: small models wait for Python more than they compute.

Source: the staircase of docs/architecture.md.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

from vesalius.cli.flags import AbstractQuestionFlags, LocateFlags, TurnFlags
from vesalius.cli.output import emit_json, emit_table
from vesalius.cli.questions import Question
from vesalius.cli.stories import config_of, wants_evidence
from vesalius.methods.knowledge_neurons.config import SEQUENCE
from vesalius.methods.knowledge_neurons.evidence import FACTORS, SIZES
from vesalius.models.answers import encode_answers
from vesalius.models.batch import Batch
from vesalius.models.costs import stream_cost
from vesalius.models.ladder import run_model
from vesalius.models.specimen import Specimen
from vesalius.parallel.memory import parse_bytes


def show_forecast(
    specimen: Specimen, questions: Sequence[Question], flags: AbstractQuestionFlags
) -> None:
    """Print a forecast for every question; one clean pass each is all that is run.

    Raises:
        VesaliusError: a prompt or an answer that the run would refuse too.
    """
    rows = [_forecast(specimen, question, flags) for question in questions]
    if flags.json:
        emit_json({"forecast": rows})
    else:
        emit_table(list(rows[0]), [list(row.values()) for row in rows])


def _forecast(
    specimen: Specimen, question: Question, flags: AbstractQuestionFlags
) -> dict[str, Any]:
    """Count what the staircase does with the first rule."""
    config = config_of(flags)
    batch = encode_answers(
        specimen,
        question.prompts,
        [question.answer] * len(question.prompts),
        several_tokens=config.target == SEQUENCE,
        pad_to=config.pad_to,
    ).batch
    located = not (isinstance(flags, TurnFlags) and (flags.neurons or flags.location))
    turned = (2 + flags.controls) if isinstance(flags, TurnFlags) else 0
    if isinstance(flags, LocateFlags) and wants_evidence(
        flags
    ):  # at most: sets begin where they act
        turned += len(FACTORS) * len(SIZES) * (1 + 2 * flags.controls)
    rules = config.rules()
    nodes, num_layers, num_prompts = rules[0].nodes, specimen.num_layers, batch.num_prompts
    num_streams = len(nodes) * num_prompts * located
    num_at_zero = num_prompts * (located and 0.0 not in nodes)
    # the streams of a layer pass every block above, and their own where it cannot be split
    unsplit = sum(part.name not in specimen.plan.splits for part in specimen.plan.calls)
    stairs = num_layers * (num_layers - 1) // 2 + unsplit
    num_clean = num_layers * num_prompts * (located + turned)  # the walk gives the guesses too
    forward = stairs * (num_streams + num_at_zero) + num_clean
    backward = stairs * num_streams
    seconds = _seconds_of_a_pass(specimen, batch) / (num_layers * num_prompts)
    most_nodes = max(len(rule.nodes) for rule in rules)
    return {
        "name": question.name,
        "prompts": num_prompts,
        "positions": _positions(batch),
        "layers": num_layers,
        "streams": num_streams * num_layers,
        "forward_block_passes": forward,
        "backward_block_passes": backward,
        **(_memory(specimen, batch, flags, len(nodes), most_nodes) if located else {}),
        "seconds_about": float(f"{seconds * (forward + 2 * backward):.2g}"),
    }


def _memory(
    specimen: Specimen, batch: Batch, flags: AbstractQuestionFlags, num_nodes: int, most_nodes: int
) -> dict[str, Any]:
    """Runs, and the bytes of the largest, as the staircase cuts prompts first and then layers."""
    budget = parse_bytes(flags.memory)
    cost = stream_cost(specimen, specimen.plan, batch)
    at_once = min(batch.num_prompts, cost.prompts_at_once(budget, num_nodes=most_nodes))
    streams = num_nodes * at_once
    layers = range(len(cost.blocks))
    runs = cost.runs(layers, num_streams=streams, memory_bytes=budget)
    return {
        "runs": len(runs) * -(-batch.num_prompts // at_once),
        "bytes": max(streams * sum(cost.above(layer) for layer in run) for run in runs),
    }


def _positions(batch: Batch) -> int:
    return int(batch.inputs["input_ids"].shape[1])


def _seconds_of_a_pass(specimen: Specimen, batch: Batch) -> float:
    with specimen.at_rest(), torch.no_grad():
        run_model(specimen.model, batch)  # the first pass also sets things up
        start = time.perf_counter()
        run_model(specimen.model, batch)
        return time.perf_counter() - start
