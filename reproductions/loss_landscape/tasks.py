"""The tasks, the trainings, and how much of everything is measured."""

from dataclasses import dataclass
from typing import Final

SEEDS: Final = (0, 1, 2)
SNAPSHOTS: Final = 20  # of every training, beside the start
PRETRAINED, SCRATCH = "pretrained", "scratch"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One data set. ``other`` is the task whose solution gives the second axis of a surface."""

    name: str
    told: str
    file: str
    splits: str  # what they are
    dev_share: float = 0.0
    other: str = ""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One command: a task, where it starts, for how long. ``is_long`` is of the overfitting."""

    task: str
    start: str
    epochs: float
    seeds: tuple[int, ...] = SEEDS
    is_long: bool = False

    @property
    def name(self) -> str:
        """The folder's name; from scratch, the long training is the only one."""
        suffix = "-long" if self.is_long and self.start == PRETRAINED else ""
        return f"{self.task}-{self.start}{suffix}"

    @property
    def is_mapped(self) -> bool:
        """Whether lines, planes and all the rest are taken of it: not with one seed alone."""
        return len(self.seeds) > 1

    @property
    def is_twin(self) -> bool:
        """Whether it is there only beside another training of the same task and start."""
        return self.name.endswith("-long")


TASKS: Final = (
    Task(
        name="trec",
        told="TREC",
        file="cls/trec.parquet",
        dev_share=0.1,
        other="sst2",
        splits="six question types; train and test as published, dev a tenth of train",
    ),
    Task(
        name="sst2",
        told="SST-2",
        file="cls/sst2.parquet",
        other="agnews",
        splits="whole sentences; train, dev and test of the Stanford split, not GLUE's phrases",
    ),
    Task(
        name="agnews",
        told="AG News",
        file="cls/agnews.parquet",
        dev_share=0.1,
        other="trec",
        splits="train is mostly the official test set, test other rows of it, dev a tenth of "
        "train: not comparable with published scores",
    ),
    Task(
        name="mrpc",
        told="MRPC",
        file="glue/mrpc.parquet",
        dev_share=0.1,
        splits="train and test as published, dev a tenth of train",
    ),
    Task(
        name="rte",
        told="RTE",
        file="glue/rte.parquet",
        splits="train and dev as published; there are no test labels, dev is judged",
    ),
    Task(
        name="mnli",
        told="MNLI",
        file="glue/mnli.parquet",
        splits="train and dev both from the official dev sets, premises apart; dev is judged",
    ),
)

# in this order: what the surfaces of the first ones need comes early
TRAININGS: Final = (
    Training(task="trec", start=PRETRAINED, epochs=4.0),
    Training(task="sst2", start=PRETRAINED, epochs=4.0),
    Training(task="agnews", start=PRETRAINED, epochs=4.0),
    Training(task="trec", start=SCRATCH, epochs=20.0, is_long=True),
    Training(task="sst2", start=SCRATCH, epochs=8.0),
    Training(task="agnews", start=SCRATCH, epochs=8.0),
    Training(task="mrpc", start=PRETRAINED, epochs=4.0, seeds=(0,)),
    Training(task="trec", start=PRETRAINED, epochs=20.0, is_long=True),
    Training(task="rte", start=PRETRAINED, epochs=4.0, seeds=(0,)),
    Training(task="mnli", start=PRETRAINED, epochs=4.0, seeds=(0,)),
)

# examples of each split; 0 takes all. AG News has four times the tokens of TREC.
Counts = dict[str, dict[str, tuple[int, int]]]
FULL: Final[Counts] = {
    "line": {"trec": (256, 256), "sst2": (192, 192), "agnews": (96, 96)},
    "wide": {"trec": (128, 128), "sst2": (96, 96), "agnews": (48, 48)},
    "path": {"trec": (256, 0), "sst2": (192, 256), "agnews": (96, 128)},
    "rollback": {"trec": (32, 0), "sst2": (32, 512), "agnews": (32, 256)},
    "surface": {"trec": (128, 128), "sst2": (64, 64), "agnews": (48, 48)},
    "flatness": {"trec": (64, 8), "sst2": (24, 8), "agnews": (12, 8)},
    "barrier": {"trec": (192, 192), "sst2": (96, 96), "agnews": (48, 48)},
    "basin": {"trec": (192, 192)},
}
STEPS_OF: Final = {"line": 31, "wide": 33, "surface": 13, "barrier": 13, "basin": 13}
QUICK: Final[Counts] = {
    step: {task.name: (16, 16) for task in TASKS} for step in FULL
}  # fmt: skip


def task_of(name: str) -> Task:
    """Find a task."""
    return next(task for task in TASKS if task.name == name)


def training_of(name: str) -> Training:
    """Find a training by the name of its folder."""
    return next(training for training in TRAININGS if training.name == name)
