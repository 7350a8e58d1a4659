"""Calibrators of label scores: closed forms and parity with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from few_shot_scores import few_shot_scores, fitted
from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators import (
    METHODS,
    AffineCalibration,
    BatchCalibration,
    ContextualCalibration,
    DomainContextCalibration,
    GenerativeCalibration,
    IsotonicCalibration,
    PlattScaling,
    PMICalibration,
    TemperatureScaling,
    Uncalibrated,
    label_log_probs,
    make_calibrator,
)
from vesalius.methods.calibration.calibrators.platt import label_log_odds


def test_names_and_kinds_are_those_of_the_contract():
    assert list(METHODS) == [
        "none", "contextual", "domain-context", "batch", "pmi", "prototypical",
        "generative", "temperature", "platt", "isotonic", "affine",
    ]  # fmt: skip
    kinds = {name: kind.fits_on for name, kind in METHODS.items()}
    assert kinds["none"] == "nothing"
    assert kinds["contextual"] == "content-free"
    assert kinds["domain-context"] == "domain"
    assert kinds["batch"] == kinds["prototypical"] == "estimate"
    assert kinds["pmi"] == "premise"
    assert kinds["generative"] == "generated"
    assert {kinds[n] for n in ("temperature", "platt", "isotonic", "affine")} == {"labelled"}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("num_labels", [2, 4])
def test_every_calibrator_gives_distributions(name, num_labels):
    scores, labels = few_shot_scores(num_labels, 80)
    calibrator = fitted(name, scores, labels)
    log_probs = calibrator.transform(scores)
    assert_allclose(logsumexp(log_probs, axis=1), 0, atol=1e-10)
    assert_equal_numbers(calibrator.predict_proba(scores), np.exp(log_probs))
    assert_array_equal(calibrator.predict(scores), log_probs.argmax(axis=1))
    assert_array_equal(calibrator.classes_, np.arange(num_labels))
    assert calibrator.score(scores, labels) > 0.4  # of scikit-learn's ClassifierMixin
    assert isinstance(calibrator.notes_, tuple)
    assert calibrator.transform(scores[:0]).shape == (0, num_labels)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "pmi"])
def test_only_the_row_normalised_scores_of_texts_matter(name):
    """The label mass of a text is no part of its answer."""
    scores, labels = few_shot_scores(3, 60)
    calibrator = fitted(name, scores, labels)
    assert_allclose(
        calibrator.transform(label_log_probs(scores)), calibrator.transform(scores), atol=1e-9
    )


def test_no_calibration_changes_nothing():
    scores, _ = few_shot_scores(3, 10)
    made = Uncalibrated().fit(scores)
    assert_equal_numbers(made.transform(scores), log_softmax(scores, axis=1))
    assert_equal_numbers(
        Uncalibrated().fit(np.empty((0, 0))).transform(scores), made.transform(scores)
    )


@pytest.mark.parametrize("average", ["log", "probability"])
def test_batch_takes_off_an_additive_bias(average):
    """The same texts with and without a bias per label: the same answers, the same scores."""
    scores, _ = few_shot_scores(4, 200)
    bias = np.array([3.0, -2.0, 0.5, 1.0])
    plain = BatchCalibration(average="log").fit(scores).transform(scores)
    biased = BatchCalibration(average="log").fit(scores + bias)
    assert_allclose(biased.transform(scores + bias), plain, atol=1e-10)
    # log of the mean: exact where every label has the same spread of probabilities
    circle = label_log_probs(np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]]))
    made = BatchCalibration(average=average).fit(circle + bias[:3] / 10)
    assert_array_equal(made.predict(circle + bias[:3] / 10), [0, 1, 2])


def test_batch_averages_in_closed_form():
    scores, _ = few_shot_scores(3, 25)
    features = log_softmax(scores, axis=1)
    assert_equal_numbers(BatchCalibration().fit(scores).bias_, features.mean(axis=0))
    made = BatchCalibration(average="probability", strength=0.5).fit(scores)
    assert_equal_numbers(made.bias_, 0.5 * np.log(np.exp(features).mean(axis=0)))


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5), st.sampled_from(["log", "probability"])
)
def test_a_stream_gives_what_one_fit_gives(sizes, average):
    scores, _ = few_shot_scores(3, sum(sizes))
    whole = BatchCalibration(average=average).fit(scores)
    stream = BatchCalibration(average=average)
    for part in np.split(scores, np.cumsum(sizes)[:-1]):
        stream.partial_fit(part)
    assert stream.num_texts_ == whole.num_texts_
    assert_equal_numbers(stream.bias_, whole.bias_)
    assert_allclose(stream.transform(scores), whole.transform(scores), atol=1e-10)


def test_labels_choose_the_strength_of_batch():
    """Few of class 1: a mean over all takes too much off, and labels say so."""
    generator = np.random.default_rng(0)
    labels = (generator.random(400) < 0.05).astype(np.int64)
    scores = label_log_probs(4 * np.eye(2)[labels] + generator.normal(size=(400, 2)))
    assert BatchCalibration().fit(scores).strength_ == 1
    made = BatchCalibration().fit(scores, labels)
    assert made.strength_ < 1
    assert made.score(scores, labels) > BatchCalibration().fit(scores).score(scores, labels)
    unknown = np.where(np.arange(400) < 390, labels, -1)
    assert BatchCalibration().fit(scores, unknown).strength_ < 1
    right = label_log_probs(10 * np.eye(2)[np.arange(20) % 2])
    assert BatchCalibration().fit(right, np.arange(20) % 2).strength_ == pytest.approx(1)


@pytest.mark.usefixtures("as_users_call_it")
def test_a_stream_takes_no_labels():
    scores, labels = few_shot_scores(3, 20)
    with pytest.raises(VesaliusError, match="partial_fit with labels"):
        BatchCalibration().fit(scores).partial_fit(scores, labels)


def test_contextual_averages_masses_before_it_normalises():
    masses = np.array([[0.2, 0.1], [0.001, 0.004]])
    made = ContextualCalibration().fit(np.log(masses))
    mean = masses.mean(axis=0)
    assert_equal_numbers(np.exp(made.bias_), mean / mean.sum())
    scores, _ = few_shot_scores(2, 20)
    wanted = softmax(scores, axis=1) / (mean / mean.sum())
    assert_equal_numbers(made.predict_proba(scores), wanted / wanted.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("kind", [ContextualCalibration, DomainContextCalibration, PMICalibration])
def test_a_uniform_prior_changes_nothing(kind):
    scores, _ = few_shot_scores(4, 30)
    made = kind().fit(np.full((3, 4), np.log(0.01)))
    assert_allclose(made.transform(scores), label_log_probs(scores), atol=1e-12)


def test_domain_context_counts_every_input_alike():
    masses = np.array([[0.2, 0.1], [0.001, 0.004]])
    made = DomainContextCalibration().fit(np.log(masses))
    assert_equal_numbers(np.exp(made.bias_), np.array([(2 / 3 + 0.2) / 2, (1 / 3 + 0.8) / 2]))


def test_pmi_takes_the_premise_off():
    scores, _ = few_shot_scores(3, 10)
    premise = np.log([[0.02, 0.001, 0.03]])
    made = PMICalibration().fit(premise)
    assert_equal_numbers(made.transform(scores), log_softmax(scores - premise, axis=1))


def test_generative_meets_its_target_marginal():
    scores, _ = few_shot_scores(3, 50)
    marginal = softmax(scores, axis=1).mean(axis=0)
    made = GenerativeCalibration().fit(scores)
    assert_equal_numbers(
        made.transform(scores), log_softmax(label_log_probs(scores) - np.log(marginal), axis=1)
    )
    same = GenerativeCalibration(target=marginal.tolist()).fit(scores)
    assert_allclose(same.transform(scores), label_log_probs(scores), atol=1e-10)
    skewed = GenerativeCalibration(target=(6, 3, 1)).fit(scores)
    moved = skewed.transform(scores) - made.transform(scores)
    assert_allclose(moved[:, 0] - moved[:, 2], np.log(6), atol=1e-10)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize("target", [(0.5, 0.5), (1, 0, 1), (1, np.nan, 1), (1, 1, -1), "abc"])
def test_a_target_that_is_none_is_named(target):
    with pytest.raises(VesaliusError, match="target"):
        GenerativeCalibration(target=target).fit(few_shot_scores(3, 9)[0])


class Scored(ClassifierMixin, BaseEstimator):
    """A classifier whose decision values are its input, for scikit-learn's calibration."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return X[:, 1] if X.shape[1] == 2 else X

    def predict(self, X):
        return self.classes_[X.argmax(axis=1)]


