"""One model, the facts it is asked, and the folder in which finished steps are kept."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import vesalius
from vesalius.core.paths import write_file
from vesalius.methods.knowledge_neurons import CorpusConfig
from vesalius.models.specimen import Specimen


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything; ``per_relation`` counts facts of each relation."""

    asked_per_relation: int = 10_000  # all
    strangers_per_relation: int = 20  # facts that the model never met
    located_per_relation: int = 60
    told_per_relation: int = 30  # whose web sentences are read
    tried_per_relation: int = 10  # facts asked prompt by prompt, for log-odds
    sized_per_relation: int = 5  # facts whose size sweep is pooled
    num_controls: int = 4  # of each kind in a size sweep
    edited_per_relation: int = 10  # the paper's
    compared_per_relation: int = 4  # edited with all their neurons, too
    rank_one_per_relation: int = 2
    erased_relations: int = 5
    others_per_relation: int = 5  # asked beside an erased relation


@dataclass(frozen=True, kw_only=True)
class Study:
    model: str
    data: Path
    work: Path
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    among: bool = False  # an answer is right when no other answer of its relation is likelier

    @property
    def config(self) -> CorpusConfig:
        """Which located facts count: all where the choice was made among a relation's answers."""
        return CorpusConfig(min_answered=0.0) if self.among else CorpusConfig()

    @cached_property
    def specimen(self) -> Specimen:
        return vesalius.open(self.model)

    @property
    def folder(self) -> Path:
        return self.work / self.model.replace("/", "--")

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Give what a step made, and make it if no earlier run did: written whole or not at all."""
        path = self.folder / f"{name}.json"
        wanted = {"sizes": asdict(self.sizes), "seed": self.seed, "among": self.among}
        if path.is_file():
            stored = json.loads(path.read_text("utf-8"))
            if stored["options"] != wanted:
                raise SystemExit(f"{path} was made with other options: choose another --work")
            return stored["value"]
        os.makedirs(self.folder, exist_ok=True)
        text = json.dumps({"options": wanted, "value": make()}, ensure_ascii=False)
        write_file(path, text.encode())
        return json.loads(text)["value"]
