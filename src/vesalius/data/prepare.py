"""Texts into token shards: streamed, deterministic, and resumed where they stopped.

Source: this project.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

import numpy as np
from jaxtyping import Integer

from vesalius.core.card import installed_versions
from vesalius.core.errors import VesaliusError
from vesalius.core.paths import check_new_output, write_file
from vesalius.data.shards import (
    MANIFEST,
    SCHEMA_VERSION,
    open_shard,
    read_manifest,
    shard_names,
    tokenizer_hash,
)
from vesalius.data.sources import SourceOptions, TextSource, find_sources, read_documents

SpecialTokens = Literal["tokenizer", "eos", "bos-eos", "none"]

_BATCH_CHARACTERS: Final = 1 << 21  # encoded at once: enough to keep every core busy
_BATCH_DOCUMENTS: Final = 2048


@final
@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What a document becomes.

    `special_tokens`: "tokenizer" adds what the tokenizer adds on its own ([CLS] and [SEP] for
    BERT, nothing for GPT-2), "eos" and "bos-eos" these and nothing else, "none" nothing.
    `tokens_per_shard`: a shard ends with the document that reaches it; 2^25 are 64 MiB.

    Source: this project.
    """

    special_tokens: SpecialTokens = "tokenizer"
    tokens_per_shard: int = 1 << 25


