"""Texts out of files of every kind, and what is wrong with the files."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data.sources import SourceOptions, find_sources, read_documents


def _read(*names, **options) -> list[str]:
    reading = SourceOptions(**options)
    return [text for s in find_sources(names) for text in read_documents(s, options=reading)]


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("boundary", "documents"),
    [
        ("blank-line", ["One\ntwo", "Three", "Fünf"]),
        ("line", ["One", "two", "Three", "Fünf"]),
        ("file", ["One\ntwo\n\nThree\n \nFünf"]),
    ],
)
def test_plain_text(tmp_path, boundary, documents):
    path = _write(tmp_path / "a.txt", "\ufeffOne\r\ntwo\r\n\r\nThree\n \nFünf")
    assert _read(path, boundary=boundary) == documents


def test_tables(tmp_path):
    rows = [{"text": "One, two", "split": "train"}, {"text": 'a "b"\nc', "split": "dev"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    lines = "\n".join(map(json.dumps, rows))
    _write(tmp_path / "b.jsonl", lines + "\n\n")
    _write(tmp_path / "c.csv", 'text,split\n"One, two",train\n"a ""b""\nc",dev\n')
    for name in ("a.parquet", "b.jsonl", "c.csv"):
        assert _read(tmp_path / name) == ["One, two", 'a "b"\nc']
        assert _read(tmp_path / name, split="dev") == ['a "b"\nc']
        assert _read(tmp_path / name, column="split") == ["train", "dev"]
    assert len(_read(tmp_path)) == 6


def test_a_quote_in_a_tsv_swallows_no_line(tmp_path):
    path = _write(tmp_path / "a.tsv", 'text\tn\n"Yes\t1\nno"\t2\n"Oh" she said\t3\n')
    assert _read(path) == ['"Yes', 'no"', '"Oh" she said']


def test_a_field_of_a_csv_may_be_a_book(tmp_path):
    path = _write(tmp_path / "a.csv", "text\n" + "word " * 30_000 + "\n")
    assert len(_read(path)[0]) == 150_000


def test_a_column_is_guessed(tmp_path):
    _write(tmp_path / "a.jsonl", '{"n": 1, "body": "x"}\n')
    _write(tmp_path / "b.jsonl", '{"other": "n", "texts": ["x", "y"]}\n')
    assert _read(tmp_path) == ["x", "x", "y"]


def test_a_file_is_known_by_its_contents(tmp_path):
    path = _write(tmp_path / "a.txt", "One")
    (one,) = find_sources([path])
    _write(path, "Two")
    (two,) = find_sources([path])
    assert one.pin != two.pin
    assert one.num_bytes == 3


def test_a_data_set_of_the_hub_is_pinned_to_its_commit(monkeypatch):
    import datasets
    import huggingface_hub

    asked = []

    def load(name, **options):
        asked.append((name, options))
        return datasets.Dataset.from_list([{"text": "One"}, {"text": "Two"}])

    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda self, name: SimpleNamespace(sha="c0ffee")
    )
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert _read("someone/wiki", split="validation") == ["One", "Two"]
    options = {"split": "validation", "streaming": True, "revision": "c0ffee"}
    assert asked == [("someone/wiki", options)]


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", "", {}, "empty file"),
        ("a.txt", " \n\n", {}, "no document"),
        ("a.txt", b"fine\ncaf\xe9\n", {}, r"a.txt', line 2: byte 0xe9 at column 4"),
        ("a.txt", "x", {"column": "text"}, "column or a split"),
        ("a.pdf", "x", {}, r"a\.pdf'\n.*\.txt, \.parquet, \.jsonl"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', {}, "line 2"),
        ("a.jsonl", "[1]\n", {}, "line 1: a list"),
        ("a.jsonl", '{"text": 3}\n', {}, "column 'text' with a int"),
        ("a.jsonl", '{"a": "x", "b": "y"}\n', {}, "column 'text' .*\n.*one of a, b"),
        ("a.jsonl", '{"text": "x"}\n', {"column": "body"}, "column 'body' .*\n.*one of text"),
        ("a.jsonl", '{"text": "x"}\n', {"split": "train"}, "column 'split'"),
        ("a.csv", "text,split\nx,dev\n", {"split": "train"}, "no document with split 'train'"),
        ("a.csv", "text,b\nx\n", {}, "line 2: another number of fields"),
        ("a.csv", 'text\n"a\nb\nc\n', {}, "unexpected end of data"),
        ("a.jsonl", '{"text": "x"}\n{"body": "y"}\n', {}, "a row that has body"),
        ("a.jsonl", '{"text": "fine"}\n{"text": "\\ud800"}\n', {}, "document 2: .*surrogates"),
        ("a.txt", "x", {"boundary": "paragraph"}, "boundary='paragraph'"),
        ("a.parquet", "no parquet", {}, "a.parquet': Arrow"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, options, message):
    with pytest.raises(VesaliusError, match=message):
        _read(_write(tmp_path / name, content), **options)


@pytest.mark.usefixtures("as_users_call_it")
def test_sources_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(VesaliusError, match=r"gone\.txt', which does not exist"):
        find_sources([tmp_path / "gone.txt"])
    with pytest.raises(VesaliusError, match="no source"):
        find_sources([])
    with pytest.raises(VesaliusError, match="without such a file"):
        find_sources([tmp_path])
    path = _write(tmp_path / "a.txt", "x")
    with pytest.raises(VesaliusError, match=r"a\.txt' twice"):
        find_sources([path, path])
    with pytest.raises(VesaliusError, match=r"a\.txt' twice"):
        find_sources([path, tmp_path / ".." / tmp_path.name / "a.txt"])
    for names in (str(path), [""]):  # the one would be read letter by letter, "/" with all below
        with pytest.raises(VesaliusError, match="a list of names"):
            find_sources(names)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VesaliusError, match="'someone/wiki': no such file, and the hub"):
        find_sources(["someone/wiki"])
