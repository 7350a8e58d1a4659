"""Robustness studies on planted scores: what is asked of the model, what comes out, storage."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.robustness import run_study
from vesalius.methods.calibration.robustness_design import AXES, UNITS, StudyDesign
from vesalius.methods.calibration.robustness_plan import plan_study
from vesalius.methods.calibration.robustness_result import Robustness
from vesalius.methods.calibration.wording import (
    robustness_rows,
    robustness_test_rows,
    robustness_verdict,
)
from vesalius.numerics.class_bootstrap import METRICS
from vesalius.plots.style import figure_bytes

PROMPT = LabelPrompt(template="Review: {text}\nMood: {label}", words=("bad", "good"))
VARIANTS = {
    "usual": PROMPT,
    "other": LabelPrompt(template="{text} It was {label}", words=("poor", "great")),
}
QUICK = {"prototypical": {"num_restarts": 3}}
SMALL = StudyDesign(
    methods=("none", "batch"),
    shots=(0, 2),
    base_shots=2,
    num_seeds=2,
    num_orders=3,
    proportions=(0.0, 0.5, 1.0),
    proportion_shots=2,
    proportion_draws=2,
    estimate_per_class=12,
    estimate_sizes=(2, 6, 12),
    estimate_shares=(0.0, 0.5, 1.0),
)


def rows(count: int, name: str) -> list[LabelledRow]:
    return [LabelledRow(texts=(f"{name} {i}",), label=i % 2) for i in range(count)]


TRAIN, TEST = rows(80, "train"), rows(30, "test")
CLASS = {row.texts: row.label for row in (*TRAIN, *TEST)}


def noise(*words: str) -> np.random.Generator:
    digest = hashlib.blake2b("/".join(words).encode(), digest_size=6).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


class Model:
    """Stands for a model: it leans to a class by the prompt, and it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[LabelPrompt, tuple[tuple[str, ...], ...]]] = []

    def __call__(self, prompt: LabelPrompt, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        self.asked.append((prompt, tuple(texts)))
        bias = noise(prompt.fingerprint()).normal(0, 2, prompt.num_labels)
        scores = [
            bias
            + noise(prompt.fingerprint(), *text).normal(0, 0.5, prompt.num_labels)
            + (2.0 * np.eye(prompt.num_labels)[CLASS[text]] if text in CLASS else 0.0)
            for text in texts
        ]
        return log_softmax(np.array(scores), axis=1) - 1


def study(design: StudyDesign = SMALL, *, model: Model | None = None, **options) -> Robustness:
    given = {"prompt": PROMPT, "train": TRAIN, "test": TEST, "variants": VARIANTS, **options}
    given = {"num_resamples": 200, "score_texts": model or Model(), **given}
    return run_study(design, **given)


@pytest.fixture(scope="module")
def found() -> Robustness:
    return study(model=Model())


def only(*axes: str, **changes) -> StudyDesign:
    return replace(SMALL, axes=axes, **changes)


def test_every_prompt_is_scored_once_with_each_text_once():
    model = Model()
    found = study(model=model)
    prints = [prompt.fingerprint() for prompt, _ in model.asked]
    assert len(prints) == len(set(prints)) == found.num_prompts
    assert all(len(texts) == len(set(texts)) for _, texts in model.asked)
    assert sum(len(texts) for _, texts in model.asked) == found.num_texts
    # usual template 2, its 2 orders share one, 3 shares x 2, another template 2, no shots 1
    assert found.num_prompts == 2 + 1 + 6 + 2 + 1
    assert set(found.axes) == set(AXES)
    assert len(found.table) == 2 * (4 + 2 + 6 + 6 + 6 + 4 + 2)


def test_sizes_and_shares_of_the_estimate_set_ask_nothing_of_the_model():
    asked = []
    for axes in (("seed",), ("seed", "estimate-size", "estimate-proportion")):
        model = Model()
        study(only(*axes), model=model)
        asked.append([(prompt.fingerprint(), set(texts)) for prompt, texts in model.asked])
    assert asked[0] == asked[1]
    plans = [
        plan_study(only(*a), prompt=PROMPT, train=TRAIN) for a in (("seed",), ("seed", "shots"))
    ]
    assert plans[0].num_texts(30) == 2 * (30 + 24)
    assert plans[1].num_texts(30) == plans[0].num_texts(30) + 30 + len(plans[1].pools[-1])


def test_only_the_inputs_that_methods_need_are_scored():
    def texts_of(*methods: str) -> list[tuple[str, ...]]:
        model = Model()
        study(only("seed", methods=methods, num_seeds=1), model=model)
        return [text for _, texts in model.asked for text in texts if text not in CLASS]

    assert texts_of("none", "batch", "platt") == []
    assert texts_of("contextual") == [("N/A",), ("",), ("[MASK]",)]
    drawn = texts_of("domain-context")  # 20, but for those that are texts of the set or equal
    assert 5 < len(drawn) <= 20
    assert {word for (text,) in drawn for word in text.split()} <= {"train", *map(str, range(80))}
    assert texts_of("pmi") == [("",)]
    model = Model()
    study(only("seed", methods=("pmi",)), model=model)
    alone = [prompt for prompt, _ in model.asked if not prompt.demonstrations]
    assert len(alone) == 1  # the answer cue is the same under all demonstrations


def test_numbers_are_those_of_the_methods_fitted_by_hand(found: Robustness):
    from vesalius.methods.calibration.calibrators import make_calibrator

    plan = plan_study(SMALL, prompt=PROMPT, train=TRAIN, variants=VARIANTS)
    table = found.table.to_pylist()
    for place in (0, 7, 15, 29):
        condition = plan.conditions[place]
        prompt = plan.prompts[condition.prompt]
        batch = make_calibrator("batch").fit(Model()(prompt, [r.texts for r in condition.estimate]))
        said = batch.predict(Model()(prompt, [row.texts for row in TEST]))
        row = table[2 * place + 1]
        assert (row["method"], row["axis"], row["condition"]) == (
            "batch", condition.axis, condition.name,
        )  # fmt: skip
        assert row["prompt"] == prompt.fingerprint()
        assert row["num_estimate"] == len(condition.estimate)
        assert_allclose(row["accuracy"], np.mean(said == [row.label for row in TEST]))


def test_conditions_are_what_they_are_called():
    plan = plan_study(SMALL, prompt=PROMPT, train=TRAIN, variants=VARIANTS)

    def cells(axis: str):
        return [(c, plan.prompts[c.prompt]) for c in plan.conditions if c.axis == axis]

    for condition, prompt in cells("proportion"):
        labels = [row.label for row in prompt.demonstrations]
        assert labels.count(0) == round(2 * condition.place)
    for condition, _ in cells("estimate-proportion"):
        labels = [row.label for row in condition.estimate]
        assert labels.count(0) == round(condition.place * len(labels))
    assert len({len(c.estimate) for c, _ in cells("estimate-proportion")}) == 1
    assert [len(c.estimate) for c, _ in cells("estimate-size")] == [4, 4, 12, 12, 24, 24]
    assert {len(p.demonstrations) for c, p in cells("shots") if c.name == "2"} == {2}
    orders = [p.demonstrations for _, p in cells("order")]
    assert len({frozenset(order) for order in orders}) == 1
    assert len(set(orders)) == len(orders) == 2  # two demonstrations have two orders
    assert "2 orders of 2 demonstrations, not 3" in "; ".join(plan.notes)
    for condition in plan.conditions:
        shown = {row.texts for row in plan.prompts[condition.prompt].demonstrations}
        assert not shown & {row.texts for row in condition.estimate}
        assert set(condition.estimate) <= set(plan.pools[condition.prompt])


def test_more_classes_keep_their_shares_beside_the_leading_one():
    train = [LabelledRow(texts=(f"t {i}",), label=(0, 1, 1, 2)[i % 4]) for i in range(120)]
    prompt = LabelPrompt(template="{text} {label}", words=("a", "b", "c"))
    design = only("proportion", "estimate-proportion", proportion_shots=6, leading=1)
    plan = plan_study(design, prompt=prompt, train=train)
    for condition in plan.conditions:
        if condition.axis == "proportion":
            rows = plan.prompts[condition.prompt].demonstrations
            counts = np.bincount([row.label for row in rows], minlength=3)
            assert counts[1] == round(6 * condition.place)
            assert abs(counts[0] - counts[2]) <= 1


def test_the_same_study_comes_out_however_often_it_is_run(found: Robustness):
    assert study().table.equals(found.table)
    assert not study(seed=1).table.equals(found.table)


def test_a_study_that_was_cut_off_goes_on_where_it_stopped():
    kept: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
    model, computed = Model(), []

    def keeping(prompt: LabelPrompt, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        for text in texts:
            if (prompt.fingerprint(), text) not in kept:
                if len(computed) == 150:
                    computed.append(text)
                    raise KeyboardInterrupt
                computed.append(text)
                kept[prompt.fingerprint(), text] = model(prompt, [text])[0]
        return np.array([kept[prompt.fingerprint(), text] for text in texts])

    with pytest.raises(KeyboardInterrupt):
        study(score_texts=keeping)
    found = study(score_texts=keeping)
    assert len(computed) - 1 == len(kept) == found.num_texts
    assert found.table.equals(study().table)


def test_summaries_are_means_over_units_in_closed_form(found: Robustness):
    rows = [
        {"axis": axis, "condition": c, "place": 0.0, "seed": seed, "prompt": "", "method": method,
         **dict.fromkeys(METRICS, value + (method == "batch") * 0.1), "num_texts": 10,
         "num_estimate": 4, "num_impossible": 0, "why": ""}
        for axis in ("template", "shots", "proportion")
        for c, seed, value in (("a", 0, 0.1), ("a", 1, 0.3), ("b", 0, 0.5), ("b", 1, 0.6))
        for method in ("none", "batch")
    ]  # fmt: skip
    made = replace(found, table=pa.Table.from_pylist(rows))
    none = {row.axis: row for row in made.summary() if row.method == "none"}
    for axis, units in (("template", 2), ("shots", 2), ("proportion", 4)):
        row = none[axis]
        assert_allclose((row.mean, row.worst, row.best), (0.375, 0.1, 0.6))
        assert_allclose(row.deviation, np.std([0.1, 0.3, 0.5, 0.6], ddof=1))
        assert (row.num_units, row.num_cells, row.unit) == (units, 4, UNITS[axis])
    assert_allclose((none["template"].low, none["template"].high), (0.2, 0.55))  # means of a and b
    assert_allclose((none["shots"].low, none["shots"].high), (0.3, 0.45))
    tests = {row.axis: row for row in made.paired()}
    assert_allclose([tests[axis].difference for axis in tests], 0.1)
    assert tests["template"].p_value == 2 * 0.5**2  # two units: 2 of 4 sign patterns
    assert tests["proportion"].p_value == 2 * 0.5**4
    worst = next(r for r in made.summary("nll_nats") if (r.axis, r.method) == ("shots", "none"))
    assert (worst.worst, worst.best) == (0.6, 0.1)  # of a loss, the largest


def test_holm_counts_the_tests_of_an_axis():
    found = study(only("seed", "order", methods=("none", "contextual", "batch", "prototypical")),
                  options=QUICK)  # fmt: skip
    rows = [row for row in found.paired() if row.axis == "seed"]
    assert [(row.method, row.reference) for row in rows] == [
        ("prototypical", "none"), ("prototypical", "contextual"), ("prototypical", "batch"),
        ("batch", "none"), ("batch", "contextual"),
    ]  # fmt: skip
    assert all(row.p_value <= row.p_holm <= 5 * row.p_value for row in rows)


def test_a_method_that_cannot_be_fitted_leaves_a_gap_with_its_reason(tmp_path: Path):
    design = only("estimate-size", methods=("none", "prototypical"), estimate_sizes=(1, 12))
    tiny = LabelPrompt(template="{text} {label}", words=("a", "b", "c"))
    train = [LabelledRow(texts=(f"t {i}",), label=i % 3) for i in range(80)]

    def some(prompt: LabelPrompt, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        scores = noise(prompt.fingerprint()).normal(0, 1, (len(texts), 3))
        scores[1::3] = np.nan  # every third text is too long
        return scores

    test = [LabelledRow(texts=(f"x {i}",), label=i % 3) for i in range(9)]
    found = run_study(design, prompt=tiny, train=train, test=test, score_texts=some,
                      options=QUICK, num_resamples=50)  # fmt: skip
    assert "could not be scored" in found.card.warnings[0]
    table = found.table.to_pylist()
    assert {row["num_texts"] for row in table} == {6}
    gaps = [row for row in table if row["why"]]
    assert all(np.isnan(row["accuracy"]) and row["method"] == "prototypical" for row in gaps)
    summary = {row.method: row for row in found.summary()}
    assert summary["prototypical"].num_missing == len(gaps) > 0
    assert summary["none"].num_missing == 0
    text = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert f"prototypical has no number in {len(gaps)} cells" in text


def test_axes_that_cannot_be_studied_are_named(found: Robustness):
    lone = study(only("template", "order", "proportion", "seed", base_shots=1, proportion_shots=0),
                 variants=None)  # fmt: skip
    assert set(lone.left_out) == {"template", "order", "proportion"}
    assert lone.axes == ("seed",)
    with pytest.raises(VesaliusError, match="left out: fewer than two templates"):
        lone.plot(axis="template")
    with pytest.raises(VesaliusError, match="axis='orders'"):
        found.cells("orders")


def test_everything_comes_back_from_a_folder(found: Robustness, tmp_path: Path):
    found.save(tmp_path / "result")
    back = load_result(tmp_path / "result")
    assert isinstance(back, Robustness)
    assert back.table.equals(found.table)
    assert (back.design, back.templates, back.card) == (found.design, found.templates, found.card)
    assert back.summary() == found.summary()
    assert back.paired() == found.paired()
    assert back.templates["other"] == "{text} It was {label}  [poor, great]"
    assert back.paired_table().num_rows == len(AXES)
    assert back.summary_table("brier").num_rows == 2 * len(AXES)


def test_every_picture_is_drawn(found: Robustness):
    for axis in ("", *found.axes):
        assert figure_bytes(found.plot(axis=axis, kind="boxes"), dots_per_inch=40)
    for axis in ("proportion", "estimate-proportion", "estimate-size", "shots"):
        ax = found.plot(axis=axis)
        mean = np.mean([c["value"] for c in found.cells(axis)["batch"] if c["place"] == 1.0] or [0])
        line = next(line for line in ax.get_lines() if line.get_label() == "batch")
        if axis == "proportion":
            assert line.get_xdata().tolist() == [0, 50, 100]
            assert_allclose(line.get_ydata()[-1], mean)
    assert found.plot(axis="shots", metric="brier").get_ylabel() == "Brier score"
    for options in ({"axis": "order", "kind": "curve"}, {"kind": "lines"}, {"metric": "f2"}):
        with pytest.raises(VesaliusError):
            found.plot(**options)


def test_pages_carry_everything_and_escape_every_text(found: Robustness, tmp_path: Path):
    card = replace(found.card, model="<i>m</i>", warnings=("<u>careful</u>",))
    odd = replace(
        found, card=card, label_names=("</script>", "<b>"), templates={"<b>": "{text} <u>is</u>"}
    )
    path = odd.to_html(tmp_path / "page.html")
    text = path.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert all(src.startswith("data:") for src in re.findall(r'(?:src|href)="([^"]*)', text))
    images = re.findall(r"<img [^>]*>", text)
    assert len(images) == 1 + len(AXES) + 4
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    shown = re.sub(r"<img [^>]*>", "", text)
    assert not re.search(r"<(?:b|i|u|script)\b|</script>", shown)
    for safe in ("&lt;i&gt;m", "&lt;u&gt;careful", "{text} &lt;u&gt;is"):
        assert safe in text
    with pytest.raises(VesaliusError):
        odd.to_html(path)


def test_rows_and_sentences(found: Robustness):
    for columns, rows in (robustness_rows(found), robustness_test_rows(found, "brier")):
        assert rows
        assert all(len(row) == len(columns) for row in rows)
    told = robustness_verdict(found, "template")
    assert told.startswith("None ")
    assert "over 2 templates." in told
    assert "points, worst" in told


def test_progress_counts_the_prompts():
    seen: list[tuple[int, int]] = []
    study(only("seed"), progress=lambda done, whole: seen.append((done, whole)))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: StudyDesign(axes=("orders",)), "axis='orders'"),
        (lambda: StudyDesign(axes=()), "axes ()"),
        (lambda: StudyDesign(methods=("magic",)), "method='magic'"),
        (lambda: StudyDesign(methods=("none", "generative")), "generative"),
        (lambda: StudyDesign(num_seeds=0), "num_seeds=0"),
        (lambda: StudyDesign(shots=(-1,)), "shots=-1"),
        (lambda: StudyDesign(proportions=(1.5,)), "1.5"),
        (lambda: StudyDesign(estimate_sizes=(200,)), "estimate size of 200"),
        (lambda: study(replace(SMALL, leading=2)), "leading=2"),
        (lambda: study(test=[]), "0 rows to judge by"),
        (lambda: study(test=[LabelledRow(texts=("x",), label=-1)]), "labels [-1]"),
        (lambda: study(test=TRAIN[:3]), "3 texts in train and in test"),
        (lambda: study(train=TRAIN[:1]), "from 1 different rows"),
        (lambda: study(score_texts=lambda p, t: np.zeros((1, 2))), "scores of shape [1, 2]"),
        (lambda: study(variants={"x": replace(PROMPT, words=("a", "b", "c"))}), "'x' for 3"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
