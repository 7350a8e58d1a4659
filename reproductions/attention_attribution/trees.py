"""Four example trees of the fine-tuned models: `python trees.py --data DIR --work DIR`."""

import argparse
from pathlib import Path

import torch
from study import Study
from tasks import SIZES, TASKS

from vesalius.core.paths import write_file
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    attribute,
    build_tree,
    plot_tree,
)
from vesalius.plots.style import figure_bytes

HERE = Path(__file__).parent
SHORTEST, LONGEST = 8, 18  # words of a text that is shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tasks", default="sst2,agnews,trec,sst2")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shown: dict[str, int] = {}
    for number, name in enumerate(options.tasks.split(",")):
        task = next(task for task in TASKS if task.name == name)
        study = Study(task=task, data=options.data, work=options.work, sizes=SIZES)
        text = _text(study, shown.get(name, 0))
        shown[name] = shown.get(name, 0) + 1
        config = AttributeConfig(baseline="uniform")
        found = attribute(study.specimen, [text], config=config)
        tree = build_tree(found.layer_links(0), tau=0.2)
        example = found.examples[0]
        title = f"{name}: {example.target} ({example.prob:.2f}), baseline uniform, tau 0.2"
        picture = figure_bytes(plot_tree(tree, title=title), dots_per_inch=110)
        path = options.out / "figures" / f"tree-{number + 1}-{name}.png"
        print(write_file(path, picture, force=True))


def _text(study: Study, number: int) -> str:
    """The first texts of the evaluated split that are neither short nor long and told rightly."""
    asked = study.texts("evaluated").first(200)
    fitting = [
        (text, label)
        for text, label in zip(asked.texts, asked.labels, strict=True)
        if SHORTEST <= len(text.split()) <= LONGEST
    ]
    found = attribute(
        study.specimen, [t for t, _ in fitting[:20]], config=AttributeConfig(refine=False, keep=1)
    )
    right = [
        text
        for (text, label), example in zip(fitting[:20], found.examples, strict=True)
        if example.target_index == label
    ]
    return right[number]


if __name__ == "__main__":
    main()
