"""Calibrators as files, and what they say to bad and awkward input."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from few_shot_scores import few_shot_scores, fitted
from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators import (
    METHODS,
    BatchCalibration,
    GenerativeCalibration,
    TemperatureScaling,
    check_scores,
    label_log_probs,
    load_calibrator,
    make_calibrator,
)


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_calibrator_is_the_same_to_the_last_bit(name, tmp_path):
    scores, labels = few_shot_scores(3, 40)
    calibrator = fitted(name, scores, labels)
    path = calibrator.save(tmp_path / "calibrator.json")
    loaded = load_calibrator(path)
    assert type(loaded) is type(calibrator)
    assert loaded.get_params() == calibrator.get_params()
    assert loaded.notes_ == calibrator.notes_
    for attribute in calibrator.fitted_names:
        assert_same(getattr(loaded, attribute), getattr(calibrator, attribute))
    assert loaded.transform(scores).tobytes() == calibrator.transform(scores).tobytes()
    with pytest.raises(VesaliusError, match="exists"):
        calibrator.save(path)
    assert loaded.save(path, force=True).read_bytes() == path.read_bytes()


def assert_same(loaded, made):
    if isinstance(made, dict):
        assert list(loaded) == list(made)
        for key, value in made.items():
            assert_same(loaded[key], value)
    elif isinstance(made, np.ndarray):
        assert (loaded.dtype, loaded.shape) == (made.dtype, made.shape)
        assert loaded.tobytes() == made.tobytes()
    else:
        assert loaded == made


def test_options_are_saved(tmp_path):
    scores, _ = few_shot_scores(3, 40)
    made = GenerativeCalibration(target=(0.2, 0.3, 0.5)).fit(scores)
    assert load_calibrator(made.save(tmp_path / "g.json")).target == (0.2, 0.3, 0.5)
    made = BatchCalibration(average="probability", strength=np.float64(0.5)).fit(scores)
    loaded = load_calibrator(made.save(tmp_path / "b.json"))
    more, _ = few_shot_scores(3, 7, seed=9)
    assert_same(loaded.partial_fit(more).bias_, made.partial_fit(more).bias_)


@pytest.mark.parametrize("name", METHODS)
def test_scikit_learn_can_clone_every_calibrator(name):
    scores, labels = few_shot_scores(3, 40)
    calibrator = fitted(name, scores, labels)
    copy = clone(calibrator)
    assert copy.get_params() == calibrator.get_params()
    with pytest.raises(VesaliusError, match="not fitted"):
        copy.predict(scores)
    with pytest.raises(VesaliusError, match="not fitted"):
        copy.save("nowhere.json")


AWKWARD = {
    "saturated": np.repeat(np.where(np.eye(3) > 0, 0.0, -40.0), 4, axis=0),
    "duplicates": np.tile(np.log([[0.2, 0.3, 0.5]]), (12, 1)),
    "minus infinity": np.where(np.eye(3)[np.arange(12) % 3] > 0, 0.0, -np.inf),
    "long phrases": -1000 + np.random.default_rng(0).normal(size=(12, 3)),
    "one class absent": label_log_probs(9 * np.eye(3)[np.arange(12) % 2]),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_scores_give_finite_numbers(name, case):
    scores = AWKWARD[case]
    labels = scores.argmax(axis=1)
    calibrator = fitted(name, scores, labels)
    for given_scores in (scores, few_shot_scores(3, 5)[0], AWKWARD["saturated"]):
        assert np.isfinite(calibrator.transform(given_scores)).all()
    if case == "minus infinity" and name != "none":
        assert "24 scores" in calibrator.notes_[0]


def test_the_floor_is_relative_to_the_row():
    scores, num_raised = check_scores(np.array([[-500.0, -520.0, -np.inf], [0.0, -101.0, -99.0]]))
    assert_array_equal(scores, [[-500.0, -520.0, -600.0], [0.0, -100.0, -99.0]])
    assert num_raised == 2


BAD = [
    (np.zeros(3), "shape"),
    (np.zeros((4, 1)), "shape"),
    (np.zeros((2, 2, 2)), "shape"),
    (np.array([["a", "b"]]), "scores of"),
    (np.empty((0, 2)), "0 rows"),
    (np.array([[0.0, 0], [0, np.nan]]), "nan at row 1, label 1"),
    (np.array([[0.0, 0], [np.inf, 0], [np.nan, 0]]), r"inf at row 1, label 0 \(2 such rows\)"),
    (np.array([[0.0, 0], [-np.inf, -np.inf]]), "row 1, in which every label has -inf"),
]


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(("scores", "said"), BAD)
@pytest.mark.parametrize("name", ["batch", "platt", "prototypical"])
def test_bad_scores_are_named(name, scores, said):
    with pytest.raises(VesaliusError, match=said):
        make_calibrator(name).fit(scores)


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros(4, dtype=int), "labels of"),
        (np.zeros(5), "labels of float64"),
        (np.array([0, 1, 2, 3, 0]), "labels from 0 to 3"),
        (np.array([0, 1, -2, 0, 0]), "labels from -2"),
    ],
)
def test_bad_labels_are_named(labels, said):
    with pytest.raises(VesaliusError, match=said):
        TemperatureScaling().fit(few_shot_scores(3, 5)[0], labels)


def test_another_number_of_labels_is_named():
    made = BatchCalibration().fit(few_shot_scores(3, 20)[0])
    with pytest.raises(VesaliusError, match="scores of 4 labels"):
        made.predict(few_shot_scores(4, 5)[0])
    with pytest.raises(VesaliusError, match="scores of 4 labels"):
        made.partial_fit(few_shot_scores(4, 5)[0])


@pytest.mark.usefixtures("as_users_call_it")
def test_unknown_methods_and_options_are_named():
    with pytest.raises(VesaliusError, match="method='magic'"):
        make_calibrator("magic")
    with pytest.raises(VesaliusError, match="option 'strenght' of batch"):
        make_calibrator("batch", strenght=2)
    for name, options in (
        ("batch", {"average": "median"}),
        ("batch", {"strength": "much"}),
        ("batch", {"strength": np.nan}),
        ("affine", {"regularisation": 0}),
    ):
        with pytest.raises(VesaliusError, match=next(iter(options))):
            make_calibrator(name, **options)


def test_files_that_are_no_calibrator_are_refused(tmp_path):
    scores, labels = few_shot_scores(3, 40)
    path = fitted("affine", scores, labels).save(tmp_path / "affine.json")
    good = json.loads(path.read_text("utf-8"))

    def refused(change: dict, said: str) -> None:
        path.write_text(json.dumps(good | change), "utf-8")
        with pytest.raises(VesaliusError, match=said):
            load_calibrator(path)

    refused({"schema_version": 2}, "schema 2")
    refused({"method": "magic"}, "method 'magic'")
    refused({"method": "platt"}, "option 'regularisation' of platt")
    refused({"method": "platt", "params": {}}, "fitted parts")
    refused({"kind": "something else"}, "not marked")
    refused({"params": {"strength": 1}}, "option 'strength'")
    refused({"params": {"regularisation": -1}}, "regularisation=-1")
    refused({"num_labels": 4}, "no calibrator that can be read")
    refused({"num_labels": "3"}, "no calibrator that can be read")
    for values in ([1, 2], [1, 2, "x"], [1, 2, None]):
        scale = {**good["fitted"]["scale_"], "values": values}
        refused({"fitted": {**good["fitted"], "scale_": scale}}, "no calibrator that can be read")
    scale = {**good["fitted"]["scale_"], "array": "object"}
    refused({"fitted": {**good["fitted"], "scale_": scale}}, "an array of object")
    path.write_text(path.read_text("utf-8")[:-40], "utf-8")
    with pytest.raises(VesaliusError, match="no calibrator that can be read"):
        load_calibrator(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VesaliusError, match="no calibrator that can be read"):
        load_calibrator(path)
    path.write_text("[1]", "utf-8")
    with pytest.raises(VesaliusError, match="not marked"):
        load_calibrator(path)
    with pytest.raises(VesaliusError, match="No such file"):
        load_calibrator(tmp_path / "absent.json")


def test_every_broken_file_is_refused(tmp_path):
    """No part of a good file can go missing unseen."""
    scores, labels = few_shot_scores(3, 40)
    for name in METHODS:
        path = fitted(name, scores, labels).save(tmp_path / f"{name}.json")
        good = json.loads(path.read_text("utf-8"))
        for part in good:
            path.write_text(json.dumps({k: v for k, v in good.items() if k != part}), "utf-8")
            with pytest.raises(VesaliusError):
                load_calibrator(path)
        for part in good["fitted"]:
            less = {k: v for k, v in good["fitted"].items() if k != part}
            path.write_text(json.dumps(good | {"fitted": less}), "utf-8")
            with pytest.raises(VesaliusError):
                load_calibrator(path)
