"""Results of landscapes with known numbers, made by hand: a bowl around (1, 0)."""

from dataclasses import replace
from typing import Any

import numpy as np

from vesalius.core.card import RunCard, Stopwatch, make_card
from vesalius.methods.loss_landscape.barrier import BarrierHeight, BarrierResult
from vesalius.methods.loss_landscape.flatness_result import AxisWidth, Flatness, Sharpness
from vesalius.methods.loss_landscape.result import Line, Surface
from vesalius.methods.loss_landscape.rollback import Rollback, RollbackRow
from vesalius.methods.loss_landscape.trajectory import Trajectory
from vesalius.numerics.adaptive_grid import Interpolation
from vesalius.numerics.statistics import Interval, PairedDifference

AXES = ("towards the solution", "random (filter), draw 1")
ALPHAS, BETAS = np.linspace(-1, 2, 13), np.linspace(-1, 1, 9)
NUM = {"train": 64, "held_out": 32}


def card(method: str, **config: Any) -> RunCard:
    return make_card(
        f"landscape {method}", stopwatch=Stopwatch.start(), model="tiny", model_fingerprint="f00d",
        config={"moved": "encoder", "data": "reviews", "data_fingerprint": "beef", **config},
    )  # fmt: skip


def bowl(alpha: Any, beta: Any = 0.0) -> dict[str, dict[str, np.ndarray]]:
    """Losses and errors that rise with the distance from (1, 0), and a little beside it."""
    away = (np.asarray(alpha) - 1) ** 2 + 0.5 * np.asarray(beta) ** 2
    beside = (np.asarray(alpha) - 0.75) ** 2 + 0.5 * np.asarray(beta) ** 2
    return {
        "train": {"loss": 0.2 + away, "error": 0.5 - 0.4 * np.exp(-away)},
        "held_out": {"loss": 0.5 + beside, "error": 0.5 - 0.3 * np.exp(-beside)},
    }


def errors_of(values: dict[str, dict[str, np.ndarray]], size: float = 0.05) -> Any:
    return {s: {m: np.full_like(v, size) for m, v in found.items()} for s, found in values.items()}


def make_line(**changes: Any) -> Line:
    values = bowl(ALPHAS)
    made = Line(
        card=card("line", bounds=[-1, 2], steps=13), axis=AXES[0], norm=4.5, alphas=ALPHAS,
        solution=1.0, values=values, standard_errors=errors_of(values), num_examples=NUM,
        examples={}, labels={},
    )  # fmt: skip
    return replace(made, **changes)


def make_surface(**changes: Any) -> Surface:
    values = bowl(ALPHAS[:, None], BETAS[None])
    made = Surface(
        card=card("surface"), axes=AXES, norms=(4.5, 30.0), cosine=0.0123, alphas=ALPHAS,
        betas=BETAS, solution=(1.0, 0.0), values=values, standard_errors=errors_of(values),
        num_examples=NUM, evaluated=np.ones((13, 9), dtype=bool), interpolation=None,
        examples={}, labels={},
    )  # fmt: skip
    return replace(made, **changes)


def with_holes(surface: Surface) -> Surface:
    values = {s: {m: v.copy() for m, v in found.items()} for s, found in surface.values.items()}
    for found in values.values():
        found["loss"][0, :3] = np.nan
    return replace(surface, values=values)


def adaptive(surface: Surface) -> Surface:
    evaluated = np.zeros((13, 9), dtype=bool)
    evaluated[::2, ::2] = True
    found = Interpolation(
        tolerance=0.05, num_evaluated=35, num_points=117, largest_miss=0.031, mean_miss=0.004,
        num_checks=24,
    )  # fmt: skip
    return replace(surface, evaluated=evaluated, interpolation=found)


