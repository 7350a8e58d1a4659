"""One seed of fine-tuning: train, keep snapshots, score, and leave a checkpoint behind.

Source: this project; the loop of training/loop.py.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from vesalius.core.codec import Attachments, decode, plain
from vesalius.core.paths import new_folder, write_file
from vesalius.core.seeds import derive_seed
from vesalius.data.labelled_batches import EncodedSplit, LabelledBatches, make_batch
from vesalius.models.kernels import short_attention
from vesalius.numerics.metrics import ClassScores, class_scores
from vesalius.numerics.statistics import Interval, bootstrap_interval
from vesalius.recipes.finetune_config import FinetuneOptions
from vesalius.recipes.finetune_model import (
    Source,
    build_classifier,
    embedding_names,
    layer_lr_scales,
)
from vesalius.recipes.finetune_result import SeedRun
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train

DONE: Final = "scores.json"  # the last file of a seed: it is finished
_ROWS_AT_ONCE: Final = 64  # when scoring


def predict_probs(model: nn.Module, split: EncodedSplit) -> Float[np.ndarray, "item label"]:
    """Give the probability of every label for every row, in the rows' order."""
    device = next(model.parameters()).device
    order = np.argsort(split.lengths, kind="stable").tolist()
    found: dict[int, np.ndarray] = {}
    training = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(order), _ROWS_AT_ONCE):
            rows = order[start : start + _ROWS_AT_ONCE]
            batch = {name: t.to(device) for name, t in make_batch(split, rows).items()}
            del batch["labels"]
            probs = model(**batch).logits.double().softmax(dim=-1).cpu().numpy()
            found.update(zip(rows, probs, strict=True))
    model.train(training)
    return np.stack([found[i] for i in range(len(split))])


def score_split(model: nn.Module, split: EncodedSplit) -> ClassScores:
    """Score a classifier on the rows of a split."""
    return class_scores(predict_probs(model, split), np.array(split.labels))


