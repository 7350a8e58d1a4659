"""Lengths, angles, random axes and projections against closed forms and numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from vesalius.core.errors import VesaliusError
from vesalius.numerics import weight_directions
from vesalius.numerics.weight_directions import (
    Weights,
    cosines,
    difference,
    dot,
    norm,
    principal_axes,
    project_least_squares,
    project_paper,
    random_direction,
    rescaled,
)


def drawn(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (4, 3), "kernel": (2, 3, 2, 2), "vector": (5,), "scalar": ()}
    return {n: torch.randn(s, generator=generator, dtype=dtype) for n, s in shapes.items()}


def flat(weights: Weights) -> np.ndarray:
    return torch.cat([tensor.reshape(-1) for tensor in weights.values()]).double().numpy()


def combined(terms: list[tuple[float, Weights]]) -> dict[str, Tensor]:
    return {name: sum(c * w[name] for c, w in terms) for name in terms[0][1]}


def network() -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    parts = {
        "linear": nn.Linear(3, 4),
        "conv": nn.Conv2d(2, 3, kernel_size=2),
        "words": nn.Embedding(6, 3, padding_idx=0),
        "norm": nn.LayerNorm(4),
    }
    model = nn.ModuleDict(parts)
    return model, {n: p.detach().clone() for n, p in model.named_parameters()}


def row_lengths(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), -1).norm(dim=1)


def test_lengths_and_angles_are_those_of_the_long_vector(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight_directions, "_BLOCK_ENTRIES", 4)  # several blocks a tensor
    a, b = drawn(0), drawn(1)
    assert_allclose(dot(a, b), flat(a) @ flat(b), rtol=1e-12)
    assert_allclose(norm(a), np.linalg.norm(flat(a)), rtol=1e-12)
    expected = flat(a) @ flat(b) / np.linalg.norm(flat(a)) / np.linalg.norm(flat(b))
    assert_allclose(cosines([a, b]), [[1, expected], [expected, 1]], rtol=1e-12)


def test_dots_do_not_round_to_float32():
    """The sum of 2^24 and 64 ones is lost in float32 one by one."""
    ones = {"w": torch.cat([torch.tensor([4096.0]), torch.ones(64)])}
    assert dot(ones, ones) == 2.0**24 + 64


def test_a_difference_leads_from_start_to_end():
    start, end = drawn(0), drawn(1)
    for name, tensor in difference(end, start).items():
        assert_close(start[name] + tensor, end[name])
    assert_allclose(norm(rescaled(end, length=3.0)), 3.0, rtol=1e-6)


def test_what_has_no_direction_is_refused():
    zeros = {"w": torch.zeros(3)}
    for call in (
        lambda: rescaled(zeros, length=1.0),
        lambda: cosines([{"w": torch.ones(3)}, zeros]),
        lambda: project_paper([zeros], zeros),
        lambda: project_least_squares([zeros], [zeros]),
        lambda: random_direction(zeros, generator=torch.Generator(), normalisation="none"),
    ):
        with pytest.raises(VesaliusError, match="length 0"):
            call()


def test_weights_that_differ_are_named():
    with pytest.raises(VesaliusError, match="'b' of shape None"):
        dot({"a": torch.ones(2)}, {"a": torch.ones(2), "b": torch.ones(2)})
    with pytest.raises(VesaliusError, match=r"\(2,\) and of shape \(3,\)"):
        difference({"a": torch.ones(2)}, {"a": torch.ones(3)})


def test_a_filter_is_as_long_as_the_filter_it_moves():
    _, like = network()
    found = random_direction(like, generator=torch.Generator().manual_seed(0))
    for name in ("linear.weight", "conv.weight", "words.weight"):
        assert_close(row_lengths(found[name]), row_lengths(like[name]))
    assert not found["words.weight"][0].any()  # the padding word is zero and stays
    for name in ("linear.bias", "conv.bias", "norm.weight", "norm.bias"):
        assert not found[name].any()


def test_vectors_move_as_one_filter_where_they_are_kept():
    _, like = network()
    generator = torch.Generator().manual_seed(0)
    found = random_direction(like, generator=generator, keep_vectors=True)
    for name in ("linear.bias", "norm.weight"):
        assert_close(found[name].norm(), like[name].norm())
    assert not found["norm.bias"].any()  # as long as the zeros it moves


def test_columns_are_the_filters_of_a_transposed_matrix():
    like = {"w": torch.randn(3, 4, generator=torch.Generator().manual_seed(1))}
    found = random_direction(like, generator=torch.Generator().manual_seed(0), transposed=["w"])
    assert_close(row_lengths(found["w"].T), row_lengths(like["w"].T))


def test_other_normalisations_keep_other_lengths():
    like = drawn(3)
    generator = torch.Generator().manual_seed(0)
    layer = random_direction(like, generator=generator, normalisation="layer", keep_vectors=True)
    for name, tensor in layer.items():
        assert_close(tensor.norm(), like[name].norm())
    whole = random_direction(like, generator=generator, normalisation="none")
    assert_allclose(norm(whole), norm(like), rtol=1e-6)
    assert not whole["vector"].any()
    like = {"w": torch.full((200, 200), -2.0)}
    entries = random_direction(like, generator=generator, normalisation="weight")["w"]
    assert_allclose(entries.std().item(), 2.0, rtol=0.02)
    assert_allclose(entries.mean().item(), 0.0, atol=0.04)


def test_equal_generators_draw_equal_directions():
    like = drawn(3)
    first, second = (
        random_direction(like, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert_close(first, second, rtol=0, atol=0)


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(-4, 4)), min_size=1, max_size=4))
def test_planted_coordinates_are_found_on_axes_that_lean(places: list[tuple[float, float]]):
    first, noise = drawn(0, torch.float64), drawn(1, torch.float64)
    second = combined([(0.8, first), (0.3, noise)])
    deltas = [combined([(a, first), (b, second)]) for a, b in places]
    found = project_least_squares(deltas, [first, second])
    assert_allclose(found.coordinates, places, atol=1e-12)
    assert_allclose(found.lengths, [np.linalg.norm(flat(d)) for d in deltas], rtol=1e-12)
    assert (found.off_plane < 1e-9).all()


def test_the_share_off_the_plane_is_that_of_numpy():
    axes, delta = [drawn(0), drawn(1)], drawn(2)
    basis = np.stack([flat(axis) for axis in axes], axis=1)
    expected, (left,), _, _ = np.linalg.lstsq(basis, flat(delta), rcond=None)
    found = project_least_squares([delta, combined([(0.0, delta)])], axes)
    assert_allclose(found.coordinates, [expected, [0, 0]], rtol=1e-10)
    assert_allclose(found.off_plane, [np.sqrt(left) / np.linalg.norm(flat(delta)), 0])
    nothing = project_least_squares([], axes)
    assert nothing.coordinates.shape == (0, 2)


def test_axes_that_depend_on_each_other_are_refused():
    first = drawn(0)
    with pytest.raises(VesaliusError, match="linearly dependent"):
        project_least_squares([first], [first, combined([(-2.0, first)])])
    with pytest.raises(VesaliusError, match="no axis"):
        project_least_squares([first], [])


def test_the_papers_coordinates_end_at_one_and_zero():
    end, other = drawn(0), drawn(1)
    found = project_paper([combined([(0.0, end)]), other, end], end)
    assert_allclose(found.coordinates[[0, 2]], [[0, 0], [1, 0]], atol=1e-15)
    d, e = flat(other), flat(end)
    ratio = np.linalg.norm(d) / np.linalg.norm(e)
    a = d @ e / (e @ e)
    assert_allclose(found.coordinates[1], [a, np.sqrt(ratio**2 - a**2)], rtol=1e-12)
    assert_allclose(found.off_plane[1] * found.lengths[1] / norm(end), found.coordinates[1, 1])


@pytest.mark.parametrize("centred", [True, False])
def test_principal_axes_are_numpys_singular_vectors(centred: bool):
    deltas = [combined([(k**0.5, drawn(0)), (1.0, drawn(k + 1))]) for k in range(5)]
    points = np.stack([flat(delta) for delta in deltas])
    points -= points.mean(axis=0) if centred else 0
    _, sizes, rows = np.linalg.svd(points, full_matrices=False)
    found = principal_axes(deltas, num=2, centred=centred)
    assert_allclose(found.shares, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-6)
    for axis, row in zip(found.axes, rows, strict=False):
        assert_allclose(flat(axis), row * np.sign(row @ points[-1]), atol=1e-5)


def test_more_axes_than_the_points_span_are_refused():
    line = [combined([(k, drawn(0))]) for k in (0.0, 1.0, 3.0)]
    assert_allclose(principal_axes(line, num=1).shares, [1.0])
    for deltas, num in ((line, 2), (line, 0), ([], 1)):
        with pytest.raises(VesaliusError, match="principal axes"):
            principal_axes(deltas, num=num)
