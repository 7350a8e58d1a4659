"""Train, score and export a bundled causal model: fp16 weights, card, curves and log."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch

from vesalius.core.card import installed_versions
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import load_tasks
from vesalius.data.plain_text import HELD_OUT_SHARE, SOURCES
from vesalius.recipes.mini_gpt import MiniGptRun, WeightedCausal, build_mini_gpt, train_mini_gpt
from vesalius.recipes.mini_gpt_corpus import ANSWER_WEIGHT
from vesalius.recipes.mini_gpt_readme import draw_curves, readme_lines
from vesalius.recipes.mini_gpt_scores import (
    EVALUATED,
    NEVER_SEEN,
    FewShotScore,
    measure_text_loss,
    score_all,
)
from vesalius.recipes.zoo_runs import (
    copy_log,
    describe_hardware,
    read_notes,
    save_half,
    write_card,
)
from vesalius.recipes.zoo_verify import write_verification
from vesalius.training.checkpoint import load_checkpoint

_LICENCE: Final = (
    "CC BY-SA 4.0: trained on text of Wikipedia and its authors among others. The code of the "
    "package has its own licence."
)
_LIMITS: Final = (
    "For showing and testing methods, not for use: a model this small, trained for an hour at "
    "most, writes English of a kind and knows few facts.",
    "Trained on rows of at most 256 tokens. Positions up to 512 exist and were never trained.",
    "Prompts of the kinds it was trained on are close to supervised tasks for it: the accuracy on "
    "sets it never saw tells what demonstrations and label words do.",
    "Lower-case film reviews, US politics, Wikipedia and old novels: its text is biased like them.",
    "English only. Text of other languages is spelled byte by byte.",
)
_EXAMPLES: Final = (
    "The capital of France is",
    "In 1969, the film was directed by",
    "Review: a dull and lifeless film.\nSentiment:",
    "Question: Who wrote Hamlet?\nType:",
)


@final
@dataclass(frozen=True, kw_only=True)
class MadeCausal:
    """A run with its exported model: the folder of an ordinary checkpoint, and its card.

    Source: this project.
    """

    run: MiniGptRun
    folder: Path
    card: Mapping[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """What the command line prints beside the summary of the training."""
        scores = self.card["few_shot"]
        return {
            "held_out_nats_per_token": self.card["held_out"]["nats_per_token"],
            "accuracy_with_4": {
                score["task"]: score["median"]
                for score in scores
                if score["num_demonstrations"] == 4
            },
        }


def make_mini_gpt(
    data_dir: str | Path,
    out: str | Path,
    *,
    name: str = "mini-gpt",
    preset: str = "cpu",
    seed: int = 0,
    device: str = "cpu",
    tokenizer: str | Path | None = None,
    threads: int = 1,
    notes: str | Path | None = None,
) -> MadeCausal:
    """Train, score and export a bundled causal model into `out`/model.

    `notes` is a text file for the card, a line for each thing to know. `threads` is set for
    torch, and stays. See `train_mini_gpt` for the rest.

    Raises: VesaliusError as `train_mini_gpt`, or for notes that cannot be read, or a preset
    other than "cpu".

    Source: this project.
    """
    if preset != "cpu":
        raise VesaliusError(
            given=f"preset {preset!r} for {name}", expected="'cpu'", fix="leave --preset out"
        )
    lines = read_notes(notes)
    torch.set_num_threads(threads)
    run = train_mini_gpt(data_dir, out, name=name, seed=seed, device=device, tokenizer=tokenizer)
    command = f"vesalius zoo train {name} --data DIR --out {Path(out).name} --seed {seed}"
    command += f" --threads {threads} --tokenizer src/vesalius/zoo_files/mini-gpt"
    folder = run.out / "model"
    card = export_mini_gpt(
        run, data_dir=Path(data_dir), folder=folder, command=command, notes=lines, device=device
    )
    return MadeCausal(run=run, folder=folder, card=card)


def export_mini_gpt(
    run: MiniGptRun,
    *,
    data_dir: Path,
    folder: str | Path,
    command: str,
    notes: Sequence[str] = (),
    device: str = "cpu",
    num_rows: int = 200,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> dict[str, Any]:
    """Write model, tokenizer, card.json, README.md, log.jsonl, curves.png; return the card.

    The scores are those of the fp16 weights as saved, loaded again in fp32: `num_rows` rows of
    each set, for each of `seeds` other demonstrations.

    Raises: VesaliusError when a data file is missing.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    tokenizer = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    trained = build_mini_gpt(run.preset, tokenizer=tokenizer, seed=run.seed)
    load_checkpoint(run.out, model=WeightedCausal(trained))
    weights = save_half(trained, tokenizer=tokenizer, folder=folder)
    copy_log(run.out / "log.jsonl", folder / "log.jsonl")

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    held_out = measure_text_loss(model, tokenizer=tokenizer, texts=run.texts.held_out)
    scores = score_all(
        model, tokenizer=tokenizer, data_dir=data_dir, num_rows=num_rows, seeds=seeds
    )
    card = _card(run, device=device) | weights
    card |= {
        "command": command,
        "headline": _headline(held_out.nats_per_token, scores),
        "held_out": held_out._asdict() | {"num_passages": len(run.texts.held_out)},
        "few_shot": [score_row(score) for score in scores],
        "examples": continuations(model, tokenizer),
        "limits": list(_LIMITS),
        "notes": list(notes),
    }
    write_card(card, readme=readme_lines(card), folder=folder)
    draw_curves(folder / "log.jsonl", out=folder / "curves.png")
    write_verification(folder)
    return card


