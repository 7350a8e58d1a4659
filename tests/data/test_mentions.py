"""Words hidden in texts that mention a fact: the right one, and never one of the subject."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact
from vesalius.data.mentions import MaskedText, mask_random_word, mask_tail, mask_texts

CLUB = Fact(relation="P159", subject="Paris Saint-Germain", answer="Paris")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In Paris, Paris won.", "In [MASK], Paris won."),
        ("Paris Saint-Germain plays in Paris.", "Paris Saint-Germain plays in [MASK]."),
        ("Paris Saint-Germain plays well.", None),
        ("Parisians; comParis; PARIS", None),
        ("Paris's streets", "[MASK]'s streets"),
        ("the [MASK] of Paris", None),
        ("", None),
    ],
)
def test_the_tail_is_hidden_as_a_whole_word_outside_the_head(text: str, expected: str | None):
    assert mask_tail(text, subject=CLUB.subject, answer=CLUB.answer) == expected


def test_a_tail_with_signs_is_no_pattern():
    assert mask_tail("Learn C++ (or C).", subject="", answer="C++") == "Learn [MASK] (or C)."
    assert mask_tail("It rained.", subject="", answer="a.n") is None


def test_a_random_word_is_any_of_the_first_but_the_subject():
    text = "One of Paris Saint-Germain 's players, born in 1990, sang."
    found: Counter[str | None] = Counter()
    for seed in range(300):
        generator = random.Random(seed)
        found[mask_random_word(text, subject=CLUB.subject, generator=generator, first=6)] += 1
    hidden = {"One", "of", "s", "players"}  # two words of the six belong to the subject
    assert set(found) == {text.replace(word, "[MASK]", 1) if word != "s" else
                          text.replace("'s ", "'[MASK] ") for word in hidden}  # fmt: skip
    assert min(found.values()) > 40


@given(st.text(alphabet="ab .'X", max_size=60), st.integers(1, 9), st.integers(0, 99))
def test_what_stays_is_as_it_was(text: str, first: int, seed: int):
    generator = random.Random(seed)
    masked = mask_random_word(text, subject="X", generator=generator, first=first)
    if masked is None:
        assert (
            not [word for word in text.replace("X", " ").split() if word.strip(".'")] or "X" in text
        )
    else:
        before, after = masked.split("[MASK]")
        assert text.startswith(before)
        assert text.endswith(after)
        hidden = text[len(before) : len(text) - len(after)]
        assert hidden.strip(".' ") == hidden != ""


def test_texts_of_each_kind():
    texts = ["Paris Saint-Germain won in Paris.", "It rained in Paris.", "[MASK] in Paris"]
    (both,) = mask_texts(CLUB, texts, kind="head-and-tail")
    assert both == MaskedText(
        text="Paris Saint-Germain won in [MASK].",
        kind="head-and-tail",
        relation="P159",
        subject="Paris Saint-Germain",
        answer="Paris",
    )
    (head,) = mask_texts(CLUB, texts, kind="head-only")
    assert head.text.startswith("Paris Saint-Germain ")
    assert len(mask_texts(CLUB, texts, kind="random")) == 2
    alone = mask_texts(CLUB, texts[1:], kind="random")
    assert alone == mask_texts(CLUB, texts, kind="random")[1:]  # whatever stands beside it
    drawn = {mask_texts(CLUB, texts[1:], kind="random", seed=s)[0].text for s in range(20)}
    assert len(drawn) > 1


@pytest.mark.usefixtures("as_users_call_it")
def test_what_is_refused():
    with pytest.raises(VesaliusError, match="first=0"):
        mask_random_word("a", generator=random.Random(0), first=0)
    with pytest.raises(VesaliusError, match="first=True"):
        mask_random_word("a", generator=random.Random(0), first=True)
    with pytest.raises(VesaliusError, match="answer=' '"):
        mask_tail("a", subject="", answer=" ")
    with pytest.raises(VesaliusError, match="kind='tail'"):
        mask_texts(CLUB, ["a"], kind="tail")
    with pytest.raises(VesaliusError, match="2 times"):
        MaskedText(text="[MASK] [MASK]", kind="random", relation="", subject="", answer="")
    with pytest.raises(VesaliusError, match="kind='x'"):
        MaskedText(text="[MASK]", kind="x", relation="", subject="", answer="")
