"""The tasks: where their data is, what each split is, and what is used for what."""

from dataclasses import dataclass

SIZES: dict[str, int] = {
    "importance": 200,  # texts that the importance of heads is measured on, as in the paper
    "evaluated": 600,  # texts of a pruning curve
    "random": 5,  # random orders of heads
    "studied": 200,  # texts whose own heads are ordered
    "told": 60,  # texts whose links are taken out
    "searched": 80,  # texts of each class that triggers are looked for in
    "tuned": 100,  # dev texts that a trigger is chosen on
    "attacked": 200,  # texts of the other classes
    "controls": 5,  # of each kind for a trigger
}
QUICK = dict.fromkeys(SIZES, 16) | {"random": 1, "told": 6, "controls": 2}

# what each step depends on
USED: dict[str, tuple[str, ...]] = {
    "entered": (),
    "heads": ("importance",),
    "prune": ("importance", "evaluated", "random"),
    "study": ("studied",),
    "links": ("told",),
    "triggers": ("searched", "tuned", "attacked", "controls"),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One data set. ``halves`` says that dev serves both purposes, in two halves."""

    name: str
    file: str
    told: str  # what the splits are
    dev_share: float = 0.0
    halves: bool = False


TASKS = (
    Task(name="sst2", file="cls/sst2.parquet",
         told="SST-2 sentences; train, dev and test as published (Stanford split)"),
    Task(name="agnews", file="cls/agnews.parquet", dev_share=0.1,
         told="AG News; train is mostly the official test set (the official train file is not in "
         "this copy), test other rows of it, dev a tenth of train: not comparable with published "
         "scores"),
    Task(name="trec", file="cls/trec.parquet", dev_share=0.1,
         told="TREC, six question types; train and test as published, dev a tenth of train"),
    Task(name="mrpc", file="glue/mrpc.parquet", dev_share=0.1,
         told="MRPC; train and test as published, dev a tenth of train"),
    Task(name="rte", file="glue/rte.parquet", halves=True,
         told="RTE; train as published; the published dev set in two halves, for there are no "
         "test labels"),
    Task(name="mnli", file="glue/mnli.parquet", halves=True,
         told="MNLI; train and dev both from the official dev sets (no train file in this copy), "
         "premises apart; dev in two halves"),
)  # fmt: skip
