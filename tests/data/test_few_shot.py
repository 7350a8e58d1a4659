"""Prompts with demonstrations, and the plain text beside them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data import few_shot, plain_text
from vesalius.data.few_shot import FewShotTask, LabelledRow

ROWS = [LabelledRow(texts=(f"text number {i} is here",), label=i % 2) for i in range(8)]
SST2 = few_shot.find_task("sst2")


@pytest.mark.parametrize("task", few_shot.load_tasks().values(), ids=list(few_shot.load_tasks()))
def test_every_task_of_the_table_can_be_written(task: FewShotTask):
    row = LabelledRow(texts=("one text", "another")[: len(task.fields)], label=task.num_labels - 1)
    assert {len(words) for words in task.verbalisers} == {task.num_labels}
    assert all(len(set(words)) == len(words) for words in task.verbalisers)
    assert not task.merge or set(task.merge) == set(range(task.num_labels))
    assert not task.label_values or len(task.label_values) == task.num_labels
    for template in task.templates:
        assert template.count(" {label}") == 1
        for words in task.verbalisers:
            text, (start, end) = few_shot.write_example(
                row, template=template, words=words, max_characters=100
            )
            assert text[start:end] == words[-1]
            assert text[start - 1] == " "
            assert all(part in text for part in row.texts)


def test_three_sets_at_least_are_never_trained_on():
    tasks = few_shot.load_tasks().values()
    assert {"agnews", "amazon", "rte"} == {task.name for task in tasks if task.weight == 0}
    assert all("test" not in task.training_splits for task in tasks)
    assert all(
        task.training_splits == ("train",)
        for task in tasks
        if task.weight and task.path.split("/")[0] in ("cls", "glue", "nli")
    )
    assert sum(task.weight for task in tasks) == pytest.approx(1)


def test_a_prompt_is_written_as_in_the_closed_form():
    found = few_shot.join_examples(
        ROWS[:2],
        template=SST2.templates[0],
        words=("bad", "good"),
        max_characters=500,
        instruction="Say {choices}.",
    )
    assert found.text == (
        "Say bad or good.\n\nReview: text number 0 is here\nSentiment: bad\n\n"
        "Review: text number 1 is here\nSentiment: good"
    )
    assert [found.text[start:end] for start, end in found.answers] == ["bad", "good"]


@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=9), room=st.integers(200, 2000))
def test_long_texts_are_cut_to_one_length_until_all_fit(lengths: list[int], room: int):
    rows = [LabelledRow(texts=("a" * n,), label=0) for n in lengths]
    found = few_shot.join_examples(
        rows, template="T: {text}\nL: {label}", words=("x", "y"), max_characters=room
    )
    kept = [len(part.split("\n")[0]) for part in found.text.split("T: ")[1:]]
    cut = [k for k, n in zip(kept, lengths, strict=True) if k < n]
    if cut:
        assert len(set(cut)) == 1
        assert cut[0] >= few_shot.MIN_CHARACTERS
        assert all(k <= cut[0] for k in kept)
    if not cut or cut[0] > few_shot.MIN_CHARACTERS:
        assert len(found.text) <= room + 5 * len(rows)


def test_drawn_prompts_depend_on_the_seed_alone_and_keep_labels_right():
    def draw(seed: int) -> list[few_shot.FewShotText]:
        random = np.random.default_rng(seed)
        return [
            few_shot.draw_text(
                few_shot.group_rows(ROWS), task=SST2, random=random, max_characters=800
            )
            for _ in range(60)
        ]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    known = dict.fromkeys(sum(SST2.verbalisers, ()))
    symbols = 0
    for prompt in draw(1):
        words = [prompt.text[start:end] for start, end in prompt.answers]
        numbers = [
            int(prompt.text[: prompt.answers[i][0]].rpartition("number ")[2].split()[0])
            for i in range(len(words))
        ]
        assert all(
            (a == b) == (i % 2 == j % 2)
            for a, i in zip(words, numbers, strict=True)
            for b, j in zip(words, numbers, strict=True)
        )
        if words[0] not in known:
            symbols += 1
            assert len(words) > 4 or len(prompt.text) > 600
    assert 0 < symbols < 30


def test_rows_are_read_by_split_and_classes_merged(tmp_path: Path):
    (tmp_path / "nli").mkdir()
    table = [
        {"premise": f"p  {i}", "hypothesis": "h", "label": i % 3, "split": split}
        for i, split in enumerate(("train", "train", "train", "test"))
    ]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "nli" / "snli.parquet")
    task = few_shot.find_task("snli_two")
    rows = few_shot.load_rows(tmp_path, task=task, splits=("train",))
    assert [row.label for row in rows] == [0, 1, 1]
    assert rows[0].texts == ("p 0", "h")
    assert len(few_shot.load_rows(tmp_path, task=task)) == 4


def _no_split(folder: Path) -> None:
    (folder / "cls").mkdir()
    row = {"text": "a", "label": 0, "split": "dev"}
    pq.write_table(pa.Table.from_pylist([row]), folder / "cls" / "sst2.parquet")
    few_shot.load_rows(folder, task=SST2, splits=("train",))


def _not_parquet(folder: Path) -> None:
    (folder / "cls").mkdir()
    (folder / "cls" / "sst2.parquet").write_text("text,label")
    few_shot.load_rows(folder, task=SST2)


def _no_rows(_: Path) -> None:
    few_shot.join_examples([], template="{text} {label}", words=("a",), max_characters=9)


BAD = {
    "unknown task": (lambda _: few_shot.find_task("imdb"), "imdb"),
    "no file": (lambda folder: few_shot.load_rows(folder, task=SST2), "sst2.parquet"),
    "no such split": (_no_split, "without a row of split train"),
    "not parquet": (_not_parquet, "cannot be read"),
    "no rows": (_no_rows, "no row"),
    "no passages": (lambda folder: plain_text.load_passages(folder), "trex_sentences"),
    "passages of nothing": (lambda _: plain_text.cut_passages("a", max_characters=0), "=0"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.usefixtures("as_users_call_it")
def test_bad_input_meets_a_clear_message(what: str, tmp_path: Path):
    call, part = BAD[what]
    with pytest.raises(VesaliusError, match=part):
        call(tmp_path)


@given(st.text(alphabet="ab. \n", max_size=300), st.integers(1, 60))
def test_passages_hold_every_word_in_order(text: str, size: int):
    passages = plain_text.cut_passages(text, max_characters=size)
    assert " ".join(passages).split() == text.split()
    for passage in passages:
        assert len(passage) <= size or "\n" not in passage


def test_about_one_passage_in_a_hundred_is_held_out():
    held_out = [plain_text.is_held_out(f"passage {i}") for i in range(10_000)]
    assert 60 < sum(held_out) < 140  # 100 +- 4 standard deviations


def test_passages_come_once_and_with_their_source(tmp_path: Path):
    for source in plain_text.SOURCES.values():
        path = tmp_path / source.path
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": ["the same", f"only in {path.stem}", ""]}), path)
    found = plain_text.load_passages(tmp_path)
    assert [p.text for p in found].count("the same") == 1
    sources = {p.source for p in found if p.text.startswith("only")}
    assert sources | {"factbook"} == set(plain_text.SOURCES)  # half of the factbook is used
