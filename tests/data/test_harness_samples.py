"""Samples files of lm-evaluation-harness, in the form of today and in that of earlier versions."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.data.harness_samples import read_harness_samples

CHOICES = ("bad", "so so", "é good one")
SCORES = np.array([[-1.5, -2.25, -8.0], [-3.0, -1.0, -9.0], [-4.0, -2.0, -6.0], [-0.5, -3.0, -7.0]])
TARGETS = (0, 1, 2, 1)
PREMISE = np.array([-2.0, -1.0, -6.5])
NAME = "samples_my_own_task_2026-11-24T19-43-17.134246.jsonl"


def documents(
    scores: np.ndarray = SCORES,
    targets: Sequence[Any] = TARGETS,
    choices: Sequence[str] = CHOICES,
    premise: np.ndarray | None = None,
    delimiter: str = " ",
) -> list[dict[str, Any]]:
    """Make documents as the harness keeps them in memory: tuples and numbers."""
    made: list[dict[str, Any]] = []
    for i, (row, target) in enumerate(zip(scores, targets, strict=True)):
        asked = [(f"Review: {i}\nSentiment:", delimiter + choice) for choice in choices]
        values = [float(score) for score in row]
        if premise is not None:
            asked += [("", delimiter + choice) for choice in choices]
            values += [float(score) for score in premise]
        norm = row / np.array([len(choice) for choice in choices])
        made.append(
            {
                "doc_id": i,
                "doc": {"text": str(i)},
                "target": target,
                "arguments": asked,
                "resps": [[(value, False)] for value in values],
                "filtered_resps": [(value, False) for value in values],
                "filter": "none",
                "metrics": ["acc", "acc_norm"],
                "doc_hash": "0" * 64,
                "acc": float(int(row.argmax()) == target),
                "acc_norm": float(int(norm.argmax()) == target),
            }
        )
    return made


def as_texts(value: Any) -> Any:
    return [as_texts(one) for one in value] if isinstance(value, list | tuple) else str(value)


def today(docs: list[dict[str, Any]]) -> str:
    """Write documents as lm-eval 0.4.4 to 0.4.13 do: objects of arguments, everything text."""
    lines: list[str] = []
    for doc in docs:
        arguments = {
            f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(arg)}
            for i, arg in enumerate(doc["arguments"])
        }
        changed = {**doc, "arguments": arguments, "target": str(doc["target"])}
        if "resps" in doc:
            changed["resps"] = as_texts(doc["resps"])
        lines.append(json.dumps(changed, ensure_ascii=False) + "\n")
    return "".join(lines)


def earlier(docs: list[dict[str, Any]]) -> str:
    """Write documents as lm-eval 0.4.0 to 0.4.2 do: one list, lists of arguments, numbers."""
    without = ("filter", "metrics", "doc_hash")
    return json.dumps(
        [{k: v for k, v in doc.items() if k not in without} for doc in docs], indent=2
    )


def lists_in_lines(docs: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(doc) + "\n" for doc in docs)


def write(folder: Path, text: str) -> Path:
    path = folder / NAME
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("form", [today, earlier, lists_in_lines])
def test_scores_targets_and_accuracies_come_back(
    form: Callable[[list[dict[str, Any]]], str], tmp_path: Path
):
    found = read_harness_samples(write(tmp_path, form(documents())))
    assert found.task == "my_own_task"
    assert found.choices == CHOICES
    assert found.delimiter == " "
    assert_equal_numbers(found.scores, SCORES)
    assert found.targets.tolist() == list(TARGETS)
    assert found.doc_ids == ("0", "1", "2", "3")
    assert found.char_lengths.tolist() == [3, 5, 10]
    assert found.byte_lengths.tolist() == [3, 5, 11]
    assert found.acc == 0.5
    # -1.5/3 -2.25/5 -8/10 | -3/3 -1/5 -9/10 | -4/3 -2/5 -6/10 | -.5/3 -3/5 -7/10
    assert found.acc_norm == 0.25
    assert found.acc_bytes == 0.25
    assert found.premise is None
    assert found.acc_mutual_info is None
    assert found.notes == ()


def test_unconditional_requests_are_premise_scores(tmp_path: Path):
    found = read_harness_samples(write(tmp_path, today(documents(premise=PREMISE))))
    assert_equal_numbers(found.scores, SCORES)
    assert found.premise is not None
    assert_equal_numbers(found.premise, np.tile(PREMISE, (4, 1)))
    guesses = (SCORES - PREMISE).argmax(axis=1)
    assert found.acc_mutual_info == np.mean(guesses == np.array(TARGETS))
    assert found.notes == ()


@pytest.mark.parametrize("interleaved", [False, True])
def test_unconditional_requests_of_earlier_versions(interleaved: bool, tmp_path: Path):
    docs = documents(premise=PREMISE)
    order = [0, 3, 1, 4, 2, 5] if interleaved else range(6)
    for doc in docs:
        bare = [(c, word.strip() if c == "" else word) for c, word in doc["arguments"]]
        doc["arguments"] = [bare[i] for i in order]
        doc["resps"] = [doc["resps"][i] for i in order]
        doc["acc"] = 1 - doc["acc"]
    found = read_harness_samples(write(tmp_path, today(docs)))
    assert_equal_numbers(found.scores, SCORES)
    assert found.premise is not None
    assert_equal_numbers(found.premise[2], PREMISE)
    assert "without the space" in found.notes[0]
    assert "acc in the file differs from the scores in 4 of 4" in found.notes[1]
    assert found.acc == 0.5


@given(
    st.integers(2, 12).flatmap(
        lambda k: st.tuples(
            st.lists(st.lists(st.floats(-200, 0), min_size=k, max_size=k), min_size=1, max_size=5),
            st.booleans(),
        )
    )
)
def test_any_number_of_choices_keeps_its_order(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[list[list[float]], bool]
):
    rows, new = drawn
    scores = np.array(rows)
    choices = tuple(f"c{i}" for i in range(scores.shape[1]))
    docs = documents(scores, [i % len(choices) for i in range(len(rows))], choices)
    path = write(tmp_path_factory.mktemp("samples"), (today if new else earlier)(docs))
    found = read_harness_samples(path)
    assert found.choices == choices
    assert_equal_numbers(found.scores, scores)
    assert found.acc == np.mean([doc["acc"] for doc in docs])
    assert found.acc_norm == np.mean([doc["acc_norm"] for doc in docs])


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["0", "1", "2", "-1"], [0, 1, 2, -1]),
        (["bad", "so so", " é good one", "bad"], [0, 1, 2, 0]),
        ([[0], [1], "[2]", 0], [0, 1, 2, 0]),
        ([True, False, "True", "False"], [1, 0, 1, 0]),
    ],
)
def test_targets_are_numbers_or_words(targets: list[Any], expected: list[int], tmp_path: Path):
    docs = documents(targets=targets)
    for doc in docs:
        del doc["acc"], doc["acc_norm"]
    found = read_harness_samples(write(tmp_path, lists_in_lines(docs)))
    assert found.targets.tolist() == expected
    assert [note for note in found.notes if "no known target" in note] == (
        ["1 documents have no known target"] if -1 in expected else []
    )


def test_choices_that_are_numbers_are_told_from_numbers_of_choices_by_acc(tmp_path: Path):
    choices = ("1", "0", "2")
    docs = documents(choices=choices)  # targets are numbers of choices
    found = read_harness_samples(write(tmp_path, today(docs)))
    assert found.targets.tolist() == list(TARGETS)
    for doc in docs:
        doc["target"] = choices[doc["target"]]
    found = read_harness_samples(write(tmp_path, today(docs)))
    assert found.targets.tolist() == list(TARGETS)
    for doc in docs:
        del doc["acc"]
    with pytest.raises(VesaliusError, match="may be numbers of choices"):
        read_harness_samples(write(tmp_path, today(docs)))


def test_lengths_without_a_delimiter_reproduce_acc_norm(tmp_path: Path):
    # the choices begin with the space: lengths 2, 7 against 1, 6 turn the first document over
    scores = np.array([[-1.0, -4.0], [-3.0, -5.0]])
    choices = (" a", " bcdefg")
    docs = documents(scores, (0, 0), choices, delimiter="")
    found = read_harness_samples(write(tmp_path, today(docs)))
    assert found.acc_norm == np.mean([doc["acc_norm"] for doc in docs]) == 0.5
    assert found.delimiter == ""
    assert found.choices == choices
    assert found.notes == ()


def test_only_the_first_filter_is_read(tmp_path: Path):
    docs = documents()
    other = [{**doc, "filter": "other"} for doc in docs]
    mixed = [doc for pair in zip(docs, other, strict=True) for doc in pair]
    found = read_harness_samples(write(tmp_path, today(mixed)))
    assert_equal_numbers(found.scores, SCORES)


def test_without_targets_there_is_no_accuracy(tmp_path: Path):
    found = read_harness_samples(write(tmp_path, today(documents(targets=[-1] * 4))))
    assert found.targets.tolist() == [-1] * 4
    with pytest.raises(VesaliusError, match="no document with a target"):
        _ = found.acc


def test_minus_infinity_is_kept(tmp_path: Path):
    scores = SCORES.copy()
    scores[1, 2] = -np.inf
    found = read_harness_samples(write(tmp_path, today(documents(scores))))
    assert found.scores[1, 2] == -np.inf


def _open_choices(docs: list[dict[str, Any]]) -> None:
    docs[2]["arguments"][0] = ("x", " worse")


def _more_choices(docs: list[dict[str, Any]]) -> None:
    docs[2]["arguments"].append(("x", " worse"))
    docs[2]["resps"].append([(-1.0, False)])


def _in_contexts(docs: list[dict[str, Any]]) -> None:
    for doc in docs:
        doc["arguments"] = [(word, " end") for _, word in doc["arguments"]]


def _generated(docs: list[dict[str, Any]]) -> None:
    docs[0]["arguments"], docs[0]["resps"] = [("x", {"until": ["\n"]})], [["a text"]]


def _single(docs: list[dict[str, Any]]) -> None:
    docs[0]["arguments"], docs[0]["resps"] = [("x", " y")], [[(-1.0, False)]]


def _rolling(docs: list[dict[str, Any]]) -> None:
    docs[0]["arguments"], docs[0]["resps"] = [("x",)], [[-1.0]]


def _nan(docs: list[dict[str, Any]]) -> None:
    docs[1]["resps"][2] = [(float("nan"), False)]


def _positive(docs: list[dict[str, Any]]) -> None:
    docs[1]["resps"][2] = [(0.5, False)]


def _no_resps(docs: list[dict[str, Any]]) -> None:
    del docs[1]["resps"]


def _few_resps(docs: list[dict[str, Any]]) -> None:
    docs[1]["resps"] = docs[1]["resps"][:2]


def _empty_resp(docs: list[dict[str, Any]]) -> None:
    docs[1]["resps"][0] = []


def _several(docs: list[dict[str, Any]]) -> None:
    docs[3]["target"] = [0, 1]


def _none_of_them(docs: list[dict[str, Any]]) -> None:
    docs[3]["target"] = "great"


def _twice(docs: list[dict[str, Any]]) -> None:
    docs[3]["doc_id"] = 1


def _equal_choices(docs: list[dict[str, Any]]) -> None:
    for doc in docs:
        doc["arguments"][1] = ("x", " bad")


def _no_target(docs: list[dict[str, Any]]) -> None:
    del docs[1]["target"]


def _half_premise(docs: list[dict[str, Any]]) -> None:
    docs[1].update(documents(premise=PREMISE)[1])


@pytest.mark.parametrize("form", [today, earlier])
@pytest.mark.parametrize(
    ("spoil", "place", "message"),
    [
        (_open_choices, 3, "choices .* has .*\n.*\nfix: calibrate a task with fixed answers"),
        (_more_choices, 3, "4 choices, where .* has 3"),
        (_in_contexts, 1, "' end' for every choice(.*\n)*.*winogrande"),
        (_generated, 1, "a generate_until sample"),
        (_single, 1, "one request"),
        (_rolling, 1, "arguments that are no pairs"),
        (_nan, 2, "log-likelihood nan"),
        (_positive, 2, r"log-likelihood 0\.5"),
        (_empty_resp, 2, r"resps \[\]"),
        (_few_resps, 2, "2 resps for 3 requests"),
        (_several, 4, r"target '?\[0, 1\]"),
        (_none_of_them, 4, "target 'great'"),
        (_twice, 4, "document 1 again, after"),
        (_equal_choices, 1, "choices"),
        (_half_premise, 2, "3 requests without the document, elsewhere 0"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_its_place(
    form: Callable[[list[dict[str, Any]]], str],
    spoil: Callable[[list[dict[str, Any]]], None],
    place: int,
    message: str,
    tmp_path: Path,
):
    docs = documents()
    spoil(docs)
    word = "line" if form is today else "document"
    with pytest.raises(VesaliusError, match=f"{word} {place}: {message}"):
        read_harness_samples(write(tmp_path, form(docs)))


def test_missing_parts_and_broken_lines_are_refused(tmp_path: Path):
    for spoil, message in ((_no_resps, "line 2: no resps"), (_no_target, "line 2: no sample")):
        docs = documents()
        spoil(docs)
        with pytest.raises(VesaliusError, match=message):
            read_harness_samples(write(tmp_path, lists_in_lines(docs)))
    whole = today(documents())
    with pytest.raises(VesaliusError, match="line 4: "):
        read_harness_samples(write(tmp_path, whole[:-20]))
    with pytest.raises(VesaliusError, match="line 5: no sample"):
        read_harness_samples(write(tmp_path, whole + "3\n"))
    with pytest.raises(VesaliusError, match="the whole file: "):
        read_harness_samples(write(tmp_path, earlier(documents())[:-9]))


@pytest.mark.parametrize(
    "arguments", [None, 3, "ab", [], [1, 2], ["ab", "cd"], {"gen_args_0": 3}, [None], [[1, 2]]]
)
def test_arguments_of_another_kind_are_refused(arguments: Any, tmp_path: Path):
    docs = documents()
    docs[1]["arguments"] = arguments
    with pytest.raises(VesaliusError, match="line 2: arguments that are no pairs"):
        read_harness_samples(write(tmp_path, lists_in_lines(docs)))


def test_files_without_documents_are_refused(tmp_path: Path):
    for text, message in (("", "empty"), (" \n", "empty"), ("[]", "no documents")):
        with pytest.raises(VesaliusError, match=message):
            read_harness_samples(write(tmp_path, text))
    with pytest.raises(VesaliusError, match=f"no file(.*\n)*.*{NAME}"):
        read_harness_samples(tmp_path)
    with pytest.raises(VesaliusError, match="--log_samples"):
        read_harness_samples(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(VesaliusError, match="not UTF-8"):
        read_harness_samples(tmp_path / "latin.jsonl")


def test_another_file_name_is_the_name_of_the_task(tmp_path: Path):
    path = tmp_path / "gpt2_sst2.jsonl"
    path.write_text(earlier(documents()), "utf-8")
    assert read_harness_samples(path).task == "gpt2_sst2"
