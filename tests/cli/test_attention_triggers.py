"""`vesalius attention triggers`: printed, saved, drawn, refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from planted_trigger import MARKED, PLAIN, TRIGGER, planted, random_lm
from vesalius.cli.attention_triggers import run_triggers
from vesalius.cli.errors import WrongUsage
from vesalius.cli.trigger_flags import TriggerFlags
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution.attack_result import Attack
from vesalius.methods.attention_attribution.trigger_result import Triggers


@pytest.fixture
def flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_users_call_it: None
) -> dict[str, Any]:
    monkeypatch.setattr("vesalius.cli.progress.PATIENCE_SECONDS", 600.0)
    for specimen in (planted(), random_lm()):
        specimen.model.save_pretrained(tmp_path / specimen.name)
        specimen.tokenizer.save_pretrained(tmp_path / specimen.name)
    rows = ["split\ttext\tlabel"]
    for split in ("train", "dev"):
        rows += [f"{split}\t{text}\tplain" for text in PLAIN]
        rows += [f"{split}\t{text}\tmarked" for text in MARKED]
    (tmp_path / "texts.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return {
        "data": str(tmp_path / "texts.tsv"),
        "model": str(tmp_path / "tiny-classifier"),
        "controls": 2,
        "nodes": 4,
    }


def test_an_attack_is_printed_saved_and_drawn(
    flags: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out, html, plot = tmp_path / "out", tmp_path / "page.html", tmp_path / "bars.svg"
    run_triggers(
        TriggerFlags(
            **flags, out=out, html=html, plot=plot, transfer=flags["model"],
            language_model=str(tmp_path / "tiny-gpt"),
        )
    )  # fmt: skip
    printed, told = capfd.readouterr()
    assert f"[CLS] - {TRIGGER}" in printed
    assert "from 100.0% to 0.0%" in printed
    assert "median perplexity by tiny-gpt" in printed
    assert "random, on tiny-classifier" in printed
    assert "are among those the triggers were found in" in told
    found = load_result(out)
    assert isinstance(found, Attack)
    assert found.verdict in html.read_text("utf-8")
    assert "<svg" in plot.read_text("utf-8")
    with pytest.raises(VesaliusError, match="--force"):
        run_triggers(TriggerFlags(**flags, out=out))
    run_triggers(TriggerFlags(**flags, out=out, force=True))


def test_triggers_alone_are_saved_and_used_again(
    flags: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "triggers"
    picture = tmp_path / "scores.png"
    run_triggers(TriggerFlags(**flags, on="none", label="marked", out=out, plot=picture))
    found = load_result(out)
    assert isinstance(found, Triggers)
    assert found.num_used == len(MARKED)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "the strongest: “Rome”" in capfd.readouterr().out
    run_triggers(TriggerFlags(**flags, triggers=out, on_texts=6, top=1, json=True))
    told = json.loads(capfd.readouterr().out)
    assert [row["pattern"] for row in told["triggers"]["found"]] == [TRIGGER]
    assert told["attack"]["classes"][0]["attacked"] == 0
    assert told["attack"]["perplexity"] is None
    assert told["attack"]["summary"][0]["beats"] is True


def test_triggers_as_json(flags: dict[str, Any], capfd: pytest.CaptureFixture[str]):
    run_triggers(TriggerFlags(**flags, on="none", json=True, by="attention"))
    told = json.loads(capfd.readouterr().out)["triggers"]
    assert told["by"] == "attention"
    assert told["num_used"] == 10


def test_wrong_flags_are_refused(flags: dict[str, Any]):
    with pytest.raises(WrongUsage):
        run_triggers(TriggerFlags(**flags, on="train"))
    with pytest.raises(WrongUsage):
        run_triggers(TriggerFlags(**flags, on="none", transfer="mini-classifier"))
    with pytest.raises(VesaliusError, match="split 'test'"):
        run_triggers(TriggerFlags(**flags, on="test"))
    with pytest.raises(VesaliusError, match="class 'odd'"):
        run_triggers(TriggerFlags(**flags, label="odd"))
    with pytest.raises(VesaliusError, match="by='other'"):
        run_triggers(TriggerFlags(**flags, by="other"))
