"""What ``landscape.py`` measures, part by part: numbers that its report reads."""

import copy
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import harness
import landscape_cases as cases
import numpy as np
import torch
from landscape_cases import FULL, QUICK, Sizes

from vesalius.methods.loss_landscape.frame import Frame
from vesalius.methods.loss_landscape.inputs import INPUTS, write_inputs
from vesalius.methods.loss_landscape.points import PointTask, measuring_points
from vesalius.methods.loss_landscape.surface import surface
from vesalius.models.displaced import displaced
from vesalius.models.kernels import short_attention
from vesalius.models.specimen import Specimen
from vesalius.models.stacked import count_launches, stacked_measure, worth_stacking
from vesalius.models.weight_groups import weight_groups
from vesalius.numerics.adaptive_grid import refine
from vesalius.parallel.memory import DEFAULT_BYTES
from vesalius.parallel.sweep import sweep

_AXES = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line asked for."""

    quick: bool
    rounds: int
    threads: int
    engine: str  # of the workers

    @property
    def sizes(self) -> Sizes:
        """How much is measured."""
        return QUICK if self.quick else FULL


def moving(settings: Settings) -> dict[str, Any]:
    """Time outside the forward: a new point beside a deep copy, and beside a rebuild in place."""
    small = cases.classifier()
    frame = cases.plane(small)
    found = {
        "mini-classifier": _moving(
            small.model, *cases.moved_weights(frame), settings, frame.solution
        )
    }
    large = cases.bert_base(settings.sizes)
    torch.manual_seed(1)
    origin = {n: p.detach().clone() for n, p in large.named_parameters() if "classifier" not in n}
    axes = [{n: 0.01 * torch.randn_like(t) for n, t in origin.items()} for _ in range(_AXES)]
    found["BERT-base's shape"] = _moving(large, origin, axes, settings, None)
    return found


def _moving(
    model: Any, origin: Any, axes: Any, settings: Settings, home: Sequence[float] | None
) -> dict[str, Any]:
    turns = iter(cases.points_of(1000))
    other = copy.deepcopy(model)  # the rivals' own, so that no way sees what another left
    parameters = {n: p for n, p in model.named_parameters() if n in origin}
    others = {n: p for n, p in other.named_parameters() if n in origin}
    point = cases.points_of(1)[0]
    name = max(origin, key=lambda n: origin[n].numel())
    exact = origin[name].double()
    for coefficient, axis in zip(point, axes, strict=True):
        exact = exact + coefficient * axis[name].double()
    found: dict[str, Any] = {}
    num_weights = sum(tensor.numel() for tensor in origin.values())
    with displaced(model, origin, axes, home=home) as move:
        move(point)
        error = float((parameters[name].detach().double() - exact).abs().max() / exact.abs().max())
        rivals: dict[str, Callable[[], Any]] = {
            "deep copy and load_state_dict": lambda: cases.deep_copied(
                other, origin, axes, next(turns)
            ),
            "in place, tensor by tensor": lambda: cases.rebuilt(others, origin, axes, next(turns)),
        }
        for way, rival in rivals.items():
            rival()
            move(next(turns))
            found[way] = harness.pair(
                lambda: move(next(turns)), rival, rounds=max(settings.rounds, 5)
            ).to_dict()
    num_bytes = 4 * (1 + _AXES + 1) * num_weights  # read the origin and every axis, write the point
    return {
        "num_weights": num_weights,
        "bytes": num_bytes,
        "floor_seconds": num_bytes / _copy_rate(num_weights),
        "error": error,
        "cases": found,
    }


def _copy_rate(num_weights: int) -> float:
    """Bytes read and written a second when so many numbers are copied; best of several."""
    source = torch.ones(num_weights)
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(harness.seconds_of(lambda: target.copy_(source)) for _ in range(7))
    return 8 * num_weights / best


def points(settings: Settings) -> dict[str, Any]:
    """A whole point, by number of examples: beside deep copies and the package, padded or not."""
    specimen, sizes = cases.classifier(), settings.sizes
    frame = cases.plane(specimen)
    origin, axes = cases.moved_weights(frame)
    other = copy.deepcopy(specimen.model)  # the rivals copy this one: ours is on its way
    found: dict[str, Any] = {}
    for count in sizes.num_examples:
        examples = cases.examples_of(specimen, count)
        own = [dict(batch) for batch in examples.batches("train")]
        padded = cases.padded_batches(specimen, count)
        turns = iter(cases.points_of(1000))
        rows: dict[str, Any] = {}
        with measuring_points(specimen, examples, frame) as at, short_attention("cpu"):
            ours, operations = harness.counted(lambda at=at: at((0.0, 1.0)))
            reference = float(ours["train"]["loss"].astype(np.float64).mean())

            def here(at: Any = at, turns: Any = turns) -> Any:
                return at(next(turns))

            for batches, how in ((own, "our batches"), (padded, f"padded to {cases.PADDED}")):
                long = count * cases.PADDED > 100_000 and batches is padded
                rounds = min(settings.rounds, 2) if long else settings.rounds

                def copied(point: Any, batches: Any = batches) -> float:
                    moved = cases.deep_copied(other, origin, axes, point)
                    return cases.mean_loss(moved, batches)

                value, work = harness.counted(partial(copied, (0.0, 1.0)))
                pair = harness.pair(here, lambda c=copied, t=turns: c(next(t)), rounds=rounds)
                rows[f"deep copy, {how}"] = {
                    **pair.to_dict(),
                    "operations": work,
                    "tokens": cases.num_tokens(batches),
                    "error": abs(value - reference),
                }
                steps = sizes.plane_steps[count]
                package = cases.package_way(specimen, frame, batches, steps)
                if package is not None:
                    value = package()
                    pair = _per_point(harness.pair(here, package, rounds=rounds), steps**2)
                    rows[f"loss-landscapes, {how}"] = {
                        **pair.to_dict(),
                        "operations": work,
                        "tokens": cases.num_tokens(batches),
                        "error": abs(value - reference),
                    }
        found[str(count)] = {
            "operations": operations,
            "tokens": cases.num_tokens(own),
            "cases": rows,
        }
    return found


def _per_point(paired: harness.Paired, num_points: int) -> harness.Paired:
    return replace(paired, rival=tuple(seconds / num_points for seconds in paired.rival))


def groups(settings: Settings) -> dict[str, Any]:
    """A plane of one third of the layers beside the plane of all: what enters it is kept."""
    specimen, sizes = cases.classifier(), settings.sizes
    examples = cases.examples_of(specimen, sizes.group_examples)
    blocks = weight_groups(specimen)
    whole = cases.plane(specimen)
    batches = [dict(batch) for batch in examples.batches("train")]
    found: dict[str, Any] = {"num_layers": len(blocks.layers), "cases": {}}
    point = cases.points_of(1)[0]
    with measuring_points(specimen, examples, whole) as everywhere:
        everywhere(point)
        found["operations"] = harness.counted(lambda: everywhere(point))[1]
    for group in ("middle", "high"):
        frame = cases.plane(specimen, moved=group)
        origin, axes = cases.moved_weights(frame)
        moved = cases.deep_copied(specimen.model, origin, axes, point)
        with short_attention("cpu"):
            reference = cases.mean_loss(moved, batches)
        with measuring_points(specimen, examples, frame) as inside:
            inside((0.0, 0.0))  # what enters the group is kept
            value = float(inside(point)["train"]["loss"].astype(np.float64).mean())
            operations = harness.counted(lambda at=inside: at(point))[1]
        pair = _in_turns(specimen, examples, frame, whole, settings)
        found["cases"][group] = {
            **pair.to_dict(),
            "first_layer": blocks.first_layer(frame.names),
            "operations": operations,
            "error": abs(value - reference),
        }
    return found


def _in_turns(
    specimen: Specimen, examples: Any, frame: Frame, whole: Frame, settings: Settings
) -> harness.Paired:
    """Seconds a point of both planes, after one in which the lower blocks run and are kept."""
    some = cases.points_of(settings.sizes.group_points)
    times: dict[str, list[float]] = {"ours": [], "rival": []}
    for index in range(settings.rounds):
        order = [("ours", frame), ("rival", whole)]
        for name, one in order if index % 2 == 0 else reversed(order):
            with measuring_points(specimen, examples, one) as at:
                at(some[0])
                seconds = harness.seconds_of(lambda at=at: [at(point) for point in some])
                times[name].append(seconds / len(some))
    return harness.Paired(ours=tuple(times["ours"]), rival=tuple(times["rival"]))


def adaptive(settings: Settings) -> dict[str, Any]:
    """Points that refinement saves at several tolerances, and how far off it then really is."""
    specimen, sizes = cases.classifier(), settings.sizes
    examples = cases.examples_of(specimen, sizes.grid_examples)
    frame = cases.plane(specimen)
    drawn: dict[str, Any] = {}

    def exact() -> None:
        drawn["exact"] = surface(specimen, examples, frame, steps=sizes.grid)

    timed = sizes.timed_tolerance

    def refined() -> None:
        drawn["refined"] = surface(specimen, examples, frame, steps=sizes.grid, adaptive=timed)

    seconds = {"exact": harness.seconds_of(exact), "refined": harness.seconds_of(refined)}
    true = np.asarray(drawn["exact"].values["train"]["loss"])
    rows: dict[str, Any] = {}
    for tolerance in sizes.tolerances:
        done = refine(
            lambda places: true[places[:, 0], places[:, 1]][:, None],
            sizes.grid,
            tolerance=tolerance,
            generator=np.random.default_rng(0),
        )
        misses = np.abs(done.values[:, :, 0] - true)[~done.evaluated]
        misses = misses if len(misses) else np.zeros(1)
        rows[f"{tolerance:g}"] = {
            "num_evaluated": done.interpolation.num_evaluated,
            "num_checks": done.interpolation.num_checks,
            "stated_largest": done.interpolation.largest_miss,
            "stated_mean": done.interpolation.mean_miss,
            "true_largest": float(misses.max()),
            "true_mean": float(misses.mean()),
            "share_within": float((misses <= tolerance).mean()),
        }
    told = drawn["refined"].interpolation
    return {
        "grid": list(sizes.grid),
        "num_points": true.size,
        "num_examples": sizes.grid_examples,
        "span_nats": [float(np.nanmin(true)), float(np.nanmax(true))],
        "seconds": seconds,
        "timed_tolerance": timed,
        "timed_points": told.num_evaluated,
        "cases": rows,
    }


def stacked(settings: Settings) -> dict[str, Any]:
    """All points of a chunk in one pass beside one after the other, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {net.name: _stacked(net, settings) for net in cases.small_nets(quick=settings.quick)}
    finally:
        torch.set_num_threads(before)


