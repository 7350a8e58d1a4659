"""Scores of classifiers against closed forms and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import metrics

from vesalius.core.errors import VesaliusError
from vesalius.numerics.metrics import class_scores


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**31))
def test_scores_agree_with_scikit_learn(num_labels: int, num_items: int, seed: int):
    random = np.random.default_rng(seed)
    probs = random.dirichlet(np.ones(num_labels), size=num_items)
    answers = random.integers(num_labels, size=num_items)
    found, said, labels = class_scores(probs, answers), probs.argmax(axis=1), range(num_labels)
    assert_allclose(found.accuracy, metrics.accuracy_score(answers, said), rtol=1e-12)
    if len(set(answers) | set(said)) > 1:  # else scikit-learn warns; ours is 0 as well
        expected = metrics.matthews_corrcoef(answers, said)
        assert_allclose(found.matthews, expected, rtol=1e-12, atol=1e-12)
    each = metrics.precision_recall_fscore_support(answers, said, labels=labels, zero_division=0)
    for ours, theirs in zip((found.precision, found.recall, found.f1), each[:3], strict=True):
        assert_allclose(ours, theirs, rtol=1e-12)
    assert_allclose(found.macro_f1, each[2].mean(), rtol=1e-12)
    confusion = metrics.confusion_matrix(answers, said, labels=labels)
    assert np.array_equal(found.confusion, confusion)
    assert_allclose(found.nll_nats, metrics.log_loss(answers, probs, labels=labels), rtol=1e-9)


def test_scores_in_closed_form():
    found = class_scores(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), np.array([0, 0, 1, 0]))
    assert found.confusion == ((2, 1), (0, 1))
    assert (found.accuracy, found.precision, found.recall) == (0.75, (1.0, 0.5), (2 / 3, 1.0))
    assert_allclose(found.macro_f1, (0.8 + 2 / 3) / 2, rtol=1e-12)
    assert_allclose(found.matthews, 1 / np.sqrt(3), rtol=1e-12)  # (2*1 - 1*0) / sqrt(3*2*1*2)
    assert class_scores(np.array([[1.0, 0]]), np.array([0])).matthews == 0


def test_answers_that_are_no_label_are_refused():
    with pytest.raises(VesaliusError, match="label indices"):
        class_scores(np.array([[0.5, 0.5]]), np.array([2]))
