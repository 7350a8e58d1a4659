"""Fit calibrators on inputs of the kind each one asks for, and say which could not be fitted.

Source: this project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.calibration.calibrators import (
    METHODS,
    AbstractCalibrator,
    make_calibrator,
)

NOTHING: Final = "nothing"
LABELLED: Final = "labelled"
KINDS: Final = (
    NOTHING, "content-free", "domain", "estimate", "premise", "generated", LABELLED,
)  # fmt: skip
NEEDS: Final = {
    "content-free": "scores of texts that say nothing (N/A, the empty text, [MASK])",
    "domain": "scores of random words of the domain",
    "estimate": "scores of unlabelled texts of the domain",
    "premise": "scores of the answer cue alone",
    "generated": "scores of texts that the model wrote",
    LABELLED: "scores of texts with their labels",
}
# scores [input, label]; for labelled inputs, with their class numbers [input]
Given: TypeAlias = np.ndarray | tuple[np.ndarray, np.ndarray]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """Calibrators by method, and the reason why each of the others is missing."""

    calibrators: dict[str, AbstractCalibrator]
    num_inputs: dict[str, int]
    left_out: dict[str, str]

    def notes(self) -> dict[str, tuple[str, ...]]:
        """Give what the guards of each calibrator did, of those that did something."""
        return {
            name: tuple(calibrator.notes_)
            for name, calibrator in self.calibrators.items()
            if calibrator.notes_
        }


def chosen_methods(methods: Sequence[str] | None) -> tuple[str, ...]:
    """Give the methods asked for, each once, all where left out; no shapes.

    Raises:
        VesaliusError: an unknown one, or none.
    """
    chosen = tuple(METHODS) if methods is None else tuple(dict.fromkeys(methods))
    for name in chosen:
        check_word("method", name, tuple(METHODS))
    if not chosen:
        raise VesaliusError(
            given="no methods", expected=f"some of {', '.join(METHODS)}", fix="leave it out for all"
        )
    return chosen


def check_inputs(inputs: Mapping[str, Given], *, num_labels: int) -> None:
    """Insist that inputs are of known kinds and have a column for each label.

    Shapes [input, label]; labelled inputs are a pair with class numbers [input].

    Raises:
        VesaliusError: another kind, another number of columns, or unequal numbers of labels.
    """
    for kind, given in inputs.items():
        check_word("kind of inputs", kind, KINDS[1:])
        pair = isinstance(given, tuple)
        scores = given[0] if isinstance(given, tuple) else given
        fits = scores.ndim == 2 and scores.shape[1] == num_labels
        if pair != (kind == LABELLED) or not fits or (pair and len(given[1]) != len(scores)):
            raise VesaliusError(
                given=f"{kind} inputs of shape {list(scores.shape)}"
                + (f" with {len(given[1])} labels" if pair else ""),
                expected=f"scores of shape [input, {num_labels}]"
                + (", and a label for each" if kind == LABELLED else ""),
                fix="score them with the same label words as the texts",
            )


def fit_methods(
    methods: Sequence[str],
    inputs: Mapping[str, Given],
    *,
    num_labels: int,
    options: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> Fitted:
    """Fit each method on its kind of inputs, [input, label]; a reason for those that cannot be.

    Args:
        methods: their names.
        inputs: by kind.
        num_labels: of the scores.
        options: of a calibrator, by method.
        seed: from which each calibrator that draws at random gets its own.

    Returns:
        The fitted calibrators.

    Raises:
        VesaliusError: inputs of another shape, an option that a calibrator does not know, or no
            method that can be fitted.
    """
    check_inputs(inputs, num_labels=num_labels)
    calibrators: dict[str, AbstractCalibrator] = {}
    num_inputs: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for name in methods:
        calibrator = seeded(name, options.get(name, {}), seed)
        kind = calibrator.fits_on
        if kind != NOTHING and kind not in inputs:
            left_out[name] = f"it is fitted on {NEEDS[kind]}, and none were given"
            continue
        scores, labels = _parts(inputs.get(kind, no_inputs(num_labels)))
        try:
            calibrators[name] = fit_one(calibrator, scores, labels)
            num_inputs[name] = 0 if kind == NOTHING else len(scores)
        except VesaliusError as error:
            left_out[name] = f"given {error.given}; expected {error.expected}; {error.fix}"
    if not calibrators:
        raise VesaliusError(
            given="; ".join(f"{name}: {why}" for name, why in left_out.items()),
            expected="a method that can be fitted on these inputs",
            fix="add 'none', or give the inputs",
        )
    return Fitted(calibrators=calibrators, num_inputs=num_inputs, left_out=left_out)


def seeded(name: str, options: Mapping[str, Any], seed: int) -> AbstractCalibrator:
    """Make a calibrator, with a seed of its own where it takes one and none was given; no shapes.

    Raises:
        VesaliusError: an option that it does not know.
    """
    calibrator = make_calibrator(name, **options)
    if "seed" in calibrator.get_params() and "seed" not in options:
        calibrator.set_params(seed=derive_seed(seed, "calibrator", name))
    return calibrator


def no_inputs(num_labels: int) -> Float[np.ndarray, "input label"]:
    """Give what a calibrator that learns from nothing is fitted on: one row [input, label]."""
    return np.zeros((1, num_labels))


def fit_one(
    calibrator: AbstractCalibrator,
    scores: Float[np.ndarray, "input label"],
    labels: Int[np.ndarray, " input"] | None,
) -> AbstractCalibrator:
    """Fit a calibrator on scores [input, label], with labels [input] where it learns from them.

    Raises:
        VesaliusError: inputs that it refuses.
    """
    return calibrator.fit(scores) if labels is None else calibrator.fit(scores, labels)


def _parts(given: Given) -> tuple[np.ndarray, np.ndarray | None]:
    return given if isinstance(given, tuple) else (given, None)
