"""README.md of the stored numbers: set-up, claims, differences and noise, tables, pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from arms import ARMS, CONTROLS, PLAIN, TOLD
from claims import NO, OPEN, YES, claims
from counted import (
    MEASURES,
    SCORES,
    Measure,
    Results,
    by_seed,
    difference,
    read,
    spread,
    told_difference,
    values,
)
from pictures import draw
from tasks import TASKS

from vesalius.core.paths import write_file

HERE = Path(__file__).parent
LETTERS = {
    "a": "the generator's draws are right ever more often, and the remedies lower that",
    "b": "hardness prediction lowers the variance of the discriminator's loss, and moves no mean",
    "c": "the discriminator tells corrupted text better",
    "d": "it is better to fine-tune",
}
DOTS = (
    "A dot is a seed, a black line the mean; dashed are the means of the controls, dotted (below, "
    "under fine-tuning) is the commonest class."
)
PICTURES = {
    "curves": "correct samples, entropy and cross entropy of the generator against the step",
    "estimate": "correct samples and variances, a dot for each seed",
    "variance": "ratios of variance by seed",
    "corruptions": "loss and AUC on corrupted text, a dot for each seed",
    "tasks": "scores after fine-tuning, a dot for each seed",
}


def write_page(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write the page and its pictures; every number in them is one of results/."""
    results = read(folder)
    drawn = draw(results, folder) if pictures else []
    judged = claims(results)
    parts = [
        (HERE / "intro.md").read_text("utf-8").rstrip(),
        "## The runs", _runs(results),
        "## Do the claims hold?", _summary(judged), _judged(judged),
        (HERE / "notes.md").read_text("utf-8").strip(),
        "## Which differences are larger than the noise of the seeds", _differences(results),
        "## The trainings", *_shown(folder, "curves"), _trainings(results),
        "## Every measure", _measures(results, [m for m in MEASURES if m not in SCORES]),
        DOTS, *_shown(folder, "estimate", "corruptions"),
        "## Variance by enumeration", _variances(results), *_shown(folder, "variance"),
        *_known(results),
        "## Fine-tuning", _tasks(results), _measures(results, SCORES), *_shown(folder, "tasks"),
    ]  # fmt: skip
    text = "\n\n".join(part for part in parts if part) + "\n"
    return [write_file(folder / "README.md", text.encode(), force=True), *drawn]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(folder: Path, *names: str) -> list[str]:
    """The pictures of these names that there are."""
    return [
        f"![{PICTURES[name]}](figures/{name}.png)"
        for name in names
        if (folder / "figures" / f"{name}.png").is_file()
    ]


