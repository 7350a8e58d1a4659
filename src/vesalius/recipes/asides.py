"""A word from the bundled models that the demo's facts are not about.

Source: the texts are this project's own.
"""

from dataclasses import dataclass
from typing import Any, Final, final

import torch

from vesalius.models.opening import open as open_model
from vesalius.recipes.mini_gpt_scores import label_log_probs

CLASSIFIER: Final = "mini-classifier"
CAUSAL: Final = "mini-gpt"
REVIEWS: Final = (
    "a warm , funny and beautifully acted film .",
    "a dull , lifeless film that never finds its story .",
)
QUESTIONS: Final = ("Who wrote the first book about bees ?", "What city has the oldest bridge ?")
KINDS: Final = ("person", "place", "number")
_SHOWN: Final = (
    ("Who built the old harbour ?", "person"),
    ("How many rivers cross the valley ?", "number"),
    ("Where is the highest waterfall ?", "place"),
)


@final
@dataclass(frozen=True, kw_only=True)
class Aside:
    """What a bundled model says of a text: its label and the label's probability.

    Source: this project.
    """

    model: str
    text: str
    label: str
    prob: float

    @property
    def sentence(self) -> str:
        """Tell it in one line."""
        return f"{self.model}: {self.text!r} is {self.label} ({self.prob:.2f})"


def bundled_asides() -> tuple[Aside, ...]:
    """Ask the bundled classifier about two reviews, and the causal model about two questions.

    The causal model sees three demonstrations before each question; its probabilities are shares
    among the label words.

    Source: prompts with demonstrations of Brown et al. 2020 (arXiv 2005.14165).
    """
    return (*_reviews(), *_questions())


def _reviews() -> list[Aside]:
    specimen = open_model(CLASSIFIER)
    model: Any = specimen.model
    found: list[Aside] = []
    with specimen.at_rest(), torch.no_grad():
        for text in REVIEWS:
            probs = model(**specimen.tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
            label = int(probs.argmax())
            found.append(
                Aside(
                    model=CLASSIFIER,
                    text=text,
                    label=model.config.id2label[label],
                    prob=probs[label].item(),
                )
            )
    return found


def _questions() -> list[Aside]:
    specimen = open_model(CAUSAL)
    shown = "".join(f"Question: {text}\nType: {kind}\n\n" for text, kind in _SHOWN)
    prompts = [f"{shown}Question: {text}\nType:" for text in QUESTIONS]
    with specimen.at_rest():
        scores = label_log_probs(
            specimen.model, tokenizer=specimen.tokenizer, prompts=prompts, words=KINDS
        )
    probs = scores.softmax(dim=1)
    return [
        Aside(model=CAUSAL, text=text, label=KINDS[int(row.argmax())], prob=row.max().item())
        for text, row in zip(QUESTIONS, probs, strict=True)
    ]
