"""All calibrators by name.

Source: this project.
"""

from typing import Any, Final

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators.affine import AffineCalibration
from vesalius.methods.calibration.calibrators.base import AbstractCalibrator
from vesalius.methods.calibration.calibrators.batch import BatchCalibration
from vesalius.methods.calibration.calibrators.contextual import ContextualCalibration
from vesalius.methods.calibration.calibrators.domain_context import DomainContextCalibration
from vesalius.methods.calibration.calibrators.generative import GenerativeCalibration
from vesalius.methods.calibration.calibrators.isotonic import IsotonicCalibration
from vesalius.methods.calibration.calibrators.platt import PlattScaling
from vesalius.methods.calibration.calibrators.pmi import PMICalibration
from vesalius.methods.calibration.calibrators.prototypical import PrototypicalCalibration
from vesalius.methods.calibration.calibrators.temperature import TemperatureScaling
from vesalius.methods.calibration.calibrators.uncalibrated import Uncalibrated

METHODS: Final[dict[str, type[AbstractCalibrator]]] = {
    kind.method: kind
    for kind in (
        Uncalibrated,
        ContextualCalibration,
        DomainContextCalibration,
        BatchCalibration,
        PMICalibration,
        PrototypicalCalibration,
        GenerativeCalibration,
        TemperatureScaling,
        PlattScaling,
        IsotonicCalibration,
        AffineCalibration,
    )
}


def make_calibrator(name: str, **options: Any) -> AbstractCalibrator:
    """Make a calibrator that is not fitted yet; no shapes.

    >>> make_calibrator("batch", average="probability")
    BatchCalibration(average='probability')

    Raises:
        VesaliusError: an unknown method or option, or an option that has no meaning.
    """
    check_word("method", name, tuple(METHODS))
    kind = METHODS[name]
    known = tuple(kind().get_params())
    if unknown := [option for option in options if option not in known]:
        raise VesaliusError(
            given=f"option {unknown[0]!r} of {name}",
            expected=f"options of {kind.__name__}: {', '.join(known) or 'none'}",
            fix=f"look them up with help({kind.__name__})",
        )
    calibrator = kind(**options)
    calibrator.check_options()
    return calibrator
