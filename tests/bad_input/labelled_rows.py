"""Every public function that reads or draws labelled rows, fed what it cannot take."""

import json
from typing import Any

import numpy as np

import vesalius
from bad_input.lab import Call, Lab
from vesalius.data.label_draws import class_counts, keep_short
from vesalius.data.prompt_files import read_prompt_file

ca = vesalius.calibrate
ROWS = [ca.LabelledRow(texts=(text,), label=i) for i, text in enumerate(("Paris", "Tokyo"))]
TEMPLATE = 'template = "{text} is in {label}"\n'
TWO = 'words = ["a", "b"]\n'
TABLE = "text,label,split\na,0,train\nb,1,train\na,0,dev\n"


def _own(lab: Lab, template: str, rows: str) -> Any:
    return ca.read_own_task(lab.file("t.toml", template), lab.file("rows.csv", rows))


def harness_samples(lab: Lab, changes: dict[str, Any] | None = None, *, num: int = 6) -> Any:
    docs = [
        {"doc_id": i, "target": i % 2, "arguments": [["x", " no"], ["x", " yes"]],
         "resps": [[[-1.0, False]], [[-2.0, False]]]} | (changes or {}) for i in range(num)
    ]  # fmt: skip
    text = "".join(json.dumps(doc) + "\n" for doc in docs)
    return ca.read_harness_samples(lab.file("samples_t_1.jsonl", text))


# (name: the public name it covers, and what is wrong; the call; parts of `given` and of `fix`)
LABELLED_ROWS: list[tuple[str, Call, str, str]] = [
    *[
        (f"{draw.__name__}: {name}", lambda _, draw=draw, more=more: draw(ROWS, seed=0, **more),
         given, fix)
        for draw in (ca.draw_demonstrations, ca.draw_estimate)
        for name, more, given, fix in [
            ("few", {"num": 3}, "from 2 different rows", "2 or fewer"),
            ("negative", {"num": -1}, "num=-1", "4"),
            ("one share", {"num": 1, "proportions": (1,)}, "proportions=(1,)", "(0.5, 0.5)"),
            ("NaN", {"num": 1, "proportions": (1, np.nan)}, "nan", "(0.5, 0.5)"),
            ("few of a class", {"num": 2, "proportions": (1, 0)}, "of class 0 from 1", "1 or few"),
        ]
    ],
    ("draw_evaluation: negative", lambda _: ca.draw_evaluation(ROWS, num=-1), "num=-1", "0"),
    ("domain_inputs: no rows", lambda _: ca.domain_inputs([], seed=0), "without a word", "train"),
    ("domain_inputs: none", lambda _: ca.domain_inputs(ROWS, num=0, seed=0), "num=0", "20"),
    ("keep_short: nothing left", lambda _: keep_short(ROWS, max_characters=2), "max_characters=2",
     "0 for all"),
    ("class_counts: no shares", lambda _: class_counts(3, (0, 0)), "(0, 0)", "(0.5, 0.5)"),
    ("find_label_task: unknown", lambda _: ca.find_label_task("sst9"), "'sst9'", "template file"),
    ("LabelTask: variant", lambda _: ca.find_label_task("sst2").prompt(variant=99), "variant=99",
     "use 0"),
    ("LabelTask: use", lambda _: ca.find_label_task("sst2").max_characters("dev"), "'dev'", ""),
    *[
        (f"read_task: {name}", lambda x, task=task, rows=rows: ca.read_task(
            ca.find_label_task(task), "" if rows is None else x.file("rows.csv", rows)), given, fix)
        for name, task, rows, given, fix in [
            ("no data", "sst2", None, "'sst2' without data", "stanfordnlp/sst2"),
            ("columns", "sst2", "a,b\n1,2\n", "sst2: train without text", "--text-column"),
            ("classes", "sst2", "text,label\na,7\n", "label '7' in row 1", "template file"),
            ("no test", "sst2", "text,label\na,0\nb,1\n", "none of dev or test", "--dev-share"),
        ]
    ],
    ("read_task: not there", lambda x: ca.read_task(ca.find_label_task("sst2"), x.tmp), "no table",
     "train.tsv"),
    ("LabelledSets: split", lambda _: ca.read_task(ca.find_label_task("opinions")).rows("exam"),
     "'exam'", "'test'"),
    *[
        (f"read_own_task: {name}",
         lambda x, template=template, rows=rows: _own(x, TEMPLATE + template, rows), given, fix)
        for name, template, rows, given, fix in [
            ("words", 'words = ["a", "b", "c"]', TABLE, "3 words", "in that order"),
            ("no word", 'words = { 0 = "a", 2 = "b" }', TABLE, "no word for label '1'", "words ="),
            ("one class", TWO, "text,label,split\na,0,train\nb,0,dev\n", "1 class", "more rows"),
            ("pairs", TWO, "sentence1,sentence2,label,split\na,b,0,train\n"
             "b,a,1,train\na,a,0,dev\n", "with template", "{first} and {second}"),
        ]
    ],
    *[
        (f"read_prompt_file: {name}",
         lambda x, text=text: read_prompt_file(x.file("t.toml", text)), given, fix)
        for name, text, given, fix in [
            ("TOML", "template =\n", "line 1", "mend that place"),
            ("bytes", b"\xff", "utf-8", "mend that place"),
            ("no words", TEMPLATE, "no 'words'", "add template"),
            ("key", TEMPLATE + TWO + 'sep = "x"', "key 'sep'", "rename it"),
            ("kind", TEMPLATE + "words = 3", "words = 3", "quotes"),
            ("template", "template = 3\n" + TWO, "template = 3", "quotes"),
            ("no label", 'template = "{text}"\n' + TWO, "0 times", "write it like"),
            ("twice", TEMPLATE + 'words = ["a", "a"]', "'a', twice", "change one"),
            ("variants", TEMPLATE + TWO + "variants = 3", "variants = 3", "[[var"),
        ]
    ],
    ("read_prompt_file: no file", lambda x: read_prompt_file(x.tmp), "no file", "write one"),
    ("read_harness_samples: no file", lambda x: ca.read_harness_samples(x.tmp), "no file",
     "--log_samples"),
    *[
        (f"read_harness_samples: {name}",
         lambda x, text=text: ca.read_harness_samples(x.file("s.jsonl", text)), given, "")
        for name, text, given in [
            ("empty", "", "the file is empty"), ("bytes", b"\xff", "not UTF-8"),
            ("cut", '{"arguments": ', "line 1"), ("a number", "3", "no sample"),
            ("an empty list", "[]", "no documents"),
        ]
    ],
    *[
        (f"read_harness_samples: {name}",
         lambda x, changes=changes: harness_samples(x, changes), given, fix)
        for name, changes, given, fix in [
            ("arguments", {"arguments": None}, "no pairs", "--log_samples"),
            ("generated", {"arguments": [["x", {"until": []}]]}, "generate_until", "multiple_choi"),
            ("one choice", {"arguments": [["x", " y"]], "resps": [[[-1, False]]]}, "one request",
             "multiple_choice"),
            ("NaN", {"resps": [[["nan", False]], [[-1, False]]]}, "log-likelihood nan", ""),
            ("resps", {"resps": [[[-1, False]]]}, "1 resps for 2 requests", ""),
            ("target", {"target": "perhaps"}, "target 'perhaps'", "several right choices"),
            ("twice", {"doc_id": 1}, "document 1 again", "single run"),
        ]
    ],
    ("HarnessSamples: no targets", lambda x: harness_samples(x, {"target": -1}).acc,
     "no document with a target", "without them"),
]  # fmt: skip
