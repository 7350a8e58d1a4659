"""`vesalius neurons sweep`: one table, equal to what `locate` finds, resumed and refused."""

from pathlib import Path

import numpy as np
import pytest

from cli.tiny import Run
from vesalius.core.errors import VesaliusError
from vesalius.data.bag_files import write_bags
from vesalius.data.bags import FactBag
from vesalius.data.facts import Fact, prompts_for
from vesalius.methods.knowledge_neurons import LocateConfig, LocateTask, coarse_set, locate
from vesalius.methods.knowledge_neurons.config import SEQUENCE
from vesalius.models import open as open_model
from vesalius.parallel.folder import read_sweep

FACTS = (
    "relation\tsubject\tanswer\nP36\tFrance\tParis\nP36\tJapan\tTokyo\nP36\tPeru\tLima\n"
    "P36\tItaly\tRome\n"
)


@pytest.fixture
def words(bert_folder: Path, tmp_path: Path) -> tuple[object, ...]:
    facts = tmp_path / "facts.tsv"
    facts.write_text(FACTS)
    return ("neurons", "sweep", "--model", bert_folder, "--facts", facts, "--out", tmp_path / "out")


def test_rows_are_what_locate_finds_and_failures_are_skipped(
    run: Run, words: tuple[object, ...], bert_folder: Path, tmp_path: Path
):
    ran = run(*words, "--shard-size", 2, "--json")
    assert ran.code == 4  # "Lima" is no token of the tiny vocabulary
    told = ran.json()
    assert (told["sweep"]["located"], told["sweep"]["skipped"]) == (3, 1)
    assert "one token" in told["skipped"][0]["reason"]
    found = read_sweep(tmp_path / "out")
    rows = found.table().to_pylist()
    assert [row["item"] for row in rows] == [0, 1, 3]
    fact = Fact(relation="P36", subject="Japan", answer="Tokyo")
    asked = prompts_for(fact, mask_token="[MASK]")
    alone = locate(open_model(bert_folder), asked, "Tokyo")
    assert rows[1]["neurons"] == [f"{layer}:{neuron}" for layer, neuron in alone.neurons]
    row = rows[1]
    assert (row["name"], row["relation"], row["subject"]) == ("P36-Japan", "P36", "Japan")
    assert (row["answer"], row["prompts"], row["num_layers"]) == ("Tokyo", asked, 2)
    np.testing.assert_allclose(row["prompt_probs"], alone.prob, rtol=1e-5)
    assert row["prob"] == pytest.approx(np.mean(row["prompt_probs"]))
    best = [guess.token for guess in alone.guesses if guess.rank == 1]
    assert row["answered"] == pytest.approx(best.count("Tokyo") / len(best))
    assert rows[0]["answered"] > 0  # the tiny model leans towards Paris
    assert _neurons(row["coarse"]) == [set(neurons) for neurons in alone.coarse]
    by_value = [coarse_set(values, threshold=0.5) for values in alone.activations]
    assert _neurons(row["activation_coarse"]) == by_value
    scores = found.array("scores")
    assert scores.shape == (3, *alone.mean_scores.shape)
    np.testing.assert_allclose(scores[1], alone.mean_scores, rtol=0, atol=1e-6)


def _neurons(lists: list[list[str]]) -> list[set[tuple[int, int]]]:
    return [{tuple(map(int, name.split(":"))) for name in names} for names in lists]


def test_a_folder_of_facts_and_templates(run: Run, bert_folder: Path, tmp_path: Path):
    folder, out = tmp_path / "pararel", tmp_path / "out"
    folder.mkdir()
    (folder / "facts.tsv").write_text(
        "relation\tsubject\tobject\tin_kn\nP36\tFrance\tParis\ttrue\nown\tAnn\tParis\ttrue\n"
        "P36\tItaly\tRome\tfalse\nP0\tItaly\tRome\ttrue\n"
    )
    (folder / "templates.tsv").write_text(
        "relation\ttemplate\nP36\tThe capital of [X] is [Y] .\nown\t[Y] is where [X] sits.\n"
    )
    words = ("neurons", "sweep", "--model", bert_folder, "--facts", folder, "--only", "in_kn",
             "--no-scores", "--out", out)  # fmt: skip
    ran = run(*words)
    assert ran.code == 0
    assert "1 of 3 facts are left out" in ran.err
    assert "no templates of P0" in ran.err
    table = read_sweep(out).table()
    assert table["name"].to_pylist() == ["P36-France", "own-Ann"]
    assert table["prompts"].to_pylist() == [["The capital of France is [MASK] ."],
                                            ["[MASK] is where Ann sits."]]  # fmt: skip
    assert "scores" not in table.column_names