@final
@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What stands in the folder, and what this call did for it.

    `num_documents`, `num_tokens`, `num_bytes` (of tokens and offsets) and `num_empty`, the texts
    without a token that were left out, count the whole folder; `new_tokens`, `wall_seconds` and
    `tokens_per_second` this call; `kept_shards` were there before.

    Source: this project.
    """

    folder: str
    num_documents: int
    num_tokens: int
    num_bytes: int
    num_empty: int
    num_shards: int
    kept_shards: int
    new_tokens: int
    wall_seconds: float
    tokens_per_second: float


def prepare(
    sources: Sequence[str | Path],
    *,
    tokenizer: Any,
    out: Path | str,
    reading: SourceOptions | None = None,
    options: PrepareOptions | None = None,
    force: bool = False,
) -> Prepared:
    """Write the token shards of all documents of `sources`, in order, into the folder `out`.

    A folder that the same call began is finished; a killed call loses the shard in work. Open
    the result with ``TokenShards(out)``. `force` replaces token shards that were made in another
    way, or are damaged.

    Raises:
        VesaliusError: a source cannot be read, a setting differs from those the folder was begun
            with, a finished shard is damaged, the folder is something else's, or the disk is
            full. Finished shards stay.
    """
    began = time.perf_counter()
    reading, options, out = reading or SourceOptions(), options or PrepareOptions(), Path(out)
    found = find_sources(sources)
    for source in found:  # a missing column of the last file shows before hours of work
        if source.kind != "hub":
            next(read_documents(source, options=reading))
    manifest = _begin(out, found, tokenizer, reading=reading, options=options, force=force)
    kept = len(manifest["shards"])
    kept_tokens = _total(manifest, "num_tokens")
    if not manifest["complete"]:
        texts = (text for source in found for text in read_documents(source, options=reading))
        rest = islice(texts, _total(manifest, "num_read"), None)
        _write_shards(out, manifest, _encoded(rest, tokenizer, options=options), options=options)
    wall_seconds = time.perf_counter() - began
    new_tokens = _total(manifest, "num_tokens") - kept_tokens
    num_documents = _total(manifest, "num_documents")
    return Prepared(
        folder=str(out),
        num_documents=num_documents,
        num_tokens=_total(manifest, "num_tokens"),
        num_bytes=sum(
            (out / row[name]).stat().st_size
            for row in manifest["shards"]
            for name in ("tokens_file", "offsets_file")
        ),
        num_empty=_total(manifest, "num_read") - num_documents,
        num_shards=len(manifest["shards"]),
        kept_shards=kept,
        new_tokens=new_tokens,
        wall_seconds=wall_seconds,
        tokens_per_second=new_tokens / wall_seconds,
    )


def _begin(
    out: Path,
    sources: Sequence[TextSource],
    tokenizer: Any,
    *,
    reading: SourceOptions,
    options: PrepareOptions,
    force: bool,
) -> dict[str, Any]:
    """Return the manifest to go on with: that of the folder when it is of the same making."""
    configuration: dict[str, Any] = {
        "sources": [asdict(source) for source in sources],
        "tokenizer": tokenizer_hash(tokenizer),
        "special_tokens": options.special_tokens,
        "tokens_per_shard": options.tokens_per_shard,
        **asdict(reading),
    }
    vocab_size = len(tokenizer)
    _check_options(tokenizer, options)
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        if (out / MANIFEST).is_file():
            begun = read_manifest(out)
            changed = _changed(begun["configuration"], configuration)
            if not changed and _is_whole(out, begun, force=force):
                for left_by_a_killed_call in out.glob(".*.partial"):
                    left_by_a_killed_call.unlink()
                return begun
            if changed and begun["shards"] and not force:
                raise _other_configuration(out, changed, begun["configuration"], configuration)
            shutil.rmtree(check_new_output(out, force=True, marker=MANIFEST))
        else:
            raise VesaliusError(
                given=f"output path {str(out)!r}, which exists and holds no {MANIFEST}",
                expected="a new folder, or one that this command began",
                fix="choose another output path; this one is not replaced even with --force",
            )
    manifest = {
        "kind": "token-shards",
        "schema_version": SCHEMA_VERSION,
        "vesalius": installed_versions()["vesalius"],
        "complete": False,
        "configuration": configuration,
        "tokenizer_name": str(getattr(tokenizer, "name_or_path", "")),
        "vocab_size": vocab_size,
        "dtype": "uint16" if vocab_size <= 1 << 16 else "uint32",
        "shards": [],
    }
    _write_manifest(out, manifest)
    return manifest


def _is_whole(out: Path, manifest: dict[str, Any], *, force: bool) -> bool:
    """Look whether the finished shards can be kept; damaged ones only `force` may replace."""
    try:
        for row in manifest["shards"]:
            open_shard(out, row, manifest["dtype"])
    except VesaliusError:
        if not force:
            raise
        return False
    return True


def _check_options(tokenizer: Any, options: PrepareOptions) -> None:
    if options.tokens_per_shard < 1:
        raise VesaliusError(
            given=f"tokens_per_shard={options.tokens_per_shard}",
            expected="tokens_per_shard >= 1",
            fix="leave it out",
        )
    if options.special_tokens not in get_args(SpecialTokens):
        raise VesaliusError(
            given=f"special_tokens={options.special_tokens!r}",
            expected=f"one of {', '.join(get_args(SpecialTokens))}",
            fix="leave it out for the first of them",
        )
    wanted = {"eos": ("eos",), "bos-eos": ("bos", "eos")}.get(options.special_tokens, ())
    for name in wanted:
        if getattr(tokenizer, f"{name}_token_id") is None:
            raise VesaliusError(
                given=f"special_tokens={options.special_tokens!r} and a tokenizer without {name}",
                expected=f"a tokenizer with an {name} token",
                fix="use special_tokens='tokenizer' or 'none'",
            )


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]


def _other_configuration(
    out: Path, changed: Sequence[str], before: dict[str, Any], now: dict[str, Any]
) -> VesaliusError:
    def shown(values: dict[str, Any]) -> str:
        return "; ".join(f"{key}={_brief(values.get(key))}" for key in changed)

    return VesaliusError(
        given=f"{shown(now)} for {str(out)!r}",
        expected=f"{shown(before)}, with which the folder was begun",
        fix="repeat the first command, choose another --out, or replace the folder with --force",
    )


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{row['name']} ({row['pin'][:8]})" for row in value)
    return repr(value[:12] if isinstance(value, str) else value)


def _encoded(
    texts: Iterator[str], tokenizer: Any, *, options: PrepareOptions
) -> Iterator[list[int]]:
    """Yield the ids of every text, encoded many at a time."""
    own = options.special_tokens == "tokenizer"
    head = [tokenizer.bos_token_id] if options.special_tokens == "bos-eos" else []
    tail = [tokenizer.eos_token_id] if options.special_tokens.endswith("eos") else []
    for batch in _batched(texts):
        # an empty text stays empty, and is not a pair of special tokens around nothing
        full = [text for text in batch if text.strip()]
        encoded = iter(
            tokenizer(
                full,
                add_special_tokens=own,
                truncation=False,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
            if full
            else []
        )
        for text in batch:
            token_ids = next(encoded) if text.strip() else []
            yield [*head, *token_ids, *tail] if token_ids else []


def _batched(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    num_characters = 0
    for text in texts:
        batch.append(text)
        num_characters += len(text)
        if num_characters >= _BATCH_CHARACTERS or len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _write_shards(
    out: Path,
    manifest: dict[str, Any],
    documents: Iterator[list[int]],
    *,
    options: PrepareOptions,
) -> None:
    """Write shard after shard, the manifest after each, until the documents end."""
    dtype = np.dtype(manifest["dtype"])
    ended = False
    while not ended:
        number = len(manifest["shards"])
        lengths: list[int] = []
        num_read, num_tokens, digest = 0, 0, hashlib.sha256()
        tokens_file, offsets_file = shard_names(number)
        with _appearing(out / tokens_file) as path, path.open("wb") as file:
            while num_tokens < options.tokens_per_shard:
                token_ids = next(documents, None)
                if token_ids is None:
                    ended = True
                    break
                num_read += 1
                if token_ids:
                    content = _as_bytes(np.array(token_ids), dtype=dtype)
                    digest.update(content)
                    file.write(content)
                    lengths.append(len(token_ids))
                    num_tokens += len(token_ids)
        if num_read or not number:
            offsets = np.array([0, *np.cumsum(lengths, dtype=np.int64)], dtype=np.int64)
            with _appearing(out / offsets_file) as path, path.open("wb") as file:
                np.save(file, offsets, allow_pickle=False)
            digest.update(offsets.tobytes())
            row: dict[str, Any] = {
                "tokens_file": tokens_file,
                "offsets_file": offsets_file,
                "num_documents": len(lengths),
                "num_tokens": num_tokens,
                "num_read": num_read,
                "sha256": digest.hexdigest(),
            }
            manifest["shards"].append(row)
        else:
            (out / tokens_file).unlink()
        if ended and not _total(manifest, "num_documents"):
            raise VesaliusError(
                given=f"{_total(manifest, 'num_read')} texts, all of them empty",
                expected="at least one text with a token in it",
                fix="look at the sources and at --column",
            )
        manifest["complete"] = ended
        _write_manifest(out, manifest)


def _as_bytes(token_ids: Integer[np.ndarray, "token"], *, dtype: np.dtype[Any]) -> bytes:
    assert token_ids.max() <= np.iinfo(dtype).max, "a token id outside the vocabulary"
    return token_ids.astype(dtype.newbyteorder("<")).tobytes()


@contextmanager
def _appearing(path: Path) -> Generator[Path, None, None]:
    """Hand out a temporary path beside `path`, which becomes it when the body ends well."""
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise VesaliusError(
            given=f"{str(path)!r}: {error.strerror or error}",
            expected="a disk with free space that can be written",
            fix="free some space and repeat the command: it goes on where it stopped",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    write_file(out / MANIFEST, text.encode(), force=True)


def _total(manifest: dict[str, Any], name: str) -> int:
    return sum(int(row[name]) for row in manifest["shards"])
