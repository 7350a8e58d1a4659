"""Refined grids: exact where the surface is bilinear, within tolerance elsewhere, honest always."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from vesalius.core.errors import VesaliusError
from vesalius.numerics.adaptive_grid import Interpolation, Refined, refine

NAN = float("nan")


def refined(surface: np.ndarray, *, tolerance: float = 0.05, **options) -> Refined:
    """Refine on a known surface [x, y]; its negative goes along as a second value."""
    asked: list[tuple[int, int]] = []

    def evaluate(places: np.ndarray) -> np.ndarray:
        asked.extend((int(x), int(y)) for x, y in places)
        values = surface[places[:, 0], places[:, 1]]
        return np.stack([values, -values], axis=1)

    options.setdefault("generator", np.random.default_rng(0))
    found = refine(evaluate, surface.shape, tolerance=tolerance, **options)
    assert len(asked) == len(set(asked)) == found.evaluated.sum(), "a place was asked for twice"
    assert_allclose(found.values[found.evaluated][:, 0], surface[found.evaluated])
    assert_allclose(found.values[..., 1], -found.values[..., 0])
    return found


def sampled(function: Callable, num_x: int = 41, num_y: int = 33) -> np.ndarray:
    return function(np.linspace(-1, 2, num_x)[:, None], np.linspace(-1, 1, num_y)[None, :])


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 9))
def test_a_bilinear_surface_is_exact_on_any_shape(num_x: int, num_y: int, stride: int):
    surface = sampled(lambda x, y: 1 + 2 * x - y + 3 * x * y, num_x, num_y)
    found = refined(surface, tolerance=1e-9, stride=stride)
    assert_allclose(found.values[..., 0], surface, atol=1e-12)
    assert_allclose(found.interpolation.largest_miss, 0, atol=1e-12)


def test_a_bilinear_surface_takes_the_coarse_grid_and_its_halves():
    surface = sampled(lambda x, y: x + y)
    interpolation = refined(surface, num_checks=5).interpolation
    assert interpolation.num_evaluated == 11 * 9 + 5
    assert interpolation.num_points == 41 * 33
    assert interpolation.num_checks == 5


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x**2 + 0.3 * y**2,
        lambda x, y: x**2 - y**2,  # the middle of every cell is predicted exactly
        lambda x, y: np.log1p(np.exp(6 * (np.hypot(x, y) - 0.7))) / 6,
    ],
)
def test_a_smooth_surface_is_met_to_the_tolerance_with_fewer_points(function: Callable):
    surface = sampled(function)
    found = refined(surface)
    misses = np.abs(found.values[..., 0] - surface)
    assert misses.max() <= 0.06
    assert misses.max() >= found.interpolation.largest_miss >= 0.001
    assert found.interpolation.num_evaluated < surface.size / 2.5


def test_no_tolerance_evaluates_all_that_bends():
    found = refined(sampled(lambda x, y: x**2 + y**2), tolerance=0.0)
    assert found.evaluated.all()
    assert (found.interpolation.largest_miss, found.interpolation.num_checks) == (0.0, 0)


def test_what_was_missed_is_measured_and_mended():
    """A pit between the tested points: only the checks can see it, and they all do."""
    surface = np.zeros((9, 9))
    surface[1, 1] = -3.0
    found = refined(surface, num_checks=81)
    assert found.evaluated.all()
    assert found.interpolation.largest_miss == 3
    assert_allclose(found.interpolation.mean_miss, 3 / found.interpolation.num_checks)
    unchecked = refined(surface, num_checks=0).interpolation
    assert np.isnan(unchecked.largest_miss)
    assert np.isnan(unchecked.mean_miss)


def test_a_seed_finds_the_pit():
    surface = np.zeros((33, 33))
    surface[13, 14] = -3.0
    found = refined(surface, seeds=[(13, 14)], num_checks=0)
    assert_allclose(found.values[..., 0], surface)
    assert found.interpolation.num_evaluated < 9 * 9 + 40


def test_a_step_is_followed_along_its_whole_length():
    surface = sampled(lambda x, y: np.where(x + 0.37 * y > 0.21, 5.0, 0.0), 33, 33)
    found = refined(surface, num_checks=0)
    assert_allclose(found.values[..., 0], surface)
    assert found.interpolation.num_evaluated < surface.size / 2


def test_a_hole_is_surrounded_and_never_filled():
    surface = sampled(lambda x, y: x + y, 33, 33)
    surface[16:, 9:25] = NAN
    found = refined(surface)
    assert_allclose(found.values[..., 0], surface)
    assert found.interpolation.largest_miss < 1e-12
    assert not found.evaluated[20:, 12:22].all()  # nothing is looked for deep inside


def test_infinite_values_become_nan():
    found = refine(
        lambda places: np.full((len(places), 1), np.inf),
        (3, 3),
        tolerance=0.1,
        generator=np.random.default_rng(0),
    )
    assert np.isnan(found.values).all()
    assert found.interpolation.largest_miss == 0


def test_equal_generators_check_equal_places():
    surface = sampled(lambda x, y: x**2 * y)
    first, second = refined(surface), refined(surface)
    assert (first.evaluated == second.evaluated).all()
    assert first.interpolation == second.interpolation


def test_what_it_says_can_be_stored():
    interpolation = refined(sampled(lambda x, y: x * y)).interpolation
    assert isinstance(interpolation, Interpolation)
    kinds = {type(value) for value in dataclasses.asdict(interpolation).values()}
    assert kinds == {int, float}


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 5), {"tolerance": 0.1}, "at least two points"),
        ((5, 5), {"tolerance": -0.1}, "tolerance=-0.1"),
        ((5, 5), {"tolerance": 0.1, "stride": 0}, "stride=0"),
    ],
)
def test_mistakes_are_named(shape: tuple[int, int], options: dict, message: str):
    with pytest.raises(VesaliusError, match=message):
        refine(
            lambda places: np.zeros((len(places), 1)),
            shape,
            generator=np.random.default_rng(0),
            **options,
        )
