"""The model over the processes: a whole one in each (DDP), or a part of one in each (FSDP)."""

import copy
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from vesalius.core.errors import VesaliusError
from vesalius.training.config import TrainingOptions
from vesalius.training.prefetch import Batch
from vesalius.training.processes import Processes


@final
class Spread:
    """The model that is trained, and the whole one, which is evaluated and saved.

    The two are one but for FSDP: there `trained` is a copy whose parameters, gradients and
    optimiser state are shared out among the processes, and the given model rests on the CPU.
    What two modules share, such as tied embeddings, stays one parameter.

    Raises: VesaliusError for FSDP and a parameter without a dimension.

    Source: DDP, Li et al. 2020 (arXiv 2006.15704); FSDP, Zhao et al. 2023 (arXiv 2304.11277), as
    torch's `fully_shard`.
    """

    def __init__(self, model: nn.Module, *, options: TrainingOptions, processes: Processes) -> None:
        self._given = model
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._fsdp = options.parallel == "fsdp" and processes.count > 1
        self._ddp = options.parallel == "ddp" and processes.count > 1
        self.trained = copy.deepcopy(model) if self._fsdp else model
        self._called: Any = self.trained
        if self._fsdp:
            for parameter in self.trained.parameters():  # all start from the same, as under DDP
                torch.distributed.broadcast(parameter.detach(), src=0)
            self._called = _shard(self.trained, device=self._device, count=processes.count)
            self._given.to("cpu")
        if options.compile:
            self._called = torch.compile(self._called, dynamic=False)
        if self._ddp:  # not through accelerate, which would set its own autocast around ours
            self._called = nn.parallel.DistributedDataParallel(self._called)

    def call(self, inputs: Batch) -> Any:
        """Return the output of the model that is trained.

        Shapes: the inputs are [batch, ...].
        """
        output = self._called(**inputs)
        return SimpleNamespace(**output) if self._fsdp else output

    @contextmanager
    def unsynchronised(self, *, when: bool) -> Generator[None, None, None]:
        """Hold the averaging back in the body: for all micro-batches of a step but the last."""
        if self._fsdp:
            self._called.set_requires_gradient_sync(not when)
        with self._called.no_sync() if self._ddp and when else nullcontext():
            yield

    @contextmanager
    def whole(self) -> Generator[nn.Module, None, None]:
        """Give the whole model as trained so far; under FSDP all processes must come here."""
        self.gather()
        yield self._given
        if self._fsdp:
            self._given.to("cpu")

    def gather(self) -> None:
        """Bring the given model to what has been trained; under FSDP all must come here."""
        if self._fsdp:
            self._given.to(self._device)
            for given, trained in self._pairs():
                given.copy_(whole_tensor(trained))

    def scatter(self) -> None:
        """Bring the model that is trained to what the given one holds."""
        if self._fsdp:
            for given, trained in self._pairs():
                trained.copy_(shared_as(given.to(self._device), trained))

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        with torch.no_grad():
            for kind in ("named_parameters", "named_buffers"):
                trained = dict(getattr(self.trained, kind)())
                for name, tensor in getattr(self._given, kind)():
                    yield tensor, trained[name]


def whole_tensor(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return all of a tensor that is shared out among the processes; all must come here.

    Shapes: any, kept.

    Source: torch's `DTensor`.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_as(tensor: Shaped[Tensor, "..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return this process's part of a whole tensor, shared out as `like` is.

    Shapes: any, both the same.

    Source: torch's `DTensor`; no process asks another, for each has the whole.
    """
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


@final
class _Outputs(nn.Module):
    """Hands on, as a dict, what training reads of a model's output.

    Source: this project; torch 2.11 looks for the tensors to wait for in dicts, not in objects.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        output = self.model(**inputs)
        read = ("loss", "terms", "sums", "maxima")
        return {name: getattr(output, name) for name in read if hasattr(output, name)}


def _shard(model: nn.Module, *, device: torch.device, count: int) -> nn.Module:
    """Share out the parameters of a model in place; return what is to be called."""
    single = [name for name, p in model.named_parameters() if p.ndim == 0]
    if single:
        raise VesaliusError(
            given=f"parallel='fsdp' and the parameter {single[0]!r} without a dimension",
            expected="parameters that can be cut along their first dimension",
            fix="give it the shape [1], or train with parallel='ddp'",
        )
    mesh = init_device_mesh(device.type, (count,))
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    called = _Outputs(model)
    fully_shard(called, mesh=mesh)
    return called


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the outermost members of module lists that share no parameter with others."""
    uses = _uses(model)
    found: list[nn.Module] = []
    within: set[nn.Module] = set()
    for members in model.modules():
        if isinstance(members, nn.ModuleList) and members not in within:
            for block in members:
                own = _uses(block)
                alone = all(uses[key] == number for key, number in own.items())
                if own and alone and not isinstance(block, nn.ModuleList | nn.ModuleDict):
                    found.append(block)
                    within.update(block.modules())
    return list(dict.fromkeys(found))


def _uses(model: nn.Module) -> Counter[int]:
    """Count in how many modules each parameter stands."""
    return Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
