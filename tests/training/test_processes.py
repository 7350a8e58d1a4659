"""Two processes over gloo against one: the same losses and the same weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path

import torch
from torch import nn

from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train
from vesalius.training.random_state import seeded

torch.set_num_threads(1)


class Output:
    def __init__(self, loss):
        self.loss = loss


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.out = nn.Linear(8, 11)

    def forward(self, input_ids, labels):
        logits = self.out(torch.tanh(self.embedding(input_ids)))
        return Output(nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))


class Batches:
    # batches of unequal size and unequal numbers of labels: the mean of means would be wrong
    def __getitem__(self, number):
        random = torch.Generator().manual_seed(number)
        tokens = torch.randint(0, 11, (1 + number % 5, 3 + number % 7), generator=random)
        hidden = torch.rand(tokens.shape, generator=random) < 0.6
        labels = tokens.roll(-1, 1).masked_fill(hidden, -100)
        labels[0, 0] = 3
        return {"input_ids": tokens, "labels": labels}


with seeded(1):
    model = Tiny()
options = TrainingOptions(
    num_steps=20, micro_batches=4, warmup_steps=4, log_every=1, checkpoint_every=8,
    evaluate_every=10, autocast_bf16=False, optimizer=sys.argv[2],
)
stop = int(sys.argv[3]) or None
train(model, batches=Batches(), options=options, out=Path(sys.argv[1]), stop_after_step=stop,
      evaluate=lambda m: {"norm": float(m.out.weight.norm())})
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


def run(folder: Path, *, processes: int, optimizer: str, stop: int = 0) -> None:
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc-per-node", str(processes)] if processes > 1 else []
    command = launch if processes > 1 else [sys.executable]
    done = subprocess.run(
        [*command, str(script), str(folder), optimizer, str(stop)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss_nats"] for line in lines if "loss_nats" in line]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_processes_agree_with_one_over_twenty_steps(tmp_path, optimizer):
    from safetensors.torch import load_file

    run(tmp_path / "one", processes=1, optimizer=optimizer)
    run(tmp_path / "two", processes=2, optimizer=optimizer, stop=11)
    run(tmp_path / "two", processes=2, optimizer=optimizer)  # resumed
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 20
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) <= 1e-5 * max(one)
    weights = [
        load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("one", "two")
    ]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() <= 1e-5 * tensor.abs().max()
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("one", "two")]
    tokens = [json.loads(log.splitlines()[-2])["num_tokens"] for log in logs]
    assert tokens[0] == tokens[1]
