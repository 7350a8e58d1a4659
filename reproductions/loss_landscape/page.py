"""README.md of the stored numbers: tasks, claims, tables of every measure, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from claims import NO, OPEN, YES, claims
from counted import (
    FAR_TAU,
    REACHED,
    TAU,
    Result,
    Results,
    agreements,
    areas,
    array,
    at,
    enters,
    flatness,
    groups,
    hills,
    mapped,
    norms,
    on_path,
    per_seed,
    read,
    rises,
    spread,
    steps_to,
    widths,
)
from pictures import draw, long_runs
from tasks import TASKS, TRAININGS, task_of, training_of

from vesalius.core.paths import write_file

HERE = Path(__file__).parent
LETTERS = {
    "a": "pretraining gives wider optima and easier optimisation",
    "b": "long fine-tuning does not overfit as training from scratch does",
    "c": "training loss and held-out error agree better over the plane when pretrained",
    "d": "low layers change least, and can be rolled back",
}
FAR = (-4, -2, 0, 1, 2, 4)
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 20)


def write_page(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write the page and its pictures; every number in them is one of results/."""
    results = read(folder)
    drawn = draw(results, folder) if pictures else []
    judged = claims(results)
    parts = [
        (HERE / "intro.md").read_text("utf-8").rstrip(),
        "## The tasks", _tasks(results),
        "## Do the claims hold?", _summary(judged), _judged(judged),
        (HERE / "notes.md").read_text("utf-8").strip(),
        "## Lines from start to solution", _lines(results), *_shown(folder, "line"),
        *_wide(results, folder),
        "## Trainings", _trainings(results),
        "## 20 epochs of TREC", _long(results), *_shown(folder, "long"),
        "## Planes of two solutions", _planes(results), *_shown(folder, "plane"),
        "## Roll-back", *_rollback(results), *_shown(folder, "rollback"),
        "## Flatness", _flatness(results),
        "## Between solutions", _barriers(results),
    ]  # fmt: skip
    text = "\n\n".join(part for part in parts if part) + "\n"
    return [write_file(folder / "README.md", text.encode(), force=True), *drawn]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(folder: Path, kind: str) -> list[str]:
    """The pictures of a kind that there are, in the tasks' order."""
    order = [f"{task.name}-{kind}" for task in TASKS]
    names = [name for name in order if (folder / "figures" / f"{name}.png").is_file()]
    return [f"![{_told_of(name)}](figures/{name}.png)" for name in names]


def _told_of(name: str) -> str:
    task, kind = name.split("-")
    return f"{task_of(task).told}, {kind}"


def _name(name: str) -> tuple[str, str]:
    training = training_of(name)
    start = "from scratch" if training.start == "scratch" else training.start
    suffix = f", {training.epochs:g} epochs" if training.is_long else ""
    return task_of(training.task).told, start + suffix


