"""Bars before and after: names as they stand, and values that have no place on an axis."""

import math

import pytest

from vesalius.plots.before_after import Pair, before_after_bars


@pytest.mark.parametrize("log", [False, True])
def test_names_are_no_formulas_and_infinity_is_a_word(log: bool) -> None:
    pairs = [
        Pair(name="a $x_{$", before=2.0, after=math.inf, after_range=(1.0, math.inf)),
        Pair(name="_b", before=math.nan, after=3.0, after_range=(2.0, 4.0), control=math.inf),
    ]
    ax = before_after_bars(pairs, title="$ to $", unit="in $", log=log)
    ax.figure.canvas.draw()
    assert ax.get_yticklabels()[0].get_text() == r"a \$x_{\$"
    assert [text.get_text() for text in ax.texts] == ["2.00", "inf", "nan", "3.00", "inf"]
    low, high = ax.get_xlim()
    assert all(map(math.isfinite, (low, high)))
