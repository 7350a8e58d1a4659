"""What fine-tuning returns: scores of every seed, their middle, and what blind guesses get.

Source: this project; bootstrap intervals as numerics/statistics.py names their source.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, final

import numpy as np

from vesalius.core.html import element, page, table
from vesalius.core.paths import write_file
from vesalius.core.result import AbstractResult, register_result
from vesalius.core.seeds import derive_seed
from vesalius.data.labelled import LabelledData
from vesalius.numerics.metrics import ClassScores
from vesalius.numerics.statistics import Interval, bootstrap_interval

SUMMED: Final = ("accuracy", "macro_f1", "matthews", "nll_nats", "calibration_error")


@final
@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """One seed's training and what its exported weights score, by split.

    ``accuracy_interval`` resamples the rows of each split: how far these rows decide.
    """

    seed: int
    num_steps: int
    exported_step: int
    num_tokens: int
    seconds: float
    loss_nats: float  # of the last batch
    scores: dict[str, ClassScores]
    accuracy_interval: dict[str, Interval]
    snapshot_steps: tuple[int, ...]
    notes: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Middle:
    """The median over seeds, and its bootstrap interval; none where there is one seed."""

    median: float
    low: float | None
    high: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Baselines:
    """What needs no model, in accuracy and macro F1: the commonest class, and pure chance."""

    majority_class: str
    majority: float
    majority_macro_f1: float
    chance: float


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FinetuneResult(AbstractResult):
    """A classifier's scores over seeds; the weights lie in ``model`` beside the result.

    ``middle`` is by split, then by metric. ``exported_seed`` is the one that is best on dev: its
    dev score is chosen, so read the median; its test score is not.
    """

    kind: ClassVar[str] = "finetune.classifier"
    schema_version: ClassVar[int] = 1

    data_name: str
    data_fingerprint: str
    label_names: tuple[str, ...]
    num_rows: dict[str, int]
    runs: tuple[SeedRun, ...]
    middle: dict[str, dict[str, Middle]]
    baselines: dict[str, Baselines]
    exported_seed: int

    def rows(self) -> list[tuple[str, str, float, float | None, float | None, float, float]]:
        """Give split, metric, median, interval, majority and chance, as the table prints them."""
        found: list[tuple[str, str, float, float | None, float | None, float, float]] = []
        for split, metrics in self.middle.items():
            blind = self.baselines[split]
            for metric, majority in (
                ("accuracy", blind.majority),
                ("macro_f1", blind.majority_macro_f1),
                ("matthews", 0.0),
            ):
                chance = 0.0 if metric == "matthews" else blind.chance
                m = metrics[metric]
                found.append((split, metric, m.median, m.low, m.high, majority, chance))
        return found

    def to_html(self, path: str | Path, *, force: bool = False) -> Path:
        """Write one self-contained page.

        Raises:
            VesaliusError: the file exists and ``force`` is not given.
        """
        return write_file(path, _page(self).encode(), force=force)


def summarise_seeds(runs: Sequence[SeedRun]) -> dict[str, dict[str, Middle]]:
    """Give median and 95 % bootstrap interval over the seeds, by split and metric."""
    return {
        split: {
            metric: _middle([getattr(run.scores[split], metric) for run in runs], split, metric)
            for metric in SUMMED
        }
        for split in runs[0].scores
    }


def _middle(values: Sequence[float], split: str, metric: str) -> Middle:
    sample = np.array(values)
    if len(sample) < 2:
        return Middle(median=float(sample[0]), low=None, high=None)
    generator = np.random.default_rng(derive_seed(0, "seeds", split, metric))
    found = bootstrap_interval(sample, generator=generator, statistic=np.median)
    return Middle(median=found.estimate, low=found.low, high=found.high)


def blind_baselines(data: LabelledData) -> dict[str, Baselines]:
    """Score, by split but train, the class that is commonest in that split, and pure chance."""
    found: dict[str, Baselines] = {}
    for name, split in data.splits.items():
        if name == "train":
            continue
        label, count = Counter(split.labels).most_common(1)[0]
        share = count / len(split)
        found[name] = Baselines(
            majority_class=data.label_names[label],
            majority=share,
            # one class has precision `share` and recall 1, the others have F1 0
            majority_macro_f1=2 * share / (1 + share) / len(data.label_names),
            chance=1 / len(data.label_names),
        )
    return found


def _page(result: FinetuneResult) -> str:
    summary = table(
        ("split", "metric", "median", "low", "high", "majority", "chance"),
        [["-" if cell is None else cell for cell in row] for row in result.rows()],
    )
    seeds = table(
        ("seed", "step", *(f"{split} accuracy" for split in result.middle)),
        [
            (run.seed, run.exported_step, *(s.accuracy for s in run.scores.values()))
            for run in result.runs
        ],
    )
    best = next(run for run in result.runs if run.seed == result.exported_seed)
    classes = [
        (f"Classes, {split}, seed {best.seed}", [_classes(result.label_names, scores)])
        for split, scores in best.scores.items()
    ]
    settings: Mapping[str, object] = result.card.config
    return page(
        f"{result.card.model} on {result.data_name}",
        [
            ("Scores", [summary]),
            ("Seeds", [seeds, f"Exported: seed {best.seed}, the best on dev."]),
            *classes,
            ("Notes", [element("ul", *(element("li", w) for w in result.card.warnings))]),
            ("Settings", [table(("what", "value"), [(k, str(v)) for k, v in settings.items()])]),
        ],
    )


def _classes(names: Sequence[str], scores: ClassScores) -> str:
    head = ("class", "precision", "recall", "F1", *(f"said {name}" for name in names))
    columns = (names, scores.precision, scores.recall, scores.f1, scores.confusion)
    return table(head, [(n, p, r, f, *counts) for n, p, r, f, counts in zip(*columns, strict=True)])
