"""Runs: one for each arm and seed, all with the same rows, masks and first weights per seed."""

import json
import shutil
from pathlib import Path
from typing import Final

import torch
from arms import ROWS_PER_BATCH, Scale, options_of, shape_of, training_of
from corpus import PAD, ROW, SPECIAL, SPECIAL_IDS, Corpus
from safetensors.torch import load_file, save

from vesalius.core.paths import write_file
from vesalius.core.seeds import derive_seed
from vesalius.data.replaced import ReplacedBatches
from vesalius.methods.electra.objective import ReplacedTokenObjective
from vesalius.models.electra import EncoderPair
from vesalius.training.loop import train
from vesalius.training.random_state import seeded

WEIGHTS: Final = "objective.safetensors"


def folder_of(out: Path, arm: str, seed: int) -> Path:
    """Name the folder of a run."""
    return out / "runs" / arm / f"seed-{seed}"


def is_finished(out: Path, arm: str, seed: int) -> bool:
    """Whether a run is done; looks at its folder alone."""
    return (folder_of(out, arm, seed) / WEIGHTS).is_file()


def build(arm: str, seed: int, *, scale: Scale, vocab_size: int) -> ReplacedTokenObjective:
    """Build a pair with the weights of its seed, which are the same in every arm."""
    with seeded(derive_seed(seed, "weights")):
        pair = EncoderPair(shape_of(scale, vocab_size), SPECIAL_IDS)
        model = ReplacedTokenObjective(pair, options=options_of(arm))
    pair.use_attention("eager")  # torch's fused one is slow backwards in bf16 on a CPU
    return model


def pretrain(arm: str, seed: int, *, corpus: Corpus, out: Path, scale: Scale) -> None:
    """Train a pair, or go on with it; keep its log, its weights and what it took."""
    folder = folder_of(out, arm, seed)
    model = build(arm, seed, scale=scale, vocab_size=corpus.vocab_size)
    if scale.compiles:
        torch._dynamo.reset()  # forgets the pair of the run before, of which there may be 8
        model.pair.compile_bodies()
    options = model.options
    batches = ReplacedBatches(
        corpus.documents,
        context_length=ROW,
        rows_per_batch=ROWS_PER_BATCH,
        seed=derive_seed(seed, "rows"),
        special_ids=range(len(SPECIAL)),
        pad_id=PAD,
        mask_prob=options.mask_prob,
        mask_token_prob=options.mask_token_prob,
    )
    done = train(
        model,
        batches=batches,
        options=training_of(scale, seed),
        out=folder,
        identity=batches.identity | {"arm": arm, "options": repr(options)},
    )
    told = {
        "steps": done.num_steps,
        "tokens": done.num_tokens,
        "seconds": done.seconds,
        "loss_nats": done.loss_nats,
    }
    (folder / "summary.json").write_text(json.dumps(told), "utf-8")
    tensors = {name: value.detach().contiguous() for name, value in _unique(model).items()}
    write_file(folder / WEIGHTS, save(tensors))  # last: the run is finished now
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def reopen(
    out: Path, arm: str, seed: int, *, scale: Scale, vocab_size: int
) -> ReplacedTokenObjective:
    """Open a finished run with its weights, ready to be measured."""
    model = build(arm, seed, scale=scale, vocab_size=vocab_size)
    stored = load_file(folder_of(out, arm, seed) / WEIGHTS)
    wanted = _unique(model)
    if stored.keys() != wanted.keys():
        raise SystemExit(f"{folder_of(out, arm, seed)} holds another pair: choose another --out")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(stored[name])
    return model.eval()


def _unique(model: ReplacedTokenObjective) -> dict[str, torch.Tensor]:
    """Name every weight once, shared ones by their first name."""
    return dict(model.named_parameters())
