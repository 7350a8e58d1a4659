"""Write a bundled model's folder: fp16 weights, tokenizer, card, curves and log."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vesalius.core.card import installed_versions
from vesalius.data.facts import load_facts, load_relations
from vesalius.recipes.fact_scores import score_facts
from vesalius.recipes.zoo import PRESETS, MiniBertRun, build_mini_bert
from vesalius.training.checkpoint import load_checkpoint
from vesalius.training.optimizers import build_optimizers

_CORPUS = (
    "Wikipedia sentences of T-REx (Elsahar et al. 2018) that mention the facts, and sentences that "
    "this project writes from its fact table with its own templates. No evaluation template is "
    "in either."
)
_LICENCE = (
    "CC BY-SA 4.0: trained on text of Wikipedia and its authors, taken from T-REx. The code of the "
    "package has its own licence."
)
_LIMITS = (
    "A small model for showing and testing methods: it knows its table of facts, little else.",
    "Facts are as Wikidata had them about 2018, at times wrong or out of date.",
    "Natural-only facts are known far less well than those that are also in written sentences.",
    "English only, cased, texts of at most 128 tokens, seen in training up to 80.",
)
_EXAMPLES = (
    "The capital of France is [MASK].",
    "[MASK] is the capital of Japan.",
    "Egypt is a part of [MASK].",
    "The official language of Brazil is [MASK].",
    "The manufacturer of Windows Vista is [MASK].",
)


def export_mini_bert(run: MiniBertRun, *, folder: str | Path, command: str) -> dict[str, Any]:
    """Write model, tokenizer, card.json, README.md, log.jsonl and curves.png; return the card.

    The scores are those of the fp16 weights as saved, loaded again in fp32.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    preset = PRESETS[run.preset]
    tokenizer = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    trained = build_mini_bert(preset, tokenizer=tokenizer, seed=run.seed)
    optimizers = build_optimizers(trained, options=preset.training)
    state = torch.get_rng_state()
    load_checkpoint(run.out, model=trained, optimizers=optimizers)
    torch.set_rng_state(state)
    trained.config.sparse_prediction = False  # users expect logits at every position
    trained.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it is written for its owner only
    tokenizer.save_pretrained(folder)
    shutil.copyfile(run.out / "log.jsonl", folder / "log.jsonl")

    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    facts = load_facts()
    scores = {
        part: score_facts(
            model,
            tokenizer=tokenizer,
            facts=[fact for fact in facts if part in ("all", fact.part)],
        ).to_dict()
        for part in ("all", "written", "natural")
    }
    card = _card(run, scores=scores, command=command, examples=top_answers(model, tokenizer))
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme_of(card), encoding="utf-8")
    draw_curves(folder / "log.jsonl", out=folder / "curves.png")
    return card


def top_answers(
    model: torch.nn.Module, tokenizer: Any, *, num_answers: int = 5
) -> list[dict[str, Any]]:
    """Return the most probable answers of a few well-known prompts, as the model gives them.

    Source: this project.
    """
    rows: list[dict[str, Any]] = []
    for prompt in _EXAMPLES:
        inputs = tokenizer(prompt, return_tensors="pt")
        place = int((inputs["input_ids"][0] == tokenizer.mask_token_id).int().argmax())
        with torch.no_grad():
            logits = model(**inputs).logits[0, place]
        probs, ids = logits.softmax(dim=-1).topk(num_answers)
        words = tokenizer.convert_ids_to_tokens(ids.tolist())
        answers = [[w, round(p, 4)] for w, p in zip(words, probs.tolist(), strict=True)]
        rows.append({"prompt": prompt, "answers": answers})
    return rows


