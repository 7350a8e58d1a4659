"""`vesalius neurons judge`: what it asks, prints, saves and refuses."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from cli.tiny import Run
from vesalius.data.bags import FactBag, Probe
from vesalius.methods.knowledge_neurons.edits import Edit
from vesalius.methods.knowledge_neurons.erase import erase
from vesalius.methods.knowledge_neurons.update import update
from vesalius.methods.knowledge_neurons.verdict import Verdict
from vesalius.models import open as open_model

PROMPTS = ("The capital of France is [MASK].", "The capital city of France is called [MASK].")
CASE = FactBag(
    name="France",
    relation="P36",
    subject="France",
    answer="Paris",
    new_answer="Rome",
    prompts=PROMPTS,
    rephrased=("[MASK] is the capital of France.",),
    neighbours=(Probe(prompt="The capital of Japan is [MASK].", answer="Tokyo"),),
    unrelated=(Probe(prompt="The official language of France is [MASK].", answer="Paris"),),
)


def plan(folder: Path, out: Path, *, prompts: tuple[str, ...] = PROMPTS) -> Path:
    specimen = open_model(folder)
    return update(specimen, prompts, "Paris", "Rome", [(1, 3), (0, 5)]).save(out)


def case_file(folder: Path, *cases: FactBag) -> Path:
    path = folder / "case.jsonl"
    path.write_text("".join(json.dumps(asdict(case)) + "\n" for case in cases))
    return path


@pytest.fixture
def edit_folder(bert_folder: Path, tmp_path: Path) -> Path:
    return plan(bert_folder, tmp_path / "edit")


def test_a_case_from_a_file_is_judged(
    run: Run, bert_folder: Path, edit_folder: Path, tmp_path: Path
):
    words = ("neurons", "judge", edit_folder, "--model", bert_folder, "--case",
             case_file(tmp_path, CASE), "--controls", 3)  # fmt: skip
    out, page, picture = tmp_path / "verdict", tmp_path / "page.html", tmp_path / "bars.svg"
    ran = run(*words, "--out", out, "--html", page, "--plot", picture)
    assert ran.code == 0
    assert "France: Paris → Rome" in ran.out
    for name in ("reliability", "generality", "locality neighbours", "same relation", "teacher"):
        assert name in ran.out
    found = Verdict.load(out)
    assert found.sentence in ran.out
    assert found.sentence in page.read_text("utf-8")
    assert picture.stat().st_size > 1000
    assert found.num_controls == 3
    told = run(*words, "--json").json()["verdict"]
    assert told["sentence"] == found.sentence
    assert len(told["prompts"]) == found.probes.num_rows
    (own,) = [m for m in told["measures"] if (m["name"], m["way"]) == ("reliability", "forced")]
    assert own["after"] == found.get("reliability").after
    refused = run(*words, "--out", out)
    assert (refused.code, refused.out) == (1, "")
    assert "exists" in refused.err
    assert run(*words, "--out", out, "--force").code == 0


def test_a_bundled_fact_is_known_by_its_prompts(run: Run, bert_folder: Path, edit_folder: Path):
    words = ("neurons", "judge", edit_folder, "--model", bert_folder, "--controls", 0,
             "--facts", 2, "--json")  # fmt: skip
    told = run(*words).json()["verdict"]
    assert (told["subject"], told["relation"], told["new_answer"]) == ("France", "P36", "Rome")
    rephrased = [row["prompt"] for row in told["prompts"] if row["group"] == "rephrased"]
    assert len(rephrased) == 4  # six templates, and the edit used two
    assert not set(rephrased) & set(PROMPTS)
    assert told["controls"] == 0


def test_a_left_to_right_model_is_asked_what_it_can_answer(
    run: Run, gpt_folder: Path, tmp_path: Path
):
    folder = plan(gpt_folder, tmp_path / "edit")
    told = run("neurons", "judge", folder, "--model", gpt_folder, "--controls", 1,
               "--json").json()["verdict"]  # fmt: skip
    assert all(row["prompt"].endswith("[MASK].") for row in told["prompts"])


def test_an_erasure_is_judged_over_its_relation(run: Run, bert_folder: Path, tmp_path: Path):
    edit = erase(open_model(bert_folder), [[(0, 1), (1, 3)], [(1, 3)]], num_neurons=2)
    folder = edit.save(tmp_path / "erased")
    words = ("neurons", "judge", folder, "--model", bert_folder, "--controls", 1)
    ran = run(*words, "--relation", "P36", "--json")
    assert ran.code == 0
    told = ran.json()["verdict"]
    assert (told["method"], told["relation"]) == ("erase", "P36")
    assert {m["name"] for m in told["measures"]} >= {"erased_relation", "other_relations"}
    assert "left out" in " ".join(told["warnings"])
    for more, part in (((), "--relation P36"), (("--case", "c.jsonl"), "--case with an erasure")):
        refused = run(*words, *more)
        assert refused.code == 2
        assert part in refused.err


def test_what_cannot_be_judged_is_refused(
    run: Run, bert_folder: Path, gpt_folder: Path, edit_folder: Path, tmp_path: Path
):
    strange = plan(bert_folder, tmp_path / "strange", prompts=("a b c [MASK].",))
    two = FactBag(name="b", relation="P36", subject="a", answer="Paris", prompts=PROMPTS)
    several = case_file(tmp_path, CASE, two)
    other = tmp_path / "other"
    other.mkdir()
    lima = case_file(other, FactBag(**{**vars(CASE), "new_answer": "Tokyo"}))
    model = ("--model", bert_folder)
    rows = (
        ((edit_folder, "--model", gpt_folder), 1, ("weights",)),
        ((strange, *model), 1, ("0 facts", "--case")),
        ((edit_folder, *model, "--case", several), 1, ("2 facts", "--case")),
        ((edit_folder, *model, "--case", lima), 1, ("Tokyo", "Rome")),
        ((edit_folder, *model, "--case", tmp_path / "no.jsonl"), 1, ("no.jsonl",)),
        ((edit_folder, *model, "--relation", "P36"), 2, ("--relation",)),
        ((edit_folder, *model, "--controls", -1), 2, ("--controls -1",)),
        ((edit_folder, *model, "--facts", -1), 2, ("--facts -1",)),
        ((edit_folder, *model, "--plot", "p.gif"), 2, ("p.gif",)),
        ((edit_folder, *model, "--html", several), 1, ("exists",)),
        ((tmp_path, *model), 1, ("result.json",)),
    )
    for words, code, parts in rows:
        ran = run("neurons", "judge", *words)
        assert (ran.code, ran.out) == (code, ""), words
        for part in parts:
            assert part in ran.err
        assert "fault of ours" not in ran.err


def test_without_a_model_the_edits_own_is_opened(run: Run, edit_folder: Path):
    assert Edit.load(edit_folder).card.model == "tiny-bert"
    ran = run("neurons", "judge", edit_folder)
    assert ran.code == 1
    assert "tiny-bert" in ran.err