def test_locate_takes_the_same_files(run: Run, bert_folder: Path, tmp_path: Path):
    bag = FactBag(name="f", relation="own", subject="a", answer="Paris", prompts=("a b [MASK].",))
    facts = write_bags([bag], tmp_path / "facts.jsonl")
    ran = run("neurons", "locate", "--model", bert_folder, "--facts", facts, "--json")
    assert ran.code == 0
    (result,) = ran.json()["results"]
    assert result["name"] == "0001-f"


def test_a_causal_model_is_asked_only_what_ends_with_the_gap(
    run: Run, gpt_folder: Path, tmp_path: Path
):
    prompts = (("a b [MASK].", "[MASK] a b."), ("[MASK] a b.",))
    bags = [
        FactBag(name=f"f{n}", relation="own", subject="a", answer="Paris", prompts=asked)
        for n, asked in enumerate(prompts)
    ]
    facts = write_bags(bags, tmp_path / "facts.jsonl")
    out = tmp_path / "out"
    ran = run("neurons", "sweep", "--model", gpt_folder, "--facts", facts, "--out", out)
    assert ran.code == 4
    assert "1 of 3 prompts end with the gap" in ran.err
    assert "1 of 2 facts have none" in ran.err
    found = read_sweep(out)
    assert found.table()["prompts"].to_pylist() == [["a b [MASK]."]]
    assert "words after the gap" in found.skipped[0].reason


def test_answered_asks_for_every_token_of_a_long_answer(bert_folder: Path):
    specimen = open_model(bert_folder)
    task = LocateTask(
        model=str(bert_folder),
        fingerprint=specimen.fingerprint,
        config=LocateConfig(target=SEQUENCE),
        keep_scores=False,
    )
    work = task.open()
    prompts = ["The capital of France is [MASK]."]
    right = work({"name": "a", "prompts": prompts, "answer": "Paris"}, seed=0)
    assert (right["answered"], right["relation"], right["subject"]) == (1.0, "", "")
    begun = work({"name": "b", "prompts": prompts, "answer": "Paris Paris Rome"}, seed=0)
    assert begun["answered"] == 0.0  # its first token alone is the best


def test_the_same_command_again_does_nothing_and_another_is_refused(
    run: Run, words: tuple[object, ...], tmp_path: Path
):
    assert run(*words).code == 4
    table = (tmp_path / "out" / "table.parquet").read_bytes()
    again = run(*words, "--json")
    assert again.json()["sweep"]["done in this run"] == 0
    assert (tmp_path / "out" / "table.parquet").read_bytes() == table
    changed = run(*words, "--nodes", 8)
    assert changed.code == 1
    assert "num_nodes = 8" in changed.err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--relation", "P36"), "--facts and --relation"),
        (("--only", "in_kn"), "column in_kn: not there"),
        (("--engine", "threads"), "engine='threads'"),
        (("--workers", "0"), "workers=0"),
        (("--address", "head:6379"), "only for engine='ray'"),
    ],
)
def test_wrong_flags(run: Run, words: tuple[object, ...], extra: tuple[str, ...], said: str):
    ran = run(*words, *extra)
    assert ran.code in (1, 2)
    assert said in ran.err


def test_an_unknown_relation_names_the_known_ones(run: Run, bert_folder: Path, tmp_path: Path):
    ran = run("neurons", "sweep", "--model", bert_folder, "--relation", "P0", "--out", tmp_path)
    assert ran.code == 2
    assert "P36" in ran.err


def test_a_column_needs_a_file_of_facts(run: Run, bert_folder: Path, tmp_path: Path):
    ran = run("neurons", "sweep", "--model", bert_folder, "--only", "in_kn", "--out", tmp_path)
    assert ran.code == 2
    assert "--only in_kn without --facts" in ran.err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("f.tsv", "relation\tsubject\tanswer\nP0\tFrance\tParis\n", "line 2, column relation"),
        ("f.tsv", "relation\tsubject\tanswer\nP36\tFrance\n", "line 2, column answer"),
        ("f.jsonl", "{", "line 1"),
        ("f.json", "[]", "no facts"),
    ],
)
def test_wrong_facts_leave_nothing_behind(
    run: Run, bert_folder: Path, tmp_path: Path, name: str, text: str, said: str
):
    (tmp_path / name).write_text(text)
    out = tmp_path / "out"
    ran = run("neurons", "sweep", "--model", bert_folder, "--facts", tmp_path / name, "--out", out)
    assert ran.code == 1
    assert said in ran.err
    assert not out.exists()


def test_a_worker_with_other_weights_is_refused(bert_folder: Path):
    with pytest.raises(VesaliusError, match="fingerprint"):
        LocateTask(model=str(bert_folder), fingerprint="another").open()
