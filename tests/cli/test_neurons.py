"""`vesalius neurons`: what it prints, saves, goes on with and refuses."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.tiny import PROMPTS, Run
from vesalius.methods.knowledge_neurons import Evidence, Intervention, Location

FRANCE = ("--relation", "P36", "--subject", "France")
ASKED = (*(word for prompt in PROMPTS for word in ("--prompt", prompt)), "--answer", "Paris")


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    path = tmp_path / "facts.tsv"
    lines = ("relation\tsubject\tanswer", "P36\tFrance\tParis", "P36\tJapan\tTokyo")
    path.write_text("\n".join(lines) + "\n")
    return path


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.suffix in (".partial", ".old")]


def test_locate_prints_neurons_answers_gap_and_verdict(run: Run, bert_folder: Path):
    ran = run("neurons", "locate", "--model", bert_folder, *ASKED)
    assert (ran.code, ran.err) == (0, "")
    for words in ("layer", "neuron", "score", "completeness gap: at most", "Paris 0.", "prompts"):
        assert words in ran.out
    (told,) = run("neurons", "locate", "--model", bert_folder, *ASKED, "--json").json()["results"]
    assert told["prompts"] == list(PROMPTS)
    assert told["location"]["max_gap"] < 1e-4
    assert {"layer", "neuron", "score", "prompts"} <= told["location"]["neurons"][0].keys()
    assert told["location"]["guesses"][0]["token"] == "Paris"


def test_evidence_is_shown_for_one_fact_saved_and_read_again(
    run: Run, bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "paris"
    words = ("neurons", "locate", "--model", bert_folder, *ASKED, "--out", out, "--controls", 2)
    first = run(*words)
    assert "as active" in first.out
    assert "controls do" in first.out
    assert Evidence.load(out / "evidence").random_after.shape[2] == 2
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.cli.stories.evidence", None)  # a call would fail
        assert run(*words).out == first.out
    (told,) = run(*words, "--json").json()["results"]
    assert {"factor", "size", "change", "random_mean"} <= told["evidence"]["sizes"][0].keys()
    assert "as active" not in run(*words, "--no-evidence").out
    assert run(*words, "--html", tmp_path / "p.html").code == 0
    assert "How far to believe it" in (tmp_path / "p.html").read_text()


def test_presets_baselines_and_answers_of_several_tokens(
    run: Run, bert_folder: Path, tmp_path: Path
):
    words = ("neurons", "locate", "--model", bert_folder, "--no-evidence", "--json")
    asked = ("--prompt", PROMPTS[0], "--answer")
    (told,) = run(*words, *asked, "London Rome", "--target", "sequence-log-probability").json()[
        "results"
    ]
    assert told["answer"] == "London Rome"
    refused = run(*words, *asked, "London Rome")
    assert refused.code == 1
    assert "sequence-log-probability" in refused.err
    others = tmp_path / "others.txt"
    others.write_text("The capital of Japan is [MASK].\n\nRome is the capital of [MASK].\n")
    out = tmp_path / "mean"
    ran = run(*words, *asked, "Paris", "--baseline", "mean", "--reference", others, "--out", out)
    assert ran.code == 0
    assert len(Location.load(out).card.config["reference"]) == 2
    missing = run(*words, *asked, "Paris", "--baseline", "mean", "--reference", tmp_path / "no.txt")
    assert missing.code == 1
    assert "--reference" in missing.err
    by_value = run(*words, *asked, "Paris", "--preset", "activation")
    assert by_value.code == 0
    assert run(*words, *asked, "Paris", "--preset", "nope").code == 1
    turned = run("neurons", "suppress", "--model", bert_folder, *asked, "London Rome",
                 "--target", "sequence-log-probability", "--controls", 2, "--json")  # fmt: skip
    assert turned.code == 0


def test_a_bundled_fact_is_asked_with_its_templates_and_answer(run: Run, bert_folder: Path):
    words = ("neurons", "locate", "--model", bert_folder, *FRANCE, "--json")
    (told,) = run(*words).json()["results"]
    assert told["answer"] == "Paris"
    assert len(told["prompts"]) == 6
    (other,) = run(*words, "--answer", "Rome").json()["results"]
    assert other["answer"] == "Rome"


def test_a_left_to_right_model_gets_the_templates_that_end_with_the_answer(
    run: Run, gpt_folder: Path
):
    ran = run("neurons", "locate", "--model", gpt_folder, *FRANCE, "--json")
    (told,) = ran.json()["results"]
    assert ran.err == "vesalius: 4 of 6 templates end with the answer\n"
    assert len(told["prompts"]) == 4


def test_the_same_command_reads_its_result_and_another_is_refused(
    run: Run, bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "france"
    words = ("neurons", "locate", "--model", bert_folder, *ASKED, "--out", out)
    first = run(*words)
    assert (first.code, first.err) == (0, f"vesalius: wrote {out}\n")
    assert Location.load(out).answer == "Paris"
    written = (out / "result.json").stat().st_mtime_ns
    refused = run(*words, "--threshold", "0.5")
    assert refused.code == 1
    assert "another command" in refused.err
    assert "--force" in refused.err
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.cli.stories.locate", None)  # a call would fail
        second = run(*words)
    assert (second.code, second.out) == (0, first.out)
    assert (out / "result.json").stat().st_mtime_ns == written
    assert run(*words, "--threshold", "0.5", "--force").code == 0
    assert Location.load(out).card.config["coarse_threshold"] == 0.5


@pytest.mark.parametrize(("verb", "factor"), [("suppress", 0.0), ("amplify", 2.0)])
def test_turning_stands_beside_random_neurons(
    run: Run, bert_folder: Path, tmp_path: Path, verb: str, factor: float
):
    out = tmp_path / "turned"
    words = ("neurons", verb, "--model", bert_folder, *ASKED, "--controls", 7, "--out", out)
    ran = run(*words)
    assert ran.code == 0
    assert f"neurons x {factor:g}: probability" in ran.out
    assert "7 random sets" in ran.out
    found = Intervention.load(out)
    assert (found.factor, len(found.control_change)) == (factor, 7)
    assert run(*words).out == ran.out  # read again
    assert run(*words, "--seed", 1).code == 1
    (told,) = run(*words, "--seed", 1, "--force", "--json").json()["results"]
    assert told["intervention"]["change"] == pytest.approx(found.change)
    assert told["intervention"]["control_change"] != found.control_change.tolist()


def test_named_neurons_and_saved_locations_are_turned(run: Run, bert_folder: Path, tmp_path: Path):
    model = ("--model", bert_folder)
    (told,) = run("neurons", "suppress", *model, *ASKED, "--neurons", "1:3, 0:5",
                  "--factor", "0.5", "--json").json()["results"]  # fmt: skip
    assert told["intervention"]["neurons"] == [
        {"layer": 1, "neuron": 3},
        {"layer": 0, "neuron": 5},
    ]
    assert "location" not in told
    out = tmp_path / "located"
    run("neurons", "locate", *model, *ASKED, "--out", out)
    (told,) = run("neurons", "amplify", *model, "--location", out, "--json").json()["results"]
    located = [{"layer": layer, "neuron": index} for layer, index in Location.load(out).neurons]
    assert told["intervention"]["neurons"] == located
    assert told["prompts"] == list(PROMPTS)


def test_a_location_of_another_model_is_refused(
    run: Run, bert_folder: Path, gpt_folder: Path, tmp_path: Path
):
    words = ("--prompt", "The capital of France is [MASK].", "--answer", "Paris")
    out = tmp_path / "located"
    run("neurons", "locate", "--model", bert_folder, *words, "--out", out)
    ran = run("neurons", "suppress", "--model", gpt_folder, "--location", out)
    assert ran.code == 1
    assert "another model" in ran.err


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_page_and_picture_are_written_once(run: Run, bert_folder: Path, tmp_path: Path, kind: str):
    page, picture = tmp_path / "page.html", tmp_path / f"picture.{kind}"
    words = ("neurons", "suppress", "--model", bert_folder, *ASKED, "--html", page,
             "--plot", picture)  # fmt: skip
    assert run(*words).code == 0
    assert "Paris" in page.read_text("utf-8")
    assert picture.stat().st_size > 1000
    again = run(*words)
    assert (again.code, again.out) == (1, "")
    assert "exists" in again.err
    assert run(*words, "--force").code == 0


def test_a_picture_of_named_neurons_needs_no_map(run: Run, bert_folder: Path, tmp_path: Path):
    picture = tmp_path / "bars.png"
    words = ("neurons", "suppress", "--model", bert_folder, *ASKED, "--neurons", "0:1")
    assert run(*words, "--plot", picture).code == 0
    assert picture.is_file()


def test_several_facts_go_on_where_they_stopped(
    run: Run, bert_folder: Path, tmp_path: Path, facts: Path, monkeypatch: pytest.MonkeyPatch
):
    from vesalius.cli import stories

    out = tmp_path / "several"
    words = ("neurons", "locate", "--model", bert_folder, "--facts", facts, "--out", out)
    known, calls = stories.locate, []

    def interrupted(*args: object, **options: object) -> Location:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return known(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stories, "locate", interrupted)
    stopped = run(*words)
    assert (stopped.code, stopped.out) == (130, "")
    assert "interrupted" in stopped.err
    assert not hidden(tmp_path)
    first = out / "0001-P36-France" / "result.json"
    written = first.stat().st_mtime_ns
    assert not (out / "0002-P36-Japan").exists()
    finished = run(*words, "--json")
    assert finished.code == 0
    assert "1 of 2 are done" in finished.err
    assert first.stat().st_mtime_ns == written
    assert len(calls) == 3
    assert [told["name"] for told in finished.json()["results"]] == [
        "0001-P36-France",
        "0002-P36-Japan",
    ]
    refused = run(*words, "--share", "0.5")
    assert refused.code == 1
    assert "exists" in refused.err


def test_a_fact_that_fails_does_not_stop_the_others(
    run: Run, bert_folder: Path, tmp_path: Path, facts: Path
):
    with facts.open("a") as file:
        file.write("P36\tPeru\tLima\n")
    out = tmp_path / "several"
    words = ("neurons", "suppress", "--model", bert_folder, "--facts", facts, "--out", out,
             "--controls", 2)  # fmt: skip
    ran = run(*words, "--html", tmp_path / "page.html", "--json")
    assert ran.code == 4
    assert [told["name"] for told in ran.json()["failed"]] == ["0003-P36-Peru"]
    assert "one token" in ran.err
    assert len(list(out.glob("*/result.json"))) == 2
    assert run(*words).code == 4
    facts.write_text("relation\tsubject\tanswer\nP36\tPeru\tLima\n")
    assert run("neurons", "locate", "--model", bert_folder, "--facts", facts).code == 1


def test_a_dry_run_counts_and_writes_nothing(run: Run, bert_folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = ("neurons", "suppress", "--model", bert_folder, *ASKED, "--dry-run", "--out", out)
    assert run(*words).code == 0
    (row,) = run(*words, "--controls", 4, "--json").json()["forecast"]
    assert not out.exists()
    # 3 prompts, 2 layers, 5 nodes: only the streams of layer 0 have a block above them
    assert (row["prompts"], row["layers"], row["streams"]) == (3, 2, 30)
    assert row["backward_block_passes"] == 5 * 3
    clean, turned = 2 * 3, (2 + 4) * 2 * 3  # the walk gives the guesses too
    assert row["forward_block_passes"] == 5 * 3 + clean + turned
    (other,) = run(*words, "--rule", "gauss_legendre", "--controls", 4, "--json").json()["forecast"]
    assert other["forward_block_passes"] == row["forward_block_passes"] + 3  # F(0) by its own climb
    (small,) = run(*words, "--memory", "1KiB", "--json").json()["forecast"]
    assert small["runs"] > row["runs"] == 1
    assert small["bytes"] < row["bytes"]


def test_the_forecast_is_what_the_engine_does(
    run: Run, bert_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Streams through blocks, counted where the blocks are called."""
    from vesalius.cli import stories

    passed: list[int] = []
    known = stories.locate

    def count(_module: object, _inputs: object, output: object) -> None:
        passed.append(len(output[0] if isinstance(output, tuple) else output))

    def counted(specimen: Any, *args: Any, **options: Any) -> Location:
        hooks = [part.module.register_forward_hook(count) for part in specimen.parts.blocks]
        _ = specimen.plan  # probed anew for a model with other hooks: that is not the engine's work
        passed.clear()
        found = known(specimen, *args, **options)
        for hook in hooks:
            hook.remove()
        return found

    monkeypatch.setattr(stories, "locate", counted)
    # no refinement, and no replays that start somewhere up the model
    words = ("neurons", "locate", "--model", bert_folder, *ASKED, "--nodes", 32, "--no-evidence")
    (row,) = run(*words, "--dry-run", "--json").json()["forecast"]
    assert run(*words).code == 0
    # at the top the model runs once more with its blocks passed over: their hooks fire, no more
    passed_over = row["layers"] * row["streams"]
    assert sum(passed) == row["forward_block_passes"] + passed_over


def test_a_real_interruption_leaves_whole_results_alone(bert_folder: Path, tmp_path: Path):
    facts, out = tmp_path / "many.jsonl", tmp_path / "many"
    line = '{"relation": "P36", "subject": "France", "answer": "Paris"}\n'
    facts.write_text(line * 2000)
    script = Path(sys.executable).with_name("vesalius")
    words = ("neurons", "locate", "--model", bert_folder, "--facts", facts, "--out", out)
    # a shell's background job ignores SIGINT, and its children inherit that
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [script, *words], stderr=subprocess.PIPE, text=True, preexec_fn=listens
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("0003-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not hidden(tmp_path)
    done = [path for path in out.iterdir() if path.is_dir()]
    assert 3 <= len(done) < 2000
    assert all(Location.load(path).answer == "Paris" for path in done)
