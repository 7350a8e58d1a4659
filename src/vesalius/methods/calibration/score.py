"""Score texts with a few-shot prompt: the one step of calibration that runs the model.

Source: arXiv 2205.10183, section 2.
"""

import os
import re
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
from vesalius.methods.calibration.calibrators import check_labels
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
_HALF: Final = re.compile("[\ud800-\udfff]")


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
    options, watch = options or ScoreOptions(), Stopwatch.start()
    rows = _as_tuples(texts)
    known = _as_labels(labels, num_texts=len(rows), num_labels=prompt.num_labels)
    names = _names(label_names, prompt.words)
    fingerprint = specimen.fingerprint  # a pass over all weights: once
    keeper = None if store is None else _opened(specimen, fingerprint, prompt, store, options)
    found = np.full((len(rows), prompt.num_labels), np.nan)
    if keeper is not None:
        found = keeper.read(rows)
    work = _score_missing(specimen, prompt, rows, found, keeper, options, progress)
    kept = np.array([i for i in range(len(rows)) if i not in work.num_over], dtype=np.int64)
    _insist(specimen, kept, work.num_over)
    return Scores(
        card=make_card(
            "calibrate score",
            stopwatch=watch,
            config=options,
            model=specimen.name,
            model_fingerprint=fingerprint,
            warnings=_warnings(work.num_over, len(rows)),
        ),
        log_probs=found[kept],
        labels=known[kept],
        numbers=kept,
        label_names=names,
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
    return _opened(specimen, specimen.fingerprint, prompt, folder, options or ScoreOptions())


def _opened(
    specimen: Specimen,
    fingerprint: str,
    prompt: LabelPrompt,
    folder: str | os.PathLike[str],
    options: ScoreOptions,
) -> ScoreStore:
    identity = StoreIdentity(
        model=specimen.name,
        fingerprint=fingerprint,
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
    if isinstance(texts, str) or not len(texts):
        raise VesaliusError(
            given="one text, not a list" if len(texts) else "no texts",
            expected="at least one text",
            fix='pass ["A fine film."]',
        )
    rows: list[tuple[str, ...]] = []
    for number, text in enumerate(texts):
        row: Any = (text,) if isinstance(text, str) else text
        if not isinstance(row, list | tuple) or not all(isinstance(part, str) for part in row):
            raise VesaliusError(
                given=f"text {number}: {text!r}"[:160],
                expected="a text, or a tuple of two texts",
                fix="leave missing texts out, or give them as empty ones",
            )
        rows.append(tuple(row))
    return rows


def _as_labels(
    labels: Sequence[int] | None, *, num_texts: int, num_labels: int
) -> Int[np.ndarray, " text"]:
    if labels is None:
        return np.full(num_texts, -1)
    return check_labels(np.asarray(labels), num_rows=num_texts, num_labels=num_labels)


def _names(given: Sequence[str] | None, words: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(given or words)
    if len(names) != len(words):
        raise VesaliusError(
            given=f"{len(names)} names for {len(words)} classes",
            expected="a name for each label word",
            fix="leave label_names out: the words are the names then",
        )
    return names


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
    written = {i: _written(specimen, prompt, row) for i, row in rows.items()}
    for number, text in written.items():
        if _HALF.search(text):
            raise VesaliusError(
                given=f"text {number} with half a character (a lone surrogate) in it or in a "
                "demonstration",
                expected="text that can be written as UTF-8",
                fix="mend the file: a sign beyond U+FFFF was cut in two",
            )
    return plan(
        specimen,
        list(written.values()),
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


def _insist(specimen: Specimen, kept: Int[np.ndarray, " text"], num_over: dict[int, int]) -> None:
    if not len(kept):
        raise VesaliusError(
            given=f"{len(num_over)} texts, every one longer than {specimen.name} reads, by "
            f"{min(num_over.values())} tokens or more",
            expected="a text that fits",
            fix="take fewer or shorter demonstrations",
        )


def _warnings(num_over: dict[int, int], num_texts: int) -> list[str]:
    if not num_over:
        return []
    worst = max(num_over.values())
    return [
        f"{len(num_over)} of {num_texts} texts were left out: longer than the model reads, by up "
        f"to {worst} tokens"
    ]
