"""Maps and heights of a landscape: what is drawn is what was given, holes stay holes."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from vesalius.core.errors import VesaliusError
from vesalius.plots.landscape_contour import contour_map, label_spots
from vesalius.plots.landscape_path import Mark, TracePath
from vesalius.plots.landscape_scale import ValueScale, value_scale
from vesalius.plots.landscape_surface import figure_html, surface_figure, surface_picture
from vesalius.plots.style import figure_bytes

ALPHAS, BETAS = np.linspace(-1, 2, 13), np.linspace(-1, 1, 7)
BOWL = 0.2 + (ALPHAS[:, None] - 1) ** 2 + 2 * BETAS[None] ** 2
GRID = {"alphas": ALPHAS, "betas": BETAS, "unit": "loss (nats)"}
PATH = TracePath(
    coordinates=np.array([[0.0, 0.0], [0.5, 0.3], [1.0, 0.0]]), values=np.array([1.2, 0.9, 0.2])
)
MARKS = (
    Mark(name="start", place=(0.0, 0.0), symbol="start"),
    Mark(name="solution", place=(1.0, 0.0), symbol="solution"),
)


def legend_words(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_values_stand_at_their_own_alpha_and_beta():
    """A plane that rises along alpha alone has upright contours: no axis is swapped."""
    tilted = np.broadcast_to(ALPHAS[:, None] + 2, BOWL.shape).copy()
    ax = contour_map(tilted, **GRID)
    assert ax.get_xlim() == (-1, 2)
    assert ax.get_ylim() == (-1, 1)
    lines = ax.collections[1].get_paths()
    assert len(lines) > 2
    assert all(np.ptp(line.vertices[:, 0]) < 1e-9 for line in lines)
    # the line of the value v stands at alpha = v - 2
    places = sorted(line.vertices[0, 0] + 2 for line in lines)
    np.testing.assert_allclose(places, [t for t in value_scale([tilted]).ticks() if 1 < t < 4])


def test_the_low_region_is_the_ellipse_it_should_be():
    fine_a, fine_b = np.linspace(-1, 3, 161), np.linspace(-1, 1, 121)
    bowl = 0.2 + (fine_a[:, None] - 1) ** 2 + 2 * fine_b[None] ** 2
    ax = contour_map(bowl, alphas=fine_a, betas=fine_b, unit="u", level=0.7)
    x, y = ax.collections[-1].get_paths()[0].vertices.T
    np.testing.assert_allclose((x - 1) ** 2 + 2 * y**2, 0.5, atol=2e-3)
    assert "up to 0.7" in legend_words(ax)


@pytest.mark.parametrize(("level", "word"), [(0.1, "nowhere"), (99.0, "everywhere")])
def test_a_level_that_is_met_nowhere_or_everywhere_is_told(level, word):
    assert any(word in text for text in legend_words(contour_map(BOWL, **GRID, level=level)))


def test_the_dots_of_the_path_have_the_colours_of_their_own_values():
    ax = contour_map(BOWL, **GRID, path=PATH, marks=MARKS)
    (dots,) = [c for c in ax.collections if len(c.get_offsets()) == 3]
    np.testing.assert_allclose(dots.get_array(), PATH.values)
    np.testing.assert_allclose(dots.get_offsets(), PATH.coordinates)
    scale = value_scale([BOWL])
    assert (dots.norm.vmin, dots.norm.vmax) == (scale.low, scale.high)
    assert legend_words(ax) == ["training path, true values as dots", "start", "solution"]
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_places_outside_are_named_and_not_drawn_over_the_border():
    path = TracePath(coordinates=PATH.coordinates * 5)
    marks = (Mark(name="far", place=(9.0, 0.0)),)
    for ax in (contour_map(BOWL, **GRID, path=path, marks=marks),):
        assert legend_words(ax) == ["training path (2 of 3 points outside)", "far (outside)"]
        assert ax.get_xlim() == (-1, 2)
    assert "far (outside)" in legend_words(surface_picture(BOWL, **GRID, path=path, marks=marks))


def test_a_hole_is_hatched_and_named_and_nothing_is_filled_in():
    holed = BOWL.copy()
    holed[0, 0], holed[5, 3] = np.nan, np.inf
    ax = contour_map(holed, **GRID)
    assert ax.patch.get_hatch()
    assert legend_words(ax) == ["not finite"]
    assert not contour_map(BOWL, **GRID).patch.get_hatch()
    nothing = contour_map(np.full_like(BOWL, np.nan), **GRID, path=PATH, level=1.0)
    assert figure_bytes(nothing)
    ax = surface_picture(holed, **GRID)
    # every cell has four corners: one hole at the rim takes one cell, one inside takes four
    ax.figure.draw_without_rendering()
    assert len(ax.collections[0].get_paths()) == 12 * 6 - 5
    assert figure_bytes(surface_picture(np.full_like(BOWL, np.nan), **GRID, marks=MARKS, path=PATH))


@pytest.mark.parametrize("shape", [(2, 2), (2, 9), (9, 2), (3, 40)])
def test_any_grid_from_two_by_two(shape):
    rows, columns = np.linspace(0, 1, shape[0]), np.linspace(-3, 0, shape[1])
    values = rows[:, None] - columns
    grid = {"alphas": rows, "betas": columns, "unit": "u"}
    assert figure_bytes(contour_map(values, **grid, level=0.5))
    assert figure_bytes(surface_picture(values, **grid))
    assert surface_figure(values, **grid).data[0].z.shape == shape[::-1]
    flat = np.full(shape, 0.5)
    assert figure_bytes(contour_map(flat, **grid, percent=True))
    assert figure_bytes(surface_picture(flat, **grid))


def test_measured_points_are_dots_where_the_rest_is_interpolated():
    evaluated = np.zeros(BOWL.shape, dtype=bool)
    evaluated[::4, ::3] = True
    ax = contour_map(BOWL, **GRID, evaluated=evaluated)
    assert legend_words(ax) == ["measured (12 of 91), the rest interpolated"]
    assert contour_map(BOWL, **GRID, evaluated=np.ones_like(evaluated)).get_legend() is None


def test_walls_are_cut_off_and_the_picture_says_so():
    walled = BOWL.copy()
    walled[0, 0] = 500.0
    top = value_scale([walled], log=False).high
    assert BOWL.max() < top < 10
    ax = contour_map(walled, **GRID, log=False)
    (bar,) = [child for child in ax.child_axes if "cut off" in child.get_ylabel()]
    assert f"above {top:g}: cut off" in bar.get_ylabel()
    picture = surface_picture(walled, **GRID, log=False)
    assert "cut off" in picture.get_zlabel()
    np.testing.assert_allclose(picture.get_zlim()[1], top)
    figure = surface_figure(walled, **GRID, log=False)
    assert figure.data[0].customdata.max() == 500  # pointing at it tells the truth
    np.testing.assert_allclose(figure.data[0].z.max(), top)


def test_checkpoints_stand_at_their_own_heights_on_stems():
    own = TracePath(coordinates=PATH.coordinates, values=np.array([1.2, 2.5, 0.2]))
    ax = surface_picture(BOWL, **GRID, path=own, marks=MARKS, log=False)
    heights = [np.asarray(line.get_data_3d()[2]) for line in ax.lines]
    assert any(len(z) == 3 and np.allclose(z, own.values) for z in heights)
    stems = [z for z in heights if len(z) == 2]
    surface = 0.2 + 0.25 + 2 * 0.3**2
    (stem,) = stems  # the others lie on the surface
    np.testing.assert_allclose(stem, [surface, 2.5], atol=0.06)  # the grid is coarse
    figure = surface_figure(BOWL, **GRID, path=own, marks=MARKS, log=False)
    np.testing.assert_allclose(figure.data[1].z - own.values, figure.data[1].z[0] - 1.2)
    assert figure.data[1].customdata.tolist() == own.values.tolist()


def test_a_logarithmic_surface_has_the_heights_of_its_exponents():
    steep = 10.0 ** np.linspace(-2, 2, BOWL.size).reshape(BOWL.shape)
    figure = surface_figure(steep, **GRID)
    np.testing.assert_allclose(figure.data[0].z, np.log10(steep).T)
    np.testing.assert_allclose(figure.data[0].customdata, steep.T)
    assert surface_picture(steep, **GRID).get_zlim() == (-2, 2)


@pytest.mark.parametrize("name", ["$x", "_hidden", "</script><b>", "中文", "a" * 90])
def test_names_are_shown_as_they_stand(name):
    told = {"axes": (name, name), "title": name, "marks": [Mark(name=name, place=(0.0, 0.0))]}
    grid = GRID | {"unit": name}
    assert figure_bytes(contour_map(BOWL, **grid, **told, path=PATH))
    assert figure_bytes(surface_picture(BOWL, **grid, **told, path=PATH))
    text = figure_html(surface_figure(BOWL, **grid, **told), name="turn", with_plotly=False)
    assert "<b>" not in text
    assert text.count("</script>") == text.count("<script")


def test_the_interactive_figure_needs_no_network_and_sends_nothing_away():
    text = figure_html(surface_figure(BOWL, **GRID), name="turn")
    assert text.count('id="turn"') == 1
    assert len(text) > 4e6  # plotly itself is inside
    assert not re.search(r"<script[^>]*\ssrc=|<link|<img", text.split("<script", 2)[0])
    assert not re.search(r'<script[^>]*\ssrc=["\']', re.sub(r">[^<]{1000,}<", "><", text))
    config = json.loads(
        re.search(r'\{"[^{}]*"displaylogo"[^{}]*\}|\{"displaylogo"[^{}]*\}', text).group()
    )
    assert {"sendChartToCloud", "toImage"} <= set(config["modeBarButtonsToRemove"])
    assert "plotlyServerURL" not in config
    assert len(figure_html(surface_figure(BOWL, **GRID), name="a", with_plotly=False)) < 1e5


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=30),
    st.booleans() | st.none(),
)
def test_a_scale_holds_the_bulk_and_is_in_order(values, log):
    scale = value_scale([np.array(values)], log=log)
    assert scale.low < scale.high
    assert scale.low <= min(values)
    assert np.mean(np.array(values) <= scale.high * (1 + 1e-9)) >= 0.5
    assert scale.clipped == (max(values) > scale.high)
    ticks = scale.ticks()
    assert ((ticks >= scale.low) & (ticks <= scale.high)).all()
    heights = scale.heights(np.array(sorted(values)))
    assert (np.diff(heights) >= 0).all()


def test_a_scale_turns_logarithmic_only_where_asked_or_needed():
    assert value_scale([np.array([0.01, 1.0, 5.0])]).log
    assert not value_scale([np.array([1.0, 5.0])]).log
    assert not value_scale([np.array([0.0, 5.0])]).log
    assert not value_scale([np.array([0.01, 1.0])], percent=True).log
    assert value_scale([np.array([1.0, 5.0])], log=True).log
    assert value_scale([np.full(3, np.nan)]) == ValueScale(low=0.0, high=1.0)
    log_ticks = value_scale([np.array([0.05, 1.0, 40.0])], log=True).ticks()
    np.testing.assert_allclose(log_ticks, [0.1, 0.3, 1.0, 3.0, 10.0, 30.0])


def test_numbers_keep_away_from_border_marks_and_each_other():
    line = np.stack([np.linspace(0, 1, 101), np.full(101, 0.5)], axis=1)
    span = np.array([[0.0, 0.0], [1.0, 1.0]])
    taken = np.array([[0.5, 0.5]])
    spots = label_spots([line, line + np.array([0, 0.01])], span, taken)
    assert len(spots) == 2
    for x, _ in spots:
        assert 0.05 <= x <= 0.95
        assert abs(x - 0.5) >= 0.07
    assert abs(spots[0][0] - spots[1][0]) >= 0.06
    assert label_spots([line * [0.04, 1]], span, taken) == []  # all of it beside the border


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda draw: draw(BOWL.T, **GRID), "values of shape [7, 13] over 13 alphas"),
        (lambda draw: draw(BOWL[:1], **GRID | {"alphas": ALPHAS[:1]}), "two places or more"),
        (lambda draw: draw(BOWL[::-1], **GRID | {"alphas": ALPHAS[::-1]}), "grow"),
        (lambda draw: draw(BOWL, **GRID | {"betas": BETAS * np.nan}), "finite numbers that grow"),
        (lambda draw: draw(BOWL - 5, **GRID, log=True), "a logarithmic scale"),
        (lambda draw: TracePath(coordinates=np.zeros((3, 3))), "coordinates of shape [3, 3]"),
        (
            lambda draw: TracePath(coordinates=np.zeros((3, 2)), values=np.zeros(2)),
            "values of shape [2]",
        ),
        (lambda draw: Mark(name="x", place=(0.0, 0.0), symbol="cross"), "symbol='cross'"),
        (lambda draw: ValueScale(low=1.0, high=1.0), "a scale from 1 to 1"),
        (lambda draw: ValueScale(low=0.0, high=1.0, log=True), "log=True"),
    ],
)
@pytest.mark.parametrize("draw", [contour_map, surface_picture, surface_figure])
def test_bad_input_is_refused(as_users_call_it, draw, call, said):
    with pytest.raises(VesaliusError) as caught:
        call(draw)
    assert said in str(caught.value)


def test_flat_axes_are_refused_for_a_picture_in_three_dimensions():
    with pytest.raises(VesaliusError, match="in two dimensions"):
        surface_picture(BOWL, **GRID, ax=Figure().add_subplot())
    ax = Figure().add_subplot(projection="3d")
    assert surface_picture(BOWL, **GRID, ax=ax) is ax
    flat = Figure().add_subplot()
    assert contour_map(BOWL, **GRID, ax=flat) is flat
