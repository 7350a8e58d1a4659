"""Candidates of one place: bars are probabilities, dots weighted values, a line their mean."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from vesalius.core.errors import VesaliusError
from vesalius.plots.candidate_bars import MOST_SAMPLERS, candidate_bars
from vesalius.plots.style import figure_bytes

TOKENS = ["cat (original)", "$dog", "_"]
PROBS = {"generator": np.array([0.7, 0.2, 0.1]), "learned": np.array([0.3, 0.5, 0.2])}
VALUES = {"generator": np.array([0.1, 2.0, 3.0]), "learned": np.array([0.23, 0.8, 1.5])}


def _draw(**changed):
    given = {"tokens": TOKENS, "probs": PROBS, "values": VALUES} | changed
    return candidate_bars(
        given["tokens"], given["probs"], given["values"], mean=0.77, unit="nats", ax=given.get("ax")
    )


def test_bars_and_dots_are_those_given():
    left = _draw()
    right = left.figure.axes[1]
    widths = [bar.get_width() for bar in left.patches]
    assert widths == [*PROBS["generator"], *PROBS["learned"]]
    dots = {
        line.get_label(): line.get_xdata()
        for line in right.get_lines()
        if line.get_marker() in "os"
    }
    for name, values in VALUES.items():
        np.testing.assert_array_equal(dots[name], values)
    assert any(list(line.get_xdata()) == [0.77, 0.77] for line in right.get_lines())
    assert len(left.get_yticklabels()) == 3
    assert left.get_ylim() == (2.5, -0.5)  # the first stands at the top
    assert [text.get_text() for text in left.figure.legends[0].get_texts()] == list(PROBS)
    assert (left.get_xlabel(), right.get_xlabel()) == ("probability of drawing it", "nats")
    assert figure_bytes(left).startswith(b"\x89PNG")


def test_two_pictures_stand_inside_of_given_axes():
    given = Figure().add_subplot()
    assert _draw(ax=given) is given
    assert len(given.child_axes) == 2
    names = [text.get_text() for text in given.child_axes[0].get_legend().get_texts()]
    assert names == list(PROBS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": []},
        {"probs": {}, "values": {}},
        {"values": {"generator": VALUES["generator"]}},
        {
            name: {str(k): np.ones(3) for k in range(MOST_SAMPLERS + 1)}
            for name in ("probs", "values")
        },
    ],
    ids=["no token", "no sampler", "unequal", "too many"],
)
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(VesaliusError, match="samplers"):
        _draw(**wrong)
