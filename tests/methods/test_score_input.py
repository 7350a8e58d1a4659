"""Texts, labels and names that cannot be scored: refused before the model runs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vesalius
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration import inputs
from vesalius.methods.calibration.score import ScoreOptions, planned, score
from vesalius.models.specimen import Specimen

PROMPT = LabelPrompt(template="Review: {text}\nSentiment: {label}", words=("bad", "good"))


@pytest.fixture(scope="module")
def gpt() -> Specimen:
    return vesalius.open("mini-gpt-tiny")


@pytest.mark.parametrize(
    ("texts", "more", "said"),
    [
        ([], {}, "no texts"),
        ("one", {}, "one text, not a list"),
        (["a", None], {}, "text 1: None"),
        (["a", ("b", 3)], {}, r"text 1: \('b', 3\)"),
        ([("a", "b")], {}, "query of 2 texts"),
        (["a", "half \ud83d"], {}, "text 1 with half a character"),
        (["a"], {"labels": [0, 1]}, "shape .2."),
        (["a"], {"labels": [2]}, "labels from 2 to 2"),
        (["a"], {"labels": [0.5]}, "float64"),
        (["a"], {"labels": ["good"]}, "labels of"),
        (["a"], {"label_names": ["x"]}, "1 names for 2 classes"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    gpt: Specimen, as_users_call_it: None, texts: Any, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(VesaliusError, match=said):
        score(gpt, PROMPT, texts, **more)


def test_odd_texts_have_scores(gpt: Specimen) -> None:
    texts = [
        "",
        "\U0001f600",
        "[MASK]",
        "{text} {label}",
        "</script>",
        "a\x00b",
        "\u202e\u2028",
        "a\tb",
    ]
    found = score(gpt, PROMPT, np.array(texts, dtype=object).tolist())
    assert np.isfinite(found.log_probs).all()
    assert len(np.unique(found.log_probs, axis=0)) == len(texts)
    assert [found.example] == ["Review: \nSentiment:"]


def test_a_second_mask_is_named_before_any_pass() -> None:
    bert = vesalius.open("mini-bert")
    with pytest.raises(VesaliusError, match="text 2 with 2 masks"):
        planned(bert, PROMPT, ["a", "b", "a [MASK] here"])
    shown = (LabelledRow(texts=("a [MASK]",), label=0),)
    with pytest.raises(VesaliusError, match="text 0 with 2 masks"):
        score(bert, replace(PROMPT, demonstrations=shown), ["a"])


def test_texts_that_serve_twice_are_scored_once(
    gpt: Specimen, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(specimen: Specimen, prompt: LabelPrompt, texts: Any, **more: Any) -> Any:
        asked.append(len(texts))
        return score(specimen, prompt, texts, **more)

    monkeypatch.setattr(inputs, "score", counted)
    rows = [LabelledRow(texts=(t,), label=i) for i, t in enumerate(["dull", "word " * 600])]
    rows.append(LabelledRow(texts=("fine",), label=1))
    options = ScoreOptions(too_long="skip")
    found = inputs.fit_inputs(
        gpt, PROMPT, rows, kinds=["estimate", "labelled"], labelled=rows, options=options
    )
    assert asked == [3]
    scores, labels = found.by_kind()["labelled"]
    np.testing.assert_array_equal(scores, found.scores["estimate"])
    assert labels.tolist() == [0, 1]
    assert "1 of 3 texts were left out" in found.notes[0]
    others = inputs.fit_inputs(
        gpt, PROMPT, rows[:1], kinds=["estimate", "labelled"], labelled=rows[2:], options=options
    )
    assert asked == [3, 1, 1]
    assert set(others.scores) == {"estimate"}
