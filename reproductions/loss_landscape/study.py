"""Trainings and finished steps on disk: the same run goes on where it was stopped."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tasks import SCRATCH, SNAPSHOTS, STEPS_OF, Counts, Task, Training, task_of, training_of

import vesalius
from vesalius.core.paths import write_file
from vesalius.data.labelled import LabelledData, LabelledOptions, load_labelled
from vesalius.methods.loss_landscape import Examples
from vesalius.models.specimen import Specimen
from vesalius.recipes.finetune import FinetunePlan, plan_finetune
from vesalius.recipes.finetune_config import FinetuneOptions
from vesalius.recipes.finetune_result import FinetuneResult

MODEL = "mini-bert"
BATCH_TOKENS = 1024  # short batches: little padding


@dataclass(frozen=True)
class Study:
    """One training with all its seeds.

    Args:
        training: what was trained.
        data: folder with cls/ and glue/.
        work: folder of trainings and finished steps.
        counts: how many examples each step takes.
        quick: whether the training is only a few steps long: does it run?
    """

    training: Training
    data: Path
    work: Path
    counts: Counts
    quick: bool = False
    cache: dict[Any, Any] = field(default_factory=dict[Any, Any])

    @property
    def task(self) -> Task:
        """The task of the training."""
        return task_of(self.training.task)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the training."""
        return self.training.seeds[:2] if self.quick else self.training.seeds

    def points(self, step: str) -> int:
        """How many points a step has along each axis."""
        return 4 if self.quick else STEPS_OF[step]

    @cached_property
    def labelled(self) -> LabelledData:
        """The data, read once."""
        return _labelled(self.data / self.task.file, self.task.dev_share)

    def plan(self) -> FinetunePlan:
        """Look at the training: the options of the command line, and what is done."""
        options = FinetuneOptions(
            seeds=self.seeds,
            epochs=0.0 if self.quick else self.training.epochs,
            from_scratch=self.training.start == SCRATCH,
            bf16=True,
            snapshots=2 if self.quick else SNAPSHOTS,
            **({"min_steps": 6 if self.training.is_long else 4} if self.quick else {}),
        )
        return plan_finetune(MODEL, self.labelled, out=self.folder(), options=options)

    @property
    def is_trained(self) -> bool:
        """Whether the training is finished; looks at the folder alone."""
        return (self.folder() / "result" / "result.json").is_file()

    def scores(self) -> FinetuneResult:
        """Give the scores of the finished training."""
        return FinetuneResult.load(self.folder() / "result")

    def folder(self, seed: int | None = None) -> Path:
        """Name the folder of the training, or of one seed."""
        run = self.work / "runs" / self.training.name
        return run if seed is None else run / f"seed-{seed}"

    def model(self, seed: int) -> Specimen:
        """Open the solution of a seed."""
        return _opened(self.folder(seed) / "model")

    def start(self, seed: int) -> Path:
        """Name the weights that a seed began with."""
        return self.folder(seed) / "snapshots" / "step-000000"

    def examples(self, step: str, seed: int) -> Examples:
        """Give the examples of a step: the same for every seed and both starts."""
        train, held_out = self.counts[step][self.task.name]
        key = (step, self.task.name)
        if key not in self.cache:
            self.cache[key] = Examples.of_labelled(
                self.model(seed),
                self.labelled,
                max_train=train,
                max_held_out=held_out,
                batch_tokens=BATCH_TOKENS,
            )
        return self.cache[key]

    def beside(self, name: str) -> "Study":
        """Give another training by the name of its folder."""
        return Study(training_of(name), self.data, self.work, self.counts, self.quick, self.cache)

    def has(self, step: str, seed: int) -> bool:
        """Whether a step was done."""
        return self._path(step, seed).is_file()

    def _path(self, step: str, seed: int) -> Path:
        return self.work / "steps" / self.training.name / f"seed-{seed}" / f"{step}.json"

    def once(self, step: str, seed: int, make: Callable[[], Any]) -> Any:
        """Give what a step made, and make it if no earlier run did: written whole or not at all."""
        path = self._path(step, seed)
        wanted = list(self.counts.get(step, {}).get(self.task.name, ()))
        if path.is_file():
            stored = json.loads(path.read_text("utf-8"))
            if stored["counts"] != wanted:
                raise SystemExit(f"{path} was made with {stored['counts']}: choose another --work")
            return stored["value"]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"counts": wanted, "value": plain(make())})
        write_file(path, text.encode())
        return json.loads(text)["value"]


def plain(value: Any) -> Any:
    """Numpy as JSON, six digits of every number; NaN as null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


@cache
def _labelled(file: Path, dev_share: float) -> LabelledData:
    return load_labelled(file, options=LabelledOptions(dev_share=dev_share))


@lru_cache(maxsize=4)
def _opened(folder: Path) -> Specimen:
    return vesalius.open(folder)