def make_trajectory(**changes: Any) -> Trajectory:
    way = np.linspace(0, 1, 6)
    coordinates = np.stack([way, 0.3 * np.sin(np.pi * way)], axis=1)
    values = bowl(way)
    made = Trajectory(
        card=card("trajectory"), axes=AXES, solution=(1.0, 0.0), steps=np.arange(6) * 100,
        coordinates=coordinates, off_plane=0.6 * (1 - way), lengths=way, projection="least-squares",
        heads="own", values=values, standard_errors=errors_of(values), num_examples=NUM,
    )  # fmt: skip
    return replace(made, **changes)


def difference(estimate: float, half: float = 0.02) -> PairedDifference:
    bounds = Interval(estimate=estimate, low=estimate - half, high=estimate + half, level=0.95,
                      num_resamples=2000)  # fmt: skip
    return PairedDifference(mean=bounds, p_value=0.01)


def make_rollback(**changes: Any) -> Rollback:
    def row(group: str, layers: tuple[int, ...], accuracy: float) -> RollbackRow:
        return RollbackRow(
            group=group, layers=layers, num_weights=1000, weight_change=0.04, accuracy=accuracy,
            accuracy_change=difference(accuracy - 0.9), loss_nats=1 - accuracy,
            loss_change=difference(0.9 - accuracy),
        )  # fmt: skip

    rows = (
        row("low", (0,), 0.89),
        row("middle", (1,), 0.8),
        row("high", (2, 3), 0.55),
        row("embeddings", (), 0.9),
        *(row(f"layer {k}", (k,), 0.9 - 0.05 * k) for k in range(4)),
        row("encoder", (0, 1, 2, 3), 0.5),
    )
    made = Rollback(
        card=card("rollback"), direction="back", split="held_out", num_examples=32, num_layers=4,
        rows=rows, fine_tuned_accuracy=0.9, fine_tuned_loss_nats=0.1, start_accuracy=0.5,
        start_loss_nats=0.5, majority_accuracy=0.52,
    )  # fmt: skip
    return replace(made, **changes)


def make_barrier(**changes: Any) -> BarrierResult:
    alphas = np.linspace(0, 1, 11)
    hump = alphas * (1 - alphas)
    values = {
        split: {"loss": 0.3 + 0.1 * alphas + scale * hump, "error": 0.1 + 0.2 * hump}
        for split, scale in (("train", 2.0), ("held_out", 1.0))
    }
    heights = tuple(
        BarrierHeight(split=s, measure=m, height=h, alpha=0.5, standard_error=0.02)
        for s, m, h in (
            ("train", "loss", 0.5),
            ("train", "error", 0.05),
            ("held_out", "loss", 0.25),
            ("held_out", "error", 0.05),
        )
    )
    made = BarrierResult(
        card=card("barrier"), moved="all", distance=7.5, alphas=alphas, values=values,
        standard_errors=errors_of(values), num_examples=NUM, heights=heights,
    )  # fmt: skip
    return replace(made, **changes)


def make_flatness(**changes: Any) -> Flatness:
    def sharpness(scale: float) -> Sharpness:
        return Sharpness(
            radius=1.5 * scale, average_nats=0.02 * scale, average_standard_error=0.004,
            rho=0.05 * scale, worst_nats=0.1 * scale, gradient_norm=0.7,
            eigenvalues=np.array([120.0, 30.0]) / scale, residuals=np.array([0.1, 0.3]),
            eigenvalues_converged=True, trace=500.0 / scale, trace_standard_error=40.0,
        )  # fmt: skip

    widths = (
        AxisWidth(axis=AXES[0], norm=4.5, low=-0.4, high=0.3, width=0.7, open_low=False,
                  open_high=False),
        AxisWidth(axis=AXES[1], norm=30.0, low=-0.2, high=1.0, width=1.2, open_low=False,
                  open_high=True),
    )  # fmt: skip
    made = Flatness(
        card=card("flatness"), moved="encoder", split="train", num_examples=64, num_weights=9000,
        weights_norm=81.0, loss_nats=0.2, tau_nats=0.1, sigma=0.05, num_gaussian=10, num_steps=1,
        raw=sharpness(1.0), normalised=sharpness(10.0), widths=widths,
    )  # fmt: skip
    return replace(made, **changes)
