"""`vesalius neurons update` and `erase`: planned, printed, saved, written as a checkpoint."""

from pathlib import Path

import pytest
import torch
import transformers as hf

from cli.tiny import PROMPTS, Run
from vesalius.cli import neuron_erase
from vesalius.core.paths import new_folder
from vesalius.data.bags import FactBag
from vesalius.methods.knowledge_neurons.edits import Edit, edited
from vesalius.methods.knowledge_neurons.result import Location
from vesalius.models import encode_prompts
from vesalius.models import open as open_model

ASKED = (*(word for prompt in PROMPTS for word in ("--prompt", prompt)), "--answer", "Paris")
TO = ("--to", "London")


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bundled facts of P36: one that the tiny model answers, one it has no word for."""
    bags = [
        FactBag(name=f"P36-{subject}", relation="P36", subject=subject, answer=answer,
                prompts=tuple(p.replace("France", subject) for p in PROMPTS))
        for subject, answer in (("France", "Paris"), ("Japan", "Tokyo"), ("Peru", "Lima"))
    ]  # fmt: skip
    monkeypatch.setattr(neuron_erase, "bundled_bags", lambda _relation: bags)


def logits_of(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def test_an_update_is_shown_saved_and_written(run: Run, bert_folder: Path, tmp_path: Path):
    out, model = tmp_path / "edit", tmp_path / "model"
    words = ("neurons", "update", "--model", bert_folder, *ASKED, *TO)
    ran = run(*words, "--out", out, "--checkpoint", model)
    assert (ran.code, ran.err) == (0, f"vesalius: wrote {out}\nvesalius: wrote {model}\n")
    for part in ("Paris -> London", "(3 prompts, tiny-bert)", "no sets of the relation",
                 "probability of London: 0.", "untouched", "edited"):  # fmt: skip
        assert part in ran.out
    edit = Edit.load(out)
    assert (edit.method, edit.answer, edit.new_answer) == ("update", "Paris", "London")
    specimen = open_model(bert_folder)
    inputs = encode_prompts(specimen, PROMPTS).inputs
    plain = hf.AutoModelForMaskedLM.from_pretrained(model).eval()
    with edited(specimen, edit):
        assert torch.equal(logits_of(plain, inputs), logits_of(specimen.model, inputs))
    assert run("check", model).code == 0
    again = run(*words, "--out", out)
    assert (again.code, again.out) == (1, "")
    assert "exists" in again.err
    assert run(*words, "--out", out, "--checkpoint", model, "--force", "--lambda-new", 2).code == 0
    assert Edit.load(out).card.config["weight_new"] == 2
    assert Edit.load(out).card.config["by_sign"] is True
    assert run(*words, "--out", out, "--force", "--no-by-sign").code == 0
    assert Edit.load(out).card.config["by_sign"] is False
    assert run(*words, "--method", "rank-one", "--by-sign").code == 2
    told = run(*words, "--json").json()["edit"]
    assert told["prompts"] == list(PROMPTS)
    assert told["num_slots"] == len(told["slots"]) == len(edit.slots)
    assert told["before"]["new_prob"] != told["after"]["new_prob"]
    assert told["after"]["guesses"][0]["rank"] == 1


def test_neurons_come_from_flags_or_a_location(run: Run, bert_folder: Path, tmp_path: Path):
    model = ("--model", bert_folder)
    told = run("neurons", "update", *model, *ASKED, *TO, "--neurons", "1:3,0:5", "--json").json()
    assert [(row["layer"], row["neuron"]) for row in told["edit"]["slots"]] == [(0, 5), (1, 3)]
    out = tmp_path / "located"
    run("neurons", "locate", *model, *ASKED, "--out", out)
    ran = run("neurons", "update", *model, "--location", out, *TO, "--json")
    slots = {(row["layer"], row["neuron"]) for row in ran.json()["edit"]["slots"]}
    assert slots == set(Location.load(out).neurons)


def test_a_rank_one_edit_of_both_kinds_of_model(run: Run, bert_folder: Path, gpt_folder: Path):
    prompts = [word for prompt in PROMPTS[::2] for word in ("--prompt", prompt)]
    for model in (bert_folder, gpt_folder):
        words = ("neurons", "update", "--model", model, *prompts, "--answer", "Paris", *TO,
                 "--method", "rank-one", "--subject", "France")  # fmt: skip
        ran = run(*words)
        assert ran.code == 0
        assert "is edited at France" in ran.out
        told = run(*words, "--layer", 1, "--json").json()["edit"]
        assert told["config"]["layer"] == 1
        assert told["config"]["position"] == "subject"
        assert told["after"]["new_prob"] >= told["before"]["new_prob"]


def test_a_sweep_tells_which_neurons_are_shared(run: Run, bert_folder: Path, tmp_path: Path):
    facts, sweep = tmp_path / "facts.tsv", tmp_path / "sweep"
    lines = "".join(f"P36\t{subject}\tParis\n" for subject in ("France", "Japan", "Rome"))
    facts.write_text(f"relation\tsubject\tanswer\n{lines}")
    model = ("--model", bert_folder)
    assert run("neurons", "sweep", *model, "--facts", facts, "--out", sweep).code == 0
    question = ("--relation", "P36", "--subject", "France", *TO)
    words = ("neurons", "update", *model, *question, "--sweep", sweep)
    told = run(*words, "--max-shared", 1, "--json").json()["edit"]
    assert told["config"]["num_relation_sets"] == 3
    assert told["dropped"] == []
    located = run("neurons", "locate", *model, "--relation", "P36", "--subject", "France", "--json",
                  "--no-evidence").json()["results"][0]["location"]["neurons"]  # fmt: skip
    assert told["num_slots"] == len(located)
    ran = run(*words)
    if ran.code:  # one answer to all prompts: every neuron may be shared
        assert "raise max_shared" in ran.err
    else:
        assert "facts share them" in ran.out
    erased = run("neurons", "erase", *model, "--relation", "P36", "--sweep", sweep, "--json").json()
    assert erased["edit"]["facts"]["located"] == 3


@pytest.mark.usefixtures("facts")
def test_an_erasure_locates_what_is_answered(run: Run, bert_folder: Path, tmp_path: Path):
    out, model = tmp_path / "edit", tmp_path / "model"
    words = ("neurons", "erase", "--model", bert_folder, "--relation", "P36", "--count", 3)
    ran = run(*words, "--out", out, "--checkpoint", model)
    assert ran.code == 0
    assert "tiny-bert answers 1 of 2 facts of P36, in 50% of their prompts or more" in ran.err
    assert "value slots are set to zero: the most frequent in 1 facts" in ran.out
    edit = Edit.load(out)
    assert edit.card.config["relation"] == "P36"
    assert 1 <= len(edit.slots) <= 3
    told = run(*words, "--json").json()["edit"]
    assert told["facts"] == {"located": 1, "asked": 2, "answered": 1}
    assert told["before"]["answered"] == 1.0
    assert told["after"]["prob"] != told["before"]["prob"]
    specimen = open_model(model)
    for layer, neuron in edit.slots:
        weight = specimen.plan.calls[layer].feed_forward.weight
        assert not weight[:, neuron].any()


@pytest.mark.usefixtures("facts")
def test_an_erasure_needs_a_fact_that_is_known(run: Run, bert_folder: Path, tmp_path: Path):
    words = ("neurons", "erase", "--model", bert_folder, "--relation", "P36")
    ran = run(*words, "--min-answered", 0, "--json")
    assert ran.json()["edit"]["facts"]["answered"] == 2
    other = tmp_path / "other"
    specimen = open_model(bert_folder)
    bias = specimen.model.get_output_embeddings().bias
    bias.data[specimen.tokenizer.convert_tokens_to_ids("Paris")] = -9
    with new_folder(other) as folder:
        specimen.model.save_pretrained(folder)
        specimen.tokenizer.save_pretrained(folder)
    ran = run("neurons", "erase", "--model", other, "--relation", "P36")
    assert (ran.code, ran.out) == (1, "")
    assert "no fact that other answers" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("update", *ASKED, *TO),
        ("update", *ASKED, *TO, "--neurons", "0:1,0:2"),
        ("update", "--prompt", PROMPTS[0], "--answer", "Paris", *TO, "--method", "rank-one"),
        ("erase", "--relation", "P36"),
    ],
)
def test_a_dry_run_writes_nothing(run: Run, bert_folder: Path, tmp_path: Path, words):
    out = tmp_path / "out"
    command = ("neurons", words[0], "--model", bert_folder, *words[1:], "--dry-run", "--out", out)
    assert run(*command).code == 0
    (row,) = run(*command, "--checkpoint", out, "--json").json()["forecast"]
    assert row.get("prompts", 0) > 0
    assert not out.exists()


def test_a_sweep_of_another_model_is_refused(
    run: Run, bert_folder: Path, gpt_folder: Path, tmp_path: Path
):
    facts, sweep = tmp_path / "facts.tsv", tmp_path / "sweep"
    facts.write_text("relation\tsubject\tanswer\nP36\tFrance\tParis\n")
    run("neurons", "sweep", "--model", bert_folder, "--facts", facts, "--out", sweep)
    for words in (("erase",), ("update", "--subject", "France", *TO)):
        ran = run("neurons", *words, "--relation", "P36", "--model", gpt_folder, "--sweep", sweep)
        assert ran.code == 1
        assert "name that model" in ran.err
