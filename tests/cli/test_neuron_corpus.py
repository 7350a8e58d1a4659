"""`vesalius neurons statistics` and `activations`: printed, saved, drawn, refused."""

from pathlib import Path

import pytest

from cli.tiny import PROMPTS, Run
from located_rows import rows, save_sweep
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons.activation_result import Activations
from vesalius.methods.knowledge_neurons.corpus import Corpus

TOLD = """The capital of France is [MASK].
[MASK] is the capital of France.

Paris, the capital of France, is a city in France.
The government of France sits in Paris.
The capital of Japan is Tokyo.
"""
RANDOM = "Tokyo is the capital city of Japan.\nThe official language has a country [MASK].\n"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    save_sweep(tmp_path / "sweep", [{**each, "num_layers": 6} for each in rows()])
    return tmp_path / "sweep"


@pytest.fixture
def texts(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "told.txt").write_text(TOLD)
    (tmp_path / "random.txt").write_text(RANDOM)
    return ("--texts", tmp_path / "told.txt", "--random", tmp_path / "random.txt")


@pytest.fixture
def words(bert_folder: Path, texts: tuple[object, ...]) -> tuple[object, ...]:
    fact = ("--relation", "P36", "--subject", "France")
    return ("neurons", "activations", "--model", bert_folder, *texts, *fact)


def test_statistics_are_printed_saved_and_drawn(run: Run, sweep: Path, tmp_path: Path):
    folder, page, picture = tmp_path / "out", tmp_path / "page.html", tmp_path / "layers.svg"
    ran = run("neurons", "statistics", sweep, "--out", folder, "--html", page, "--plot", picture)
    assert ran.code == 0
    assert "7 facts of 3 relations: 2.00 neurons per fact" in ran.out
    assert "shared by two facts of one relation" in ran.out
    assert "1 facts were skipped" in ran.err
    found = load_result(folder)
    assert isinstance(found, Corpus)
    assert found.card.model == "tiny-bert"
    assert found.verdict in page.read_text("utf-8")
    assert "<svg" in picture.read_text("utf-8")
    again = run("neurons", "statistics", sweep, "--out", folder)
    assert (again.code, again.out) == (1, "")
    assert "--force" in again.err
    assert run("neurons", "statistics", sweep, "--out", folder, "--force").code == 0


def test_statistics_as_json(run: Run, sweep: Path):
    told = run("neurons", "statistics", sweep, "--partners", 0, "--json").json()["statistics"]
    assert [row["relation"] for row in told["relations"]] == ["P36", "P19", "P1376"]
    assert told["relations"][2]["intra"] is None
    assert told["attribution"]["intra"]["estimate"] == 1
    assert told["attribution"]["layers"] == [0, 0, 6, 8, 0, 0]
    assert told["attribution"]["relation_neurons"]["P1376"] == ["3:0", "3:5"]
    assert told["skipped"] == 1
    fixed = run("neurons", "statistics", sweep, "--share", 1, "--json").json()["statistics"]
    assert {row["share"] for row in fixed["relations"]} == {1}


def test_facts_that_are_not_answered_are_told(run: Run, tmp_path: Path):
    made = [{**each, "num_layers": 4} for each in rows()]
    made[0]["answered"], made[6]["answered"] = 0.2, 0.2
    save_sweep(tmp_path / "sweep", made)
    ran = run("neurons", "statistics", tmp_path / "sweep")
    assert "5 facts of 2 relations" in ran.out
    assert "left out 1 facts that the model does not answer; no fact is left of P1376" in ran.err
    everyone = run("neurons", "statistics", tmp_path / "sweep", "--min-answered", 0)
    assert "7 facts of 3 relations" in everyone.out


def test_activations_are_printed_saved_and_drawn(
    run: Run, words: tuple[object, ...], tmp_path: Path
):
    folder, page, picture = tmp_path / "out", tmp_path / "page.html", tmp_path / "kinds.png"
    written = ("--out", folder, "--html", page, "--plot", picture)
    ran = run(*words, "--neurons", "0:3,1:5", *written)
    assert ran.code == 0
    assert "1 of 5 lines of" in ran.err  # nothing about France and Paris in the last
    assert "Mean activation: " in ran.out
    assert "head-and-tail: most and least active" in ran.out
    found = load_result(folder)
    assert isinstance(found, Activations)
    hidden = [row["text"] for row in found.texts.to_pylist() if row["kind"] == "head-and-tail"]
    assert "[MASK], the capital of France, is a city in France." in hidden
    assert set(found.texts["answer"].to_pylist()) == {"Paris"}  # looked up
    assert found.verdict in page.read_text("utf-8")
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = run(*words, "--neurons", "0:3", "--out", folder)
    assert (again.code, again.out) == (1, "")
    assert "--force" in again.err


