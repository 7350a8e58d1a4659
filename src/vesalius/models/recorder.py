"""The path of a training, kept as ordinary checkpoints: recorded in any loop, and found again.

Source: arXiv 1908.05620, section 3 (optimization trajectories); this project.
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import torch
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.core.paths import new_folder
from vesalius.models.weights import read_weights

if TYPE_CHECKING:
    from transformers import TrainerCallback

_OURS: Final = re.compile(r"step-(\d+)")
_TRAINERS: Final = re.compile(r"checkpoint-(\d+)")


@final
class Recorder:
    """Writes a model to ``folder/step-000123`` at chosen steps of its training.

    ``recorder.on_step`` is made for ``train(on_step=...)``, ``recorder.callback()`` for the
    Trainer of transformers; any other loop calls ``recorder.on_step(model, step)`` itself, with
    step 0 before its first step. A step that is there already is not written again, so that a
    training can be resumed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every: int = 0,
        steps: Sequence[int] = (),
        tokenizer: Any = None,
    ) -> None:
        """Choose the steps.

        Args:
            folder: where the checkpoints go; made when the first one is written.
            every: record steps 0, N, 2 N and so on; 0 records only ``steps``.
            steps: more steps to record.
            tokenizer: written beside the weights, so that ``vesalius.open`` reads a checkpoint.

        Raises:
            VesaliusError: a negative number.
        """
        if every < 0 or any(step < 0 for step in steps):
            raise VesaliusError(
                given=f"every={every}, steps={list(steps)}",
                expected="no negative number",
                fix="every=100 records each hundredth step",
            )
        self.folder, self._every, self._steps = Path(folder), every, frozenset(steps)
        self._tokenizer = tokenizer

    def wants(self, step: int) -> bool:
        """Tell whether a step is to be recorded."""
        return step in self._steps or (self._every > 0 and step % self._every == 0)

    def on_step(self, model: nn.Module, step: int) -> None:
        """Record the model if this step is to be recorded.

        Raises:
            VesaliusError: what :meth:`save` refuses.
        """
        if self.wants(step):
            self.save(model, step)

    def save(self, model: nn.Module, step: int) -> Path:
        """Record the model now, whole or not at all, and give the folder; no optimiser state.

        Raises:
            VesaliusError: step 0 is there with other weights, the model is spread over processes,
                or the folder cannot be written.
        """
        inner = _unwrapped(model)
        target = self.folder / f"step-{step:06d}"
        if target.exists():
            if step == 0 and not _is_same(inner, target):
                raise self._another()
            return target
        _refuse_spread(inner)
        with new_folder(target) as partial:
            _write(inner, partial)
            if self._tokenizer is not None:
                self._tokenizer.save_pretrained(partial)
            for path in partial.glob("*.safetensors"):
                path.chmod(0o644)  # they are written for their owner only
        return target

    def callback(self) -> "TrainerCallback":
        """Make a callback for the Trainer: records the start, the chosen steps and the last one.

        Raises:
            VesaliusError: in training, what :meth:`save` refuses, or a training that starts anew
                over the record of another.
        """
        return _callback(self)

    def check_new(self) -> None:
        """Refuse to start a training over the record of another one.

        Raises:
            VesaliusError: later steps than 0 are there.
        """
        if any(step > 0 for step, _ in _found(self.folder, _OURS)):
            raise self._another()

    def _another(self) -> VesaliusError:
        return VesaliusError(
            given=f"the folder {self.folder.name!r}, which holds the steps of another training",
            expected="a new folder, or that of the training that is resumed",
            fix="choose another folder, or resume from the training's own checkpoint",
        )


def checkpoints_in(folder: str | Path) -> list[tuple[int, Path]]:
    """List the checkpoints of a training in order: ``(step, folder)``; no shapes.

    Looks for ``step-*`` as :class:`Recorder` writes them, then for ``checkpoint-*`` of the
    transformers Trainer, then for ``snapshots/step-*`` of ``vesalius finetune --snapshots``.

    Raises:
        VesaliusError: none is there, or two of the same step.
    """
    folder = Path(folder)
    places = ((folder, _OURS), (folder, _TRAINERS), (folder / "snapshots", _OURS))
    found = next((some for place, name in places if (some := _found(place, name))), [])
    steps = [step for step, _ in found]
    if not found or len(set(steps)) < len(steps):
        raise VesaliusError(
            given=f"the folder {folder.name!r} with "
            + (f"two checkpoints of one step among {steps}" if found else "no checkpoint in it"),
            expected="one folder step-<number>, checkpoint-<number> or snapshots/step-<number> "
            "for each step",
            fix="name the folder that holds them: for vesalius finetune the seed's own, seed-0",
        )
    return found


def _found(place: Path, name: re.Pattern[str]) -> list[tuple[int, Path]]:
    if not place.is_dir():
        return []
    matched = ((name.fullmatch(path.name), path) for path in place.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in matched if match)


def _unwrapped(model: nn.Module) -> Any:
    """The model inside DistributedDataParallel and torch.compile."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return _unwrapped(model.module)
    inner = getattr(model, "_orig_mod", None)
    return _unwrapped(inner) if isinstance(inner, nn.Module) else model


def _refuse_spread(model: nn.Module) -> None:
    """Refuse parameters of which this process holds a part only."""
    for name, parameter in model.named_parameters():
        if type(parameter.data).__name__ == "DTensor" or hasattr(parameter, "ds_id"):
            raise VesaliusError(
                given=f"{name}: a parameter that is spread over processes",
                expected="a model that is whole on the main process",
                fix="let the Trainer write whole checkpoints (save_steps); "
                "its checkpoint-* folders are found as well",
            )


def _write(model: Any, folder: Path) -> None:
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        return
    from safetensors.torch import save_file

    first: dict[int, str] = {}  # a tied tensor stands under the first of its names
    state = model.state_dict(keep_vars=True)
    named = {n: t for n, t in state.items() if first.setdefault(id(t), n) == n}
    copies = {name: tensor.detach().cpu().clone() for name, tensor in named.items()}
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})


def _is_same(model: nn.Module, folder: Path) -> bool:
    """Whether a checkpoint holds these weights, bit for bit."""
    kept = read_weights(folder)
    own = read_weights(model)
    return all(name not in own or torch.equal(tensor, own[name]) for name, tensor in kept.items())


def _callback(recorder: Recorder) -> "TrainerCallback":
    from transformers import TrainerCallback

    class Recording(TrainerCallback):
        """Records at the Trainer's events; only the main process writes."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                if state.global_step == 0:
                    recorder.check_new()
                recorder.save(kwargs["model"], state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            step = state.global_step
            is_last = step >= state.max_steps or control.should_training_stop
            if state.is_world_process_zero and (recorder.wants(step) or is_last):
                recorder.save(kwargs["model"], step)

        # where training is stopped early, the last step is known only here
        on_epoch_end = on_save = on_step_end

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not state.is_world_process_zero:
                return
            if not args.load_best_model_at_end:
                recorder.save(kwargs["model"], state.global_step)
            elif not (recorder.folder / f"step-{state.global_step:06d}").exists():
                warnings.warn(
                    f"step {state.global_step}, the last one, is not recorded: the Trainer holds "
                    "other weights by now (load_best_model_at_end)",
                    stacklevel=2,
                )

    return Recording()
