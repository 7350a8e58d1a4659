"""Comparisons: closed forms, a plain bootstrap, what is left out, storage, pictures and pages."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import log_softmax

from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.calibration.calibrators import METHODS, load_calibrator, make_calibrator
from vesalius.methods.calibration.compare import compare
from vesalius.methods.calibration.comparison import Comparison
from vesalius.methods.calibration.fitting import NEEDS
from vesalius.methods.calibration.plane import lay_plane
from vesalius.methods.calibration.plot import plot_comparison, plot_planes
from vesalius.methods.calibration.wording import (
    comparison_rows,
    comparison_share_rows,
    comparison_test_rows,
    comparison_verdict,
)
from vesalius.numerics.class_bootstrap import METRICS
from vesalius.numerics.metrics import class_scores
from vesalius.plots.style import figure_bytes

QUICK = {"prototypical": {"num_restarts": 5}}


def planted(num_labels: int, num_texts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of texts whose classes are clusters, under a model that leans to the last class."""
    random = np.random.default_rng(seed)
    labels = random.integers(num_labels, size=num_texts)
    scores = 2.0 * np.eye(num_labels)[labels] + np.linspace(0, 3, num_labels)
    return log_softmax(scores + random.normal(0, 0.6, scores.shape), axis=1) - 1, labels


def inputs_for(num_labels: int) -> dict:
    estimate, truth = planted(num_labels, 60 * num_labels, seed=1)
    bias = log_softmax(np.linspace(0, 3, num_labels))
    return {
        "content-free": np.stack([bias - 1, bias - 2, bias - 3]),
        "domain": bias + np.zeros((20, 1)),
        "estimate": estimate,
        "premise": bias[None] - 2,
        "generated": estimate[:30],
        "labelled": (estimate, truth),
    }


def whole(num_labels: int = 3, num_texts: int = 80, **options) -> Comparison:
    scores, labels = planted(num_labels, num_texts)
    given = {"inputs": inputs_for(num_labels), "options": QUICK, "num_resamples": 200, **options}
    return compare(scores, labels, **given)


def test_every_method_is_fitted_and_scored_as_it_would_be_alone():
    found = whole()
    scores, labels = planted(3, 80)
    inputs = inputs_for(3)
    assert found.methods == tuple(METHODS)
    assert found.left_out == {}
    for name in set(METHODS) - {"prototypical"}:
        alone = make_calibrator(name)
        given = inputs.get(alone.fits_on, np.zeros((1, 3)))
        alone.fit(*given) if isinstance(given, tuple) else alone.fit(given)
        row = found.row_of(name)
        np.testing.assert_array_equal(found.predictions[row], alone.predict(scores))
        probs = alone.predict_proba(scores)
        assert_allclose(found.probabilities[row], probs, atol=1e-6)
        plain = class_scores(probs, labels)
        for metric in ("accuracy", "macro_f1", "nll_nats", "calibration_error"):
            assert_allclose(found.value(name, metric)[0], getattr(plain, metric), atol=1e-9)
    assert found.probabilities.dtype == np.float32
    assert (found.low <= found.values + 1e-12).all()
    assert (found.values <= found.high + 1e-12)[:, :4].all()  # ECE of resamples leans upwards


def test_calibration_helps_where_the_bias_is_planted():
    found = whole(num_texts=150, num_resamples=2000)
    for name in ("contextual", "batch", "prototypical"):
        gain = found.difference(name)
        assert_allclose(gain.difference, found.value(name)[0] - found.value("none")[0])
        assert gain.low > 0
        assert gain.p_value < 0.001
        assert gain.p_value < gain.p_holm < 0.05
    against = {row.reference for row in found.paired if row.method == "prototypical"}
    assert against == {"none", "contextual", "batch"}
    assert "Prototypical beats none" in comparison_verdict(found)


def test_intervals_and_tests_repeat_with_the_seed():
    first, second, other = whole(), whole(), whole(seed=1)
    np.testing.assert_array_equal(first.low, second.low)
    assert first.paired == second.paired
    assert (first.low != other.low).any()
    np.testing.assert_array_equal(first.values[0], other.values[0])


def test_methods_without_inputs_are_named_with_the_reason():
    inputs = {"estimate": inputs_for(3)["estimate"]}
    found = whole(inputs=inputs)
    assert found.methods == ("none", "batch", "prototypical")
    assert set(found.left_out) == set(METHODS) - set(found.methods)
    assert NEEDS["premise"] in found.left_out["pmi"]
    assert found.num_inputs == (0, 180, 180)
    with pytest.raises(VesaliusError, match="left out: it is fitted on scores of texts"):
        found.value("contextual")
    few = whole(inputs={"estimate": inputs["estimate"][:2]})
    assert few.methods == ("none", "batch")
    assert "2 texts for 3 labels" in few.left_out["prototypical"]


