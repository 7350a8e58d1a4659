"""Two processes over gloo against one: the same losses, measures and weights, by DDP and FSDP."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vesalius.core.errors import VesaliusError
from vesalius.training.config import TrainingOptions, check_training_options

SCRIPT = """
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import nn

from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train
from vesalius.training.random_state import seeded

torch.set_num_threads(1)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.out = nn.Linear(8, 11)

    def forward(self, input_ids, labels):
        logits = self.out(torch.tanh(self.embedding(input_ids)))
        return SimpleNamespace(
            loss=nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        )


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, states):
        return states + torch.tanh(self.linear(states))


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, input_ids):
        states = self.embedding(input_ids)
        for block in self.blocks:
            states = block(states)
        return states


class Pair(nn.Module):
    # two towers with one embedding, which is the output weight, too; two terms and two measures
    def __init__(self):
        super().__init__()
        self.one, self.two = Tower(), Tower()
        self.two.embedding.weight = self.one.embedding.weight
        self.judge = nn.Linear(8, 1)

    def forward(self, input_ids, labels):
        logits = self.one(input_ids) @ self.two.embedding.weight.T
        judged = self.judge(self.two(input_ids)).squeeze(-1)
        second = nn.functional.binary_cross_entropy_with_logits(judged, (labels >= 0).float())
        first = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        right = (logits.argmax(-1) == labels).sum()
        return SimpleNamespace(
            terms=torch.stack([first, 3 * second]),
            sums=torch.stack([right, (labels >= 0).sum()]).float(),
            maxima=logits.detach().max().reshape(1),
        )

    def count_terms(self, batch):
        return int((batch["labels"] >= 0).sum()), batch["labels"].numel()

    def count_tokens(self, batch):
        return batch["labels"].numel()

    def describe(self, sums, maxima):
        return {"right": float(sums[0]), "labels": float(sums[1]), "highest": float(maxima[0])}


class Batches:
    # batches of unequal size and unequal numbers of labels: the mean of means would be wrong
    def __getitem__(self, number):
        if number >= fail_at:
            os.kill(os.getpid(), signal.SIGKILL)
        random = torch.Generator().manual_seed(number)
        tokens = torch.randint(0, 11, (1 + number % 5, 3 + number % 7), generator=random)
        hidden = torch.rand(tokens.shape, generator=random) < 0.6
        labels = tokens.roll(-1, 1).masked_fill(hidden, -100)
        labels[0, 0] = 3
        return {"input_ids": tokens, "labels": labels}


@torch.no_grad()
def evaluate(model):
    found = model(**Batches()[0])
    value = found.terms.sum() if hasattr(found, "terms") else found.loss
    return {"loss": float(value), "norm": float(next(model.parameters()).norm())}


out, kind, changed = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[4])
fail_at = 4 * int(sys.argv[3])
with seeded(1 + int(os.environ.get("RANK", "0"))):  # the weights of the first process count
    model = {"tiny": Tiny, "pair": Pair}[kind]()
options = TrainingOptions(
    num_steps=20, micro_batches=4, warmup_steps=4, log_every=3, checkpoint_every=8,
    evaluate_every=10, autocast_bf16=False, **changed,
)
seen = []
train(model, batches=Batches(), options=options, out=out, evaluate=evaluate,
      on_step=lambda m, step: seen.append(next(m.parameters()).norm()))
saved = load_file(out / "checkpoint" / "model.safetensors")
for name, parameter in model.named_parameters():  # in every process
    assert type(parameter) is nn.Parameter
    assert torch.equal(parameter, saved[name]), name
if torch.distributed.is_initialized():
    assert len(seen) == 0 or torch.distributed.get_rank() == 0
    torch.distributed.destroy_process_group()
assert not seen or seen[-1] == next(model.parameters()).norm()
"""


def run(
    folder: Path, *, processes: int, kind: str = "pair", killed_at: int = 99, **options: object
) -> None:
    """Train; or be killed when the batches of a step are made, which is some steps ahead."""
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    words = [str(script), str(folder), kind, str(killed_at), json.dumps(options)]
    if processes == 1:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", words)
            runpy.run_path(str(script))
        return
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launch, "--nproc-per-node", str(processes), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode == 0) == (killed_at == 99), done.stderr[-3000:]
    assert (folder / "training.html").exists() == (killed_at == 99)


def log(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = ("seconds", "tokens_per_second", "waited", "mfu")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    parts = [load_file(folder / "checkpoint" / f"{n}.safetensors") for n in ("model", "optimizer")]
    return parts[0] | parts[1]


def assert_agree(one: Path, two: Path) -> None:
    """The same weights, optimiser state and log to 1e-5 of the largest."""
    a, b = tensors(one), tensors(two)
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert (tensor - b[name]).abs().max() <= 1e-5 * tensor.abs().max(), name
    assert len(log(one)) == len(log(two))
    for line, other in zip(log(one), log(two), strict=True):
        assert line.keys() == other.keys()
        for name in line:
            assert line[name] == pytest.approx(other[name], rel=1e-5), (line["step"], name)


def assert_same(one: Path, two: Path) -> None:
    """The same weights, optimiser state and log to the bit."""
    a, b = tensors(one), tensors(two)
    assert all(torch.equal(a[name], b[name]) for name in a.keys() | b.keys())
    assert log(one) == log(two)


def test_two_processes_with_half_a_model_each_agree_with_one(tmp_path):
    run(tmp_path / "one", processes=1)
    run(tmp_path / "two", processes=2, parallel="fsdp")
    assert_agree(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tiny", {"optimizer": "muon"}),
        ("tiny", {"parallel": "fsdp"}),
        ("pair", {}),
        ("pair", {"parallel": "fsdp"}),
    ],
)
def test_a_resumed_run_of_two_processes_is_a_whole_one_and_agrees_with_one(tmp_path, kind, options):
    run(tmp_path / "one", processes=1, kind=kind, **options)
    run(tmp_path / "whole", processes=2, kind=kind, **options)
    run(tmp_path / "parts", processes=2, kind=kind, killed_at=13, **options)
    run(tmp_path / "parts", processes=2, kind=kind, **options)
    assert_agree(tmp_path / "one", tmp_path / "whole")
    assert_agree(tmp_path / "one", tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("fsdp", "ddp"), ("ddp", "fsdp")])
def test_one_way_goes_on_from_the_checkpoint_of_the_other(tmp_path, first, then):
    """What is refused is the changed option; the files are the same."""
    run(tmp_path / "whole", processes=2, parallel=first)
    run(tmp_path / "first", processes=2, parallel=first, killed_at=13)
    shutil.copytree(tmp_path / "first", tmp_path / "then")
    state = tmp_path / "then" / "checkpoint" / "state.json"
    state.write_text(state.read_text().replace(f'"parallel": "{first}"', f'"parallel": "{then}"'))
    run(tmp_path / "then", processes=2, parallel=then)
    assert_agree(tmp_path / "whole", tmp_path / "then")


def test_muon_does_not_go_with_parts_of_matrices():
    options = TrainingOptions(num_steps=1, optimizer="muon", parallel="fsdp")
    with pytest.raises(VesaliusError, match="optimizer='muon' with parallel='fsdp'"):
        check_training_options(options)
