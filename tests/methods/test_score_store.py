"""Scores are kept, found again, and never mixed up; a crash costs at most one batch."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.generate import generate_texts
from vesalius.methods.calibration.inputs import fit_inputs, premise_prompt
from vesalius.methods.calibration.score import ScoreOptions, score
from vesalius.methods.calibration.scores import Scores
from vesalius.methods.calibration.store import ScoreStore, StoreIdentity, text_key
from vesalius.models import open as open_model
from vesalius.models.sampling import sample_texts
from vesalius.models.speaking import speak
from vesalius.models.specimen import Specimen

scoring = import_module("vesalius.methods.calibration.score")  # its function has the same name
IDENTITY = StoreIdentity(
    model="tiny", fingerprint="f", dtype="float32", prompt="p", words=("no", "yes")
)
PROMPT = LabelPrompt(
    template="Review: {text}\nSentiment: {label}",
    words=("negative", "positive"),
    demonstrations=(
        LabelledRow(texts=("A fine film.",), label=1),
        LabelledRow(texts=("A dull, lifeless mess.",), label=0),
    ),
)
TEXTS = ["a bore", "great fun", "a bore", "", "N/A"]


@pytest.fixture(scope="module")
def gpt() -> Specimen:
    return open_model("mini-gpt")


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "store", IDENTITY)
    rows = [("a",), ("b", "c"), ("",)]
    scores = np.array([[-1.0, -2.0], [-np.inf, -0.5], [-3.0, -4.0]])
    store.append(rows[:2], scores[:2])
    store.append(rows[2:], scores[2:])
    again = ScoreStore(tmp_path / "store", IDENTITY)
    np.testing.assert_array_equal(again.read(rows), scores)
    assert len(again) == 3
    assert ("b", "c") in again
    assert ("bc",) not in again
    assert np.isnan(again.read([("new",)])).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=2), max_size=6))
def test_keys_tell_texts_apart(texts: list[list[str]]) -> None:
    keys = {tuple(t): text_key(tuple(t)) for t in texts}
    assert len(set(keys.values())) == len(keys)


def test_a_record_that_a_crash_cut_is_dropped(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "store", IDENTITY)
    store.append([("a",), ("b",)], np.array([[-1.0, -2.0], [-3.0, -4.0]]))
    rows = tmp_path / "store" / "rows.bin"
    rows.write_bytes(rows.read_bytes()[:-5])
    again = ScoreStore(tmp_path / "store", IDENTITY)
    assert len(again) == 1
    again.append([("b",)], np.array([[-3.0, -4.0]]))
    last = ScoreStore(tmp_path / "store", IDENTITY)
    np.testing.assert_array_equal(last.read([("b",)]), [[-3.0, -4.0]])


def test_two_writers_do_not_tread_on_each_other(tmp_path: Path) -> None:
    first = ScoreStore(tmp_path / "store", IDENTITY)
    second = ScoreStore(tmp_path / "store", IDENTITY)
    first.append([("a",)], np.array([[-1.0, -2.0]]))
    second.append([("b",)], np.array([[-3.0, -4.0]]))
    first.append([("c",)], np.array([[-5.0, -6.0]]))
    everything = ScoreStore(tmp_path / "store", IDENTITY)
    np.testing.assert_array_equal(
        everything.read([("a",), ("b",), ("c",)]), [[-1, -2], [-3, -4], [-5, -6]]
    )


def _damage(folder: Path) -> None:
    content = bytearray((folder / "rows.bin").read_bytes())
    content[12] ^= 1
    (folder / "rows.bin").write_bytes(bytes(content))


def _newer(folder: Path) -> None:
    head = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**head, "schema_version": 9}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_damage, "record 1 of 1 is damaged"),
        (_newer, "of schema 9"),
        (lambda folder: (folder / "store.json").write_text("{"), "no score store"),
        (lambda folder: (folder / "rows.bin").unlink(), "no score store"),
    ],
)
def test_a_spoilt_store_is_refused(tmp_path: Path, spoil: Any, said: str) -> None:
    ScoreStore(tmp_path / "store", IDENTITY).append([("a",)], np.array([[-1.0, -2.0]]))
    spoil(tmp_path / "store")
    with pytest.raises(VesaliusError, match=said):
        ScoreStore(tmp_path / "store", IDENTITY)


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "g"}, {"prompt": "q"}, {"words": ("no", "maybe")}, {"label_mass": False},
     {"dtype": "float64"}],
)  # fmt: skip
def test_the_store_of_another_model_or_prompt_is_refused(tmp_path: Path, change: Any) -> None:
    ScoreStore(tmp_path / "store", IDENTITY)
    with pytest.raises(VesaliusError, match=next(iter(change))):
        ScoreStore(tmp_path / "store", replace(IDENTITY, **change))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(VesaliusError, match="no score store"):
        ScoreStore(tmp_path, IDENTITY)


def test_kept_scores_cost_no_pass(
    gpt: Specimen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(gpt, PROMPT, TEXTS, labels=[0, 1, 0, -1, -1], store=tmp_path / "store")
    assert first.num_computed == 4, "a text that comes twice is scored once"
    assert first.num_prefix_tokens > 20
    assert first.way == "shared"
    assert first.example.endswith("Review: a bore\nSentiment:")
    np.testing.assert_array_equal(first.log_probs[0], first.log_probs[2])
    assert (first.label_mass < 1).all()

    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("a forward pass")

    monkeypatch.setattr(scoring, "score_labels", refuse)
    again = score(gpt, PROMPT, TEXTS, store=tmp_path / "store")
    np.testing.assert_array_equal(again.log_probs, first.log_probs)
    assert again.num_computed == 0
    again.save(tmp_path / "scores")
    loaded = Scores.load(tmp_path / "scores")
    np.testing.assert_array_equal(loaded.log_probs, first.log_probs)
    assert loaded.to_table().num_rows == 5


def test_an_interrupted_run_goes_on(
    gpt: Specimen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{'very ' * (i % 7)}dull {i}" for i in range(40)]
    plain = score(gpt, PROMPT, texts)
    real = scoring.score_labels

    def stops(*args: Any, **kwargs: Any) -> Any:
        for number, batch in enumerate(real(*args, **kwargs)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    options = ScoreOptions(tokens_per_batch=64)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_labels", stops)
        with pytest.raises(KeyboardInterrupt):
            score(gpt, PROMPT, texts, store=tmp_path / "store", options=options)
    done: list[tuple[int, int]] = []
    rest = score(
        gpt, PROMPT, texts, store=tmp_path / "store", options=options,
        progress=lambda *counts: done.append(counts),
    )  # fmt: skip
    assert 0 < rest.num_computed < 40
    assert done[-1] == (rest.num_computed, rest.num_computed)
    np.testing.assert_allclose(rest.log_probs, plain.log_probs, rtol=0, atol=1e-4)


def test_texts_that_do_not_fit_are_named_or_left_out(gpt: Specimen) -> None:
    texts = ["a bore", "a bore", "word " * 600]
    with pytest.raises(VesaliusError, match="text 2 is"):
        score(gpt, PROMPT, texts)
    kept = score(gpt, PROMPT, texts, labels=[0, 1, 1], options=ScoreOptions(too_long="skip"))
    assert kept.numbers.tolist() == [0, 1]
    assert kept.labels.tolist() == [0, 1]
    assert set(kept.num_over) == {"2"}
    assert "1 of 3 texts were left out" in kept.card.warnings[0]
    with pytest.raises(VesaliusError, match="1 texts, every one longer"):
        score(gpt, PROMPT, texts[2:], options=ScoreOptions(too_long="skip"))


def test_the_same_command_again_leaves_the_same_texts_out(gpt: Specimen, tmp_path: Path) -> None:
    texts, options = ["a bore", "word " * 600], ScoreOptions(too_long="skip")
    first = score(gpt, PROMPT, texts, store=tmp_path / "store", options=options)
    again = score(gpt, PROMPT, texts, store=tmp_path / "store", options=options)
    assert again.num_computed == 0
    assert again.num_over == first.num_over
    np.testing.assert_array_equal(again.log_probs, first.log_probs)


def test_the_paper_wants_words_of_one_token(gpt: Specimen) -> None:
    two = replace(PROMPT, words=("very negative", "positive"))
    assert np.isfinite(score(gpt, two, ["a bore"]).log_probs).all()
    with pytest.raises(VesaliusError, match="'very negative', which this tokenizer cuts"):
        score(gpt, two, ["a bore"], options=ScoreOptions(preset="paper"))


def test_without_mass_scores_are_over_the_labels(gpt: Specimen) -> None:
    whole = score(gpt, PROMPT, TEXTS)
    part = score(gpt, PROMPT, TEXTS, options=ScoreOptions(label_mass=False))
    total = np.logaddexp.reduce(whole.log_probs, axis=1, keepdims=True)
    np.testing.assert_allclose(part.log_probs, whole.log_probs - total, rtol=0, atol=1e-5)
    assert not part.has_mass


def test_a_masked_model_fills_a_cloze() -> None:
    bert = open_model("mini-bert")
    cloze = replace(PROMPT, template="{text}\nAll in all it was {label}.", words=("bad", "good"))
    found = score(bert, cloze, ["a bore", "great fun"])
    assert found.way == "cloze"
    assert found.example.endswith("a bore\nAll in all it was [MASK].")
    inputs = fit_inputs(bert, cloze, PROMPT.demonstrations)
    assert inputs.scores["content-free"].shape == (2, 2)
    assert "generated" not in inputs.scores
    assert any("gap itself" in note for note in inputs.notes)


def test_other_models_are_refused() -> None:
    with pytest.raises(VesaliusError, match="'classifier'"):
        score(open_model("mini-classifier"), PROMPT, ["a bore"])


def test_an_empty_text_keeps_the_answer_cue(gpt: Specimen) -> None:
    assert score(gpt, PROMPT, [""]).example.endswith("Review: \nSentiment:")
    assert premise_prompt(PROMPT).text(("",)) == "Review: \nSentiment:"


def test_inputs_of_every_kind(gpt: Specimen, tmp_path: Path) -> None:
    rows = [LabelledRow(texts=(t,), label=i % 2) for i, t in enumerate(["so dull", "fine", "ok"])]
    inputs = fit_inputs(
        gpt, PROMPT, rows, labelled=rows, num_generated=5, store=tmp_path / "stores"
    )
    shapes = {kind: len(matrix) for kind, matrix in inputs.scores.items()}
    assert shapes == {
        "content-free": 3, "domain": 20, "premise": 1, "generated": 5, "estimate": 3
    }  # fmt: skip
    assert inputs.labelled is not None
    assert inputs.labelled[1].tolist() == [0, 1, 0]
    assert inputs.by_kind()["labelled"] is inputs.labelled
    assert len(list((tmp_path / "stores").iterdir())) == 2, "the prompt's, and the premise's"
    content_free = score(gpt, PROMPT, ["N/A", "", "[MASK]"]).log_probs
    np.testing.assert_allclose(inputs.scores["content-free"], content_free, rtol=0, atol=1e-4)


def test_sampling_repeats_itself_by_seed(gpt: Specimen) -> None:
    start = PROMPT.context() + "Review:"
    ask = {"stops": ["\n"], "num_tokens": 30}
    few = list(sample_texts(gpt, start, num=3, seed=5, **ask))
    more = list(sample_texts(gpt, start, num=6, seed=5, **ask))
    other = list(sample_texts(gpt, start, num=3, seed=6, **ask))
    assert few == more[:3]
    assert few != other
    greedy = list(sample_texts(gpt, start, num=3, seed=5, top_p=1e-9, **ask))
    assert len(set(greedy)) == 1, "the smallest nucleus is the best token"
    spoken = speak(gpt, [f"{start} [MASK]"], num_tokens=30)[0].text
    assert greedy[0].strip() == spoken.partition("\n")[0].strip()


def test_generated_rows_have_the_layout(gpt: Specimen) -> None:
    made = generate_texts(gpt, PROMPT, num=6, seed=1, num_orders=2)
    assert len(set(made.texts)) == len(made.texts) == 6
    assert all(len(row) == 1 and row[0] and "Sentiment:" not in row[0] for row in made.texts)
    assert made.texts == generate_texts(gpt, PROMPT, num=6, seed=1, num_orders=2).texts
    pairs = replace(
        PROMPT,
        template="{first}\nQuestion: {second}\nAnswer: {label}",
        demonstrations=tuple(replace(r, texts=(*r.texts, "x")) for r in PROMPT.demonstrations),
    )
    inputs = fit_inputs(gpt, pairs, [], kinds=["generated"], num_generated=1)
    assert "generated" in inputs.scores or "left out" in inputs.notes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"preset": "fast"}, "preset"), ({"too_long": "cut"}, "too_long"),
     ({"tokens_per_batch": 0}, "tokens_per_batch")],
)  # fmt: skip
def test_options_are_checked(options: Any, said: str) -> None:
    with pytest.raises(VesaliusError, match=said):
        ScoreOptions(**options)
