"""Widths, areas, barriers and agreement of curves and surfaces whose answers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from vesalius.core.errors import VesaliusError
from vesalius.numerics.surface_measures import (
    Region,
    agreement,
    barrier,
    largest_rise,
    region_area,
    width_at,
)

NAN = float("nan")
ALPHAS = np.linspace(-2, 2, 401)


def bowl(num_x: int, num_y: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    alphas, betas = np.linspace(-2, 2, num_x), np.linspace(-1.5, 1.5, num_y)
    return alphas, betas, alphas[:, None] ** 2 + 4 * betas[None, :] ** 2


def test_a_parabola_is_as_wide_as_its_roots():
    found = width_at(ALPHAS, (ALPHAS - 0.25) ** 2, centre=0.25, level=0.5)
    assert_allclose([found.low, found.high], 0.25 + np.sqrt(0.5) * np.array([-1, 1]), atol=1e-4)
    assert_allclose(found.width, found.high - found.low)
    assert (found.open_low, found.open_high) == (False, False)


@given(st.floats(-1.9, 1.9), st.floats(0.01, 1.5), st.floats(0.5, 3))
def test_a_kink_between_points_is_measured_from_any_centre(
    centre: float, level: float, slope: float
):
    alphas = np.sort(np.append(np.linspace(-2, 2, 9), centre))
    alphas = alphas[np.append(True, np.diff(alphas) > 1e-9)]
    found = width_at(alphas, slope * np.abs(alphas - centre), centre=centre, level=level)
    low, high = max(-2, centre - level / slope), min(2, centre + level / slope)
    assert_allclose([found.low, found.high], [low, high], atol=1e-6)


def test_a_width_is_open_where_the_bound_comes_first():
    found = width_at(ALPHAS, np.maximum(ALPHAS, 0.0), centre=-1.003, level=1.0)
    assert (found.low, found.open_low, found.open_high) == (-2.0, True, False)
    assert_allclose(found.high, 1.0)


def test_only_the_valley_of_the_centre_counts():
    two_valleys = np.minimum((ALPHAS - 1) ** 2, (ALPHAS + 1) ** 2)
    found = width_at(ALPHAS, two_valleys, centre=1.0, level=0.25)
    assert_allclose([found.low, found.high], [0.5, 1.5], atol=1e-4)
    above = width_at(ALPHAS, two_valleys, centre=0.0, level=0.25)
    assert (above.low, above.high, above.width) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("hole", [NAN, np.inf, -np.inf])
def test_a_hole_ends_the_width_at_the_last_finite_point(hole: float):
    losses = np.array([0.0, 0.0, 0.0, hole, 0.0])
    found = width_at(np.arange(5.0), losses, centre=1.0, level=0.5)
    assert (found.low, found.high) == (0.0, 2.0)
    assert (found.open_low, found.open_high) == (True, False)
    assert width_at(np.arange(5.0), losses, centre=2.5, level=0.5).width == 0


def test_the_area_of_a_bowl_is_that_of_its_ellipse():
    alphas, betas, losses = bowl(81, 61)
    found = region_area(alphas, betas, losses, centre=(0.1, 0.0), level=1.0)
    assert_allclose(found.area, np.pi * 1.0 * 0.5, rtol=5e-3)
    assert not found.open


def test_the_area_below_a_slope_is_exact_on_any_grid():
    alphas, betas = np.array([0.0, 0.3, 1.0]), np.array([0.0, 0.5, 0.6, 2.0])
    plane = alphas[:, None] + 2 * betas[None, :]
    for level, area in ((1.5, 1.5**2 / 4 - 0.5**2 / 4), (0.4, 0.04), (9.0, 2.0)):
        found = region_area(alphas, betas, plane, centre=(0.0, 0.0), level=level)
        assert_allclose(found.area, area, rtol=1e-12)
        assert found.open


@given(st.floats(0, 1), st.floats(0, 2))
def test_a_centre_anywhere_sees_the_plane_it_lies_on(a: float, b: float):
    alphas, betas = np.array([0.0, 0.3, 1.0]), np.array([0.0, 0.5, 0.6, 2.0])
    plane = 3 * alphas[:, None] - betas[None, :]
    height, options = 3 * a - b, {"centre": (a, b)}
    assert region_area(alphas, betas, plane, level=height + 1e-9, **options).area > 0
    assert region_area(alphas, betas, plane, level=height - 1e-9, **options).area == 0


def test_only_the_region_of_the_centre_counts():
    alphas, betas = np.linspace(-2, 2, 81), np.linspace(-1, 1, 41)
    sides = [(alphas[:, None] - a) ** 2 + betas[None, :] ** 2 for a in (-1, 1)]
    found = region_area(alphas, betas, np.minimum(*sides), centre=(1.0, 0.0), level=0.25)
    assert_allclose(found.area, np.pi / 4, rtol=1e-2)
    assert not found.open
    whole = region_area(alphas, betas, np.minimum(*sides), centre=(1.0, 0.0), level=1.1)
    assert whole.area > 2 * np.pi * 0.9
    assert whole.open


def test_a_cell_with_a_hole_adds_no_area():
    losses = np.zeros((3, 3))
    losses[2, 2] = NAN
    axis = np.arange(3.0)
    found = region_area(axis, axis, losses, centre=(0.0, 0.0), level=1.0)
    assert found == Region(area=3.0, open=True)
    losses[1] = NAN
    assert region_area(axis, axis, losses, centre=(0.0, 0.5), level=1.0).area == 0


@pytest.mark.parametrize("sizes", [(9, 7), (9,)])
def test_agreement_is_spearmans_and_counts_grid_points(sizes: tuple[int, ...]):
    drawn = np.random.default_rng(0)
    train = drawn.random(sizes)
    held_out = np.round(train + 0.2 * drawn.random(sizes), 1)  # shares of errors have ties
    axes = {n: np.linspace(-1, 2, k) for n, k in zip(("alphas", "betas"), sizes, strict=False)}
    found = agreement(train, held_out, tau_nats=0.2, margin=0.1, **axes)
    expected = stats.spearmanr(train.ravel(), held_out.ravel()).statistic
    assert_allclose(found.spearman, expected, rtol=1e-12)
    places = [np.unravel_index(s.argmin(), sizes) for s in (train, held_out)]
    gaps = [axis[a] - axis[b] for axis, a, b in zip(axes.values(), *places, strict=True)]
    assert_allclose(found.argmin_distance, np.linalg.norm(gaps))
    low = (train <= train.min() + 0.2), (held_out <= held_out.min() + 0.1)
    assert found.overlap == (low[0] & low[1]).sum() / (low[0] | low[1]).sum()


def test_agreement_leaves_holes_out():
    train = np.array([NAN, 1.0, 2.0, 3.0, -np.inf])
    held_out = np.array([0.0, 0.1, NAN, 0.3, 0.5])
    found = agreement(train, held_out, alphas=np.arange(5.0), tau_nats=0.5, margin=0.15)
    assert found.spearman == 1
    assert found.argmin_distance == 1
    assert found.overlap == 0.5  # {1} and {0, 1}


def test_a_surface_that_is_the_same_everywhere_has_no_ranking():
    found = agreement(np.arange(3.0), np.full(3, 0.5), alphas=np.arange(3.0))
    assert np.isnan(found.spearman)


def test_a_barrier_is_measured_from_the_line_between_the_ends():
    """J = 2 a + 4 h a (1 - a): the line is 2 a, the barrier h, in the middle."""
    alphas = np.linspace(-0.5, 1.5, 21)
    found = barrier(alphas, 2 * alphas + 4 * 0.7 * alphas * (1 - alphas))
    assert_allclose([found.height, found.alpha], [0.7, 0.5])
    convex = barrier(alphas, (alphas - 0.3) ** 2)
    assert (convex.height, convex.alpha) == (0.0, 0.0)
    between = barrier(np.array([-0.5, 0.5, 1.5]), np.array([1.0, 1.0, 0.0]))
    assert_allclose([between.height, between.alpha], [0.25, 0.5])
    hole = barrier(np.array([0.0, 0.5, 1.0]), np.array([0.0, NAN, 0.0]))
    assert (hole.height, hole.alpha) == (np.inf, 0.5)


def test_a_path_that_falls_never_rises():
    assert largest_rise(np.array([3.0, 2.0, 2.0, -1.0])) == 0
    assert largest_rise(np.array([NAN, 2.0, 1.0, 4.0, 0.0, 2.5])) == 3
    assert largest_rise(np.array([2.0, NAN])) == np.inf


def test_mistakes_are_named():
    axis, curve = np.arange(3.0), np.zeros(3)
    for call, message in (
        (lambda: width_at(axis, curve, centre=2.5, level=1.0), "outside of 0 to 2"),
        (lambda: width_at(-axis, curve, centre=0.0, level=1.0), "rising"),
        (lambda: barrier(axis[:1], curve[:1]), "at least two"),
        (lambda: barrier(axis - 1.5, curve), "outside of -1.5 to 0.5"),
        (lambda: barrier(axis, np.array([NAN, 0.0, 0.0])), "ends of the path"),
        (lambda: agreement(np.full(3, NAN), curve, alphas=axis), "finite together"),
        (lambda: agreement(curve, curve, alphas=axis, betas=axis), "over 2 axes"),
        (lambda: largest_rise(np.full(2, NAN)), "none of them finite"),
    ):
        with pytest.raises(VesaliusError, match=message):
            call()
