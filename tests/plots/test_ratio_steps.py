"""Ratios as rising lines: each step where a ratio is, medians marked, bad input refused."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from vesalius.core.errors import VesaliusError
from vesalius.plots.ratio_steps import MOST_STEPS, ratio_steps
from vesalius.plots.style import figure_bytes

NAMES = {"x_label": "variance ratio", "item_name": "slots"}


def _lines(ax) -> dict:
    return {line.get_label(): line for line in ax.get_lines()}


def test_steps_rise_at_the_ratios_and_the_median_is_marked_and_named():
    ax = ratio_steps({"loss head": np.array([2.0, 0.5, np.nan, 1.5])}, title="loss", **NAMES)
    line = _lines(ax)["loss head (median 1.50)"]
    assert line.get_xdata()[1:-1].tolist() == [0.5, 0.5, 1.5, 1.5, 2.0, 2.0]
    np.testing.assert_allclose(line.get_ydata(), [0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    (mark,) = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (1.5, 0.5)
    assert ax.get_xscale() == "log"
    low, high = ax.get_xlim()
    assert low < 0.5
    assert high > 2.0
    assert (ax.get_xlabel(), ax.get_title()) == ("variance ratio", "loss")
    assert "slots" in ax.get_ylabel()
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_zero_and_far_ratios_stand_at_the_ends():
    values = np.concatenate([[0.0, -0.1, 1e9], np.full(200, 0.9)])
    ax = ratio_steps({"a": values}, **NAMES)
    low, high = ax.get_xlim()
    line = next(iter(line for name, line in _lines(ax).items() if name.startswith("a")))
    assert line.get_xdata().min() == low > 0
    assert line.get_xdata().max() == high < 10


def test_kinds_have_colours_and_lines_of_their_own():
    kinds = {f"kind {k}": np.array([0.5 + k, 1.0]) for k in range(MOST_STEPS)}
    given = Figure().add_subplot()
    ax = ratio_steps(kinds, ax=given, **NAMES)
    assert ax is given
    lines = [line for name, line in _lines(ax).items() if name.startswith("kind")]
    assert len({line.get_color() for line in lines}) == len(lines) == MOST_STEPS
    assert [text.get_text()[:6] for text in ax.get_legend().get_texts()] == list(kinds)


@pytest.mark.parametrize(
    "ratios",
    [{}, {"a": np.array([np.nan])}, {str(k): np.ones(2) for k in range(MOST_STEPS + 1)}],
    ids=["none", "not finite", "too many"],
)
def test_what_cannot_be_drawn_is_refused(ratios):
    with pytest.raises(VesaliusError, match="kinds of ratios"):
        ratio_steps(ratios, **NAMES)
