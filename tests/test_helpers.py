"""The helper tells wrong answers apart: an all-zero one first of all."""

import pytest
import torch

from helpers import assert_equal_numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_numbers_pass(dtype: torch.dtype):
    expected = torch.tensor([1.0, -3.0, 1e-9], dtype=dtype)
    assert_equal_numbers(expected * (1 + torch.finfo(dtype).eps), expected)
    assert_equal_numbers(torch.zeros(3, dtype=dtype), torch.zeros(3, dtype=dtype))


EXPECTED = torch.tensor([1.0, -3.0, 0.5])
WRONG = {
    "all zero": torch.zeros(3),
    "one entry off": torch.tensor([1.0, -3.0, 0.5001]),
    "lower, not higher": EXPECTED - 1e-3,
    "not a number": torch.tensor([1.0, -3.0, torch.nan]),
    "another shape": EXPECTED[None],
    "another type": EXPECTED.double(),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_numbers_fail(wrong: torch.Tensor):
    with pytest.raises(AssertionError):
        assert_equal_numbers(wrong, EXPECTED)


def test_float64_is_held_to_more():
    expected = torch.ones(2, dtype=torch.float64)
    with pytest.raises(AssertionError):
        assert_equal_numbers(expected * (1 + 1e-9), expected)
