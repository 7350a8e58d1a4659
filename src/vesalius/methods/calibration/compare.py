"""Compare every calibrator on one score matrix: no forward pass, only arithmetic.

Source: the metrics and tests of this project's numerics; the methods are those of
arXiv 2205.10183 and its relatives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_share
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.methods.calibration.advice import Advice, advise
from vesalius.methods.calibration.calibrators import PrototypicalCalibration
from vesalius.methods.calibration.comparison import (
    TESTED,
    Comparison,
    FittedMixture,
    PairedScore,
)
from vesalius.methods.calibration.fitting import (
    Fitted,
    Given,
    chosen_methods,
    fit_methods,
)
from vesalius.methods.calibration.plane import lay_plane
from vesalius.numerics.class_bootstrap import (
    Contributions,
    contributions,
    percentile_bounds,
    resampled_scores,
)
from vesalius.numerics.statistics import (
    PairedDifference,
    holm,
    paired_differences,
    resample_counts,
)

BASELINE: Final = "none"
PROTOTYPICAL: Final = "prototypical"
RIVALS: Final = ("contextual", "batch")  # prototypical is tested against these as well


def compare(
    scores: Float[np.ndarray, "text label"],
    labels: Int[np.ndarray, " text"],
    *,
    inputs: Mapping[str, Given],
    methods: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    label_names: Sequence[str] = (),
    plane_labels: tuple[str, str] | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    level: float = 0.95,
    model: str = "",
    model_fingerprint: str = "",
    about: Mapping[str, Any] | None = None,
) -> Comparison:
    """Fit calibrators on their inputs and score them on the same texts, with intervals and tests.

    Args:
        scores: log-probabilities of the label words, [text, label].
        labels: class numbers [text]; -1 where not known, which counts in no score.
        inputs: scores [input, label] by kind; ``labelled`` as a pair with labels [input].
        methods: names of calibrators, all where left out; one whose inputs are missing is named.
        options: of the calibrators, by method.
        label_names: names of the classes.
        plane_labels: the two that are the axes of the plane, instead of its principal axes.
        seed, num_resamples, level: of the intervals and tests.
        model, model_fingerprint, about: for the card.

    Raises:
        VesaliusError: shapes that do not fit, no known label, or no method that can be fitted.
    """
    watch, num_labels = Stopwatch.start(), scores.shape[1]
    names = tuple(label_names) or tuple(f"class {label}" for label in range(num_labels))
    check_share("level", level, usual=0.95)
    _check(scores, labels, names)
    fitted = fit_methods(
        chosen_methods(methods), inputs, num_labels=num_labels, options=options or {}, seed=seed
    )
    tests = _Tests(seed=seed, num_resamples=num_resamples, level=level)
    found = _judged(fitted, scores, labels, tests)
    card = make_card(
        "calibrate compare",
        stopwatch=watch,
        config={"methods": list(fitted.calibrators), "options": options or {},
                "num_resamples": num_resamples, **(about or {})},
        model=model,
        model_fingerprint=model_fingerprint,
        seed=seed,
        warnings=found.pop("warnings"),
    )  # fmt: skip
    mixture = mixture_of(fitted)
    means = None if mixture is None else mixture.means
    answers = [c.predict for c in fitted.calibrators.values()]
    plane = lay_plane(scores, answers, label_names=names, labels=plane_labels, means=means)
    return Comparison(
        card=card, label_names=names, scores=scores, labels=labels, level=level,
        left_out=fitted.left_out, notes=fitted.notes(), advice=_advice(fitted, inputs),
        mixture=mixture, plane=plane, **found,
    )  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class _Tests:
    seed: int
    num_resamples: int
    level: float

    def generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, purpose))


def _judged(
    fitted: Fitted,
    scores: Float[np.ndarray, "text label"],
    labels: Int[np.ndarray, " text"],
    tests: _Tests,
) -> dict[str, Any]:
    """What every method answers, how right it is, and the warnings about it, by field."""
    log_probs = {name: c.transform(scores) for name, c in fitted.calibrators.items()}
    said = {name: np.asarray(c.predict(scores)) for name, c in fitted.calibrators.items()}
    known = labels >= 0
    parts = {n: contributions(log_probs[n][known], said[n][known], labels[known]) for n in said}
    return {
        "methods": tuple(said),
        "fits_on": tuple(c.fits_on for c in fitted.calibrators.values()),
        "num_inputs": tuple(fitted.num_inputs.values()),
        "predictions": np.stack([*said.values()]),
        "probabilities": np.exp(np.stack([*log_probs.values()])).astype(np.float32),
        **_scored(parts, tests),
        "paired": _paired(parts, tests),
        "warnings": _warnings(parts, labels),
    }


def _scored(parts: Mapping[str, Contributions], tests: _Tests) -> dict[str, Any]:
    """Scores of every method with their bounds; all methods share the resamples."""
    num_texts = len(next(iter(parts.values())).means)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    for counts in resample_counts(
        num_texts, generator=tests.generator("bootstrap"), num_resamples=tests.num_resamples
    ):
        for name, part in parts.items():
            drawn[name].append(resampled_scores(part, counts))
    bounds = np.stack(
        [percentile_bounds(np.concatenate(each), level=tests.level) for each in drawn.values()]
    )
    whole = np.ones((1, num_texts))
    return {
        "values": np.concatenate([resampled_scores(part, whole) for part in parts.values()]),
        "low": bounds[:, 0],
        "high": bounds[:, 1],
        "num_impossible": np.array([int(part.impossible.sum()) for part in parts.values()]),
        "finite_nats": np.array([_finite_nats(part) for part in parts.values()]),
    }


def _paired(parts: Mapping[str, Contributions], tests: _Tests) -> tuple[PairedScore, ...]:
    """Every method against none, prototypical against its rivals too, text by text."""
    pairs = [(name, BASELINE) for name in parts if name != BASELINE and BASELINE in parts]
    if PROTOTYPICAL in parts:
        pairs += [(PROTOTYPICAL, rival) for rival in RIVALS if rival in parts]
    found: list[tuple[str, str, str, PairedDifference, int]] = []
    for column, metric in ((0, "accuracy"), (1, "nll_nats")):
        # most pairs share all texts, and are then one product of matrices
        by_texts: dict[bytes, list[tuple[str, str]]] = {}
        for first, second in pairs:
            by_texts.setdefault(_shared(parts, first, second, metric).tobytes(), []).append(
                (first, second)
            )
        for mask, group in by_texts.items():
            shared = np.frombuffer(mask, dtype=bool)
            if not shared.any():
                continue
            sides = [
                np.stack([parts[pair[side]].means[shared, column] for pair in group], axis=1)
                for side in (0, 1)
            ]
            tested = paired_differences(
                *sides, generator=tests.generator(f"paired {metric}"), level=tests.level,
                num_resamples=tests.num_resamples,
            )  # fmt: skip
            for (first, second), test in zip(group, tested, strict=True):
                found.append((first, second, metric, test, int(shared.sum())))
    raised = holm([test.p_value for *_, test, _ in found])
    order = {pair: place for place, pair in enumerate(pairs)}
    rows = [
        PairedScore(
            method=first, reference=second, metric=metric, difference=test.mean.estimate,
            low=test.mean.low, high=test.mean.high, p_value=test.p_value, p_holm=p_holm,
            num_texts=num_texts,
        )
        for (first, second, metric, test, num_texts), p_holm in zip(found, raised, strict=True)
    ]  # fmt: skip
    return tuple(
        sorted(rows, key=lambda row: (TESTED.index(row.metric), order[row.method, row.reference]))
    )


def _shared(
    parts: Mapping[str, Contributions], first: str, second: str, metric: str
) -> Bool[np.ndarray, " text"]:
    """The texts that a difference is over: of nats, those where both are finite."""
    impossible = parts[first].impossible + parts[second].impossible
    return impossible == 0 if metric == "nll_nats" else np.ones(len(impossible), dtype=bool)


def _finite_nats(part: Contributions) -> float:
    finite = part.impossible == 0
    return float(part.means[finite, 1].mean()) if finite.any() else float("nan")


def _warnings(parts: Mapping[str, Contributions], labels: Int[np.ndarray, " text"]) -> list[str]:
    found: list[str] = []
    if unknown := int((labels < 0).sum()):
        found.append(f"{unknown} of {len(labels)} texts have no known label and are in no score")
    for name, part in parts.items():
        if impossible := int(part.impossible.sum()):
            found.append(
                f"{name}: {impossible} of {len(part.means)} texts have probability 0 for their "
                f"class, so its mean is infinite; over the others it is {_finite_nats(part):.4g} "
                "nats"
            )
    return found


def mixture_of(fitted: Fitted) -> FittedMixture | None:
    """Give the clusters of prototypical calibration where it was fitted: [cluster, label]."""
    calibrator = fitted.calibrators.get(PROTOTYPICAL)
    if not isinstance(calibrator, PrototypicalCalibration):
        return None
    return FittedMixture(
        means=calibrator.means_,
        covariances=calibrator.covariances_,
        assignment=np.asarray(calibrator.assignment_, dtype=np.int64),
    )


def _advice(fitted: Fitted, inputs: Mapping[str, Given]) -> Advice | None:
    """What the unlabelled texts say; nothing where they are missing, or no method takes them."""
    estimate = inputs.get("estimate")
    if not isinstance(estimate, np.ndarray):
        return None
    try:
        return advise(estimate, calibrators=fitted.calibrators)
    except VesaliusError:  # left_out names what is wrong with these scores
        return None


def _check(
    scores: Float[np.ndarray, "text label"],
    labels: Int[np.ndarray, " _"],
    names: Sequence[str],
) -> None:
    num_labels = scores.shape[1]
    if len(labels) != len(scores) or len(names) != num_labels:
        raise VesaliusError(
            given=f"scores of shape {list(scores.shape)}, {len(labels)} labels, {len(names)} names",
            expected="a label for each text, and a name for each column",
            fix="take all of them from the same run",
        )
    if not (labels >= 0).any() or labels.min() < -1 or labels.max() >= num_labels:
        raise VesaliusError(
            given=f"{int((labels >= 0).sum())} known labels"
            + (f", from {labels.min()} to {labels.max()}" if len(labels) else ""),
            expected=f"class numbers from 0 to {num_labels - 1}; -1 only where one is not known",
            fix="give the labels of some texts: without one nothing can be scored",
        )
