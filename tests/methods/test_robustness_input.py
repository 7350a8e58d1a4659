"""Studies of very few or strange rows: what can be studied is, the rest is named."""

from dataclasses import replace

import numpy as np
import pytest

from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators import Uncalibrated, load_calibrator
from vesalius.methods.calibration.calibrators.batch import BatchCalibration
from vesalius.methods.calibration.robustness import run_study
from vesalius.methods.calibration.robustness_design import StudyDesign
from vesalius.methods.calibration.robustness_result import Robustness

PROMPT = LabelPrompt(template="{text} {label}", words=("bad", "good"))
TEST = [LabelledRow(texts=(f"x {i}",), label=i % 2) for i in range(6)]
SMALL = StudyDesign(
    axes=("shots", "proportion"), methods=("none", "batch"), shots=(4,), num_seeds=2,
    proportion_draws=1, estimate_per_class=4, estimate_sizes=(2,),
)  # fmt: skip


def study(train: list[LabelledRow], design: StudyDesign = SMALL) -> Robustness:
    def score(prompt: LabelPrompt, texts: object) -> np.ndarray:
        return np.tile([-1.0, -2.0], (len(list(texts)), 1))  # type: ignore[call-overload]

    return run_study(design, prompt=PROMPT, train=train, test=TEST, score_texts=score,
                     num_resamples=20)  # fmt: skip


def rows(*labels: int) -> list[LabelledRow]:
    return [LabelledRow(texts=(f"t {i}",), label=label) for i, label in enumerate(labels)]


def test_no_text_is_left_to_estimate_from():
    found = study(rows(0, 1, 0, 1))
    by_method = {row["method"]: row for row in found.table.to_pylist()}
    assert by_method["none"]["accuracy"] == 0.5
    assert "0 rows" in by_method["batch"]["why"]
    assert found.left_out.keys() == {"proportion"}
    assert "2 rows of class 0 for up to 8" in found.left_out["proportion"]


def test_nothing_at_all_can_be_studied():
    found = study(rows(0, 1, 0, 1), replace(SMALL, axes=("proportion",)))
    assert found.axes == ()
    assert found.methods == ()


@pytest.mark.parametrize("label", [-1, 2])
def test_rows_of_no_class_are_refused(label):
    with pytest.raises(VesaliusError, match=f"label {label}"):
        study(rows(0, 1, 0, 1, label))


@pytest.mark.usefixtures("as_users_call_it")
@pytest.mark.parametrize("given", [[0.1, 0.2], np.zeros(5), None])
def test_what_learns_from_nothing_still_wants_two_axes(given):
    with pytest.raises(VesaliusError, match="shape"):
        Uncalibrated().fit(given)
    assert len(Uncalibrated().fit([[0.1, 0.2]]).classes_) == 2


def test_files_that_others_wrote_are_looked_at(tmp_path):
    path = BatchCalibration().fit(np.log([[0.2, 0.8], [0.4, 0.6]])).save(tmp_path / "c.json")
    text = path.read_text()
    for old, new in (('"method": "batch"', '"method": []'), ('"num_labels": 2', '"num_labels": 3')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(VesaliusError):
            load_calibrator(path)
    number = text.split('"values": [')[1].split(",")[0].strip()
    path.write_text(text.replace(number, "NaN"))
    with pytest.raises(VesaliusError, match="NaN"):
        load_calibrator(path)
