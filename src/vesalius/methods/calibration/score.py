"""Score texts with a few-shot prompt: the one step of calibration that runs the model.

Source: arXiv 2205.10183, section 2.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax

from vesalius.core.card import Stopwatch, make_card
from vesalius.core.checks import check_count, check_word
from vesalius.core.errors import VesaliusError
from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.scores import Scores
from vesalius.methods.calibration.store import ScoreStore, StoreIdentity
from vesalius.models.cloze_scores import ClozePlan, plan_cloze, score_cloze
from vesalius.models.label_scores import (
    TOKENS_PER_BATCH,
    TOO_LONG,
    LabelPlan,
    plan_labels,
    score_labels,
)
from vesalius.models.prefix import prefix_way
from vesalius.models.specimen import Specimen

Text = str | tuple[str, ...]
PRESETS: Final = ("default", "paper")
Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How texts are scored.

    ``preset`` ``paper`` refuses label words of several tokens. ``label_mass`` scores against the
    whole vocabulary; without it only the columns of the label words are projected. ``too_long``
    refuses texts that do not fit the model, or leaves them out and says so. ``tokens_per_batch``
    bounds the memory of a run.
    """

    preset: str = "default"
    label_mass: bool = True
    too_long: str = "error"
    tokens_per_batch: int = TOKENS_PER_BATCH

    def __post_init__(self) -> None:
        """Refuse what no run can follow."""
        check_word("preset", self.preset, PRESETS)
        check_word("too_long", self.too_long, TOO_LONG)
        check_count("tokens_per_batch", self.tokens_per_batch, lowest=1, usual=TOKENS_PER_BATCH)


