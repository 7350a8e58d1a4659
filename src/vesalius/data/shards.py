"""Documents as token ids, in memory or in memory-mapped files that `prepare` wrote.

Source: this project; numbers in plain files with offsets beside them, as in fairseq and Megatron.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
from jaxtyping import Int64, Integer

from vesalius.core.errors import VesaliusError

MANIFEST: Final = "manifest.json"
SCHEMA_VERSION: Final = 1
MAKE_SHARDS: Final = "make it with: vesalius data prepare SOURCE... --tokenizer NAME --out DIR"


class Shard(NamedTuple):
    """Token ids of documents one after the other, and where each begins; the end stands last."""

    tokens: Integer[np.ndarray, "token"]
    offsets: Int64[np.ndarray, "boundary"]


class AbstractDocuments:
    """Read documents by number, whatever holds their tokens.

    Args:
        shards: at least one.
        identity: what makes these documents these: a run goes on only with an equal one.
    """

    def __init__(self, shards: Sequence[Shard], *, identity: dict[str, str]) -> None:
        self._shards = tuple(shards)
        counts = [len(shard.offsets) - 1 for shard in self._shards]
        self._first = [0, *np.cumsum(counts, dtype=np.int64).tolist()]
        self.identity = dict(identity)

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards in order, as they were given."""
        return self._shards

    def __len__(self) -> int:
        """Count the documents."""
        return self._first[-1]

    def __getitem__(self, number: int) -> Int64[np.ndarray, "token"]:
        """Return the token ids of document `number`, counted from 0."""
        if not 0 <= number < len(self):
            raise IndexError(f"document {number} of {len(self)}")
        place = bisect_right(self._first, number) - 1
        tokens, offsets = self._shards[place]
        begin, end = offsets[number - self._first[place]], offsets[number - self._first[place] + 1]
        return tokens[begin:end].astype(np.int64)

    def __iter__(self) -> Iterator[Int64[np.ndarray, "token"]]:
        """Yield the documents in order, once."""
        return (self[number] for number in range(len(self)))

    @property
    def lengths(self) -> Int64[np.ndarray, "document"]:
        """Count the tokens of each document."""
        return np.concatenate([np.diff(shard.offsets) for shard in self._shards])

    @property
    def num_tokens(self) -> int:
        """Count the tokens of all documents."""
        return sum(int(shard.offsets[-1]) for shard in self._shards)


@final
class Documents(AbstractDocuments):
    """Documents held in memory."""

    @classmethod
    def from_lists(
        cls, token_ids: Sequence[Sequence[int]], *, tokenizer: Any = None
    ) -> "Documents":
        """Hold lists of token ids; `tokenizer`, when given, becomes part of the identity.

        Raises:
            VesaliusError: there is no document, one is empty, or an id is negative.
        """
        lengths = [len(document) for document in token_ids]
        if not lengths or min(lengths) == 0:
            raise VesaliusError(
                given=f"document {lengths.index(0)} without a token" if lengths else "no document",
                expected="at least one document, each of at least one token",
                fix="leave empty texts out before they become documents",
            )
        tokens = np.concatenate([np.asarray(document, dtype=np.int64) for document in token_ids])
        if int(tokens.min()) < 0:
            raise VesaliusError(
                given=f"token id {int(tokens.min())}",
                expected="ids of a vocabulary, from 0",
                fix="pass input ids, not labels",
            )
        offsets = np.array([0, *np.cumsum(lengths)], dtype=np.int64)
        digest = hashlib.sha256(offsets.tobytes() + tokens.tobytes()).hexdigest()
        identity = {"documents": digest}
        if tokenizer is not None:
            identity["tokenizer"] = tokenizer_hash(tokenizer)
        return cls([Shard(tokens, offsets)], identity=identity)


