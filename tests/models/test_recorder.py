"""A recorded training comes back step by step, written once, whole, and by any loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from vesalius.core.errors import VesaliusError
from vesalius.models.opening import open as open_model
from vesalius.models.recorder import Recorder, checkpoints_in
from vesalius.models.weights import read_weights
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train

IDS = torch.arange(4, 20).view(2, 8)


def tiny_model(seed: int = 0) -> Any:
    return tiny.tiny_masked_lm(seed=seed).model


def trainer(model: Any, out: Path, recorder: Recorder, **options: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    rows = [{"input_ids": row, "labels": row} for row in IDS.repeat(4, 1)]
    defaults: dict[str, Any] = {
        "max_steps": 5,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
    }
    arguments = TrainingArguments(output_dir=str(out), **(defaults | options))
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,  # pyright: ignore[reportArgumentType]
        eval_dataset=rows,  # pyright: ignore[reportArgumentType]
        callbacks=[recorder.callback()],
    )


def same(folder: Path, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(t, weights[name]) for name, t in read_weights(folder).items())


def steps_in(folder: Path) -> list[int]:
    return [step for step, _ in checkpoints_in(folder)]


def test_the_chosen_steps_are_recorded_as_ordinary_checkpoints(tmp_path: Path):
    specimen = tiny.tiny_masked_lm()
    recorder = Recorder(tmp_path / "path", every=2, steps=(3,), tokenizer=specimen.tokenizer)
    kept: dict[int, dict[str, torch.Tensor]] = {}
    for step in range(6):
        recorder.on_step(specimen.model, step)
        kept[step] = read_weights(specimen.model)
        with torch.no_grad():
            for parameter in specimen.model.parameters():
                parameter.add_(0.1)
    found = checkpoints_in(tmp_path / "path")
    assert [step for step, _ in found] == [0, 2, 3, 4]
    assert [folder.name for _, folder in found] == [f"step-{s:06d}" for s in (0, 2, 3, 4)]
    for step, folder in found:
        assert same(folder, kept[step])
        opened = open_model(folder)
        assert same(folder, read_weights(opened.model))
    assert not list((tmp_path / "path").glob(".*"))  # nothing half done is left


class Plain(nn.Module):
    """Any module that returns a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.tied = self.weight

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(loss=((self.weight + self.tied - 1) ** 2).mean())


class Batches:
    """The same rows over and over, by number."""

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": IDS, "labels": IDS}


