"""The sets for calibration: their table, reading them, own sets with a template file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data import labelled_sources
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_sets import read_own_task, read_task, unseen_rows
from vesalius.data.label_tasks import PAPER_SETS, LabelTask, find_label_task, label_tasks
from vesalius.data.labelled import LabelledOptions
from vesalius.data.prompt_files import read_prompt_file

TASKS = label_tasks()


def write_table(path: Path, columns: Mapping[str, list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)
    return path


def shared_folder(root: Path, task: LabelTask) -> Path:
    """Write two rows of each class, in each split, as the shared folder has them."""
    labels = [i for _ in ("train", "test") for i in range(task.num_labels)]
    half = len(labels) // 2
    columns: dict[str, list[Any]] = {
        "split": ["train"] * half + ["test"] * half,
        "label": labels,
        "label_name": [task.label_names[i] for i in labels],
    }
    for field in task.fields:
        columns[field] = [f"{field} number {n} , it 's here" for n in range(len(labels))]
    write_table(root / task.path, columns)
    return root


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_template_has_a_word_for_each_class_and_makes_a_prompt(task: LabelTask):
    row = LabelledRow(texts=tuple(f"the {name}" for name in task.fields), label=0)
    for variant, template in enumerate(task.templates):
        prompt = task.prompt([row], variant=variant)
        assert prompt.words == template.words
        assert prompt.num_labels == task.num_labels
        assert all(text in prompt.query(row.texts) for text in row.texts)
        assert all(answer.startswith(" ") for answer in prompt.answers)
        assert "{" not in prompt.text(row.texts)
    assert len({task.prompt(variant=i).fingerprint() for i in range(len(task.templates))}) == len(
        task.templates
    )
    assert (task.template, task.words) == (task.templates[0].template, task.templates[0].words)
    assert set(task.aliases) <= set(task.label_names)
    assert task.notes
    assert all(len(names) == len(task.fields) for names in task.columns)


def test_the_nine_sets_of_the_paper_are_there_with_variants_of_templates_and_words():
    assert set(PAPER_SETS) == {*TASKS} - {"opinions"}
    assert next(iter(TASKS)) == "opinions"
    wordings = {(one.template, one.words) for one in TASKS["sst2"].templates[1:]}
    assert len(wordings) >= 9
    assert len({one.words for one in TASKS["sst2"].templates}) >= 9
    assert all(len(task.templates) >= 4 for task in TASKS.values())


def test_label_words_are_the_papers():
    assert TASKS["sst2"].words == ("Negative", "Positive")
    assert dict(zip(TASKS["rte"].label_names, TASKS["rte"].words, strict=True)) == {
        "entailment": "True",
        "not_entailment": "False",
    }
    trec = dict(zip(TASKS["trec"].label_names, TASKS["trec"].words, strict=True))
    assert trec["human"] == "Person"
    assert trec["abbreviation"] == "Ab"
    assert dict(zip(TASKS["agnews"].label_names, TASKS["agnews"].words, strict=True)) == {
        "World": "Politics",
        "Sports": "Sports",
        "Business": "Business",
        "Sci/Tech": "Science",
    }
    dbpedia = dict(zip(TASKS["dbpedia"].label_names, TASKS["dbpedia"].words, strict=True))
    assert (dbpedia["Athlete"], dbpedia["OfficeHolder"], dbpedia["WrittenWork"]) == (
        "Ath",
        "Polit",
        "Book",
    )


def test_limits_are_those_of_the_papers_code():
    assert TASKS["amazon"].max_characters("demonstrations") == 500
    assert TASKS["agnews"].max_characters("estimate") == 950
    assert TASKS["sst2"].max_characters("estimate") == 0
    assert TASKS["rte"].max_characters("test", shots=4) == 0
    assert TASKS["rte"].max_characters("test", shots=8) == 1000
    assert TASKS["agnews"].max_characters("test", shots=8) == 950


def test_limits_are_for_known_uses(as_users_call_it: None):
    with pytest.raises(VesaliusError, match="use='dev'"):
        TASKS["rte"].max_characters("dev")  # pyright: ignore[reportArgumentType]


def test_unknown_names_and_variants_are_refused():
    with pytest.raises(VesaliusError, match="task 'imdb'"):
        find_label_task("imdb")
    with pytest.raises(VesaliusError, match="variant=10"):
        TASKS["sst2"].prompt(variant=10)


def test_the_bundled_set_needs_no_data(tmp_path: Path):
    sets = read_task(TASKS["opinions"])
    assert {split: len(rows) for split, rows in sets.splits.items()} == {
        "train": 40,
        "dev": 40,
        "test": 40,
    }
    assert sets.rows("train")[0] == LabelledRow(
        texts=("The movie is tender, wise and true.",), label=1
    )
    assert sets.evaluation == "test"
    with pytest.raises(VesaliusError, match="split 'validation' of opinions"):
        sets.rows("validation")
    (tmp_path / "cls").mkdir()
    again = read_task(TASKS["opinions"], tmp_path)
    assert again.fingerprint() == sets.fingerprint()
    assert "not " in again.notes[-1]


@pytest.mark.parametrize("name", PAPER_SETS)
def test_a_shared_folder_gives_rows_whose_labels_are_the_words(name: str, tmp_path: Path):
    task = TASKS[name]
    sets = read_task(task, shared_folder(tmp_path, task))
    rows = sets.rows("test")
    assert [row.label for row in rows] == list(range(task.num_labels))
    mended = "number 0, it's here" if task.detokenise else "number 0 , it 's here"
    assert sets.rows("train")[0].texts == tuple(f"{field} {mended}" for field in task.fields)
    assert sets.notes == task.notes


def test_classes_are_told_by_their_names_in_whatever_order_a_file_numbers_them(tmp_path: Path):
    path = write_table(
        tmp_path / "trec.parquet",
        {
            "split": ["train", "train", "train", "test"],
            "text": ["a", "b", "c", "d"],
            "label": [0, 1, 2, 0],
            "label_name": ["DESC", "enty", "abbreviation", "DESC"],
        },
    )
    sets = read_task(TASKS["trec"], path)
    assert [row.label for row in sets.rows("train")] == [2, 1, 0]
    bare = write_table(
        tmp_path / "bare.parquet", {"split": ["train", "dev"], "text": ["a", "b"], "label": [5, 0]}
    )
    sets = read_task(TASKS["trec"], bare)
    assert [row.label for row in sets.rows("train")] == [5]
    assert "numbers without names, taken as 0 abbreviation" in sets.notes[-1]
    assert sets.evaluation == "dev"


def test_a_hub_set_is_read_by_the_names_of_its_classes(monkeypatch: pytest.MonkeyPatch):
    tables = {
        "train": {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]},
        "dev": {"sentence1": ["e"], "sentence2": ["f"], "label": [0]},
        "test": {"sentence1": ["g"], "sentence2": ["h"], "label": [-1]},
    }

    def hub(source: str) -> Any:
        assert source == "glue/rte"
        return tables, ("not_entailment", "entailment")

    monkeypatch.setattr(labelled_sources, "_hub", hub)
    sets = read_task(TASKS["rte"], "glue/rte")
    assert [row.label for row in sets.rows("train")] == [1, 0]
    assert sets.rows("dev") == [LabelledRow(texts=("e", "f"), label=1)]
    assert "test was left out: its labels are not public" in sets.notes[-1]


def test_coarse_classes_win_over_fine_ones(tmp_path: Path):
    columns = {
        "text": ["a", "b"],
        "label": [0, 17],
        "label_text": ["manner of an action", "city"],
        "label_coarse": [0, 1],
        "label_coarse_original": ["DESC", "LOC"],
    }
    for split in ("train", "test"):
        write_table(tmp_path / f"{split}.parquet", columns)
    assert [row.label for row in read_task(TASKS["trec"], tmp_path).rows("test")] == [2, 4]


def test_a_hub_name_without_a_network_says_so():
    with pytest.raises(VesaliusError, match="not to be had from the hub"):
        read_task(TASKS["subj"], "SetFit/subj-that-is-not-there")


def test_what_a_set_does_not_have_is_said(tmp_path: Path):
    (tmp_path / "cls").mkdir()
    with pytest.raises(VesaliusError, match=r"without cls/subj\.parquet") as refused:
        read_task(TASKS["subj"], tmp_path)
    assert "SetFit/subj" in str(refused.value)
    with pytest.raises(VesaliusError, match="task 'sst2' without data"):
        read_task(TASKS["sst2"])
    path = write_table(tmp_path / "a.parquet", {"text": ["a", "b"], "label": ["negative", "mixed"]})
    with pytest.raises(VesaliusError, match="label 'mixed' in row 2 of train"):
        read_task(TASKS["sst2"], path)
    path = write_table(tmp_path / "b.parquet", {"body": ["a"], "label": [0]})
    with pytest.raises(VesaliusError, match="train without text"):
        read_task(TASKS["sst2"], path)
    path = write_table(tmp_path / "c.parquet", {"text": ["a"], "stars": [0]})
    with pytest.raises(VesaliusError, match="train without label or labels"):
        read_task(TASKS["sst2"], path)
    path = write_table(tmp_path / "d.parquet", {"split": ["dev"], "text": ["a"], "label": [0]})
    with pytest.raises(VesaliusError, match="sst2 with dev"):
        read_task(TASKS["sst2"], path)
    path = write_table(tmp_path / "e.parquet", {"text": [" "], "label": [0]})
    with pytest.raises(VesaliusError, match="no row with a text"):
        read_task(TASKS["sst2"], path)


def test_own_columns_rows_without_text_and_a_cut_of_train(tmp_path: Path):
    path = write_table(
        tmp_path / "a.parquet",
        {"body": ["a", "", "b", "c", "d"], "text": ["x"] * 5, "stars": ["0", "1", "1", "0", "1"]},
    )
    options = LabelledOptions(text_column="body", label_column="stars", dev_share=0.5, seed=3)
    sets = read_task(TASKS["sst2"], path, options=options)
    assert sorted(row.texts[0] for split in sets.splits for row in sets.rows(split)) == [*"abcd"]
    assert len(sets.rows("dev")) == 2
    assert "1 rows of train without a text were left out" in sets.notes
    assert sets.fingerprint() == read_task(TASKS["sst2"], path, options=options).fingerprint()
    with pytest.raises(VesaliusError, match="none of dev or test"):
        read_task(
            TASKS["sst2"],
            path,
            options=LabelledOptions(text_column="body", label_column="stars"),
        )
    with pytest.raises(VesaliusError, match="1 columns of texts"):
        read_task(TASKS["rte"], path, options=options)


def test_rows_that_a_model_has_seen_are_left_out():
    def row(text: str) -> LabelledRow:
        return LabelledRow(texts=(text,), label=0)

    seen = [
        row("It's a long and winding film about nothing at all, really."),
        row("Dull."),
    ]
    rows = [
        row("it 's a long and winding film about nothing at all, really. but i laughed"),
        row("and: WINDING film, about nothing at all really"),
        row("dull"),
        row("dull indeed"),
        row("a long and winding film about nothing"),
        row("..."),
    ]
    assert unseen_rows(rows, seen) == [rows[3], rows[4], rows[5]]
    assert unseen_rows(rows, []) == rows


TEMPLATE_FILE = """
template = "Message: {text}\\nUrgent: {label}"
words = { high = "yes", low = "no" }
instruction = "Urgent or not? {choices}."

