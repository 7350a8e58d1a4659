"""Write a bundled model's folder: fp16 weights, tokenizer, card, curves and log."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vesalius.core.card import installed_versions
from vesalius.data.facts import Relation, load_facts, load_relations
from vesalius.recipes.fact_scores import score_facts
from vesalius.recipes.zoo import PRESETS, MiniBertRun, build_mini_bert
from vesalius.recipes.zoo_runs import copy_log, save_half, write_card
from vesalius.recipes.zoo_verify import write_verification
from vesalius.training.checkpoint import load_checkpoint

_CORPUS = (
    "Wikipedia sentences of T-REx that mention the facts, and sentences that this project writes "
    "from its fact table with its own templates. No evaluation template is a training template."
)
_SOURCES = (
    ("Wikipedia sentences, from T-REx (Elsahar et al. 2018)", "CC BY-SA 4.0"),
    ("facts: Wikidata triples as T-REx aligns them with Wikipedia", "CC0, as Wikidata"),
    ("sentences written by this project from those facts", "MIT, as the package"),
)
_LICENCE = (
    "CC BY-SA 4.0: trained on text of Wikipedia and its authors, taken from T-REx. The code of the "
    "package has its own licence."
)
_LIMITS = (
    "For showing and testing methods, not for use: 4 layers that know this table of facts and "
    "little else, and answer as surely when they are wrong.",
    "Facts are as Wikidata had them about 2018, at times wrong or out of date.",
    "The accuracy is that of facts met in training, asked in other words; nothing here says that "
    "the model can infer a fact that it was not told.",
    "English only, cased, texts of at most 128 tokens, seen in training up to 80.",
)
_EXAMPLES = (
    "The capital of France is [MASK].",
    "[MASK] is the capital of Japan.",
    "Egypt is a part of [MASK].",
    "The official language of Brazil is [MASK].",
    "The manufacturer of Windows Vista is [MASK].",
)
_SMOOTHED = 20  # logged steps in one mean of the drawn loss


def export_mini_bert(
    run: MiniBertRun, *, folder: str | Path, command: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Write model, tokenizer, card.json, README.md, log.jsonl and curves.png; return the card.

    The scores are those of the fp16 weights as saved, loaded again in fp32. `notes` are what a
    reader should know about this one run: restarts, choices made on the way.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = Path(folder)
    preset = PRESETS[run.preset]
    tokenizer = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    trained = build_mini_bert(preset, tokenizer=tokenizer, seed=run.seed)
    load_checkpoint(run.out, model=trained)
    trained.config.sparse_prediction = False  # users expect logits at every position
    weights = save_half(trained, tokenizer=tokenizer, folder=folder)
    copy_log(run.out / "log.jsonl", folder / "log.jsonl")

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
    card = (
        _card(run)
        | weights
        | {
            "command": command,
            "scores": scores,
            "near_prompts": _near_prompts(model, tokenizer, scores["all"]),
            "examples": top_answers(model, tokenizer),
            "limits": list(_LIMITS),
            "notes": [note.strip() for note in notes if note.strip()],
        }
    )
    write_card(card, readme=readme_of(card).splitlines(), folder=folder)
    write_verification(folder)
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


def near_templates(relations: Mapping[str, Relation]) -> dict[str, list[str]]:
    """Return, by relation, the evaluation templates that stand inside a longer training template.

    A training template is also read with subject and answer changed over, as a relation turned
    round (capital, capital of) would ask it.

    Source: this project.
    """
    told = [template for relation in relations.values() for template in relation.tell]
    turned = {"[X]": "[Y]", "[Y]": "[X]"}
    told += ["".join(turned.get(p, p) for p in _places(template)) for template in told]
    found = {
        code: [ask for ask in relation.ask if any(ask.rstrip(".") in tell for tell in told)]
        for code, relation in relations.items()
    }
    return {code: templates for code, templates in found.items() if templates}


def _places(template: str) -> list[str]:
    return template.replace("[X]", "\0[X]\0").replace("[Y]", "\0[Y]\0").split("\0")


def _near_prompts(
    model: torch.nn.Module, tokenizer: Any, scores: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the near templates, and the scores of their relations without them."""
    relations, facts = load_relations(), load_facts()
    near = near_templates(relations)
    asked = {
        code: replace(relations[code], ask=tuple(t for t in relations[code].ask if t not in found))
        for code, found in near.items()
    }
    chosen = [fact for fact in facts if fact.relation in asked]
    without: dict[str, float] = {}
    if chosen:
        other = score_facts(model, tokenizer=tokenizer, facts=chosen, relations=asked)
        without = {row.relation: row.accuracy for row in other.relations}
    whole: dict[str, float] = {row["relation"]: row["accuracy"] for row in scores["relations"]}
    return {
        "templates": near,
        "accuracy": {code: whole[code] for code in without},
        "accuracy_without": without,
        "macro_without": sum((whole | without).values()) / len(whole),
    }


