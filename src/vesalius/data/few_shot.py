"""Classification sets as prompts for language models: instruction, demonstrations, query.

Source: prompts with demonstrations of Brown et al. 2020 (arXiv 2005.14165); trained on many sets
with several templates and label words, as MetaICL (Min et al. 2022, arXiv 2110.15943); labels
without meaning as symbol tuning (Wei et al. 2023, arXiv 2305.08298). The tables are our own.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from vesalius.core.errors import VesaliusError

MAX_DEMONSTRATIONS: Final = 8
# Words that mean nothing here: only the demonstrations tell which class they stand for.
SYMBOLS: Final = (
    ("A", "B", "C"),
    ("X", "Y", "Z"),
    ("1", "2", "3"),
    ("red", "blue", "green"),
    ("left", "right", "middle"),
    ("apple", "stone", "river"),
    ("first", "second", "third"),
)
_SYMBOL_SHARE: Final = 0.15  # of the prompts; the demonstrations cannot help otherwise
_INSTRUCTION_SHARE: Final = 0.4
_SUBSET_SHARE: Final = 0.6  # of the prompts of a set with many classes that show only some
_SEPARATORS: Final = ("\n\n", "\n\n", "\n", "\n###\n")
MIN_CHARACTERS: Final = 80  # a text is not cut below this: a few words say nothing


@final
@dataclass(frozen=True, kw_only=True)
class LabelledRow:
    """One text, or two of a pair, and the number of its class."""

    texts: tuple[str, ...]
    label: int


@final
@dataclass(frozen=True, kw_only=True)
class FewShotTask:
    """How the rows of a set are written as prompts, and the words for its classes."""

    name: str
    what: str
    licence: str
    path: str
    fields: tuple[str, ...]
    templates: tuple[str, ...]
    instructions: tuple[str, ...]
    verbalisers: tuple[tuple[str, ...], ...]
    weight: float
    training_splits: tuple[str, ...] = ()
    merge: tuple[int, ...] = ()
    label_column: str = "label"
    label_values: tuple[str, ...] = ()
    detokenise: bool = False

    @property
    def num_labels(self) -> int:
        """Count the classes."""
        return len(self.verbalisers[0])


@final
@dataclass(frozen=True, kw_only=True)
class FewShotText:
    """A prompt with all its answers, and where in the text each answer stands: [start, end)."""

    text: str
    answers: tuple[tuple[int, int], ...]


@cache
def load_tasks() -> Mapping[str, FewShotTask]:
    """Return every task of the table, by name."""
    table = Path(str(files("vesalius"))) / "data" / "tables" / "few_shot.toml"
    return {
        name: FewShotTask(name=name, **{key: _frozen(value) for key, value in row.items()})
        for name, row in tomllib.loads(table.read_text("utf-8")).items()
    }


def find_task(name: str) -> FewShotTask:
    """Return the task of that name.

    Raises:
        VesaliusError: there is none.
    """
    tasks = load_tasks()
    if name not in tasks:
        raise VesaliusError(
            given=f"task {name!r}", expected=f"one of {', '.join(tasks)}", fix="use 'sst2'"
        )
    return tasks[name]


def load_rows(
    data_dir: Path, *, task: FewShotTask, splits: Sequence[str] = ()
) -> list[LabelledRow]:
    """Read the rows of a task's file, in file order; no `splits` means all rows.

    Rows whose label the task does not know (films of several genres) are left out.

    Raises:
        VesaliusError: the file or a column is missing, or no row is of these splits.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = data_dir / task.path
    columns = [*task.fields, task.label_column, *(["split"] if splits else [])]
    try:
        with path.open("rb") as file:
            records = parquet.read_table(file, columns=columns).to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise VesaliusError(
            given=f"{str(path)!r}, which cannot be read ({type(error).__name__})",
            expected=f"a parquet file with the columns {', '.join(columns)}",
            fix="give the folder that holds facts/, text/, cls/ and nli/, as the card describes it",
        ) from error
    clean = detokenise if task.detokenise else _collapse
    rows: list[LabelledRow] = []
    for record in records:
        label = _label(record[task.label_column], task)
        texts = tuple(clean(str(record[field] or "")) for field in task.fields)
        if label is not None and all(texts) and (not splits or record["split"] in splits):
            rows.append(LabelledRow(texts=texts, label=label))
    if not rows:
        raise VesaliusError(
            given=f"{str(path)!r} without a row of split {' or '.join(splits) or 'any'}",
            expected="labelled rows",
            fix="look at the column 'split' of the file",
        )
    return rows


def detokenise(text: str) -> str:
    """Write a tokenised sentence as people do: no space before marks, brackets for -lrb-.

    >>> detokenise("it 's good -lrb- at times -rrb- , is n't it ?")
    "it's good (at times), isn't it?"
    """
    for old, new in (("-lrb-", "("), ("-rrb-", ")"), ("``", '"'), ("''", '"'), ("\\/", "/")):
        text = text.replace(old, new)
    text = re.sub(r"\s+([,.;:!?)%]|n't\b|'(?:s|re|ve|ll|d|m)\b)", r"\1", text)
    text = re.sub(r"([(])\s+", r"\1", text)
    return _collapse(text)


