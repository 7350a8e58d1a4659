"""Prototypical calibration on planted prototypes, and the mistakes others have made with it."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax

from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators import (
    PrototypicalCalibration,
    assignment_scores,
    load_calibrator,
    match_components,
)
from vesalius.methods.calibration.calibrators.mixture_runs import (
    MixtureRuns,
    RunOptions,
    choose_covariance,
    num_parameters,
    run_batched,
    run_sequential,
)


def planted(
    num_labels: int,
    num_texts: int,
    *,
    shares: tuple[float, ...] | None = None,
    distance: float = 8.0,
    bias: float = 3.0,
    seed: int = 0,
):
    """Scores around one prototype per label, all moved by a bias that fools the plain argmax."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(num_labels, size=num_texts, p=shares)
    logits = distance * np.eye(num_labels)[labels]
    logits += generator.normal(size=logits.shape) + bias * np.arange(num_labels)
    return log_softmax(logits, axis=1), labels


@given(
    st.integers(2, 6).flatmap(
        lambda k: arrays(np.float64, (3, k, k), elements=st.floats(-40, 0, width=32))
    )
)
def test_the_matching_is_the_best_of_all_permutations(means):
    """Hungarian against brute force, up to six labels."""
    places = np.arange(means.shape[1])
    for one, score in zip(means, assignment_scores(means), strict=True):
        best = max(one[places, list(order)].sum() for order in permutations(places))
        assert_allclose(score, best, rtol=1e-12, atol=1e-12)
        matched = match_components(one)
        assert sorted(matched) == places.tolist()
        assert_allclose(one[places, matched].sum(), best, rtol=1e-12, atol=1e-12)


