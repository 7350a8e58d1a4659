"""A model, the sets, and finished steps on disk: the same run goes on where it was stopped."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sets import SETS, Chosen, Sizes

import vesalius
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_draws import draw_evaluation, keep_short
from vesalius.data.label_sets import LabelledSets, read_task, unseen_rows
from vesalius.data.label_tasks import LabelTask, find_label_task
from vesalius.methods.calibration.score import ScoreOptions
from vesalius.methods.calibration.scorer import ScoreTexts, make_scorer
from vesalius.models.specimen import Specimen


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A set as the study uses it: rows to draw from, rows to judge by, what was left out."""

    chosen: Chosen
    task: LabelTask
    train: list[LabelledRow]
    test: list[LabelledRow]
    notes: tuple[str, ...]


class Study:
    """One model of the study.

    Args:
        model: a bundled model, a folder, or a name on the hub.
        data: folder with cls/ and glue/.
        work: folder of score stores and finished steps.
        sizes: how much of everything.
    """

    def __init__(self, *, model: str, data: Path, work: Path, sizes: Sizes) -> None:
        self.model, self.data, self.work, self.sizes = model, data, work, sizes
        self._rows: dict[str, Rows] = {}

    @cached_property
    def specimen(self) -> Specimen:
        """The opened model."""
        return vesalius.open(self.model)

    @cached_property
    def scorer(self) -> ScoreTexts:
        """Scores of texts under a prompt, kept on disk."""
        return make_scorer(
            self.specimen,
            store=self.work / "stores" / Path(self.model).name,
            options=ScoreOptions(too_long="skip"),
        )

    def rows(self, name: str) -> Rows:
        """Read a set once."""
        if name not in self._rows:
            self._rows[name] = self._read(next(each for each in SETS if each.name == name))
        return self._rows[name]

    def once(self, step: str, make: Callable[[], Any]) -> Any:
        """Give the result of a step, from disk if it was done with these sizes."""
        stamp = hashlib.sha256(repr(self.sizes).encode()).hexdigest()[:8]
        path = self.work / "steps" / f"{Path(self.model).name} {step} {stamp}.json"
        if not path.exists():
            found = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(found, indent=1, default=float) + "\n", "utf-8")
            part.replace(path)
        return json.loads(path.read_text("utf-8"))

    def _read(self, chosen: Chosen) -> Rows:
        task = find_label_task(chosen.name)
        sets = read_task(task, self.data)
        notes: list[str] = list(sets.notes)
        test = sets.rows(sets.evaluation)
        if chosen.name == "mr":
            before = len(test)
            test = unseen_rows(test, self._sst_training())
            notes.append(
                f"{before - len(test)} of {before} test rows were left out: they share eight words "
                "in a row with a training sentence of SST-2 or SST-5"
            )
        test = _short(test, chosen)
        train = _short(sets.rows("train"), chosen)
        seed = derive_seed(0, "reproduction", chosen.name)
        return Rows(
            chosen=chosen,
            task=task,
            train=train,
            test=draw_evaluation(test, num=self.sizes.test, seed=seed),
            notes=tuple(notes),
        )

    def _sst_training(self) -> list[LabelledRow]:
        read: list[LabelledSets] = [
            read_task(find_label_task(name), self.data) for name in ("sst2", "sst5")
        ]
        return [row for sets in read for row in sets.rows("train")]


def _short(rows: list[LabelledRow], chosen: Chosen) -> list[LabelledRow]:
    return keep_short(rows, max_characters=chosen.max_characters)
