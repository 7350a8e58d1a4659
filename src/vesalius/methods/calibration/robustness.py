"""Study how far calibrated answers hang on templates, orders, proportions, sizes, shots, seeds.

The model is run once for every distinct prompt, by a function that the caller gives; whatever else
is done to its scores is arithmetic. When that function keeps what it scored, a study that was cut
off goes on where it stopped.

Source: arXiv 2205.10183, sections 4.3 and 5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeAlias, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.errors import VesaliusError
from vesalius.core.seeds import derive_seed
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_draws import CONTENT_FREE, domain_inputs
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.calibrators import METHODS
from vesalius.methods.calibration.fitting import LABELLED, NOTHING, fit_one, no_inputs, seeded
from vesalius.methods.calibration.robustness_design import Condition, StudyDesign, StudyPlan
from vesalius.methods.calibration.robustness_plan import plan_study
from vesalius.methods.calibration.robustness_result import Robustness
from vesalius.numerics.class_bootstrap import METRICS, scores_of

Texts: TypeAlias = Sequence[tuple[str, ...]]
ScoreTexts: TypeAlias = Callable[[LabelPrompt, Texts], np.ndarray]  # -> [text, label]
Progress: TypeAlias = Callable[[int, int], None]  # prompts done, prompts in all

_DRAWN = ("estimate", LABELLED)  # kinds of inputs that a condition's estimate set decides


def run_study(
    design: StudyDesign,
    *,
    prompt: LabelPrompt,
    train: Sequence[LabelledRow],
    test: Sequence[LabelledRow],
    score_texts: ScoreTexts,
    variants: Mapping[str, LabelPrompt] | None = None,
    label_names: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    content_free: Sequence[str] = CONTENT_FREE,
    seed: int = 0,
    num_resamples: int = 2000,
    level: float = 0.95,
    model: str = "",
    model_fingerprint: str = "",
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Robustness:
    """Run a study: score every prompt once, fit and judge every method in every condition.

    Args:
        design, prompt, train, variants, seed: see ``plan_study``.
        test: labelled rows to judge by, none of which is in ``train``.
        score_texts: scores of texts under a prompt, [text, label]; a row of NaN is a text that
            could not be scored, which is left out and counted.
        label_names: names of the classes, the label words where left out.
        options: of the calibrators, by method.
        content_free: texts that say nothing (a masked model has no use for [MASK]).
        num_resamples, level: of the intervals and tests.
        model, model_fingerprint, about: for the card.
        progress: called after every prompt.

    Raises:
        VesaliusError: no labelled test rows, test rows that stand in ``train``, or scores of
            another shape.
    """
    watch = Stopwatch.start()
    _check_test(test, train, prompt.num_labels)
    plan = plan_study(design, prompt=prompt, train=train, variants=variants, seed=seed)
    study = _Study(design, plan, test, score_texts, options or {}, seed)
    study.say_nothing(content_free, train)
    table = study.table(progress)
    counts = np.bincount([row.label for row in test])
    return Robustness(
        card=make_card(
            "calibrate robustness",
            stopwatch=watch,
            config={"design": design, "options": options or {}, **(about or {})},
            model=model,
            model_fingerprint=model_fingerprint,
            seed=seed,
            warnings=study.warnings(),
        ),
        design=design, label_names=tuple(label_names) or prompt.words, table=table,
        templates={name: _told(each) for name, each in (variants or {"": prompt}).items()},
        commonest=float(counts.max() / counts.sum()), num_prompts=len(plan.prompts),
        num_texts=study.num_scored, left_out=plan.left_out, notes=plan.notes, level=level,
        num_resamples=num_resamples,
    )  # fmt: skip


@final
class _Study:
    """Scores prompts one after another, and judges every method under each."""

    def __init__(
        self,
        design: StudyDesign,
        plan: StudyPlan,
        test: Sequence[LabelledRow],
        score_texts: ScoreTexts,
        options: Mapping[str, Mapping[str, Any]],
        seed: int,
    ) -> None:
        self.plan, self.test, self.score_texts = plan, test, score_texts
        self.options, self.seed = options, seed
        self.kinds = {name: METHODS[name].fits_on for name in dict.fromkeys(design.methods)}
        self.fixed: dict[str, list[tuple[str, ...]]] = {}
        self.premises: dict[str, np.ndarray] = {}
        self.num_scored = 0
        self.num_unscored = 0

    def say_nothing(self, content_free: Sequence[str], train: Sequence[LabelledRow]) -> None:
        """Set the texts that are the same under every prompt, of the kinds that are asked for."""
        if "content-free" in self.kinds.values():
            self.fixed["content-free"] = [(t,) * len(self.test[0].texts) for t in content_free]
        if "domain" in self.kinds.values():
            self.fixed["domain"] = domain_inputs(train, seed=derive_seed(self.seed, "domain"))

    def table(self, progress: Progress | None) -> pa.Table:
        """Judge every method in every condition, prompt by prompt; rows in the plan's order."""
        by_prompt: dict[int, list[tuple[int, Condition]]] = {}
        for number, condition in enumerate(self.plan.conditions):
            by_prompt.setdefault(condition.prompt, []).append((number, condition))
        rows: dict[int, list[dict[str, Any]]] = {}
        for done, (place, asked) in enumerate(sorted(by_prompt.items()), start=1):
            rows |= self.under(place, asked)
            if progress is not None:
                progress(done, len(by_prompt))
        return pa.Table.from_pylist([row for number in sorted(rows) for row in rows[number]])

    def under(
        self, place: int, asked: Sequence[tuple[int, Condition]]
    ) -> dict[int, list[dict[str, Any]]]:
        """Give the rows of all conditions under one prompt, by the number of the condition."""
        prompt = self.plan.prompts[place]
        pool = [row.texts for row in self.plan.pools[place]]
        known = self._score(
            prompt, [*(r.texts for r in self.test), *pool, *chain(*self.fixed.values())]
        )
        inputs: dict[str, Any] = {
            kind: (_usable(np.stack([known[text] for text in texts])), None)
            for kind, texts in self.fixed.items()
        }
        if "premise" in self.kinds.values():
            inputs["premise"] = (self._premise(prompt), None)
        scores = np.stack([known[row.texts] for row in self.test])
        kept = ~np.isnan(scores).any(axis=1)
        self.num_unscored += int((~kept).sum())
        labels = np.array([row.label for row in self.test])[kept]
        found: dict[Any, dict[str, Any]] = {}
        rows: dict[int, list[dict[str, Any]]] = {}
        for number, condition in asked:
            inputs |= _estimate(condition.estimate, known)
            head = {
                "axis": condition.axis, "condition": condition.name,
                "place": float(condition.place), "seed": condition.seed,
                "prompt": prompt.fingerprint(), "num_estimate": len(condition.estimate),
            }  # fmt: skip
            rows[number] = []
            for name, kind in self.kinds.items():
                # many conditions share an estimate set, and most methods have no use for it
                key = (name, condition.estimate if kind in _DRAWN else ())
                if key not in found:
                    found[key] = self._judge(name, inputs.get(kind), scores[kept], labels)
                rows[number].append({**head, "method": name, **found[key]})
        return rows

    def warnings(self) -> list[str]:
        """Say what could not be scored."""
        if not self.num_unscored:
            return []
        return [
            f"{self.num_unscored} times a text to judge by could not be scored, and was left out"
        ]

    def _score(self, prompt: LabelPrompt, texts: Texts) -> dict[tuple[str, ...], np.ndarray]:
        """Score each distinct text once."""
        distinct = list(dict.fromkeys(texts))
        scores = np.asarray(self.score_texts(prompt, distinct), dtype=np.float64)
        if scores.shape != (len(distinct), prompt.num_labels):
            raise VesaliusError(
                given=f"scores of shape {list(scores.shape)} for {len(distinct)} texts",
                expected=f"shape [{len(distinct)}, {prompt.num_labels}]",
                fix="give a row for every text, of NaN where it could not be scored",
            )
        self.num_scored += len(distinct)
        return dict(zip(distinct, scores, strict=True))

    def _premise(self, prompt: LabelPrompt) -> np.ndarray:
        """Score the answer cue alone, without instruction, demonstrations or text."""
        alone = replace(prompt, demonstrations=(), instruction="")
        key = alone.fingerprint()
        if key not in self.premises:
            empty = ("",) * prompt.num_texts
            self.premises[key] = self._score(alone, [empty])[empty][None]
        return self.premises[key]

    def _judge(
        self,
        name: str,
        given: Any,
        scores: Float[np.ndarray, "text label"],
        labels: Int[np.ndarray, " text"],
    ) -> dict[str, Any]:
        """Fit a method and score it on the texts; no numbers, and why, where it cannot be."""
        calibrator = seeded(name, self.options.get(name, {}), self.seed)
        nothing = (no_inputs(scores.shape[1]), None)
        inputs, truth = nothing if self.kinds[name] == NOTHING else given
        try:
            fit_one(calibrator, inputs, truth)
            log_probs = calibrator.transform(scores)
            judged = scores_of(log_probs, np.asarray(calibrator.predict(scores)), labels)
        except VesaliusError as error:
            unknown = dict.fromkeys(METRICS, float("nan"))
            why = f"given {error.given}; expected {error.expected}"
            return {**unknown, "num_texts": len(labels), "num_impossible": 0, "why": why}
        impossible = int(np.isneginf(log_probs[np.arange(len(labels)), labels]).sum())
        return {**judged, "num_texts": len(labels), "num_impossible": impossible, "why": ""}


