import errno
import importlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vesalius.core.errors import VesaliusError
from vesalius.training import checkpoint
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train
from vesalius.training.random_state import seeded
from vesalius.training.schedule import lr_factor

OPTIONS = TrainingOptions(
    num_steps=12,
    micro_batches=2,
    warmup_steps=3,
    log_every=2,
    evaluate_every=5,
    checkpoint_every=4,
)


@dataclass
class _Output:
    loss: Tensor


class _Tiny(nn.Module):
    """Predicts a token from the mean of all; with dropout, so that random state matters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 16)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(16, 11)

    def forward(self, input_ids: Tensor, labels: Tensor) -> _Output:
        mean = self.embedding(input_ids).mean(dim=1, keepdim=True)
        logits = self.out(self.dropout(torch.relu(self.hidden(mean))))
        logits = logits.expand(-1, labels.shape[1], -1)
        return _Output(loss=functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))


class _Batches:
    def __init__(self, *, fail_at: int | None = None) -> None:
        self.fail_at = fail_at
        self.asked: list[int] = []

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        if number == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(number)
        generator = torch.Generator().manual_seed(number)
        tokens = torch.randint(0, 11, (3, 4), generator=generator)
        labels = torch.where(torch.rand(3, 4, generator=generator) < 0.5, tokens, -100)
        labels[0, 0] = tokens[0, 0]
        return {"input_ids": tokens, "labels": labels}


def _model() -> _Tiny:
    with seeded(1):
        return _Tiny()


def assert_equal_weights(one: nn.Module, two: nn.Module) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def _log(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = ("seconds", "tokens_per_second", "waited", "mfu")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_broken_run_resumes_bit_for_bit(tmp_path, optimizer, autocast):
    options = replace(OPTIONS, optimizer=optimizer, autocast_bf16=autocast)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"norm": float(sum(p.detach().norm() for p in model.parameters()))}

    whole, broken = _model(), _model()
    summary = train(
        whole, batches=_Batches(), options=options, out=tmp_path / "a", evaluate=evaluate
    )
    with pytest.raises(KeyboardInterrupt):  # in step 6, after the checkpoint of step 4
        train(
            broken,
            batches=_Batches(fail_at=13),
            options=options,
            out=tmp_path / "b",
            evaluate=evaluate,
        )
    torch.rand(7)  # whatever happens to the global state between the two runs
    again, batches = _Tiny(), _Batches()
    resumed = train(again, batches=batches, options=options, out=tmp_path / "b", evaluate=evaluate)
    assert batches.asked == list(range(8, 24))
    assert_equal_weights(whole, again)
    assert _log(tmp_path / "a") == _log(tmp_path / "b")
    assert (resumed.num_steps, resumed.num_tokens) == (summary.num_steps, summary.num_tokens)
    assert resumed.loss_nats == summary.loss_nats


def test_stopping_and_going_on_is_the_same_as_one_run(tmp_path):
    whole, parts = _model(), _model()
    train(whole, batches=_Batches(), options=OPTIONS, out=tmp_path / "a")
    for stop in (3, 7, 12):
        train(parts, batches=_Batches(), options=OPTIONS, out=tmp_path / "b", stop_after_step=stop)
    assert_equal_weights(whole, parts)


def test_a_kill_while_a_checkpoint_is_renamed_leaves_one_that_loads(tmp_path):
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")  # killed between the renames
    (tmp_path / "checkpoint.new").mkdir()
    batches = _Batches()
    train(_model(), batches=batches, options=OPTIONS, out=tmp_path)
    assert batches.asked[0] == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "log.jsonl",
        "training.html",
    ]


def test_micro_batches_weigh_by_their_labels(tmp_path):
    """Two micro-batches give the gradient of the one batch that holds both."""

    class _Joined(_Batches):
        def __getitem__(self, number: int) -> dict[str, Tensor]:
            pair = [super(_Joined, self).__getitem__(2 * number + i) for i in range(2)]
            return {name: torch.cat([part[name] for part in pair]) for name in pair[0]}

    options = replace(OPTIONS, num_steps=3, autocast_bf16=False)
    one, two = _model(), _model()
    one.dropout.p = two.dropout.p = 0.0
    train(one, batches=_Batches(), options=options, out=tmp_path / "a")
    train(two, batches=_Joined(), options=replace(options, micro_batches=1), out=tmp_path / "b")
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_training_leaves_the_global_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    saved = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()

    class _Broken(_Tiny):
        def forward(self, input_ids: Tensor, labels: Tensor) -> _Output:
            return _Output(loss=super().forward(input_ids, labels).loss * math.nan)

    with pytest.raises(VesaliusError, match="step 4: loss nan"):
        train(_Broken(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == saved


def test_a_folder_of_another_run_is_refused(tmp_path):
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    with pytest.raises(VesaliusError, match=r"lr: 0\.002 then, 0\.0001 now"):
        train(_model(), batches=_Batches(), options=replace(OPTIONS, lr=1e-4), out=tmp_path)
    other = _model()
    other.out = nn.Linear(16, 12)
    with pytest.raises(VesaliusError, match="another model"):
        train(other, batches=_Batches(), options=OPTIONS, out=tmp_path)


def test_other_data_or_another_tokenizer_is_refused_on_resume(tmp_path):
    before = {"data": "abc", "tokenizer": "def"}
    train(
        _model(),
        batches=_Batches(),
        options=OPTIONS,
        out=tmp_path,
        identity=before,
        stop_after_step=4,
    )
    with pytest.raises(VesaliusError, match="tokenizer: 'def' then, 'xyz' now") as refused:
        train(
            _model(),
            batches=_Batches(),
            options=OPTIONS,
            out=tmp_path,
            identity=before | {"tokenizer": "xyz"},
        )
    assert "data:" not in str(refused.value)


def test_what_does_not_touch_the_weights_may_change_on_resume(tmp_path):
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    often = replace(OPTIONS, log_every=1, checkpoint_every=2, evaluate_every=1)
    summary = train(_model(), batches=_Batches(), options=often, out=tmp_path)
    assert summary.num_steps == 12


def test_a_full_disk_leaves_the_former_checkpoint(tmp_path, monkeypatch):
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    saved = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()

    def full(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(VesaliusError, match="No space left") as refused:
            train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    assert "former checkpoint" in str(refused.value)
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == saved
    assert not (tmp_path / "checkpoint.new").exists()
    whole, resumed = _model(), _model()
    train(whole, batches=_Batches(), options=OPTIONS, out=tmp_path / "whole")
    train(resumed, batches=_Batches(), options=OPTIONS, out=tmp_path)
    assert_equal_weights(whole, resumed)


def test_on_step_sees_every_step_and_again_after_a_kill(tmp_path):
    seen: list[int] = []

    def note(model: nn.Module, step: int) -> None:
        assert model.training
        seen.append(step)

    with pytest.raises(KeyboardInterrupt):
        train(
            _model(),
            batches=_Batches(fail_at=13),
            options=OPTIONS,
            out=tmp_path,
            on_step=note,
        )
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, on_step=note)
    assert seen == [1, 2, 3, 4, 5, 6, *range(5, 13)]


def test_learning_rate_factors_reach_their_parameters(tmp_path):
    still = {name: 0.0 for name, _ in _model().named_parameters() if name != "out.bias"}
    model, before = _model(), _model()
    train(model, batches=_Batches(), options=OPTIONS, out=tmp_path, lr_scales=still)
    for (name, now), then in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(now, then) == (name != "out.bias")
    with pytest.raises(VesaliusError, match="learning-rate factor for 'nowhere'"):
        train(
            _model(),
            batches=_Batches(),
            options=OPTIONS,
            out=tmp_path / "b",
            lr_scales={"nowhere": 2.0},
        )


def test_a_batch_without_labels_is_refused(tmp_path):
    class _Unlabelled(_Batches):
        def __getitem__(self, number: int) -> dict[str, Tensor]:
            batch = super().__getitem__(number)
            return batch | {"labels": torch.full_like(batch["labels"], -100)}

    with pytest.raises(VesaliusError, match="without a label"):
        train(_model(), batches=_Unlabelled(), options=OPTIONS, out=tmp_path)


def test_an_evaluation_that_draws_numbers_changes_nothing(tmp_path):
    def noisy(model: nn.Module) -> dict[str, float]:
        return {"noise": float(torch.rand(1))}

    quiet, loud = _model(), _model()
    train(quiet, batches=_Batches(), options=OPTIONS, out=tmp_path / "a")
    train(loud, batches=_Batches(), options=OPTIONS, out=tmp_path / "b", evaluate=noisy)
    assert_equal_weights(quiet, loud)


def test_trackers_get_every_logged_step(tmp_path):
    accelerate = pytest.importorskip("accelerate.tracking")

    class _Recorder(accelerate.GeneralTracker):
        name = "recorder"
        requires_logging_directory = False

        def __init__(self) -> None:
            super().__init__()
            self.steps: list[int] = []
            self.finished = False

        @property
        def tracker(self) -> None:
            return None

        def store_init_configuration(self, values: dict[str, object]) -> None:
            self.config = values

        def log(self, values: dict[str, float], step: int, **_: object) -> None:
            self.steps.append(step)

        def finish(self) -> None:
            self.finished = True

    recorder = _Recorder()
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, trackers=[recorder])
    assert recorder.steps == [2, 4, 6, 8, 10, 12]
    assert recorder.finished
    assert recorder.config["num_steps"] == "12"
    with pytest.raises(VesaliusError, match="tracker 'nothing'"):
        train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, trackers=["nothing"])


def test_an_accelerator_that_was_there_before_does_not_matter(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    state = importlib.import_module("accelerate.state")
    state.AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerate.Accelerator(mixed_precision="bf16")
        train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    finally:
        state.AcceleratorState._reset_state(reset_partial_state=True)


def test_training_learns(tmp_path):
    class _Same(_Batches):
        def __getitem__(self, number: int) -> dict[str, Tensor]:
            return super().__getitem__(0)

    options = replace(OPTIONS, num_steps=150, lr=1e-2, log_every=1, autocast_bf16=False)
    train(_model(), batches=_Same(), options=options, out=tmp_path)
    losses = [line["loss_nats"] for line in _log(tmp_path)]
    assert losses[-1] < 0.6 * losses[0]


def test_the_linear_schedule_reaches_every_share_once():
    options = TrainingOptions(num_steps=100, warmup_steps=10, schedule="linear")
    factors = [lr_factor(step, options=options) for step in range(100)]
    assert factors[:10] == [(step + 1) / 10 for step in range(10)]
    assert factors[10:] == [(100 - step) / 90 for step in range(10, 100)]


def test_the_schedule_warms_up_stays_and_decays_late():
    options = TrainingOptions(num_steps=1000, warmup_steps=100, decay_share=0.25)
    factors = [lr_factor(step, options=options) for step in range(1000)]
    assert factors[:100] == sorted(factors[:100])
    assert set(factors[99:751]) == {1.0}
    assert factors[750:] == sorted(factors[750:], reverse=True)
    assert 0 < factors[-1] <= 0.004
    shorter = replace(options, num_steps=900)  # a shorter run starts with the very same steps
    assert [lr_factor(step, options=shorter) for step in range(670)] == factors[:670]
