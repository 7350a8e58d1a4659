"""Means with intervals: dots and bounds are those given; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.means import Mean, mean_dots
from vesalius.plots.style import figure_bytes

POINTS = np.array([0.1, 0.4, np.nan, 0.7])


def _mean(name: str, points: np.ndarray = POINTS) -> Mean:
    return Mean(name=name, estimate=0.4, low=0.2, high=0.6, points=points)


def test_dots_and_intervals_are_those_given():
    ax = mean_dots([_mean("told"), _mean("$random")], unit="activation", point_name="a fact")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["told", r"\$random"]
    assert [text.get_text() for text in ax.texts] == ["0.4", "0.4"]
    values, interval, *_ = ax.collections
    np.testing.assert_array_equal(np.sort(values.get_offsets()[:, 0]), [0.1, 0.4, 0.7])
    np.testing.assert_array_equal(interval.get_segments()[0], [[0.2, 0], [0.6, 0]])
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    assert figure_bytes(ax) == figure_bytes(
        mean_dots([_mean("told"), _mean("$random")], unit="activation", point_name="a fact")
    )


@pytest.mark.parametrize("num_points", [0, 1, 300])
def test_few_and_many_values_are_drawn(num_points):
    points = np.random.default_rng(0).normal(size=num_points)
    assert figure_bytes(mean_dots([_mean("told", points)], unit="x")).startswith(b"\x89PNG")


def test_no_means_are_refused():
    with pytest.raises(VesaliusError, match="no means"):
        mean_dots([], unit="activation")
