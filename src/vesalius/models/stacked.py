"""Many points of weight space in one pass, for nets so small that launching kernels costs most.

Every moved parameter gets a first axis of points, and one pass with batched products takes the
place of a pass per point. A net whose kernels are busy gains nothing: its products are done as
well one point after the other, and there the weights stay in the processor's cache.

Source: ``torch.func``; the rule is measured by this project, benchmarks/landscape.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from vesalius.core.errors import VesaliusError
from vesalius.models.plan import eager
from vesalius.parallel.memory import DEFAULT_BYTES

Weights = Mapping[str, Tensor]
Inputs = Mapping[str, Tensor]
Measure = Callable[[nn.Module, Inputs], Mapping[str, Tensor]]

# More points at once gained nothing more: 64 and 128 were alike, 16 fell behind (one CPU thread).
_POINTS_AT_ONCE: Final = 64
_FEWEST_POINTS: Final = 32
# Numbers that a kernel reads as weights or writes, on average, up to which stacking gained in every
# case measured: 1.9 to 6.6 times. From 2,500 to 15,000 small BERTs still gained (1.2 to 3.5 times),
# plain MLPs hardly; above, nothing did. One thread of a CPU; other devices were not measured.
_NUMBERS_PER_KERNEL: Final = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """What one pass launches: how many kernels, and how many numbers they write."""

    num_kernels: int
    num_written: int


class _Counter(TorchDispatchMode):
    """Counts kernels and the numbers they write; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.num_kernels = self.num_written = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            several: Sequence[Any] = result if isinstance(result, tuple | list) else (result,)
            self.num_kernels += 1
            self.num_written += sum(made.numel() for made in several if isinstance(made, Tensor))
        return result


def count_launches(model: nn.Module, batch: Inputs, measure: Measure) -> Launches:
    """Count what measuring a batch launches, attention taken eagerly as in a stacked pass.

    Args:
        model: in evaluation mode.
        batch: tensors [example, ...] by name.
        measure: ``measure(model, batch)`` gives ``{"loss": [example], ...}``.

    Source: this project.
    """
    with torch.no_grad(), _plain_attention(model), _Counter() as counter:
        measure(model, batch)
    return Launches(num_kernels=counter.num_kernels, num_written=counter.num_written)


def worth_stacking(launches: Launches, *, num_moved: int, num_points: int) -> bool:
    """Tell whether stacked passes are faster: many points, and little work for each kernel.

    ``num_moved`` counts the moved weights. The answer depends on counts alone, not on a clock, so
    that every worker of a run comes to the same. No shapes.

    Source: measured by this project on CPU, benchmarks/landscape.py.

    >>> tiny = Launches(num_kernels=51, num_written=12_000)
    >>> worth_stacking(tiny, num_moved=20_000, num_points=625)
    True
    >>> worth_stacking(tiny, num_moved=20_000, num_points=9)
    False
    """
    per_kernel = (launches.num_written + num_moved) / max(1, launches.num_kernels)
    return num_points >= _FEWEST_POINTS and per_kernel <= _NUMBERS_PER_KERNEL


class _Measured(nn.Module):
    """A model and its measure as one module, so that the whole is one functional call."""

    def __init__(self, model: nn.Module, measure: Measure) -> None:
        super().__init__()
        self.model = model
        self.measure = measure

    def forward(self, batch: Inputs) -> dict[str, Tensor]:
        return dict(self.measure(self.model, batch))


def stacked_measure(
    model: nn.Module,
    batch: Inputs,
    measure: Measure,
    *,
    origin: Weights,
    axes: Sequence[Weights],
    coordinates: Float[Tensor, "point axis"],
    memory_bytes: int = DEFAULT_BYTES,
) -> dict[str, Float[Tensor, "point example"]]:
    """Measure a batch at many points, origin + sum of coordinate times axis, without gradients.

    The numbers are those of one point after the other up to rounding (1e-5). The model is not
    touched.

    Args:
        model: in evaluation mode.
        batch: tensors [example, ...] by name, the same for all points.
        measure: ``measure(model, batch)`` gives ``{"loss": [example], ...}``.
        origin: the moved parameters by name; all others stay as they are.
        axes: the same names and shapes, one mapping each.
        coordinates: of the points, shape [point, axis].
        memory_bytes: what the points of one pass may take together.

    Raises:
        VesaliusError: no point, or a model or measure that cannot run on stacked weights.

    Source: ``torch.func.vmap`` over ``functional_call``.
    """
    if coordinates.shape[0] == 0 or coordinates.shape[1] != len(axes):
        raise VesaliusError(
            given=f"coordinates of shape {list(coordinates.shape)} for {len(axes)} axes",
            expected="at least one point, and a coordinate for each axis",
            fix="give coordinates [point, axis]",
        )
    launches = count_launches(model, batch, measure)
    each = 4 * (launches.num_written + 2 * sum(tensor.numel() for tensor in origin.values()))
    at_once = max(1, min(_POINTS_AT_ONCE, memory_bytes // each))
    whole = _Measured(model, measure)
    parameters = {n: p for n, p in model.named_parameters() if n in origin}

    def run(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return functional_call(whole, weights, (batch,))

    found: dict[str, list[Tensor]] = {}
    with torch.no_grad(), _plain_attention(model):
        for some in coordinates.split(at_once):
            weights = {
                f"model.{name}": _points(origin[name], [a[name] for a in axes], some, parameter)
                for name, parameter in parameters.items()
            }
            for name, values in _checked(run, weights).items():
                found.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in found.items()}


def _points(
    origin: Tensor, axes: Sequence[Tensor], coordinates: Tensor, parameter: Tensor
) -> Float[Tensor, "point ..."]:
    """The weights of one parameter at several points, summed in single precision or better."""
    wide = torch.promote_types(parameter.dtype, torch.float32)
    start = origin.to(parameter.device, wide).reshape(1, -1)
    if axes:
        along = torch.stack([axis.to(start).reshape(-1) for axis in axes])
        start = torch.addmm(start, coordinates.to(start), along)
    return start.expand(len(coordinates), -1).reshape(-1, *origin.shape).to(parameter.dtype)


def _checked(
    run: Callable[[dict[str, Tensor]], dict[str, Tensor]], weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    try:
        return vmap(run)(weights)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()
        raise VesaliusError(
            given=f"a model or measure that does not run on stacked weights: {reason[:1]}",
            expected="a pass in evaluation mode that reads no number off a tensor",
            fix="measure one point after the other: models.displaced",
        ) from error


def _plain_attention(model: nn.Module) -> ExitStack:
    """Attention as plain products: the fused kernels of a CPU cannot be stacked."""
    stack = ExitStack()
    stack.enter_context(eager(model))
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack
