"""Texts longer than a model reads, cut so that their gap stays in the middle."""

from dataclasses import dataclass
from typing import Any, final

from vesalius.core.errors import VesaliusError
from vesalius.models.encoding import MASK
from vesalius.models.specimen import Specimen

_SNAP = 40  # characters given up at most, and no quarter of a side, to cut between two words


@final
@dataclass(frozen=True, kw_only=True)
class Window:
    """What a model reads of a text: with its gap, its tokens, and whether anything was cut off."""

    text: str
    num_tokens: int
    cut: bool


def window_around_gap(specimen: Specimen, text: str, *, max_tokens: int) -> Window:
    """Keep as much text on both sides of the gap as a model can read.

    A causal model gets what stands before the gap. Where one side is short, the other keeps more.

    Args:
        specimen: the opened model.
        text: with ``[MASK]`` once.
        max_tokens: of the whole text, with the tokens that the tokenizer sets around it.

    Returns:
        The text, its tokens counted; no shapes.

    Raises:
        VesaliusError: not exactly one gap, or nothing before the gap of a causal model.

    Source: arXiv 2104.08696's code cuts at 512 tokens; that the gap stays inside is ours.
    """
    before, after = _sides(text, causal=specimen.task == "causal-lm")

    def window(num_chars: int) -> str:
        # what one side does not need, the other takes
        left = max(num_chars, 2 * num_chars - len(after))
        right = max(num_chars, 2 * num_chars - len(before))
        return f"{_tail(before, left)}{MASK}{_head(after, right)}"

    whole = f"{before}{MASK}{after}"
    num_tokens = _count(specimen, whole)
    if num_tokens <= max_tokens:
        return Window(text=whole, num_tokens=num_tokens, cut=False)
    best, low, high = MASK, 0, max(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if _count(specimen, window(middle)) <= max_tokens:
            best, low = window(middle), middle
        else:
            high = middle - 1
    return Window(text=best, num_tokens=_count(specimen, best), cut=True)


def _sides(text: str, *, causal: bool) -> tuple[str, str]:
    if text.count(MASK) != 1:
        raise VesaliusError(
            given=f"{text.count(MASK)} masks in {text!r}"[:160],
            expected=f"the word {MASK} exactly once",
            fix="mask one word of each text",
        )
    before, _, after = text.partition(MASK)
    if not causal:
        return before, after
    if not before.strip():
        raise VesaliusError(
            given=f"{text!r}"[:160] + ": nothing before the gap, and a model that reads from left "
            "to right",
            expected="a text whose gap stands behind some words",
            fix="leave it out, or open a masked language model",
        )
    return before, ""


def _tail(text: str, num_chars: int) -> str:
    """The end of a text, from the start of a word where one is near."""
    if num_chars >= len(text):
        return text
    kept = text[len(text) - num_chars :]
    if text[len(text) - num_chars - 1].isspace():
        return kept
    near = kept[: min(_SNAP, num_chars // 4)]
    spaces = [place for place, sign in enumerate(near) if sign.isspace()]
    return kept[spaces[0] + 1 :] if spaces else kept


def _head(text: str, num_chars: int) -> str:
    """The start of a text, up to the end of a word where one is near."""
    return _tail(text[::-1], num_chars)[::-1]


def _count(specimen: Specimen, text: str) -> int:
    tokenizer: Any = specimen.tokenizer
    if specimen.task == "causal-lm":
        shown = text.replace(MASK, "").rstrip()
    else:
        shown = text.replace(MASK, tokenizer.mask_token or "<extra_id_0>")
    # not verbose: that a text is too long is what is asked here
    return len(tokenizer(shown, verbose=False)["input_ids"])