def _estimate(
    rows: Sequence[LabelledRow], known: Mapping[tuple[str, ...], np.ndarray]
) -> dict[str, Any]:
    if not rows:  # every row of train is a demonstration: methods that need some say so
        num_labels = len(next(iter(known.values())))
        return {
            "estimate": (np.zeros((0, num_labels)), None),
            LABELLED: (np.zeros((0, num_labels)), np.zeros(0, dtype=np.int64)),
        }
    scores = np.stack([known[row.texts] for row in rows])
    kept = ~np.isnan(scores).any(axis=1)
    labels = np.array([row.label for row in rows])[kept]
    return {"estimate": (scores[kept], None), LABELLED: (scores[kept], labels)}


def _usable(scores: Float[np.ndarray, "input label"]) -> Float[np.ndarray, "input label"]:
    return scores[~np.isnan(scores).any(axis=1)]


def _told(prompt: LabelPrompt) -> str:
    """How a template reads, with its label words."""
    told = f"{prompt.instruction}{prompt.separator}" if prompt.instruction else ""
    return f"{told}{prompt.template}  [{', '.join(prompt.words)}]"


def _check_test(test: Sequence[LabelledRow], train: Sequence[LabelledRow], num_labels: int) -> None:
    if not test or any(not 0 <= row.label < num_labels for row in test):
        raise VesaliusError(
            given=f"{len(test)} rows to judge by, labels {sorted({row.label for row in test})}"[
                :120
            ],
            expected=f"one or more, each with a class from 0 to {num_labels - 1}",
            fix="give labelled rows of a split of their own",
        )
    shared = {row.texts for row in test} & {row.texts for row in train}
    if shared:
        raise VesaliusError(
            given=f"{len(shared)} texts in train and in test, such as {min(shared)!r}"[:200],
            expected="texts to judge by that no demonstration or estimate set is drawn from",
            fix="leave them out of train",
        )