def _stacked(net: cases.SmallNet, settings: Settings) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    origin = {n: p.detach().clone() for n, p in net.model.named_parameters()}
    axes = [
        {n: 0.01 * torch.randn(t.shape, generator=generator) for n, t in origin.items()}
        for _ in range(_AXES)
    ]
    some = cases.points_of(settings.sizes.stacked_points)
    coordinates = torch.tensor(some)

    def together() -> Any:
        return stacked_measure(
            net.model, net.batch, net.measure, origin=origin, axes=axes, coordinates=coordinates
        )["loss"]

    with displaced(net.model, origin, axes) as move, torch.no_grad(), short_attention("cpu"):

        def one_by_one() -> Any:
            rows: list[Any] = []
            for point in some:
                move(point)
                rows.append(net.measure(net.model, net.batch)["loss"])
            return torch.stack(rows)

        wanted = one_by_one()
        found = together()
        pair = harness.pair(together, one_by_one, rounds=max(settings.rounds, 5))
    launches = count_launches(net.model, net.batch, net.measure)
    num_weights = sum(tensor.numel() for tensor in origin.values())
    return {
        **pair.to_dict(),
        "num_points": len(some),
        "num_weights": num_weights,
        "num_kernels": launches.num_kernels,
        "numbers_per_kernel": (launches.num_written + num_weights) / launches.num_kernels,
        "chosen": worth_stacking(launches, num_moved=num_weights, num_points=len(some)),
        "error": float((found - wanted).abs().max() / wanted.abs().max()),
    }


