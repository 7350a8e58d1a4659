"""Lines of a landscape and bars of a roll-back: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from vesalius.core.errors import VesaliusError
from vesalius.plots.landscape_line import (
    MOST_LINES,
    LevelSpan,
    LineSeries,
    LossPanel,
    Rise,
    loss_lines,
    loss_panels,
)
from vesalius.plots.panels import beside
from vesalius.plots.rollback_bars import RollbackBar, rollback_bars
from vesalius.plots.style import figure_bytes

ALPHAS = np.linspace(-1, 2, 31)
LOSSES = 0.2 + (ALPHAS - 1) ** 2


def series(values: np.ndarray = LOSSES, *, error: float | None = None) -> LineSeries:
    errors = None if error is None else np.full(len(values), error)
    return LineSeries(alphas=np.linspace(-1, 2, len(values)), values=values, standard_errors=errors)


def draw(lines, **options):
    return loss_lines(lines, axis="towards the solution", unit="loss (nats)", **options)


def test_lines_bands_and_places_are_those_given():
    ax = draw(
        {"train": series(error=0.1), "held-out": series(LOSSES + 1)},
        places={"start": 0.0, "solution": 1.0, "elsewhere": 7.0},
        title="a line",
    )
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["train"].get_ydata(), LOSSES)
    np.testing.assert_array_equal(lines["train"].get_xdata(), ALPHAS)
    band = ax.collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose((band.y0, band.y1), (0.2 - 0.196, 4.2 + 0.196))
    texts = {text.get_text(): text.get_position()[0] for text in ax.texts}
    assert texts == {"start": 0.0, "solution": 1.0}
    assert ax.get_xlabel() == "alpha: towards the solution"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["train", "held-out"]
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_the_width_is_shaded_at_its_level():
    span = LevelSpan(low=0.7, high=1.3, level=0.3, name="0.6 wide")
    ax = draw({"train": series()}, span=span)
    (shade,) = [patch for patch in ax.patches if patch.get_label() == "0.6 wide"]
    np.testing.assert_allclose((shade.get_x(), shade.get_width()), (0.7, 0.6))
    assert any(set(line.get_ydata()) == {0.3} for line in ax.get_lines())


def test_a_rise_stands_on_the_straight_way_between_the_ends():
    path = np.linspace(0, 1, 11)
    values = 0.3 + 0.2 * path + 4 * path * (1 - path)
    line = LineSeries(alphas=path, values=values)
    ax = draw({"train": line}, rises={"train": Rise(alpha=0.5, height=1.0)})
    chord = [each for each in ax.get_lines() if len(each.get_xdata()) == 2]
    np.testing.assert_allclose(chord[0].get_ydata(), [0.3, 0.5])
    (arrow,) = ax.texts
    np.testing.assert_allclose((arrow.xy, arrow.xyann), ((0.5, 1.4), (0.5, 0.4)))
    assert figure_bytes(ax)
    assert not draw({"train": line}, rises={"train": Rise(alpha=0.0, height=0.0)}).texts


def test_what_is_not_finite_is_a_hatched_stretch():
    values = LOSSES.copy()
    values[:2], values[10], values[-1] = np.nan, np.inf, np.nan
    ax = draw({"train": series(values)})
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches if p.get_hatch()]
    np.testing.assert_allclose(spans, [(-1, -0.85), (-0.05, 0.05), (1.95, 2)], atol=1e-9)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["train", "not finite"]
    assert figure_bytes(draw({"train": series(np.full(3, np.nan))}))


def test_panels_stand_beside_each_other_also_inside_given_axes():
    panels = [
        LossPanel(series={"train": series()}, unit="loss (nats)"),
        LossPanel(series={"train": series(LOSSES / 10)}, unit="error", percent=True),
    ]
    ax = loss_panels(panels, axis="x")
    left, right = ax.figure.axes
    assert left is ax
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss (nats)", "error")
    assert all(text.get_text().endswith("%") for text in right.get_yticklabels())
    given = Figure(figsize=(8, 3)).add_subplot()
    assert loss_panels(panels, axis="x", ax=given) is given
    assert len(given.child_axes) == 2
    assert beside(given, 1, width=1, height=1) == (given, [given])
    assert figure_bytes(given)


def test_a_steep_line_has_a_logarithmic_axis_unless_told_otherwise():
    steep = np.geomspace(0.01, 10, 31)
    assert draw({"a": series(steep)}).get_yscale() == "log"
    assert draw({"a": series(steep)}, log=False).get_yscale() == "linear"
    assert draw({"a": series()}).get_yscale() == "linear"
    assert figure_bytes(draw({"a": series(steep, error=0.5)}))


@pytest.mark.parametrize("num_points", [1, 2, 200])
def test_few_and_many_points_are_drawn(num_points):
    ax = draw({"a": series(np.full(num_points, 0.5), error=0.1)})
    assert figure_bytes(ax)
    assert (ax.get_lines()[0].get_marker() == "o") == (num_points < 16)


def bar(name: str, accuracy: float, block: str = "thirds") -> RollbackBar:
    change = accuracy - 0.9
    return RollbackBar(
        name=name, accuracy=accuracy, change=change, low=change - 0.03, high=change + 0.02,
        moved=0.05, block=block,
    )  # fmt: skip


def test_bars_intervals_and_numbers_are_those_given():
    rows = [bar("low", 0.9), bar("high", 0.4), bar("layer 0", 0.85, "single layers")]
    ax = rollback_bars(rows, fine_tuned=0.9, majority=0.5, title="back")
    assert [patch.get_width() for patch in ax.patches] == [0.9, 0.4, 0.85]
    (interval, *_) = [c for c in ax.collections if np.ptp(c.get_segments()[0][:, 0]) > 0]
    np.testing.assert_allclose(interval.get_segments()[0][:, 0], [0.87, 0.92])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["low", "high", "layer 0"]
    words = [text.get_text() for text in ax.texts]
    assert [w for w in words if w in ("thirds", "single layers")] == ["thirds", "single layers"]
    assert {"90.0%", "+0.0", "40.0%", "\u221250.0", "5.0%", "moved"} <= set(words)
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["fine-tuned (90.0%)", "commonest class (50.0%)"]
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_the_numbers_beside_the_bars_are_not_cut_off():
    ax = rollback_bars([bar("layer with a long name", 0.9)], fine_tuned=0.9)
    ax.figure.draw_without_rendering()
    width = ax.figure.bbox.width
    assert max(text.get_window_extent().x1 for text in ax.texts) <= width + 1
    assert min(label.get_window_extent().x0 for label in ax.get_yticklabels()) >= 0


@pytest.mark.parametrize("name", ["$x", "_hidden", "</script>", "中文", "a" * 40])
def test_names_are_shown_as_they_stand(name):
    ax = loss_lines({name: series()}, axis=name, unit=name, places={name: 0.5}, title=name)
    assert len(ax.get_legend().get_texts()) == 1
    assert figure_bytes(ax)
    assert figure_bytes(rollback_bars([bar(name, 0.5, name)], fine_tuned=0.5, title=name))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: LineSeries(alphas=ALPHAS, values=LOSSES[1:]), "arrays of shapes"),
        (lambda: LineSeries(alphas=ALPHAS[::-1], values=LOSSES), "growing"),
        (lambda: draw({}), "0 lines"),
        (lambda: draw({str(i): series() for i in range(MOST_LINES + 1)}), "7 lines"),
        (lambda: draw({"a": series()}, rises={"b": Rise(alpha=0.0, height=1.0)}), "a rise of 'b'"),
        (lambda: loss_panels([], axis="x"), "no panels"),
        (lambda: draw({"a": series(LOSSES - 1)}, log=True), "logarithmic"),
        (lambda: rollback_bars([], fine_tuned=0.5), "no rows"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
