"""Tokens as people read them, and which of them make one word.

Source: the marks of WordPiece (Schuster and Nakajima 2012), SentencePiece (arXiv 1808.06226) and
byte-level BPE (Radford et al. 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final
from weakref import WeakKeyDictionary

from vesalius.models.specimen import Specimen

_SPACE_MARKS: Final = ("\u0120", "\u2581")  # of byte-level BPE and of SentencePiece
_PIECE_MARK: Final = "##"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWords:
    """Tokens of one text, and the words they make.

    ``tokens`` are as shown, ``special`` tells which stand for no text, ``word`` the number of the
    word of each; ``words`` are those words.
    """

    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    word: tuple[int, ...]
    words: tuple[str, ...]


def token_words(specimen: Specimen, ids: Sequence[int]) -> TokenWords:
    """Read token ids as people do; no shapes.

    A piece that continues a word keeps its ``##`` where the tokenizer writes it. Special tokens
    and signs are words of their own.

    A model that was opened without its tokenizer shows the ids themselves.
    """
    tokenizer = specimen.tokenizer
    if tokenizer is None:
        names, places = tuple(map(str, ids)), tuple(range(len(ids)))
        return TokenWords(tokens=names, special=(False,) * len(ids), word=places, words=names)
    raw = [str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))]
    specials = special_ids(tokenizer)
    special = tuple(token in specials for token in ids)
    spaced = _marks_spaces(tokenizer, raw)
    shown = tuple(
        text if mark else _shown(tokenizer, text, token)
        for text, mark, token in zip(raw, special, ids, strict=True)
    )
    word: list[int] = []
    for place in range(len(raw)):
        plain = place > 0 and not special[place] and not special[place - 1]
        joined = plain and _continues(raw, shown, place, spaced=spaced)
        word.append(word[-1] if joined else len(set(word)))
    return TokenWords(
        tokens=shown, special=special, word=tuple(word), words=_words(tokenizer, ids, shown, word)
    )


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Give the ids of the tokens that stand for no text; an unknown word stands for one.

    Some vocabularies have one token for unknown words and the end of a text (GPT-2): it is special.

    Source: the special tokens of the transformers library. No shapes.
    """
    named: dict[str, Any] = tokenizer.special_tokens_map
    unknown = tokenizer.unk_token
    only_unknown = all(word != unknown for name, word in named.items() if name != "unk_token")
    return frozenset(tokenizer.all_special_ids) - (
        {tokenizer.unk_token_id} if only_unknown else set()
    )


_MARKED: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()


def _marks_spaces(tokenizer: Any, raw: Sequence[str]) -> bool:
    """Whether the space before a word is in its token; the first word of a text has none."""
    if any(text.startswith(_SPACE_MARKS) for text in raw):
        return True
    if any(text.startswith(_PIECE_MARK) for text in raw):
        return False
    if tokenizer not in _MARKED:
        vocabulary: Any = tokenizer.get_vocab()
        _MARKED[tokenizer] = any(text.startswith(_SPACE_MARKS) for text in vocabulary)
    return _MARKED[tokenizer]


def _continues(raw: Sequence[str], shown: Sequence[str], place: int, *, spaced: bool) -> bool:
    """Whether a token goes on with the word of the one before it."""
    if not spaced:
        return raw[place].startswith(_PIECE_MARK)
    if raw[place].startswith(_SPACE_MARKS):
        return False
    return _is_word(shown[place - 1]) and _is_word(shown[place])


def _is_word(text: str) -> bool:
    """Letters, digits, or a byte of a letter that several tokens spell."""
    return any(sign.isalnum() or not sign.isascii() for sign in text)


def _words(
    tokenizer: Any, ids: Sequence[int], shown: Sequence[str], word: Sequence[int]
) -> tuple[str, ...]:
    groups: dict[int, list[int]] = {}
    for place, number in enumerate(word):
        groups.setdefault(number, []).append(place)
    return tuple(_word(tokenizer, ids, shown, places) for places in groups.values())


def _word(tokenizer: Any, ids: Sequence[int], shown: Sequence[str], places: Sequence[int]) -> str:
    first, *rest = (shown[place] for place in places)
    if all(text.startswith(_PIECE_MARK) for text in rest):
        return first + "".join(text.removeprefix(_PIECE_MARK) for text in rest)
    return str(tokenizer.decode([ids[place] for place in places])).strip()


def _shown(tokenizer: Any, raw: str, token: int) -> str:
    """A token without the mark of its space; bytes that are no letter stay as the mark says."""
    if raw.startswith(_PIECE_MARK):
        return raw
    text = str(tokenizer.decode([token])).strip()
    return text if text and "\ufffd" not in text else raw