def score_row(score: FewShotScore) -> dict[str, Any]:
    """Return a score as plain values, with the interval from the least to the best seed.

    Source: this project.
    """
    asked, shown = EVALUATED[score.task]
    return asdict(score) | {
        "accuracies": [round(value, 4) for value in score.accuracies],
        "median": round(score.median, 4),
        "low": round(min(score.accuracies), 4),
        "high": round(max(score.accuracies), 4),
        "majority": round(score.majority, 4),
        "split": asked,
        "demonstrations_from": shown,
        "seen": score.task not in NEVER_SEEN,
    }


def continuations(model: Any, tokenizer: Any, *, num_tokens: int = 24) -> list[dict[str, str]]:
    """Return what the model writes after a few prompts, always the most probable token.

    Source: this project.
    """
    rows: list[dict[str, str]] = []
    for prompt in _EXAMPLES:
        inputs = tokenizer(prompt, return_tensors="pt")
        written = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=num_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )[0, inputs["input_ids"].shape[1] :]
        text = tokenizer.decode(written, skip_special_tokens=True)
        rows.append({"prompt": prompt, "continuation": text})
    return rows


def _headline(nats_per_token: float, scores: Sequence[FewShotScore]) -> str:
    """Name the held-out perplexity and what four demonstrations give."""
    shown = [
        f"{score.task} {score.median:.0%} (majority {score.majority:.0%})"
        for score in scores
        if score.num_demonstrations == 4 and score.task in ("sst2", "amazon")
    ]
    return f"perplexity {np.exp(nats_per_token):.1f}; 4 shots: {', '.join(shown)}"


def _card(run: MiniGptRun, *, device: str) -> dict[str, Any]:
    """Return what is known before the model is asked anything."""
    preset, summary, texts = run.preset, run.summary, run.texts
    options = preset.training
    trained = [task for task in load_tasks().values() if task.weight > 0]
    return {
        "name": run.name,
        "task": "causal-lm",
        "architecture": "Llama: pre-norm with RMS, rotary positions, gated SiLU, tied embeddings",
        "num_layers": preset.num_layers,
        "d_model": preset.d_model,
        "d_ff": preset.d_ff,
        "num_heads": preset.num_heads,
        "vocab_size": preset.vocab_size,
        "num_parameters": run.num_parameters,
        "dtype": "float16",
        "licence": _LICENCE,
        "corpus": "General English text in passages of up to 1,000 characters, then the same kind "
        "of text together with prompts made from classification sets.",
        "sources": [
            {"what": source.what, "licence": source.licence, "share": source.share}
            for source in SOURCES.values()
        ],
        "num_passages": {"first": len(texts.first), "second": len(texts.second)},
        "held_out_share": HELD_OUT_SHARE,
        "prompt_sets": [
            {
                "name": task.name,
                "what": task.what,
                "licence": task.licence,
                "splits": list(task.training_splits) or ["no split: all but held-out rows"],
                "num_prompts": texts.prompts_of[task.name],
            }
            for task in trained
        ],
        "never_seen": list(NEVER_SEEN),
        "answer_weight": ANSWER_WEIGHT,
        "first_steps": preset.first_steps,
        "contexts": [preset.corpus.first_context, preset.corpus.second_context],
        "corpus_tokens": {
            "first": run.first_tokens,
            "second": run.second_tokens,
            "prompts": run.prompt_tokens,
        },
        "seed": run.seed,
        "num_steps": summary.num_steps,
        "num_tokens": summary.num_tokens,
        "seconds": round(summary.seconds),
        "tokens_per_second": round(summary.num_tokens / summary.seconds),
        "optimizer": f"{options.optimizer}, {options.muon_lr} and {options.lr}, "
        f"weight decay {options.weight_decay}",
        "hardware": describe_hardware(device),
        "versions": installed_versions(),
    }