def write_example(
    row: LabelledRow, *, template: str, words: Sequence[str], max_characters: int
) -> tuple[str, tuple[int, int]]:
    """Write one row with its answer; return the text and where the answer stands in it.

    Texts longer than `max_characters` are cut at a word's end.
    """
    texts = [_shorten(text, max_characters) for text in row.texts]
    named = {"text": texts[0], "first": texts[0], "second": texts[-1]}
    head, _, tail = template.partition("{label}")
    before = head.format(choices=join_choices(words), **named)
    answer = words[row.label]
    return before + answer + tail, (len(before), len(before) + len(answer))


def join_examples(
    rows: Sequence[LabelledRow],
    *,
    template: str,
    words: Sequence[str],
    max_characters: int,
    instruction: str = "",
    separator: str = "\n\n",
) -> FewShotText:
    """Write several rows one after the other, each with its answer; the last is the query.

    `instruction` may hold {choices}. `max_characters` is for the whole text; long texts are cut
    until it fits, all to one length, but never below `MIN_CHARACTERS`.

    Raises:
        VesaliusError: there is no row.
    """
    if not rows:
        raise VesaliusError(
            given="no row", expected="the query's row, after any demonstrations", fix="pass rows"
        )
    head = instruction.format(choices=join_choices(words)) + separator if instruction else ""
    cap = _common_cap(rows, room=max_characters - len(head), template=template, words=words)
    text, answers = head, list[tuple[int, int]]()
    for i, row in enumerate(rows):
        written, (start, end) = write_example(
            row, template=template, words=words, max_characters=cap
        )
        text += separator if i else ""
        answers.append((len(text) + start, len(text) + end))
        text += written
    return FewShotText(text=text, answers=tuple(answers))


def _common_cap(
    rows: Sequence[LabelledRow], *, room: int, template: str, words: Sequence[str]
) -> int:
    """Return the length to which texts are cut so that all fit into `room` characters."""
    bare = LabelledRow(texts=("", ""), label=0)
    frame = len(write_example(bare, template=template, words=words, max_characters=1)[0]) + 5
    lengths = sorted(len(text) for row in rows for text in row.texts)
    left = room - frame * len(rows)
    for i, length in enumerate(lengths):
        share = left // (len(lengths) - i)
        if length > share:
            return max(share, MIN_CHARACTERS)
        left -= length
    return max([*lengths, MIN_CHARACTERS])


def join_choices(words: Sequence[str]) -> str:
    """Join label words for an instruction.

    >>> join_choices(("good", "okay", "bad"))
    'good, okay or bad'
    """
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def group_rows(rows: Sequence[LabelledRow]) -> dict[int, list[LabelledRow]]:
    """Return the rows of each class, in their order."""
    grouped: dict[int, list[LabelledRow]] = {}
    for row in rows:
        grouped.setdefault(row.label, []).append(row)
    return grouped


def draw_text(
    rows: Mapping[int, Sequence[LabelledRow]],
    *,
    task: FewShotTask,
    random: np.random.Generator,
    max_characters: int,
) -> FewShotText:
    """Draw a training prompt: classes, label words, template, instruction, examples, order.

    `rows` are those of each class, as `group_rows` gives them; classes without rows never come.
    Sometimes the label words mean nothing; then there are at least four demonstrations of at
    most three classes. The classes of the examples are drawn with random chances, so prompts are
    balanced or not.
    """
    classes = np.array(sorted(rows))
    symbolic = random.random() < _SYMBOL_SHARE
    if symbolic or (len(classes) > 2 and random.random() < _SUBSET_SHARE):
        most = 3 if symbolic else min(5, len(classes))
        count = int(random.integers(2, min(most, len(classes)) + 1))
        classes = random.permutation(classes)[:count]
    num_examples = int(random.integers(5 if symbolic else 1, MAX_DEMONSTRATIONS + 2))
    verbaliser = task.verbalisers[int(random.integers(len(task.verbalisers)))]
    words = [verbaliser[label] for label in classes]
    if symbolic:
        words = list(SYMBOLS[random.integers(len(SYMBOLS))][: len(classes)])
        words = [words[i] for i in random.permutation(len(words))]
    chances = random.dirichlet(np.full(len(classes), 2.0))
    drawn: list[LabelledRow] = []
    for place in random.choice(len(classes), size=num_examples, p=chances):
        members = rows[int(classes[place])]
        row = members[int(random.integers(len(members)))]
        drawn.append(LabelledRow(texts=row.texts, label=int(place)))
    told = task.instructions[random.integers(len(task.instructions))]
    template = task.templates[random.integers(len(task.templates))]
    told = told if not symbolic and random.random() < _INSTRUCTION_SHARE else ""
    separator = _SEPARATORS[random.integers(len(_SEPARATORS))]
    while True:
        written = join_examples(
            drawn,
            template=template,
            words=words,
            max_characters=max_characters,
            instruction=told,
            separator=separator,
        )
        if len(written.text) <= max_characters or len(drawn) == 1:
            return written
        drawn = drawn[1:]


def _label(value: Any, task: FewShotTask) -> int | None:
    if task.label_values:
        return task.label_values.index(value) if value in task.label_values else None
    return task.merge[int(value)] if task.merge else int(value)


def _shorten(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    return text[: max_characters + 1].rpartition(" ")[0] or text[:max_characters]


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
