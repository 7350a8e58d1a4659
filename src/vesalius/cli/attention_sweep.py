"""`vesalius attention sweep`: many texts, one table, several workers.

Source: the sweep of docs/architecture.md.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import typer

from vesalius.cli.attention_data import check_tree_flags, open_data, score_config, take
from vesalius.cli.attention_flags import AttentionSweepFlags
from vesalius.cli.errors import FAILED, PARTLY_DONE
from vesalius.cli.neuron_sweep import show_sweep
from vesalius.cli.opening import open_model

if TYPE_CHECKING:
    from vesalius.data.labelled import LabelledData
    from vesalius.models.specimen import Specimen
    from vesalius.parallel.sweep import Engine


def run_attention_sweep(flags: AttentionSweepFlags) -> None:
    """Attribute every text of a labelled set; print what came out and where it is.

    Raises:
        Exit: texts were skipped: code 4 when others were not, 1 when all were.
        VesaliusError: faulty flags or data, or what the sweep refuses.
    """
    check_tree_flags(flags)
    config = score_config(flags, keep=flags.keep)
    data = open_data(flags)
    from vesalius.methods.attention_attribution import AttributeTask
    from vesalius.parallel.sweep import sweep

    specimen = open_model(flags.model, flags)
    rule: Any = flags.tree_rule
    root: Any = flags.root
    task = AttributeTask(
        model=flags.model,
        fingerprint=specimen.fingerprint,
        revision=flags.revision,
        device=flags.device,
        dtype=flags.dtype,
        config=config,
        tau=flags.tau,
        rule=rule,
        root=root,
    )
    items = _items(data, specimen, flags)
    del specimen  # every worker opens its own
    result = sweep(
        task,
        items,
        flags.out,
        engine=cast("Engine", flags.engine),
        workers=flags.workers,
        address=flags.address or None,
        shard_size=flags.shard_size,
        seed=flags.seed,
        name="attention sweep",
    )
    names = [str(item["name"]) for item in items]
    show_sweep(result, json=flags.json, unit="text", names=names)
    if result.skipped:
        raise typer.Exit(PARTLY_DONE if result.num_rows else FAILED)


def _items(
    data: "LabelledData", specimen: "Specimen", flags: AttentionSweepFlags
) -> Sequence[dict[str, Any]]:
    splits = list(data.splits) if flags.split == "all" else [flags.split]
    items: list[dict[str, Any]] = []
    for split in splits:
        # a text that is too long stands among what the sweep skipped
        asked = take(
            data,
            split,
            max_texts=flags.max_texts,
            specimen=specimen,
            by_label=flags.gold,
            fitting=False,
        )
        assert asked.labels is not None
        for number, text in enumerate(asked.texts):
            item: dict[str, Any] = {"name": f"{split}-{number}", "text": text}
            if asked.pairs is not None:
                item["pair"] = asked.pairs[number]
            if flags.gold:
                item["label"] = asked.labels[number]
            items.append(item)
    return items