def training_options(
    options: FinetuneOptions, *, seed: int, batches_per_epoch: int, width: int
) -> TrainingOptions:
    """Turn the options of fine-tuning into those of the loop."""
    num_steps = options.num_steps(batches_per_epoch=batches_per_epoch)
    each = max(batches_per_epoch, -(-num_steps // 10))  # small sets have many short epochs
    return TrainingOptions(
        num_steps=num_steps,
        lr=options.peak_lr(width=width),
        betas=(0.9, 0.999),
        weight_decay=options.weight_decay,
        schedule=options.schedule,
        warmup_steps=round(options.warmup_share * num_steps),
        autocast_bf16=options.bf16,
        seed=seed,
        log_every=min(10, num_steps),
        evaluate_every=each,
        checkpoint_every=options.checkpoint_every or max(100, -(-num_steps // 4)),
    )


def snapshot_steps(num_snapshots: int, *, num_steps: int) -> tuple[int, ...]:
    """Give N + 1 evenly spaced steps from 0 to the last; none for N = 0."""
    if num_snapshots == 0:
        return ()
    places = np.linspace(0, num_steps, num_snapshots + 1).round().astype(int)
    return tuple(sorted(set(places.tolist())))


def snapshot_folder(out: Path, *, seed: int, step: int) -> Path:
    """Name the folder of a snapshot."""
    return out / f"seed-{seed}" / "snapshots" / f"step-{step:06d}"


@final
class _Keeper:
    """Saves snapshots, and the best weights so far, as ordinary checkpoints."""

    def __init__(
        self, folder: Path, *, source: Source, steps: tuple[int, ...], options: FinetuneOptions
    ) -> None:
        self._folder, self._source, self._steps = folder, source, steps
        self._options = options
        self.step = 0

    def save(self, model: Any, folder: Path, *, facts: Mapping[str, Any]) -> None:
        """Write model and tokenizer to a folder, whole or not at all."""
        with new_folder(folder, force=True, marker="kept.json") as partial:
            model.save_pretrained(partial)
            self._source.tokenizer.save_pretrained(partial)
            for path in partial.glob("*.safetensors"):
                path.chmod(0o644)  # they are written for their owner only
            (partial / "kept.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")

    def on_step(self, model: nn.Module, step: int) -> None:
        self.step = step
        folder = self._folder / "snapshots" / f"step-{step:06d}"
        # steps that are run again after a break give the same weights
        if step in self._steps and not folder.exists():
            self.save(model, folder, facts={"step": step})

    def on_scores(self, model: nn.Module, scores: ClassScores) -> dict[str, float]:
        """Keep the weights where they are the best so far; give what the log takes."""
        best, value = self._folder / "best", getattr(scores, self._options.metric)
        known = json.loads((best / "kept.json").read_text("utf-8")) if best.exists() else None
        if self._options.keep == "best" and (known is None or value > known["value"]):
            self.save(model, best, facts={"step": self.step, "value": value})
        return {name: getattr(scores, name) for name in ("accuracy", "macro_f1", "nll_nats")}


def run_seed(
    source: Source,
    *,
    seed: int,
    splits: Mapping[str, EncodedSplit],
    label_names: tuple[str, ...],
    num_texts: int,
    options: FinetuneOptions,
    identity: Mapping[str, str],
    folder: Path,
) -> SeedRun:
    """Train and score one seed in its folder; the same call goes on where it was stopped.

    Raises:
        VesaliusError: what the loop or the model refuses.
    """
    model, notes, scales = _prepared(
        source, label_names, num_texts=num_texts, seed=seed, options=options
    )
    batches = LabelledBatches(
        splits["train"], batch_size=options.batch_size, seed=derive_seed(seed, "batches")
    )
    per_epoch = batches.batches_per_epoch
    loop_options = training_options(
        options, seed=seed, batches_per_epoch=per_epoch, width=source.width
    )
    steps = snapshot_steps(options.snapshots, num_steps=loop_options.num_steps)
    keeper = _Keeper(folder, source=source, steps=steps, options=options)
    keeper.on_step(model, 0)

    with short_attention(options.device):
        summary = train(
            model,
            batches=batches,
            options=loop_options,
            out=folder,
            evaluate=lambda trained: keeper.on_scores(trained, score_split(trained, splits["dev"])),
            on_step=keeper.on_step,
            identity=identity,
            lr_scales=scales,
        )
        keeper.step = summary.num_steps  # a run that was done already takes no step
        exported = _exported(model, keeper, folder, options)
        scores = {n: score_split(exported, splits[n]) for n in ("dev", "test") if n in splits}
    kept = json.loads((folder / "model" / "kept.json").read_text(encoding="utf-8"))
    found = SeedRun(
        seed=seed,
        num_steps=summary.num_steps,
        exported_step=kept["step"],
        num_tokens=summary.num_tokens,
        seconds=summary.seconds,
        loss_nats=summary.loss_nats,
        scores=scores,
        accuracy_interval={name: _interval(s, seed) for name, s in scores.items()},
        snapshot_steps=steps,
        notes=notes,
    )
    write_file(folder / DONE, (json.dumps(plain(found), indent=1) + "\n").encode(), force=True)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # three times the model's size
    return found


def _prepared(
    source: Source,
    label_names: tuple[str, ...],
    *,
    num_texts: int,
    seed: int,
    options: FinetuneOptions,
) -> tuple[nn.Module, tuple[str, ...], dict[str, float]]:
    """Build the model on its device, with notes for the card and learning rates by layer."""
    model, notes = build_classifier(
        source,
        label_names=label_names,
        seed=seed,
        num_texts=num_texts,
        from_scratch=options.from_scratch,
        pooling=options.pooling,
    )
    nn.Module.to(model, options.device)
    scales = layer_lr_scales(model, decay=options.layer_decay)
    if options.freeze_embeddings:
        for name in embedding_names(model):
            model.get_parameter(name).requires_grad_(False)
    return model, notes, scales


def read_seed(folder: Path) -> SeedRun | None:
    """Read a finished seed, none where it is not finished."""
    if not (folder / DONE).is_file():
        return None
    stored = json.loads((folder / DONE).read_text(encoding="utf-8"))
    return decode(stored, SeedRun, Attachments())


def _exported(model: Any, keeper: _Keeper, folder: Path, options: FinetuneOptions) -> nn.Module:
    """Write the weights that are to stay to ``model``, and give them back loaded."""
    if options.keep == "last":
        keeper.save(model, folder / "model", facts={"step": keeper.step})
        return model
    from transformers import AutoModelForSequenceClassification

    if not (folder / "model").exists():
        (folder / "best").rename(folder / "model")
    best = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    return nn.Module.to(best, options.device)


def _interval(scores: ClassScores, seed: int) -> Interval:
    """Resample the rows: how far 0.82 on 60 of them can be trusted."""
    right = np.zeros(scores.num_items)
    right[: round(scores.accuracy * scores.num_items)] = 1.0
    generator = np.random.default_rng(derive_seed(seed, "rows"))
    return bootstrap_interval(right, generator=generator)