def test_the_loop_of_this_project_records_any_module(tmp_path: Path):
    recorder = Recorder(tmp_path / "path", every=2)
    options = TrainingOptions(
        num_steps=4, lr=0.1, log_every=4, evaluate_every=4, checkpoint_every=2
    )
    model = Plain()
    recorder.on_step(model, 0)
    arguments: dict[str, Any] = {"batches": Batches(), "options": options, "out": tmp_path / "run"}
    train(model, **arguments, on_step=recorder.on_step, stop_after_step=2)
    before = (tmp_path / "path" / "step-000002" / "model.safetensors").stat()
    again = Plain()
    recorder.on_step(again, 0)
    train(again, **arguments, on_step=recorder.on_step)
    assert steps_in(tmp_path / "path") == [0, 2, 4]
    after = (tmp_path / "path" / "step-000002" / "model.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert torch.equal(read_weights(tmp_path / "path" / "step-000000")["weight"], torch.zeros(3))
    assert same(tmp_path / "path" / "step-000004", read_weights(again))


def test_the_trainer_records_the_start_every_nth_and_the_last_step(tmp_path: Path):
    model = tiny_model()
    start = read_weights(model)
    recorder = Recorder(tmp_path / "path", every=2)
    trainer(model, tmp_path / "run", recorder).train()
    assert steps_in(tmp_path / "path") == [0, 2, 4, 5]
    assert same(tmp_path / "path" / "step-000000", start)
    assert same(tmp_path / "path" / "step-000005", read_weights(model))
    assert not same(tmp_path / "path" / "step-000004", read_weights(model))


def test_a_resumed_trainer_keeps_what_is_there(tmp_path: Path):
    recorder = Recorder(tmp_path / "path", every=2)
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer(tiny_model(), tmp_path / "run", recorder, **saving, max_steps=4).train()
    old = {p: (p / "model.safetensors").stat().st_ino for _, p in checkpoints_in(tmp_path / "path")}
    model = tiny_model()
    resumed = trainer(model, tmp_path / "run", recorder, **saving, max_steps=7)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert steps_in(tmp_path / "path") == [0, 2, 4, 6, 7]
    assert all((p / "model.safetensors").stat().st_ino == inode for p, inode in old.items())
    assert same(tmp_path / "path" / "step-000007", read_weights(model))
    # the trainer's own checkpoints are found as well, with the same weights
    own = dict(checkpoints_in(tmp_path / "run"))
    assert list(own) == [2, 4, 6, 7]
    assert same(own[6], read_weights(tmp_path / "path" / "step-000006"))


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_the_last_step_is_recorded_although_the_best_is_loaded(tmp_path: Path, strategy: Any):
    from transformers import EarlyStoppingCallback

    recorder = Recorder(tmp_path / "path")
    made = trainer(
        tiny_model(), tmp_path / "run", recorder, max_steps=40, learning_rate=0.0,
        eval_strategy=strategy, save_strategy=strategy, eval_steps=4, save_steps=4,
        load_best_model_at_end=True, metric_for_best_model="eval_loss",
    )  # fmt: skip
    made.add_callback(EarlyStoppingCallback(early_stopping_patience=1))
    result = made.train()
    assert result.global_step < 40
    last = {"steps": result.global_step, "epoch": result.global_step}[strategy]
    assert steps_in(tmp_path / "path") == [0, last]


def test_a_last_step_that_is_gone_is_told(tmp_path: Path):
    from transformers import TrainerControl, TrainerState

    callback: Any = Recorder(tmp_path / "path").callback()
    made = trainer(tiny_model(), tmp_path / "run", Recorder(tmp_path / "other"))
    made.args.load_best_model_at_end = True
    state = TrainerState(global_step=3, max_steps=5)
    with pytest.warns(UserWarning, match="step 3, the last one, is not recorded"):
        callback.on_train_end(made.args, state, TrainerControl(), model=made.model)


def test_a_training_does_not_go_over_the_record_of_another(tmp_path: Path):
    recorder = Recorder(tmp_path / "path", every=2)
    recorder.save(tiny_model(seed=1), 0)
    with pytest.raises(VesaliusError, match="the steps of another training"):
        trainer(tiny_model(seed=0), tmp_path / "run", recorder).train()
    recorder.save(tiny_model(seed=1), 2)
    with pytest.raises(VesaliusError, match="the steps of another training"):
        trainer(tiny_model(seed=1), tmp_path / "run", recorder).train()
    assert steps_in(tmp_path / "path") == [0, 2]


def test_other_processes_than_the_main_one_write_nothing(tmp_path: Path):
    from transformers import TrainerControl, TrainerState

    callback: Any = Recorder(tmp_path / "path", every=1).callback()
    state = TrainerState(global_step=5, max_steps=5, is_world_process_zero=False)
    for event in ("on_train_begin", "on_step_end", "on_epoch_end", "on_save", "on_train_end"):
        getattr(callback, event)(None, state, TrainerControl(), model=tiny_model())
    assert not (tmp_path / "path").exists()


@pytest.mark.parametrize(
    "wrap", [lambda m: m, lambda m: torch.compile(m, backend="eager")], ids=["plain", "compiled"]
)
def test_wrappers_leave_no_trace_in_the_names(tmp_path: Path, wrap: Callable[[Any], Any]):
    model = tiny_model()
    folder = Recorder(tmp_path).save(wrap(model), 7)
    assert read_weights(folder).keys() <= read_weights(model).keys()
    assert same(folder, read_weights(model))


def test_nothing_is_left_of_a_checkpoint_that_fails(tmp_path: Path):
    model = tiny_model()

    def fails(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    model.save_pretrained = fails
    with pytest.raises(VesaliusError, match="free some space"):
        Recorder(tmp_path / "path").save(model, 3)
    assert list((tmp_path / "path").iterdir()) == []
    with pytest.raises(VesaliusError, match="no checkpoint in it"):
        checkpoints_in(tmp_path / "path")


def test_a_model_that_is_spread_over_processes_is_refused(tmp_path: Path):
    model = tiny_model()
    parameter = next(model.parameters())
    parameter.ds_id = 3  # what DeepSpeed marks its parameters with
    with pytest.raises(VesaliusError, match="spread over processes"):
        Recorder(tmp_path / "path").save(model, 0)


def test_checkpoints_are_found_in_order_of_steps(tmp_path: Path):
    for name in ("checkpoint-900", "checkpoint-1000", "checkpoint-best", "checkpoint", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-7").write_text("a file, no folder")
    assert steps_in(tmp_path) == [900, 1000]
    seed = tmp_path / "seed-0"
    for step in (20, 0, 100):
        (seed / "snapshots" / f"step-{step:06d}").mkdir(parents=True)
    (seed / "snapshots" / ".step-000120.ab.partial").mkdir()
    (seed / "model").mkdir()
    assert steps_in(seed) == [0, 20, 100]
    assert steps_in(seed / "snapshots") == [0, 20, 100]
    (seed / "snapshots" / "step-20").mkdir()
    with pytest.raises(VesaliusError, match="two checkpoints of one step"):
        checkpoints_in(seed)
    with pytest.raises(VesaliusError, match="no checkpoint in it"):
        checkpoints_in(tmp_path / "nowhere")


def test_negative_steps_are_refused():
    for options in ({"every": -1}, {"steps": (3, -2)}):
        with pytest.raises(VesaliusError, match="no negative number"):
            Recorder("path", **options)
