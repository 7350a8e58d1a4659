"""Prompts for label words: the layout against a plain definition, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.core.errors import VesaliusError
from vesalius.data import few_shot
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt

PLAIN = LabelPrompt(
    template="Review: {text}\nSentiment: {label}",
    words=("Negative", "Positive"),
    demonstrations=(
        LabelledRow(texts=("a dull film",), label=0),
        LabelledRow(texts=("a fine {film}",), label=1),
    ),
    instruction="Answer {choices}.",
)
PAIR = LabelPrompt(
    template="{first}\nquestion: {second} True or False?\nanswer: {label}.",
    words=("True", "False"),
)
CLOZE = LabelPrompt(template="{first}? {label}, {second}", words=("Yes", "No"))

texts = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30)
words = st.lists(
    st.text(alphabet="abcé Z", min_size=1, max_size=8).map(str.strip).filter(bool),
    min_size=2,
    max_size=5,
    unique=True,
).map(tuple)


def slow_prompt(prompt: LabelPrompt, row: tuple[str, ...], *, gap: str) -> str:
    """Write the prompt of a template "cue: text / cue:gap{label}end", as the paper lays it out."""
    listed = few_shot.join_choices(prompt.words)
    blocks = [prompt.instruction.replace("{choices}", listed)] if prompt.instruction else []
    before, after = prompt.template.split("{label}")
    for example in prompt.demonstrations:
        asked = before.replace("{text}", example.texts[0]).rstrip()
        blocks.append(asked + gap + prompt.words[example.label] + after)
    written = ""
    for block in blocks:
        written += block + prompt.separator
    return written + before.replace("{text}", row[0]).rstrip()


def test_the_layout_is_instruction_examples_and_query_with_blank_lines_between():
    assert PLAIN.text(("so so",)) == (
        "Answer Negative or Positive.\n\n"
        "Review: a dull film\nSentiment: Negative\n\n"
        "Review: a fine {film}\nSentiment: Positive\n\n"
        "Review: so so\nSentiment:"
    )
    assert PLAIN.answers == (" Negative", " Positive")
    assert PLAIN.num_labels == 2
    assert PLAIN.num_texts == 1


@given(
    words=words,
    rows=st.lists(st.tuples(texts, st.integers(0, 1)), max_size=4),
    query=texts,
    gap=st.sampled_from(["", " ", "\n", " \t"]),
    end=st.sampled_from(["", ".", "\n###"]),
    instruction=st.sampled_from(["", "Say {choices}.", "Judge."]),
    separator=st.sampled_from(["\n\n", "\n", " ### "]),
)
def test_a_prompt_equals_the_plain_definition(
    words: tuple[str, ...],
    rows: list[tuple[str, int]],
    query: str,
    gap: str,
    end: str,
    instruction: str,
    separator: str,
):
    prompt = LabelPrompt(
        template=f"Review: {{text}}\nSentiment:{gap}{{label}}{end}",
        words=words,
        demonstrations=tuple(LabelledRow(texts=(text,), label=label) for text, label in rows),
        instruction=instruction,
        separator=separator,
    )
    query = query.replace("{", "(")  # braces would mislead the plain definition, not the prompt
    assert prompt.text((query,)) == prompt.context() + prompt.query((query,))
    assert prompt.answers == tuple(gap + word for word in words)
    if not any("{" in text for text, _ in rows):
        assert prompt.text((query,)) == slow_prompt(prompt, (query,), gap=gap)
    # the answered query is how a demonstration is written
    shown = replace(prompt, demonstrations=(LabelledRow(texts=(query,), label=1),), instruction="")
    assert shown.context() == prompt.query((query,)) + prompt.answers[1] + end + separator
    assert prompt.cloze((query,)) == prompt.query((query,)) + gap + "[MASK]" + end


@given(st.lists(st.tuples(texts.filter(lambda t: t == " ".join(t.split())), st.integers(0, 1))))
def test_prompts_are_those_of_the_few_shot_training_when_nothing_is_cut(
    rows: list[tuple[str, int]],
):
    drawn = [LabelledRow(texts=(text,), label=label) for text, label in rows]
    query = LabelledRow(texts=("the query",), label=1)
    found = few_shot.join_examples(
        [*drawn, query],
        template=PLAIN.template,
        words=PLAIN.words,
        max_characters=10**6,
        instruction="Answer {choices}.",
    )
    prompt = replace(PLAIN, demonstrations=tuple(drawn))
    assert prompt.text(query.texts) + prompt.answers[1] == found.text


def test_an_empty_text_keeps_the_answer_cue():
    assert PLAIN.query(("",)) == "Review: \nSentiment:"
    assert PLAIN.text(("",)).startswith(PLAIN.context())
    assert PAIR.query(("", "")) == "\nquestion:  True or False?\nanswer:"


def test_without_instruction_and_demonstrations_the_context_is_empty():
    assert replace(PLAIN, instruction="", demonstrations=()).context() == ""
    assert PAIR.context() == ""


def test_pairs_and_choices_are_written_where_the_template_has_them():
    assert PAIR.query(("It rains.", "It is wet.")) == (
        "It rains.\nquestion: It is wet. True or False?\nanswer:"
    )
    asked = LabelPrompt(template="{text} Is it {choices}? {label}", words=("bad", "okay", "good"))
    assert asked.query(("Fine.",)) == "Fine. Is it bad, okay or good?"


def test_a_masked_model_may_see_a_text_after_the_answer():
    assert CLOZE.cloze(("It rains", "it is wet")) == "It rains? [MASK], it is wet"
    assert CLOZE.cloze_parts(("[MASK]", "")) == ("[MASK]? ", ", ")
    shown = replace(CLOZE, demonstrations=(LabelledRow(texts=("a", "b"), label=1),))
    assert shown.context() == "a? No, b\n\n"
    with pytest.raises(VesaliusError, match=r"\{second\} comes after \{label\}"):
        CLOZE.query(("It rains", "it is wet"))


def test_doubled_braces_are_braces():
    prompt = LabelPrompt(template="{{json: {text}}} {{label}} {label} {{}}", words=("a", "b"))
    assert prompt.query(("x",)) == "{json: x} {label}"
    assert prompt.cloze(("x",)) == "{json: x} {label} [MASK] {}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Review: {text}", "0 times"),
        ("{label} {text} {label}", "2 times"),
        ("Sentiment: {label}", "no text"),
        ("{text} {first} {label}", "first, text"),
        ("{text} {topic} {label}", r"\{topic\}"),
        ("{text} {} {label}", r"\{\} in template"),
        ("{text!r} {label}", "text!r"),
        ("{text:>9} {label}", "text:>9"),
        ("{text.__class__} {label}", "__class__"),
        ("{text} {label", "expected '}'"),
        ("{text} } {label}", "Single '}'"),
    ],
)
def test_broken_templates_are_refused(template: str, message: str):
    with pytest.raises(VesaliusError, match=message):
        LabelPrompt(template=template, words=("a", "b"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "label words"),
        (("a",), "two or more"),
        (("a", "b", "a"), "'a', twice"),
        (("a", " a"), "twice"),
        (("a", ""), "empty"),
        (("a", " "), "empty"),
        ((" a", "b"), "white space"),
    ],
)
def test_words_that_cannot_be_told_apart_are_refused(words: tuple[str, ...], message: str):
    with pytest.raises(VesaliusError, match=message):
        LabelPrompt(template="{text} {label}", words=words)


def test_words_and_texts_that_are_one_string_are_refused(as_users_call_it: None):
    with pytest.raises(VesaliusError, match="'yes'"):
        LabelPrompt(template="{text} {label}", words="yes")  # pyright: ignore[reportArgumentType]
    with pytest.raises(VesaliusError, match="one text"):
        PLAIN.query("a")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("part", ["template", "instruction", "separator"])
def test_what_is_no_text_is_refused(as_users_call_it: None, part: str):
    with pytest.raises(VesaliusError, match=f"{part}=None"):
        replace(PLAIN, **{part: None})
    with pytest.raises(VesaliusError, match=r"label words \(0, 1\)"):
        replace(PLAIN, words=(0, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(VesaliusError, match="query with None"):
        PLAIN.query((None,))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("label", [-1, 2])
def test_a_demonstration_of_no_class_is_refused(label: int):
    row = LabelledRow(texts=("a",), label=label)
    with pytest.raises(VesaliusError, match=f"demonstration 1 with label {label}"):
        replace(PLAIN, demonstrations=(row,))


def test_texts_that_do_not_fit_the_template_are_refused():
    with pytest.raises(VesaliusError, match="demonstration 1 of 2 texts"):
        replace(PLAIN, demonstrations=(LabelledRow(texts=("a", "b"), label=0),))
    with pytest.raises(VesaliusError, match="query of 1 texts"):
        PAIR.query(("a",))
    with pytest.raises(VesaliusError, match="instruction"):
        replace(PLAIN, instruction="Read {text}.")


def test_the_fingerprint_tells_every_part():
    row = LabelledRow(texts=("a dull film",), label=1)
    others = [
        replace(PLAIN, template="Review: {text}\nSentiment:  {label}"),
        replace(PLAIN, words=("Positive", "Negative")),
        replace(PLAIN, demonstrations=PLAIN.demonstrations[::-1]),
        replace(PLAIN, demonstrations=(row, PLAIN.demonstrations[1])),
        replace(PLAIN, instruction=""),
        replace(PLAIN, separator="\n"),
    ]
    prints = {prompt.fingerprint() for prompt in [PLAIN, *others]}
    assert len(prints) == len(others) + 1
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in prints)
    assert replace(PLAIN).fingerprint() == PLAIN.fingerprint()
