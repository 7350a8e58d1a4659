"""The only place that sets global random state; it saves and restores it."""

import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor


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
    saved = capture_random_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_random_state(saved)


def capture_random_state() -> dict[str, Shaped[Tensor, "..."]]:
    """Return the states of Python's, NumPy's and torch's generators as named tensors.

    Shapes: as long as each generator's state; a CUDA device each has its own.

    Source: this project.
    """
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state()  # noqa: NPY002
    _, keys, place, has_gauss, cached = legacy
    states = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([*keys.tolist(), place, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda/{i}"] = state
    return states


def restore_random_state(states: Mapping[str, Shaped[Tensor, "..."]]) -> None:
    """Put back what `capture_random_state` returned; devices that are not here are left out.

    Shapes: as `capture_random_state`.

    Source: this project.
    """
    version, *words = states["python"].tolist()
    gauss = states["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    *keys, place, has_gauss = states["numpy"].tolist()
    cached = states["numpy_gauss"].item()
    np.random.set_state(  # noqa: NPY002
        ("MT19937", np.array(keys, dtype=np.uint32), place, has_gauss, cached)
    )
    torch.set_rng_state(states["torch"])
    for i in range(torch.cuda.device_count()):
        if f"cuda/{i}" in states:
            torch.cuda.set_rng_state(states[f"cuda/{i}"], i)
