"""README.md of the stored numbers: tasks, claims, curves, correlations, attacks, trees."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from claims import claims

from vesalius.core.paths import write_file
from vesalius.plots.share_curves import ShareCurve, share_curves
from vesalius.plots.style import figure_bytes

Result = Mapping[str, Any]
HERE = Path(__file__).parent
_NAMES = {
    "max": "attribution, zero",
    "uniform": "attribution, uniform",
    "taylor": "Taylor",
    "accuracy-difference": "accuracy difference",
    "attention": "raw attention",
    "random": "random",
}


def write_page(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write the page and its curves; every number in them is one of results.json."""
    result = json.loads((folder / "results.json").read_text("utf-8"))
    tasks = {n: t for n, t in result["tasks"].items() if t["entered"]["enters"]}
    drawn: list[Path] = []
    if pictures:
        drawn = [_draw_curve(name, task["prune"], folder) for name, task in tasks.items()]
    parts = [
        (HERE / "intro.md").read_text("utf-8").rstrip(),
        "## The tasks",
        _tasks(result["tasks"]),
        "## Do the claims hold?",
        table(("claim", "task", "holds", "numbers"), claims(tasks)),
        (HERE / "notes.md").read_text("utf-8").strip(),
        "## Pruning curves",
        *[_curve(name, task["prune"]) for name, task in tasks.items()],
        "## Heads in each text's own order",
        *[_study(name, task["study"]) for name, task in tasks.items()],
        "## Links taken out",
        _links(tasks),
        "## Triggers",
        *[_triggers(name, task["triggers"]) for name, task in tasks.items() if "triggers" in task],
        "## Do tasks rank the heads alike?",
        _correlations(result["correlations"]),
        "## Four trees",
        _trees(folder),
    ]
    page = write_file(folder / "README.md", ("\n\n".join(parts) + "\n").encode(), force=True)
    return [page, *drawn]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(found: Sequence[float]) -> str:
    """An estimate in per cent with its interval."""
    estimate, low, high = (100 * value for value in found[:3])
    return f"{estimate:.1f} ({low:.1f} to {high:.1f})"


def _tasks(tasks: Mapping[str, Result]) -> str:
    rows = [
        (
            name,
            task["told"],
            str(task["entered"]["train"]),
            str(task["entered"]["texts"]),
            percent(task["entered"]["accuracy"]),
            f"{100 * task['entered']['majority']:.1f}",
            "yes" if task["entered"]["enters"] else "**dropped**",
        )
        for name, task in tasks.items()
    ]
    head = ("task", "what its splits are", "train", "evaluated", "accuracy %", "commonest %",
            "enters")  # fmt: skip
    return table(head, rows)


def _curve(name: str, found: Result) -> str:
    curves = found["curves"]
    head = ("heads removed", *(_NAMES[order] for order in curves))
    rows = [
        (f"{share:.0%}", *(f"{100 * curve[i][0]:.1f}" for curve in curves.values()))
        for i, share in enumerate(found["shares"])
    ]
    mean = ("mean of 10 to 90 %", *(f"{100 * found['mean'][order]:.1f}" for order in curves))
    picture = f"![accuracy while heads go, {name}](figures/{name}-prune.png)"
    told = f"### {name}: {found['texts']} texts, accuracy %"
    return "\n\n".join((told, table(head, [*rows, mean]), picture))


def _draw_curve(name: str, found: Result, folder: Path) -> Path:
    shares = np.array(found["shares"])
    curves = {
        _NAMES[order]: ShareCurve(share=shares, value=np.array([each[0] for each in curve]))
        for order, curve in found["curves"].items()
    }
    axes = share_curves(
        curves,
        x_label="heads removed",
        y_label="accuracy",
        references={"commonest class": found["majority"]},
        percent=True,
        title=name,
    )
    path = folder / "figures" / f"{name}-prune.png"
    return write_file(path, figure_bytes(axes, dots_per_inch=110), force=True)


def _study(name: str, found: Result) -> str:
    curves = found["curves"]
    number = len(next(iter(curves.values())))
    head = ("order", *(f"{i} of {number - 1}" for i in range(number)))
    rows = [(order, *(f"{100 * each[0]:.1f}" for each in curve)) for order, curve in curves.items()]
    return f"### {name}: {found['texts']} texts, accuracy %\n\n{table(head, rows)}"


def _links(tasks: Mapping[str, Result]) -> str:
    head = ("task", "baseline", "links of a tree", "loss without", "highest attention", "random",
            "deletion area: attribution", "attention", "random", "shuffled copy")  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for name, task in tasks.items():
        for kind in ("zero", "uniform"):
            found = task["links"][kind]
            drop, area = found["drop"], found["area"]["deletion"]
            rows.append(
                (
                    name,
                    kind,
                    f"{found['links']:.1f}",
                    *(f"{drop[way][0]:+.3f}" for way in ("tree", "attention", "random")),
                    *(f"{area[way][0]:.3f}" for way in ("attribution", "attention", "random")),
                    f"{found['shuffled']:+.3f}",
                )
            )
    words = (
        "Loss of the predicted class's probability, mean over texts; area under the probability "
        "while links are taken out in an order (small: the order finds what matters); rank "
        "correlation of the scores with those of a copy with shuffled weights (0: they depend on "
        "what was learned)."
    )
    return f"{words}\n\n{table(head, rows)}"


def _triggers(name: str, found: Result) -> str:
    controls = [f"{name} %" for name in found["names"]]
    head = ("told as", "trigger", "others clean %", "attacked %", *controls, "hardest random %",
            "median perplexity clean", "attacked")  # fmt: skip
    rows = [
        (
            label,
            f"`{one['trigger']}`",
            percent(one["clean"]),
            percent(one["attacked"]),
            *(_or_dash(one["controls"][c]) for c in found["names"]),
            f"{100 * one['hardest random']:.1f}",
            *(f"{value:.0f}" for value in one["perplexity"]),
        )
        for label, one in found["classes"].items()
    ]
    return f"### {name}: {found['told']}\n\n{table(head, rows)}"


def _or_dash(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _correlations(found: Result) -> str:
    parts: list[str] = []
    for kind in ("zero", "uniform", "taylor"):
        rows = [
            (
                a,
                *(
                    f"{found[kind]['pearson'][i][j]:+.2f} / {found[kind]['spearman'][i][j]:+.2f}"
                    for j in range(len(found["tasks"]))
                ),
            )
            for i, a in enumerate(found["tasks"])
        ]
        words = f"Importance by {_NAMES.get(kind, f'attribution, {kind}')}, Pearson / Spearman:"
        parts += [words, table((" ", *found["tasks"]), rows)]
    return "\n\n".join(parts)


def _trees(folder: Path) -> str:
    paths = sorted((folder / "figures").glob("tree-*.png"))
    return "\n\n".join(f"![{path.stem}](figures/{path.name})" for path in paths)
