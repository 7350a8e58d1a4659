"""Which calibrator to trust, from what can be seen without labels.

The rules are ours, drawn from the literature and from planted data; they are no theorem:

- ``batch`` is the safe default: it settles at about 10 texts and has nothing to go wrong.
- ``prototypical`` from about 100 texts per class on, or with 2 or 3 classes of unequal size and 20
  texts per class: a mean then leans to the large class, a mixture does not. With more classes of
  unequal size the mixture loses the small ones, and ``batch`` is better even so.
- Where the methods disagree on many texts, none is to be trusted without labels.

Sources: Zhou et al. 2024, arXiv 2309.17249, section 4 (how many texts batch and prototypical
calibration need); Han et al. 2023, arXiv 2205.10183, section 4.4 (class imbalance).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.errors import VesaliusError
from vesalius.methods.calibration.calibrators.base import AbstractCalibrator
from vesalius.methods.calibration.calibrators.batch import BatchCalibration
from vesalius.methods.calibration.calibrators.mixture_runs import num_parameters
from vesalius.methods.calibration.calibrators.prototypical import PrototypicalCalibration
from vesalius.methods.calibration.calibrators.score_checks import check_labels, check_scores
from vesalius.methods.calibration.calibrators.uncalibrated import Uncalibrated

SETTLED: Final = 10  # texts from which a mean is worth something
MANY_PER_CLASS: Final = 100
SOME_PER_CLASS: Final = 20
FEW_CLASSES: Final = 3
UNEVEN: Final = 3.0  # largest class against the smallest
AGREE: Final = 0.75  # share of equal predictions of batch and prototypical
ONE_SIDED: Final = 0.9  # share of texts that get one label

_BATCH, _PROTOTYPICAL = BatchCalibration.method, PrototypicalCalibration.method


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Advice:
    """What the texts of an estimate set say about calibrators, and which one to take.

    ``texts_per_parameter`` is for the mixture that was fitted, a full one if none was. ``shares``
    are the estimated class shares: the mixture's weights if there is one (``shares_from``), else
    what ``batch`` predicts; ``imbalance`` is the largest over the smallest. ``predicted_shares``
    tells them for every method. ``agreement`` [method, method] is the share of texts on which two
    methods say the same.
    """

    num_texts: int
    num_labels: int
    texts_per_class: float
    texts_per_parameter: float
    shares: tuple[float, ...]
    shares_from: str
    imbalance: float
    methods: tuple[str, ...]
    predicted_shares: dict[str, tuple[float, ...]]
    agreement: Float[np.ndarray, "method method"]
    recommended: str
    reasons: tuple[str, ...]

    def agreement_of(self, first: str, second: str) -> float:
        """Give the share of texts on which two methods predict the same class.

        Raises:
            VesaliusError: a method that was not looked at.
        """
        for name in (first, second):
            if name not in self.methods:
                raise VesaliusError(
                    given=f"method {name!r}",
                    expected=f"one of {', '.join(self.methods)}",
                    fix="pass its fitted calibrator to advise()",
                )
        return float(self.agreement[self.methods.index(first), self.methods.index(second)])


def advise(
    estimate_scores: Float[np.ndarray, "text label"],
    *,
    calibrators: Mapping[str, AbstractCalibrator] | None = None,
    predictions: Mapping[str, Int[np.ndarray, " text"]] | None = None,
) -> Advice:
    """Advise on a calibrator from scores [text, label] of unlabelled texts.

    Args:
        estimate_scores: of the texts, [text, label].
        calibrators: fitted ones by method; a fitted mixture tells of the class shares.
        predictions: class numbers [text] of further methods by name. ``none`` and ``batch`` are
            computed where neither gives them.

    Returns:
        The advice, with its reasons in sentences.

    Raises:
        VesaliusError: scores or predictions that fit no score matrix, or a calibrator that is not
            fitted or knows another number of labels.
    """
    scores, _ = check_scores(estimate_scores)
    num_texts, num_labels = scores.shape
    told = {
        name: check_labels(given, num_rows=num_texts, num_labels=num_labels)
        for name, given in (predictions or {}).items()
    }
    known = {**(calibrators or {}), **told}
    plain = [kind() for kind in (Uncalibrated, BatchCalibration) if kind.method not in known]
    fitted = {**(calibrators or {}), **{one.method: one.fit(scores) for one in plain}}
    answers = {name: one.predict(scores) for name, one in fitted.items()} | told
    mixture = next((c for c in fitted.values() if isinstance(c, PrototypicalCalibration)), None)
    predicted = {
        name: tuple((np.bincount(a[a >= 0], minlength=num_labels) / num_texts).tolist())
        for name, a in answers.items()
    }
    shares = predicted[_BATCH] if mixture is None else mixture_shares(mixture)
    stacked = np.stack(list(answers.values()))
    count = num_parameters(num_labels, "full" if mixture is None else mixture.covariance_)
    imbalance = max(shares) / max(min(shares), 1 / num_texts)
    agreement = (stacked[:, None] == stacked[None]).mean(axis=2)
    methods = tuple(answers)
    together = None
    if _BATCH in methods and _PROTOTYPICAL in methods:
        together = float(agreement[methods.index(_BATCH), methods.index(_PROTOTYPICAL)])
    recommended, reasons = _decide(num_texts, num_labels, imbalance, together)
    return Advice(
        num_texts=num_texts,
        num_labels=num_labels,
        texts_per_class=num_texts / num_labels,
        texts_per_parameter=num_texts / count,
        shares=shares,
        shares_from=_BATCH if mixture is None else _PROTOTYPICAL,
        imbalance=imbalance,
        methods=methods,
        predicted_shares=predicted,
        agreement=agreement,
        recommended=recommended,
        reasons=(*reasons, *_remarks(num_texts, shares, predicted, count, mixture is not None)),
    )


def mixture_shares(mixture: PrototypicalCalibration) -> tuple[float, ...]:
    """Give the mixture's weights in the order of the labels: estimated class shares; no shapes."""
    return tuple(mixture.weights_[np.argsort(mixture.assignment_)].tolist())


