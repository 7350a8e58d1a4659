"""Labelled texts for classification: single sentences and pairs, from files, folders and hubs.

Columns are found by their usual names, or named by the caller. Nothing is made up: a missing
dev split is an error unless a share of train is asked for.

Source: the layouts of GLUE (Wang et al. 2019, arXiv 1804.07461); this project.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn, final

import numpy as np

from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.labelled_files import Columns
from vesalius.data.labelled_sources import LABEL_COLUMNS, read_tables

_PAIRS: Final = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("question", "passage"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
_TEXTS: Final = ("text", "sentence", "content", "document", "review", "question")


@final
@dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """Which columns and splits to read; an empty name is found by the usual ones.

    ``dev_share`` cuts a dev split from train, by ``seed``, where the data has none; 0 refuses
    such data. ``need_dev`` wants a dev split even beside a test split, to choose by. ``max_rows``
    keeps the first rows of each split, 0 keeps all.
    """

    text_column: str = ""
    pair_column: str = ""
    label_column: str = ""
    split_column: str = "split"
    dev_share: float = 0.0
    need_dev: bool = True
    max_rows: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.dev_share < 1:
            raise VesaliusError(
                given=f"dev_share={self.dev_share}",
                expected="a share of train from 0 up to 1",
                fix="use 0.1",
            )
        if self.max_rows < 0:
            raise VesaliusError(
                given=f"max_rows={self.max_rows}", expected="0 or more", fix="leave it at 0: all"
            )
        if self.pair_column and not self.text_column:
            raise VesaliusError(
                given=f"pair_column={self.pair_column!r} without a text column",
                expected="the names of both texts of a pair",
                fix="name the first text too: text_column (--text-column)",
            )


@final
@dataclass(frozen=True, kw_only=True)
class LabelledSplit:
    """Rows of one split: a text, the second text of a pair (or none at all), a label's index."""

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: Sequence[int]) -> "LabelledSplit":
        """Give some rows, in the order in which they are named."""
        return replace(
            self,
            texts=tuple(self.texts[i] for i in chosen),
            pairs=None if self.pairs is None else tuple(self.pairs[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
        )


@final
@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """A set with the splits ``train``, ``dev`` and, where it has labels, ``test``."""

    name: str
    label_names: tuple[str, ...]
    splits: Mapping[str, LabelledSplit]
    columns: tuple[str, ...]  # of the texts, then of the label
    notes: tuple[str, ...]  # what was left out or made while reading

    def fingerprint(self) -> str:
        """Hash texts, labels and their order; 16 hexadecimal digits."""
        rows = {
            name: [split.texts, split.pairs, split.labels] for name, split in self.splits.items()
        }
        text = json.dumps([self.label_names, rows], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_labelled(source: str | Path, *, options: LabelledOptions | None = None) -> LabelledData:
    """Read labelled texts from a file, a folder, a hub name, or the bundled ``kinds``.

    A file has a column of splits (or is all train); a folder has files named train, dev or
    validation, and test. ``glue/sst2`` is set sst2 of the hub's collection glue, and
    ``owner/name:config`` any other configuration.

    Raises:
        VesaliusError: nothing there, a column that cannot be found, an empty split, no dev
            split, a label that train never shows, only one class, a text or a label missing.
    """
    options = options or LabelledOptions()
    tables, label_names = read_tables(source, split_column=options.split_column)
    name = Path(source).name if Path(source).exists() else str(source)
    return _assemble(name, tables, options, label_names)


def _assemble(
    name: str, tables: dict[str, Columns], options: LabelledOptions, label_names: Sequence[str]
) -> LabelledData:
    if "train" not in tables:
        raise VesaliusError(
            given=f"{name}: splits {', '.join(tables) or 'none'}, no train",
            expected="a train split",
            fix="give a set that has one; an evaluation set cannot be trained on",
        )
    texts, label = _find_columns(name, list(tables["train"]), options)
    notes: list[str] = []
    if "test" in tables and _is_hidden(tables["test"].get(label)):
        del tables["test"]
        notes.append("test was left out: its labels are not public (all -1 or missing)")
    names_at = "" if options.label_column else _names_column(tables, label)
    names = _label_names(name, tables, label, names_at, label_names)
    splits = {
        split: _split(name, split, tables[split], texts, label, names, options)
        for split in ("train", "dev", "test")
        if split in tables
    }
    if "dev" not in splits and (options.need_dev or "test" not in splits):
        splits |= _hold_out(name, splits["train"], options)
        notes.append(
            f"dev was cut from train: {len(splits['dev'])} rows by seed {options.seed}, "
            f"share {options.dev_share}"
        )
    data = LabelledData(
        name=name,
        label_names=tuple(names.values()),
        splits={split: splits[split] for split in ("train", "dev", "test") if split in splits},
        columns=(*texts, label),
        notes=tuple(notes),
    )
    _check_classes(data)
    return data


def _find_columns(
    name: str, known: list[str], options: LabelledOptions
) -> tuple[tuple[str, ...], str]:
    """Name the columns of the texts and of the label; own names win over the usual ones."""
    own = [c for c in (options.text_column, options.pair_column, options.label_column) if c]
    for column in own:
        if column not in known:
            _refuse_column(name, f"column {column!r}", known, "name one of them")
    if options.text_column:
        texts = tuple(c for c in (options.text_column, options.pair_column) if c)
    else:
        pairs = [pair for pair in _PAIRS if set(pair) <= set(known)]
        singles = [(column,) for column in _TEXTS if column in known]
        if not pairs and not singles:
            _refuse_column(name, "a column of texts", known, "name it: text_column (--text-column)")
        texts = (pairs or singles)[0]
    labels = [options.label_column] if options.label_column else LABEL_COLUMNS
    label = next((column for column in labels if column in known), "")
    if not label:
        _refuse_column(name, "a column of labels", known, "name it: label_column (--label-column)")
    return texts, label


def _refuse_column(name: str, what: str, known: Sequence[str], fix: str) -> NoReturn:
    raise VesaliusError(
        given=f"{name}: {what} is not there; it has {', '.join(known)}",
        expected=f"texts in one of {', '.join(_TEXTS)} or a usual pair such as sentence1 and "
        f"sentence2, labels in one of {', '.join(LABEL_COLUMNS)}",
        fix=fix,
    )


def _is_hidden(labels: Sequence[Any] | None) -> bool:
    return labels is None or all(label in (None, -1, "-1", "") for label in labels)


def _names_column(tables: Mapping[str, Columns], label: str) -> str:
    """Find ``label_name``, a name for each label, if that is what it is."""
    if label == "label_name" or any("label_name" not in table for table in tables.values()):
        return ""
    pairs = {
        pair
        for table in tables.values()
        for pair in zip(map(_plain, table[label]), table["label_name"], strict=True)
    }
    by_label = {first for first, _ in pairs}
    by_name = {second for _, second in pairs}
    return "label_name" if len(pairs) == len(by_label) == len(by_name) else ""


def _plain(value: object) -> object:
    """Write whole numbers one way, however the file writes them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().lstrip("-").isascii():
        word = value.strip()
        return int(word) if word.lstrip("-").isdigit() else word
    return value.strip() if isinstance(value, str) else value


def _label_names(
    name: str,
    tables: Mapping[str, Columns],
    label: str,
    names_at: str,
    hub_names: Sequence[str],
) -> dict[object, str]:
    """Map each label of train, in order, to its name."""
    values = [_plain(value) for value in tables["train"][label]]
    _check_labels(name, "train", label, values)
    known = sorted(set(values), key=lambda v: (isinstance(v, str), v))
    if names_at:
        words = zip(values, tables["train"][names_at], strict=True)
        by_label = {value: str(word) for value, word in words}
        return {value: by_label[value] for value in known}
    if hub_names and all(isinstance(v, int) and 0 <= v < len(hub_names) for v in known):
        return {value: hub_names[int(str(value))] for value in known}
    return {value: str(value) for value in known}


def _check_labels(name: str, split: str, label: str, values: Sequence[object]) -> None:
    for row, value in enumerate(values):
        if value is None or value in ("", -1):
            raise VesaliusError(
                given=f"{name}: no label in row {row + 1} of {split} ({label}={value!r})",
                expected="a label in every row",
                fix="leave rows without a label out",
            )
        if isinstance(value, float) or not isinstance(value, int | str):
            raise VesaliusError(
                given=f"{name}: {label}={value!r} in row {row + 1} of {split}",
                expected="classes: whole numbers or words",
                fix="name another label column (--label-column); scores are not classified",
            )


def _split(
    name: str,
    split: str,
    table: Columns,
    texts: tuple[str, ...],
    label: str,
    names: Mapping[object, str],
    options: LabelledOptions,
) -> LabelledSplit:
    missing = [column for column in (*texts, label) if column not in table]
    if missing:
        _refuse_column(name, f"column {missing[0]!r} of {split}", list(table), "give it there too")
    number = options.max_rows or len(table[label])
    if number == 0 or not table[label]:
        raise VesaliusError(
            given=f"{name}: split {split} has no rows",
            expected="at least one row in each split",
            fix="leave the split out, or fill it",
        )
    values = [_plain(value) for value in table[label][:number]]
    _check_labels(name, split, label, values)
    unseen = sorted({str(value) for value in values if value not in names})
    if unseen:
        raise VesaliusError(
            given=f"{name}: label {unseen[0]!r} in {split}, which train never shows",
            expected=f"the labels of train: {', '.join(map(str, names))}",
            fix="split the rows so that train has every label",
        )
    columns = [_texts(name, split, column, table[column][:number]) for column in texts]
    order = {value: index for index, value in enumerate(names)}
    return LabelledSplit(
        texts=columns[0],
        pairs=columns[1] if len(columns) > 1 else None,
        labels=tuple(order[value] for value in values),
    )


def _texts(name: str, split: str, column: str, values: Sequence[object]) -> tuple[str, ...]:
    for row, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise VesaliusError(
                given=f"{name}: no text in row {row + 1} of {split} ({column}={value!r})",
                expected="a text in every row",
                fix="leave that row out, or name another column (--text-column)",
            )
    return tuple(str(value) for value in values)


def _hold_out(
    name: str, train: LabelledSplit, options: LabelledOptions
) -> dict[str, LabelledSplit]:
    """Cut dev from train by seed; the rest keeps its order."""
    if options.dev_share == 0:
        raise VesaliusError(
            given=f"{name}: no dev (or validation) split",
            expected="a split that is not trained on",
            fix="give one, or ask for a part of train: dev_share=0.1 (--dev-share 0.1)",
        )
    size = max(1, round(len(train) * options.dev_share))
    generator = np.random.default_rng(derive_seed(options.seed, "dev"))
    chosen = set(generator.permutation(len(train))[:size].tolist())
    if size >= len(train):
        raise VesaliusError(
            given=f"{name}: {len(train)} rows, of which {size} would be dev",
            expected="rows left to train on",
            fix="lower dev_share (--dev-share), or give more rows",
        )
    return {
        "train": train.rows([i for i in range(len(train)) if i not in chosen]),
        "dev": train.rows(sorted(chosen)),
    }


def _check_classes(data: LabelledData) -> None:
    counts = Counter(data.splits["train"].labels)
    if len(counts) < 2:
        raise VesaliusError(
            given=f"{data.name}: train shows {len(counts)} class ({data.label_names[0]!r}) "
            f"in column {data.columns[-1]!r}",
            expected="at least two classes",
            fix="name another label column (--label-column), or give more rows",
        )
    absent = [name for i, name in enumerate(data.label_names) if i not in counts]
    if absent:
        raise VesaliusError(
            given=f"{data.name}: no row of class {absent[0]!r} is left in train",
            expected="every class in train",
            fix="raise max_rows (--max-rows), or choose another seed or share of dev",
        )
