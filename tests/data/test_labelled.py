"""Labelled texts: every layout, what is refused, and batches as a function of their number."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from cli.tiny import tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.data.facts import load_facts
from vesalius.data.labelled import LabelledOptions, LabelledSplit, load_labelled
from vesalius.data.labelled_batches import (
    EncodedSplit,
    LabelledBatches,
    encode_labelled,
    make_batch,
)
from vesalius.data.labelled_files import read_columns

ROWS = [
    {
        "split": split,
        "text": f"{split} text {i}",
        "label": i % 2,
        "label_name": ("no", "yes")[i % 2],
    }
    for split, count in (("train", 6), ("dev", 4), ("test", 2))
    for i in range(count)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = list(rows[0])
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = ["\t".join(names), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".tsv"])
def test_every_format_gives_the_same_set(tmp_path: Path, suffix: str):
    data = load_labelled(write(tmp_path / f"set{suffix}", ROWS))
    assert data.label_names == ("no", "yes")
    assert data.columns == ("text", "label")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 6,
        "dev": 4,
        "test": 2,
    }
    assert data.splits["dev"].texts[1] == "dev text 1"
    assert data.splits["dev"].labels == (0, 1, 0, 1)
    assert data.splits["dev"].pairs is None
    assert data.fingerprint() == load_labelled(write(tmp_path / "again.jsonl", ROWS)).fingerprint()


def test_a_folder_of_splits_reads_as_one_file(tmp_path: Path):
    for word, split in (("train", "train"), ("validation", "dev"), ("test", "test")):
        rows = [{k: v for k, v in r.items() if k != "split"} for r in ROWS if r["split"] == split]
        write(tmp_path / f"{word}.tsv", rows)
    whole = write(tmp_path.with_suffix(".jsonl"), ROWS)
    assert load_labelled(tmp_path).fingerprint() == load_labelled(whole).fingerprint()


@pytest.mark.parametrize(
    ("first", "second"),
    [("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence")],
)
def test_pairs_are_found_by_their_usual_names(tmp_path: Path, first: str, second: str):
    rows = [{"split": r["split"], first: "a", second: r["text"], "label": r["label"]} for r in ROWS]
    data = load_labelled(write(tmp_path / "pairs.csv", rows))
    assert data.columns == (first, second, "label")
    assert data.splits["train"].pairs == tuple(f"train text {i}" for i in range(6))
    assert data.label_names == ("0", "1")


def test_own_columns_and_words_as_labels(tmp_path: Path):
    rows = [{"split": r["split"], "text": "x", "body": r["text"], "mood": r["label_name"]}
            for r in ROWS]  # fmt: skip
    path = write(tmp_path / "own.csv", rows)
    options = LabelledOptions(text_column="body", label_column="mood")
    data = load_labelled(path, options=options)
    assert data.label_names == ("no", "yes")
    assert data.splits["train"].texts[0] == "train text 0"


def test_numbers_are_ordered_as_numbers(tmp_path: Path):
    rows = [{"split": s, "text": f"{s} {i}", "label": str(i)} for s in ("train", "dev")
            for i in (10, 9, 1, 0)]  # fmt: skip
    assert load_labelled(write(tmp_path / "n.tsv", rows)).label_names == ("0", "1", "9", "10")


def test_a_dev_split_is_cut_only_when_asked(tmp_path: Path):
    path = write(tmp_path / "one.jsonl", [r for r in ROWS if r["split"] == "train"] * 5)
    with pytest.raises(VesaliusError, match="dev_share"):
        load_labelled(path)
    options = LabelledOptions(dev_share=0.2, seed=1)
    data = load_labelled(path, options=options)
    assert (len(data.splits["train"]), len(data.splits["dev"])) == (24, 6)
    assert load_labelled(path, options=options).fingerprint() == data.fingerprint()
    assert load_labelled(path, options=LabelledOptions(dev_share=0.2)) != data
    assert "cut from train" in data.notes[0]


def test_a_test_split_without_public_labels_is_left_out_and_named(tmp_path: Path):
    rows = [
        {
            "split": r["split"],
            "text": r["text"],
            "label": -1 if r["split"] == "test" else r["label"],
        }
        for r in ROWS
    ]
    data = load_labelled(write(tmp_path / "g.csv", rows))
    assert list(data.splits) == ["train", "dev"]
    assert "test was left out" in data.notes[0]


def test_first_rows_only(tmp_path: Path):
    data = load_labelled(write(tmp_path / "s.csv", ROWS), options=LabelledOptions(max_rows=2))
    assert [len(split) for split in data.splits.values()] == [2, 2, 2]


def test_the_bundled_set_is_balanced_and_its_splits_share_nothing():
    data = load_labelled("kinds")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 440,
        "dev": 140,
        "test": 140,
    }
    subjects = sorted({fact.subject for fact in load_facts()}, key=len, reverse=True)
    names: dict[str, set[str]] = {}
    frames: dict[str, set[str]] = {}
    for name, split in data.splits.items():
        assert len(set(Counter(split.labels).values())) == 1
        for text in split.texts:
            subject = next(s for s in subjects if s in text)
            names.setdefault(name, set()).add(subject)
            frames.setdefault(name, set()).add(text.replace(subject, "_"))
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not frames[one] & frames[other]
        assert not names[one] & names[other]


class _HubRows:
    """What the `datasets` library gives for one split, as far as it is read."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str]) -> None:
        self._rows = rows
        self.column_names = list(rows[0])
        self.features = {"label": SimpleNamespace(names=names)}

    def __getitem__(self, column: str) -> list[Any]:
        return [row[column] for row in self._rows]


