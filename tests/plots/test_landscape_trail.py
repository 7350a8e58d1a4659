"""Trails, measures as bars, widths as stretches: what is drawn is what was given."""

import itertools

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.landscape_path import Mark, TracePath
from vesalius.plots.landscape_trail import training_trail
from vesalius.plots.sharpness_bars import Reading, Stretch, relative_bars, width_spans
from vesalius.plots.style import figure_bytes

WAY = np.linspace(0, 1, 9)
PLACES = np.stack([WAY, 0.4 * np.sin(np.pi * WAY)], axis=1)
PATH = TracePath(coordinates=PLACES, values=1.5 - WAY)
STEPS = np.arange(9) * 250
MARKS = (
    Mark(name="start", place=(0.0, 0.0), symbol="start"),
    Mark(name="solution", place=(1.0, 0.0), symbol="solution"),
)


def test_dots_stand_in_their_places_and_have_their_own_colours():
    ax = training_trail(PATH, STEPS, unit="loss (nats)", axes=("one", "two"), marks=MARKS)
    (dots,) = [c for c in ax.collections if len(c.get_offsets()) == 9]
    np.testing.assert_allclose(dots.get_offsets(), PLACES)
    np.testing.assert_allclose(dots.get_array(), PATH.values)
    words = [text.get_text() for text in ax.texts]
    assert {"step 0", "step 2,000"} <= set(words)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("alpha: one", "beta: two")
    low, high = ax.get_xlim()
    assert low < 0 < 1 < high
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_a_path_along_one_axis_is_not_blown_up_and_its_numbers_do_not_touch():
    flat = TracePath(coordinates=PLACES * [1, 1e-6])
    ax = training_trail(flat, STEPS, unit="u")
    low, high = ax.get_ylim()
    assert high - low > 0.1
    ax.figure.draw_without_rendering()
    boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize("count", [1, 2, 300])
def test_few_and_many_points_are_drawn_and_missing_values_are_grey(count):
    values = np.full(count, 0.5)
    values[0] = np.nan
    path = TracePath(coordinates=np.ones((count, 2)), values=values)
    assert figure_bytes(training_trail(path, np.arange(count), unit="u", percent=True))


GROUPS = {
    "rise (nats)": {"raw": Reading(value=0.5, standard_error=0.1), "normalised": Reading(value=1)},
    "trace": {"raw": Reading(value=-1530.0, standard_error=81.2), "normalised": Reading(value=765)},
}


def test_bars_are_as_long_as_their_share_of_the_longest():
    ax = relative_bars(GROUPS, title="sharp")
    assert [bar.get_width() for bar in ax.patches] == [0.5, 1.0, -1.0, 0.5]
    words = {text.get_text() for text in ax.texts}
    assert {"rise (nats)", "0.5 ± 0.1", "\u22121530 ± 81", "765"} <= words
    assert ax.get_xlim()[0] < -1
    (interval, *_) = list(ax.collections)
    np.testing.assert_allclose(interval.get_segments()[0][:, 0], [0.5 - 0.196, 0.5 + 0.196])
    assert relative_bars({"a": {"raw": Reading(value=1)}}).get_xlim()[0] == 0
    nothing = relative_bars({"a": {"raw": Reading(value=float("nan"))}})
    assert "–" in [text.get_text() for text in nothing.texts]
    assert figure_bytes(ax)
    assert figure_bytes(nothing)


def test_stretches_reach_from_end_to_end_with_arrows_where_they_are_open():
    stretches = [
        Stretch(name="one", low=-0.4, high=0.5),
        Stretch(name="two", low=-0.2, high=1.0, open_high=True),
    ]
    ax = width_spans(stretches, x_label="shift", title="widths")
    lines = [line.get_xdata() for line in ax.get_lines() if line.get_linewidth() == 3.2]
    np.testing.assert_allclose(lines, [[-0.4, 0.5], [-0.2, 1.0]])
    assert [text.get_text() for text in ax.texts] == ["0.9", "at least 1.2"]
    ends = [line.get_marker() for line in ax.get_lines() if line.get_marker() in "|<>"]
    assert ends == ["|", "|", "|", ">"]
    assert figure_bytes(ax)


@pytest.mark.parametrize("name", ["$x", "_hidden", "</script>", "中文", "a" * 60])
def test_names_are_shown_as_they_stand(name):
    marks = [Mark(name=name, place=(0.0, 0.0))]
    trail = training_trail(PATH, STEPS, unit=name, axes=(name, name), title=name, marks=marks)
    assert figure_bytes(trail)
    assert figure_bytes(relative_bars({name: {name: Reading(value=1.0)}}, title=name))
    assert figure_bytes(width_spans([Stretch(name=name, low=0, high=0)], x_label=name))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: training_trail(PATH, STEPS[1:], unit="u"), "8 steps for 9 points"),
        (
            lambda: training_trail(TracePath(coordinates=np.zeros((0, 2))), STEPS[:0], unit="u"),
            "0 points",
        ),
        (lambda: relative_bars({}), "0 measures"),
        (
            lambda: relative_bars({"a": {str(i): Reading(value=1.0) for i in range(7)}}),
            "7 kinds",
        ),
        (lambda: width_spans([], x_label="x"), "no widths"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
