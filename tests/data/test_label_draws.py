"""Draws of rows: the same for the same seed, disjoint, in the shares asked for."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data import label_draws
from vesalius.data.few_shot import LabelledRow

ROWS = [LabelledRow(texts=(f"text {i}",), label=int(i % 4 == 0)) for i in range(40)]


@given(seed=st.integers(0, 10**6), shots=st.integers(0, 8), size=st.integers(0, 30))
def test_draws_are_repeatable_nested_and_disjoint(seed: int, shots: int, size: int):
    shown = label_draws.draw_demonstrations(ROWS, num=shots, seed=seed)
    assert shown == label_draws.draw_demonstrations(ROWS, num=8, seed=seed)[:shots]
    texts = label_draws.draw_estimate(ROWS, num=size, seed=seed, exclude=shown)
    assert texts == label_draws.draw_estimate(ROWS, num=30, seed=seed, exclude=shown)[:size]
    assert len({*shown, *texts}) == shots + size
    ordered = label_draws.order_demonstrations(shown, seed)
    assert Counter(ordered) == Counter(shown)
    assert ordered == label_draws.order_demonstrations(shown, seed)


def test_demonstrations_are_uniform_over_the_rows_and_not_balanced():
    drawn = Counter(
        row
        for seed in range(800)
        for row in label_draws.draw_demonstrations(ROWS, num=4, seed=seed)
    )
    # 80 draws of each row expected, standard deviation 8.5
    assert set(drawn) == set(ROWS)
    assert min(drawn.values()) > 45
    assert max(drawn.values()) < 120
    shares = {
        sum(row.label for row in label_draws.draw_demonstrations(ROWS, num=4, seed=seed))
        for seed in range(50)
    }
    assert len(shares) > 2


def test_the_estimate_draw_does_not_look_at_labels():
    unknown = [LabelledRow(texts=row.texts, label=-1) for row in ROWS]
    with_labels = label_draws.draw_estimate(ROWS, num=20, seed=5)
    without = label_draws.draw_estimate(unknown, num=20, seed=5)
    assert [row.texts for row in with_labels] == [row.texts for row in without]


def test_other_seeds_and_purposes_give_other_rows():
    first = label_draws.draw_demonstrations(ROWS, num=8, seed=0)
    assert first != label_draws.draw_demonstrations(ROWS, num=8, seed=1)
    assert first != label_draws.draw_estimate(ROWS, num=8, seed=0)


@given(
    num=st.integers(0, 10),
    weights=st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any),
)
def test_class_counts_are_by_largest_remainder(num: int, weights: list[int]):
    counts = label_draws.class_counts(num, [weight / 7 for weight in weights])
    assert sum(counts) == num
    quotas = [num * weight / sum(weights) for weight in weights]
    assert all(abs(c - q) < 1 for c, q in zip(counts, quotas, strict=True))
    assert all(c == 0 for c, w in zip(counts, weights, strict=True) if w == 0)
    # no class that was rounded up has a smaller remainder than one that was not
    up = [q % 1 for c, q in zip(counts, quotas, strict=True) if c > q + 1e-9]
    down = [q % 1 for c, q in zip(counts, quotas, strict=True) if c < q - 1e-9]
    assert not up or not down or min(up) >= max(down) - 1e-9


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_proportions_give_exact_counts(share: float):
    for draw in (label_draws.draw_demonstrations, label_draws.draw_estimate):
        drawn = draw(ROWS, num=8, seed=2, proportions=(1 - share, share))
        assert sum(row.label for row in drawn) == 8 * share
        assert len({*drawn}) == 8


def test_rows_drawn_by_proportion_stand_in_random_order():
    places = [
        place
        for seed in range(100)
        for place, row in enumerate(
            label_draws.draw_demonstrations(ROWS, num=8, seed=seed, proportions=(0.5, 0.5))
        )
        if row.label == 1
    ]
    # the standard error of the mean place is 0.09
    assert np.mean(places) == pytest.approx(3.5, abs=0.3)


def test_equal_texts_count_once():
    rows = [LabelledRow(texts=("same",), label=i % 2) for i in range(9)]
    assert label_draws.draw_demonstrations(rows, num=1, seed=0) == rows[:1]
    with pytest.raises(VesaliusError, match="2 demonstrations from 1 different rows"):
        label_draws.draw_demonstrations(rows, num=2, seed=0)
    with pytest.raises(VesaliusError, match="from 0 different rows"):
        label_draws.draw_estimate(rows, num=1, seed=0, exclude=rows[3:4])


def test_too_few_rows_are_refused():
    with pytest.raises(VesaliusError, match="41 demonstrations from 40"):
        label_draws.draw_demonstrations(ROWS, num=41, seed=0)
    with pytest.raises(VesaliusError, match="11 texts to estimate from of class 1 from 10"):
        label_draws.draw_estimate(ROWS, num=22, seed=0, proportions=(0.5, 0.5))
    with pytest.raises(VesaliusError, match="num=-1"):
        label_draws.draw_demonstrations(ROWS, num=-1, seed=0)


@pytest.mark.parametrize(
    "proportions", [(), (1.0,), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_proportions_that_are_none_are_refused(proportions: tuple[float, ...]):
    with pytest.raises(VesaliusError, match="proportions="):
        label_draws.draw_demonstrations(ROWS, num=2, seed=0, proportions=proportions)


def test_every_class_needs_a_proportion():
    rows = [LabelledRow(texts=(str(i),), label=i % 3) for i in range(9)]
    with pytest.raises(VesaliusError, match="2 proportions for rows of class 2"):
        label_draws.draw_demonstrations(rows, num=2, seed=0, proportions=(0.5, 0.5))


def test_evaluation_rows_keep_their_order_and_seed():
    assert label_draws.draw_evaluation(ROWS) == ROWS
    assert label_draws.draw_evaluation(ROWS, num=2000) == ROWS
    drawn = label_draws.draw_evaluation(ROWS, num=10)
    assert drawn == sorted(drawn, key=ROWS.index)
    assert len({*drawn}) == 10
    assert drawn == label_draws.draw_evaluation(ROWS, num=10, seed=0)


def test_long_rows_are_left_out_only_when_asked():
    rows = [LabelledRow(texts=("a" * i, "b" * i), label=0) for i in (1, 5, 9)]
    assert label_draws.keep_short(rows, max_characters=0) == rows
    assert label_draws.keep_short(rows, max_characters=10) == rows[:2]
    assert label_draws.keep_short([], max_characters=3) == []
    with pytest.raises(VesaliusError, match="rows of 2 characters or more"):
        label_draws.keep_short(rows, max_characters=1)


def test_domain_inputs_are_words_of_the_domain_of_average_length():
    rows = [
        LabelledRow(texts=("red green blue", "one"), label=0),
        LabelledRow(texts=("red", "two three four"), label=1),
    ]
    made = label_draws.domain_inputs(rows, seed=4)
    assert len(made) == 20
    assert made == label_draws.domain_inputs(rows, seed=4)
    assert made != label_draws.domain_inputs(rows, seed=5)
    for first, second in made:
        assert len(first.split()) == len(second.split()) == 2
        assert set(first.split()) <= {"red", "green", "blue"}
        assert set(second.split()) <= {"one", "two", "three", "four"}
    counts = Counter(word for first, _ in made for word in first.split())
    assert counts["red"] > counts["blue"]
    many = label_draws.domain_inputs(rows, num=4000, seed=0)
    share = np.mean([word == "red" for first, _ in many for word in first.split()])
    assert share == pytest.approx(0.5, abs=0.03)  # as frequent as in the texts


def test_domain_inputs_need_words():
    for rows in ([], [LabelledRow(texts=("",), label=0)]):
        with pytest.raises(VesaliusError, match="without a word"):
            label_draws.domain_inputs(rows, seed=0)


def test_content_free_inputs_keep_the_empty_text():
    assert label_draws.content_free_inputs() == [("N/A",), ("",), ("[MASK]",)]
    assert label_draws.content_free_inputs(2)[1] == ("", "")