def score(
    specimen: Specimen,
    prompt: LabelPrompt,
    texts: Sequence[Text],
    *,
    labels: Sequence[int] | None = None,
    label_names: Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    options: ScoreOptions | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score the label words of a prompt behind texts: log-probabilities [text, label].

    Args:
        specimen: an opened causal language model, or a masked one (then the prompt is a cloze).
        prompt: template, label words, demonstrations.
        texts: what is classified; pairs as tuples of two.
        labels: class numbers, where known.
        label_names: names of the classes, the label words where left out.
        store: folder in which scores are kept; texts that are in it cost no forward pass.
        options: see :class:`ScoreOptions`.
        progress: called with the texts done and the texts to do.

    Raises:
        VesaliusError: no texts, another kind of model, labels that do not fit, a text longer than
            the model (which, by how much), words that are the same to it, or a store of another.

    Source: arXiv 2205.10183, section 2.
    """
    options = options or ScoreOptions()
    watch = Stopwatch.start()
    rows = _as_tuples(texts)
    known = _as_labels(labels, num_texts=len(rows), num_labels=prompt.num_labels)
    keeper = None if store is None else open_store(specimen, prompt, store, options)
    found = np.full((len(rows), prompt.num_labels), np.nan)
    if keeper is not None:
        found = keeper.read(rows)
    work = _score_missing(specimen, prompt, rows, found, keeper, options, progress)
    kept = np.array([i for i in range(len(rows)) if i not in work.num_over])
    return Scores(
        card=make_card(
            "calibrate score",
            stopwatch=watch,
            config=options,
            model=specimen.name,
            model_fingerprint=specimen.fingerprint,
            warnings=_warnings(work.num_over, len(rows)),
        ),
        log_probs=found[kept],
        labels=known[kept],
        numbers=kept,
        label_names=tuple(label_names or prompt.words),
        example=_written(specimen, prompt, rows[kept[0]]),
        num_over={str(i): over for i, over in work.num_over.items()},
        num_computed=work.num_computed,
        num_prefix_tokens=work.num_prefix,
        **_about(specimen, prompt, options),
    )


def _about(specimen: Specimen, prompt: LabelPrompt, options: ScoreOptions) -> dict[str, Any]:
    return {
        "words": prompt.words,
        "prompt": prompt.fingerprint(),
        "has_mass": options.label_mass,
        "way": "cloze" if specimen.task == "masked-lm" else prefix_way(specimen),
    }


def planned(
    specimen: Specimen,
    prompt: LabelPrompt,
    texts: Sequence[Text],
    *,
    options: ScoreOptions | None = None,
) -> LabelPlan | ClozePlan:
    """Plan what :func:`score` would run without a store: tokens, and texts left out; no shapes.

    Raises:
        VesaliusError: as :func:`score`.

    Source: this module.
    """
    rows = dict(enumerate(_as_tuples(texts)))
    return _plan(specimen, prompt, rows, options or ScoreOptions())


def open_store(
    specimen: Specimen,
    prompt: LabelPrompt,
    folder: str | os.PathLike[str],
    options: ScoreOptions | None = None,
) -> ScoreStore:
    """Open or make the store of a model and a prompt; no shapes.

    Raises:
        VesaliusError: the store of another model or prompt, or something else is there.

    Source: the design of this project.
    """
    options = options or ScoreOptions()
    identity = StoreIdentity(
        model=specimen.name,
        fingerprint=specimen.fingerprint,
        dtype=str(specimen.dtype).removeprefix("torch."),
        prompt=prompt.fingerprint(),
        words=prompt.words,
        label_mass=options.label_mass,
    )
    return ScoreStore(folder, identity)


@final
@dataclass(frozen=True, kw_only=True)
class _Work:
    num_over: dict[int, int]
    num_computed: int
    num_prefix: int


def _score_missing(
    specimen: Specimen,
    prompt: LabelPrompt,
    rows: Sequence[tuple[str, ...]],
    found: Float[np.ndarray, "text label"],
    keeper: ScoreStore | None,
    options: ScoreOptions,
    progress: Progress | None,
) -> _Work:
    """Fill the rows of ``found`` [text, label] that are missing, and keep them as they come."""
    missing = _missing(rows, found)
    if not missing:
        return _Work(num_over={}, num_computed=0, num_prefix=0)
    plan = _plan(specimen, prompt, {i: rows[i] for i in missing}, options)
    num_computed = 0
    for numbers, scores in _runs(specimen, plan, options):
        places = [missing[plan.kept[n]] for n in numbers]
        found[places] = scores
        num_computed += len(places)
        if keeper is not None:
            keeper.append([rows[i] for i in places], scores)
        if progress is not None:
            progress(num_computed, len(plan.kept))
    num_over = {missing[i]: over for i, over in plan.num_over.items()}
    _copy_to_twins(rows, found, missing, num_over)
    return _Work(
        num_over=num_over,
        num_computed=num_computed,
        num_prefix=len(plan.prefix) if isinstance(plan, LabelPlan) else 0,
    )


def _missing(rows: Sequence[tuple[str, ...]], found: Float[np.ndarray, "text label"]) -> list[int]:
    """Number the texts without scores, of equal ones the first."""
    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows):
        if np.isnan(found[number]).all():
            first.setdefault(row, number)
    return list(first.values())


def _copy_to_twins(
    rows: Sequence[tuple[str, ...]],
    found: Float[np.ndarray, "text label"],
    computed: Sequence[int],
    num_over: dict[int, int],
) -> None:
    """Give texts that are there twice what was found, or that nothing was, for the first one."""
    first = {rows[number]: number for number in computed}
    for number, row in enumerate(rows):
        twin = first.get(row, number)
        if twin != number:
            found[number] = found[twin]
            if twin in num_over:
                num_over[number] = num_over[twin]


def _as_tuples(texts: Sequence[Text]) -> list[tuple[str, ...]]:
    if isinstance(texts, str) or not texts:
        raise VesaliusError(
            given="one text, not a list" if texts else "no texts",
            expected="at least one text",
            fix='pass ["A fine film."]',
        )
    return [(text,) if isinstance(text, str) else tuple(text) for text in texts]


def _as_labels(
    labels: Sequence[int] | None, *, num_texts: int, num_labels: int
) -> Int[np.ndarray, " text"]:
    known = np.full(num_texts, -1) if labels is None else np.asarray(labels, dtype=np.int64)
    if len(known) != num_texts or known.min() < -1 or known.max() >= num_labels:
        raise VesaliusError(
            given=f"{len(known)} labels from {known.min()} to {known.max()} for {num_texts} texts",
            expected=f"a class number from 0 to {num_labels - 1} for each, -1 where unknown",
            fix="number the classes in the order of the label words",
        )
    return known


def _plan(
    specimen: Specimen,
    prompt: LabelPrompt,
    rows: Mapping[int, tuple[str, ...]],
    options: ScoreOptions,
) -> LabelPlan | ClozePlan:
    if specimen.task not in ("causal-lm", "masked-lm"):
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a causal language model, or a masked one",
            fix="use mini-gpt; encoder-decoders and classifiers have no next word to score here",
        )
    plan = plan_labels if specimen.task == "causal-lm" else plan_cloze
    return plan(
        specimen,
        [_written(specimen, prompt, row) for row in rows.values()],
        prompt.answers,
        one_token=options.preset == "paper",
        too_long=options.too_long,
        numbers=list(rows),
    )


def _runs(
    specimen: Specimen, plan: LabelPlan | ClozePlan, options: ScoreOptions
) -> Iterator[tuple[Int[np.ndarray, " text"], Float[np.ndarray, "text label"]]]:
    tokens = options.tokens_per_batch
    if isinstance(plan, LabelPlan):
        return score_labels(specimen, plan, label_mass=options.label_mass, tokens_per_batch=tokens)
    scored = score_cloze(specimen, plan, tokens_per_batch=tokens)
    if options.label_mass:
        return scored
    return ((numbers, log_softmax(scores, axis=1)) for numbers, scores in scored)


def _written(specimen: Specimen, prompt: LabelPrompt, row: tuple[str, ...]) -> str:
    if specimen.task == "masked-lm":
        return prompt.context() + prompt.cloze(row)
    return prompt.text(row)


def _warnings(num_over: dict[int, int], num_texts: int) -> list[str]:
    if not num_over:
        return []
    worst = max(num_over.values())
    return [
        f"{len(num_over)} of {num_texts} texts were left out: longer than the model reads, by up "
        f"to {worst} tokens"
    ]
