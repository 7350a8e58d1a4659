"""The score plane and the score line: what is drawn is what was given; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.score_line import Bell, LinePanel, score_line
from vesalius.plots.score_plane import (
    MOST_CLASSES,
    Cluster,
    Panel,
    Regions,
    class_colour,
    score_plane,
)
from vesalius.plots.style import figure_bytes

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(40, 2))
KINDS = np.arange(40) % 3
NAMES = ("a", "b", "c")


def cluster(label: int = 0, covariance: tuple[tuple[float, float], ...] = ((4, 0), (0, 1))):
    return Cluster(
        mean=np.array([1.0, -1.0]), covariance=np.array(covariance, dtype=float), label=label
    )


def regions(labels: np.ndarray) -> Regions:
    rows, columns = labels.shape
    return Regions(x=np.linspace(-3, 3, columns), y=np.linspace(-2, 2, rows), labels=labels)


HALVES = regions(np.repeat([[0] * 10 + [1] * 10], 15, axis=0))


def plane(points=POINTS, kinds=KINDS, **options):
    options = {"names": NAMES, "x_label": "x", "y_label": "y", **options}
    return score_plane(points, kinds, **options)


def test_points_have_the_colours_of_their_classes():
    from matplotlib.colors import to_rgb

    ax = plane()
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), POINTS)
    expected = [to_rgb(class_colour(int(kind))) for kind in KINDS]
    np.testing.assert_allclose(dots.get_facecolors()[:, :3], expected)
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert legend == [*NAMES]


def test_panels_stand_side_by_side_with_the_same_limits():
    ax = plane(panels=[Panel(title="before", regions=HALVES), Panel(title="after")], note="a note")
    left, right = ax.figure.axes
    assert ax is left
    assert (left.get_title(), right.get_title()) == ("before", "after")
    assert left.get_xlim() == right.get_xlim() == (-3, 3)
    assert left.get_ylim() == right.get_ylim() == (-2, 2)
    assert len(left.images) == 1
    assert not right.images
    assert ax.figure.legends[0].get_title().get_text() == "a note"
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_ellipses_are_one_and_two_standard_deviations():
    ax = plane(panels=[Panel(clusters=(cluster(),))])
    sizes = sorted({(round(e.get_width(), 9), round(e.get_height(), 9)) for e in ax.patches})
    assert sizes == [(4, 2), (8, 4)]  # diameters: twice the standard deviations 2 and 1
    assert all(e.get_center() == (1, -1) for e in ax.patches)
    words = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert words[-2:] == ["1 standard deviation", "2 standard deviations"]
    tilted = plane(panels=[Panel(clusters=(cluster(covariance=((1, 0.9), (0.9, 1))),))])
    assert abs(tilted.patches[0].get_angle() % 180 - 45) < 1e-9
    many = plane(panels=[Panel(clusters=(cluster(),) * 7)])
    assert {round(e.get_width(), 9) for e in many.patches} == {4}


def test_more_classes_than_colours_differ_by_mark_and_unknown_ones_are_grey():
    kinds = np.arange(60) % (MOST_CLASSES + 1) - 1
    names = [f"class {i}" for i in range(MOST_CLASSES)]
    grid = regions(np.arange(MOST_CLASSES).reshape(3, -1).repeat(4, 0).repeat(4, 1))
    ax = plane(RANDOM.normal(size=(60, 2)), kinds, names=names, panels=[Panel(regions=grid)])
    handles = ax.figure.legends[0].legend_handles
    looks = {(h.get_marker(), h.get_color()) for h in handles}
    assert len(looks) == len(handles) == MOST_CLASSES + 1
    assert figure_bytes(ax, format="svg")


def test_what_is_not_finite_is_left_out_and_few_points_are_drawn():
    points = POINTS.copy()
    points[3, 1] = -np.inf
    assert len(plane(points).collections[0].get_offsets()) == len(POINTS) - 1
    for count in (0, 1):
        assert figure_bytes(plane(POINTS[:count], KINDS[:count]))
    flat = cluster(covariance=((0, 0), (0, 0)))
    assert figure_bytes(plane(panels=[Panel(regions=HALVES, clusters=(flat,))]))


def test_panels_fit_into_axes_that_were_given():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.add_subplot(1, 2, 1)
    assert plane(panels=[Panel(), Panel()], ax=ax) is ax
    assert len(ax.child_axes) == 2
    assert ax.get_legend() is not None
    line = score_line(
        POINTS[:, 0], KINDS % 2, names=("n", "p"), panels=[panel(), panel()], x_label="x",
        ax=figure.add_subplot(1, 2, 2),
    )  # fmt: skip
    assert len(line.child_axes) == 2
    assert figure_bytes(ax)


def panel(answers=None, **options) -> LinePanel:
    places = np.linspace(-3, 3, 61)
    if answers is None:
        answers = (places > 0.05).astype(int)
    return LinePanel(places=places, answers=np.asarray(answers), **options)


def test_a_line_shows_class_one_up_class_zero_down_and_where_the_answer_changes():
    values, kinds = np.array([-1.0, -1.0, 1.0, 2.0, 2.0, 2.0]), np.array([0, 0, 1, 1, 1, -1])
    ax = score_line(values, kinds, names=("n", "p"), panels=[panel()], x_label="log-ratio")
    heights = [bar.get_height() for bar in ax.patches if hasattr(bar, "get_height")]
    assert (min(heights), max(heights)) == (-2, 2)
    borders = [line.get_xdata()[0] for line in ax.get_lines() if len(set(line.get_xdata())) == 1]
    np.testing.assert_allclose(borders, [0.05], atol=0.05)
    bell = Bell(mean=2.0, deviation=0.5, label=1)
    drawn = score_line(
        values, kinds, names=("$n", "_p"), panels=[panel(), panel(bells=(bell,))], x_label="x"
    )
    peak = drawn.figure.axes[1].get_lines()[-2]
    assert abs(peak.get_xdata()[np.argmax(peak.get_ydata())] - 2.0) < 0.02
    assert figure_bytes(drawn).startswith(b"\x89PNG")


def test_a_line_where_one_class_is_answered_everywhere_or_no_text_is_there():
    for answers in (np.zeros(61, int), np.arange(61) % 2):
        ax = score_line(
            np.empty(0), np.empty(0, int), names=("n", "p"), panels=[panel(answers)], x_label="x"
        )
        assert figure_bytes(ax)


@pytest.mark.parametrize("name", ["$x", "_hidden", "</script>", "中文", "🙂"])
@pytest.mark.parametrize("format", ["png", "svg"])
def test_names_are_shown_as_they_stand(name, format):
    ax = plane(names=[name, "b", "c"], panels=[Panel(title=name)], x_label=name, note=name)
    assert figure_bytes(ax, format=format, dots_per_inch=40)
    line = score_line(POINTS[:, 0], KINDS % 2, names=(name, "p"), panels=[panel()], x_label=name)
    assert figure_bytes(line, format=format, dots_per_inch=40)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plane(panels=[]), "0 panels"),
        (lambda: plane(names=["x"] * (MOST_CLASSES + 1)), "19 classes"),
        (lambda: plane(names=["a", "b"]), "up to 2, 2 names"),
        (lambda: plane(POINTS[:5]), "5 points with 40 classes"),
        (
            lambda: score_line(POINTS[:, 0], KINDS, names=("a",), panels=[panel()], x_label="x"),
            "1 panels of 1 classes",
        ),
        (
            lambda: score_line(POINTS[:, 0], KINDS, names=("a", "b"), panels=[panel()], x_label=""),
            "40 values with 40 classes",
        ),
    ],
)
def test_bad_input_is_refused(as_users_call_it, call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
