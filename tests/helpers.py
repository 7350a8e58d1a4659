"""What "equal" means in a test, said once."""

import numpy as np
import torch

# fp32 through a few layers keeps 5 digits; float64 is there to compare formulas, so nearly all
RELATIVE_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def assert_equal_numbers(
    actual: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray
) -> None:
    """Raise unless max|actual - expected| <= tolerance * max|expected|; types and shapes agree.

    The scale is that of the whole expected array: an all-zero answer fails, a tiny entry that
    is off by the rounding of a big one passes. An expected array of zeros demands exact zeros.
    """
    actual, expected = torch.as_tensor(actual).detach(), torch.as_tensor(expected).detach()
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        raise AssertionError(
            f"got {actual.dtype} {list(actual.shape)}, "
            f"expected {expected.dtype} {list(expected.shape)}"
        )
    if expected.numel() == 0:
        return
    tolerance = RELATIVE_TOLERANCE[expected.dtype]
    error = (actual.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    if not error <= tolerance * scale:  # written so that a NaN fails
        raise AssertionError(
            f"max|actual - expected| = {error:.3g}, allowed {tolerance:g} * {scale:.3g}"
        )
