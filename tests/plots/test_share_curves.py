"""Curves over a share: what is drawn is what was given; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.share_curves import MOST_CURVES, MOST_REFERENCES, ShareCurve, share_curves
from vesalius.plots.style import figure_bytes

SHARES = np.linspace(0.0, 1.0, 11)
FALLING = 0.9 - 0.4 * SHARES**2


def _curve(value: np.ndarray = FALLING, *, bound: float | None = None) -> ShareCurve:
    low, high = (None, None) if bound is None else (value - bound, value + bound)
    return ShareCurve(share=np.linspace(0.0, 1.0, len(value)), value=value, low=low, high=high)


def _draw(curves: dict, **options):
    return share_curves(curves, x_label="heads removed", y_label="accuracy", **options)


def test_lines_bands_and_references_are_those_given():
    curves = {"by attribution": _curve(bound=0.05), "random": _curve(FALLING / 2)}
    ax = _draw(curves, references={"majority": 0.5}, title="pruning")
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["by attribution"].get_xdata(), SHARES)
    np.testing.assert_array_equal(lines["by attribution"].get_ydata(), FALLING)
    assert set(lines["majority"].get_ydata()) == {0.5}
    (band,) = ax.collections
    extent = band.get_paths()[0].get_extents()
    assert (round(extent.y0, 6), round(extent.y1, 6)) == (0.45, 0.95)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [*curves, "majority"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == (
        "heads removed",
        "accuracy",
        "pruning",
    )
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_shares_are_written_as_per_cent_and_values_where_asked():
    ax = _draw({"a": _curve()}, percent=True)
    ax.figure.canvas.draw()
    assert ax.get_xlim() == (0, 1)
    words = [text.get_text() for text in ax.get_xticklabels()]
    assert words == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert all(text.get_text().endswith("%") for text in ax.get_yticklabels())
    plain = _draw({"a": _curve()})
    plain.figure.canvas.draw()
    assert not any("%" in text.get_text() for text in plain.get_yticklabels())


def test_the_axis_of_values_starts_at_zero_unless_some_are_below():
    assert _draw({"a": _curve()}).get_ylim()[0] == 0
    assert _draw({"a": _curve(bound=0.6)}).get_ylim()[0] < -0.09
    assert _draw({"a": _curve()}, references={"chance": -0.2}).get_ylim()[0] < -0.2


def test_curves_differ_in_colour_line_and_mark():
    curves = {f"order {i}": _curve(FALLING - 0.01 * i) for i in range(MOST_CURVES)}
    references = {f"level {i}": 0.1 * i for i in range(MOST_REFERENCES)}
    lines = _draw(curves, references=references).get_lines()
    drawn, levels = lines[:MOST_CURVES], lines[MOST_CURVES:]
    for looks in (
        {line.get_color() for line in drawn},
        {str(line._dash_pattern) for line in drawn},
        {line.get_marker() for line in drawn},
    ):
        assert len(looks) == MOST_CURVES
    assert len({str(line._dash_pattern) for line in levels}) == MOST_REFERENCES


@pytest.mark.parametrize("num_points", [0, 1, 2, 200])
def test_few_and_many_points_are_drawn(num_points):
    ax = _draw({"a": _curve(np.full(num_points, 0.5), bound=0.1)})
    assert figure_bytes(ax).startswith(b"\x89PNG")
    assert (ax.get_lines()[0].get_marker() == "o") == (num_points < 30)


def test_a_missing_value_leaves_a_gap():
    value = FALLING.copy()
    value[3] = np.nan
    assert figure_bytes(_draw({"a": _curve(value, bound=0.1)}), format="svg")
    assert figure_bytes(_draw({"a": _curve(np.full(3, np.nan))}))


@pytest.mark.parametrize("name", ["$x", "_hidden", "</script>", "中文", "🙂", "100 %"])
@pytest.mark.parametrize("format", ["png", "svg"])
def test_names_are_shown_as_they_stand(name, format):
    ax = _draw({name: _curve()}, references={f"{name} ": 0.2}, title=name)
    assert len(ax.get_legend().get_texts()) == 2
    assert figure_bytes(ax, format=format)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ShareCurve(share=SHARES, value=FALLING[1:]), "value of shape [10]"),
        (lambda: ShareCurve(share=SHARES, value=FALLING, low=FALLING), "one bound"),
        (
            lambda: ShareCurve(share=SHARES, value=FALLING, low=FALLING, high=FALLING[:2]),
            "high of shape [2]",
        ),
        (lambda: ShareCurve(share=100 * SHARES, value=FALLING), "between 0 and 1"),
        (lambda: ShareCurve(share=SHARES[::-1], value=FALLING), "growing"),
        (lambda: ShareCurve(share=SHARES * np.nan, value=FALLING), "growing"),
        (lambda: _draw({}), "0 curves"),
        (lambda: _draw({str(i): _curve() for i in range(MOST_CURVES + 1)}), "7 curves"),
        (
            lambda: _draw({"a": _curve()}, references={str(i): 0.1 for i in range(4)}),
            "4 references",
        ),
    ],
)
def test_bad_input_is_refused(as_users_call_it, call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
