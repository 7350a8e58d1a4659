"""`landscape flatness`: how sharply the loss rises around a model's weights.

Every measure is taken in two geometries. Raw, a shift of the weights counts by its Euclidean
length; normalised, each weight moves in units of its own size, so that rescaling one layer and
undoing it in the next changes nothing. No such number decides which model generalises: sharpness,
normalised too, has been found to follow the learning rate rather than the error on other data.

Sources: Foret et al. 2021, arXiv 2010.01412 (worst case after one step); Kwon et al. 2021, arXiv
2102.11600 (weight-normalised); Andriushchenko et al. 2023, arXiv 2302.07011 (average and worst
case, and what they do not tell); arXiv 1908.05620 (width of an optimum, there judged by eye).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, nan
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count, check_word
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.loss_landscape.axis_widths import widths_along
from vesalius.methods.loss_landscape.examples import TRAIN, Examples
from vesalius.methods.loss_landscape.flatness_result import AxisWidth, Flatness, Sharpness
from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.measures import LOSS
from vesalius.methods.loss_landscape.points import check_frame
from vesalius.models.displaced import displaced
from vesalius.models.flat_weights import FlatWeights, own_weights
from vesalius.models.hessian import HessianProduct
from vesalius.models.specimen import Specimen
from vesalius.models.weight_groups import weight_groups
from vesalius.numerics.curvature import top_eigenvalues, trace_estimate
from vesalius.numerics.weight_directions import norm
from vesalius.parallel.memory import DEFAULT_BYTES, parse_bytes

SIGMA: Final = 0.05
RHO: Final = 0.05  # Foret et al. 2021
RHO_NORMALISED: Final = 0.5  # Kwon et al. 2021
_MOST_PRODUCTS: Final = 300

Vector = Float[Tensor, " n"]


def flatness(
    specimen: Specimen,
    examples: Examples,
    frame: Frame | None = None,
    *,
    moved: str = "encoder",
    split: str = TRAIN,
    tau_nats: float = 0.1,
    sigma: float = SIGMA,
    rho: float = RHO,
    rho_normalised: float = RHO_NORMALISED,
    num_gaussian: int = 10,
    num_steps: int = 1,
    num_probes: int = 10,
    num_eigenvalues: int = 1,
    seed: int = 0,
    memory: str | int = DEFAULT_BYTES,
) -> Flatness:
    """Measure sharpness around a model; it is itself again afterwards, bit for bit.

    Args:
        specimen, examples, split: the model, and the examples whose mean loss is looked at.
        frame: axes along which widths are measured, through the model's weights; None for none.
        moved: the weights that are shifted.
        tau_nats: the rise up to which a width reaches.
        sigma: of Gaussian shifts, in units of each weight, or of their root mean square (raw).
        rho, rho_normalised: lengths of the worst shift in the two geometries.
        num_gaussian: pairs of opposite Gaussian shifts, the same numbers in both geometries.
        num_steps: gradient steps to the worst shift; 1 is that of the sources.
        num_probes: of the trace of the Hessian; 0 leaves it out.
        num_eigenvalues: the largest of the Hessian; 0 leaves them out.
        seed: of all draws.
        memory: of the vectors of the eigenvalue search, and of what is kept of lower layers.

    Raises:
        VesaliusError: options out of range, a frame of another model, too little memory, or a
            loss that is not finite at the model itself.
    """
    stopwatch = Stopwatch.start()
    chosen = _Options(moved, split, tau_nats, sigma, rho, rho_normalised, num_gaussian,
                      num_steps, num_probes, num_eigenvalues, seed)  # fmt: skip
    check_word("split", split, tuple(examples.splits))
    if frame is not None:
        check_frame(specimen, frame)
    only = replace(examples, splits={split: examples.splits[split]})
    around = _Surroundings(specimen, only, chosen, memory_bytes=parse_bytes(memory))
    with specimen.at_rest(), tqdm(desc="flatness", unit=" passes", disable=None) as bar:
        loss, (raw, normalised) = around.sharpness(bar)
    options = {"loss": loss, "tau_nats": tau_nats}
    widths = () if frame is None else widths_along(specimen, only, frame, **options)
    return _result(stopwatch, around, loss, raw, normalised, widths)


@final
@dataclass(frozen=True)
class _Options:
    """The options of :func:`flatness`, checked."""

    moved: str
    split: str
    tau_nats: float
    sigma: float
    rho: float
    rho_normalised: float
    num_gaussian: int
    num_steps: int
    num_probes: int
    num_eigenvalues: int
    seed: int

    def __post_init__(self) -> None:
        usual = {"tau_nats": 0.1, "sigma": SIGMA, "rho": RHO, "rho_normalised": RHO_NORMALISED}
        for name, value in usual.items():
            if not 0 < getattr(self, name) < inf:
                raise VesaliusError(
                    given=f"{name}={getattr(self, name)!r}",
                    expected="a finite number above 0",
                    fix=f"use {name}={value:g}",
                )
        check_count("num_gaussian", self.num_gaussian, lowest=2, usual=10)
        check_count("num_steps", self.num_steps, lowest=1, usual=1)
        check_count("num_eigenvalues", self.num_eigenvalues, lowest=0, usual=1)
        if self.num_probes:
            check_count("num_probes", self.num_probes, lowest=2, usual=10)

    def generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "flatness", *purpose))


@final
class _Surroundings:
    """A model, the weights that move, and how large they are."""

    def __init__(
        self, specimen: Specimen, examples: Examples, options: _Options, *, memory_bytes: int
    ) -> None:
        self.specimen, self.examples, self.options = specimen, examples, options
        self.memory_bytes, self._groups = memory_bytes, weight_groups(specimen)
        self.own = own_weights(specimen, self._groups.named(options.moved))
        self.sizes = self.own.flat.abs()
        self.norm = norm(self.own)

    def sharpness(self, bar: Any) -> tuple[float, tuple[Sharpness, Sharpness]]:
        """The loss at the model itself; sharpness raw and normalised."""
        o, num_weights = self.options, len(self.sizes)
        scales, rhos = (None, self.sizes), (o.rho, o.rho_normalised)
        climbed = [self._climb(scale, rho, bar) for scale, rho in zip(scales, rhos, strict=True)]
        loss, averages, worst = self._rises([shift for shift, _ in climbed], bar)
        lengths = (o.sigma * self.norm, o.sigma * num_weights**0.5)
        raw, normalised = (
            Sharpness(
                radius=lengths[k],
                average_nats=float(np.mean(averages[k])),
                average_standard_error=float(np.std(averages[k], ddof=1) / o.num_gaussian**0.5),
                rho=rhos[k],
                worst_nats=worst[k],
                gradient_norm=climbed[k][1],
                **self._curvature(scales[k], bar),
            )
            for k in range(2)
        )
        return loss, (raw, normalised)

    def _product(self, scale: Vector | None, bar: Any) -> HessianProduct:
        def losses(model: Any, batch: Any) -> Float[Tensor, " example"]:
            bar.update(1 / len(batches))
            return self.examples.losses(model, batch)

        batches = self.examples.batches(self.options.split)
        named = None if scale is None else self.own.like(scale)
        return HessianProduct(self.specimen.model, batches, losses, tuple(self.own), named)

    def _climb(self, scale: Vector | None, rho: float, bar: Any) -> tuple[FlatWeights, float]:
        """The shift T z of |z| <= rho that the gradient leads to; its length at the start."""
        product, place = self._product(scale, bar), torch.zeros_like(self.sizes)
        stride = rho * min(1.0, 2.5 / self.options.num_steps)  # reaches the rim, and along it
        first = nan
        for step in range(self.options.num_steps):
            shift = place if scale is None else scale * place
            start = self.own.like(self.own.flat + shift)
            with displaced(self.specimen.model, start, home=() if step == 0 else None) as move:
                move(())
                slope = product.gradient()
            length = norm({"slope": slope})
            first = length if step == 0 else first
            if not 0 < length < inf:  # nowhere to go
                break
            place = place + (stride / length) * slope
            place = place * min(1.0, rho / norm({"place": place}))
        return self.own.like(place if scale is None else scale * place), first

    def _rises(
        self, shifts: Sequence[FlatWeights], bar: Any
    ) -> tuple[float, Float[np.ndarray, "geometry draw"], list[float]]:
        """The loss, its mean rise over pairs of Gaussian shifts, and that at given shifts."""
        o, lowest = self.options, self._groups.first_layer(tuple(self.own))
        typical = self.norm / len(self.sizes) ** 0.5
        with self.examples.measuring(
            self.specimen, first_layer=lowest, memory_bytes=self.memory_bytes
        ) as measured:

            def losses(axes: Sequence[FlatWeights], *points: Sequence[float]) -> list[float]:
                home = [0.0] * len(axes)
                with displaced(self.specimen.model, self.own, axes, home=home) as move:
                    return [mean(point, move) for point in points]

            def mean(point: Sequence[float], move: Any) -> float:
                move(point)
                bar.update()
                found = measured()[o.split][LOSS].mean(dtype=np.float64)
                return float(found) if np.isfinite(found) else nan

            (loss,) = losses([], ())
            if not np.isfinite(loss):
                raise VesaliusError(
                    given=f"{self.specimen.name}: a loss on {o.split} that is not finite",
                    expected="a model that works on these examples",
                    fix="check the model, or leave out the examples that overflow",
                )
            worst = [losses([shift], (1.0,))[0] - loss for shift in shifts]
            averages: list[list[float]] = []
            for draw in range(o.num_gaussian):
                numbers = torch.randn(len(self.sizes), generator=o.generator("gaussian", draw))
                drawn = numbers.to(self.sizes)
                a, b = o.sigma * typical, o.sigma
                up, down, left, right = losses(
                    [self.own.like(drawn), self.own.like(drawn * self.sizes)],
                    (a, 0.0), (-a, 0.0), (0.0, b), (0.0, -b),
                )  # fmt: skip
                averages.append([(up + down) / 2 - loss, (left + right) / 2 - loss])
        return loss, np.array(averages).T, worst

    def _curvature(self, scale: Vector | None, bar: Any) -> dict[str, Any]:
        """Eigenvalues and trace of T H T, as fields of a Sharpness."""
        o, product = self.options, self._product(scale, bar)
        options: dict[str, Any] = {"dtype": product.dtype, "device": product.device}
        values, residuals, converged = np.empty(0), np.empty(0), True
        if o.num_eigenvalues:
            found = top_eigenvalues(
                product,
                product.size,
                num=o.num_eigenvalues,
                generator=o.generator("eigenvalues"),
                num_vectors=self._num_vectors(),
                max_products=_MOST_PRODUCTS + 3 * o.num_eigenvalues,
                keep_vectors=False,
                **options,
            )
            values, residuals, converged = found.values, found.residuals, found.converged
        trace = None
        if o.num_probes:
            probes = {"num_probes": o.num_probes, "generator": o.generator("trace")}
            trace = trace_estimate(product, product.size, **probes, **options)
        return {
            "eigenvalues": values,
            "residuals": residuals,
            "eigenvalues_converged": converged,
            "trace": None if trace is None else trace.trace,
            "trace_standard_error": None if trace is None else trace.standard_error,
        }

    def _num_vectors(self) -> int:
        """How many vectors of a Lanczos basis fit the memory, at most the usual number."""
        one = self.own.flat.numel() * self.own.flat.element_size()
        fewest, usual = self.options.num_eigenvalues + 2, 2 * self.options.num_eigenvalues + 1
        fitting = self.memory_bytes // one - 1
        if fitting < fewest:
            raise VesaliusError(
                given=f"{self.memory_bytes / 2**30:.2g} GiB for {fewest + 1} vectors of "
                f"{one / 2**30:.2g} GiB each",
                expected="memory for a search of eigenvalues",
                fix=f"give {(fewest + 1) * one / 2**30:.2g}GiB, or num_eigenvalues=0",
            )
        return min(fitting, max(20, usual))


def _result(
    stopwatch: Stopwatch,
    around: _Surroundings,
    loss: float,
    raw: Sharpness,
    normalised: Sharpness,
    widths: Sequence[AxisWidth],
) -> Flatness:
    specimen, examples, o = around.specimen, around.examples, around.options
    card = make_card(
        "landscape flatness",
        stopwatch=stopwatch,
        config={
            **asdict(o),
            "axes": [width.axis for width in widths],
            "data": examples.name,
            "data_fingerprint": examples.fingerprint,
        },
        model=specimen.name,
        model_fingerprint=specimen.fingerprint,
        seed=o.seed,
        warnings=tuple(_warnings(raw, normalised)),
    )
    return Flatness(
        card=card,
        moved=o.moved,
        split=o.split,
        num_examples=examples.num_examples[o.split],
        num_weights=len(around.sizes),
        weights_norm=around.norm,
        loss_nats=loss,
        tau_nats=o.tau_nats,
        sigma=o.sigma,
        num_gaussian=o.num_gaussian,
        num_steps=o.num_steps,
        raw=raw,
        normalised=normalised,
        widths=tuple(widths),
    )


def _warnings(raw: Sharpness, normalised: Sharpness) -> Iterator[str]:
    for name, found in (("raw", raw), ("normalised", normalised)):
        if not found.eigenvalues_converged:
            yield f"{name}: eigenvalues had not converged after {_MOST_PRODUCTS} products"
        if not np.isfinite([found.average_nats, found.worst_nats]).all():
            yield f"{name}: the loss is not finite at some shifts: take a smaller sigma or rho"