def _decide(
    num_texts: int, num_labels: int, imbalance: float, together: float | None
) -> tuple[str, list[str]]:
    """Choose a method; ``together`` is the agreement of batch and prototypical, if known."""
    each = num_texts / num_labels
    if num_texts < SETTLED:
        return "domain-context", [
            f"{num_texts} texts are fewer than the {SETTLED} at which their mean settles: "
            "a calibrator that needs no texts is safer."
        ]
    apart = (
        []
        if together is None or together >= AGREE
        else [
            f"batch and prototypical agree on {together:.0%} of the texts only: trust neither far, "
            "and label some texts to see which is right."
        ]
    )
    uneven, few = imbalance >= UNEVEN, num_labels <= FEW_CLASSES
    if uneven and few and each >= SOME_PER_CLASS:
        # here the two must differ: it is no sign against the mixture
        return _PROTOTYPICAL, [
            f"The largest of {num_labels} classes is estimated {imbalance:.2g} times the smallest: "
            "a mean over the texts leans to the large one, a mixture does not.",
            f"{each:.3g} texts per class are enough for a mixture of so few.",
            *apart,
        ]
    if apart:
        return _BATCH, [*apart, "Of the two, batch has less that can go wrong."]
    if uneven and not few:
        return _BATCH, [
            f"The largest of {num_labels} classes is estimated {imbalance:.2g} times the smallest: "
            "with so many classes a mixture loses the small ones, and batch suffers less."
        ]
    if each >= MANY_PER_CLASS:
        return _PROTOTYPICAL, [
            f"{each:.3g} texts per class are enough for a mixture (about {MANY_PER_CLASS})."
        ]
    return _BATCH, [
        f"{each:.3g} texts per class are enough for a mean, but few for a mixture "
        f"(about {MANY_PER_CLASS}): batch is the safe choice."
    ]


def _remarks(
    num_texts: int,
    shares: tuple[float, ...],
    predicted: Mapping[str, tuple[float, ...]],
    count: int,
    fitted: bool,
) -> list[str]:
    """Say what else is worth knowing."""
    remarks: list[str] = []
    if fitted and num_texts < count / 2:
        remarks.append(f"The mixture has {count} numbers and was fitted on {num_texts} texts.")
    plain = predicted.get(Uncalibrated.method, (0.0,))
    if max(plain) >= ONE_SIDED:
        remarks.append(
            f"Uncalibrated, class {int(np.argmax(plain))} gets {max(plain):.0%} of the texts."
        )
    least = int(np.argmin(shares))
    if shares[least] < 0.1 / len(shares):
        remarks.append(
            f"Class {least} is estimated at {shares[least]:.1%}: it may be absent from these "
            "texts, and every method that learns from them then takes some other texts for it."
        )
    return remarks
