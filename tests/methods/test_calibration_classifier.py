"""A classifier of a prompt and a calibrator: kept, used, refused. Harness samples calibrated."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesalius
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.harness_samples import HarnessSamples
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators import BatchCalibration, PrototypicalCalibration
from vesalius.methods.calibration.classifier import FewShotClassifier
from vesalius.methods.calibration.harness import calibrate_samples
from vesalius.methods.calibration.score import ScoreOptions, score
from vesalius.methods.calibration.scorer import make_scorer
from vesalius.models.specimen import Specimen

PROMPT = LabelPrompt(
    template="Review: {text}\nSentiment: {label}",
    words=("negative", "positive"),
    demonstrations=(LabelledRow(texts=("A fine film.",), label=1),),
    instruction="Judge each review: {choices}.",
)
TEXTS = ["a bore", "great fun", "dull", "so charming", "a mess", "superb"]


@pytest.fixture(scope="module")
def gpt() -> Specimen:
    return vesalius.open("mini-gpt")


@pytest.fixture
def made(gpt: Specimen) -> FewShotClassifier:
    calibrator = BatchCalibration().fit(score(gpt, PROMPT, TEXTS).log_probs)
    return FewShotClassifier(
        prompt=PROMPT,
        calibrator=calibrator,
        label_names=("bad", "good"),
        model="mini-gpt",
        fingerprint=gpt.fingerprint,
    )


def test_what_is_kept_answers_as_before(
    gpt: Specimen, made: FewShotClassifier, tmp_path: Path
) -> None:
    again = FewShotClassifier.load(made.save(tmp_path / "kept"))
    assert again.prompt == PROMPT
    assert again.label_names == ("bad", "good")
    first, second = made.classify(gpt, TEXTS), again.classify(gpt, TEXTS)
    np.testing.assert_array_equal(first.predictions, second.predictions)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    np.testing.assert_allclose(first.probabilities.sum(axis=1), 1)
    wanted = made.calibrator.predict(score(gpt, PROMPT, TEXTS).log_probs)
    np.testing.assert_array_equal(first.predictions, wanted)
    with pytest.raises(VesaliusError, match="exists"):
        made.save(tmp_path / "kept")
    made.save(tmp_path / "kept", force=True)


def test_another_model_is_refused(made: FewShotClassifier) -> None:
    with pytest.raises(VesaliusError, match="mini-gpt-tiny with fingerprint"):
        made.classify(vesalius.open("mini-gpt-tiny"), TEXTS)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda head: head.pop("prompt"),
        lambda head: head.update(schema_version=7),
        lambda head: head["prompt"].update(template="no label"),
        lambda head: head["prompt"].update(more=1),
        lambda head: head.update(label_names=["bad"]),
        lambda head: head.update(model=3),
        lambda head: head.update(label_mass="yes"),
        lambda head: head["prompt"].update(words=["bad", "good", "so so"]),
        lambda head: head["prompt"].update(separator=None),
        lambda head: head["prompt"]["demonstrations"][0].update(texts=[3]),
    ],
)
def test_a_broken_folder_is_refused(made: FewShotClassifier, tmp_path: Path, spoil: Any) -> None:
    folder = made.save(tmp_path / "kept")
    head = json.loads((folder / "classifier.json").read_text())
    spoil(head)
    (folder / "classifier.json").write_text(json.dumps(head))
    with pytest.raises(VesaliusError, match="'kept', which holds no classifier"):
        FewShotClassifier.load(folder)
    with pytest.raises(VesaliusError, match="no classifier"):
        FewShotClassifier.load(tmp_path / "nothing")


def test_a_scorer_keeps_a_store_for_each_prompt(gpt: Specimen, tmp_path: Path) -> None:
    scorer = make_scorer(gpt, store=tmp_path, options=ScoreOptions(too_long="skip"))
    rows = [("a bore",), ("word " * 600,), ("fine",)]
    found = scorer(PROMPT, rows)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()
    other = replace(PROMPT, words=("bad", "good"))
    assert np.abs(scorer(other, rows)[0] - found[0]).max() > 0
    assert len(list(tmp_path.iterdir())) == 2


def samples(num_docs: int, *, premise: bool = True, seed: int = 0) -> HarnessSamples:
    random = np.random.default_rng(seed)
    targets = random.integers(2, size=num_docs)
    scores = random.normal(size=(num_docs, 2)) + 2 * np.eye(2)[targets] + np.array([4.0, 0.0])
    return HarnessSamples(
        task="toy",
        choices=("no", "yes"),
        delimiter=" ",
        doc_ids=tuple(map(str, range(num_docs))),
        scores=scores - 9,
        targets=targets,
        premise=np.tile([-1.0, -5.0], (num_docs, 1)) if premise else None,
        notes=(),
    )


def test_harness_samples_are_halved_and_calibrated() -> None:
    given = samples(400)
    found = calibrate_samples(given, methods=["none", "batch", "pmi", "affine"], num_resamples=50)
    assert found.num_known == 200
    assert found.value("none")[0] < 0.65, "a bias of four nats"
    assert found.value("batch")[0] > 0.8
    assert found.value("pmi")[0] > 0.8
    assert found.label_names == ("no", "yes")
    left = calibrate_samples(samples(40, premise=False), num_resamples=50).left_out
    assert {"pmi", "contextual", "generative", "domain-context"} <= left.keys()


def test_other_samples_to_estimate_from() -> None:
    found = calibrate_samples(
        samples(50), estimate=samples(300, seed=1), methods=["batch"], num_resamples=50
    )
    assert found.num_known == 50
    assert found.num_inputs == (300,)
    with pytest.raises(VesaliusError, match="no, maybe"):
        calibrate_samples(samples(50), estimate=replace(samples(9), choices=("no", "maybe")))
    with pytest.raises(VesaliusError, match="3 documents"):
        calibrate_samples(samples(3))


def test_the_paper_preset_is_one_of_the_calibrators(gpt: Specimen) -> None:
    scores = score(gpt, PROMPT, TEXTS * 4 + [f"text {i}" for i in range(20)])
    paper = PrototypicalCalibration.paper(num_restarts=5).fit(scores.log_probs)
    assert sorted(paper.assignment_) == [0, 1]
    assert np.isfinite(paper.predict_proba(scores.log_probs)).all()
