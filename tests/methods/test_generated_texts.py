"""Texts that a model writes: read back by the layout of the prompt, whatever the layout is."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

import vesalius
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration import generate
from vesalius.methods.calibration.generate import generate_texts
from vesalius.methods.calibration.score import score
from vesalius.models import sampling
from vesalius.models.label_scores import open_ended
from vesalius.models.specimen import Specimen

ROW = LabelledRow(texts=("so dull", "so good"), label=0)


@pytest.fixture(scope="module")
def gpt() -> Specimen:
    return vesalius.open("mini-gpt-tiny")


def pairs(template: str) -> LabelPrompt:
    return LabelPrompt(template=template, words=("no", "yes"), demonstrations=(ROW,))


def single(template: str) -> LabelPrompt:
    shown = LabelledRow(texts=("so dull",), label=0)
    return LabelPrompt(template=template, words=("no", "yes"), demonstrations=(shown,))


@pytest.mark.parametrize(
    ("prompt", "before", "written", "row"),
    [
        (single("Text: {text}\nGood: {label}"), "Text:", " a tale\nGood:", ("a tale",)),
        (single("{text} {label}"), "", "a tale\n\n", ("a tale",)),
        (single("{text}\n\nGood: {label}"), "", "a tale\n\nGood:", ("a tale",)),
        (single("{text}, yes, {text}: {label}"), "", "a tale, yes, a tale:", ("a tale",)),
        (single("Is [x] (y) {text}? {label}"), "Is [x] (y)", " a tale?", ("a tale",)),
        (pairs("A: {first}\nB: {second}\nSame: {label}"), "A:", " one\nB: two\nSame:",
         ("one", "two")),
        (pairs("B: {second}\nA: {first}\nSame: {label}"), "B:", " two\nA: one\nSame:",
         ("one", "two")),
        (pairs("{first}\n\n{second}\nSame: {label}"), "", "one\n\ntwo\nSame:", ("one", "two")),
    ],
)  # fmt: skip
def test_a_row_is_read_back_by_the_layout(
    gpt: Specimen,
    monkeypatch: pytest.MonkeyPatch,
    prompt: LabelPrompt,
    before: str,
    written: str,
    row: tuple[str, ...],
) -> None:
    asked: dict[str, Any] = {}

    def write(_: Specimen, text: str, *, stops: list[str], **__: Any) -> Iterator[str]:
        asked.update(text=text, stops=stops)
        yield from ("broken off", written, written)

    monkeypatch.setattr(generate, "sample_texts", write)
    found = generate_texts(gpt, prompt, num=1)
    assert found.texts == (row,)
    assert asked["text"] == prompt.context() + before
    assert all(written.endswith(stop) or stop not in written for stop in asked["stops"])


def test_a_text_that_stands_twice_must_be_the_same_twice(
    gpt: Specimen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "sample_texts", lambda *_, **__: iter(["a, yes, b:"]))
    with pytest.raises(VesaliusError, match="none in the prompt's layout"):
        generate_texts(gpt, single("{text}, yes, {text}: {label}"), num=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"num": 0}, "num=0"), ({"num_orders": 0}, "num_orders=0"),
     ({"num_tokens": 0}, "num_tokens=0"), ({"temperature": 0}, "temperature=0"),
     ({"temperature": float("nan")}, "temperature=nan")],
)  # fmt: skip
def test_numbers_without_meaning_are_refused(
    gpt: Specimen, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(VesaliusError, match=said):
        generate_texts(gpt, single("{text}: {label}"), **options)


def test_a_text_without_a_prompt_grows_by_its_cache(
    gpt: Specimen, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask: dict[str, Any] = {"num": 2, "stops": ["\n"], "seed": 1, "num_tokens": 12}
    cached = list(sampling.sample_texts(gpt, "", **ask))
    whole: list[str] = []
    with monkeypatch.context() as patch:
        real = sampling.encode_prefix
        patch.setattr(sampling, "encode_prefix", lambda s, ids: real(s, ids, way="whole"))
        whole += sampling.sample_texts(gpt, "", **ask)
    assert cached == whole
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "read_behind", None)  # a call would fail
        assert list(sampling.sample_texts(gpt, "", **ask)) == cached


def test_an_empty_prompt_begins_as_documents_do(gpt: Specimen) -> None:
    bare = replace(gpt, tokenizer=deepcopy(gpt.tokenizer))
    bare.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    assert open_ended(bare, ["", "a"])[0] == [gpt.tokenizer.bos_token_id]
    ask: dict[str, Any] = {"num": 1, "stops": ["\n"], "seed": 1, "num_tokens": 4}
    assert len(list(sampling.sample_texts(bare, "", **ask))) == 1
    scores = score(bare, single("{text} {label}"), ["", "fine"]).log_probs
    assert np.isfinite(scores).all()
    bare.tokenizer.bos_token = bare.tokenizer.eos_token = None
    with pytest.raises(VesaliusError, match="makes no token"):
        list(sampling.sample_texts(bare, "", **ask))