def test_texts_without_a_label_count_in_no_score():
    scores, labels = planted(2, 50)
    hidden = labels.copy()
    hidden[40:] = -1
    options = {"inputs": {}, "methods": ["none"], "num_resamples": 50}
    part, found = compare(scores[:40], labels[:40], **options), compare(scores, hidden, **options)
    np.testing.assert_array_equal(part.values, found.values)
    assert found.predictions.shape == (1, 50)
    assert found.num_known == 40
    assert "10 of 50 texts have no known label" in found.card.warnings[0]
    assert_allclose(found.true_shares, np.bincount(labels[:40]) / 40)


def test_a_truth_of_probability_zero_is_told_and_not_hidden(monkeypatch: pytest.MonkeyPatch):
    kind = METHODS["batch"]

    def certain(self, scores: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(np.eye(scores.shape[1])[scores.argmax(axis=1)])

    monkeypatch.setattr(kind, "transform", certain)
    found = whole(methods=["none", "batch"])
    row = found.row_of("batch")
    wrong = int((found.predictions[row] != found.labels).sum())
    assert 0 < wrong == found.num_impossible[row]
    assert found.value("batch", "nll_nats")[0] == np.inf
    assert found.finite_nats[row] == 0  # certain and right
    assert f"batch: {wrong} of 80 texts have probability 0" in found.card.warnings[0]
    assert found.difference("batch", metric="nll_nats").num_texts == 80 - wrong
    assert found.difference("batch").num_texts == 80
    assert not np.isnan(found.high).any()


def test_everything_comes_back_from_a_folder(tmp_path: Path):
    found = whole(model="</script>", about={"task": "sst2"})
    found.save(tmp_path / "result")
    back = load_result(tmp_path / "result")
    assert isinstance(back, Comparison)
    assert (back.card, back.paired, back.notes) == (found.card, found.paired, found.notes)
    for name in ("scores", "labels", "predictions", "probabilities", "values", "low", "high"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
    np.testing.assert_array_equal(back.plane.regions, found.plane.regions)
    assert back.to_table().equals(found.to_table())
    assert back.advice is not None
    assert back.advice.recommended in METHODS
    assert back.mixture is not None
    assert back.mixture.means.shape == (3, 3)
    assert back.probabilities.dtype == np.float32
    for kind in ("plane", "gains", "shares"):
        assert figure_bytes(back.plot(kind=kind), dots_per_inch=40)


def test_the_table_has_a_row_for_every_method():
    found = whole()
    table = found.to_table().to_pydict()
    assert table["method"] == list(METHODS)
    assert set(METRICS) <= table.keys()
    assert table["accuracy_low"] == found.low[:, 0].tolist()
    for columns, rows in (
        comparison_rows(found), comparison_test_rows(found), comparison_share_rows(found)
    ):  # fmt: skip
        assert all(len(row) == len(columns) for row in rows)
    assert [row[0] for row in comparison_rows(found)[1]] == list(METHODS)
    assert len(comparison_test_rows(found)[1]) == 2 * (10 + 2)
    assert_allclose(found.predicted_shares.sum(axis=1), 1)


def test_two_labels_lie_on_a_line_whose_border_is_at_zero():
    scores, labels = planted(2, 60)
    plane = compare(scores, labels, inputs={}, methods=["none"], num_resamples=10).plane
    assert_allclose(plane.project(scores)[:, 0], scores[:, 1] - scores[:, 0])
    np.testing.assert_array_equal(plane.regions[0, 0], plane.x > 0)
    assert plane.axis_names == ("log P(class 1) − log P(class 0), nats",)


def test_three_labels_fill_a_plane_and_every_text_lies_in_the_region_of_its_answer():
    found = whole(num_texts=300)
    plane = found.plane
    places = plane.project(found.scores)
    columns = np.abs(plane.x[None] - places[:, :1]).argmin(axis=1)
    rows = np.abs(plane.y[None] - places[:, 1:]).argmin(axis=1)
    inside = (places[:, 0] > plane.x[0]) & (places[:, 0] < plane.x[-1])
    inside &= (places[:, 1] > plane.y[0]) & (places[:, 1] < plane.y[-1])
    assert inside.mean() > 0.97
    for row, said in zip(plane.regions, found.predictions, strict=True):
        assert (row[rows, columns] == said)[inside].mean() > 0.97  # but for a cell at a border
    assert plane.note == ""
    covariance = np.cov(found.scores.T)
    assert_allclose(plane.project_covariance(covariance), np.cov(places.T), atol=1e-12)


def test_a_plane_of_two_chosen_labels():
    found = whole(4, label_names=["a", "b", "c", "d"], plane_labels=("d", "b"))
    centred = found.scores - found.scores.mean(axis=1, keepdims=True)
    assert_allclose(found.plane.project(found.scores), centred[:, [3, 1]], atol=1e-12)
    assert "a section through the mean" in found.plane.note
    assert figure_bytes(found.plot(), dots_per_inch=40)


@pytest.mark.parametrize("num_labels", [2, 3, 4])
@pytest.mark.parametrize("value", [-np.inf, -40.0])
def test_saturated_and_equal_scores_are_drawn(num_labels: int, value: float):
    scores = np.full((6, num_labels), value)
    scores[:, 0] = 0.0
    labels = np.zeros(6, dtype=int)
    found = compare(
        scores, labels, inputs={"estimate": scores}, options=QUICK, num_resamples=10,
        methods=["none", "batch", "prototypical"],
    )  # fmt: skip
    assert not np.isnan(found.values).any()
    assert figure_bytes(found.plot(), dots_per_inch=40)
    one = lay_plane(scores[:1], [lambda x: x.argmax(axis=1)], label_names=["x"] * num_labels)
    assert np.isfinite(one.x).all()


def test_pages_carry_everything_and_escape_every_text(tmp_path: Path):
    names = ["</script>", "<b>bold</b>", "$x_"]
    found = whole(label_names=names, inputs={"estimate": inputs_for(3)["estimate"]})
    card = replace(found.card, model="<i>m</i>", warnings=("<u>careful</u>",))
    path = replace(found, card=card).to_html(tmp_path / "page.html")
    text = path.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert all(src.startswith("data:") for src in re.findall(r'(?:src|href)="([^"]*)', text))
    assert len(re.findall(r'<img [^>]*alt="[^"]{20,}"', text)) == 3
    shown = re.sub(r"<img [^>]*>", "", text)
    assert not re.search(r"<(?:b|i|u|script)\b|</script>", shown)
    for safe in ("&lt;/script&gt;", "&lt;b&gt;bold", "&lt;i&gt;m", "&lt;u&gt;careful"):
        assert safe in text
    assert "Left out: contextual" in text
    with pytest.raises(VesaliusError):
        found.to_html(path)
    alone = compare(*planted(2, 20), inputs={}, methods=["none"], num_resamples=10)
    assert alone.to_html(tmp_path / "alone.html").is_file()


def test_planes_of_several_methods():
    found = whole()
    ax = plot_planes(found, ["none", "batch", "none", "prototypical"])
    titles = [each.get_title().partition(":")[0] for each in ax.figure.axes]
    assert titles == ["none", "batch", "prototypical"]
    assert [len(each.patches) > 0 for each in ax.figure.axes] == [False, False, True]
    line = plot_planes(whole(2), ["none", "prototypical"])
    assert len(line.figure.axes) == 2


def test_options_reach_the_calibrators(tmp_path: Path):
    found = whole(methods=["batch"], options={"batch": {"average": "probability"}})
    batch = make_calibrator("batch", average="probability").fit(inputs_for(3)["estimate"])
    again = load_calibrator(batch.save(tmp_path / "batch.json"))
    np.testing.assert_array_equal(found.predictions[0], again.predict(planted(3, 80)[0]))
    assert found.paired == ()
    with pytest.raises(VesaliusError, match="option 'averag' of batch"):
        whole(options={"batch": {"averag": "log"}})


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.zeros(3, int)}, "3 labels"),
        ({"labels": np.full(20, -1)}, "0 known labels"),
        ({"labels": np.full(20, 2)}, "from 2 to 2"),
        ({"label_names": ["a"]}, "1 names"),
        ({"methods": ["batsh"]}, "method='batsh'"),
        ({"methods": []}, "no methods"),
        ({"methods": ["batch"]}, "batch: it is fitted on"),
        ({"inputs": {"test": np.zeros((1, 2))}}, "kind of inputs='test'"),
        ({"inputs": {"estimate": np.zeros((5, 3))}}, "shape [5, 3]"),
        ({"inputs": {"labelled": np.zeros((5, 2))}}, "labelled inputs"),
        ({"inputs": {"labelled": (np.zeros((5, 2)), np.zeros(4, int))}}, "with 4 labels"),
        ({"plane_labels": ("a", "class 1")}, "'a'"),
        ({"level": 1.5}, "level=1.5"),
        ({"num_resamples": 0}, "num_resamples=0"),
    ],
)
def test_mistakes_are_named(change: dict, said: str):
    scores, labels = planted(2, 20)
    given = {"labels": labels, "inputs": {}, "methods": ["none"], **change}
    if "plane_labels" in change:
        scores, labels = planted(4, 20)
        given["labels"] = labels
    with pytest.raises(VesaliusError) as caught:
        compare(scores, given.pop("labels"), **given)
    assert said in str(caught.value)


def test_unknown_pictures_and_places_are_refused():
    found = whole(2, methods=["none", "batch"])
    for call in (
        lambda: plot_comparison(found, kind="circle"),
        lambda: found.plot(method="isotonic"),
        lambda: found.value("none", "recall"),
        lambda: found.difference("none"),
        lambda: whole(2, methods=["none"]).plot(kind="gains"),
    ):
        with pytest.raises(VesaliusError):
            call()
