"""Examples in batches: drawn, cut, sorted by length, and masked where a model needs it.

Source: this project; the share of masked tokens is that of Devlin et al. 2019, section 3.1.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Int

from vesalius.core.checks import check_count
from vesalius.core.errors import VesaliusError
from vesalius.data.labelled import LabelledData, LabelledSplit
from vesalius.data.labelled_batches import EncodedSplit, make_batch
from vesalius.methods.loss_landscape.measures import NO_TARGET, Inputs
from vesalius.models.encoding import need_tokenizer
from vesalius.models.kernels import SHORT
from vesalius.models.label_batches import length_batches
from vesalius.models.ladder import accepts
from vesalius.models.specimen import Specimen

_MASKED_SHARE: Final = 0.15


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Examples in batches; ``order`` [example] says which example each row of the batches is."""

    batches: tuple[Inputs, ...]
    order: Int[np.ndarray, " example"]
    labels: Int[np.ndarray, " example"] | None

    def __len__(self) -> int:
        return len(self.order)


def check_classifier(specimen: Specimen, data: LabelledData, held_out: str) -> None:
    """Insist on a classifier with the classes of the data, and on the split.

    Raises:
        VesaliusError: it is not so.
    """
    if specimen.task != "classifier":
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a classifier, for labelled texts",
            fix="use Examples.of_texts for a language model, or a fine-tuned classifier",
        )
    if held_out not in data.splits:
        raise VesaliusError(
            given=f"{data.name}: no split {held_out!r}, only {', '.join(data.splits)}",
            expected="held-out texts beside train",
            fix="name another split: held_out (--held-out)",
        )
    num_labels = int(getattr(specimen.model.config, "num_labels", 0))
    if num_labels != len(data.label_names):
        raise VesaliusError(
            given=f"{specimen.name} with {num_labels} classes, {data.name} with "
            f"{len(data.label_names)} ({', '.join(data.label_names[:8])})",
            expected="the data that the model was fine-tuned on, or data with the same classes",
            fix="name the model's own data",
        )


def limit(specimen: Specimen, max_length: int) -> int:
    """Give the longest text that model and option allow, in tokens.

    Raises:
        VesaliusError: a length below 1, or a model without a tokenizer.
    """
    need_tokenizer(specimen)
    check_count("max_length", max_length, lowest=1, usual=SHORT)
    return min(max_length, specimen.max_tokens or max_length)


def draw(split: LabelledSplit, most: int, *, seed: int) -> LabelledSplit:
    """Draw rows without replacement, and keep their order; 0 takes all.

    Raises:
        VesaliusError: a negative number.
    """
    check_count("number of examples", most, lowest=0, usual=512)
    if most == 0 or most >= len(split):
        return split
    rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:most]).tolist()
    return split.rows(rows)


def batched(
    specimen: Specimen,
    encoded: EncodedSplit,
    batch_tokens: int,
    *,
    labels: Int[np.ndarray, " example"] | None,
) -> Split:
    """Cut the examples, sorted by length, into batches of at most so many tokens.

    Shapes: inputs [example, position]; labels [example].

    Raises:
        VesaliusError: fewer than one token a batch.
    """
    check_count("batch_tokens", batch_tokens, lowest=1, usual=4096)
    groups = list(length_batches(encoded.lengths, tokens_per_batch=batch_tokens))
    batches: list[Inputs] = []
    for group in groups:
        batch = make_batch(encoded, group)
        kept = {n: t for n, t in batch.items() if n != "labels" and accepts(specimen.model, n)}
        batches.append(kept if labels is None else kept | {"labels": batch["labels"]})
    return Split(batches=tuple(batches), order=np.concatenate(groups), labels=labels)


def with_targets(specimen: Specimen, split: Split, generator: torch.Generator) -> Split:
    """Mask tokens for a masked model; for a causal one, see that there is a next token.

    Shapes: ids and labels [example, position].

    Raises:
        VesaliusError: a text without a token that can be asked for.
    """
    if specimen.task == "causal-lm":
        if any(int(batch["attention_mask"].sum(dim=1).min()) < 2 for batch in split.batches):
            raise no_examples("a text of one token, which has no next one")
        return split
    special = torch.tensor(sorted(specimen.tokenizer.all_special_ids))
    batches: list[Inputs] = []
    for batch in split.batches:
        ids = batch["input_ids"]
        free = (batch["attention_mask"] == 1) & ~torch.isin(ids, special)
        if not bool(free.any(dim=1).all()):
            raise no_examples("a text of special tokens alone")
        draw = torch.rand(ids.shape, generator=generator).masked_fill(~free, 2.0)
        masked = (draw < _MASKED_SHARE) | (draw == draw.min(dim=1, keepdim=True).values)
        labels = ids.masked_fill(~masked, NO_TARGET)
        hidden = ids.masked_fill(masked, int(specimen.tokenizer.mask_token_id))
        batches.append({**batch, "input_ids": hidden, "labels": labels})
    return Split(batches=tuple(batches), order=split.order, labels=None)


def as_split(batches: tuple[Inputs, ...]) -> Split:
    """Take batches as they are; tensors [example, ...], classes where every batch has them."""
    size = sum(len(next(iter(batch.values()))) for batch in batches)
    labels = [batch["labels"] for batch in batches if "labels" in batch]
    whole = len(labels) == len(batches) and all(found.dim() == 1 for found in labels)
    return Split(
        batches=batches,
        order=np.arange(size),
        labels=torch.cat(labels).cpu().numpy() if whole else None,
    )


def no_examples(given: str) -> VesaliusError:
    """Make the error that tells of missing examples."""
    return VesaliusError(
        given=given, expected="examples to measure on", fix="give at least one example of train"
    )