def test_names_on_the_hub(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, str | None]] = []

    def load_dataset(name: str, config: str | None) -> dict[str, _HubRows]:
        asked.append((name, config))
        if name == "nobody/nothing":
            raise ConnectionError("no network")
        rows = [{"sentence": f"s {i}", "label": i % 2, "idx": i} for i in range(4)]
        hidden = [row | {"label": -1} for row in rows]
        made = {"train": rows, "validation": rows, "test": hidden, "validation_mismatched": rows}
        return {k: _HubRows(v, ["negative", "positive"]) for k, v in made.items()}

    fake = SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    data = load_labelled("glue/sst2")
    assert data.label_names == ("negative", "positive")
    assert list(data.splits) == ["train", "dev"]
    load_labelled("owner/name:small")
    assert asked == [("glue", "sst2"), ("owner/name", "small")]
    with pytest.raises(VesaliusError, match="no network"):
        load_labelled("nobody/nothing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(VesaliusError, match="train"):
        load_labelled("glue/sst2")


TRAIN = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]


def refused(path: Path, options: LabelledOptions | None = None) -> str:
    with pytest.raises(VesaliusError) as caught:
        load_labelled(path, options=options)
    return str(caught.value)


def splits(rows: list[dict[str, Any]], dev: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r | {"split": "train"} for r in rows] + [r | {"split": "dev"} for r in dev]


BAD: list[tuple[str, list[dict[str, Any]], str]] = [
    ("no label column", splits([{"text": "a", "idx": 1}], [{"text": "b", "idx": 2}]),
     "a column of labels is not there; it has text, idx, split"),
    ("no text column", splits([{"words": "a", "label": 1}], [{"words": "b", "label": 2}]),
     "a column of texts is not there"),
    ("one class", splits([TRAIN[0], TRAIN[0]], [TRAIN[0]]), "1 class"),
    ("unseen", splits(TRAIN, [{"text": "c", "label": 7}]), "label '7' in dev"),
    ("no label", splits([*TRAIN, {"text": "c", "label": None}], TRAIN), "row 3 of train"),
    ("scores", splits([*TRAIN, {"text": "c", "label": 0.5}], TRAIN), "0.5"),
    ("no text", splits(TRAIN, [{"text": "  ", "label": 1}]), "no text in row 1 of dev"),
    ("no train", [r | {"split": "dev"} for r in TRAIN], "no train"),
    ("odd split", [r | {"split": "later"} for r in TRAIN], "'later'"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "words"), [r[1:] for r in BAD], ids=[r[0] for r in BAD])
def test_bad_sets_are_refused(tmp_path: Path, rows: list[dict[str, Any]], words: str):
    assert words in refused(write(tmp_path / "bad.jsonl", rows))


