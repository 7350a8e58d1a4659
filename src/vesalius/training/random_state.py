"""The only place that sets global random state; it saves and restores it."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Generator[None, None, None]:
    """Seed Python, NumPy and torch for the body, and give back the former states after it.

    Source: this project.

    >>> before = torch.get_rng_state()
    >>> with seeded(3):
    ...     _ = torch.rand(2)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    saved = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    saved_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])  # noqa: NPY002
        torch.set_rng_state(saved[2])
        if saved_cuda:
            torch.cuda.set_rng_state_all(saved_cuda)
