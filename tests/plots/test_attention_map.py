"""The matrix of one head: rows read, columns are read; labels are shown as they stand."""

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import attention_map, label_width, token_label
from vesalius.plots.style import INK, QUIET, figure_bytes

TOKENS = ["[CLS]", "a", "movie"]
VALUES = np.array([[0.1, -0.2, 0.0], [0.05, np.nan, 0.4], [0.0, 0.0, 0.0]])


def test_rows_read_and_columns_are_read():
    ax = attention_map(VALUES, tokens_read=TOKENS, special=(0,), title="layer 9, head 4")
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array().filled(np.nan), VALUES)
    assert (image.norm.vmin, image.norm.vmax) == (-0.4, 0.4)
    assert [label.get_text() for label in ax.get_xticklabels()] == TOKENS
    assert [label.get_text() for label in ax.get_yticklabels()] == TOKENS
    assert [label.get_color() for label in ax.get_yticklabels()] == [QUIET, INK, INK]
    low, high = ax.get_ylim()
    assert low > high  # the first reader on top
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("is read", "reads")
    assert ax.figure.axes[1].get_xlabel() == "attribution"


def test_texts_may_differ():
    ax = attention_map(VALUES[:2], tokens_read=TOKENS, tokens_reading=("un", "film"), unit="nats")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["un", "film"]


@pytest.mark.parametrize("size", [1, 5, 17, 40, 128])
def test_labels_do_not_cover_one_another(size):
    words = ["seldom", "has", "a", "movie", "so", "closely", "matched", "the", "spirit"]
    tokens = [words[place % len(words)] for place in range(size)]
    values = np.random.default_rng(0).normal(size=(size, size))
    ax = attention_map(values, tokens_read=tokens)
    ax.figure.draw_without_rendering()
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert min(min(box.x0, box.y0) for box in boxes) >= 0
        for place, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:place])


@pytest.mark.parametrize("format", ["png", "svg"])
def test_strange_tokens_are_shown(format):
    strange = ["$", "_x", "</script>", "中文", "🙂", "\n\n", "\x00", "$a$"]
    ax = attention_map(np.eye(8), tokens_read=strange, unit="$", title="_t")
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown[:3] == [r"\$", "\u200b_x", "</script>"]
    assert shown[5:7] == ["⏎⏎", "\ufffd"]
    assert figure_bytes(ax, format=format)


def test_a_label_is_short_and_can_be_seen():
    assert token_label("  man ") == "man"
    assert len(token_label("a" * 300)) == 16
    assert label_width("mmm", 10) > label_width("abc", 10) > label_width("ill", 10) > 0
    assert label_width("中文", 10) > label_width("ab", 10)


@pytest.mark.parametrize("values", [np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_matrices_without_contrast_are_drawn(values):
    assert figure_bytes(attention_map(values, tokens_read=TOKENS)).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (VALUES, {"tokens_read": TOKENS[:2]}, "2 that are read"),
        (VALUES, {"tokens_read": TOKENS, "tokens_reading": ("a",)}, "1 tokens that read"),
        (np.zeros((0, 0)), {"tokens_read": ()}, "at least one cell"),
        (np.zeros(3), {"tokens_read": TOKENS}, "shape [3]"),
    ],
)
def test_bad_input_is_refused(as_users_call_it, values, options, said):
    with pytest.raises(VesaliusError) as caught:
        attention_map(values, **options)
    assert said in str(caught.value)