def test_bad_files_are_refused(tmp_path: Path):
    path = tmp_path / "set.csv"
    path.write_bytes(b"text,label\na,0\nb\xff,1\n")
    assert "line 3: byte 0xff is not UTF-8" in refused(path)
    path.write_text("text,label\na,0,9\n", encoding="utf-8")
    assert "line 2: 3 fields" in refused(path)
    path.write_text("text,text\na,0\n", encoding="utf-8")
    assert "two columns of one name" in refused(path)
    path.write_text("text,label\n", encoding="utf-8")
    assert "no rows" in refused(path)
    path.write_text("", encoding="utf-8")
    assert "no rows" in refused(path)
    lines = tmp_path / "set.jsonl"
    lines.write_text('{"text": "a", "label": 1}\n{"text": \n', encoding="utf-8")
    assert "line 2" in refused(lines)
    lines.write_text('{"text": "a", "label": 1}\n[1]\n', encoding="utf-8")
    assert "line 2: list" in refused(lines)
    lines.write_text('{"text": "a"}\n{"text": "b", "label": 1}\n', encoding="utf-8")
    assert "line 2: keys" in refused(lines)
    damaged = tmp_path / "set.parquet"
    damaged.write_bytes(b"PAR1 and nothing else")
    assert "set.parquet" in refused(damaged)
    assert "does not exist" in refused(tmp_path / "nowhere.csv")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    assert "ends in" in refused(tmp_path / "notes.txt")
    with pytest.raises(VesaliusError, match="ends in"):
        read_columns(tmp_path / "notes.txt")
    empty = tmp_path / "folder"
    empty.mkdir()
    assert "no table" in refused(empty)
    for name in ("dev.csv", "valid.csv", "train.csv"):
        write(empty / name, TRAIN)
    assert "two dev files" in refused(empty)


def test_bad_options_are_refused(tmp_path: Path):
    for options in ({"dev_share": 1.0}, {"dev_share": -0.1}, {"max_rows": -1},
                    {"pair_column": "b"}):  # fmt: skip
        with pytest.raises(VesaliusError):
            LabelledOptions(**options)
    path = write(tmp_path / "s.jsonl", splits(TRAIN, TRAIN))
    assert "column 'mood'" in refused(path, LabelledOptions(label_column="mood"))
    assert "1 class" in refused(path, LabelledOptions(max_rows=1))
    small = write(tmp_path / "t.jsonl", TRAIN[:1])
    assert "left to train" in str(refused(small, LabelledOptions(dev_share=0.5)))


def encoded(lengths: list[int]) -> EncodedSplit:
    return EncodedSplit(
        inputs={"input_ids": tuple(tuple([i + 1] * n) for i, n in enumerate(lengths))},
        labels=tuple(i % 2 for i in range(len(lengths))),
        num_cut=0,
        pad_id=0,
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 7), st.integers(0, 5))
def test_an_epoch_holds_every_row_once(lengths: list[int], batch_size: int, seed: int):
    batches = LabelledBatches(encoded(lengths), batch_size=batch_size, seed=seed)
    for epoch in (0, 1):
        first = epoch * batches.batches_per_epoch
        rows = [i for n in range(batches.batches_per_epoch) for i in batches.rows(first + n)]
        assert sorted(rows) == list(range(len(lengths)))
    again = LabelledBatches(encoded(lengths), batch_size=batch_size, seed=seed)
    number = 2 * batches.batches_per_epoch  # another way there gives the same batch
    assert torch.equal(batches[number]["input_ids"], again[number]["input_ids"])
    assert 0 <= batches.padding_share() < 1


def test_seeds_and_epochs_differ_and_like_lengths_stand_together():
    lengths = [1 + (i * 7) % 50 for i in range(400)]
    one, two = (LabelledBatches(encoded(lengths), batch_size=8, seed=seed) for seed in (0, 1))
    assert one.rows(0) != two.rows(0)
    assert one.rows(0) != one.rows(one.batches_per_epoch)
    mixed = 1 - sum(lengths) / (50 * len(lengths))
    assert one.padding_share() < mixed / 3
    with pytest.raises(VesaliusError, match="batch_size=0"):
        LabelledBatches(encoded(lengths), batch_size=0, seed=0)


def test_batches_are_padded_on_the_right():
    batch = make_batch(encoded([3, 1]), [1, 0])
    assert batch["input_ids"].tolist() == [[2, 0, 0], [1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [1, 0]


def test_encoding_counts_what_it_cuts():
    split = LabelledSplit(texts=("Paris is a city", "Rome"), pairs=None, labels=(0, 1))
    made = encode_labelled(split, tokenizer=tokenizer(), max_length=4)
    assert (made.num_cut, made.lengths) == (1, (4, 3))
    pairs = LabelledSplit(texts=("Paris",), pairs=("Rome",), labels=(0,))
    assert encode_labelled(pairs, tokenizer=tokenizer(), max_length=9).lengths == (5,)
    bare = tokenizer()
    bare.pad_token = None
    with pytest.raises(VesaliusError, match="padding token"):
        encode_labelled(split, tokenizer=bare, max_length=4)
