"""Write both networks of a run as Hugging Face checkpoints, at any of its steps.

Source: this project.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from vesalius.core.paths import new_folder
from vesalius.models.electra_export import PARTS, describe_part, save_pair_part
from vesalius.recipes.pretrain_card import readme_of
from vesalius.recipes.pretrain_run import OpenedRun
from vesalius.recipes.pretrain_scores import score_pair
from vesalius.training.run_log import read_log

MARKER: Final = "pair.json"


@final
@dataclass(frozen=True, kw_only=True)
class ExportedPair:
    """Where both checkpoints lie, the step they are of, and what they score held out."""

    folders: tuple[Path, ...]
    step: int
    scores: Mapping[str, float]
    baselines: Mapping[str, float]


def export_run(run: OpenedRun, out: str | Path, *, force: bool = False) -> ExportedPair:
    """Write `out`/discriminator and `out`/generator with tokenizer and card, whole or not at all.

    Raises:
        VesaliusError: `out` exists and may not be replaced, or cannot be written.
    """
    out = Path(out)
    probe = run.probe()
    scores = score_pair(run.objective, probe)
    baselines = probe.baselines(scores)
    with new_folder(out, force=force, marker=MARKER) as partial:
        (partial / MARKER).write_text(json.dumps({"step": run.step}) + "\n", encoding="utf-8")
        for part in PARTS:
            (partial / part).mkdir()
            write_part(run, part, partial / part, scores=scores, baselines=baselines)
    folders = tuple(out / part for part in PARTS)
    return ExportedPair(folders=folders, step=run.step, scores=scores, baselines=baselines)


def write_part(
    run: OpenedRun,
    part: str,
    folder: Path,
    *,
    scores: Mapping[str, float],
    baselines: Mapping[str, float],
) -> None:
    """Write one network into a folder that is there."""
    pair = run.objective.pair
    text = readme_of(
        part,
        network=describe_part(pair, part),
        facts=run.facts,
        options=run.options,
        progress=run.progress,
        scores=scores,
        baselines=baselines,
        measures=last_measures(run.folder, step=run.step),
    )
    save_pair_part(pair, part, tokenizer=run.tokenizer, folder=folder, readme=text)


def last_measures(folder: Path, *, step: int) -> dict[str, float]:
    """Return the health measures that were logged last, at `step` or before."""
    logged: list[dict[str, Any]] = [
        entry for entry in read_log(folder) if "measures" in entry and entry["step"] <= step
    ]
    return dict(logged[-1]["measures"]) if logged else {}
