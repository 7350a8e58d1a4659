"""Histograms of distances: shares of each layer's links, nothing lost in the bins."""

import itertools

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.distance_bars import (
    MOST_BINS,
    distance_bins,
    distance_histograms,
)
from vesalius.plots.style import figure_bytes

COUNTS = np.array([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 6.0, 0.0]])


def _heights(ax, num_layers: int) -> np.ndarray:
    """The bars as [layer, bin], each a share of the tallest."""
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(num_layers, -1)
    return heights / heights.max()


def test_every_layer_shows_the_shares_of_its_own_links():
    ax = distance_histograms(COUNTS, title="reach")
    # no layer has a link of distance 3: it needs no column
    wanted = [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 0.25, 0.75]]
    np.testing.assert_allclose(_heights(ax, 3), np.array(wanted) / 0.75)
    assert [bar.get_y() for bar in ax.patches] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in ax.texts] == ["4", "0", "8", "tallest bar: 75%", "links"]
    low, high = ax.get_ylim()
    assert low < 0 < 3 <= high
    assert figure_bytes(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize("num_distances", [1, 5, MOST_BINS, MOST_BINS + 1, 64, 128, 129, 2048])
def test_bins_hold_every_distance_once(num_distances):
    starts = distance_bins(num_distances)
    assert starts[0] == 0
    assert starts[-1] == num_distances
    assert starts == sorted(set(starts))
    assert len(starts) - 1 <= 24
    widths = np.diff(starts)[:-1]
    assert (np.diff(widths) >= 0).all()  # farther bins are never narrower
    assert starts[:2] == [0, 1]


@pytest.mark.parametrize(("num_layers", "num_distances"), [(1, 1), (12, 40), (24, 128)])
def test_binning_loses_no_link(num_layers, num_distances):
    random = np.random.default_rng(0)
    counts = random.poisson(2.0, (num_layers, num_distances)).astype(float) + 1.0
    ax = distance_histograms(counts, names=[f"_{layer}$" for layer in range(num_layers)])
    starts = distance_bins(num_distances)
    wanted = np.stack([counts[:, a:b].sum(1) for a, b in itertools.pairwise(starts)], axis=1)
    wanted /= counts.sum(1, keepdims=True)
    np.testing.assert_allclose(_heights(ax, num_layers), wanted / wanted.max())
    assert ax.get_yticklabels()[0].get_text() == "\u200b_0\\$"
    assert figure_bytes(ax, dots_per_inch=50).startswith(b"\x89PNG")
    assert b"<svg" in figure_bytes(ax, format="svg")


def test_layers_without_any_link_are_drawn():
    assert figure_bytes(distance_histograms(np.zeros((3, 5)), title="$")).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("counts", "options", "said"),
    [
        (np.zeros((0, 3)), {}, "shape [0, 3]"),
        (np.zeros(3), {}, "shape [3]"),
        (np.zeros((2, 3)), {"names": ("a",)}, "1 names of layers"),
        (-np.ones((1, 1)), {}, "negative"),
        (np.full((1, 1), np.nan), {}, "no number"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, counts, options, said):
    with pytest.raises(VesaliusError) as caught:
        distance_histograms(counts, **options)
    assert said in str(caught.value)
