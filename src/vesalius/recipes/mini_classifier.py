"""The bundled classifier: mini-bert fine-tuned on SST-2, kept with the path of its training.

`python -m vesalius.recipes.mini_classifier --data DIR --out DIR`

Source: Socher et al. 2013 (the sentences); this project.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch

from vesalius.core.card import installed_versions
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.data.labelled_batches import EncodedSplit
from vesalius.models import zoo
from vesalius.models.compact import (
    FILE,
    Trajectory,
    compress_points,
    materialise,
    write_trajectory,
)
from vesalius.models.kernels import short_attention
from vesalius.recipes.finetune import FinetunePlan, plan_finetune, run_finetune
from vesalius.recipes.finetune_config import FinetuneOptions
from vesalius.recipes.finetune_model import build_classifier
from vesalius.recipes.finetune_result import FinetuneResult
from vesalius.recipes.finetune_run import score_split, snapshot_folder
from vesalius.recipes.mini_classifier_card import card_of, draw_curves, readme_lines
from vesalius.recipes.zoo_runs import (
    copy_log,
    describe_hardware,
    read_notes,
    sha256_of,
    write_card,
)
from vesalius.recipes.zoo_verify import write_verification
from vesalius.training.loop import TrainingSummary

BASE: Final = "mini-bert"
DATA: Final = "cls/sst2.parquet"
NUM_DIRECTIONS: Final = 3
OPTIONS: Final = FinetuneOptions(
    epochs=4,
    lr=1e-3,
    weight_decay=0.0,  # rows of words that do not occur stay as they are
    max_length=96,
    bf16=True,
    snapshots=16,
    checkpoint_every=5000,
)


@final
@dataclass(frozen=True, kw_only=True)
class ClassifierRun:
    """The run that was bundled: its folder, its seed, and what the loop did."""

    out: Path
    seed: int
    summary: TrainingSummary


@final
@dataclass(frozen=True, kw_only=True)
class MadeClassifier:
    """A run with the folder that is bundled (the trajectory and its card)."""

    run: ClassifierRun
    folder: Path
    card: Mapping[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """What the command line prints beside the summary of the training."""
        last = self.card["points"][-1]
        return {f"{split}_accuracy": last[f"{split}_stored"] for split in ("dev", "test")}


def make_mini_classifier(
    data_dir: str | Path,
    out: str | Path,
    *,
    preset: str = "cpu",
    seed: int = 0,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    threads: int = 1,
    notes: str | Path | None = None,
    more_seeds: Sequence[int] = (),
    options: FinetuneOptions = OPTIONS,
) -> MadeClassifier:
    """Train, compress, score and export the bundled classifier into `out`/mini-classifier.

    ``out``/run is an ordinary run of ``vesalius finetune``; ``seed`` is bundled, ``more_seeds``
    are trained for the interval. ``threads`` is set for torch, and stays.

    Raises:
        VesaliusError: missing data, another preset, a tokenizer (it is mini-bert's), or a folder
            of another run.
    """
    if preset != "cpu" or tokenizer is not None:
        raise VesaliusError(
            given=f"preset={preset!r}, tokenizer={tokenizer!r} for mini-classifier",
            expected="preset 'cpu', and no tokenizer: it is that of mini-bert",
            fix="leave --preset and --tokenizer out",
        )
    lines, out = read_notes(notes), Path(out)
    torch.set_num_threads(threads)
    seeds = (seed, *(s for s in more_seeds if s != seed))
    chosen = replace(options, seeds=seeds, device=device)
    plan = plan_finetune(BASE, Path(data_dir) / DATA, out=out / "run", options=chosen)
    result = run_finetune(plan)
    trained = next(run for run in result.runs if run.seed == seed)
    summary = TrainingSummary(
        num_steps=trained.num_steps,
        num_tokens=trained.num_tokens,
        seconds=trained.seconds,
        loss_nats=trained.loss_nats,
    )
    command = "python -m vesalius.recipes.mini_classifier --data DIR --out DIR"
    command += f" --seed {seed} --threads {threads}"
    if len(seeds) > 1:
        command += f" --more-seeds {','.join(map(str, seeds[1:]))}"
    folder = out / "mini-classifier"
    card = export_mini_classifier(
        plan, result, seed=seed, folder=folder, command=command, notes=lines
    )
    run = ClassifierRun(out=out, seed=seed, summary=summary)
    return MadeClassifier(run=run, folder=folder, card=card)


def export_mini_classifier(
    plan: FinetunePlan,
    result: FinetuneResult,
    *,
    seed: int,
    folder: Path,
    command: str,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the trajectory, card, README, curves, log and numbers to verify; return the card.

    ``folder`` is replaced. Scores are those of the stored weights beside those that were trained.

    Raises:
        VesaliusError: a folder there that is not ours.
    """
    steps = next(run.snapshot_steps for run in result.runs if run.seed == seed)
    points = {s: _weights(snapshot_folder(plan.out, seed=seed, step=s)) for s in steps}
    base_file = zoo.stored(BASE) / "model.safetensors"
    base = {n: a.astype(np.float32) for n, a in _arrays(base_file).items() if n in points[0]}
    trajectory = compress_points(points, base=base, num_directions=NUM_DIRECTIONS)
    rows = _point_rows(plan, trajectory, points)
    made = plan.out.parent / "model"
    with new_folder(folder, force=True, marker="card.json") as partial:
        write_trajectory(trajectory, partial / FILE, base_name=BASE, base_hash=sha256_of(base_file))
        last = snapshot_folder(plan.out, seed=seed, step=steps[-1])
        config = json.loads((last / "config.json").read_text(encoding="utf-8"))
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        copy_log(plan.out / f"seed-{seed}" / "log.jsonl", partial / "log.jsonl")
        materialise(trajectory, made, config=partial / "config.json", base=zoo.stored(BASE))
        card = card_of(result, seed=seed, options=plan.options, points=rows) | {
            "command": command,
            "base": BASE,
            "base_sha256": sha256_of(base_file),
            "sha256": sha256_of(made / "model.safetensors"),
            "trajectory_bytes": (partial / FILE).stat().st_size,
            "num_directions": NUM_DIRECTIONS,
            "num_parameters": sum(int(a.size) for a in points[0].values()),
            "hardware": describe_hardware(plan.options.device),
            "versions": installed_versions(),
            "notes": list(notes),
        }
        write_card(card, readme=readme_lines(card), folder=partial)
        draw_curves(partial / "log.jsonl", points=rows, out=partial / "curves.png")
        write_verification(partial, checkpoint=made)
    return card


def _point_rows(
    plan: FinetunePlan, trajectory: Trajectory, points: Mapping[int, Mapping[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """Compare what was trained with what is stored: dev at every point, test at the last."""
    model, _ = build_classifier(plan.source, label_names=plan.data.label_names, seed=0)
    rows: list[dict[str, Any]] = []
    with short_attention(plan.options.device):
        for point, step in enumerate(trajectory.steps):
            stored, given = trajectory.weights(point), points[step]
            moved = {n: given[n] - trajectory.base[n] for n in trajectory.base}
            left = sum(float(np.square(given[n] - stored[n]).sum()) for n in moved)
            whole = sum(float(np.square(delta).sum()) for delta in moved.values())
            row: dict[str, Any] = {"step": step, "kept": 1 - left / whole if whole else 1.0}
            for kind, weights in (("trained", given), ("stored", stored)):
                model.load_state_dict({n: torch.from_numpy(a) for n, a in weights.items()})
                asked = ("dev", "test") if point == len(trajectory) - 1 else ("dev",)
                row |= {f"{name}_{kind}": _accuracy(model, plan.splits[name]) for name in asked}
            rows.append(row)
    return rows


def _accuracy(model: torch.nn.Module, split: EncodedSplit) -> float:
    return score_split(model, split).accuracy


def _weights(folder: Path) -> dict[str, np.ndarray]:
    return _arrays(folder / "model.safetensors")


def _arrays(file: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(file.read_bytes())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line of the recipe and return its exit code."""
    parser = argparse.ArgumentParser(description="Make the bundled classifier.")
    parser.add_argument("--data", required=True, help=f"folder with {DATA}")
    parser.add_argument("--out", required=True, help="folder for the run; resumed if it exists")
    parser.add_argument("--seed", type=int, default=0, help="the seed that is bundled")
    parser.add_argument("--more-seeds", default="", help="seeds for the interval, such as 1,2,3")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--notes", help="text file for the card: a line for each thing to know")
    given = parser.parse_args(arguments)
    made = make_mini_classifier(
        given.data,
        given.out,
        seed=given.seed,
        threads=given.threads,
        notes=given.notes,
        more_seeds=tuple(int(word) for word in given.more_seeds.split(",") if word),
    )
    print(json.dumps({"model": str(made.folder), **made.results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
