"""Box plots and size curves: what is drawn is what was given; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.boxes import MOST_KINDS, box_groups
from vesalius.plots.size_curves import MOST_CURVES, SizeCurve, size_curves
from vesalius.plots.style import figure_bytes

VALUES = np.array([0.1, 0.2, 0.3, 0.4, 0.9])


def curve(size=(1.0, 10.0, 100.0), value=(0.5, 0.6, 0.7), spread=0.1) -> SizeCurve:
    middle = np.array(value, dtype=float)
    return SizeCurve(
        size=np.array(size, dtype=float), value=middle, low=middle - spread, high=middle + spread
    )


def test_boxes_show_median_and_every_value():
    ax = box_groups({"one": {"none": VALUES, "batch": 2 * VALUES}}, unit="accuracy")
    dots = [set(np.round(d.get_offsets()[:, 1], 9)) for d in ax.collections]
    assert dots == [set(VALUES), set(np.round(2 * VALUES, 9))]
    medians = [line.get_ydata()[0] for line in ax.get_lines() if line.get_linewidth() == 1.6]
    np.testing.assert_allclose(medians, [0.3, 0.6])
    assert [t.get_text() for t in ax.figure.legends[0].get_texts()] == ["none", "batch"]
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_few_values_stand_without_a_box_and_missing_ones_are_left_out():
    few = np.array([0.2, 0.4, np.nan])
    ax = box_groups({"one": {"none": few}, "two": {"none": np.full(3, np.nan)}}, unit="u")
    assert not ax.patches
    offsets = [d.get_offsets()[:, 1] for d in ax.collections if len(d.get_offsets()) == 2]
    np.testing.assert_allclose(sorted(offsets[0]), [0.2, 0.4])
    (cross,) = [line for line in ax.get_lines() if line.get_marker() == "x"]
    np.testing.assert_allclose(cross.get_xdata(), [1])
    assert figure_bytes(ax)


def test_kinds_keep_their_place_where_a_condition_lacks_one():
    ax = box_groups({"one": {"a": VALUES, "b": VALUES}, "two": {"b": VALUES}}, unit="u")
    centres = [d.get_offsets()[:, 0].mean() for d in ax.collections]
    assert centres[0] < centres[1] < 0.5
    np.testing.assert_allclose(centres[2] - centres[1], 1)


def test_kinds_differ_in_colour_or_hatch():
    kinds = {f"kind {i}": VALUES for i in range(MOST_KINDS)}
    ax = box_groups({"one": kinds}, unit="u", percent=True, references={"chance": 0.5})
    handles = ax.figure.legends[0].legend_handles[:MOST_KINDS]
    assert len({(h.get_edgecolor(), h.get_hatch()) for h in handles}) == MOST_KINDS
    ax.figure.canvas.draw()
    assert all(text.get_text().endswith("%") for text in ax.get_yticklabels())


def test_curves_have_their_points_bands_and_ticks():
    ax = size_curves({"batch": curve()}, x_label="texts", y_label="accuracy", references={"c": 0.5})
    line, level = ax.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), [0.5, 0.6, 0.7])
    assert set(level.get_ydata()) == {0.5}
    extent = ax.collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose((extent.y0, extent.y1), (0.4, 0.8))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "10", "100"]
    assert ax.get_xscale() == "log"
    even = size_curves(
        {"a": curve((0, 1, 4))}, x_label="shots", y_label="y", log=False, percent=True
    )
    assert even.get_xscale() == "linear"
    assert figure_bytes(even)
    assert figure_bytes(size_curves({"a": curve((5,), (0.5,))}, x_label="x", y_label="y"))


def test_curves_differ_in_colour_or_line():
    curves = {f"c{i}": curve() for i in range(MOST_CURVES)}
    lines = size_curves(curves, x_label="x", y_label="y").get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == MOST_CURVES


@pytest.mark.parametrize("name", ["$x", "_hidden", "</script>", "中文", "a" * 60])
def test_names_are_shown_as_they_stand(name):
    ax = box_groups(
        {name: {name: VALUES}, "b": {name: VALUES}}, unit=name, title=name, x_label=name
    )
    assert figure_bytes(ax)
    assert figure_bytes(size_curves({name: curve()}, x_label=name, y_label=name, title=name))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: box_groups({}, unit="u"), "0 conditions"),
        (lambda: box_groups({"a": {}}, unit="u"), "0 kinds"),
        (
            lambda: box_groups({"a": {str(i): VALUES for i in range(MOST_KINDS + 1)}}, unit="u"),
            "13 kinds",
        ),
        (
            lambda: box_groups(
                {"a": {"b": VALUES}}, unit="u", references=dict.fromkeys("abc", 0.0)
            ),
            "3 references",
        ),
        (lambda: curve((1, 1, 2)), "growing"),
        (lambda: curve((1, 2), (1, 2, 3)), "shapes"),
        (lambda: curve((), ()), "shapes"),
        (lambda: size_curves({}, x_label="x", y_label="y"), "0 curves"),
        (
            lambda: size_curves({"a": curve((0, 1, 2))}, x_label="x", y_label="y"),
            "0 on a logarithmic axis",
        ),
    ],
)
def test_bad_input_is_refused(as_users_call_it, call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
