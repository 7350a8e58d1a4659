"""The processes of one training run, as `accelerate` finds them: one, or data parallel ones."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.core.errors import VesaliusError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker


class Processes:
    """This process among those of the run; without an accelerator, the only one.

    Source: this project, over Hugging Face `accelerate`.
    """

    def __init__(self, accelerator: "Accelerator | None" = None) -> None:
        self._accelerator = accelerator
        self.rank = accelerator.process_index if accelerator else 0
        self.count = accelerator.num_processes if accelerator else 1
        self.is_main = self.rank == 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self._accelerator is not None and self.count > 1:
            self._accelerator.wait_for_everyone()

    def total(self, values: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
        """Return the sum of each value over the processes.

        Shapes: values and result [value].
        """
        return self._reduced(values, torch.distributed.ReduceOp.SUM)

    def most(self, values: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
        """Return the largest of each value over the processes.

        Shapes: values and result [value].
        """
        return self._reduced(values, torch.distributed.ReduceOp.MAX)

    def _reduced(self, values: Float[Tensor, " value"], how: Any) -> Float[Tensor, " value"]:
        if self._accelerator is None or self.count == 1:
            return values
        reduced = values.to(self._accelerator.device)
        torch.distributed.all_reduce(reduced, op=how)
        return reduced

    def track(self, values: Mapping[str, float], *, step: int) -> None:
        """Hand numbers to the trackers, if there are any."""
        if self._accelerator is not None and self._accelerator.trackers:
            self._accelerator.log(dict(values), step=step)

    def finish(self) -> None:
        """Close the trackers."""
        if self._accelerator is not None:
            for tracker in self._accelerator.trackers:
                tracker.finish()


def start_processes(
    *,
    device: torch.device,
    trackers: "Sequence[str | GeneralTracker]" = (),
    out: Path | None = None,
    config: Mapping[str, Any] | None = None,
) -> Processes:
    """Return the processes that `accelerate launch` or `torchrun` started, or just this one.

    `trackers` are names that accelerate knows (tensorboard, wandb, trackio, ...) or trackers of
    one's own; the package of a named one must be installed.

    Raises: VesaliusError when accelerate or a tracker is not installed, or when the run is
    spread by accelerate's own FSDP, DeepSpeed or tensor parallelism.

    Source: Hugging Face `accelerate`.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedType
    except ImportError as error:
        raise VesaliusError(
            given="training without the package accelerate",
            expected="the extra 'train'",
            fix="pip install 'vesalius[train]'",
        ) from error
    accelerator = Accelerator(
        device_placement=False,
        # gloo instead of nccl; one process needs no word, and a former one may have said otherwise
        cpu=device.type == "cpu" and int(os.environ.get("WORLD_SIZE", "1")) > 1,
        log_with=_known(trackers) or None,
        project_dir=str(out) if out is not None else None,
    )
    simple = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in simple:
        raise VesaliusError(
            given=f"processes of type {accelerator.distributed_type.value}",
            expected="one process, or several that are data parallel",
            fix="launch without accelerate's FSDP, DeepSpeed or tensor parallelism; for FSDP set "
            "parallel='fsdp' in the TrainingOptions",
        )
    if trackers:
        accelerator.init_trackers("vesalius", config={k: str(v) for k, v in (config or {}).items()})
    return Processes(accelerator)


def _known(trackers: "Sequence[str | GeneralTracker]") -> "list[Any]":
    from accelerate.tracking import GeneralTracker, get_available_trackers
    from accelerate.utils import LoggerType

    installed = [kind.value for kind in get_available_trackers()]
    for tracker in trackers:
        if isinstance(tracker, GeneralTracker) or tracker in installed:
            continue
        names = [kind.value for kind in LoggerType if kind.value != "all"]
        known = tracker in names
        raise VesaliusError(
            given=f"tracker {tracker!r}" + (", whose package is not installed" if known else ""),
            expected=f"one of {', '.join(installed) or 'none (no tracker is installed)'}",
            fix=f"pip install {tracker}" if known else f"choose from {', '.join(names)}",
        )
    return list(trackers)
