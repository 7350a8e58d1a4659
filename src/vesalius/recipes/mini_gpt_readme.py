"""The card of a causal model as Markdown, and the curves of its training."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vesalius.recipes.zoo_card import running_mean

_SMOOTHED: Final = 5  # logged steps in one mean of the drawn loss
_CURVES: Final = {"sst2": "tab:blue", "amazon": "tab:orange", "agnews": "tab:green"}


def readme_lines(card: Mapping[str, Any]) -> list[str]:
    """Return the card as the lines of a Markdown file.

    Source: Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    lines = [
        f"# {card['name']}",
        "",
        f"A causal language model of {card['num_layers']} layers ({card['architecture']}; width "
        f"{card['d_model']}, {card['num_heads']} heads, {card['d_ff']} neurons a layer, "
        f"{card['vocab_size']:,} byte-level pieces): {card['num_parameters']:,} parameters in "
        f"{card['dtype']}, {card['num_bytes']:,} bytes.",
        "",
        f"sha256 of model.safetensors: `{card['sha256']}`",
        "",
        f"Licence of the weights: {card['licence']}",
        "",
        *_reading(card),
        *_making(card),
        *_scoring(card),
        "## Examples",
        "",
        "The most probable token, again and again:",
        "",
    ]
    for row in card["examples"]:
        lines += [f"    {line}" for line in f"{row['prompt']} |{row['continuation']}".split("\n")]
        lines.append("")
    lines += ["## Limits", "", *(f"- {limit}" for limit in card["limits"])]
    if card["notes"]:
        lines += ["", "## About this run", "", *(f"- {note}" for note in card["notes"])]
    return lines


def _reading(card: Mapping[str, Any]) -> list[str]:
    first, second = card["contexts"]
    tokens = card["corpus_tokens"]
    sets = [
        f"| {row['name']} | {row['what']} | {', '.join(row['splits'])} | {row['num_prompts']:,} "
        f"| {row['licence']} |"
        for row in card["prompt_sets"]
    ]
    return [
        "## Trained on",
        "",
        card["corpus"],
        "",
        *(f"- {source['what']}: {source['licence']}" for source in card["sources"]),
        "",
        f"Phase one, {card['first_steps']:,} steps: {card['num_passages']['first']:,} passages, "
        f"rows of {first} tokens ({tokens['first']:,} tokens in one pass). Phase two, the other "
        f"steps: {card['num_passages']['second']:,} other passages and the prompts below, rows of "
        f"{second} tokens ({tokens['second']:,} tokens, {tokens['prompts']:,} of them in prompts). "
        f"{card['held_out_share']:.0%} of the passages are held out by their hash; other passages "
        "of the same article or book are not.",
        "",
        "A prompt is at times an instruction, then 1 to 9 rows of a set with their answers, in one "
        "of several templates, with one of several sets of label words (in 15 % of the prompts "
        "words without meaning), of all classes or some, balanced or not. In three quarters of the "
        "prompts only answers are learned. The loss of an answer counts "
        f"{card['answer_weight']:.0f} times.",
        "",
        "| set | what | splits | prompts | licence as stated |",
        "|---|---|---|---|---|",
        *sets,
        "",
        f"Never seen, in no split: {', '.join(card['never_seen'])}; nor any other set. SST-2 and "
        "SST-5 are made from MR (movie review snippets), so MR counts as seen. 1 % of the rows of "
        "each set is held out by hash. Test and dev splits were not trained on.",
        "",
    ]


def _making(card: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    return [
        "## Made by",
        "",
        f"    {card['command']}",
        "",
        "DIR holds facts/, text/, cls/ and nli/ with the files named above. Equal weights need the "
        "tokenizer of mini-gpt, the versions below and the same kind of processor. The three sizes "
        "read the same tokens in the same order.",
        "",
        f"- seed {card['seed']}; {card['optimizer']}",
        f"- {card['num_steps']:,} steps, {card['num_tokens']:,} tokens",
        f"- {card['seconds']:,} s in the steps, {card['tokens_per_second']:,} tokens/s",
        f"- {card['hardware']}",
        f"- {versions}",
        "",
        "![loss and accuracy over the steps](curves.png)",
        "",
        "The numbers behind the curves are in log.jsonl.",
        "",
    ]


def _scoring(card: Mapping[str, Any]) -> list[str]:
    held_out = card["held_out"]
    lines = [
        "## Scores",
        "",
        f"Held-out text, {held_out['num_passages']:,} passages, {held_out['num_tokens']:,} tokens: "
        f"{held_out['nats_per_token']:.3f} nats per token (perplexity "
        f"{math.exp(held_out['nats_per_token']):.1f}), {held_out['bits_per_byte']:.3f} bits per "
        "byte.",
        "",
        "Accuracy with k demonstrations, drawn at random from the split in brackets and the same "
        "for all rows: median over the seeds (each has other demonstrations and another template), "
        "in brackets the least and the best. The label word with the highest probability is the "
        "answer; nothing is calibrated. Prompts are cut to 256 tokens, so with many demonstrations "
        "long texts are shortened. Majority is the most frequent class of the rows asked.",
        "",
        "| set | trained on | rows | k | accuracy | majority | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in card["few_shot"]:
        lines.append(
            f"| {row['task']} {row['split']} ({row['demonstrations_from']}) "
            f"| {'its train split' if row['seen'] else 'never'} | {row['num_rows']} "
            f"| {row['num_demonstrations']} | {row['median']:.3f} ({row['low']:.3f} to "
            f"{row['high']:.3f}) | {row['majority']:.3f} | {row['chance']:.3f} |"
        )
    below = [
        f"{row['task']} (k = {row['num_demonstrations']})"
        for row in card["few_shot"]
        if row["median"] <= row["majority"]
    ]
    if below:
        lines += ["", f"Not better than the majority class: {', '.join(below)}."]
    return [*lines, ""]


def draw_curves(log: Path, *, out: Path) -> None:
    """Draw loss, held-out loss and few-shot accuracies over the steps from a log.jsonl.

    Source: this project.
    """
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = [(line["step"], line["loss_nats"]) for line in lines if "loss_nats" in line]
    scores = [(line["step"], line["evaluation"]) for line in lines if "evaluation" in line]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, raw = [step for step, _ in losses], [loss for _, loss in losses]
    left.plot(steps, raw, color="tab:gray", alpha=0.3, linewidth=1, label="one step")
    mean = running_mean(raw, width=_SMOOTHED)
    left.plot(steps, mean, color="black", label=f"mean of {_SMOOTHED} logged steps")
    asked = [step for step, _ in scores]
    held_out = [score["nats_per_token"] for _, score in scores]
    left.plot(asked, held_out, color="tab:red", marker=".", label="held-out text")
    left.set(xlabel="step", ylabel="loss (nats per token; in steps answers count more)")
    left.legend(frameon=False)
    for task, colour in _CURVES.items():
        found = [score[f"{task}_accuracy"] for _, score in scores]
        right.plot(asked, found, color=colour, marker=".", label=f"{task}, 4 demonstrations")
        if scores:
            majority = scores[-1][1][f"{task}_majority"]
            right.axhline(majority, color=colour, linestyle=":", label=f"{task}: majority")
    right.set(xlabel="step", ylabel="accuracy, a sample", ylim=(0, 1.02), xlim=(0, None))
    handles = right.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", ncols=3, frameon=False, fontsize="small")
    figure.savefig(out, dpi=110, metadata={"Software": None})
