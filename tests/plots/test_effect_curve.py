"""The effect curve: what is drawn is what was given, in powers of two; bad input is refused."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.effect_curve import MOST_CONTROLS, Band, effect_curve
from vesalius.plots.style import figure_bytes

SIZES = np.array([1, 2, 4, 8, 16, 32, 64])
EFFECT = -np.linspace(0.1, 0.7, 7)


def _band(name: str = "random neurons", *, length: int = 7) -> Band:
    return Band(
        name=name,
        low=np.full(length, -0.02),
        mean=np.linspace(0.0, 0.01, length),
        high=np.full(length, 0.03),
    )


def test_lines_and_bands_are_those_given():
    ax = effect_curve(SIZES, EFFECT, low=EFFECT - 0.1, high=EFFECT + 0.1, controls=[_band()])
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["located neurons"].get_xdata(), SIZES)
    np.testing.assert_array_equal(lines["located neurons"].get_ydata(), EFFECT)
    np.testing.assert_array_equal(lines["random neurons"].get_ydata(), _band().mean)
    heights = [band.get_paths()[0].get_extents() for band in ax.collections]
    assert [(round(h.y0, 6), round(h.y1, 6)) for h in heights] == [(-0.02, 0.03), (-0.8, 0.0)]
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_the_axis_counts_in_powers_of_two():
    ax = effect_curve(np.array([1, 3, 5, 20]), EFFECT[:4])
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "4", "8", "16"]


def test_shares_are_written_with_their_sign():
    ax = effect_curve(SIZES, EFFECT)
    ax.figure.canvas.draw()
    words = {text.get_text() for text in ax.get_yticklabels()}
    assert {"0%", "-20%"} <= words
    plain = effect_curve(SIZES, EFFECT, percent=False, unit="nats")
    plain.figure.canvas.draw()
    assert not any("%" in text.get_text() for text in plain.get_yticklabels())


def test_controls_stay_apart_and_one_size_is_enough():
    ax = effect_curve(SIZES, EFFECT, controls=[_band(f"c{i}") for i in range(MOST_CONTROLS)])
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()[1:]}
    assert len(looks) == MOST_CONTROLS + 1
    one = effect_curve(SIZES[:1], EFFECT[:1], controls=[_band(length=1)])
    assert figure_bytes(one).startswith(b"\x89PNG")


def test_a_missing_value_leaves_a_gap():
    effect = EFFECT.copy()
    effect[2] = np.nan
    assert figure_bytes(effect_curve(SIZES, effect)).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("sizes", "options", "said"),
    [
        ([], {}, "sizes []"),
        ([0, 1], {}, "from 1"),
        ([1, 4, 4], {}, "larger than the one before"),
        ([1, 2, 4], {"controls": [_band(length=2)]}, "random neurons: low"),
        ([1, 2, 4], {"low": np.zeros(2)}, "low of shape [2]"),
        ([1, 2, 4], {"controls": [_band(length=3)] * 5}, "5 controls"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, sizes, options, said):
    with pytest.raises(VesaliusError) as caught:
        effect_curve(np.array(sizes, dtype=int), np.zeros(len(sizes)), **options)
    assert said in str(caught.value)
