"""Utilisation and waiting: what is logged beside the loss, and changes nothing in the run."""

import time
from dataclasses import replace

import pytest
import torch

from training.test_loop import OPTIONS, _Batches, _model, assert_equal_weights
from vesalius.training import pace
from vesalius.training.loop import train
from vesalius.training.pace import Pace, matmul_rate
from vesalius.training.run_log import read_log
from vesalius.training.step import Progress


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_is_measured_fast_and_draws_from_nobody(dtype):
    before, start = torch.get_rng_state(), time.perf_counter()
    rate = matmul_rate(device=torch.device("cpu"), dtype=dtype, side=256)
    assert time.perf_counter() - start < 3.0  # 0.1 s on a core of its own
    assert rate > 1e7  # any machine does more in a second, and no core does 1e14
    assert rate < 1e14
    assert torch.equal(before, torch.get_rng_state())


def _pace(monkeypatch, *, flops_per_token: float) -> Pace:
    monkeypatch.setattr(pace, "matmul_rate", lambda **_: 1e6)
    return Pace(
        _model(),
        options=OPTIONS,
        flops_per_token=flops_per_token,
        count=2,
        progress=Progress(num_tokens=100, seconds=5.0),
    )


def test_shares_are_those_of_the_stretch_since_the_last_log(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 10.0, 20.0, 23.0])
    found = _pace(monkeypatch, flops_per_token=1e4)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    groups = found.timed(iter("ab"))
    assert next(groups) == "a"  # waited for 1 s
    shares = found.read(Progress(num_tokens=400, seconds=8.0))
    assert shares == {"waited": 0.25, "mfu": 300 * 1e4 / (4.0 * 2e6)}
    assert next(groups) == "b"  # at once
    assert found.read(Progress(num_tokens=500, seconds=9.0)) == {"waited": 0.0, "mfu": 0.5}
    assert list(groups) == []


def test_without_a_number_of_operations_nothing_is_measured(monkeypatch):
    found = _pace(monkeypatch, flops_per_token=0)
    assert found.read(Progress(num_tokens=400, seconds=8.0)) == {"waited": 0.0}


def test_a_run_logs_both_and_learns_the_same(tmp_path):
    class _Late(_Batches):
        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            time.sleep(0.2)
            return super().__getitem__(number)

    options = replace(OPTIONS, num_steps=4)
    plain, timed = _model(), _model()
    train(plain, batches=_Batches(), options=options, out=tmp_path / "a")
    train(timed, batches=_Late(), options=options, out=tmp_path / "b", flops_per_token=1e3)
    assert_equal_weights(plain, timed)
    lines = read_log(tmp_path / "b")
    assert all(0 < line["mfu"] < 1 for line in lines)
    assert all(line["waited"] > 0.5 for line in lines)
    assert all("mfu" not in line and line["waited"] <= 1 for line in read_log(tmp_path / "a"))
    page = (tmp_path / "b" / "training.html").read_text()
    assert "Share of the time waited for batches over the steps" in page
    assert "Share of the machine" in page
