"""`vesalius neurons suppress --sweep`: a whole sweep turned, relation by relation."""

from pathlib import Path

import pytest

from cli.tiny import Run
from vesalius.methods.knowledge_neurons.relations import RelationChanges

FACTS = (
    "relation\tsubject\tanswer",
    "P36\tFrance\tParis",
    "P36\tJapan\tTokyo",
    "P37\tFrance\tLondon",
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relations")


def make_sweep(run: Run, folder: Path, bert_folder: Path) -> Path:
    facts = folder / "facts.tsv"
    facts.write_text("\n".join(FACTS) + "\n")
    ran = run("neurons", "sweep", "--model", bert_folder, "--facts", facts, "--out", folder / "s")
    assert ran.code == 0, ran.err
    return folder / "s"


def test_a_sweep_is_turned_saved_and_drawn(
    run: Run, bert_folder: Path, swept: Path, tmp_path: Path
):
    sweep = make_sweep(run, swept, bert_folder)
    # the tiny model answers none of these: all facts count
    words = ("neurons", "suppress", "--model", bert_folder, "--sweep", sweep, "--controls", 2,
             "--min-answered", 0)  # fmt: skip
    files = ("--out", tmp_path / "r", "--html", tmp_path / "r.html", "--plot", tmp_path / "r.png")
    ran = run(*words, *files)
    assert ran.code == 0, ran.err
    assert "mean over relations" in ran.out
    found = RelationChanges.load(tmp_path / "r")
    assert set(found.relations) == {"P36", "P37"}
    assert "other relation" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.png").stat().st_size > 1000
    told = run(*words, "--json").json()["relations"]
    assert told["overall"]["own"]["estimate"] == pytest.approx(found.overall[0].estimate)
    alone = run(*words, "--relation", "P36", "--selector", "activation")
    assert alone.code == 0, alone.err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--neurons", "0:1"), "--sweep with --neurons"),
        (("--dry-run",), "--sweep with --dry-run"),
        (("--selector", "luck"), "--selector luck"),
        (("--preset", "paper", "--threshold", "0.3"), "--preset and --threshold"),
        (("--controls", "0"), "--controls 0"),
    ],
)
def test_other_sources_are_refused(
    run: Run, bert_folder: Path, tmp_path: Path, extra: tuple[str, ...], said: str
):
    words = ("neurons", "amplify", "--model", bert_folder, "--sweep", tmp_path)
    ran = run(*words, *extra)
    assert ran.code == 2
    assert said in ran.err


def test_a_folder_that_is_no_sweep_is_refused(run: Run, bert_folder: Path, tmp_path: Path):
    ran = run("neurons", "suppress", "--model", bert_folder, "--sweep", tmp_path)
    assert ran.code == 1
    assert str(tmp_path) in ran.err


def test_flags_of_a_sweep_need_one(run: Run, bert_folder: Path):
    words = ("neurons", "suppress", "--model", bert_folder, "--min-answered", "0.2")
    ran = run(*words, "--prompt", "The capital of France is [MASK].", "--answer", "Paris")
    assert ran.code == 2
    assert "without --sweep" in ran.err
