"""Which attention kernel suits short texts."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def short_attention(device: str) -> AbstractContextManager[Any]:
    """Take the plain kernel on CPU: for texts of 10 to 80 tokens it is 1.6 times as fast.

    Source: this project, measured on two CPU cores.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()