def test_activations_of_a_location_as_json(
    run: Run, words: tuple[object, ...], bert_folder: Path, gpt_folder: Path, tmp_path: Path
):
    asked = [part for prompt in PROMPTS for part in ("--prompt", prompt)]
    place = tmp_path / "paris"
    model = ("--model", bert_folder)
    assert run("neurons", "locate", *model, *asked, "--answer", "Paris", "--share", 0.3,
               "--no-evidence", "--out", place).code == 0  # fmt: skip
    told = run(*words, "--location", place, "--json", "--top", 1).json()
    assert [(each["kind"], each["texts"]) for each in told["kinds"]] == [
        ("head-and-tail", 4), ("random", 2),
    ]  # fmt: skip
    assert [row["rank"] for row in told["ranked"]["head-and-tail"]] == [1, 4]
    assert told["ranked"]["random"][0]["neurons"]
    assert told["differences"] == []  # one fact alone
    assert told["correlation"] is not None
    other = run(*words[:3], gpt_folder, *words[4:], "--location", place)
    assert other.code == 1
    assert "another model" in other.err


def test_a_file_with_gaps_needs_no_fact(run: Run, bert_folder: Path, tmp_path: Path):
    (tmp_path / "gaps.txt").write_text("The capital of France is [MASK].\n")
    told = run("neurons", "activations", "--model", bert_folder, "--neurons", "0:1", "--head-only",
               tmp_path / "gaps.txt", "--json", "--top", 0).json()  # fmt: skip
    assert told["kinds"][0]["prob"] is None
    assert told["ranked"] == {"head-only": []}


ACTIVATIONS = ("neurons", "activations", "--model", "{bert}")
NAMED = ("--neurons", "0:1")
GAPS = ("--texts", "{tmp}/gaps.txt")
BAD = [
    ("no sweep", ("neurons", "statistics", "{tmp}/none"), 1, ("manifest.json",)),
    ("something else", ("neurons", "statistics", "{tmp}"), 1, ("manifest.json",)),
    ("min answered", ("neurons", "statistics", "{sweep}", "--min-answered", "2"), 1,
     ("min_answered=2", "0.5")),
    ("share", ("neurons", "statistics", "{sweep}", "--share", "0"), 1, ("share=0",)),
    ("neurons", ("neurons", "statistics", "{sweep}", "--min-neurons", "9"), 1, ("min_neurons=9",)),
    ("partners", ("neurons", "statistics", "{sweep}", "--partners", "-1"), 1,
     ("num_partners=-1",)),
    ("picture", ("neurons", "statistics", "{sweep}", "--plot", "p.gif"), 2, (".png",)),
    ("page exists", ("neurons", "statistics", "{sweep}", "--html", "{tmp}/gaps.txt"), 1,
     ("exists", "--force")),
    ("no neurons", (*ACTIVATIONS, *GAPS), 2, ("exactly one of --neurons",)),
    ("two sources", (*ACTIVATIONS, *GAPS, *NAMED, "--location", "x"), 2, ("--location",)),
    ("no texts", (*ACTIVATIONS, *NAMED), 2, ("at least one of --texts",)),
    ("no file", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}/none.txt"), 1, ("none.txt", "path")),
    ("a folder", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}"), 1, ("UTF-8 text file",)),
    ("empty", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}/empty.txt"), 1, ("no texts",)),
    ("not UTF-8", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}/latin.txt"), 1, ("UTF-8",)),
    ("two masks", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}/two.txt"), 1, ("line 2: 2 masks",)),
    ("no fact", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}/raw.txt"), 2,
     ("line 1", "--subject and --answer")),
    ("no subject", (*ACTIVATIONS, *NAMED, "--head-only", "{tmp}/raw.txt"), 2, ("--subject",)),
    ("not told", (*ACTIVATIONS, *NAMED, "--texts", "{tmp}/raw.txt", "--subject", "Peru",
     "--answer", "Lima"), 1, ("no line that can be masked", "'Peru' and 'Lima'")),
    ("neuron names", (*ACTIVATIONS, *GAPS, "--neurons", "0-1"), 2, ("3:117",)),
    ("neuron range", (*ACTIVATIONS, *GAPS, "--neurons", "7:0"), 1, ("neuron 0 of layer 7",)),
    ("no location", (*ACTIVATIONS, *GAPS, "--location", "{tmp}"), 1, ("result.json",)),
    ("tokens", (*ACTIVATIONS, *GAPS, *NAMED, "--max-tokens", "2"), 1, ("most_tokens=2",)),
    ("memory", (*ACTIVATIONS, *GAPS, *NAMED, "--memory", "much"), 1, ("much", "2GiB")),
    ("out exists", (*ACTIVATIONS, *GAPS, *NAMED, "--out", "{tmp}"), 1, ("exists",)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "parts"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input_gets_one_clear_message(
    run: Run, bert_folder: Path, sweep: Path, tmp_path: Path, words, code, parts
):
    files = {
        "gaps": b"Paris is in [MASK].",
        "empty": b" \n",
        "latin": b"\xe9t\xe9 [MASK]",
        "two": b"a [MASK]\n[MASK] b [MASK]",
        "raw": b"Paris is the capital of France.",
    }
    for name, content in files.items():
        (tmp_path / f"{name}.txt").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    places = {"tmp": tmp_path, "bert": bert_folder, "sweep": sweep}
    ran = run(*(word.format(**places) for word in words))
    assert (ran.code, ran.out) == (code, "")
    for part in parts:
        assert part in ran.err
    assert "Traceback" not in ran.err
    assert "a fault of ours" not in ran.err
    assert sorted(tmp_path.rglob("*")) == before