def peer(values: np.ndarray, labels: np.ndarray, method: str) -> np.ndarray:
    frozen = FrozenEstimator(Scored().fit(values, labels))
    made = CalibratedClassifierCV(frozen, method=method, cv=2).fit(values, labels)
    return made.predict_proba(values)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_platt_is_that_of_scikit_learn(num_labels):
    scores, labels = few_shot_scores(num_labels, 60)
    found = PlattScaling().fit(scores, labels).predict_proba(scores)
    assert_allclose(found, peer(label_log_odds(scores), labels, "sigmoid"), atol=1e-5)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_isotonic_is_that_of_scikit_learn_but_for_certainty(num_labels):
    scores, labels = few_shot_scores(num_labels, 80)
    features = label_log_probs(scores)
    found = IsotonicCalibration().fit(scores, labels)
    proba = found.predict_proba(scores)
    assert proba.min() > 0.5 / 82
    found.least_ = 1e-300
    columns = features if num_labels > 2 else np.stack([-features[:, 1], features[:, 1]], axis=1)
    with np.errstate(divide="ignore"):
        free = found.predict_proba(scores)
    assert_allclose(free, peer(columns, labels, "isotonic"), atol=1e-12)


def test_temperature_is_that_of_logistic_regression_on_one_number():
    """For two labels: a slope of the log-odds, and no offset."""
    scores, labels = few_shot_scores(2, 300)
    odds = (scores[:, 1] - scores[:, 0])[:, None]
    model = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10).fit(odds, labels)
    made = TemperatureScaling().fit(scores, labels)
    assert made.temperature_ == pytest.approx(1 / model.coef_[0, 0], rel=1e-4)
    sharp = TemperatureScaling().fit(5 * scores, labels)
    assert sharp.temperature_ == pytest.approx(5 * made.temperature_, rel=1e-6)
    assert_array_equal(made.predict(scores), scores.argmax(axis=1))


