"""General English text whose licence lets weights be trained on it, as passages of a few lines.

Source: the sets named in `SOURCES`, with the licences that their publishers state.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, final

from vesalius.core.errors import VesaliusError

PASSAGE_CHARACTERS: Final = 1000  # about 250 tokens: one row of the longer context
HELD_OUT_SHARE: Final = 0.01


class TextSource(NamedTuple):
    """A parquet file of texts below the data folder, the share of its passages that is used."""

    path: str
    what: str
    licence: str
    share: float = 1.0


SOURCES: Final = {
    "sentences": TextSource(
        "facts/trex_sentences.parquet",
        "Wikipedia sentences, from T-REx (Elsahar et al. 2018)",
        "CC BY-SA 4.0 (upstream; not stated in the copy)",
    ),
    "films": TextSource(
        "text/wiki_movies.parquet", "Wikipedia, first paragraphs on films", "CC BY-SA"
    ),
    "concepts": TextSource(
        "text/wiki_type_intros.parquet", "Wikipedia, introductions of concepts", "CC BY-SA"
    ),
    "articles": TextSource("text/enwiki_articles.parquet", "Wikipedia, 101 articles", "CC BY-SA"),
    "factbook": TextSource(
        "text/factbook.parquet",
        "CIA World Factbook (half of its passages: lists of numbers)",
        "CC0 1.0, public domain",
        0.5,
    ),
    "books": TextSource(
        "text/books.parquet", "13 novels of Project Gutenberg", "public domain in the USA"
    ),
    "speeches": TextSource(
        "text/us_speeches.parquet",
        "inaugural and State of the Union addresses",
        "public domain",
    ),
}


@final
@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of text and the key of `SOURCES` it comes from."""

    text: str
    source: str


def load_passages(data_dir: Path) -> list[Passage]:
    """Return the passages of all sources, in file order; a text that occurs twice is kept once.

    Raises:
        VesaliusError: a file is missing, or has no column `text`.
    """
    seen: set[str] = set()
    passages: list[Passage] = []
    for name, source in SOURCES.items():
        for text in _texts(data_dir / source.path):
            for piece in cut_passages(text):
                if piece not in seen and hash_share(f"used {piece}") < source.share:
                    seen.add(piece)
                    passages.append(Passage(text=piece, source=name))
    return passages


def is_held_out(text: str) -> bool:
    """Say whether a passage is kept away from training, one in a hundred, by its hash alone."""
    return hash_share(text) < HELD_OUT_SHARE


def hash_share(text: str) -> float:
    """Return a number from 0 up to 1 that depends on nothing but the text.

    >>> 0 <= hash_share("a") < 1, hash_share("a") == hash_share("a")
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def cut_passages(text: str, *, max_characters: int = PASSAGE_CHARACTERS) -> list[str]:
    """Cut a text into passages of whole paragraphs, or whole sentences where one is too long.

    A single sentence that is longer than `max_characters` stays whole.

    Raises:
        VesaliusError: `max_characters` is below 1.

    >>> cut_passages("One. Two.\\nThree is longer. Four.", max_characters=16)
    ['One. Two.', 'Three is longer.', 'Four.']
    """
    if max_characters < 1:
        raise VesaliusError(
            given=f"max_characters={max_characters}",
            expected="at least 1",
            fix="leave it out: 1000",
        )
    passages: list[str] = []
    current = ""
    for piece, glue in _pieces(text, max_characters):
        if current and len(current) + len(glue) + len(piece) > max_characters:
            passages.append(current)
            current = piece
        else:
            current = current + glue + piece if current else piece
    return [*passages, current] if current else passages


def _pieces(text: str, max_characters: int) -> Iterator[tuple[str, str]]:
    """Yield paragraphs, the long ones as sentences, each with what joins it to the one before."""
    for line in text.split("\n"):
        paragraph = " ".join(line.split())
        if not paragraph:
            continue
        if len(paragraph) <= max_characters:
            yield paragraph, "\n"
            continue
        glue = "\n"
        for sentence in paragraph.replace(". ", ".\n").split("\n"):
            yield sentence, glue
            glue = " "


def _texts(path: Path) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            column = parquet.read_table(file, columns=["text"]).column("text")
    except (OSError, KeyError, pa.ArrowException) as error:
        raise VesaliusError(
            given=f"{str(path)!r}, which cannot be read ({type(error).__name__})",
            expected="a parquet file with a column 'text'",
            fix="give the folder that holds facts/, text/, cls/ and nli/, as the card describes it",
        ) from error
    return [str(text) for text in column.to_pylist() if text]
