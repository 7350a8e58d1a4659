"""The layer histogram: a bar for each layer and kind, as high as given; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.histogram import MOST_SERIES, layer_histogram
from vesalius.plots.style import figure_bytes

SHARES = np.array([0.0, 0.1, 0.3, 0.6])


def test_bars_are_those_given_side_by_side():
    ax = layer_histogram({"attribution": SHARES, "activation": SHARES[::-1].copy()})
    first, second = ax.containers
    np.testing.assert_allclose([bar.get_height() for bar in first], SHARES)
    np.testing.assert_allclose([bar.get_height() for bar in second], SHARES[::-1])
    for left, right in zip(first, second, strict=True):
        assert left.get_x() + left.get_width() <= right.get_x()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["attribution", "activation"]
    assert figure_bytes(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize("num_layers", [1, 48])
@pytest.mark.parametrize("num_series", [1, MOST_SERIES])
def test_small_and_large_models_are_drawn(num_layers, num_series):
    ax = layer_histogram({f"kind {i}": np.ones(num_layers) for i in range(num_series)})
    assert sum(map(len, ax.containers)) == num_layers * num_series
    assert figure_bytes(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ({}, "0 kinds"),
        ({str(i): SHARES for i in range(5)}, "5 kinds"),
        ({"a": SHARES, "b": SHARES[:2]}, "4 a, 2 b"),
        ({"a": SHARES[:0]}, "at least one"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, series, said):
    with pytest.raises(VesaliusError) as caught:
        layer_histogram(series)
    assert said in str(caught.value)