def workers(settings: Settings) -> dict[str, Any]:
    """The same points by two workers of one thread and by one, from when all are ready."""
    if settings.engine == "ray" and find_spec("ray") is None:
        return {"engine": "ray", "missing": "ray is not installed (vesalius[ray])"}
    specimen, sizes = cases.classifier(), settings.sizes
    examples = cases.examples_of(specimen, sizes.worker_examples)
    frame = cases.plane(specimen)
    items = [{"coefficients": list(point)} for point in cases.points_of(sizes.worker_points)]
    times: dict[int, list[float]] = {1: [], 2: []}
    digests: set[str] = set()
    for index in range(settings.rounds):
        for number in (2, 1) if index % 2 == 0 else (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder, "run")
                write_inputs(out, specimen=specimen, examples=examples, frame=frame, grid={})
                done = sweep(
                    _task(specimen, examples, frame, out),
                    items,
                    out / "points",
                    engine="ray" if settings.engine == "ray" else "local",
                    workers=number,
                    shard_size=max(1, len(items) // 24),
                )
                times[number].append(done.work_seconds)
                losses = done.array("train.loss").tobytes()
                digests.add(hashlib.sha256(losses).hexdigest())
    pair = harness.Paired(ours=tuple(times[2]), rival=tuple(times[1]))
    return {
        **pair.to_dict(),
        "engine": settings.engine,
        "num_points": len(items),
        "num_examples": sizes.worker_examples,
        "equal": len(digests) == 1,
    }


def _task(specimen: Specimen, examples: Any, frame: Frame, out: Path) -> PointTask:
    return PointTask(
        model_fingerprint=specimen.fingerprint,
        frame_fingerprint=frame.fingerprint,
        examples_fingerprint=examples.fingerprint,
        device=str(specimen.device),
        dtype=str(specimen.dtype).removeprefix("torch."),
        memory_bytes=DEFAULT_BYTES,
        inputs=str(out / INPUTS),
    )


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "moving": moving,
    "points": points,
    "groups": groups,
    "adaptive": adaptive,
    "stacked": stacked,
    "workers": workers,
}
