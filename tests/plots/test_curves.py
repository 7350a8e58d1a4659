"""Curves: what is drawn is what was given; labels are shown as they stand; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.curves import (
    MOST_SERIES,
    Series,
    evaluation_curves,
    plain_label,
    running_mean,
    step_curve,
)
from vesalius.plots.style import figure_bytes

STEPS = np.arange(1.0, 31.0)
LOSSES = 5.0 / STEPS + 0.2


def _series(*values: float) -> Series:
    return Series(step=np.arange(float(len(values))), value=np.array(values))


def test_the_running_mean_is_the_mean_of_each_window():
    random = np.random.default_rng(0)
    values = random.normal(size=23)
    for width in (1, 2, 5, 40):
        windows = [
            values[max(0, i - width // 2) : i + width - width // 2] for i in range(len(values))
        ]
        wanted = [window.mean() for window in windows]
        np.testing.assert_allclose(running_mean(values, width=width), wanted, rtol=1e-12)


def test_the_running_mean_steps_over_what_is_no_number():
    values = np.array([1.0, np.nan, 3.0, np.inf, np.nan, np.nan])
    mean = running_mean(values, width=3)
    np.testing.assert_array_equal(mean, [1.0, 2.0, 3.0, 3.0, np.nan, np.nan])
    assert len(running_mean(np.zeros(0), width=3)) == 0


def test_a_loss_is_drawn_raw_and_smoothed():
    ax = step_curve(STEPS, LOSSES, unit="loss (nats)", smoothed=5)
    raw, mean = ax.get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), LOSSES)
    np.testing.assert_array_equal(mean.get_ydata(), running_mean(LOSSES, width=5))
    assert raw.get_linewidth() < mean.get_linewidth()
    assert raw.get_alpha() < 1
    assert ax.get_ylim()[0] == 0
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss (nats)")
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_negative_values_are_not_cut_off():
    ax = step_curve(STEPS, -LOSSES, unit="reward")
    assert ax.get_ylim()[0] < -LOSSES.max()


@pytest.mark.parametrize("num_points", [0, 1, 2])
def test_a_run_of_few_points_is_drawn(num_points):
    ax = step_curve(STEPS[:num_points], LOSSES[:num_points], unit="loss", smoothed=20)
    assert figure_bytes(ax).startswith(b"\x89PNG")
    if num_points == 1:
        assert ax.get_lines()[0].get_marker() == "o"


def test_every_evaluation_has_a_look_of_its_own():
    series = {f"score {i}": _series(0.1, 0.2 + 0.01 * i) for i in range(MOST_SERIES)}
    ax = evaluation_curves(series, unit="share")
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}
    assert len(looks) == MOST_SERIES
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(series)


def test_a_reference_has_the_colour_of_its_series():
    series = {"written": _series(0.1, 0.9), "natural": _series(0.1, 0.4)}
    ax = evaluation_curves(
        series, unit="accuracy", references={"natural": 0.25}, reference_name="majority answer"
    )
    lines = {line.get_label(): line for line in ax.get_lines()}
    reference = lines["natural: majority answer"]
    assert reference.get_color() == lines["natural"].get_color() != lines["written"].get_color()
    assert set(reference.get_ydata()) == {0.25}


def test_a_lone_series_that_names_its_axis_needs_no_legend():
    assert evaluation_curves({"f1": _series(0.5)}, unit="f1").get_legend() is None
    assert evaluation_curves({"f1": _series(0.5)}, unit="share").get_legend() is not None


def test_the_given_axes_are_drawn_on():
    ax = step_curve(STEPS, LOSSES, unit="loss")
    assert evaluation_curves({"a": _series(1.0)}, unit="share", ax=ax) is ax


@pytest.mark.parametrize("name", ["$x", "_hidden", "a_b^c", "</script>", "100 %", r"$\frac{"])
def test_names_are_shown_as_they_stand(name):
    ax = evaluation_curves({name: _series(0.5, 0.6)}, unit=f"{name} ", title=name)
    (text,) = ax.get_legend().get_texts()
    assert text.get_text() == plain_label(name)
    assert figure_bytes(ax).startswith(b"\x89PNG")  # no formula that cannot be read


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: running_mean(LOSSES, width=0), "width=0"),
        (lambda: step_curve(STEPS, LOSSES[:3], unit="loss"), r"shape \[30\] with values"),
        (lambda: step_curve(STEPS, LOSSES, unit="loss", smoothed=0), "width=0"),
        (lambda: Series(step=STEPS, value=LOSSES[1:]), r"shape \[29\]"),
        (lambda: evaluation_curves({}, unit="share"), "0 series"),
        (
            lambda: evaluation_curves(
                {str(i): _series(1.0) for i in range(MOST_SERIES + 1)}, unit="share"
            ),
            "25 series",
        ),
        (
            lambda: evaluation_curves({"a": _series(1.0)}, unit="share", references={"b": 1.0}),
            "'b', which is no series",
        ),
    ],
)
def test_bad_input_is_refused(call, part):
    with pytest.raises(VesaliusError, match=part):
        call()
