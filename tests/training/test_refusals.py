"""What a training run refuses: options that cannot be, folders and data of something else."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from training.test_loop import OPTIONS, _Batches, _log, _model
from vesalius.core.errors import VesaliusError
from vesalius.training.answers import answer_logits
from vesalius.training.checkpoint import load_checkpoint, read_state
from vesalius.training.loop import train
from vesalius.training.run_log import append_log, cut_log


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "cosine"},
        {"optimizer": "sgd"},
        {"parallel": "tensor"},
        {"num_steps": 0},
        {"num_steps": 2.5},
        {"micro_batches": 0},
        {"warmup_steps": -1},
        {"log_every": 0},
        {"evaluate_every": 0},
        {"checkpoint_every": True},
        {"lr": -1.0},
        {"lr": math.nan},
        {"muon_lr": math.inf},
        {"max_grad_norm": 0.0},
        {"weight_decay": -0.1},
        {"decay_share": 1.5},
    ],
)
def test_options_that_cannot_be(tmp_path, change):
    (name, value) = next(iter(change.items()))
    with pytest.raises(VesaliusError, match=f"given: {name}={value!r}"):
        train(_model(), batches=_Batches(), options=replace(OPTIONS, **change), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_betas_that_cannot_be(tmp_path):
    options = replace(OPTIONS, betas=(0.9, 1.0))
    with pytest.raises(VesaliusError, match=r"betas\[1\]=1\.0"):
        train(_model(), batches=_Batches(), options=options, out=tmp_path)


def test_stopping_after_no_step_takes_none(tmp_path):
    batches = _Batches()
    done = train(_model(), batches=batches, options=OPTIONS, out=tmp_path, stop_after_step=0)
    assert (done.num_steps, batches.asked) == (0, [])


def test_a_model_without_anything_to_train_is_refused(tmp_path):
    for model in (_model().requires_grad_(False), nn.Identity()):
        with pytest.raises(VesaliusError, match="none of whose parameters"):
            train(model, batches=_Batches(), options=OPTIONS, out=tmp_path)


def test_the_identity_of_the_batches_counts_when_no_other_is_given(tmp_path):
    batches = _Batches()
    batches.identity = {"tokenizer": "abc"}
    train(_model(), batches=batches, options=OPTIONS, out=tmp_path, stop_after_step=4)
    batches.identity = {"tokenizer": "xyz"}
    with pytest.raises(VesaliusError, match="tokenizer: 'abc' then, 'xyz' now"):
        train(_model(), batches=batches, options=OPTIONS, out=tmp_path)


def test_an_option_that_is_younger_than_the_run_had_its_default(tmp_path):
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    path = tmp_path / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    del state["run"]["parallel"], state["window"], state["measures"]  # as older ones have none
    path.write_text(json.dumps(state))
    other = replace(OPTIONS, parallel="fsdp")
    with pytest.raises(VesaliusError, match="parallel: 'ddp' then, 'fsdp' now"):
        train(_model(), batches=_Batches(), options=other, out=tmp_path)
    assert train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path).num_steps == 12


def test_optimiser_state_is_not_put_back_for_other_parameters(tmp_path):
    """It is saved by place: with other groups it would be that of another parameter."""
    scales = {"hidden.weight": 0.5}
    same = {"batches": _Batches(), "options": OPTIONS}
    train(_model(), **same, out=tmp_path / "a", lr_scales=scales, stop_after_step=4)
    train(_model(), **same, out=tmp_path / "b", stop_after_step=4)
    frozen = _model()
    frozen.hidden.weight.requires_grad_(False)
    for model, name, changed in ((_model(), "a", {"out.weight": 0.5}), (frozen, "b", {})):
        with pytest.raises(VesaliusError, match="other parameters were trained"):
            train(model, **same, out=tmp_path / name, lr_scales=changed)
    assert train(_model(), **same, out=tmp_path / "a", lr_scales=scales).num_steps == 12


@pytest.mark.usefixtures("as_users_call_it")
def test_scores_may_be_numbers_of_numpy_and_torch(tmp_path):
    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"a": np.float32(0.5), "b": torch.tensor(1.5)}

    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path, evaluate=evaluate)
    assert _log(tmp_path)[-1]["evaluation"] == {"a": 0.5, "b": 1.5}


def test_an_output_folder_that_cannot_be_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        batches = _Batches()
        with pytest.raises(VesaliusError, match="output folder"):
            train(_model(), batches=batches, options=OPTIONS, out=out)
        assert batches.asked == []
        with pytest.raises(VesaliusError, match="output folder"):
            append_log(out, {"step": 1})


@pytest.mark.parametrize("text", ['{"a": 1}\n', '{"a": 1}\n{"step": 3}\n', '{"step": "x"}\n[]\n'])
def test_a_log_of_something_else_is_left_alone(tmp_path, text):
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(VesaliusError, match=r"log\.jsonl, line 1"):
        cut_log(tmp_path, step=0)
    assert (tmp_path / "log.jsonl").read_text() == text


def test_what_is_no_whole_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(VesaliusError, match="cannot be read"):
        read_state(tmp_path)
    (tmp_path / "checkpoint" / "state.json").write_text("{}")
    with pytest.raises(VesaliusError, match="no training of ours"):
        train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    train(_model(), batches=_Batches(), options=OPTIONS, out=tmp_path / "a", stop_after_step=4)
    (tmp_path / "a" / "checkpoint" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(VesaliusError, match="cannot be read"):
        load_checkpoint(tmp_path / "a", model=_model())


@pytest.mark.parametrize("prompts", [[], [[1, 9, 2], [1, 2]]])
def test_prompts_without_a_mask_are_refused(prompts):
    with pytest.raises(VesaliusError, match="the mask"):
        answer_logits(_model(), prompts=prompts, mask_id=9, pad_id=0)