WAYS = {
    "default": {},
    "paper": {"engine": "sklearn", "guards": False, "covariance": "full"},
    "no guards": {"guards": False},
    "tied": {"covariance": "tied"},
    "diag": {"covariance": "diag"},
    "log-ratio": {"coordinates": "log-ratio"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("num_labels", [2, 4])
def test_planted_prototypes_are_found(way, num_labels):
    """The plain argmax is wrong on many texts, the mixture on none."""
    scores, labels = planted(num_labels, 60 * num_labels, bias=9.0 if num_labels == 2 else 3.0)
    test, answers = planted(num_labels, 300, bias=9.0 if num_labels == 2 else 3.0, seed=1)
    made = PrototypicalCalibration(num_restarts=10, **WAYS[way]).fit(scores)
    assert (test.argmax(axis=1) == answers).mean() < 0.97
    assert made.score(test, answers) > 0.98
    shares = made.weights_[np.argsort(made.assignment_)]
    assert_allclose(shares, np.bincount(labels) / len(labels), atol=0.03)


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_the_labels_does_not_matter(way):
    """Columns in another order: the same answers under their new numbers."""
    scores, _ = planted(3, 150)
    order = np.array([2, 0, 1])
    first = PrototypicalCalibration(num_restarts=10, **WAYS[way]).fit(scores)
    second = PrototypicalCalibration(num_restarts=10, **WAYS[way]).fit(scores[:, order])
    assert_array_equal(order[second.predict(scores[:, order])], first.predict(scores))


@pytest.mark.parametrize("way", WAYS)
def test_class_shares_leave_the_answers_alone(way):
    """Nine to one in the estimate set, either way, or even: the same answers to separated texts."""
    test, answers = planted(2, 200, distance=10.0, seed=5)
    for shares in ((0.9, 0.1), (0.5, 0.5), (0.1, 0.9)):
        scores, _ = planted(2, 400, shares=shares, distance=10.0)
        made = PrototypicalCalibration(num_restarts=10, **WAYS[way]).fit(scores)
        assert_array_equal(made.predict(test), answers)


def test_weights_do_not_weigh_unless_they_are_kept():
    scores, _ = planted(3, 120, distance=2.0)
    made = PrototypicalCalibration(num_restarts=5).fit(scores)
    kept = PrototypicalCalibration(num_restarts=5, keep_weights=True).fit(scores)
    before, weighed = made.predict_proba(scores), kept.predict_proba(scores)
    for one in (made, kept):
        one.weights_ = np.array([0.999, 0.0005, 0.0005])
    assert_array_equal(made.predict_proba(scores), before)
    assert not np.allclose(kept.predict_proba(scores), weighed)
    assert (kept.predict(scores) == kept.assignment_[0]).mean() > 0.5


def test_probabilities_are_normalised_densities():
    """In closed form: two Gaussians on the line of two log-probabilities, weights left out."""
    scores, _ = planted(2, 100, distance=3.0)
    made = PrototypicalCalibration(num_restarts=5).fit(scores)
    density = np.empty((100, 2))
    for component, label in enumerate(made.assignment_):
        away = scores - made.means_[component]
        inverse = np.linalg.inv(made.covariances_[component])
        density[:, label] = np.exp(-0.5 * np.einsum("ni,ij,nj->n", away, inverse, away))
        density[:, label] /= np.sqrt(np.linalg.det(made.covariances_[component]))
    wanted = density / density.sum(axis=1, keepdims=True)
    assert_allclose(made.predict_proba(scores), wanted, rtol=1e-6, atol=1e-12)


def hand_made_runs() -> MixtureRuns:
    """Three restarts: the best matching, the most likely, and the last, which is neither.

    Their means change places, so each answers otherwise; weights would overrule the means.
    """
    good = np.log([[0.9, 0.1], [0.1, 0.9]])
    means = np.stack([good, np.log([[0.6, 0.4], [0.4, 0.6]]), np.log([[0.5, 0.5], [0.45, 0.55]])])
    return MixtureRuns(
        weights=np.tile([1 - 1e-9, 1e-9], (3, 1)),
        means=means,
        covariances=np.tile(np.eye(2), (3, 2, 1, 1)),
        table={
            "log_likelihood": np.array([-3.0, -1.0, -2.0]),
            "num_iterations": np.array([5, 6, 7]),
            "converged": np.ones(3, dtype=bool),
            "smallest_mass": np.array([10.0, 10.0, 10.0]),
        },
    )


@pytest.mark.parametrize(("selection", "restart"), [("assignment", 0), ("likelihood", 1)])
def test_the_restart_that_matches_best_is_taken(selection, restart):
    """Neither the last one nor, unless asked for, the most likely one."""
    scores, _ = planted(2, 40)
    runs = hand_made_runs()
    made = PrototypicalCalibration(num_restarts=3, selection=selection).fit(scores)
    made._choose(runs)
    assert made.best_restart_ == restart
    assert_array_equal(made.means_, runs.means[restart])
    assert made.assignment_score_ == pytest.approx(2 * np.log([0.9, 0.6][restart]))
    # kept weights would give class 0 to both
    assert_array_equal(made.predict(np.log([[0.85, 0.15], [0.15, 0.85]])), [0, 1])


def test_the_restart_that_matches_best_is_taken_of_real_ones():
    """On texts where best, most likely and last restart are three, and answer differently."""
    scores, _ = planted(6, 150, distance=2.0, bias=0.5, seed=4)
    made = PrototypicalCalibration(num_restarts=20).fit(scores)
    usable = made.restarts_["usable"]
    table = {k: np.where(usable, v, -np.inf) for k, v in made.restarts_.items() if k != "usable"}
    assert made.assignment_score_ == pytest.approx(table["assignment_score"].max(), rel=1e-8)
    likely = PrototypicalCalibration(num_restarts=20, selection="likelihood").fit(scores)
    assert likely.log_likelihood_ == pytest.approx(table["log_likelihood"].max(), rel=1e-8)
    assert len({made.best_restart_, likely.best_restart_, 19}) == 3
    assert (made.predict(scores) != likely.predict(scores)).any()
    assert made.assignment_score_ == assignment_scores(made.means_[None])[0]


def test_a_component_of_next_to_no_texts_is_not_chosen():
    runs = hand_made_runs()
    runs.table["smallest_mass"][0] = 0.5
    scores, _ = planted(2, 40)
    made = PrototypicalCalibration(num_restarts=3).fit(scores)
    made._choose(runs)
    assert made.best_restart_ == 1
    assert "not chosen: 1" in made.notes_[-1]
    runs.table["smallest_mass"][:] = 0.5  # nothing better there: the best of them, and a note
    made._choose(runs)
    assert made.best_restart_ == 0
    assert "absent" in made.notes_[-1]
    free = PrototypicalCalibration(num_restarts=3, guards=False).fit(scores)
    free._choose(runs)
    assert free.best_restart_ == 0


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_the_fast_engine_without_guards_is_the_paper_s_way(kind):
    """Restart by restart, from scikit-learn's own stream of starts."""
    scores, _ = planted(4, 120, distance=3.0)
    options = {"num_restarts": 6, "covariance": kind, "guards": False, "seed": 3}
    theirs = PrototypicalCalibration(engine="sklearn", **options).fit(scores)
    ours = PrototypicalCalibration(engine="batched", **options).fit(scores)
    for name, column in theirs.restarts_.items():
        assert_allclose(ours.restarts_[name], column, rtol=1e-8, atol=1e-8, err_msg=name)
    assert ours.best_restart_ == theirs.best_restart_
    assert_allclose(ours.predict_proba(scores), theirs.predict_proba(scores), atol=1e-8)
    assert ours.predict_proba(scores).shape == (120, 4)


def test_the_preset_is_the_paper():
    made = PrototypicalCalibration.paper()
    assert (made.engine, made.covariance, made.guards) == ("sklearn", "full", False)
    assert (made.num_restarts, made.max_iterations, made.tolerance) == (100, 100, 1e-3)
    assert (made.regularisation, made.selection, made.keep_weights) == (1e-6, "assignment", False)
    assert (made.coordinates, made.seed) == ("log-probability", 0)


@pytest.mark.parametrize("engine", ["batched", "sklearn"])
def test_a_seed_gives_one_answer(engine):
    scores, _ = planted(4, 100, distance=2.0)
    options = {"num_restarts": 5, "engine": engine, "guards": engine == "batched"}
    first, second, other = (
        PrototypicalCalibration(seed=seed, **options).fit(scores) for seed in (7, 7, 2**62)
    )
    assert_array_equal(first.means_, second.means_)
    assert first.transform(scores).tobytes() == second.transform(scores).tobytes()
    assert not np.array_equal(first.restarts_["log_likelihood"], other.restarts_["log_likelihood"])


def test_log_ratio_coordinates_give_log_probabilities_back(tmp_path):
    scores, _ = planted(3, 120)
    made = PrototypicalCalibration(num_restarts=5, coordinates="log-ratio").fit(scores)
    assert_allclose(np.exp(made.means_).sum(axis=1), 1)
    assert made.covariances_.shape == (3, 3, 3)
    assert_allclose(made.covariances_.sum(axis=1), 0, atol=1e-12)
    loaded = load_calibrator(made.save(tmp_path / "mixture.json"))
    assert loaded.transform(scores).tobytes() == made.transform(scores).tobytes()


def test_guards_help_where_texts_are_few():
    """Twenty texts per class, six classes: the mean over draws, against no guards."""
    gains = []
    for seed in range(4):
        scores, _ = planted(6, 120, distance=3.0, bias=0.5, seed=seed)
        test, answers = planted(6, 500, distance=3.0, bias=0.5, seed=seed + 100)
        with_guards = PrototypicalCalibration(num_restarts=15).fit(scores)
        without = PrototypicalCalibration(num_restarts=15, guards=False, covariance="full")
        gains.append(with_guards.score(test, answers) - without.fit(scores).score(test, answers))
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "scores",
    [
        np.repeat(np.where(np.eye(3) > 0, -1e-12, -40.0), 5, axis=0),
        np.tile(np.log([[0.2, 0.3, 0.5]]), (15, 1)),
        np.where(np.eye(3)[np.arange(15) % 2] > 0, -1e-12, -40.0),
        np.where(np.eye(3) > 0, 0.0, -np.inf),
        np.linspace(-60, 0, 15)[:, None] * [[1.0, 0, 0]],
    ],
    ids=["saturated", "duplicates", "one class absent", "as few as labels", "on a line"],
)
def test_nothing_breaks_down(way, scores):
    """No NaN, no warning, no error; a note where it is due."""
    made = PrototypicalCalibration(num_restarts=4, **WAYS[way]).fit(scores)
    for texts in (scores, np.zeros((1, 3)), np.array([[0.0, -90.0, -99.0]])):
        assert np.isfinite(made.transform(texts)).all()
        assert np.isfinite(made.predict_proba(texts)).all()
    assert len(made.notes_) > 0


def test_what_is_fewer_than_labels_is_an_error():
    with pytest.raises(VesaliusError, match="2 texts for 3 labels"):
        PrototypicalCalibration().fit(np.zeros((2, 3)))


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(VesaliusError, match="device='abacus'"):
        PrototypicalCalibration(device="abacus").fit(planted(2, 20)[0])


def test_small_sets_are_noted():
    scores, _ = planted(14, 60)
    made = PrototypicalCalibration(num_restarts=2).fit(scores)
    assert made.covariance_ == "tied"
    notes = " ".join(made.notes_)
    assert "tied covariances" in notes
    assert "fewer than 10" in notes
    assert "too few to trust" in notes
    assert PrototypicalCalibration(num_restarts=2).fit(planted(3, 300)[0]).notes_ == ()


def test_the_kind_of_covariance_follows_the_number_of_texts():
    assert [num_parameters(k, "full") for k in (2, 5, 6, 14)] == [11, 104, 167, 1679]
    assert num_parameters(3, "diag") == 9 + 9 + 2
    assert choose_covariance(167, 14, guards=True) == "tied"
    assert choose_covariance(168, 14, guards=True) == "full"
    assert choose_covariance(1678, 14, guards=False) == "diag"
    assert choose_covariance(1679, 14, guards=False) == "full"


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    "options",
    [
        {"num_restarts": 0},
        {"covariance": "round"},
        {"selection": "last"},
        {"engine": "fast"},
        {"coordinates": "polar"},
        {"tolerance": 0.0},
        {"regularisation": -1.0},
        {"max_iterations": 0},
        {"seed": -1},
        {"engine": "sklearn", "guards": True},
    ],
)
def test_options_without_meaning_are_named(options):
    with pytest.raises(VesaliusError, match=next(iter(options))):
        PrototypicalCalibration(**options).fit(planted(2, 20)[0])


