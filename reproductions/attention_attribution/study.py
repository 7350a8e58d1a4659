"""One fine-tuned task: its model, its texts for every purpose, and the folder of finished steps."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tasks import USED, Task

import vesalius
from vesalius.core.paths import write_file
from vesalius.data.labelled import LabelledData, LabelledOptions, load_labelled
from vesalius.methods.attention_attribution import HeadImportance
from vesalius.models.specimen import Specimen
from vesalius.models.texts import fitting_texts
from vesalius.recipes.finetune import finetune
from vesalius.recipes.finetune_config import FinetuneOptions

# those of the bundled classifier; the first token of the encoder has learned nothing: mean pooling
OPTIONS = FinetuneOptions(epochs=4, lr=1e-3, weight_decay=0.0, max_length=128, pooling="mean")


@dataclass(frozen=True, kw_only=True)
class Texts:
    texts: Sequence[str]
    pairs: Sequence[str] | None
    labels: Sequence[int]

    def first(self, number: int) -> "Texts":
        """The first rows; the files are in an order without meaning."""
        return Texts(
            texts=self.texts[:number],
            pairs=None if self.pairs is None else self.pairs[:number],
            labels=self.labels[:number],
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    task: Task
    data: Path
    work: Path
    sizes: dict[str, int]
    seed: int = 0

    @cached_property
    def labelled(self) -> LabelledData:
        options = LabelledOptions(dev_share=self.task.dev_share, seed=self.seed)
        return load_labelled(self.data / self.task.file, options=options)

    @cached_property
    def specimen(self) -> Specimen:
        folder = self.work / "finetuned" / self.task.name
        finetune("mini-bert", self.labelled, out=folder, options=OPTIONS)
        return vesalius.open(folder / "model")

    def texts(self, purpose: str) -> Texts:
        """``train``, ``measured`` (importance) or ``evaluated``: no text serves two purposes.

        Texts longer than the model are left out.
        """
        split = {"train": "train", "measured": "dev", "evaluated": "test"}[purpose]
        if self.task.halves and split == "test":
            split = "dev"
        rows = self.labelled.splits[split]
        chosen = range(len(rows))
        if self.task.halves and purpose != "train":
            half = len(rows) // 2
            chosen = range(half) if purpose == "measured" else range(half, len(rows))
        fits = set(fitting_texts(self.specimen, rows.texts, pairs=rows.pairs))
        chosen = [i for i in chosen if i in fits]
        return Texts(
            texts=[rows.texts[i] for i in chosen],
            pairs=None if rows.pairs is None else [rows.pairs[i] for i in chosen],
            labels=[rows.labels[i] for i in chosen],
        )

    def importance(self, baseline: str, make: Callable[[], HeadImportance]) -> HeadImportance:
        folder = self.folder / f"heads-{baseline}"
        if not folder.is_dir():
            make().save(folder)
        return HeadImportance.load(folder)

    @property
    def folder(self) -> Path:
        return self.work / "steps" / self.task.name

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Give what a step made, and make it if no earlier run did: written whole or not at all."""
        path = self.folder / f"{name}.json"
        wanted = {"sizes": self.sizes, "seed": self.seed}
        if path.is_file():
            stored = json.loads(path.read_text("utf-8"))
            before = stored["options"]["sizes"]
            changed = [size for size in USED[name] if before.get(size) != self.sizes[size]]
            if changed or stored["options"]["seed"] != self.seed:
                raise SystemExit(f"{path} was made with another {changed}: choose another --work")
            return stored["value"]
        os.makedirs(self.folder, exist_ok=True)
        text = json.dumps({"options": wanted, "value": make()}, ensure_ascii=False, default=plain)
        write_file(path, text.encode())
        return json.loads(text)["value"]


def plain(value: Any) -> Any:
    """Numpy as JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)
