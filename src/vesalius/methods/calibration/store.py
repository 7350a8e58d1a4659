"""The score store: what a model said about texts under one prompt, kept on disk.

A folder with ``store.json``, which says whose scores these are, and ``rows.bin``, to which records
of one size are appended: the hash of a text, its log-probabilities, a checksum. A record cut short
by a crash is dropped; a text is never scored twice. Reading maps the file into memory.

Source: the design of this project.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast, final

import numpy as np
from filelock import FileLock
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder

MARKER: Final = "store.json"
_ROWS: Final = "rows.bin"
_SCHEMA: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """Whose scores a store holds; what differs in any of it belongs in another store.

    ``prompt`` is the fingerprint of the prompt, ``label_mass`` says whether scores are against the
    whole vocabulary.
    """

    model: str
    fingerprint: str
    dtype: str
    prompt: str
    words: tuple[str, ...]
    label_mass: bool = True


@final
class ScoreStore:
    """Scores of texts, [text, label], appended and never changed.

    Args:
        folder: where they are kept; made if it is not there.
        identity: the model and prompt.

    Raises:
        VesaliusError: something else is there, the store of another model or prompt, a newer
            schema, or a damaged file.

    Source: the design of this project. Shapes [text, label].
    """

    def __init__(self, folder: str | os.PathLike[str], identity: StoreIdentity) -> None:
        self.folder, self.identity = Path(folder), identity
        self._record = np.dtype(
            [("key", "<u8"), ("scores", "<f8", (len(identity.words),)), ("check", "<u4")]
        )
        if self.folder.exists():
            self._check_head()
        else:
            head = {"kind": "vesalius.score-store", "schema_version": _SCHEMA, **asdict(identity)}
            with new_folder(self.folder, marker=MARKER) as new:
                text = json.dumps(head, ensure_ascii=False, indent=1)
                (new / MARKER).write_text(text + "\n", encoding="utf-8")
                (new / _ROWS).touch()
        self._places: dict[int, int] = {}
        self._rows = self._mapped()
        self._note(0)

    def __len__(self) -> int:
        """How many texts are scored."""
        return len(self._places)

    def __contains__(self, texts: tuple[str, ...]) -> bool:
        """Whether a text (or the texts of a pair) is scored."""
        return text_key(texts) in self._places

    def read(self, texts: Sequence[tuple[str, ...]]) -> Float[np.ndarray, "text label"]:
        """Give the scores of texts, [text, label]; NaN rows where there is none.

        Source: this module.
        """
        found = np.full((len(texts), len(self.identity.words)), np.nan)
        for number, text in enumerate(texts):
            place = self._places.get(text_key(text))
            if place is not None:
                found[number] = self._rows[place]["scores"]
        return found

    def append(
        self, texts: Sequence[tuple[str, ...]], scores: Float[np.ndarray, "text label"]
    ) -> None:
        """Write the scores of texts, [text, label], behind the others; on disk when it returns.

        Raises:
            VesaliusError: the operating system refused.

        Source: this module.
        """
        records = np.zeros(len(texts), dtype=self._record)
        records["key"] = [text_key(text) for text in texts]
        records["scores"] = scores
        records["check"] = _checks(records)
        try:
            with FileLock(self.folder / ".lock"), (self.folder / _ROWS).open("r+b") as file:
                whole = file.seek(0, os.SEEK_END) // self._record.itemsize
                file.truncate(whole * self._record.itemsize)  # a record that a crash cut short
                file.seek(whole * self._record.itemsize)
                file.write(records.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise VesaliusError(
                given=f"score store {self.folder.name!r}: {error.strerror}",
                expected="a disk with room, and permission to write there",
                fix="free some space and run the same command again; finished texts are kept",
            ) from error
        before = len(self._rows)
        self._rows = self._mapped()
        self._note(before)

    def _mapped(self) -> Any:
        path = self.folder / _ROWS
        whole = path.stat().st_size // self._record.itemsize
        if not whole:
            return np.zeros(0, dtype=self._record)
        return np.memmap(path, dtype=self._record, mode="r", shape=(whole,))

    def _note(self, first: int) -> None:
        """Check the records from ``first`` on, and note where each text stands."""
        new = self._rows[first:]
        wrong = np.flatnonzero(new["check"] != _checks(new)) if len(new) else []
        if len(wrong):
            raise VesaliusError(
                given=f"score store {self.folder.name!r}: record {first + int(wrong[0]) + 1} of "
                f"{len(self._rows)} is damaged",
                expected="the records that were written",
                fix="delete the folder and score again, or restore it from a copy",
            )
        for place, key in enumerate(new["key"].tolist(), start=first):
            self._places.setdefault(key, place)

    def _check_head(self) -> None:
        head = read_head(self.folder)
        wanted = json.loads(json.dumps(asdict(self.identity)))
        for name, value in wanted.items():
            if head.get(name) != value:
                raise VesaliusError(
                    given=f"score store {self.folder.name!r} with {name} {head.get(name)!r}",
                    expected=f"{name} {value!r}, as asked for now",
                    fix="name another folder for these scores, or ask as before",
                )


def read_head(folder: Path) -> Mapping[str, Any]:
    """Read what a store says of itself.

    Raises:
        VesaliusError: no store is there, it cannot be read, or a newer release wrote it.

    Source: this module. No shapes.
    """
    try:
        head = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        present = isinstance(head, dict) and (folder / _ROWS).is_file()
    except (OSError, ValueError):
        head, present = None, False
    if not present or not isinstance(head, dict):
        raise VesaliusError(
            given=f"{folder.name!r}, no score store",
            expected=f"a folder with {MARKER} and {_ROWS}, or a path where nothing is",
            fix="name another folder",
        )
    found = cast("dict[str, Any]", head)
    if found.get("schema_version") != _SCHEMA:
        raise VesaliusError(
            given=f"score store {folder.name!r} of schema {found.get('schema_version')!r}",
            expected=f"schema {_SCHEMA}",
            fix="read it with the version of vesalius that wrote it",
        )
    return found


def text_key(texts: tuple[str, ...]) -> int:
    """Hash a text, or the texts of a pair, to 64 bits; no shapes.

    Source: BLAKE2b; among a million texts two meet with a chance of 3e-8.
    """
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        written = text.encode("utf-8", errors="surrogatepass")
        digest.update(len(written).to_bytes(8, "little") + written)
    return int.from_bytes(digest.digest(), "little")


def _checks(records: Any) -> Any:
    return np.array(
        [zlib.crc32(r["scores"].tobytes(), int(r["key"]) & 0xFFFFFFFF) for r in records],
        dtype=np.uint32,
    )
