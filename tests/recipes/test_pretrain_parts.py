"""The parts of a pretraining: options, operations, scores, and several processes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

import electra_toys
import pretrain_toys as toys
from cli.tiny import tokenizer
from vesalius.methods.electra.config import ElectraOptions
from vesalius.models.electra import PairShape, SpecialIds
from vesalius.models.kernels import short_attention
from vesalius.recipes.pretrain_config import PRESETS, PretrainOptions, options_from, pretrain_preset
from vesalius.recipes.pretrain_flops import flops_per_token
from vesalius.recipes.pretrain_scores import HeldOut, score_pair
from vesalius.recipes.pretrain_text import special_ids, training_batches
from vesalius.training.config import TrainingOptions


def test_no_two_options_have_one_name():
    kinds = (PairShape, ElectraOptions, TrainingOptions)
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PRESETS)
def test_options_survive_json(name: str):
    options = pretrain_preset(name, recipe="hardness+focal", seed=3)
    assert options_from(json.loads(json.dumps(options.flat()))) == options
    assert options.electra.focal_gamma == 1.0
    assert options.preset == name


def test_the_warm_up_of_fewer_steps_is_shorter():
    assert pretrain_preset("small").training.warmup_steps == 2000
    assert pretrain_preset("small", num_steps=50).training.warmup_steps == 5
    assert pretrain_preset("small", num_steps=50, warmup_steps=20).training.warmup_steps == 20
    assert pretrain_preset("small", num_steps=200_000).training.warmup_steps == 2000


@pytest.mark.parametrize("sampler", ["generator", "hardness-loss"])
@pytest.mark.parametrize("architecture", ["electra", "modern"])
def test_operations_are_those_that_torch_counts(architecture: str, sampler: str):
    """Sizes at which the slots' rounding and the heads' last column do not count."""
    shape = {"width": 64, "ffn_width": 96, "generator_width": 32, "generator_ffn_width": 48,
             "vocab_size": 499, "max_length": 64}  # fmt: skip
    objective = electra_toys.make_objective(architecture, sampler=sampler, shape=shape)
    batches = electra_toys.make_batches([64] * 8, context_length=64, rows_per_batch=8)
    counter = FlopCounterMode(display=False)
    with short_attention("cpu"), counter:  # plain products, which are counted
        objective(**batches[0]).loss.backward()
    expected = flops_per_token(objective.pair.shape, context_length=64, electra=objective.options)
    assert counter.get_total_flops() / (8 * 64) == pytest.approx(expected, rel=0.05)


def _held_out(counts: list[int] | None = None) -> HeldOut:
    batch = electra_toys.make_batches()[0]
    numbers = np.array(counts or [0] * 4 + [2] * (electra_toys.VOCAB - 4))
    return HeldOut(batch=batch, counts=numbers)


def test_what_needs_no_model_is_counted():
    counts = [0] * 4 + [1] * (electra_toys.VOCAB - 4)
    counts[7] = 100
    held_out = _held_out(counts)
    originals = held_out.batch["input_ids"].reshape(-1)[held_out.batch["slots"]]
    found = held_out.baselines({"own_share": 0.5})
    assert found["generator_accuracy"] == (originals == 7).double().mean().item()
    total = sum(counts) + electra_toys.VOCAB
    nats = [-np.log((counts[i] + 1) / total) for i in originals.tolist()]
    assert found["generator_nats"] == pytest.approx(np.mean(nats))
    assert found["own_nats"] == pytest.approx(np.log(2))
    noise = held_out.noise()
    assert (noise != held_out.batch["input_ids"]).sum() <= len(held_out.batch["slots"])
    drawn = noise.reshape(-1)[held_out.batch["slots"]]
    assert (drawn == 7).double().mean() > 0.5
    assert drawn.min() >= 4


def test_a_discriminator_that_knows_scores_one(monkeypatch: pytest.MonkeyPatch):
    held_out, objective = _held_out(), electra_toys.make_objective()

    def knows(_: Any, input_ids: torch.Tensor, **__: Any) -> torch.Tensor:
        return (input_ids != held_out.batch["input_ids"]).float() - 0.5

    def guesses(_: Any, input_ids: torch.Tensor, **__: Any) -> torch.Tensor:
        return torch.zeros(input_ids.shape)

    pair = type(objective.pair)
    monkeypatch.setattr(pair, "discriminator_logits", knows)
    found = score_pair(objective, held_out)
    for name in ("noise", "own"):
        assert (found[f"{name}_auc"], found[f"{name}_recall"]) == (1.0, 1.0)
    monkeypatch.setattr(pair, "discriminator_logits", guesses)
    found = score_pair(objective, held_out)
    assert found["noise_auc"] == 0.5
    assert found["own_nats"] == pytest.approx(np.log(2))


def test_scores_are_the_same_each_time_and_change_nothing():
    held_out = _held_out()
    objective = electra_toys.make_objective(sampler="hardness-loss", head_spread=0.3).eval()
    before = [parameter.clone() for parameter in objective.parameters()]
    first = score_pair(objective, held_out)
    assert first == score_pair(objective, held_out)
    assert "variance_ratio_median" in first
    assert all(map(torch.equal, before, objective.parameters()))


def test_the_temperature_follows_the_steps():
    options = toys.options(temperature=2.0, final_temperature=1.0, num_steps=5, micro_batches=2)
    documents = electra_toys.make_documents([9] * 40)
    batches = training_batches(documents, tokenizer=_Words(), options=options)
    found = [batches[number]["temperature"].item() for number in (0, 1, 2, 8, 9)]
    assert found == [2.0, 2.0, 1.75, 1.0, 1.0]


class _Words:
    all_special_ids = (0, 1, 2, 3)
    pad_token_id = 0


def test_special_ids_are_the_tokenizers():
    assert special_ids(tokenizer()) == SpecialIds(pad=0, mask=4, cls=2, sep=3)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path):
    text = toys.write_text(tmp_path / "words.txt")
    tokenizer().save_pretrained(tmp_path / "words")
    words = ["pretrain", "electra", "--text", text, "--tokenizer", tmp_path / "words", "--no-bf16",
             "--micro-batches", 2, *toys.flags()]  # fmt: skip
    program = [sys.executable, "-c", "from vesalius.cli.main import main; raise SystemExit(main())"]
    script = tmp_path / "command.py"
    script.write_text(program[-1])
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(script)]
    for start, name in ((program, "one"), (launch, "two")):
        line = [*start, *map(str, words), "--out", str(tmp_path / name)]
        ran = subprocess.run(line, capture_output=True, text=True, check=True)
        assert ran.stdout.count("tokens/s") == 1
    for part in ("generator", "discriminator"):
        first, second = (
            load_file(tmp_path / name / part / "model.safetensors") for name in ("one", "two")
        )
        for key, tensor in first.items():
            torch.testing.assert_close(second[key], tensor, rtol=0, atol=1e-5)


def test_the_options_of_a_run_are_whole(as_users_call_it: None):
    assert {field.name for field in dataclasses.fields(PretrainOptions)} == {
        "shape", "training", "electra", "context_length", "rows_per_batch", "device", "preset",
        "recipe",
    }  # fmt: skip
