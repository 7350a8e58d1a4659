"""The words beside pictures: exact where a point was measured, and never more than was seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from landscape_results import bowl, errors_of, make_line, make_surface
from vesalius.methods.loss_landscape.measures import classification
from vesalius.methods.loss_landscape.result import Line
from vesalius.methods.loss_landscape.tables import line_rows, surface_rows, way_sentence


def line_over(*alphas: float) -> Line:
    places = np.array(alphas, dtype=np.float64)
    values = bowl(places)
    return make_line(alphas=places, values=values, standard_errors=errors_of(values))


@pytest.mark.parametrize(
    ("alphas", "start", "solution"),
    [
        ((-1, 0, 1, 2), "1.20", "0.200"),
        ((-1, 0.5, 2), "about", "about"),
        ((0.5, 1, 2), "outside", "0.200"),
        ((-1, 0, 0.5), "1.20", "outside"),
    ],
)
def test_a_value_between_points_is_not_told_as_measured(
    alphas: tuple[float, ...], start: str, solution: str
):
    _, rows = line_rows(line_over(*alphas))
    assert str(rows[0][1]).startswith(start)
    assert str(rows[0][2]).startswith(solution)


def test_the_same_holds_on_a_surface():
    whole = make_surface()
    part = replace(
        whole,
        alphas=whole.alphas[5:],
        evaluated=whole.evaluated[5:],
        values={s: {m: v[5:] for m, v in each.items()} for s, each in whole.values.items()},
        standard_errors={
            s: {m: v[5:] for m, v in each.items()} for s, each in whole.standard_errors.items()
        },
    )
    assert str(surface_rows(whole)[1][0][1]).startswith("1.20")
    assert surface_rows(part)[1][0][1] == "outside"
    moved = replace(whole, betas=whole.betas + 0.1)
    assert str(surface_rows(moved)[1][0][2]).startswith("about")


@pytest.mark.parametrize("alphas", [(-1, 0.5, 2), (0, 1), (0.25, 0.5, 0.75, 1), (0, 0.5, 0.9, 2)])
def test_no_word_about_a_way_that_was_not_walked(alphas: tuple[float, ...]):
    assert way_sentence(line_over(*alphas)) == ""
    assert line_rows(line_over(*alphas))[1][0][-1] == ""


def test_a_falling_way_is_said_to_fall():
    assert "never rises" in way_sentence(line_over(0, 0.5, 1))


class Fixed(nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits


def test_without_a_number_there_is_no_guess():
    """argmax takes a NaN for the largest, which is no guess that could be right."""
    logits = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [float("inf"), 0.0]])

    class Model(nn.Module):
        def forward(self, **_: torch.Tensor) -> Fixed:
            return Fixed(logits)

    found = classification({})(Model(), {"labels": torch.tensor([1, 0, 0])})["error"]
    torch.testing.assert_close(found, torch.tensor([0.0, float("nan"), 0.0]), equal_nan=True)
