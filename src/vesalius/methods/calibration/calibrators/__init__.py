"""Calibrators of label scores: one scikit-learn interface, eleven methods."""

from vesalius.methods.calibration.calibrators.affine import AffineCalibration
from vesalius.methods.calibration.calibrators.base import (
    AbstractCalibrator,
    AbstractShift,
    InputKind,
)
from vesalius.methods.calibration.calibrators.batch import BatchCalibration
from vesalius.methods.calibration.calibrators.component_matching import (
    assignment_scores,
    match_components,
)
from vesalius.methods.calibration.calibrators.contextual import ContextualCalibration
from vesalius.methods.calibration.calibrators.domain_context import DomainContextCalibration
from vesalius.methods.calibration.calibrators.generative import GenerativeCalibration
from vesalius.methods.calibration.calibrators.isotonic import IsotonicCalibration
from vesalius.methods.calibration.calibrators.platt import PlattScaling
from vesalius.methods.calibration.calibrators.pmi import PMICalibration
from vesalius.methods.calibration.calibrators.prototypical import PrototypicalCalibration
from vesalius.methods.calibration.calibrators.registry import METHODS, make_calibrator
from vesalius.methods.calibration.calibrators.score_checks import (
    check_labels,
    check_scores,
    label_log_probs,
)
from vesalius.methods.calibration.calibrators.storage import load_calibrator, save_calibrator
from vesalius.methods.calibration.calibrators.temperature import TemperatureScaling
from vesalius.methods.calibration.calibrators.uncalibrated import Uncalibrated

__all__ = [
    "METHODS",
    "AbstractCalibrator",
    "AbstractShift",
    "AffineCalibration",
    "BatchCalibration",
    "ContextualCalibration",
    "DomainContextCalibration",
    "GenerativeCalibration",
    "InputKind",
    "IsotonicCalibration",
    "PMICalibration",
    "PlattScaling",
    "PrototypicalCalibration",
    "TemperatureScaling",
    "Uncalibrated",
    "assignment_scores",
    "check_labels",
    "check_scores",
    "label_log_probs",
    "load_calibrator",
    "make_calibrator",
    "match_components",
    "save_calibrator",
]
