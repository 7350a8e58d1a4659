"""English text as characters: the vocabulary, the rows, and those that are held out."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from vesalius.core.paths import write_file
from vesalius.data.plain_text import hash_share, is_held_out, load_passages
from vesalius.data.shards import Documents
from vesalius.models.electra import SpecialIds

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL_IDS: Final = SpecialIds(pad=PAD, mask=MASK, cls=CLS, sep=SEP)
NUM_CHARACTERS: Final = 60
ROW: Final = 64  # [CLS], 62 characters, [SEP]
SHARE: Final = 0.2  # of the passages of every set: about 11 million characters
CORPUS: Final = "corpus.npz"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Rows of token ids for training and held out, and the characters from id 5 on.

    Args:
        train: rows [row, position].
        held_out: rows of passages that are in no training row.
        characters: the most frequent ones, the most frequent first.
    """

    train: np.ndarray
    held_out: np.ndarray
    characters: str

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(SPECIAL) + len(self.characters)

    @cached_property
    def documents(self) -> Documents:
        """The training rows as documents, each of which fills a row."""
        return Documents.from_lists(list(self.train))

    @property
    def counts(self) -> np.ndarray:
        """How often each id stands in the training rows, special ones never."""
        found = np.bincount(self.train.reshape(-1), minlength=self.vocab_size)
        found[: len(SPECIAL)] = 0
        return found


def load_corpus(data: Path, work: Path) -> Corpus:
    """Make the corpus of the sets below `data`, or read what an earlier run left in `work`."""
    path = work / CORPUS
    if not path.is_file():
        _store(make_corpus(texts(data)), path)
    with np.load(path, allow_pickle=False) as found:
        return Corpus(
            train=found["train"].astype(np.int64),
            held_out=found["held_out"].astype(np.int64),
            characters=str(found["characters"]),
        )


def texts(data: Path) -> list[str]:
    """Take a fifth of the passages of every set, by their hash, lower-cased and on one line."""
    found = [each.text for each in load_passages(data)]
    return [text for text in found if hash_share(f"electra {text}") < SHARE]


def make_corpus(passages: list[str]) -> Corpus:
    """Cut passages into rows; one in a hundred passages is held out, by its hash."""
    parts: dict[bool, list[str]] = {False: [], True: []}
    for text in passages:
        parts[is_held_out(text)].append(" ".join(text.lower().split()))
    train, held_out = (" ".join(parts[which]) for which in (False, True))
    frequent = Counter(train).most_common(NUM_CHARACTERS)
    characters = "".join(character for character, _ in frequent)
    return Corpus(
        train=to_rows(train, characters),
        held_out=to_rows(held_out, characters),
        characters=characters,
    )


def to_rows(text: str, characters: str) -> np.ndarray:
    """Turn one long text into rows [row, position]; what is left at the end falls away."""
    ids = {character: len(SPECIAL) + i for i, character in enumerate(characters)}
    stream = np.array([ids.get(character, UNK) for character in text], dtype=np.int64)
    inner = stream[: len(stream) // (ROW - 2) * (ROW - 2)].reshape(-1, ROW - 2)
    edge = np.ones((len(inner), 1), dtype=np.int64)
    return np.concatenate([edge * CLS, inner, edge * SEP], axis=1)


def _store(corpus: Corpus, path: Path) -> None:
    import io

    file = io.BytesIO()
    np.savez_compressed(
        file,
        train=corpus.train.astype(np.uint8),
        held_out=corpus.held_out.astype(np.uint8),
        characters=np.array(corpus.characters),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, file.getvalue())
