"""The result of ``calibrate score``: log-probabilities of label words behind texts.

Source: arXiv 2205.10183, section 2.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from scipy.special import logsumexp

from vesalius.core.result import AbstractResult, register_result


@register_result
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scores(AbstractResult):
    """What a model says of texts under a prompt, before any calibration.

    ``log_probs`` [text, label] are natural log-probabilities of the label words, against the whole
    vocabulary if ``has_mass``, else renormalised over the labels. ``labels`` [text] are class
    numbers, -1 where unknown; ``numbers`` [text] those of the texts as they were given, for texts
    that did not fit are left out: ``num_over`` says by how many tokens. ``num_computed`` texts took
    a forward pass, the others were in the store. ``way`` tells how the prefix was read.
    """

    kind: ClassVar[str] = "calibration.scores"
    schema_version: ClassVar[int] = 1
    citations: ClassVar[tuple[str, ...]] = ("calibration",)

    log_probs: Float[np.ndarray, "text label"]
    labels: Int[np.ndarray, " text"]
    numbers: Int[np.ndarray, " text"]
    words: tuple[str, ...]
    label_names: tuple[str, ...]
    prompt: str  # the fingerprint of the prompt
    example: str  # the first text as the model read it
    has_mass: bool
    num_over: dict[str, int]
    num_computed: int
    num_prefix_tokens: int
    way: str

    @property
    def label_mass(self) -> Float[np.ndarray, " text"]:
        """The probability that the model gives to all label words together, [text]."""
        return np.exp(logsumexp(self.log_probs, axis=1))

    @property
    def predictions(self) -> Int[np.ndarray, " text"]:
        """The most probable label of each text, uncalibrated, [text]."""
        return self.log_probs.argmax(axis=1)

    def to_table(self) -> pa.Table:
        """One row per text: its number, its label, the mass, the log-probability of every word.

        Source: this project.
        """
        columns: dict[str, Any] = {
            "number": self.numbers,
            "label": self.labels,
            "prediction": self.predictions,
            "label_mass": self.label_mass,
        }
        for label, name in enumerate(self.label_names):
            columns[f"log_prob {name}"] = self.log_probs[:, label]
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """``to_table`` as a pandas DataFrame (pandas must be installed).

        Source: pyarrow.
        """
        return self.to_table().to_pandas()
