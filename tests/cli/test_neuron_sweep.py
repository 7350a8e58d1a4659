"""`vesalius neurons sweep`: one table, equal to what `locate` finds, resumed and refused."""

from pathlib import Path

import numpy as np
import pytest

from cli.tiny import Run
from vesalius.core.errors import VesaliusError
from vesalius.data.facts import Fact, prompts_for
from vesalius.methods.knowledge_neurons import LocateTask, locate
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
    scores = found.array("scores")
    assert scores.shape == (3, *alone.mean_scores.shape)
    np.testing.assert_allclose(scores[1], alone.mean_scores, rtol=0, atol=1e-6)


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


def test_a_worker_with_other_weights_is_refused(bert_folder: Path):
    with pytest.raises(VesaliusError, match="fingerprint"):
        LocateTask(model=str(bert_folder), fingerprint="another").open()
