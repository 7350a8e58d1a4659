"""How sure the scores of a classifier are: bootstrap intervals over texts, vectorised.

A resample is a row of counts, how often each text was drawn; every score of it is then a sum of
what each text contributes, so thousands of resamples are a few products of matrices. The scores
are those of ``metrics.py``; texts that are drawn twice count twice.

Sources: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; the scores' own
sources stand in ``metrics.py``.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int, Num

from vesalius.core.errors import VesaliusError

METRICS: Final = ("accuracy", "macro_f1", "nll_nats", "brier", "calibration_error")
NUM_BINS: Final = 15  # of the calibration error, as in metrics.py


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """What every text adds to each score of one classifier.

    ``means`` [text, mean] holds right or wrong, nats, squared distance; ``counts``
    [text, 3 label] is one where the text is rightly of a label, is given it, has it; ``surplus``
    [text, bin] is confidence minus right in the bin of its confidence.
    """

    means: Float[np.ndarray, "text 3"]
    impossible: Float[np.ndarray, " text"]  # 1 where the truth has probability 0: nats are infinite
    counts: Float[np.ndarray, "text _"]
    surplus: Float[np.ndarray, "text bin"]


def contributions(
    log_probs: Float[np.ndarray, "text label"],
    predictions: Int[np.ndarray, " text"],
    answers: Int[np.ndarray, " text"],
    *,
    num_bins: int = NUM_BINS,
) -> Contributions:
    """Take a classifier's answers apart, text by text.

    Args:
        log_probs: natural logarithms [text, label] of probabilities that sum to 1.
        predictions: the labels [text] it gives; ties need not go to the first one.
        answers: the right label indices [text].
        num_bins: of the calibration error.

    Returns:
        The parts, from which ``resampled_scores`` makes scores.

    Raises:
        VesaliusError: no texts, unequal numbers of them, rows that are no distributions, or
            labels out of range.
    """
    _check(log_probs, predictions, answers)
    num_texts, num_labels = log_probs.shape
    rows, identity = np.arange(num_texts), np.eye(num_labels)
    probs = np.exp(log_probs)
    right = (predictions == answers).astype(np.float64)
    nats = -log_probs[rows, answers]
    squares = ((probs - identity[answers]) ** 2).sum(axis=1)
    confidence = np.clip(probs[rows, predictions], 0.0, 1.0)
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    surplus = np.zeros((num_texts, num_bins))
    surplus[rows, bins] = confidence - right
    hits = identity[answers] * right[:, None]
    return Contributions(
        means=np.stack([right, np.where(np.isinf(nats), 0.0, nats), squares], axis=1),
        impossible=np.isinf(nats).astype(np.float64),
        counts=np.concatenate([hits, identity[predictions], identity[answers]], axis=1),
        surplus=surplus,
    )


def resampled_scores(
    parts: Contributions, drawn: Num[np.ndarray, "resample text"]
) -> Float[np.ndarray, "resample metric"]:
    """Score each resample [resample, text], in the order of METRICS; a row of ones is the sample.

    The nats are infinite where a text of probability 0 was drawn.
    """
    total = drawn.sum(axis=1)
    right, nats, squares = (drawn @ parts.means / total[:, None]).T
    hits, given, had = np.split(drawn @ parts.counts, 3, axis=1)
    f1 = 2 * hits / np.maximum(given + had, 1)  # 0/0 counts as 0, as in metrics.py
    error = np.abs(drawn @ parts.surplus).sum(axis=1) / total
    nats = np.where(drawn @ parts.impossible > 0, np.inf, nats)
    return np.stack([right, f1.mean(axis=1), nats, squares, error], axis=1)


def scores_of(
    log_probs: Float[np.ndarray, "text label"],
    predictions: Int[np.ndarray, " text"],
    answers: Int[np.ndarray, " text"],
) -> dict[str, float]:
    """Score a classifier on all its texts, by the names of METRICS; shapes as in contributions.

    Raises:
        VesaliusError: as in contributions.
    """
    parts = contributions(log_probs, predictions, answers)
    found = resampled_scores(parts, np.ones((1, len(answers))))[0]
    return dict(zip(METRICS, map(float, found), strict=True))


def percentile_bounds(
    resampled: Float[np.ndarray, "resample metric"], *, level: float
) -> Float[np.ndarray, "2 metric"]:
    """Give the lower and upper percentile [2, metric] of resampled scores [resample, metric].

    Where some are infinite no value lies between two of them: the nearest one is taken.
    """
    shares = [(1 - level) / 2, (1 + level) / 2]
    return np.stack(
        [
            np.quantile(column, shares, method="linear" if np.isfinite(column).all() else "nearest")
            for column in resampled.T
        ],
        axis=1,
    )


def _check(log_probs: np.ndarray, predictions: np.ndarray, answers: np.ndarray) -> None:
    if not len(answers) or not len(log_probs) == len(predictions) == len(answers):
        raise VesaliusError(
            given=f"{len(log_probs)}, {len(predictions)} and {len(answers)} texts",
            expected="the same number, and at least one",
            fix="evaluate every text once",
        )
    sums = np.exp(log_probs).sum(axis=1)
    if not bool((np.abs(sums - 1) < 1e-3).all()):  # written so that a NaN is refused
        raise VesaliusError(
            given=f"rows of probabilities that sum from {sums.min():.4g} to {sums.max():.4g}",
            expected="logarithms of probabilities, each row of which sums to 1",
            fix="subtract scipy.special.logsumexp(scores, axis=1, keepdims=True) first",
        )
    for name, labels in (("predictions", predictions), ("answers", answers)):
        if labels.min() < 0 or labels.max() >= log_probs.shape[1]:
            raise VesaliusError(
                given=f"{name} from {labels.min()} to {labels.max()}",
                expected=f"label indices from 0 to {log_probs.shape[1] - 1}",
                fix="number the labels from 0, and leave out texts whose label is not known",
            )
