import random
import threading

import numpy as np
import pytest
import torch

from vesalius.core.errors import VesaliusError
from vesalius.training.prefetch import prefetch
from vesalius.training.random_state import (
    capture_random_state,
    restore_random_state,
    seeded,
)
from vesalius.training.run_log import append_log, cut_log, read_log


class _Counted:
    def __init__(self, *, fail_at: int = -1) -> None:
        self.fail_at = fail_at
        self.inside = 0
        self.most = 0
        self.lock = threading.Lock()

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        if number == self.fail_at:
            raise ValueError("batch 3 is broken")
        with self.lock:
            self.inside -= 1
        return {"labels": torch.tensor([number])}


def test_prefetch_keeps_order_and_asks_one_at_a_time():
    batches = _Counted()
    groups = [range(2 * i, 2 * i + 2) for i in range(9)]
    found = [[int(b["labels"]) for b in group] for group in prefetch(batches, groups)]
    assert found == [list(group) for group in groups]
    assert batches.most == 1


def test_prefetch_raises_when_the_broken_batch_is_due():
    groups = prefetch(_Counted(fail_at=3), [[i] for i in range(9)])
    assert [int(next(groups)[0]["labels"]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="batch 3"):
        next(groups)


def test_prefetch_ends_its_thread_when_it_is_left():
    batches = prefetch(_Counted(), [[i] for i in range(100)])
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


@pytest.mark.parametrize("draws", [0, 1])
def test_all_random_state_is_captured(draws):
    def draw() -> list[float]:
        # each of the two keeps a spare number
        gauss = [random.gauss(0, 1), float(np.random.normal())]  # noqa: NPY002
        even = [random.random(), float(np.random.rand())]  # noqa: NPY002
        return [*gauss, *even, float(torch.rand(1))]

    with seeded(5):
        for _ in range(draws):
            draw()
        saved = capture_random_state()
        first = draw()
        restore_random_state(saved)
        assert draw() == first
        assert draw() != first


def test_a_log_line_that_a_kill_cut_short_is_left_out(tmp_path):
    for step in (1, 2, 3):
        append_log(tmp_path, {"step": step})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "evaluation": {"a": 1.0}')  # ends in a brace all the same
    assert [entry["step"] for entry in read_log(tmp_path)] == [1, 2, 3]
    cut_log(tmp_path, step=2)
    append_log(tmp_path, {"step": 3})
    assert [entry["step"] for entry in read_log(tmp_path)] == [1, 2, 3]
    assert read_log(tmp_path / "nowhere") == []
    (tmp_path / "log.jsonl").write_text('{"step": 1}\nnot json\n{"step": 3}\n')
    with pytest.raises(VesaliusError, match="line 2"):
        read_log(tmp_path)
