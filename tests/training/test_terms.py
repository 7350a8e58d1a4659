"""A loss of several terms: one large batch's gradient, measures since the last log, resumed."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.test_loop import OPTIONS, _Batches, _log, _model, assert_equal_weights
from vesalius.core.errors import VesaliusError
from vesalius.training.checkpoint import read_state
from vesalius.training.loop import train
from vesalius.training.optimizers import build_optimizers, scale_learning_rates
from vesalius.training.random_state import seeded
from vesalius.training.schedule import lr_factor


@dataclass
class _Output:
    terms: Tensor
    sums: Tensor
    maxima: Tensor


class _Two(nn.Module):
    """Predicts hidden tokens (mean over labels) and tells real rows (mean over all tokens)."""

    def __init__(self, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8, 11)
        self.judge = nn.Linear(8, 1)

    def forward(self, input_ids: Tensor, labels: Tensor) -> _Output:
        hidden = self.dropout(torch.tanh(self.embedding(input_ids)))
        logits, known = self.out(hidden).flatten(0, 1), labels.flatten()
        judged = self.judge(hidden).squeeze(-1)
        second = functional.binary_cross_entropy_with_logits(judged, (labels >= 0).float())
        chosen = known >= 0
        right = (logits.argmax(-1) == known)[chosen]
        return _Output(
            terms=torch.stack([functional.cross_entropy(logits, known), 5.0 * second]),
            sums=torch.stack([right.sum(), chosen.sum()]).float(),
            maxima=judged.max().reshape(1),
        )

    def count_terms(self, batch: dict[str, Tensor]) -> tuple[int, ...]:
        return int((batch["labels"] >= 0).sum()), batch["labels"].numel()

    def count_tokens(self, batch: dict[str, Tensor]) -> int:
        return batch["input_ids"].numel()

    def describe(self, sums: Tensor, maxima: Tensor) -> dict[str, float]:
        right, labels = sums.tolist()
        return {"accuracy": right / labels, "labels": labels, "highest": float(maxima[0])}


def _two(**more: float) -> _Two:
    with seeded(1):
        return _Two(**more)


class _Joined(_Batches):
    """Two batches of the others in one."""

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        pair = [super(_Joined, self).__getitem__(2 * number + i) for i in range(2)]
        return {name: torch.cat([part[name] for part in pair]) for name in pair[0]}


def _measures(folder: Path) -> list[dict[str, float]]:
    return [line["measures"] for line in _log(folder)]


def test_micro_batches_give_the_terms_and_measures_of_one_batch(tmp_path):
    options = replace(OPTIONS, num_steps=6, autocast_bf16=False)
    parts, whole = _two(dropout=0.0), _two(dropout=0.0)
    train(parts, batches=_Batches(), options=options, out=tmp_path / "a")
    train(whole, batches=_Joined(), options=replace(options, micro_batches=1), out=tmp_path / "b")
    for a, b in zip(parts.parameters(), whole.parameters(), strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
    for a, b in zip(_log(tmp_path / "a"), _log(tmp_path / "b"), strict=True):
        assert a["loss_nats"] == pytest.approx(b["loss_nats"], rel=1e-5)
        assert a["num_tokens"] == b["num_tokens"]
        assert a["measures"] == pytest.approx(b["measures"], rel=1e-5)


def test_measures_are_those_of_all_steps_since_the_last_log(tmp_path):
    train(_two(), batches=_Batches(), options=OPTIONS, out=tmp_path / "often")
    train(_two(), batches=_Batches(), options=replace(OPTIONS, log_every=6), out=tmp_path / "rare")
    often, rare = _measures(tmp_path / "often"), _measures(tmp_path / "rare")
    assert (len(often), len(rare)) == (6, 2)
    for i, window in enumerate(rare):
        three = often[3 * i : 3 * i + 3]
        assert window["labels"] == sum(one["labels"] for one in three)
        right = sum(one["accuracy"] * one["labels"] for one in three)
        assert window["accuracy"] == pytest.approx(right / window["labels"])
        assert window["highest"] == max(one["highest"] for one in three)
    labels = [(_Batches()[n]["labels"] >= 0).sum().item() for n in range(4)]
    assert often[0]["labels"] == sum(labels)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("killed", [3, 9, 13, 18, 23])
def test_a_killed_run_of_terms_resumes_bit_for_bit(tmp_path, autocast, killed):
    """Log lines and checkpoints fall on different steps: a window is open in the checkpoint."""
    options = replace(OPTIONS, autocast_bf16=autocast, log_every=3, checkpoint_every=4)
    whole, again = _two(), _two()
    train(whole, batches=_Batches(), options=options, out=tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train(_two(), batches=_Batches(fail_at=killed), options=options, out=tmp_path / "b")
    train(again, batches=_Batches(), options=options, out=tmp_path / "b")
    assert_equal_weights(whole, again)
    assert _log(tmp_path / "a") == _log(tmp_path / "b")


def test_a_term_that_is_not_finite_is_named_before_the_step(tmp_path):
    train(_two(), batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    saved = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()

    class _Broken(_Two):
        def forward(self, input_ids: Tensor, labels: Tensor) -> _Output:
            found = super().forward(input_ids, labels)
            return replace(found, terms=found.terms * torch.tensor([1.0, math.nan]))

    broken = _Broken()
    with pytest.raises(VesaliusError, match=r"step 4: loss nan \(terms [0-9.]+, nan\)"):
        train(broken, batches=_Batches(), options=OPTIONS, out=tmp_path)
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == saved
    kept = _two()
    train(kept, batches=_Batches(), options=OPTIONS, out=tmp_path, stop_after_step=4)
    assert_equal_weights(kept, broken)


def test_a_gradient_that_is_not_finite_stops_though_the_loss_is(tmp_path):
    class _Steep(_Two):
        def forward(self, input_ids: Tensor, labels: Tensor) -> _Output:
            found = super().forward(input_ids, labels)
            zero = torch.sqrt((self.judge.weight - self.judge.weight.detach()).abs().sum())
            return replace(found, terms=found.terms + zero)

    with pytest.raises(VesaliusError, match=r"step 0: loss \d.*, gradient norm nan"):
        train(_Steep(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_a_batch_without_anything_for_a_term_is_refused(tmp_path):
    class _Empty(_Two):
        def count_terms(self, batch: dict[str, Tensor]) -> tuple[int, ...]:
            return 5, 0

    with pytest.raises(VesaliusError, match="without a label"):
        train(_Empty(), batches=_Batches(), options=OPTIONS, out=tmp_path)


def test_trackers_get_the_measures_by_name(tmp_path):
    accelerate = pytest.importorskip("accelerate.tracking")
    got: list[dict[str, float]] = []

    class _Recorder(accelerate.GeneralTracker):
        name = "recorder"
        requires_logging_directory = False
        tracker = None

        def store_init_configuration(self, values: dict[str, object]) -> None: ...

        def log(self, values: dict[str, float], step: int, **_: object) -> None:
            got.append(values)

    train(_two(), batches=_Batches(), options=OPTIONS, out=tmp_path, trackers=[_Recorder()])
    logged = _measures(tmp_path)
    assert [values["measures/accuracy"] for values in got] == [one["accuracy"] for one in logged]


def test_alarms_are_logged_each_time_and_said_once_per_kind(tmp_path, capsys):
    class _Alarmed(_Two):
        def describe_names(self) -> dict[str, str]:
            return {"accuracy": "share of right answers <b>"}

        def alarms(self, measures: dict[str, float]) -> list[str]:
            return [f"only {measures['labels']:.0f} labels", "always the same"]

    train(_Alarmed(), batches=_Batches(), options=OPTIONS, out=tmp_path)
    lines = _log(tmp_path)
    for line in lines:
        assert line["alarms"] == [
            f"only {line['measures']['labels']:.0f} labels",
            "always the same",
        ]
    said = capsys.readouterr().err
    assert said.count("warning, step 2: only") == said.count("labels") == 1
    assert said.count("always the same") == 1
    assert read_state(tmp_path)["measures"] == {"accuracy": "share of right answers <b>"}
    page = (tmp_path / "training.html").read_text()
    assert page.index("<h2>Alarms") < page.index("<h2>Measures")
    assert "share of right answers &lt;b&gt;" in page


def test_a_model_with_one_loss_learns_to_the_bit_as_written_out(tmp_path):
    """The loop, as plainly as it can be said, for a model that knows nothing of terms."""
    options = replace(OPTIONS, autocast_bf16=False)
    found, model, batches = _model(), _model(), _Batches()
    train(found, batches=batches, options=options, out=tmp_path)
    optimizers = build_optimizers(model, options=options)
    with seeded(options.seed):
        for step in range(options.num_steps):
            pair = [batches[2 * step + i] for i in range(2)]
            counts = [int((batch["labels"] != -100).sum()) for batch in pair]
            for batch, count in zip(pair, counts, strict=True):
                (model(**batch).loss * (count / sum(counts))).backward()
            nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
            scale_learning_rates(
                optimizers, factor=lr_factor(step, options=options), options=options
            )
            optimizers[0].step()
            optimizers[0].zero_grad()
    assert_equal_weights(found, model)
    assert "measures" not in json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
