"""Eigenvalues against numpy and ARPACK, traces against their closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.testing import assert_close

from vesalius.core.errors import VesaliusError
from vesalius.numerics.curvature import top_eigenvalues, trace_estimate


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    square = torch.randn(len(values), len(values), generator=generator(seed), dtype=torch.float64)
    turn = torch.linalg.qr(square)[0]
    return turn @ torch.diag(values.double()) @ turn.T


@given(st.integers(1, 40), st.integers(1, 3), st.sampled_from(["LA", "SA", "LM"]))
def test_eigenvalues_are_numpys(size: int, num: int, which: str):
    num = min(num, size)
    matrix = with_spectrum(torch.randn(size, generator=generator(size)), seed=size)
    found = top_eigenvalues(
        matrix.matmul, size, num=num, which=which, tolerance=1e-9, generator=generator(),
        max_products=2000, dtype=torch.float64,
    )  # fmt: skip
    values = np.linalg.eigvalsh(matrix.numpy())
    order = {"LA": -values, "SA": values, "LM": -np.abs(values)}[which].argsort()
    assert found.converged
    assert_allclose(found.values, values[order][:num], atol=1e-8)


def test_a_large_spectrum_is_arpacks_with_a_small_basis():
    """Many restarts; the vectors are eigenvectors, orthonormal, with the stated residuals."""
    matrix = with_spectrum(torch.linspace(-1, 1, 400) ** 3)
    operator = LinearOperator((400, 400), matvec=matrix.numpy().dot)
    expected = np.sort(eigsh(operator, k=3, which="LA", tol=1e-9)[0])[::-1]
    found = top_eigenvalues(
        matrix.matmul, 400, num=3, num_vectors=12, tolerance=1e-7, generator=generator(),
        max_products=2000, dtype=torch.float64,
    )  # fmt: skip
    assert found.converged
    assert found.vectors is not None
    assert_allclose(found.values, expected, atol=1e-9)
    assert_close(found.vectors @ found.vectors.T, torch.eye(3, dtype=torch.float64))
    values = torch.from_numpy(found.values)
    misfits = (found.vectors @ matrix - values[:, None] * found.vectors).norm(dim=1)
    assert_allclose(found.residuals, misfits, atol=1e-12)
    assert (found.residuals <= 1e-7).all()


def test_float32_reaches_its_tolerance():
    matrix = with_spectrum(torch.cat([torch.tensor([5.0, -4.0]), torch.rand(300)])).float()
    found = top_eigenvalues(matrix.matmul, 302, generator=generator(), keep_vectors=False)
    assert found.converged
    assert found.vectors is None
    assert_allclose(found.values, [5.0], rtol=1e-5)
    assert found.num_products <= 30


def test_few_products_give_the_best_so_far_and_say_so():
    matrix = with_spectrum(torch.linspace(0, 1, 500))
    found = top_eigenvalues(
        matrix.matmul, 500, generator=generator(), max_products=25, tolerance=1e-9,
        dtype=torch.float64,
    )  # fmt: skip
    assert not found.converged
    assert found.num_products == 25
    assert 0.9 < found.values[0] <= 1
    assert found.residuals[0] > 1e-9


@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_equal_eigenvalues_are_all_found(scale: float):
    """The space of the first vector ends at once: the search goes on from another one."""
    found = top_eigenvalues(lambda v: scale * v, 50, num=3, generator=generator())
    assert found.converged
    assert_allclose(found.values, np.full(3, scale), atol=1e-6)


def test_the_trace_of_a_diagonal_matrix_takes_no_luck():
    diagonal = torch.arange(1.0, 6.0)
    found = trace_estimate(lambda v: diagonal * v, 5, num_probes=2, generator=generator())
    assert (found.trace, found.standard_error, found.num_probes) == (15.0, 0.0, 2)


def test_the_spread_of_a_trace_is_that_of_the_entries_beside_the_diagonal():
    """Var = 2 sum of squares off the diagonal; the error is that over the number of probes."""
    matrix = with_spectrum(torch.linspace(-1, 3, 30))
    found = trace_estimate(
        matrix.matmul, 30, num_probes=2000, generator=generator(), dtype=torch.float64
    )
    beside = matrix - torch.diag(matrix.diagonal())
    expected = float((2 * beside.square().sum() / 2000).sqrt())
    assert_allclose(found.standard_error, expected, rtol=0.1)
    assert_allclose(found.trace, 30.0, atol=4 * expected)


def test_equal_generators_give_equal_numbers():
    matrix = with_spectrum(torch.rand(60, generator=generator(5))).float()
    first, second = (
        top_eigenvalues(matrix.matmul, 60, generator=generator(3), num_vectors=5) for _ in range(2)
    )
    assert (first.values == second.values).all()
    traces = [trace_estimate(matrix.matmul, 60, generator=generator(3)) for _ in range(2)]
    assert traces[0] == traces[1]


def test_mistakes_are_named():
    for call, message in (
        (lambda: top_eigenvalues(torch.clone, 9, num=0, generator=generator()), "num=0"),
        (lambda: top_eigenvalues(torch.clone, 2, num=3, generator=generator()), "num=3 of 2"),
        (
            lambda: top_eigenvalues(torch.clone, 99, max_products=3, generator=generator()),
            "max_products=3",
        ),
        (lambda: top_eigenvalues(lambda v: v / 0, 9, generator=generator()), "not finite"),
        (lambda: trace_estimate(torch.clone, 9, num_probes=1, generator=generator()), "probes=1"),
    ):
        with pytest.raises(VesaliusError, match=message):
            call()