def test_restarts_that_scikit_learn_refuses_are_left_out(monkeypatch):
    from vesalius.methods.calibration.calibrators import mixture_runs

    class Refusing(mixture_runs.GaussianMixture):
        calls = 0

        def fit(self, X, y=None):
            Refusing.calls += 1
            if Refusing.calls % 2 or Refusing.calls > 6:
                raise ValueError("ill-defined empirical covariance")
            return super().fit(X, y)

    monkeypatch.setattr(mixture_runs, "GaussianMixture", Refusing)
    scores, _ = planted(2, 60)
    made = PrototypicalCalibration.paper(num_restarts=6).fit(scores)
    assert any("left out: 3" in note for note in made.notes_)
    assert len(made.restarts_["assignment_score"]) == 3
    with pytest.raises(VesaliusError, match="ill-defined"):
        PrototypicalCalibration.paper(num_restarts=2).fit(scores)


def test_groups_of_restarts_give_what_all_together_give(monkeypatch):
    from vesalius.methods.calibration.calibrators import mixture_runs

    scores, _ = planted(3, 90, distance=3.0)
    whole = PrototypicalCalibration(num_restarts=7).fit(scores)
    monkeypatch.setattr(mixture_runs, "_START_BYTES", 2 * 8 * 3 * 90)
    parts = PrototypicalCalibration(num_restarts=7).fit(scores)
    assert_allclose(parts.restarts_["log_likelihood"], whole.restarts_["log_likelihood"])
    assert_allclose(parts.means_, whole.means_, rtol=1e-8)


def test_both_engines_say_the_same_of_a_run():
    scores, _ = planted(3, 90, distance=3.0)
    options = RunOptions(
        num_restarts=3,
        covariance="full",
        max_iterations=100,
        tolerance=1e-3,
        regularisation=1e-6,
        seed=0,
        guards=False,
        device="cpu",
    )
    fast, slow = run_batched(scores, 3, options), run_sequential(scores, 3, options)
    assert fast.table.keys() == slow.table.keys()
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(fast, name), getattr(slow, name), rtol=1e-8, atol=1e-8)
    for name, column in slow.table.items():
        assert fast.table[name].dtype == column.dtype
