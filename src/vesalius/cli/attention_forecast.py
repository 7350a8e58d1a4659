"""What `vesalius attention attribute` would take: streams, block passes, bytes, seconds.

Source: the staircase of docs/architecture.md.
"""

import time
from typing import TYPE_CHECKING, Any, Final

import torch

from vesalius.cli.attention_data import Texts
from vesalius.cli.output import emit_json, emit_table
from vesalius.methods.attention_attribution.inputs import (
    encode_inputs,
    plan_batches,
    trimmed_part,
)
from vesalius.methods.attention_attribution.targets import ask
from vesalius.models.attention_sites import attention_sites
from vesalius.models.ladder import run_model
from vesalius.parallel.memory import parse_bytes

if TYPE_CHECKING:
    from vesalius.methods.attention_attribution import AttributeConfig
    from vesalius.models.specimen import Specimen

_COLUMNS: Final = ("texts", "positions", "heads", "streams", "forward passes", "backward passes",
                   "bytes", "seconds")  # fmt: skip


def show_forecast(
    specimen: "Specimen",
    asked: Texts,
    config: "AttributeConfig",
    *,
    foil: str = "",
    json: bool = False,
) -> None:
    """Print a row per batch of texts; one clean pass each is all that is run.

    Counts are those of the first quadrature rule: integrals that are not complete are taken again
    with more nodes. The seconds are a guess from the clean pass.

    Raises:
        VesaliusError: texts, classes or words that the run would refuse too.
    """
    batch = encode_inputs(specimen, asked.texts, pairs=asked.pairs, pad_to=config.pad_to)
    ask(
        specimen,
        batch.num_prompts,
        targets=asked.targets,
        foils=foil or None,
        kind=config.target,
    )
    half = parse_bytes(config.memory) // 2
    trimmed = config.pad_to is None
    sites = attention_sites(specimen)
    heads = sum(site.num_heads for site in sites)
    num_nodes = len(config.rules()[0].nodes)
    # a site's streams pass their own block and every block above it
    stairs = sum(specimen.num_layers - site.layer for site in sites)
    rows: list[dict[str, Any]] = []
    for texts in plan_batches(specimen, batch, memory_bytes=half, trimmed=trimmed):
        part = trimmed_part(batch, texts, trimmed=trimmed)
        ids = part.inputs.get("input_ids")
        positions = specimen.plan.num_positions if ids is None else int(ids.shape[1])
        with specimen.at_rest(), torch.no_grad():
            run_model(specimen.model, part)  # the first pass also sets things up
            start = time.perf_counter()
            run_model(specimen.model, part)
            seconds = time.perf_counter() - start
        passes = stairs * num_nodes * part.num_prompts
        each = seconds / (specimen.num_layers * part.num_prompts)
        rows.append(
            {
                "texts": part.num_prompts,
                "positions": positions,
                "heads": heads,
                "streams": len(sites) * num_nodes * part.num_prompts,
                "forward_block_passes": passes + specimen.num_layers * part.num_prompts,
                "backward_block_passes": passes,
                "attention_bytes": 2 * heads * positions**2 * 4 * part.num_prompts,
                "seconds_about": float(f"{each * 3 * passes:.2g}"),
            }
        )
    if json:
        emit_json({"forecast": rows})
    else:
        emit_table(_COLUMNS, [list(row.values()) for row in rows])
