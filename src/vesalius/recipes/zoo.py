"""The commands that made the bundled models: `python -m vesalius.recipes.zoo mini-bert ...`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.data.corpus import Example, natural_sentences, written_sentences
from vesalius.data.facts import Fact, fill, load_facts, load_relations
from vesalius.data.masking import MaskedBatches, MaskingOptions, encode_examples
from vesalius.data.tokenizer import train_tokenizer
from vesalius.models.kernels import short_attention
from vesalius.recipes.fact_scores import score_facts
from vesalius.recipes.zoo_runs import describe_hardware, read_notes
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import TrainingSummary, train
from vesalius.training.random_state import seeded

if TYPE_CHECKING:
    from transformers import ModernBertForMaskedLM, PreTrainedTokenizerFast

EVALUATED_WHILE_TRAINING = 500  # facts, one prompt each: a second or two per evaluation


@dataclass(frozen=True, kw_only=True)
class MiniBertPreset:
    """Sizes of the model and the length of its training.

    Source: this project; layers and widths were measured on two CPU cores.
    """

    vocab_size: int
    d_model: int
    d_ff: int
    num_layers: int
    num_heads: int
    tokens_per_batch: int
    training: TrainingOptions
    masking: MaskingOptions = field(default_factory=MaskingOptions)
    max_length: int = 80  # tokens; 97 % of the sentences are shorter


PRESETS: dict[str, MiniBertPreset] = {
    # one core for about 45 minutes; 3.8 M weights are 7.6 MB in fp16
    "cpu": MiniBertPreset(
        vocab_size=5000,
        d_model=256,
        d_ff=448,
        num_layers=4,
        num_heads=4,
        tokens_per_batch=2048,
        training=TrainingOptions(
            num_steps=4500,
            micro_batches=2,
            optimizer="muon",  # after 200 steps 0.32 of the written facts, AdamW alone 0.08
            evaluate_every=250,
            checkpoint_every=250,
        ),
    ),
    # defined, not yet run: base depth, five times the tokens per step
    "gpu": MiniBertPreset(
        vocab_size=8000,
        d_model=512,
        d_ff=1024,
        num_layers=12,
        num_heads=8,
        tokens_per_batch=16384,
        training=TrainingOptions(
            num_steps=20_000, micro_batches=1, optimizer="muon", lr=1e-3, warmup_steps=500
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class MiniBertRun:
    """A finished (or paused) run: the folder of the work, and what the loop did.

    Source: this project.
    """

    preset: str
    out: Path
    seed: int
    summary: TrainingSummary
    num_natural: int
    num_written: int
    num_prompts_met: int  # evaluation prompts, filled in, that a Wikipedia sentence contains
    num_parameters: int
    num_epochs: float
    hardware: str


@dataclass(frozen=True, kw_only=True)
class MadeModel:
    """A run with its exported model: the folder of an ordinary checkpoint, and its card.

    Source: this project.
    """

    run: MiniBertRun
    folder: Path
    card: Mapping[str, Any]

    @property
    def macro_accuracy(self) -> dict[str, float]:
        """Share of facts known, averaged over relations, by part of the facts."""
        return {part: round(score["macro"], 4) for part, score in self.card["scores"].items()}

    @property
    def results(self) -> dict[str, Any]:
        """What the command line prints beside the summary of the training."""
        return {"macro_accuracy": self.macro_accuracy}


def build_mini_bert(
    preset: MiniBertPreset, *, tokenizer: Any, seed: int
) -> "ModernBertForMaskedLM":
    """Return the untrained model: pre-norm, rotary positions, global attention, gated GELU.

    Source: ModernBERT (Warner et al. 2024, arXiv 2412.13663), small and without dropout.
    """
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    rotary = {"rope_type": "default", "rope_theta": 10_000.0}  # BERT-length texts need no more
    config = ModernBertConfig(
        vocab_size=preset.vocab_size,
        hidden_size=preset.d_model,
        intermediate_size=preset.d_ff,
        num_hidden_layers=preset.num_layers,
        num_attention_heads=preset.num_heads,
        max_position_embeddings=128,
        layer_types=["full_attention"] * preset.num_layers,
        rope_parameters={"full_attention": rotary, "sliding_attention": rotary},
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        sparse_prediction=True,  # logits only where there is a label
    )
    with seeded(seed):
        model = ModernBertForMaskedLM(config)
    model.set_attn_implementation("sdpa")
    return model


def train_mini_bert(
    data_dir: str | Path,
    out: str | Path,
    *,
    preset: str = "cpu",
    seed: int = 0,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    stop_after_step: int | None = None,
) -> MiniBertRun:
    """Train the bundled masked language model; the same call goes on where it was stopped.

    `tokenizer` is the folder of a finished one: training ties in the `tokenizers` library fall
    differently from run to run, so the same weights need the same vocabulary.
    `data_dir` holds facts/*.parquet. `out` gets tokenizer/, checkpoint/ and log.jsonl.
    Threads: torch's own setting.

    Raises: VesaliusError for an unknown preset, missing data, or a folder of another run.

    Source: this project.
    """
    if preset not in PRESETS:
        raise VesaliusError(
            given=f"preset {preset!r}",
            expected=f"one of {', '.join(PRESETS)}",
            fix="use preset='cpu'",
        )
    options, out = PRESETS[preset], Path(out)
    examples = collect_examples(Path(data_dir))
    words = load_or_train_tokenizer(
        out, examples=examples, vocab_size=options.vocab_size, given=tokenizer
    )
    batches = _batches(options, examples=examples, tokenizer=words, seed=seed)
    model = build_mini_bert(options, tokenizer=words, seed=seed)
    nn.Module.to(model, device)  # the override in transformers has no usable types

    def evaluate(trained: nn.Module) -> Mapping[str, float]:
        return _quick_scores(trained, tokenizer=words)

    with short_attention(device):
        summary = train(
            model,
            batches=batches,
            options=replace(options.training, seed=seed),
            out=out,
            evaluate=evaluate,
            stop_after_step=stop_after_step,
        )
    return MiniBertRun(
        preset=preset,
        out=out,
        seed=seed,
        summary=summary,
        num_natural=sum(example.kind == "natural" for example in examples),
        num_written=sum(example.kind == "written" for example in examples),
        num_prompts_met=count_prompts_met(examples, facts=load_facts()),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_epochs=summary.num_steps * options.training.micro_batches / batches.batches_per_epoch,
        hardware=describe_hardware(device),
    )


def make_mini_bert(
    data_dir: str | Path,
    out: str | Path,
    *,
    preset: str = "cpu",
    seed: int = 0,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    threads: int = 1,
    notes: str | Path | None = None,
) -> MadeModel:
    """Train, score and export the bundled masked language model into `out`/model.

    `notes` is a text file for the card, a line for each thing to know. `threads` is set for
    torch, and stays. See `train_mini_bert` for the rest.

    Raises: VesaliusError as `train_mini_bert`, or for notes that cannot be read.

    Source: this project.
    """
    from vesalius.recipes.zoo_card import export_mini_bert  # it imports this module

    lines = read_notes(notes)
    torch.set_num_threads(threads)
    run = train_mini_bert(
        data_dir, out, preset=preset, seed=seed, device=device, tokenizer=tokenizer
    )
    command = f"python -m vesalius.recipes.zoo mini-bert --data DIR --out {Path(out).name}"
    command += f" --preset {preset} --seed {seed} --threads {threads}"
    command += " --tokenizer src/vesalius/zoo_files/mini-bert"
    folder = run.out / "model"
    card = export_mini_bert(run, folder=folder, command=command, notes=lines)
    return MadeModel(run=run, folder=folder, card=card)


def collect_examples(data_dir: Path) -> list[Example]:
    """Return the training texts: written ones, then natural ones, in a fixed order.

    Source: this project; T-REx (Elsahar et al. 2018) for the natural ones.
    """
    facts = load_facts()
    return written_sentences(facts) + natural_sentences(data_dir, facts=facts)


def count_prompts_met(examples: Sequence[Example], *, facts: Sequence[Fact]) -> int:
    """Count the evaluation prompts that, with their answer, stand in a natural training text.

    Our own sentences are kept apart from the prompts by their templates; Wikipedia's are not.

    Source: this project.
    """
    relations = load_relations()
    text = "\n".join(example.text for example in examples if example.kind == "natural")
    filled = (
        fill(template, fact, answer=fact.answer)
        for fact in facts
        for template in relations[fact.relation].ask
    )
    return sum(sentence.rstrip(".") in text for sentence in filled)


def load_or_train_tokenizer(
    out: Path,
    *,
    examples: list[Example],
    vocab_size: int,
    given: str | Path | None = None,
) -> "PreTrainedTokenizerFast":
    """Return the tokenizer of `out`/tokenizer, first copied from `given` or trained if need be.

    Source: this project.
    """
    from transformers import PreTrainedTokenizerFast

    folder, new = out / "tokenizer", out / "tokenizer.new"
    if not folder.exists() and given is not None:
        PreTrainedTokenizerFast.from_pretrained(given).save_pretrained(new)
        new.rename(folder)
    elif not folder.exists():
        tokenizer = train_tokenizer(
            [example.text for example in examples],
            whole_words=[fact.answer for fact in load_facts()],
            vocab_size=vocab_size,
        )
        tokenizer.save_pretrained(new)
        new.rename(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _batches(
    preset: MiniBertPreset, *, examples: list[Example], tokenizer: Any, seed: int
) -> MaskedBatches:
    return MaskedBatches(
        encode_examples(examples, tokenizer=tokenizer, max_length=preset.max_length),
        tokenizer=tokenizer,
        tokens_per_batch=preset.tokens_per_batch,
        seed=seed,
        options=preset.masking,
    )


def _quick_scores(model: nn.Module, *, tokenizer: Any) -> dict[str, float]:
    facts = load_facts()
    scores: dict[str, float] = {}
    for part in ("written", "natural"):
        chosen: list[Fact] = [fact for fact in facts if fact.part == part]
        chosen = chosen[:: max(1, len(chosen) // (EVALUATED_WHILE_TRAINING // 2))]
        found = score_facts(model, tokenizer=tokenizer, facts=chosen, prompts_per_fact=1)
        scores[f"{part}_micro"] = found.micro
        scores[f"{part}_macro"] = found.macro
        scores[f"{part}_majority_macro"] = found.majority_macro
    return scores


def main(arguments: list[str] | None = None) -> int:
    """Run the command line of the recipes and return its exit code.

    Source: this project.
    """
    parser = argparse.ArgumentParser(description="Train a bundled model.")
    parser.add_argument("model", choices=["mini-bert"])
    parser.add_argument("--data", required=True, help="folder with facts/*.parquet")
    parser.add_argument("--out", required=True, help="folder for the run; resumed if it exists")
    parser.add_argument("--preset", default="cpu", choices=sorted(PRESETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokenizer", help="folder of a finished tokenizer, for equal weights")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--notes", help="text file for the card: a line for each thing to know")
    options = parser.parse_args(arguments)
    made = make_mini_bert(
        options.data,
        options.out,
        preset=options.preset,
        seed=options.seed,
        device=options.device,
        tokenizer=options.tokenizer,
        threads=options.threads,
        notes=options.notes,
    )
    print(json.dumps({"model": str(made.folder), "macro_accuracy": made.macro_accuracy}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