def test_a_temperature_at_its_bound_is_said():
    sure = label_log_probs(np.eye(2)[np.arange(10) % 2])
    made = TemperatureScaling().fit(sure, np.arange(10) % 2)
    assert "all labelled texts are right" in made.notes_[0]
    wrong = TemperatureScaling().fit(sure, 1 - np.arange(10) % 2)
    assert "bound" in wrong.notes_[0]
    assert_allclose(wrong.predict_proba(sure), 0.5, atol=0.01)
    assert np.isfinite(made.transform(sure)).all()


def test_affine_starts_at_the_identity_and_can_turn_a_label_round():
    scores, labels = few_shot_scores(3, 200)
    held = AffineCalibration(regularisation=1e9).fit(scores, labels)
    assert_allclose(held.transform(scores), label_log_probs(scores), atol=1e-4)
    free = AffineCalibration().fit(scores, labels)
    assert free.score(scores, labels) > Uncalibrated().fit(scores).score(scores, labels)
    turned = AffineCalibration(regularisation=0.01).fit(-label_log_probs(scores), labels)
    assert (turned.scale_ < 0).all()


def test_affine_is_at_the_least_of_its_loss():
    scores, labels = few_shot_scores(3, 100)
    made = AffineCalibration(regularisation=0.3).fit(scores, labels)
    features = label_log_probs(scores)

    def loss(scale, shift):
        found = log_softmax(scale * features + shift, axis=1)[np.arange(100), labels]
        return -found.sum() + 0.15 * ((scale - 1) @ (scale - 1) + shift @ shift)

    best = loss(made.scale_, made.shift_)
    for step in 1e-3 * np.random.default_rng(0).normal(size=(20, 2, 3)):
        assert loss(made.scale_ + step[0], made.shift_ + step[1]) >= best


@pytest.mark.parametrize("name", ["temperature", "platt", "isotonic", "affine"])
def test_labelled_methods_bear_unknown_and_absent_labels(name):
    scores, labels = few_shot_scores(3, 60)
    some = np.where(np.arange(60) < 40, labels, -1)
    known = fitted(name, scores[:40], labels[:40])
    assert_equal_numbers(fitted(name, scores, some).transform(scores), known.transform(scores))
    absent = labels != 2
    made = fitted(name, scores[absent], labels[absent])
    assert any("class 2" in note for note in made.notes_)
    assert np.isfinite(made.transform(scores)).all()
    for nothing in (None, np.full(60, -1)):
        with pytest.raises(VesaliusError, match="not one label"):
            make_calibrator(name).fit(scores, nothing)
