"""The heat map: every cell has its number, dark cells white ones; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.heat import heat_map
from vesalius.plots.style import INK, figure_bytes

VALUES = np.array([[3.2, 0.0, np.nan], [0.12, 1.5, 0.003]])
ROWS, COLUMNS = ("P36 capital", "P19 $born"), ("a", "_b", "c")


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_every_cell_has_its_number(scale):
    ax = heat_map(VALUES, rows=ROWS, columns=COLUMNS, unit="neurons", scale=scale, title="shared")
    assert [text.get_text() for text in ax.texts] == ["3.2", "0", "–", ".12", "1.5", "<.01"]
    assert ax.texts[0].get_color() == "white"
    assert ax.texts[1].get_color() == INK
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_names_stand_as_they_are():
    ax = heat_map(VALUES, rows=ROWS, columns=COLUMNS, unit="neurons")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["P36 capital", r"P19 \$born"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top


@pytest.mark.parametrize("size", [1, 34])
def test_small_and_large_tables_are_drawn(size):
    values = np.random.default_rng(0).gamma(0.5, 1.0, (size, size))
    names = [f"P{number} some relation" for number in range(size)]
    ax = heat_map(values, rows=names, unit="neurons", scale="log")
    assert len(ax.texts) == size * size
    width, _ = ax.figure.get_size_inches()
    assert width > 0.3 * size  # the numbers need room
    assert figure_bytes(ax, dots_per_inch=50).startswith(b"\x89PNG")


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.ones((2, 2))])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_tables_without_contrast_are_drawn(values, scale):
    ax = heat_map(values, rows=("a", "b"), unit="neurons", scale=scale)
    assert figure_bytes(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.zeros((2, 3)), {"rows": ("a", "b")}, "2 names of rows and 2 of columns"),
        (np.zeros((0, 0)), {"rows": ()}, "at least one cell"),
        (-np.ones((1, 1)), {"rows": ("a",)}, "a value of -1"),
        (np.ones((1, 1)), {"rows": ("a",), "scale": "root"}, "scale='root'"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, values, options, said):
    with pytest.raises(VesaliusError) as caught:
        heat_map(values, unit="neurons", **options)
    assert said in str(caught.value)
