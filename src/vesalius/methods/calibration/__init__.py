"""Calibration of few-shot classification: score once, calibrate in every known way.

Source: Han et al., Prototypical Calibration for Few-shot Learning of Language Models, ICLR 2023,
arXiv 2205.10183.
"""

from vesalius.data.few_shot import LabelledRow
from vesalius.data.harness_samples import HarnessSamples, read_harness_samples
from vesalius.data.label_draws import (
    CONTENT_FREE,
    domain_inputs,
    draw_demonstrations,
    draw_estimate,
    draw_evaluation,
    order_demonstrations,
)
from vesalius.data.label_prompts import LabelPrompt
from vesalius.data.label_sets import LabelledSets, read_own_task, read_task
from vesalius.data.label_tasks import LabelTask, find_label_task, label_tasks
from vesalius.methods.calibration.advice import Advice, advise
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
    PrototypicalCalibration,
    TemperatureScaling,
    Uncalibrated,
    load_calibrator,
    make_calibrator,
)
from vesalius.methods.calibration.classifier import Answers, FewShotClassifier
from vesalius.methods.calibration.compare import compare
from vesalius.methods.calibration.comparison import Comparison
from vesalius.methods.calibration.generate import GeneratedTexts, generate_texts
from vesalius.methods.calibration.harness import calibrate_samples
from vesalius.methods.calibration.inputs import FitInputs, fit_inputs
from vesalius.methods.calibration.robustness import run_study
from vesalius.methods.calibration.robustness_design import StudyDesign
from vesalius.methods.calibration.robustness_plan import plan_study
from vesalius.methods.calibration.robustness_result import Robustness
from vesalius.methods.calibration.score import ScoreOptions, score
from vesalius.methods.calibration.scorer import make_scorer
from vesalius.methods.calibration.scores import Scores
from vesalius.methods.calibration.store import ScoreStore

__all__ = [
    "CONTENT_FREE",
    "METHODS",
    "Advice",
    "AffineCalibration",
    "Answers",
    "BatchCalibration",
    "Comparison",
    "ContextualCalibration",
    "DomainContextCalibration",
    "FewShotClassifier",
    "FitInputs",
    "GeneratedTexts",
    "GenerativeCalibration",
    "HarnessSamples",
    "IsotonicCalibration",
    "LabelPrompt",
    "LabelTask",
    "LabelledRow",
    "LabelledSets",
    "PMICalibration",
    "PlattScaling",
    "PrototypicalCalibration",
    "Robustness",
    "ScoreOptions",
    "ScoreStore",
    "Scores",
    "StudyDesign",
    "TemperatureScaling",
    "Uncalibrated",
    "advise",
    "calibrate_samples",
    "compare",
    "domain_inputs",
    "draw_demonstrations",
    "draw_estimate",
    "draw_evaluation",
    "find_label_task",
    "fit_inputs",
    "generate_texts",
    "label_tasks",
    "load_calibrator",
    "make_calibrator",
    "make_scorer",
    "order_demonstrations",
    "plan_study",
    "read_harness_samples",
    "read_own_task",
    "read_task",
    "run_study",
    "score",
]
