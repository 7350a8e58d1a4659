"""Rows of the sets for calibration: from a folder like the shared one, a file, or the hub.

Classes are told by their names, wherever a file or the hub has some, so that the label words keep
their meaning; bare numbers are taken in the order of the set's classes, and a note says so. Own
sets are read by ``labelled.load_labelled`` with a template file.

Source: this project; the columns and class names of GLUE and of the hub's usual copies.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn, final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import LabelledRow, detokenise
from vesalius.data.label_tasks import DEFAULT, LabelTask
from vesalius.data.labelled import LabelledOptions, load_labelled
from vesalius.data.labelled_files import Columns
from vesalius.data.labelled_sources import LABEL_COLUMNS, OPINIONS, read_tables
from vesalius.data.prompt_files import read_prompt_file

_NAMES: Final = ("label_name", "label_text")  # columns with a word for each label
_RUN: Final = 8  # equal words in a row; of 6,038 news no text shares as many with a film review


@final
@dataclass(frozen=True, kw_only=True)
class LabelledSets:
    """The rows of a set by split, the names of its classes, and what a reader should know."""

    name: str
    label_names: tuple[str, ...]
    splits: Mapping[str, tuple[LabelledRow, ...]]
    notes: tuple[str, ...]

    def rows(self, split: str) -> list[LabelledRow]:
        """Return the rows of a split, in file order.

        Raises:
            VesaliusError: there is no such split.
        """
        if split not in self.splits:
            raise VesaliusError(
                given=f"split {split!r} of {self.name}",
                expected=f"one of {', '.join(self.splits)}",
                fix=f"use {self.evaluation!r} to judge by",
            )
        return list(self.splits[split])

    @property
    def evaluation(self) -> str:
        """Name the split to judge by: test, or dev where there is no test with labels."""
        return "test" if "test" in self.splits else "dev"

    def fingerprint(self) -> str:
        """Hash texts, labels and their order; 16 hexadecimal digits."""
        rows = {
            split: [[row.texts, row.label] for row in rows] for split, rows in self.splits.items()
        }
        text = json.dumps([self.label_names, rows], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_task(
    task: LabelTask, source: str | Path = "", *, options: LabelledOptions | None = None
) -> LabelledSets:
    """Read the rows of a set; the bundled one needs no source.

    ``source`` is a folder that holds cls/ and glue/, a folder or a file of one set, or a name on
    the hub. ``options`` may name other columns; its ``dev_share`` is for a source that has rows
    to draw from, but none to judge by.

    Raises:
        VesaliusError: nothing there, a column or a class that the set does not know, a missing
            label, a split without rows, no train split, no rows to judge by.
    """
    options = options or LabelledOptions()
    tables, hub_names, notes = _tables(task, source, options)
    if "train" not in tables:
        raise VesaliusError(
            given=f"{task.name} with {', '.join(tables) or 'no split'}",
            expected="a train split, to draw demonstrations from",
            fix="give a source that has one",
        )
    splits: dict[str, tuple[LabelledRow, ...]] = {}
    for split in ("train", "dev", "test"):
        if split in tables:
            rows, told = _read_split(task, split, tables[split], hub_names, options)
            notes += [note for note in told if note not in notes]
            splits |= {split: rows} if rows else {}
    if len(splits) == 1:
        splits, told = _hold_out(task.name, splits["train"], options)
        notes.append(told)
    return LabelledSets(
        name=task.name,
        label_names=task.label_names,
        splits=splits,
        notes=(*task.notes, *notes),
    )


def read_own_task(
    prompt_file: str | Path, source: str | Path, *, options: LabelledOptions | None = None
) -> tuple[LabelTask, LabelledSets]:
    """Read a user's own set and the template file for it; its texts stay as they are.

    Raises:
        VesaliusError: what ``read_prompt_file`` and ``load_labelled`` refuse, and words or
            templates that do not fit the set.
    """
    own = read_prompt_file(prompt_file)
    # calibration chooses nothing by dev: a set with test needs none
    data = load_labelled(source, options=replace(options or LabelledOptions(), need_dev=False))
    task = own.task(data.label_names, fields=data.columns[:-1], name=data.name)
    splits: dict[str, tuple[LabelledRow, ...]] = {}
    for name, split in data.splits.items():
        columns = (split.texts, split.pairs) if split.pairs is not None else (split.texts,)
        splits[name] = tuple(
            LabelledRow(texts=texts, label=label)
            for texts, label in zip(zip(*columns, strict=True), split.labels, strict=True)
        )
    sets = LabelledSets(
        name=data.name, label_names=data.label_names, splits=splits, notes=data.notes
    )
    return task, sets


def unseen_rows(rows: Sequence[LabelledRow], seen: Iterable[LabelledRow]) -> list[LabelledRow]:
    """Leave out rows whose text stands, whole or in part, among texts that a model has seen.

    Marks and case do not count. A row goes if it shares eight words in a row with a seen text,
    or is the same in all its words: MR's rows are whole reviews, which SST cut into sentences.
    """
    known: set[tuple[str, ...]] = set()
    for row in seen:
        known |= _runs(row)
    return [row for row in rows if known.isdisjoint(_runs(row))]


def _runs(row: LabelledRow) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for text in row.texts:
        words = re.sub(r"[^\w\s]", "", text.lower().replace("-", " ")).split()
        found |= {tuple(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1))}
    return found - {()}


def _tables(
    task: LabelTask, source: str | Path, options: LabelledOptions
) -> tuple[dict[str, Columns], tuple[str, ...], list[str]]:
    notes: list[str] = []
    folder = Path(source)
    shared = str(source) != "" and any((folder / part).is_dir() for part in ("cls", "glue"))
    if task.name == OPINIONS and (shared or not str(source)):
        notes += [f"the bundled rows, not {folder.name!r}"] if shared else []
        return (*read_tables(OPINIONS, split_column="split"), notes)
    if not str(source):
        raise VesaliusError(
            given=f"task {task.name!r} without data",
            expected=f"a folder with {task.path}, a file, or a name on the hub",
            fix=f"name one of them, {task.hub!r} for instance, or use the task {DEFAULT!r}",
        )
    if shared and not (folder / task.path).is_file():
        raise VesaliusError(
            given=f"folder {folder.name!r} without {task.path}",
            expected=f"the rows of {task.name}",
            fix=f"give a file of them, or their name on the hub: {task.hub!r}",
        )
    place = folder / task.path if shared else source
    return (*read_tables(place, split_column=options.split_column), notes)


def _read_split(
    task: LabelTask,
    split: str,
    table: Columns,
    hub_names: Sequence[str],
    options: LabelledOptions,
) -> tuple[tuple[LabelledRow, ...], list[str]]:
    """Read the rows of one split; none where its labels are hidden."""
    texts, label = _columns(task, split, table, options)
    notes: list[str] = []
    if split != "train" and all(value in (None, -1, "-1", "") for value in table.get(label, [])):
        return (), [f"{split} was left out: its labels are not public (all -1 or missing)"]
    number = options.max_rows or len(table[label])
    labels, numbered = _labels(task, split, table, label, hub_names, number)
    if numbered:
        classes = ", ".join(f"{i} {name}" for i, name in enumerate(task.label_names))
        notes.append(f"labels are numbers without names, taken as {classes}")
    clean = detokenise if task.detokenise else _collapse
    rows: list[LabelledRow] = []
    for values, class_number in zip(
        zip(*(table[column][:number] for column in texts), strict=True), labels, strict=True
    ):
        row = tuple(clean(str(value or "")) for value in values)
        if all(row):
            rows.append(LabelledRow(texts=row, label=class_number))
    if missing := len(labels) - len(rows):
        notes.append(f"{missing} rows of {split} without a text were left out")
    if not rows:
        raise VesaliusError(
            given=f"{task.name}: split {split} has no row with a text",
            expected="at least one",
            fix="leave the split out, or fill it",
        )
    return tuple(rows), notes


def _columns(
    task: LabelTask, split: str, table: Columns, options: LabelledOptions
) -> tuple[tuple[str, ...], str]:
    """Name the columns of texts and label; own names win."""
    own = tuple(name for name in (options.text_column, options.pair_column) if name)
    if own and len(own) != len(task.fields):
        _refuse_columns(task, f"{len(own)} columns of texts, {', '.join(own)}", table)
    texts = next(
        (names for names in ((own,) if own else task.columns) if set(names) <= {*table}), ()
    )
    if not texts:
        _refuse_columns(task, f"{split} without {', '.join(own or task.fields)}", table)
    wanted = task.label_columns or LABEL_COLUMNS
    labels = (options.label_column,) if options.label_column else wanted
    label = next((name for name in labels if name in table), "")
    if not label:
        _refuse_columns(task, f"{split} without {' or '.join(labels)}", table)
    return texts, label


def _refuse_columns(task: LabelTask, what: str, table: Columns) -> NoReturn:
    texts = " or ".join(", ".join(names) for names in task.columns)
    raise VesaliusError(
        given=f"{task.name}: {what}; there are the columns {', '.join(table)}",
        expected=f"texts in {texts}, and a column of labels",
        fix="name them: text_column, pair_column, label_column (--text-column ...)",
    )


def _labels(
    task: LabelTask,
    split: str,
    table: Columns,
    label: str,
    hub_names: Sequence[str],
    number: int,
) -> tuple[list[int], bool]:
    """Find the class of every row by name; say whether bare numbers had to do."""
    names = {name.casefold(): i for i, name in enumerate(task.label_names)}
    for name, others in task.aliases.items():
        names |= {other.casefold(): task.label_names.index(name) for other in others}
    worded = next((column for column in _NAMES if column in table), label)
    # a column of words that are no names of this set's classes is not about them
    column = worded if all(_plain(word) in names for word in table[worded]) else label
    found: list[int] = []
    numbered = False
    for row, value in enumerate(table[column][:number], start=1):
        word = _plain(value)
        if word.isdigit() and word not in names:
            if int(word) < len(hub_names):
                word = _plain(hub_names[int(word)])
            elif not hub_names and int(word) < task.num_labels:
                numbered = True
                found.append(int(word))
                continue
        if word not in names:
            raise VesaliusError(
                given=f"{task.name}: label {value!r} in row {row} of {split} ({column})",
                expected=f"one of {', '.join(task.label_names)}, or its number from 0",
                fix="rename the classes, or read the file as a set of your own (template file)",
            )
        found.append(names[word])
    return found, numbered


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def _hold_out(
    name: str, train: Sequence[LabelledRow], options: LabelledOptions
) -> tuple[dict[str, tuple[LabelledRow, ...]], str]:
    size = max(1, round(len(train) * options.dev_share))
    if options.dev_share == 0 or size >= len(train):
        raise VesaliusError(
            given=f"{name}: {len(train)} rows of train, none of dev or test "
            f"(dev_share={options.dev_share})",
            expected="rows to judge by that no prompt is made of",
            fix="give a split column, or ask for a part of train: dev_share=0.5 (--dev-share 0.5)",
        )
    generator = np.random.default_rng(derive_seed(options.seed, "dev"))
    chosen = set(generator.permutation(len(train))[:size].tolist())
    splits = {
        "train": tuple(row for i, row in enumerate(train) if i not in chosen),
        "dev": tuple(row for i, row in enumerate(train) if i in chosen),
    }
    return splits, f"dev was cut from train: {size} rows by seed {options.seed}"


def _collapse(text: str) -> str:
    return " ".join(text.split())
