"""A function that scores texts under any prompt, each prompt with a store of its own.

Source: the design of this project: what studies of many prompts are built on.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from vesalius.data.label_prompts import LabelPrompt
from vesalius.methods.calibration.inputs import store_of
from vesalius.methods.calibration.score import Progress, ScoreOptions, score
from vesalius.models.specimen import Specimen

ScoreTexts = Callable[[LabelPrompt, Sequence[tuple[str, ...]]], Float[np.ndarray, "text label"]]


def make_scorer(
    specimen: Specimen,
    *,
    store: str | os.PathLike[str] | None = None,
    options: ScoreOptions | None = None,
    progress: Progress | None = None,
) -> ScoreTexts:
    """Give a function of a prompt and texts to scores [text, label].

    Texts that do not fit the model get rows of NaN where ``options`` say ``too_long="skip"``.

    Args:
        specimen: the opened model.
        store: folder of score stores, one for each prompt; what is in them costs no pass.
        options: of the scoring.
        progress: called with the texts done and to do.

    Source: this module.
    """

    def score_texts(
        prompt: LabelPrompt, texts: Sequence[tuple[str, ...]]
    ) -> Float[np.ndarray, "text label"]:
        found = np.full((len(texts), prompt.num_labels), np.nan)
        scored = score(
            specimen, prompt, texts, store=store_of(store, prompt), options=options,
            progress=progress,
        )  # fmt: skip
        found[scored.numbers] = scored.log_probs
        return found

    return score_texts
