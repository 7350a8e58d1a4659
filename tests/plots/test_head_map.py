"""The head map: colours by sign and size, holes hatched, marks in their places."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.head_map import MOST_NUMBERED, head_map
from vesalius.plots.style import INK, figure_bytes

SIGNED = np.array([[0.5, -0.25, 0.0], [0.003, -1.0, np.nan]])


def test_signed_values_lie_around_zero_and_others_start_at_it():
    (image,) = head_map(SIGNED, unit="attribution").get_images()
    assert (image.norm.vmin, image.norm.vmax) == (-1.0, 1.0)
    red, _, blue, _ = image.cmap(image.norm(0.5))
    assert red > blue
    red, _, blue, _ = image.cmap(image.norm(-0.25))
    assert blue > red
    (plain,) = head_map(np.abs(SIGNED), unit="importance").get_images()
    assert (plain.norm.vmin, plain.norm.vmax) == (0.0, 1.0)
    # a value has one colour in both
    np.testing.assert_allclose(plain.cmap(plain.norm(0.5)), image.cmap(image.norm(0.5)), atol=0.02)


def test_small_maps_carry_their_numbers_and_layer_0_is_at_the_bottom():
    ax = head_map(SIGNED, unit="attribution", title="heads")
    assert [text.get_text() for text in ax.texts] == [".50", "−.25", "0", "0", "−1.00"]
    assert [text.get_position() for text in ax.texts[3:]] == [(0, 1), (1, 1)]
    assert ax.texts[4].get_color() == "white"
    assert ax.texts[2].get_color() == INK
    low, high = ax.get_ylim()
    assert low < high
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("head", "layer")
    assert ax.figure.axes[1].get_xlabel() == "attribution"


def test_a_head_that_does_not_exist_is_hatched():
    (hole,) = head_map(SIGNED, unit="attribution").patches
    assert hole.get_hatch()
    assert (hole.get_x(), hole.get_y()) == (1.5, 0.5)


@pytest.mark.parametrize("mark", ["ring", "cross"])
def test_marked_heads_stand_in_their_places(mark):
    marked = [(1, 1), (0, 2)]
    ax = head_map(SIGNED, unit="a", marked=marked, mark=mark, mark_name="_pruned", title="t")
    (dots,) = [c for c in ax.collections if c.get_gid() == "marked"]
    assert np.asarray(dots.get_offsets()).tolist() == [[2, 0], [1, 1]]
    (word,) = ax.get_legend().get_texts()
    assert word.get_text() == "\u200b_pruned"
    shown = [text.get_text() for text in ax.texts]
    assert ("−1.00" in shown) == (mark == "ring")  # a cross would make it illegible
    assert figure_bytes(ax).startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(1, 1), (4, 2), (12, 12), (24, 16), (48, 64)])
def test_large_maps_have_no_numbers(shape):
    values = np.random.default_rng(0).gamma(0.5, 1.0, shape)
    ax = head_map(values, unit="importance", rows=[f"block ${i}" for i in range(shape[0])])
    assert len(ax.texts) == (values.size if max(shape) <= MOST_NUMBERED else 0)
    assert ax.get_yticklabels()[0].get_text() == r"block \$0"
    assert figure_bytes(ax, dots_per_inch=50).startswith(b"\x89PNG")
    assert b"<svg" in figure_bytes(ax, format="svg")


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.ones((2, 2))])
def test_maps_without_contrast_are_drawn(values):
    assert figure_bytes(head_map(values, unit="importance")).startswith(b"\x89PNG")


@pytest.mark.parametrize(("largest", "first"), [(0.01, None), (20.0, "10.0"), (500.0, "250")])
def test_numbers_are_as_long_as_there_is_room(largest, first):
    ax = head_map(np.array([[largest / 2, largest]]), unit="importance")
    assert [text.get_text() for text in ax.texts][:1] == ([first] if first else [])


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.zeros((0, 4)), {}, "at least one layer and head"),
        (np.zeros(4), {}, "shape [4]"),
        (np.zeros((2, 2)), {"rows": ("a",)}, "1 names of layers"),
        (np.zeros((2, 2)), {"marked": [(2, 0)]}, "a marked head (2, 0)"),
        (np.zeros((2, 2)), {"marked": [(0, -1)]}, "a marked head (0, -1)"),
        (np.zeros((2, 2)), {"mark": "star"}, "mark='star'"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, values, options, said):
    with pytest.raises(VesaliusError) as caught:
        head_map(values, unit="importance", **options)
    assert said in str(caught.value)
