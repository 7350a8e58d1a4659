"""The page of a run: what was logged is on it, a torn log is read, no text can become a script."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.training.config import TrainingOptions
from vesalius.training.loop import train
from vesalius.training.page import write_training_page

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class _Tags(HTMLParser):
    """Collects tags with their attributes, and what a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data + "\n"

    def images(self) -> list[str]:
        return [words["alt"] or "" for tag, words in self.tags if tag == "img"]


def _step(step: int, **more: object) -> dict[str, object]:
    loss = {"loss_nats": 5.0 / step}
    return {"step": step, "num_tokens": 100 * step, "seconds": 0.5 * step, **loss, **more}


def _write(folder: Path, *entries: dict[str, object], tail: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(entry) + "\n" for entry in entries) + tail
    (folder / "log.jsonl").write_text(text, encoding="utf-8")


def _state(folder: Path, **run: object) -> None:
    (folder / "checkpoint").mkdir()
    state = {"progress": {"step": 3}, "run": run}
    (folder / "checkpoint" / "state.json").write_text(json.dumps(state), encoding="utf-8")


def _page(folder: Path, **words: str) -> _Tags:
    path = write_training_page(folder, **words)
    assert path == folder / "training.html"
    assert not list(folder.glob(".*"))  # nothing half written is left
    return _Tags(path.read_text(encoding="utf-8"))


def test_a_page_has_curves_options_numbers_and_versions(tmp_path):
    entries = [_step(s, grad_norm=0.1 * s, lr_factor=0.5, tokens_per_second=200.0) for s in (1, 2)]
    scores = {"step": 2, "evaluation": {"accuracy": 0.75, "perplexity": 12.5}}
    _write(tmp_path / "run", *entries, scores)
    _state(tmp_path / "run", lr=0.002, optimizer="muon", corpus="ab" * 32)
    found = _page(tmp_path / "run", hardware="one abacus")
    alts = found.images()
    for part in ("Loss", "Gradient norm", "Learning rate", "Tokens/s", "accuracy", "perplexity"):
        assert sum(part in alt for alt in alts) == 1, part
    for words in ("Training run run", "muon", "0.002", "ab" * 32, "0.75", "12.5", "one abacus"):
        assert words in found.words
    assert torch.__version__.split("+")[0] in found.words
    assert str(tmp_path) not in (tmp_path / "run" / "training.html").read_text()


def test_the_page_loads_nothing(tmp_path):
    _write(tmp_path, _step(1), _step(2))
    found = _page(tmp_path)
    for tag, words in found.tags:
        assert tag not in ("script", "link", "iframe")
        assert words.get("src", "data:").startswith("data:")
        assert not any(name.startswith("on") or name == "href" for name in words)
    text = (tmp_path / "training.html").read_text()
    assert "default-src 'none'" in text


def test_no_text_of_a_run_becomes_a_tag(tmp_path):
    scores = [{"step": s, "evaluation": {EVIL: 0.1 * s, f"{EVIL}2": 7.0}} for s in (1, 2)]
    _write(tmp_path / "run", _step(1), *scores)
    _state(tmp_path / "run", **{EVIL: EVIL})
    found = _page(tmp_path / "run", title=EVIL, hardware=EVIL)
    assert not any(tag == "script" or "onerror" in words for tag, words in found.tags)
    assert found.words.count(EVIL) >= 6  # title twice, option twice, evaluation, hardware
    assert any(EVIL in alt for alt in found.images())


@pytest.mark.parametrize("tail", ['{"step": 3, "los', '{"step": 3, "evaluation": {"a": 1.0}', "{}"])
def test_a_last_line_cut_short_is_left_out(tmp_path, tail):
    _write(tmp_path, _step(1), _step(2), tail=tail)
    assert "loss, mean of the last 2 logged" in _page(tmp_path).words


def test_a_last_letter_cut_in_two_is_left_out(tmp_path):
    _write(tmp_path, _step(1))
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write('{"step": 2, "evaluation": {"é'.encode()[:-1])
    assert "loss, mean of the last 1 logged" in _page(tmp_path).words


def test_what_is_no_number_is_shown_as_such(tmp_path):
    scores = [{"step": 1, "evaluation": {"a": float("nan"), "b": 0.5, "note": "text"}}]
    _write(tmp_path, _step(1), _step(2, grad_norm=float("inf")), *scores)
    words = _page(tmp_path).words
    assert "nan" in words
    assert "note" not in words


def test_an_empty_run_says_so(tmp_path):
    _write(tmp_path)
    words = _page(tmp_path).words
    assert "No step was logged yet" in words
    assert "No checkpoint was written yet" in words