def _tasks(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for training in TRAININGS:
        found = results.get(training.name)
        name, start = _name(training.name)
        told = (name, start.split(",")[0], f"{training.epochs:g}")
        if found is None:
            rows.append((*told, "", "", "", "", "not measured"))
            continue
        right = [100 * value for value in found["accuracy"]]
        rows.append((
            *told, f"{found['num_steps']}", found["judged"], spread(right, 1),
            f"{100 * found['majority']:.1f}", "yes" if enters(found) else "**dropped**",
        ))  # fmt: skip
    head = ("task", "start", "epochs", "steps", "judged on", "accuracy %, mean (range)",
            "commonest %", "enters")  # fmt: skip
    what = "\n".join(f"- {task.told}: {task.splits}{_sizes(results, task.name)}" for task in TASKS)
    return f"{table(head, rows)}\n\n{what}"


def _sizes(results: Results, task: str) -> str:
    found = results.get(f"{task}-pretrained")
    if found is None:
        return ""
    return " (" + ", ".join(f"{name} {size}" for name, size in found["rows"].items()) + ")"


def _summary(judged: Sequence[tuple[str, ...]]) -> str:
    rows: list[tuple[str, ...]] = []
    for letter, words in LETTERS.items():
        verdicts = [claim[3] for claim in judged if claim[0] == letter]
        counts = [str(verdicts.count(word)) for word in (YES, OPEN, NO)]
        rows.append((f"({letter})", words, *counts))
    return table(("", "claim", "yes", "open", "no"), rows)


def _judged(judged: Sequence[tuple[str, ...]]) -> str:
    words = (
        "*yes* and *no* between two starts: every seed of one stands on that side of every seed of "
        "the other, which chance gives once in twenty. Numbers: mean (range) over three seeds, "
        "pretrained against from scratch."
    )
    rows = [(f"({c[0]})", *c[1:]) for c in judged]
    return f"{words}\n\n{table(('', 'what would have to hold', 'task', 'holds', 'numbers'), rows)}"


def _lines(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for name in mapped(results):
        found = results[name]
        seeds = per_seed(found, "line")
        if not seeds:
            continue
        near, far = widths(found, TAU), widths(found, FAR_TAU)
        lengths = norms(found)
        euclid = [width.width * norm for width, norm in zip(near, lengths, strict=True)]
        rows.append((
            *_name(name), spread(lengths, 1),
            spread([at(each, 0.0) for each in seeds]), spread([at(each, 1.0) for each in seeds]),
            _least(near), spread(euclid, 1), _least(far), spread(rises(found), 3),
            spread(hills(found), 3),
            spread([100 * at(each, 1.0, "held_out", "error") for each in seeds], 1),
        ))  # fmt: skip
    head = ("task", "start", "length of the way", "loss at its start", "at the solution",
            f"width, {TAU} nats", "the same, Euclidean", f"width, {FAR_TAU} nats",
            "largest climb, nats", "height over the chord", "held-out error %")  # fmt: skip
    words = (
        "Training loss from the start (0) to the solution (1) and beyond, 31 points from -1 to 2; "
        "the head is the solution's all along. Widths in lengths of the way; with ≥ where the line "
        "ended first. The climb is between start and solution. Bands in the pictures: two standard "
        "errors over seeds."
    )
    return f"{words}\n\n{table(head, rows)}"


def _least(found: Sequence[object]) -> str:
    """Widths of all seeds; a sign where one of them is only a lower bound."""
    shown = spread([width.width for width in found])  # pyright: ignore[reportAttributeAccessIssue]
    is_open = any(w.open_low or w.open_high for w in found)  # pyright: ignore
    return f"≥ {shown}" if is_open else shown


def _wide(results: Results, folder: Path) -> list[str]:
    """The paper's range, where it was measured."""
    pictures = _shown(folder, "wide")
    rows = [
        (*_name(name), *(f"{at(seeds[0], float(alpha)):.2f}" for alpha in FAR))
        for name in mapped(results)
        if (seeds := per_seed(results[name], "wide"))
    ]  # fmt: skip
    if not rows:
        return []
    head = ("task", "start", *(f"at {alpha}" for alpha in FAR))
    words = "Training loss on the paper's range, -4 to 4, first seed."
    return ["### Further out", f"{words}\n\n{table(head, rows)}", *pictures]


def _trainings(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for name in mapped(results):
        found = results[name]
        seeds, steps = per_seed(found, "path"), steps_to(found)
        shares = [100 * step / found["num_steps"] for step in steps]
        cells = ["-"] * 4
        if seeds:
            cells = [
                spread([each["values"]["train"]["loss"][-1] for each in seeds]),
                spread([each["values"]["held_out"]["loss"][-1] for each in seeds]),
                spread([max(each["lengths"]) for each in seeds]),
                spread([100 * _middle_off(each) for each in seeds], 0),
            ]
        epochs = f"{training_of(name).epochs:g}"
        rows.append((*_name(name), epochs, spread(steps, 0), spread(shares, 0), *cells))
    head = ("task", "start", "epochs", f"steps to {REACHED} nats", "share of the training %",
            "train loss at the end", "dev loss", "longest way from the start",
            "half-way snapshot, off the line %")  # fmt: skip
    words = (
        "Steps until the mean loss of 50 training batches is as low. Ways in lengths from start to "
        "solution; the share of the way that leads off the line through both is that of the "
        "snapshot half-way through the training."
    )
    return f"{words}\n\n{table(head, rows)}"


def _middle_off(each: Result) -> float:
    return each["off_line"][len(each["off_line"]) // 2]


def _long(results: Results) -> str:
    found = long_runs(results)
    rows: list[tuple[str, ...]] = []
    for told, each in found.items():
        steps = array(per_seed(each, "path")[0]["steps"])
        places = [int(np.abs(steps - e * steps[-1] / 20).argmin()) for e in EPOCHS]
        for words, split, measure in (
            ("train loss", "train", "loss"),
            ("dev loss", "held_out", "loss"),
            ("dev accuracy %", "held_out", "error"),
        ):
            values = on_path(each, split, measure).mean(axis=0)
            values = 100 * (1 - values) if measure == "error" else values
            digits = 1 if measure == "error" else 2
            rows.append((told, words, *(f"{values[place]:.{digits}f}" for place in places)))
    if not rows:
        return "Not measured."
    words = "Mean over seeds after so many epochs, both on the same schedule of the learning rate."
    return f"{words}\n\n{table(('start', '', *map(str, EPOCHS)), rows)}"


def _planes(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for name in mapped(results):
        found = results[name]
        seeds = per_seed(found, "surface")
        if not seeds:
            continue
        errors, losses, region = agreements(found), agreements(found, "loss"), areas(found)
        area = spread([each.area for each in region])
        half = [100 * _half(each) for each in seeds]
        rows.append((
            *_name(name), f"{_name(seeds[0]['other'])[0]}",
            f"{seeds[0]['examples']['train']} + {seeds[0]['examples']['held_out']}",
            spread([each["cosine"] for each in seeds]),
            f"≥ {area}" if any(each.open for each in region) else area,
            spread([a.spearman for a in errors], 3), spread([a.spearman for a in losses], 3),
            spread([a.argmin_distance for a in errors]), spread([a.overlap for a in errors]),
            spread(half, 0),
        ))  # fmt: skip
    head = ("task", "start", "second axis", "examples", "cosine of the axes",
            f"area, {TAU} nats", "rank correlation, held-out error", "held-out loss",
            "distance of the lowest points", "overlap",
            "half-way snapshot, off the plane %")  # fmt: skip
    words = (
        "13 x 13 points from -1 to 2 along both axes: towards the solution, and towards the "
        "solution of another task from the same start (equal bits in all that moves, which was "
        "checked, also from scratch). The training loss against held-out measures. Pictures: first "
        "seed, dots are the snapshots' own values."
    )
    return f"{words}\n\n{table(head, rows)}"


def _half(each: Result) -> float:
    off = each["path"]["off_plane"]
    return off[len(off) // 2]


def _rollback(results: Results) -> list[str]:
    told: list[str] = []
    accuracy: list[tuple[str, ...]] = []
    change: list[tuple[str, ...]] = []
    head: tuple[str, ...] = ()
    for name in mapped(results):
        seeds = per_seed(results[name], "rollback")
        if not seeds:
            continue
        points, moved = groups(results[name], "change"), groups(results[name], "moved")
        head = tuple(_layers(row) for row in seeds[0]["rows"])
        whole = spread([100 * each["accuracy"] for each in seeds], 1)
        chance = f"{100 * seeds[0]['majority']:.1f}"
        cells = [spread([100 * v for v in values], 1, sign=True) for values in points.values()]
        accuracy.append((*_name(name), whole, chance, *cells))
        shares = [spread([100 * v for v in values], 1) for values in moved.values()]
        change.append((*_name(name), *shares))
    if accuracy:
        words = "Points of dev accuracy when a group gets the start's weights back; the head stays."
        top = ("task", "start", "fine-tuned %", "commonest %", *head)
        told.append(f"{words}\n\n{table(top, accuracy)}")
        words = "How far training moved the group, % of the length of its start."
        told.append(f"{words}\n\n{table(('task', 'start', *head), change)}")
    return told


def _layers(row: Mapping[str, object]) -> str:
    """Name a group with its layers."""
    layers, group = row["layers"], str(row["group"])
    if group in ("low", "middle", "high") and isinstance(layers, list):
        return f"{group} ({', '.join(map(str, layers))})"
    return group


def _flatness(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    keys = ("average", "worst", "gradient", "eigenvalue", "trace")
    for name in mapped(results):
        found = results[name]
        seeds = per_seed(found, "flatness")
        for geometry in ("raw", "normalised") if seeds else ():
            cells = [spread(flatness(found, geometry, key), None) for key in keys]
            rows.append((*_name(name), geometry, f"{seeds[0]['examples']}", *cells))
    if not rows:
        return "Not measured."
    head = ("task", "start", "geometry", "examples", "average rise, nats", "worst rise, nats",
            "gradient", "largest eigenvalue", "trace")  # fmt: skip
    words = (
        "Training loss around the solution: mean rise over Gaussian shifts (0.05 of the weights' "
        "root mean square, or of each weight), rise after one step uphill (of length 0.05; 0.5 in "
        "units of the weights), largest eigenvalue and trace of the Hessian."
    )
    return f"{words}\n\n{table(head, rows)}"


def _barriers(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for step, words in (("barrier", "seed 0 to seed 1"), ("basin", "4 epochs to 20 epochs")):
        for name in mapped(results):
            seeds = per_seed(results[name], step)
            if not seeds:
                continue
            heights = [
                spread([scale * each["heights"][key][0] for each in seeds], digits)
                for key, scale, digits in (
                    ("train loss", 1, 2), ("held_out loss", 1, 2), ("held_out error", 100, 1),
                )
            ]  # fmt: skip
            distance = spread([each["distance"] for each in seeds], 1)
            rows.append((*_name(name), words, distance, *heights))
    if not rows:
        return "Not measured."
    head = ("task", "start", "way", "its length", "barrier: train loss, nats", "held-out loss",
            "held-out error, points")  # fmt: skip
    words = (
        "The straight way between two solutions, heads moving too: how far it rises above the line "
        "between their values. From scratch two seeds begin at different random weights."
    )
    return f"{words}\n\n{table(head, rows)}"
