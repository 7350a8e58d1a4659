"""The reproduction of the knowledge-neuron tables runs, and its page is made by itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from vesalius.data.facts import load_facts

FOLDER = Path(__file__).parents[2] / "reproductions" / "knowledge_neurons"
TEMPLATES = {
    "P36": ["The capital of [X] is [Y].", "[X] has its capital in [Y].", "[X], capital [Y]."],
    "P37": ["The official language of [X] is [Y].", "In [X] people speak [Y].", "[X] speaks [Y]."],
}
STEPS = "select,locate,count,turn,odds,sizes,layers,update,erase,tell"


def call(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", FOLDER / "run.py", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Write the tables of the bundled facts of two relations, and a few sentences about them."""
    folder = tmp_path_factory.mktemp("data")
    wanted = [
        fact for r in TEMPLATES for fact in [f for f in load_facts() if f.relation == r][20:24]
    ]
    facts = [
        {
            "fact_id": number,
            "relation": fact.relation,
            "subject": fact.subject,
            "object": fact.answer,
            "in_kn": True,
        }
        for number, fact in enumerate(wanted)
    ]
    texts = [
        {"fact_id": row["fact_id"], "kind": kind, "text": text}
        for row in facts
        for kind, text in (
            ("head_tail", f"We went to {row['subject']} and heard of {row['object']} there."),
            ("head_only", f"We went to {row['subject']} in the summer."),
        )
    ]
    templates = [
        {"relation": relation, "template": template, "in_kn": True}
        for relation, several in TEMPLATES.items()
        for template in several
    ]
    for name, rows in (("facts", facts), ("templates", templates), ("bing_sentences", texts)):
        parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


def test_runs_and_writes_its_page(data, tmp_path):
    asked = ("--quick", "--data", data, "--work", tmp_path / "work", "--out", tmp_path)
    run = call(*asked)
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads((tmp_path / "results" / "mini-bert.json").read_text("utf-8"))
    assert set(result) == {*STEPS.split(",")} - {"locate"} | {"made_by"}
    assert result["count"]["relations"] == ["P36", "P37"]
    assert result["update"]["unshared"]["num_edits"] <= 2
    kinds = [each["kind"] for each in result["tell"]["attribution"]["signed"]["kinds"]]
    assert kinds == ["head-and-tail", "head-only", "random"]
    page = call("--page", "--out", tmp_path)
    assert page.returncode == 0, page.stderr[-2000:]
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "## mini-bert" in text
    assert "nan" not in text.split()
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert pictures == [f"mini-bert-{n}.png" for n in ("layers", "shared", "sizes", "turned")]


def test_the_stored_page_is_that_of_the_stored_numbers(tmp_path):
    for name in ("results", "notes"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    run = call("--page", "--no-pictures", "--out", tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "README.md").read_text("utf-8") == (FOLDER / "README.md").read_text("utf-8")
    for picture in (FOLDER / "figures").iterdir():
        assert picture.stat().st_size <= 300 * 1024