def test_many_evaluations_are_spread_over_pictures(tmp_path):
    scores = {f"share {i}": 0.5 for i in range(30)}
    _write(tmp_path, _step(1), {"step": 1, "evaluation": scores})
    found = _page(tmp_path)
    assert sum("share" in alt for alt in found.images()) == 4
    assert all(name in found.words for name in scores)


def test_measures_are_drawn_with_what_they_mean(tmp_path):
    measures = [
        {"right": 0.1 * s, "wrong": 0.2, "nats": 3.0 + s, "small_nats": 0.1} for s in (1, 2)
    ]
    _write(tmp_path, *[_step(s, measures=found) for s, found in enumerate(measures, start=1)])
    _state(tmp_path, lr=0.1)
    state = tmp_path / "checkpoint" / "state.json"
    meanings = {"right": "share of right answers", "nats": EVIL}
    state.write_text(json.dumps(json.loads(state.read_text()) | {"measures": meanings}))
    found = _page(tmp_path)
    for names in ("right, wrong", "nats", "small_nats"):  # the shares together
        assert sum(f"Over the steps: {names};" in alt for alt in found.images()) == 1
    rows = "right\n0.2\n0.1\n0.2\nshare of right answers\n", f"nats\n5\n4\n5\n{EVIL}\n"
    assert all(row in found.words for row in rows)  # last, lowest, highest, meaning
    assert not any(tag == "script" for tag, _ in found.tags)


def test_a_run_without_measures_has_no_such_section(tmp_path):
    _write(tmp_path, _step(1), _step(2))
    words = _page(tmp_path).words
    assert "Measures" not in words
    assert "Alarms" not in words


def test_alarms_stand_at_the_top_once_per_kind(tmp_path):
    said = [["weights average 0.7"], [], ["weights average 0.65", "no gradient"]]
    _write(tmp_path, *[_step(s, alarms=found) for s, found in enumerate(said, start=1)])
    words = _page(tmp_path).words
    assert words.index("Alarms") < words.index("Last numbers")
    assert "weights average 0.65\n1\n3\n2\n" in words  # first, last, times
    assert "weights average 0.7\n" not in words
    assert "no gradient\n3\n3\n1\n" in words


def test_the_page_is_replaced_as_a_whole(tmp_path):
    _write(tmp_path, _step(1))
    write_training_page(tmp_path)
    _write(tmp_path, _step(1), _step(2), _step(3))
    write_training_page(tmp_path)
    text = (tmp_path / "training.html").read_text()
    assert "mean of the last 3 logged" in text
    assert "mean of the last 1 logged" not in text
    assert len(re.findall("<!doctype html>", text)) == 1


def test_the_rate_is_that_of_each_stretch(tmp_path):
    """The log has the mean since the start; a slow last stretch shows in the curve's end."""
    slow = {"step": 3, "num_tokens": 300, "seconds": 11.0, "loss_nats": 1.0}
    _write(tmp_path, _step(1), _step(2), slow)
    (alt,) = [alt for alt in _page(tmp_path).images() if alt.startswith("Tokens/s")]
    assert alt.endswith("at the end 10.")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "holds no log.jsonl"),
        ('{"step": 1}\nnonsense\n{"step": 2}\n', "line 2: 'nonsense'"),
        ('[1]\n{"step": 2}\n', "line 1"),
        ('{"step": "first"}\n{"step": 2}\n', "line 1"),
        ('{"loss_nats": 1}\n{"step": 2}\n', "line 1"),
    ],
)
def test_a_log_that_cannot_be_read_is_named(tmp_path, text, part):
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(VesaliusError, match=part):
        write_training_page(tmp_path)
    assert not (tmp_path / "training.html").exists()


def test_a_page_that_cannot_be_replaced_is_refused(tmp_path):
    _write(tmp_path, _step(1))
    (tmp_path / "training.html").mkdir()
    (tmp_path / "training.html" / "mine").touch()
    with pytest.raises(VesaliusError, match=r"training\.html"):
        write_training_page(tmp_path)
    assert (tmp_path / "training.html" / "mine").exists()


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, labels: Tensor) -> nn.Module:
        self.loss = ((self.weight - labels) ** 2).mean()
        return self


class _Batches:
    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {"labels": torch.tensor([[1, 2, 3]])}


def test_a_real_run_has_a_page(tmp_path):
    options = TrainingOptions(num_steps=8, log_every=2, checkpoint_every=8, evaluate_every=4)
    train(
        _Model(),
        batches=_Batches(),
        options=options,
        out=tmp_path / "run",
        evaluate=lambda model: {"distance": float(model.weight.detach().sum())},
    )
    found = _page(tmp_path / "run")
    assert len(found.images()) >= 3
    assert "micro_batches" in found.words
    assert "distance" in found.words
