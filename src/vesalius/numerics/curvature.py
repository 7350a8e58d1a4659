"""Eigenvalues and trace of a symmetric matrix that is known only by its products with vectors.

The basis never holds more than ``num_vectors`` vectors: when it is full, the best Ritz vectors are
kept and the rest is built anew (thick restart), and every new vector is made orthogonal to all of
them, twice. Vectors stay on their device; the small matrix is float64.

Sources: Wu & Simon 2000, Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems;
Hutchinson 1990, A Stochastic Estimator of the Trace of the Influence Matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.checks import check_count, check_word, words_of
from vesalius.core.errors import VesaliusError
from vesalius.numerics.weight_directions import dot

Product = Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]]
Which = Literal["LA", "SA", "LM"]  # largest, smallest, largest in size: ARPACK's words

_COLUMNS: Final = 1 << 20  # of the basis that are rotated at once


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Eigenvalues:
    """Eigenvalues from the outermost inwards, with how well each fits its vector."""

    values: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]  # |H v - value v| for |v| = 1, by one more product each
    vectors: Float[Tensor, "k n"] | None
    num_products: int
    converged: bool  # all residuals within the tolerance


@final
@dataclass(frozen=True, kw_only=True)
class TraceEstimate:
    """The mean of some unbiased estimates of a trace."""

    trace: float
    standard_error: float
    num_probes: int


def top_eigenvalues(
    product: Product,
    size: int,
    *,
    num: int = 1,
    tolerance: float = 1e-3,
    generator: torch.Generator,
    which: Which = "LA",
    max_products: int = 300,
    num_vectors: int | None = None,
    keep_vectors: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Eigenvalues:
    """Find the outermost eigenvalues of a symmetric matrix [size, size] by Lanczos' method.

    ``product`` takes and gives a vector [size] of ``dtype`` on ``device``. An eigenvalue has
    converged when its residual is at most ``tolerance`` times the largest size of an eigenvalue
    seen. Memory: ``num_vectors`` + 1 vectors (by default twice ``num`` + 1, at least 20). After
    ``max_products`` the best values so far come back, with ``converged`` false.

    Raises:
        VesaliusError: counts or a tolerance out of range, or a product that is not finite.
    """
    check_word("which", which, words_of(Which))
    check_count("num", num, lowest=1, usual=1)
    most = min(size, num_vectors or max(20, 2 * num + 1))
    too_many = num > most or num == most < size
    if too_many or not 0 < tolerance < 1 or max_products < most + num:
        raise VesaliusError(
            given=f"num={num} of {size}, num_vectors={num_vectors}, tolerance={tolerance},"
            f" max_products={max_products}",
            expected="num below num_vectors, their sum within max_products, tolerance below 1",
            fix="leave all but num out",
        )
    rows = torch.zeros((most + 1, size), dtype=dtype, device=device)
    basis = _Basis(product, rows, generator)
    while True:
        reached = basis.expand(max_products - num)
        values, turns = _ritz(basis.matrix[:reached, :reached], which)
        limit = tolerance * float(np.abs(values).max())
        is_close = (basis.coupling * np.abs(turns[-1, :num]) <= limit).all()
        if is_close or basis.num_products >= max_products - num:
            break
        basis.restart(values, turns, keep=(num + reached) // 2)
    basis.rotate(turns[:, :num])
    residuals = np.array([basis.residual(k, value) for k, value in enumerate(values[:num])])
    return Eigenvalues(
        values=values[:num],
        residuals=residuals,
        vectors=basis.rows[:num].clone() if keep_vectors else None,
        num_products=basis.num_products,
        converged=bool((residuals <= limit).all()),
    )


def trace_estimate(
    product: Product,
    size: int,
    *,
    num_probes: int = 10,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> TraceEstimate:
    """Estimate the trace of a symmetric matrix [size, size]: the mean of z . H z over random signs.

    Unbiased; the variance of one probe is twice the sum of the squares off the diagonal.

    Raises:
        VesaliusError: fewer than two probes, which say nothing about the error.
    """
    check_count("num_probes", num_probes, lowest=2, usual=10)
    estimates: list[float] = []
    for _ in range(num_probes):
        coins = torch.empty(size, dtype=dtype, device=generator.device)
        signs = coins.bernoulli_(0.5, generator=generator).mul_(2).sub_(1).to(device)
        estimates.append(dot({"z": signs}, {"z": product(signs)}))
    return TraceEstimate(
        trace=float(np.mean(estimates)),
        standard_error=float(np.std(estimates, ddof=1) / np.sqrt(num_probes)),
        num_probes=num_probes,
    )


class _Basis:
    """Orthonormal rows, the matrix as they see it, and how the last row leads out of them."""

    def __init__(
        self, product: Product, rows: Float[Tensor, "row n"], generator: torch.Generator
    ) -> None:
        self.product, self.rows, self.generator = product, rows, generator
        self.matrix: Float[np.ndarray, "row row"] = np.zeros((len(rows) - 1,) * 2)
        self.coupling = 0.0  # of the row behind the last full one
        self.num_full = self.num_products = 0
        self._place(0, self._drawn(0))

    def expand(self, budget: int) -> int:
        """Fill the basis as far as the budget of products reaches; give the number of rows."""
        most, size = len(self.matrix), self.rows.shape[1]
        tiny = 10 * torch.finfo(self.rows.dtype).eps
        for row in range(self.num_full, most):
            image = self._image(row)
            before = float(image.norm())
            image, seen = self._without(image, row + 1)
            self.matrix[: row + 1, row] = self.matrix[row, : row + 1] = seen
            self.coupling = float(image.norm())
            if self.coupling <= tiny * before:  # the rows hold whole eigenspaces: look elsewhere
                self.coupling, image = 0.0, self._drawn(row + 1)
            if row + 1 < size:
                self._place(row + 1, image)
            if self.num_products >= budget:
                return row + 1
        return most

    def restart(
        self, values: Float[np.ndarray, " row"], turns: Float[np.ndarray, "row ritz"], *, keep: int
    ) -> None:
        """Keep some Ritz vectors and the row behind the last full one."""
        self.rotate(turns[:, :keep])
        self.rows[keep] = self.rows[len(turns)].clone()
        self.matrix[:] = 0
        self.matrix[range(keep), range(keep)] = values[:keep]
        self.num_full = keep

    def rotate(self, turns: Float[np.ndarray, "row ritz"]) -> None:
        """Put combinations of the rows in their place, with little memory beside them."""
        factors = torch.from_numpy(np.ascontiguousarray(turns.T)).to(self.rows)
        for part in self.rows.split(_COLUMNS, dim=1):
            part[: len(factors)] = factors @ part[: len(turns)]

    def residual(self, row: int, value: float) -> float:
        return float((self._image(row) - value * self.rows[row]).norm())

    def _image(self, row: int) -> Float[Tensor, " n"]:
        self.num_products += 1
        image = self.product(self.rows[row])
        if not bool(torch.isfinite(image).all()):
            raise VesaliusError(
                given="a product with a matrix that is not finite",
                expected="finite numbers",
                fix="take a point where the loss and its derivatives are finite",
            )
        return image

    def _without(
        self, vector: Float[Tensor, " n"], num_rows: int
    ) -> tuple[Float[Tensor, " n"], Float[np.ndarray, " row"]]:
        """Take out what lies along the first rows, and say how much; twice, against rounding."""
        rows = self.rows[:num_rows]
        first = rows @ vector
        vector = vector - first @ rows
        second = rows @ vector
        return vector - second @ rows, (first + second).double().numpy(force=True)

    def _drawn(self, num_rows: int) -> Float[Tensor, " n"]:
        g, like = self.generator, self.rows
        drawn = torch.randn(like.shape[1], generator=g, device=g.device, dtype=like.dtype)
        return self._without(drawn.to(like.device), num_rows)[0]

    def _place(self, row: int, vector: Float[Tensor, " n"]) -> None:
        self.rows[row] = vector / vector.norm()


def _ritz(
    matrix: Float[np.ndarray, "row row"], which: Which
) -> tuple[Float[np.ndarray, " ritz"], Float[np.ndarray, "row ritz"]]:
    """Eigenvalues and vectors of the small matrix, the wanted end first."""
    values, turns = np.linalg.eigh(matrix)
    keys = {"LA": -values, "SA": values, "LM": -np.abs(values)}
    order = np.argsort(keys[which], kind="stable")
    return values[order], turns[:, order]