def _runs(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for arm in ARMS:
        found = by_seed(results, arm, "log")
        if not found:
            rows.append((TOLD[arm], "not run", "", "", ""))
            continue
        each = list(found.values())
        role = "control" if arm in CONTROLS else ""
        seeds = ", ".join(map(str, found))
        steps = spread([one["num_steps"] for one in each][:1], 0)
        rows.append((TOLD[arm], role, seeds, steps, f"{each[0]['tokens'] / 1e6:.1f} M"))
    return table(("arm", "", "seeds", "steps", "tokens read"), rows)


def _summary(judged: Sequence[tuple[str, ...]]) -> str:
    rows: list[tuple[str, ...]] = []
    for letter, words in LETTERS.items():
        verdicts = [claim[3] for claim in judged if claim[0] == letter]
        counts = [str(verdicts.count(word)) for word in (YES, OPEN, NO)]
        rows.append((f"({letter})", words, *counts))
    return table(("", "claim", "yes", "open", "no"), rows)


def _judged(judged: Sequence[tuple[str, ...]]) -> str:
    words = (
        "Gains (*less*, *more*): *yes* when better than **both** controls by more than two "
        "standard errors of the paired differences over seeds, *no* when worse than one of them "
        "by as much. "
        "Of five differences that are nothing but noise about one in nine is larger than two "
        "standard errors, half of these on the good side; of three, about one in six. Thresholds "
        "are ours. Numbers: mean of the arm; mean difference ± two standard errors, bold where it "
        "is larger than those. Ranges are over seeds."
    )
    rows = [(f"({claim[0]})", *claim[1:]) for claim in judged]
    head = ("", "what would have to hold", "arm", "holds", "numbers")
    return f"{words}\n\n{table(head, rows)}" if rows else "Not measured."


def _differences(results: Results) -> str:
    """Every measure of every arm against both controls."""
    pairs = [
        (arm, control)
        for arm in ARMS
        for control in CONTROLS
        if arm != control and not (arm in CONTROLS and control != PLAIN)
    ]
    pairs = [pair for pair in pairs if any(difference(results, *pair, each) for each in MEASURES)]
    rows: list[tuple[str, ...]] = []
    for measure in MEASURES:
        found = [difference(results, *pair, measure) for pair in pairs]
        if not any(found):
            continue
        better = "less" if measure.less else "more"
        cells = [told_difference(each, measure.digits) if each else "" for each in found]
        plain = list(values(results, PLAIN, measure).values())
        noise = f"{np.std(plain, ddof=1):.{measure.digits}f}" if len(plain) > 1 else ""
        rows.append((measure.told, better, noise, *cells))
    if not rows:
        return "Not measured."
    head = ("measure", "better", "SD of plain over seeds")
    head += tuple(f"{TOLD[arm]} − {TOLD[control]}" for arm, control in pairs)
    words = (
        "Paired differences over the seeds that both arms have, ± two standard errors. **Bold**: "
        "larger than two standard errors (three seeds or more). All others are not told apart from "
        "the noise of the seeds."
    )
    return f"{words}\n\n{table(head, rows)}"


def _trainings(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    names = (
        ("correct_samples", 100, 1), ("generator_prob_original", 100, 1),
        ("generator_accuracy", 100, 1), ("generator_nats", 1, 3), ("generator_entropy_nats", 1, 3),
        ("discriminator_nats_masked", 1, 3), ("discriminator_nats_unmasked", 1, 4),
        ("mean_weight", 1, 3), ("max_weight", 1, 1), ("hardness_correlation", 1, 2),
    )  # fmt: skip
    for arm in ARMS:
        lasts = [each["last"] for each in by_seed(results, arm, "log").values()]
        if lasts:
            cells = [
                spread([scale * last[name] for last in lasts], digits) if name in lasts[0] else ""
                for name, scale, digits in names
            ]
            rows.append((TOLD[arm], *cells))
    if not rows:
        return "Not measured."
    head = ("arm", "correct samples, %", "generator's probability of the original, %",
            "first choice right, %", "its cross entropy, nats", "its entropy, nats",
            "discriminator, nats at slots", "elsewhere", "mean weight", "largest weight",
            "correlation of predicted and true hardness")  # fmt: skip
    words = "Means over the last tenth of the steps, and their range over seeds."
    return f"{words}\n\n{table(head, rows)}"


def _measures(results: Results, measures: Sequence[Measure]) -> str:
    """Mean and range of measures, an arm in a row."""
    known = [each for each in measures if any(values(results, arm, each) for arm in results)]
    if not known:
        return "Not measured."
    rows: list[tuple[str, ...]] = []
    for arm in results:
        found = [list(values(results, arm, each).values()) for each in known]
        if any(found):
            cells = [
                spread(each, measure.digits) if each else ""
                for each, measure in zip(found, known, strict=True)
            ]
            rows.append((TOLD.get(arm, "never pretrained"), *cells))
    return table(("arm", *(each.told for each in known)), rows)


def _variances(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for arm in ARMS:
        seeds = list(by_seed(results, arm, "variance").values())
        if not seeds:
            continue
        cells = [
            spread([each["ratios"][quantity][key] for each in seeds], 3)
            if seeds[0]["ratios"] else "1"
            for quantity in ("loss", "logit gradient")
            for key in ("median", "mean", "total")
        ]  # fmt: skip
        drawn = [
            spread([each["loss"][which] for each in seeds], 3) for which in ("generator", "own")
        ]
        right = [spread([100 * each["prob_original"][1] for each in seeds], 1)]
        share = [spread([each["effective_share"] for each in seeds], 2)]
        bias = [f"{max(each['bias'] for each in seeds):.0e}" if seeds[0]["ratios"] else ""]
        rows.append((TOLD[arm], *drawn, *cells, *right, *share, *bias))
    if not rows:
        return "Not measured."
    slots = next(iter(by_seed(results, PLAIN, "variance").values()), {"slots": 0})["slots"]
    head = ("arm", "loss, generator's draws, nats²", "own draws, nats²", "ratio: median", "mean",
            "of the sums", "logit gradient: median", "mean", "of the sums",
            "chance of the original, %", "1 / E[w²]", "largest bias")  # fmt: skip
    words = (
        f"At {slots} held-out slots, the same for all arms and others for each seed, all 65 tokens "
        "were put in turn; the other slots hold one draw. *Generator's draws* are those at the "
        "arm's own temperature. Ratios: the arm's sampler with its weights over its generator's "
        "draws, at the same pair; a ratio below 1 is what hardness prediction is for. Mean, and "
        "range over seeds."
    )
    return f"{words}\n\n{table(head, rows)}"


def _known(results: Results) -> list[str]:
    rows: list[tuple[str, ...]] = []
    ways = {"learned": "learned", "mean": "q × mean", "root mean square": "q × root mean square"}
    for arm in ARMS:
        seeds = list(by_seed(results, arm, "knowing").values())
        for way, told in ways.items() if seeds else ():
            if way == "learned" and arm == PLAIN:
                continue
            cells = [
                spread([each[way][key] for each in seeds], 2)
                for key in ("all", "right", "wrong", "median")
            ]
            rows.append((TOLD[arm], told, *cells))
    if not rows:
        return []
    head = ("arm", "sampler", "ratio of the sums", "first choice right", "first choice wrong",
            "median")  # fmt: skip
    words = (
        "Not a claim, and looked at afterwards: variance of the loss over that of the generator's "
        "draws, at 256 held-out slots spread evenly, over all and by whether the generator's "
        "likeliest token is the original. *q × mean* and *q × root mean square* take the hardness "
        "of a token from a table of 15 bins of q, made of the same slots."
    )
    return ["### What a sampler can know", words, table(head, rows)]


def _tasks(results: Results) -> str:
    """What the tasks are, with the commonest class."""
    lines: list[str] = []
    for task in TASKS:
        known = [each for arm in results for each in by_seed(results, arm, task.name).values()]
        if known:
            one = known[0]
            sizes = f"{one['rows']['train']} rows to train on, {one['rows']['test']} judged"
            common = f"commonest class {100 * one['majority']:.1f} %"
            lines.append(
                f"- {task.told}: {task.splits}; {sizes}, {common}; {one['num_steps']} steps of 32 "
                f"rows of at most {task.max_length} characters"
            )
    if not lines:
        return ""
    return "\n".join(lines)
