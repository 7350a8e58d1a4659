"""Tasks that the discriminators are fine-tuned on, and a tokenizer of characters."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from arms import MAX_LENGTH
from corpus import SPECIAL

from vesalius.data.labelled import LabelledData, LabelledOptions, load_labelled
from vesalius.recipes.finetune_config import FinetuneOptions


@dataclass(frozen=True, kw_only=True)
class Task:
    """A set, the split and the measure that it is judged by, and how much of it is used.

    ``max_length`` is in characters, with the special ones.
    """

    name: str
    told: str
    file: str
    splits: str
    judged: str
    metric: str
    max_length: int
    num_steps: int


TASKS: Final = (
    Task(
        name="sst2",
        told="SST-2",
        file="cls/sst2.parquet",
        splits="whole sentences of the Stanford split, not GLUE's phrases; test is judged",
        judged="test",
        metric="accuracy",
        max_length=160,
        num_steps=150,
    ),
    Task(
        name="mrpc",
        told="MRPC",
        file="glue/mrpc.parquet",
        splits="train and test as published; test is judged",
        judged="test",
        metric="accuracy",
        max_length=192,
        num_steps=80,
    ),
    Task(
        name="rte",
        told="RTE",
        file="glue/rte.parquet",
        splits="train and dev as published, no test labels are public; dev is judged",
        judged="dev",
        metric="accuracy",
        max_length=192,
        num_steps=80,
    ),
    Task(
        name="cola",
        told="CoLA",
        file="glue/cola.parquet",
        splits="train cut to 8,000 rows; dev, which is in-domain, is judged",
        judged="dev",
        metric="matthews",
        max_length=96,
        num_steps=350,
    ),
)
FEW: Final = 64  # rows that are looked at on the way: they choose nothing here
LR: Final = 1e-3


def task_of(name: str) -> Task:
    """Find a task."""
    return next(task for task in TASKS if task.name == name)


def load_task(task: Task, data: Path, *, quick: bool = False) -> LabelledData:
    """Read a task: train, what is judged as "test", and a few rows of that as "dev"."""
    options = LabelledOptions(need_dev=False)
    found = load_labelled(data / task.file, options=options)
    train, judged = found.splits["train"], found.splits[task.judged]
    if quick:
        train, judged = train.rows(range(32)), judged.rows(range(16))
    few = judged.rows(range(min(FEW, len(judged))))
    return replace(found, splits={"train": train, "dev": few, "test": judged})


def options_of(task: Task, seed: int, *, quick: bool = False) -> FinetuneOptions:
    """Give the options of a fine-tuning; its seed is that of the pretraining."""
    return FinetuneOptions(
        seeds=(seed,),
        epochs=0.0,
        min_steps=2 if quick else task.num_steps,
        lr=LR,
        max_length=task.max_length,
        bf16=True,
    )


def character_tokenizer(characters: str) -> Any:
    """Make the tokenizer of a corpus: lower case, one space for any, a token per character."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate([*SPECIAL, *characters])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )
