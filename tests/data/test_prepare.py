"""Token shards: what stands in them, and that a stopped run ends in the same bytes."""

import json
from itertools import count

import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data import prepare as module
from vesalius.data.packing import PackedBatches
from vesalius.data.prepare import PrepareOptions, prepare
from vesalius.data.shards import TokenShards
from vesalius.data.sources import SourceOptions
from vesalius.data.tokenizer import train_bpe_tokenizer, train_tokenizer

TEXTS = [" ".join([f"w{i} likes x{i % 7}"] * (1 + i % 5)) for i in range(60)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, whole_words=["likes"], vocab_size=200)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS))
    return path


def _bytes(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_shards_hold_what_the_tokenizer_gives(tmp_path, source, tokenizer):
    options = PrepareOptions(tokens_per_shard=100)
    made = prepare([source], tokenizer=tokenizer, out=tmp_path / "out", options=options)
    shards = TokenShards(tmp_path / "out", tokenizer=tokenizer)
    assert [ids.tolist() for ids in shards] == tokenizer(TEXTS)["input_ids"]
    assert made.num_documents == len(shards) == 60
    assert made.num_tokens == shards.num_tokens == shards.lengths.sum()
    assert made.num_shards > 3
    assert shards.manifest["dtype"] == "uint16"
    assert shards.manifest["vocab_size"] == len(tokenizer)
    batches = PackedBatches(shards, context_length=32, rows_per_batch=2, seed=0)
    assert batches.identity["tokenizer"] == shards.manifest["configuration"]["tokenizer"]
    assert batches[0]["input_ids"].shape == (2, 32)


def test_special_tokens_are_those_that_were_asked_for(tmp_path, source):
    bpe = train_bpe_tokenizer(TEXTS, vocab_size=300)
    plain = [bpe(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    bos, eos = bpe.bos_token_id, bpe.eos_token_id
    for words, expected in {
        "none": plain,
        "eos": [[*ids, eos] for ids in plain],
        "bos-eos": [[bos, *ids, eos] for ids in plain],
    }.items():
        out = tmp_path / words
        prepare([source], tokenizer=bpe, out=out, options=PrepareOptions(special_tokens=words))
        assert [ids.tolist() for ids in TokenShards(out)] == expected


def test_a_large_vocabulary_takes_four_bytes(tmp_path, source, tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "__len__", lambda self: 70_000)
    prepare([source], tokenizer=tokenizer, out=tmp_path / "out")
    shards = TokenShards(tmp_path / "out")
    assert shards.manifest["dtype"] == "uint32"
    assert [ids.tolist() for ids in shards] == tokenizer(TEXTS)["input_ids"]


@pytest.mark.parametrize("killed_at", [0, 1, 7, 23, 58])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    tmp_path, source, tokenizer, monkeypatch, killed_at
):
    options = PrepareOptions(tokens_per_shard=60)
    prepare([source], tokenizer=tokenizer, out=tmp_path / "whole", options=options)
    monkeypatch.setattr(module, "_BATCH_DOCUMENTS", 3)  # another grouping than that of the whole
    known, calls = module._as_bytes, count()

    def stops(*arguments, **options):
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        return known(*arguments, **options)

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(module, "_as_bytes", stops)
        with pytest.raises(KeyboardInterrupt):
            prepare([source], tokenizer=tokenizer, out=out, options=options)
    (out / ".shard-00009.bin.dead.partial").write_text("what kill -9 leaves")
    with pytest.raises(VesaliusError, match="shards are ready"):
        TokenShards(out)
    made = prepare([source], tokenizer=tokenizer, out=out, options=options)
    assert made.num_documents == 60
    assert _bytes(out) == _bytes(tmp_path / "whole")
    again = prepare([source], tokenizer=tokenizer, out=out, options=options)
    assert (again.kept_shards, again.new_tokens) == (again.num_shards, 0)


def test_a_kill_between_a_shard_and_its_manifest(tmp_path, source, tokenizer, monkeypatch):
    options = PrepareOptions(tokens_per_shard=60)
    prepare([source], tokenizer=tokenizer, out=tmp_path / "whole", options=options)
    known, calls = module._write_manifest, count()

    def stops(*arguments):
        if next(calls) == 3:
            raise KeyboardInterrupt
        known(*arguments)

    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(module, "_write_manifest", stops)
        with pytest.raises(KeyboardInterrupt):
            prepare([source], tokenizer=tokenizer, out=out, options=options)
    made = prepare([source], tokenizer=tokenizer, out=out, options=options)
    assert made.kept_shards == 2
    assert _bytes(out) == _bytes(tmp_path / "whole")


def test_empty_texts_are_left_out_and_counted(tmp_path, tokenizer):
    lines = [json.dumps({"text": text}) for text in ("", "w1 likes x1", " ", "w2", "")]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    options = PrepareOptions(tokens_per_shard=1)
    made = prepare([path], tokenizer=tokenizer, out=tmp_path / "out", options=options)
    assert (made.num_documents, made.num_empty) == (2, 3)
    assert len(TokenShards(tmp_path / "out")) == 2
    path.write_text(lines[0])
    with pytest.raises(VesaliusError, match="1 texts, all of them empty"):
        prepare([path], tokenizer=tokenizer, out=tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"reading": SourceOptions(boundary="line")}, "boundary='line'"),
        ({"options": PrepareOptions(special_tokens="none")}, "special_tokens='none'"),
        ({"tokenizer": "another"}, "tokenizer="),
        ({"sources": "changed"}, "sources="),
    ],
)
def test_another_configuration_is_refused_by_its_key(tmp_path, source, tokenizer, change, key):
    out = tmp_path / "out"
    first = {"sources": [source], "tokenizer": tokenizer, "out": out}
    prepare(**first)
    before = _bytes(out)
    if "tokenizer" in change:
        change = {"tokenizer": train_bpe_tokenizer(TEXTS, vocab_size=300)}
    if "sources" in change:
        source.write_text("Something else")
        change = {}
    with pytest.raises(VesaliusError, match=f"{key}.*for .*out"):
        prepare(**first | change)
    assert _bytes(out) == before
    prepare(**first | change, force=True)
    assert _bytes(out) != before


def test_a_folder_of_something_else_is_left_alone(tmp_path, source, tokenizer):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("Dear")
    for force in (False, True):
        with pytest.raises(VesaliusError, match="holds no manifest"):
            prepare([source], tokenizer=tokenizer, out=tmp_path / "mine", force=force)
    (tmp_path / "mine" / "manifest.json").write_text('{"kind": "sweep", "schema_version": 1}')
    with pytest.raises(VesaliusError, match="kind 'sweep'"):
        prepare([source], tokenizer=tokenizer, out=tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "letter").read_text() == "Dear"


def test_a_bad_line_keeps_the_finished_shards(tmp_path, tokenizer):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\n".join(text.encode() for text in TEXTS) + b"\n\n\xff\n")
    options = PrepareOptions(tokens_per_shard=100)
    with pytest.raises(VesaliusError, match="line 121: byte 0xff"):
        prepare([path], tokenizer=tokenizer, out=tmp_path / "out", options=options)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_full_disk_keeps_the_finished_shards(tmp_path, source, tokenizer, monkeypatch):
    known, calls = module.os.replace, count()

    def full(old, new):
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        known(old, new)

    options = PrepareOptions(tokens_per_shard=60)
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "replace", full)
        with pytest.raises(VesaliusError, match="No space left"):
            prepare([source], tokenizer=tokenizer, out=tmp_path / "out", options=options)
    made = prepare([source], tokenizer=tokenizer, out=tmp_path / "out", options=options)
    assert made.kept_shards == 1


def test_shards_of_another_tokenizer_or_damaged(tmp_path, source, tokenizer):
    prepare([source], tokenizer=tokenizer, out=tmp_path / "out")
    with pytest.raises(VesaliusError, match="a tokenizer with hash"):
        TokenShards(tmp_path / "out", tokenizer=train_bpe_tokenizer(TEXTS, vocab_size=300))
    (tmp_path / "out" / "shard-00000.bin").write_bytes(b"12")
    with pytest.raises(VesaliusError, match="2 bytes and 60 documents"):
        TokenShards(tmp_path / "out")
    (tmp_path / "out" / "shard-00000.npy").write_bytes(b"")
    with pytest.raises(VesaliusError, match=r"shard-00000\.npy"):
        TokenShards(tmp_path / "out")
    (tmp_path / "out" / "shard-00000.npy").unlink()
    with pytest.raises(VesaliusError, match=r"shard-00000\.npy.*\n.*\n.*--force"):
        prepare([source], tokenizer=tokenizer, out=tmp_path / "out")
    prepare([source], tokenizer=tokenizer, out=tmp_path / "out", force=True)
    assert len(TokenShards(tmp_path / "out")) == 60


@pytest.mark.usefixtures("as_users_call_it")
def test_options_that_cannot_be(tmp_path, source, tokenizer):
    for change, message in (
        ({"tokens_per_shard": 0}, "tokens_per_shard=0"),
        ({"special_tokens": "eos"}, "a tokenizer without eos"),
        ({"special_tokens": "all"}, "special_tokens='all'"),
    ):
        with pytest.raises(VesaliusError, match=message):
            prepare(
                [source], tokenizer=tokenizer, out=tmp_path / "a", options=PrepareOptions(**change)
            )
    with pytest.raises(VesaliusError, match="tokenizer object"):
        prepare([source], tokenizer=object(), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