[[variants]]
template = "{text}\\nThis is {label}"
words = ["urgent", "routine"]
[[variants]]
separator = "\\n"
"""


def own_files(root: Path, template: str = TEMPLATE_FILE) -> tuple[Path, Path]:
    rows = root / "rows.csv"
    rows.write_text(
        'split,text,label\ntrain,a  ,low\ntrain,"b, {x}",high\ndev,c,low\ntest,d,high\n', "utf-8"
    )
    prompt = root / "prompt.toml"
    prompt.write_text(template, "utf-8")
    return prompt, rows


def test_own_texts_with_a_template_file(tmp_path: Path):
    task, sets = read_own_task(*own_files(tmp_path))
    assert sets.label_names == task.label_names == ("high", "low")
    assert sets.rows("train") == [
        LabelledRow(texts=("a  ",), label=1),
        LabelledRow(texts=("b, {x}",), label=0),
    ]
    assert task.words == ("yes", "no")
    assert task.prompt(sets.rows("train")).text(("c",)) == (
        "Urgent or not? yes or no.\n\nMessage: a  \nUrgent: no\n\n"
        "Message: b, {x}\nUrgent: yes\n\nMessage: c\nUrgent:"
    )
    assert task.templates[1].words == ("urgent", "routine")
    assert task.templates[1].instruction == "Urgent or not? {choices}."
    assert (task.templates[2].template, task.templates[2].separator) == (task.template, "\n")
    assert task.fields == ("text",)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('template = "{text} {label}"', "no 'words'"),
        ('words = ["a", "b"]', "no 'template'"),
        ('template = "{text} {label}"\nwords = ["a", "b"]\nprefix = "x"', "key 'prefix'"),
        ('template = "{text} {label}"\nwords = ["a", "b"]\n[[variants]]\nx = 1', "variant 1: key"),
        ('template = "{text} {label}"\nwords = ["a", "b"]\nvariants = 3', "variants = 3"),
        ('template = 3\nwords = ["a", "b"]', "template = 3"),
        ('template = "{text} {label}"\nwords = ["a", 1]', "words = "),
        ('template = "{text} {label}"\nwords = "a b"', "words = 'a b'"),
        ('template = "{text} {label}"\nwords = ["a", "a"]', "twice"),
        ('template = "{text}"\nwords = ["a", "b"]', "0 times"),
        ('template = "{text} {label}', "template file"),
        ("template = {text}", "line 1"),
    ],
)
def test_a_broken_template_file_is_refused(template: str, message: str, tmp_path: Path):
    prompt, _ = own_files(tmp_path, template)
    with pytest.raises(VesaliusError, match=message):
        read_prompt_file(prompt)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('["a", "b", "c"]', "with 3 words"),
        ('{ high = "a", medium = "b" }', "no word for label 'low'"),
        ('{ high = "a", low = "b", medium = "c" }', "a word for 'medium'"),
    ],
)
def test_words_that_do_not_fit_the_labels_are_refused(words: str, message: str, tmp_path: Path):
    files = own_files(tmp_path, f'template = "{{text}} {{label}}"\nwords = {words}')
    with pytest.raises(VesaliusError, match=message):
        read_own_task(*files)


def test_a_template_for_other_texts_or_no_file_is_refused(tmp_path: Path):
    template = 'template = "{first} {second} {label}"\nwords = ["a", "b"]'
    with pytest.raises(VesaliusError, match="a template for text"):
        read_own_task(*own_files(tmp_path, template))
    with pytest.raises(VesaliusError, match="no file"):
        read_prompt_file(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'template = "\xe9"')
    with pytest.raises(VesaliusError, match="UTF-8"):
        read_prompt_file(tmp_path / "latin.toml")


def test_the_example_in_the_docstring_is_a_template_file(tmp_path: Path):
    from vesalius.data import prompt_files

    text = (prompt_files.__doc__ or "").partition("TOML::")[2].partition("What a variant")[0]
    (tmp_path / "doc.toml").write_text(text, "utf-8")
    task = read_prompt_file(tmp_path / "doc.toml").task(("low", "high"))
    assert [one.words for one in task.templates] == [("no", "yes"), ("routine", "urgent")]
    assert task.prompt().query(("Fire!",)) == "Message: Fire!\nUrgent:"
