"""The score matrices that calibrators are fitted on: content-free, domain, premise, and so on.

Source: arXiv 2102.09690 (content-free inputs), arXiv 2305.19148 (random words of the domain),
arXiv 2104.08315 (the domain premise), arXiv 2310.10266 (generated inputs), arXiv 2205.10183
(estimate sets).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int

from vesalius.core.checks import check_word
from vesalius.core.errors import VesaliusError
from vesalius.data.few_shot import LabelledRow
from vesalius.data.label_draws import CONTENT_FREE, domain_inputs
from vesalius.data.label_prompts import MASK, LabelPrompt
from vesalius.methods.calibration.calibrators import check_labels
from vesalius.methods.calibration.fitting import Given
from vesalius.methods.calibration.generate import NUM_TEXTS, generate_texts
from vesalius.methods.calibration.score import Progress, ScoreOptions, score
from vesalius.models.specimen import Specimen

KINDS: Final = ("content-free", "domain", "premise", "generated", "estimate", "labelled")


@final
@dataclass(frozen=True, kw_only=True)
class FitInputs:
    """Scores that calibrators are fitted on, by kind, each [input, label].

    ``labelled`` and ``labels`` [input] go together. ``notes`` say what was left out or done
    differently.
    """

    scores: dict[str, Float[np.ndarray, "input label"]]
    labelled: tuple[Float[np.ndarray, "input label"], Int[np.ndarray, " input"]] | None
    notes: tuple[str, ...]

    def by_kind(self) -> dict[str, Given]:
        """Give what ``compare`` takes: matrices by kind, for ``labelled`` a pair with labels."""
        found: dict[str, Given] = dict(self.scores)
        if self.labelled is not None:
            found["labelled"] = self.labelled
        return found


def fit_inputs(
    specimen: Specimen,
    prompt: LabelPrompt,
    estimate: Sequence[LabelledRow],
    *,
    kinds: Sequence[str] = KINDS,
    labelled: Sequence[LabelledRow] = (),
    seed: int = 0,
    num_generated: int = NUM_TEXTS,
    store: str | os.PathLike[str] | None = None,
    options: ScoreOptions | None = None,
    progress: Progress | None = None,
) -> FitInputs:
    """Score everything that calibrators of these kinds are fitted on, under one prompt.

    Args:
        specimen: the opened model.
        prompt: the few-shot prompt.
        estimate: rows of the domain; their labels are not looked at. Random words of the domain
            come from them too.
        kinds: which inputs.
        labelled: rows with labels, for the calibrators that need them.
        seed: of the random words and of the generated texts.
        num_generated: texts that the model writes.
        store: folder of score stores, one for each prompt.
        options: of the scoring.
        progress: called with the texts done and to do, of each kind.

    Raises:
        VesaliusError: an unknown kind, or what :func:`score` and ``generate_texts`` refuse.

    Source: this module. Shapes [input, label].
    """
    for kind in kinds:
        check_word("kind", kind, KINDS)
    texts, notes = _texts(specimen, prompt, estimate, kinds, seed, num_generated)
    labels = np.array([row.label for row in labelled], dtype=np.int64)
    known = check_labels(labels, num_rows=len(labelled), num_labels=prompt.num_labels)
    with_labels = "labelled" in kinds and len(labelled) > 0
    own = [row.texts for row in labelled]
    if with_labels and own != texts.get("estimate"):  # the same texts are scored once
        texts["labelled"] = own
    options = options or ScoreOptions()
    found: dict[str, Float[np.ndarray, "input label"]] = {}
    kept: dict[str, Int[np.ndarray, " input"]] = {}
    for kind, rows in texts.items():
        asked = premise_prompt(prompt) if kind == "premise" else prompt
        scores = score(
            specimen, asked, rows, store=store_of(store, asked), options=options, progress=progress
        )
        found[kind], kept[kind] = scores.log_probs, scores.numbers
        notes += [f"{kind}: {warning}" for warning in scores.card.warnings]
    pair = None
    if with_labels:
        of = "labelled" if "labelled" in texts else "estimate"
        pair = (found[of], known[kept[of]])
    found.pop("labelled", None)
    return FitInputs(scores=found, labelled=pair, notes=tuple(notes))


def store_of(folder: str | os.PathLike[str] | None, prompt: LabelPrompt) -> Path | None:
    """Name the store of a prompt below a folder of stores; no shapes.

    Source: this project.
    """
    return None if folder is None else Path(folder) / prompt.fingerprint()


def premise_prompt(prompt: LabelPrompt) -> LabelPrompt:
    """Give the prompt without instruction and demonstrations: with an empty text, the answer cue.

    Source: the domain premise string of arXiv 2104.08315; as short as the template allows. No
    shapes.
    """
    return replace(prompt, instruction="", demonstrations=())


def _texts(
    specimen: Specimen,
    prompt: LabelPrompt,
    estimate: Sequence[LabelledRow],
    kinds: Sequence[str],
    seed: int,
    num_generated: int,
) -> tuple[dict[str, list[tuple[str, ...]]], list[str]]:
    """Make the texts of every kind; say what could not be made."""
    empty = ("",) * prompt.num_texts
    texts: dict[str, list[tuple[str, ...]]] = {}
    notes: list[str] = []
    if "content-free" in kinds:
        words = CONTENT_FREE
        if specimen.task == "masked-lm":
            words = tuple(word for word in CONTENT_FREE if word != MASK)
            notes.append("content-free: without [MASK], which is the gap itself in a cloze")
        texts["content-free"] = [(word,) * prompt.num_texts for word in words]
    if "domain" in kinds and estimate:
        texts["domain"] = domain_inputs(estimate, seed=seed)
    if "premise" in kinds:
        texts["premise"] = [empty]
    if "generated" in kinds:
        rows, said = _generated(specimen, prompt, seed=seed, num=num_generated)
        texts |= {"generated": rows} if rows else {}
        notes += said
    if "estimate" in kinds and estimate:
        texts["estimate"] = [row.texts for row in estimate]
    return texts, notes


def _generated(
    specimen: Specimen, prompt: LabelPrompt, *, seed: int, num: int
) -> tuple[list[tuple[str, ...]], list[str]]:
    if specimen.task != "causal-lm":
        return [], ["generated: left out, a masked language model does not write"]
    try:
        made = generate_texts(specimen, prompt, num=num, seed=seed)
    except VesaliusError as error:  # a weak model may never keep to the layout
        return [], [f"generated: left out: {error.given}"]
    if len(made.texts) == num:
        return list(made.texts), []
    return list(made.texts), [
        f"generated: {len(made.texts)} of {num} texts, from {made.num_sampled} samples; the others "
        "broke the prompt's layout"
    ]