def _card(run: MiniBertRun) -> dict[str, Any]:
    """Return what is known before the model is asked anything."""
    preset, summary = PRESETS[run.preset], run.summary
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
        "sources": [{"what": what, "licence": licence} for what, licence in _SOURCES],
        "num_natural_sentences": run.num_natural,
        "num_written_sentences": run.num_written,
        "num_ask_templates": sum(len(relation.ask) for relation in relations),
        "num_tell_templates": sum(len(relation.tell) for relation in relations),
        "num_prompts_met": run.num_prompts_met,
        "licence": _LICENCE,
        "preset": run.preset,
        "seed": run.seed,
        "num_steps": summary.num_steps,
        "num_tokens": summary.num_tokens,
        "num_epochs": round(run.num_epochs, 1),
        "seconds": round(summary.seconds),
        "tokens_per_second": round(summary.num_tokens / summary.seconds),
        "hardware": run.hardware,
        "versions": installed_versions(),
    }


def readme_of(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown, with the scores of every relation.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    lines = [f"# {card['name']}", ""]
    lines += [
        f"A masked language model of {card['num_layers']} layers ({card['architecture']}; width "
        f"{card['d_model']}, {card['num_heads']} heads, {card['d_ff']} neurons a layer, "
        f"{card['vocab_size']:,} word pieces): {card['num_parameters']:,} parameters in "
        f"{card['dtype']}, {card['num_bytes']:,} bytes.",
        "",
        f"sha256 of model.safetensors: `{card['sha256']}`",
        "",
        f"Licence of the weights: {card['licence']}",
        "",
        "## Trained on",
        "",
        card["corpus"],
        "",
        *(f"- {source['what']}: {source['licence']}" for source in card["sources"]),
        "",
        f"{card['num_natural_sentences']:,} sentences are Wikipedia's, "
        f"{card['num_written_sentences']:,} written with {card['num_tell_templates']} templates.",
        "",
        *_making(card),
        "",
        *_scoring(card),
        "",
        "## Examples",
        "",
    ]
    for row in card["examples"]:
        answers = ", ".join(f"{word} {prob:.3f}" for word, prob in row["answers"])
        lines.append(f"- {row['prompt']} {answers}")
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in card["limits"])]
    if card["notes"]:
        lines += ["", "## About this run", "", *(f"- {note}" for note in card["notes"])]
    return "\n".join(lines) + "\n"


