"""Score label words in the gap of a cloze text, with a masked language model.

Words of several tokens stand for as many masks, and are read token by token, the earlier ones
given. Words that see the same text at a step share its pass.

Source: pattern-verbaliser pairs of PET, arXiv 2001.07676, section 3 and 3.3 for several tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.encoding import MASK, encode_gaps, need_tokenizer
from vesalius.models.head_rows import logits_at
from vesalius.models.label_batches import length_batches
from vesalius.models.label_scores import (
    TOKENS_PER_BATCH,
    refuse_long,
    word_tokens,
)
from vesalius.models.ladder import run_model
from vesalius.models.reading import checked_logits
from vesalius.models.specimen import Specimen


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClozePlan:
    """Cloze texts and label words, ready to be scored.

    ``groups`` maps what stands in the gap, as (tokens said, masks still open), to the (label,
    token) pairs that are read there. ``lengths`` counts the tokens of each kept text; ``kept`` and
    ``num_over`` are as in :class:`~vesalius.models.label_scores.LabelPlan`.
    """

    texts: tuple[str, ...]
    lengths: tuple[int, ...]
    groups: dict[tuple[tuple[int, ...], int], tuple[tuple[int, int], ...]]
    num_labels: int
    kept: tuple[int, ...]
    num_over: dict[int, int]

    @property
    def num_tokens(self) -> int:
        """Tokens that all passes compute."""
        return sum(self.lengths) * len(self.groups)

    @property
    def num_tokens_unshared(self) -> int:
        """The same: a cloze shares nothing."""
        return self.num_tokens


def plan_cloze(
    specimen: Specimen,
    texts: Sequence[str],
    answers: Sequence[str],
    *,
    one_token: bool = False,
    too_long: str = "error",
    numbers: Sequence[int] | None = None,
) -> ClozePlan:
    """Check cloze texts and label words, and group what is read together.

    Args:
        specimen: the opened masked language model.
        texts: each with ``[MASK]`` once.
        answers: label words, each with the white space that stands before the gap.
        one_token: refuse words of several tokens.
        too_long: refuse texts that do not fit the model, or leave them out.
        numbers: what a message calls the texts, 0, 1, ... where left out.

    Raises:
        VesaliusError: no texts, words as in ``word_tokens``, a text without exactly one mask (which
            one), or texts that are too long.

    Source: this module. No shapes.
    """
    cut = word_tokens(specimen, answers, one_token=one_token)
    if isinstance(texts, str) or not texts:
        raise VesaliusError(
            given="one text, not a list" if texts else "no texts",
            expected="at least one cloze text",
            fix="pass a list of texts with [MASK] in each",
        )
    groups: dict[tuple[tuple[int, ...], int], list[tuple[int, int]]] = {}
    for label, tokens in enumerate(cut):
        for step, token in enumerate(tokens):
            groups.setdefault((tuple(tokens[:step]), len(tokens) - step), []).append((label, token))
    numbers = numbers or range(len(texts))
    _one_mask_each(texts, numbers)
    tokenizer = need_tokenizer(specimen)
    shown = [text.replace(MASK, tokenizer.mask_token or MASK) for text in texts]
    lengths = [len(ids) for ids in tokenizer(shown, verbose=False)["input_ids"]]
    kept, over = refuse_long(
        specimen,
        lengths,
        extra=max(map(len, cut)) - 1,
        too_long=too_long,
        numbers=numbers,
    )
    return ClozePlan(
        texts=tuple(texts[i] for i in kept),
        lengths=tuple(lengths[i] for i in kept),
        groups={key: tuple(pairs) for key, pairs in groups.items()},
        num_labels=len(cut),
        kept=tuple(kept),
        num_over=over,
    )


def _one_mask_each(texts: Sequence[str], numbers: Sequence[int]) -> None:
    for number, text in zip(numbers, texts, strict=True):
        if (count := text.count(MASK)) != 1:
            raise VesaliusError(
                given=f"text {number} with {count} masks: {text[-160:]!r}",
                expected=f"{MASK} once in the whole prompt, where the answer stands",
                fix=f"leave {MASK} out of texts and demonstrations, or score a causal model",
            )


def score_cloze(
    specimen: Specimen, plan: ClozePlan, *, tokens_per_batch: int = TOKENS_PER_BATCH
) -> Iterator[tuple[Int[np.ndarray, " text"], Float[np.ndarray, "text label"]]]:
    """Score the label words of a plan, batch by batch, shortest texts first.

    Args:
        specimen: the opened masked language model.
        plan: what :func:`plan_cloze` made.
        tokens_per_batch: tokens of a run.

    Yields:
        Places in ``plan.texts``, shape [text], and natural log-probabilities [text, label].

    Raises:
        VesaliusError: a text in which the tokenizer sees another mask, or logits that are NaN.

    Source: arXiv 2001.07676, section 3.
    """
    batches = length_batches(
        plan.lengths,
        tokens_per_batch=tokens_per_batch,
        places_per_text=1,
        num_vocab=specimen.parts.num_vocab or 1 << 15,
    )
    for numbers in batches:
        texts = [plan.texts[i] for i in numbers]
        scores = torch.zeros(len(texts), plan.num_labels, dtype=torch.float64)
        for (said, num_open), pairs in plan.groups.items():
            batch = encode_gaps(
                specimen, texts, [said] * len(texts), num_open=[num_open] * len(texts)
            )
            log_probs = _at_gap(specimen, batch).log_softmax(-1).double().cpu()
            for label, token in pairs:
                scores[:, label] += log_probs[:, token]
        yield np.array(numbers), scores.numpy()


def _at_gap(specimen: Specimen, batch: Batch) -> Float[Tensor, "text vocab"]:
    with specimen.at_rest(), torch.no_grad():
        logits = logits_at(
            specimen.model, batch.row.unsqueeze(1), lambda: run_model(specimen.model, batch)
        )
    return checked_logits(specimen, logits[:, 0])
