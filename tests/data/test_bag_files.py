"""Files of facts: every published layout, and what is said about a wrong row."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data.bag_files import bag_of, read_bags, write_bags
from vesalius.data.bags import FactBag, Probe, bundled_bags
from vesalius.data.edit_cases import edit_case
from vesalius.data.facts import Fact

FACTS = [
    {"relation": "P36", "subject": "Peru", "object": "Lima", "in_kn": True},
    {"relation": "P36", "subject": "France", "object": "Paris", "in_kn": False},
    {"relation": "own", "subject": "Ann", "object": "Bob", "in_kn": True},
]
TEMPLATES = [
    {"relation": "P36", "template": "The capital of [X] is [Y] .", "in_kn": True},
    {"relation": "P36", "template": "[X], whose capital is [Y].", "in_kn": False},
    {"relation": "own", "template": "[X] works for [Y].", "in_kn": True},
]
COUNTERFACT = {
    "case_id": 7,
    "pararel_idx": 2796,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": ["It rained. Danielle Darrieux, a native"],
    "neighborhood_prompts": ["The mother tongue of Jean Gabin is", "Louis Jouvet, a native"],
    "attribute_prompts": ["The mother tongue of Al Gore is"],
    "generation_prompts": ["Danielle Darrieux was born in"],
}
ZSRE = {
    "subject": "Watts Humphrey",
    "src": "What university did Watts Humphrey attend?",
    "pred": "Trinity College",
    "rephrase": "Where did Watts Humphrey study?",
    "alt": "University of Michigan",
    "answers": ["Illinois Institute of Technology"],
    "loc": "nq question: who wrote hamlet",
    "loc_ans": "Shakespeare",
    "cond": "",
    "portability": {"New Question": "In which state did he study?", "New Answer": "Michigan"},
}


def write(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        sign = "\t" if path.suffix == ".tsv" else ","
        lines = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
        quoted = [[f'"{c}"' if sign == "," and "," in c else c for c in line] for line in lines]
        path.write_text("\n".join(sign.join(line) for line in quoted), encoding="utf-8")
    return path


# ---- PARAREL ----


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "tsv", "csv", "json"])
def test_a_folder_of_facts_and_templates(tmp_path: Path, suffix: str):
    write(tmp_path / f"facts.{suffix}", FACTS)
    write(tmp_path / f"templates.{suffix}", TEMPLATES)
    bags = read_bags(tmp_path)
    assert bags[0] == FactBag(
        name="P36-Peru", relation="P36", subject="Peru", answer="Lima",
        prompts=("The capital of Peru is [MASK] .", "Peru, whose capital is [MASK]."),
    )  # fmt: skip
    assert [bag.answer for bag in bags] == ["Lima", "Paris", "Bob"]
    chosen = read_bags(tmp_path, only="in_kn")
    assert [bag.prompts for bag in chosen] == [
        ("The capital of Peru is [MASK] .",),
        ("Ann works for [MASK].",),
    ]


def test_a_folder_as_pararel_publishes_it(tmp_path: Path):
    write(tmp_path / "trex_lms_vocab/P36.jsonl", [{"sub_label": "Peru", "obj_label": "Lima"}])
    write(tmp_path / "trex_lms_vocab/P17.jsonl", [{"sub_label": "Rome", "obj_label": "Italy"}])
    for code in ("P36", "P17"):
        pattern = [{"pattern": f"[X] {code} [Y].", "lemma": "x"}]
        write(tmp_path / f"pattern_data/graphs_json/{code}.jsonl", pattern)
    found = [(bag.relation, bag.prompts) for bag in read_bags(tmp_path, layout="pararel")]
    assert found == [("P17", ("Rome P17 [MASK].",)), ("P36", ("Peru P36 [MASK].",))]


def test_facts_without_templates_are_counted_and_told(tmp_path: Path):
    write(tmp_path / "facts.jsonl", FACTS)
    write(tmp_path / "templates.jsonl", TEMPLATES[:1])
    told: list[str] = []
    assert len(read_bags(tmp_path, tell=told.append)) == 2
    assert "1 of 3 facts are left out" in told[0]
    assert "templates of own" in told[0]
    with pytest.warns(UserWarning, match="1 of 3"):
        read_bags(tmp_path)


@pytest.mark.parametrize(
    ("facts", "templates", "said"),
    [
        (None, TEMPLATES, "no table of facts"),
        (FACTS, None, "no table of templates"),
        (FACTS, [], "templates.jsonl: no facts"),
        (FACTS, [TEMPLATES[0], {"relation": "P36", "template": "[Y]"}],
         r"line 2, column template: '\[Y\]'"),
        (FACTS, [{"relation": "P36", "template": "[X] [Y] [Y]"}], "exactly once each"),
        (FACTS, [{"relation": "P36"}], "column template: not there"),
        (FACTS, [{"template": "[X] [Y]"}], "column relation"),
        ([FACTS[0], FACTS[1] | {"object": 3}], TEMPLATES, "line 2, column object: 3"),
        ([FACTS[0] | {"subject": " "}], TEMPLATES, "line 1, column subject"),
        ([FACTS[0] | {"relation": "P0"}], TEMPLATES, "facts of P0, templates of P36, own"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_told_by_row_and_column(
    tmp_path: Path, facts: list[Any] | None, templates: list[Any] | None, said: str
):
    for name, rows in (("facts", facts), ("templates", templates)):
        if rows is not None:
            write(tmp_path / f"{name}.jsonl", rows)
    with pytest.raises(VesaliusError, match=said):
        read_bags(tmp_path)


def test_a_folder_that_says_it_twice_or_not_at_all_is_refused(tmp_path: Path):
    write(tmp_path / "facts.jsonl", FACTS)
    write(tmp_path / "facts.tsv", FACTS)
    with pytest.raises(VesaliusError, match=r"facts\.jsonl, facts\.tsv with facts"):
        read_bags(tmp_path)
    (tmp_path / "facts.tsv").unlink()
    (tmp_path / "templates").mkdir()
    with pytest.raises(VesaliusError, match="without files"):
        read_bags(tmp_path)


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("subject", "'Peru'"),
        ("in_pararel", "column in_pararel: not there"),
        ("never", "true in at"),
    ],
)
def test_a_column_of_yes_and_no(tmp_path: Path, only: str, said: str):
    write(tmp_path / "facts.jsonl", [row | {"never": False} for row in FACTS])
    write(tmp_path / "templates.jsonl", TEMPLATES)
    with pytest.raises(VesaliusError, match=said):
        read_bags(tmp_path, only=only)


# ---- CounterFact and ZsRE ----


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_counterfact(tmp_path: Path, suffix: str):
    (bag,) = read_bags(write(tmp_path / f"counterfact.{suffix}", [COUNTERFACT]))
    assert bag == FactBag(
        name="7-P103-Danielle-Darrieux",
        relation="P103",
        subject="Danielle Darrieux",
        answer="French",
        new_answer="English",
        prompts=("The mother tongue of Danielle Darrieux is [MASK].",),
        rephrased=("It rained. Danielle Darrieux, a native [MASK].",),
        neighbours=(
            Probe(prompt="The mother tongue of Jean Gabin is [MASK].", answer="French"),
            Probe(prompt="Louis Jouvet, a native [MASK].", answer="French"),
        ),
    )


def test_zsre(tmp_path: Path):
    (bag,) = read_bags(write(tmp_path / "zsre.json", [ZSRE]))
    assert bag == FactBag(
        name="Watts-Humphrey",
        relation="",
        subject="Watts Humphrey",
        answer="Illinois Institute of Technology",
        new_answer="University of Michigan",
        prompts=("What university did Watts Humphrey attend? [MASK].",),
        rephrased=("Where did Watts Humphrey study? [MASK].",),
        unrelated=(Probe(prompt="nq question: who wrote hamlet? [MASK].", answer="Shakespeare"),),
        portable=(
            Probe(prompt="In which state did he study? [MASK].", answer="Michigan",
                  kind="one-hop"),
        ),
    )  # fmt: skip


REWRITE = COUNTERFACT["requested_rewrite"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (COUNTERFACT | {"requested_rewrite": 3}, "record 2, column requested_rewrite: 3"),
        (COUNTERFACT | {"requested_rewrite": REWRITE | {"prompt": "no place"}}, "record 2.*prompt"),
        (COUNTERFACT | {"requested_rewrite": REWRITE | {"target_true": None}}, "target_true: None"),
        (
            COUNTERFACT | {"requested_rewrite": REWRITE | {"target_new": {}}},
            "target_new, column str",
        ),
        (COUNTERFACT | {"paraphrase_prompts": "one"}, "paraphrase_prompts: 'one'"),
        (COUNTERFACT | {"neighborhood_prompts": [3]}, r"neighborhood_prompts: \[3\]"),
        (COUNTERFACT | {"paraphrase_prompts": ["a [MASK]"]}, "record 2: rephrased.*2 times"),
        (
            {"relation": "P36"},
            "record 2, column requested_rewrite: not there; the row has relation",
        ),
    ],
)
def test_a_wrong_counterfact_record(tmp_path: Path, record: Any, said: str):
    path = write(tmp_path / "cf.json", [COUNTERFACT, record])
    with pytest.raises(VesaliusError, match=said):
        read_bags(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": []}, "record 2, column answers"),
        ({"answers": "one"}, "column answers: 'one'"),
        ({"src": ""}, "record 2, column src"),
        ({"loc_ans": None}, "record 2, column loc_ans"),
        ({"portability": []}, "record 2, column portability"),
    ],
)
def test_a_wrong_zsre_record(tmp_path: Path, change: dict[str, Any], said: str):
    path = write(tmp_path / "zsre.json", [ZSRE, ZSRE | change])
    with pytest.raises(VesaliusError, match=said):
        read_bags(path)


# ---- our own rows ----


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_rows_with_bundled_templates(tmp_path: Path, suffix: str):
    rows = [{"relation": "P36", "subject": "Peru", "answer": "Lima"}] * 2
    bags = read_bags(write(tmp_path / f"facts.{suffix}", rows))
    (bundled,) = [bag for bag in bundled_bags("P36") if bag.subject == "Peru"]
    assert bags[0] == bundled
    assert [bag.name for bag in bags] == ["P36-Peru", "P36-Peru-2"]


def test_rows_with_one_prompt_each_are_gathered_by_their_fact(tmp_path: Path):
    head = "relation\tsubject\tanswer\tprompt\n"
    rows = ["own\tAnn\tBob\tAnn serves [MASK].", "own\tCid\tEve\tCid \"serves\" [MASK].",
            "own\tAnn\tBob\t[MASK] pays Ann.", "own\tAnn\tBob\tAnn serves [MASK]."]  # fmt: skip
    path = tmp_path / "facts.tsv"
    path.write_text(head + "\n\n".join(rows))
    ann, cid = read_bags(path)
    assert (ann.name, ann.prompts) == ("own-Ann", ("Ann serves [MASK].", "[MASK] pays Ann."))
    assert cid.prompts == ('Cid "serves" [MASK].',)


def test_what_is_written_is_read_again(tmp_path: Path):
    france = Fact(relation="P36", subject="France", answer="Paris")
    bags = [edit_case(france, "London"), *bundled_bags("P30")[:20]]
    path = write_bags(bags, tmp_path / "cases.jsonl")
    assert read_bags(path) == bags
    assert bag_of(json.loads(path.read_text("utf-8").splitlines()[0])) == bags[0]
    with pytest.raises(VesaliusError, match="exists"):
        write_bags(bags, path)
    assert write_bags(bags[:1], path, force=True) == path
    assert read_bags(path) == bags[:1]


ROW = {"relation": "P36", "subject": "Peru", "answer": "Lima"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"relation": "P0"}, r"line 2, column relation: 'P0'\n.*P36.*\n.*prompt"),
        ({"answer": None}, "line 2, column answer"),
        ({"subject": ["Peru"]}, "line 2, column subject"),
        ({"prompts": "one [MASK]"}, "line 2, column prompts"),
        ({"prompts": ["one"]}, "line 2: prompts: 'one', with .MASK. 0 times"),
        ({"prompt": ""}, "line 2, column prompt"),
        ({"new_answer": 1}, "line 2, column new_answer: 1"),
        ({"rephrased": [""]}, "line 2, column rephrased"),
        ({"neighbours": [{"prompt": "[MASK]"}]}, "line 2, neighbours 1, column answer"),
        ({"unrelated": ["[MASK]"]}, "line 2, column unrelated"),
        ({"portable": {"prompt": "[MASK]"}}, "line 2, column portable"),
        ({"portable": [{"prompt": "no", "answer": "a"}]}, "line 2: prompt: 'no'"),
    ],
)
def test_a_wrong_row(tmp_path: Path, change: dict[str, Any], said: str):
    path = write(tmp_path / "facts.jsonl", [ROW, ROW | change])
    with pytest.raises(VesaliusError, match=said):
        read_bags(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("f.jsonl", b"", "no facts"),
        ("f.json", b"", "no facts"),
        ("f.json", b"[]", "no facts"),
        ("f.tsv", b"relation\tsubject\tanswer\n", "no facts"),
        ("f.txt", b"x", r"ends in \.jsonl"),
        ("f.jsonl", b"{}\n{}", "line 1, column relation: not there; the row has no columns"),
        ("f.jsonl", b'{"src": 1}\n{', "line 2: Expecting"),
        ("f.jsonl", b"[1]", "line 1: list, no object"),
        ("f.json", b'{"a": 1}', "dict, no list"),
        ("f.json", b"[1]", "record 1: int, no object"),
        ("f.json", b'[{"a": 1},\n {"a"}]', "line 2 column"),
        ("f.tsv", b"relation\tsubject\tanswer\nP36\tPeru\n", "line 2, column answer.*not there"),
        ("f.tsv", b"relation\tsubject\tanswer\nP36\tPeru\tLima\tx\n", "line 2: 4 fields"),
        ("f.csv", b"a,a\n1,2\n", "two columns of one name"),
        ("f.csv", b'a,b\n"1,2\n', "line 2: unexpected end"),
        (
            "f.tsv",
            b"relation\tsubject\tanswer\nP36\tPeru\t\xff\n",
            "line 2: byte 0xff is not UTF-8",
        ),
        ("f.parquet", b"PAR1", r"f\.parquet: "),
    ],
)
def test_a_wrong_file(tmp_path: Path, name: str, content: bytes, said: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VesaliusError, match=said):
        read_bags(path)


def test_a_wrong_call(tmp_path: Path, as_users_call_it: None):
    path = write(tmp_path / "facts.jsonl", [ROW])
    for words, said in (
        ((tmp_path / "none.jsonl", "auto"), "spelling"),
        ((tmp_path, "counterfact"), "a folder, with layout='counterfact'"),
        ((path, "pararel"), "a file, with layout='pararel'"),
        ((path, "lama"), "layout='lama'"),
        ((path, "zsre"), "line 1, column answers"),
    ):
        with pytest.raises(VesaliusError, match=said):
            read_bags(words[0], layout=words[1])
    with pytest.raises(VesaliusError, match="0 bags"):
        write_bags([], tmp_path / "x.jsonl")
    with pytest.raises(VesaliusError, match=r"ends in \.jsonl"):
        write_bags(read_bags(path), tmp_path / "x.tsv")
    with pytest.raises(VesaliusError, match="bag, column subject"):
        bag_of({"relation": "P36"})