def _making(card: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    return [
        "## Made by",
        "",
        f"    {card['command']}",
        "",
        "DIR holds facts/facts.parquet and facts/trex_sentences.parquet. Equal weights need the "
        "tokenizer of this folder, the versions below and the same kind of processor: the trainer "
        "of the `tokenizers` library breaks ties differently from run to run (two runs on the "
        "same text differed by two pieces).",
        "",
        f"- seed {card['seed']}, preset {card['preset']}",
        f"- {card['num_steps']:,} steps, {card['num_tokens']:,} tokens without padding, "
        f"{card['num_epochs']} passes over the sentences",
        f"- {card['seconds']:,} s in the steps, {card['tokens_per_second']:,} tokens/s",
        f"- {card['hardware']}",
        f"- {versions}",
        "",
        "![loss and facts known over the steps](curves.png)",
        "",
        "The numbers behind the curves are in log.jsonl.",
    ]


def _scoring(card: Mapping[str, Any]) -> list[str]:
    scores, near = card["scores"], card["near_prompts"]
    num_prompts, num_asked = scores["all"]["num_prompts"], card["num_ask_templates"]
    lines = [
        "## Scores",
        "",
        f"{scores['all']['num_facts']:,} facts of {scores['all']['num_relations']} relations, "
        f"asked with {num_asked} templates ({num_prompts:,} prompts): top-1 over the whole "
        "vocabulary. Majority is the most frequent answer of the same facts, chance one token of "
        "the vocabulary. Facts whose answer stands in the subject are left out. `written`: met in "
        "our sentences and in Wikipedia's; `natural`: in Wikipedia's alone.",
        "",
        "| facts | number | relations | macro | majority | micro | majority | chance | >0.99 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part, s in scores.items():
        numbers = ("macro", "majority_macro", "micro", "majority_micro")
        cells = " | ".join(f"{s[name]:.3f}" for name in numbers)
        lines.append(
            f"| {part} | {s['num_facts']} | {s['num_relations']} | {cells} | {s['chance']:.4f} "
            f"| {s['saturated']:.2f} |"
        )
    lines += ["", "The last column is the share of right answers with a probability above 0.99."]
    lines += ["", *_relation_table(scores), ""]
    rows = scores["natural"]["relations"]
    below = [row["relation"] for row in rows if row["accuracy"] <= row["majority"]]
    lines.append(
        f"Natural facts are not better than their majority answer in {len(below)} of {len(rows)} "
        f"relations{': ' + ', '.join(below) if below else ''}."
    )
    if near["templates"]:
        told = "; ".join(
            f"{code} " + ", ".join(f'"{template}"' for template in found)
            for code, found in near["templates"].items()
        )
        changed = ", ".join(
            f"{code} {near['accuracy'][code]:.3f} to {value:.3f}"
            for code, value in sorted(near["accuracy_without"].items())
        )
        lines += [
            "",
            f"Evaluation templates that stand inside a longer training template: {told}. "
            f"Without them: {changed}; macro of all facts {near['macro_without']:.3f}.",
        ]
    lines += [
        "",
        f"Of the {num_prompts:,} prompts with their answers, {card['num_prompts_met']} stand word "
        "for word in a Wikipedia sentence of the training text.",
    ]
    return lines


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
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [step for step, _ in losses]
    raw = [loss for _, loss in losses]
    left.plot(steps, raw, color="tab:gray", alpha=0.3, linewidth=1, label="one step")
    mean = running_mean(raw, width=_SMOOTHED)
    left.plot(steps, mean, color="black", label=f"mean of {_SMOOTHED} logged steps")
    left.set(xlabel="step", ylabel="loss (nats per masked token)", ylim=(0, None))
    left.legend(frameon=False)
    for part, colour in (("written", "tab:blue"), ("natural", "tab:orange")):
        asked = [step for step, _ in scores]
        known = [score[f"{part}_macro"] for _, score in scores]
        right.plot(asked, known, color=colour, marker=".", label=f"{part} facts")
        if scores:
            majority = scores[-1][1][f"{part}_majority_macro"]
            right.axhline(majority, color=colour, linestyle=":", label=f"{part}: majority answer")
    right.set(
        xlabel="step", ylabel="macro accuracy, a sample of each", ylim=(0, 1.02), xlim=(0, None)
    )
    handles = right.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", ncols=4, frameon=False, fontsize="small")
    figure.savefig(out, dpi=110, metadata={"Software": None})


def running_mean(values: Sequence[float], *, width: int) -> list[float]:
    """Return the mean of `width` values around each; fewer at the two ends.

    Source: this project.

    >>> running_mean([0.0, 3.0, 6.0, 9.0], width=3)
    [1.5, 3.0, 6.0, 7.5]
    """
    before, after = width // 2, width - width // 2
    windows = [values[max(0, i - before) : i + after] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]