def _card(
    run: MiniBertRun,
    *,
    scores: Mapping[str, Mapping[str, Any]],
    command: str,
    examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    preset = PRESETS[run.preset]
    relations = load_relations().values()
    return {
        "name": "mini-bert",
        "task": "masked-lm",
        "architecture": "ModernBERT: pre-norm, rotary positions, global attention, gated GELU",
        "num_layers": preset.num_layers,
        "d_model": preset.d_model,
        "d_ff": preset.d_ff,
        "num_heads": preset.num_heads,
        "vocab_size": preset.vocab_size,
        "num_parameters": run.num_parameters,
        "dtype": "float16",
        "corpus": _CORPUS,
        "num_natural_sentences": run.num_natural,
        "num_written_sentences": run.num_written,
        "num_ask_templates": sum(len(relation.ask) for relation in relations),
        "num_tell_templates": sum(len(relation.tell) for relation in relations),
        "licence": _LICENCE,
        "command": command,
        "preset": run.preset,
        "seed": run.seed,
        "num_steps": run.summary.num_steps,
        "num_tokens": run.summary.num_tokens,
        "num_epochs": round(run.num_epochs, 1),
        "seconds": round(run.summary.seconds),
        "hardware": f"CPU with bf16 products, {run.num_threads} torch thread(s) of a shared "
        "two-core machine",
        "versions": installed_versions(),
        "scores": scores,
        "examples": examples,
        "limits": list(_LIMITS),
    }


def readme_of(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown, with the scores of every relation.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    lines = [f"# {card['name']}", "", card["corpus"], "", f"Licence: {card['licence']}", ""]
    lines += ["## Made by", "", f"    {card['command']}", ""]
    for key in ("preset", "seed", "num_steps", "num_tokens", "num_epochs", "seconds", "hardware"):
        lines.append(f"- {key}: {card[key]}")
    for key in ("num_natural_sentences", "num_written_sentences", "num_parameters"):
        lines.append(f"- {key}: {card[key]:,}")
    lines += [f"- {name} {version}" for name, version in card["versions"].items()]
    lines += ["", "![curves](curves.png)", "", "## Scores", ""]
    lines += [
        "Top-1 over the whole vocabulary, six prompts per fact that were never trained on; "
        "majority is the most frequent answer of the same facts. Facts whose subject gives the "
        "answer away are not in the table. `written`: met in our sentences and in Wikipedia's; "
        "`natural`: in Wikipedia's alone.",
        "",
        "| facts | number | relations | macro | majority | micro | majority | chance | >0.99 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part, s in card["scores"].items():
        numbers = ("macro", "majority_macro", "micro", "majority_micro")
        cells = " | ".join(f"{s[name]:.3f}" for name in numbers)
        lines.append(
            f"| {part} | {s['num_facts']} | {s['num_relations']} | {cells} | {s['chance']:.4f} "
            f"| {s['saturated']:.2f} |"
        )
    lines += ["", "The last column is the share of right answers with a probability above 0.99."]
    lines += ["", *_relation_table(card["scores"]), "", "## Examples", ""]
    for row in card["examples"]:
        answers = ", ".join(f"{word} {prob:.3f}" for word, prob in row["answers"])
        lines.append(f"- {row['prompt']} {answers}")
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in card["limits"])]
    return "\n".join(lines) + "\n"


def _relation_table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    natural = {row["relation"]: row for row in scores["natural"]["relations"]}
    lines = [
        "| relation | name | written facts | accuracy | majority | natural facts | accuracy "
        "| majority |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in scores["written"]["relations"]:
        other = natural.get(row["relation"])
        right = "0 | - | -"
        if other:
            right = f"{other['num_facts']} | {other['accuracy']:.3f} | {other['majority']:.3f}"
        lines.append(
            f"| {row['relation']} | {row['name']} | {row['num_facts']} | {row['accuracy']:.3f} "
            f"| {row['majority']:.3f} | {right} |"
        )
    return lines


def draw_curves(log: Path, *, out: Path) -> None:
    """Draw loss and fact accuracy over the steps from a log.jsonl.

    Source: this project.
    """
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = [(line["step"], line["loss_nats"]) for line in lines if "loss_nats" in line]
    scores = [(line["step"], line["evaluation"]) for line in lines if "evaluation" in line]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*losses, strict=True), color="tab:gray", linewidth=1)
    left.set(xlabel="step", ylabel="loss (nats per masked token)", ylim=(0, None))
    for part, colour in (("written", "tab:blue"), ("natural", "tab:orange")):
        steps = [step for step, _ in scores]
        right.plot(steps, [s[f"{part}_macro"] for _, s in scores], color=colour, label=part)
        if scores:
            majority = scores[-1][1][f"{part}_majority_macro"]
            right.axhline(majority, color=colour, linestyle=":", label=f"{part}: majority")
    right.set(xlabel="step", ylabel="macro accuracy (about 250 facts)", ylim=(0, 1))
    right.legend(frameon=False)
    figure.savefig(out, dpi=110, metadata={"Software": None})