@final
class TokenShards(AbstractDocuments):
    """Documents in the files of a folder that `prepare` wrote, mapped and never read as a whole.

    Args:
        folder: what ``vesalius data prepare --out`` made.
        tokenizer: refuse shards that another tokenizer made; None asks nothing.

    Raises:
        VesaliusError: the folder is not one of ours or unfinished, a file has another size than
            the manifest says, or the tokenizer is another one.
    """

    def __init__(self, folder: Path | str, *, tokenizer: Any = None) -> None:
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        if not self.manifest["complete"]:
            raise VesaliusError(
                given=f"{str(folder)!r}, of which {len(self.manifest['shards'])} shards are ready",
                expected="finished token shards",
                fix="run the same `vesalius data prepare` again: it goes on where it stopped",
            )
        if tokenizer is not None:
            _check_tokenizer(folder, self.manifest, tokenizer)
        shards = [
            open_shard(folder, row, self.manifest["dtype"]) for row in self.manifest["shards"]
        ]
        digest = hashlib.sha256("".join(row["sha256"] for row in self.manifest["shards"]).encode())
        identity = {
            "documents": digest.hexdigest(),
            "tokenizer": self.manifest["configuration"]["tokenizer"],
        }
        super().__init__(shards, identity=identity)


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the SHA-256 of all that decides which ids a fast tokenizer gives.

    Padding and truncation settings, which calls change in passing, are left out.

    Raises:
        VesaliusError: the tokenizer is not one of the library `tokenizers`.

    Source: this project.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise VesaliusError(
            given=f"tokenizer {type(tokenizer).__name__}",
            expected="a fast tokenizer, with a tokenizer.json",
            fix="open it with transformers.AutoTokenizer, which converts most of them",
        )
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content |= {"padding": None, "truncation": None}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of token shards.

    Raises:
        VesaliusError: there is none, it is damaged, or of a later release.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text("utf-8"))
        known = found["kind"] == "token-shards" and found["schema_version"] <= SCHEMA_VERSION
        if known and {"shards", "complete", "configuration", "dtype"} <= found.keys():
            return found
        given = f"{str(path)!r} of kind {found['kind']!r}, version {found['schema_version']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        given = f"{str(folder)!r} ({type(error).__name__} at {MANIFEST})"
    raise VesaliusError(
        given=given,
        expected=f"a folder of token shards with {MANIFEST}, version {SCHEMA_VERSION} at most",
        fix=MAKE_SHARDS,
    )


def shard_names(number: int) -> tuple[str, str]:
    """Name the two files of shard `number`: tokens and offsets."""
    return f"shard-{number:05d}.bin", f"shard-{number:05d}.npy"


def open_shard(folder: Path, row: dict[str, Any], dtype: str) -> Shard:
    """Map the shard that a row of the manifest names.

    Raises:
        VesaliusError: a file is missing, or has another size than the manifest says.
    """
    path, beside = folder / row["tokens_file"], folder / row["offsets_file"]
    expected = int(row["num_tokens"]) * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
        offsets = np.load(beside, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(beside if path.is_file() else path, str(error)) from error
    if (
        size != expected
        or len(offsets) != row["num_documents"] + 1
        or offsets[-1] * np.dtype(dtype).itemsize != size
    ):
        raise _damaged(path, f"{size} bytes and {len(offsets) - 1} documents")
    stored = np.dtype(dtype).newbyteorder("<")
    # an empty file cannot be mapped: the last texts may all have been empty
    tokens = np.memmap(path, dtype=stored, mode="r") if size else np.zeros(0, dtype=stored)
    return Shard(tokens, offsets)


def _damaged(path: Path, what: str) -> VesaliusError:
    return VesaliusError(
        given=f"{str(path)!r}: {what}",
        expected=f"the shard as its {MANIFEST} says",
        fix="copy the folder again, or prepare it again with --force",
    )


def _check_tokenizer(folder: Path, manifest: dict[str, Any], tokenizer: Any) -> None:
    made_with = manifest["configuration"]["tokenizer"]
    if tokenizer_hash(tokenizer) != made_with:
        raise VesaliusError(
            given=f"a tokenizer with hash {tokenizer_hash(tokenizer)[:12]}",
            expected=f"the one that made {str(folder)!r}: {made_with[:12]}, "
            f"{manifest['vocab_size']} entries, {manifest['tokenizer_name']!r}",
            fix="open that tokenizer, or prepare the texts again with this one",
        )
