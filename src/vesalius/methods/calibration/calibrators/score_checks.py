"""What a score matrix and its labels must look like before anything is computed from them.

Source: this project.
"""

from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from vesalius.core.errors import VesaliusError

# Nats below the most probable label of the same text. exp(-100) is 4e-44, under the smallest normal
# single-precision number and near the smallest of all, 1e-45: models tell nothing apart down there.
FLOOR_NATS: Final = 100.0


def check_scores(
    scores: Float[np.ndarray, "text label"], *, num_labels: int = 0, lowest: int = 1
) -> tuple[Float[np.ndarray, "text label"], int]:
    """Insist on a score matrix [text, label]; return it in doubles, and how many entries it raised.

    Scores more than ``FLOOR_NATS`` below the best of their row, -inf among them, are raised to
    there. ``num_labels`` is the number of columns that is expected, 0 for any from 2; ``lowest``
    the number of rows that it must have.

    Raises:
        VesaliusError: another shape or type, a NaN, +inf, or a row in which all are -inf.
    """
    matrix = np.asarray(scores)
    if matrix.ndim != 2 or matrix.shape[1] < 2 or matrix.dtype.kind not in "fiu":
        raise VesaliusError(
            given=f"scores of {matrix.dtype} and shape {list(matrix.shape)}",
            expected="real numbers [text, label], with two labels or more",
            fix="pass one row for each text: the log-probability of every label word",
        )
    if num_labels and matrix.shape[1] != num_labels:
        raise VesaliusError(
            given=f"scores of {matrix.shape[1]} labels",
            expected=f"{num_labels}, as many as the calibrator was fitted on",
            fix="score with the same label words in the same order, or fit again",
        )
    if len(matrix) < lowest:
        raise VesaliusError(
            given=f"{len(matrix)} rows of scores",
            expected=f"at least {lowest}",
            fix="score some texts first",
        )
    matrix = matrix.astype(np.float64)
    bad = np.isnan(matrix) | np.isposinf(matrix)
    if bad.any():
        row, label = np.argwhere(bad)[0]
        raise VesaliusError(
            given=f"{matrix[row, label]} at row {row}, label {label}"
            f" ({int(bad.any(axis=1).sum())} such rows)",
            expected="log-probabilities: finite numbers, or -inf",
            fix="look at the text of that row, or run the model in single precision",
        )
    best = matrix.max(axis=1, initial=-np.inf, keepdims=True)
    if np.isneginf(best).any():
        raise VesaliusError(
            given=f"row {int(np.isneginf(best).argmax())}, in which every label has -inf",
            expected="at least one label with a probability above 0",
            fix="leave that text out, or run the model in single precision",
        )
    raised = matrix < best - FLOOR_NATS
    return np.where(raised, best - FLOOR_NATS, matrix), int(raised.sum())


def check_labels(
    labels: Int[np.ndarray, " text"], *, num_rows: int, num_labels: int
) -> Int[np.ndarray, " text"]:
    """Insist on one class number for each row, shape [text]: 0 and up, or -1 where it is unknown.

    Raises:
        VesaliusError: another length or type, or numbers that are no class.
    """
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or len(numbers) != num_rows or numbers.dtype.kind not in "iu":
        raise VesaliusError(
            given=f"labels of {numbers.dtype} and shape {list(numbers.shape)}",
            expected=f"{num_rows} whole numbers, one for each row of scores",
            fix="number the classes from 0 in the order of the label words",
        )
    if num_rows and (numbers.min() < -1 or numbers.max() >= num_labels):
        raise VesaliusError(
            given=f"labels from {numbers.min()} to {numbers.max()}",
            expected=f"0 to {num_labels - 1}, or -1 for unknown",
            fix="number the classes from 0 in the order of the label words",
        )
    return numbers.astype(np.int64)


def check_number(name: str, value: Any, *, above: float, usual: float) -> None:
    """Insist that an option is a finite number above a bound.

    Raises:
        VesaliusError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        number = np.nan
    else:
        number = float(value)
    if not above < number < np.inf:
        raise VesaliusError(
            given=f"{name}={value!r}",
            expected=f"a finite number above {above:g}",
            fix=f"use {name}={usual:g}",
        )


def normalise_rows(scores: Float[np.ndarray, "text label"]) -> Float[np.ndarray, "text label"]:
    """Shift every row of log-weights [text, label] so that its probabilities sum to 1."""
    return scores - logsumexp(scores, axis=1, keepdims=True)


def label_log_probs(scores: Float[np.ndarray, "text label"]) -> Float[np.ndarray, "text label"]:
    """Renormalise a score matrix [text, label] over its labels: the features, in nats.

    Raises:
        VesaliusError: what is no score matrix (see :func:`check_scores`).

    Source: arXiv 2205.10183, section 3.1.
    """
    return normalise_rows(check_scores(scores, lowest=0)[0])
