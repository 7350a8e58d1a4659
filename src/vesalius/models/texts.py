"""Texts and pairs for classifiers: tokenised once, made into batches as often as needed.

The tokens of a text are kept with the text they belong to, so that tokens can be put into a text
and a batch be made of it again without tokenising anything twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import torch
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.encoding import check_length, need_tokenizer, not_empty, pad_ids
from vesalius.models.ladder import accepts
from vesalius.models.specimen import Specimen

SPECIAL: Final = -1  # the text of a token that belongs to none, such as [CLS]
NUM_TEXTS: Final = "vesalius_num_texts"  # what `vesalius finetune` writes into a configuration


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenisedTexts:
    """Token ids of texts or pairs, with the text that each token belongs to.

    ``ids``, ``types`` and ``owner`` hold one entry per text, one number per token: ``types`` are
    the model's segment ids where it takes them, ``owner`` is 0 for the (first) text, 1 for the
    second and -1 for special tokens. ``num_cut`` texts were longer than the limit and lost their
    end.
    """

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...] | None
    owner: tuple[tuple[int, ...], ...]
    num_cut: int = 0

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.ids)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each text."""
        return tuple(map(len, self.ids))

    def select(self, texts: Sequence[int]) -> "TokenisedTexts":
        """Keep the texts of these numbers, in their order; no shapes."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in texts),
            types=None if self.types is None else tuple(self.types[i] for i in texts),
            owner=tuple(self.owner[i] for i in texts),
        )

    def batch(self, specimen: Specimen, *, pad_to: int | None = None) -> Batch:
        """Pad to the longest text, or to ``pad_to``, into a batch [text, position] read at row 0.

        Raises:
            VesaliusError: a text longer than the model or than ``pad_to``.
        """
        ids = [list(tokens) for tokens in self.ids]
        inputs: dict[str, Tensor] = pad_ids(specimen, ids, left=False, pad_to=pad_to)
        if self.types is not None:
            width = inputs["input_ids"].shape[1]
            types = [[*tokens, *[0] * (width - len(tokens))] for tokens in self.types]
            inputs["token_type_ids"] = torch.tensor(types)
        return Batch(inputs=inputs, row=torch.zeros(len(ids), dtype=torch.long)).to(specimen.device)


def tokenise_texts(
    specimen: Specimen,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    max_tokens: int | None = None,
) -> TokenisedTexts:
    """Turn texts, or pairs of texts, for a classifier into tokens.

    Args:
        specimen: the opened model.
        texts: what to classify, or the first texts of pairs.
        pairs: the second texts.
        max_tokens: what is longer is cut, the longer text of a pair first; where left out, a text
            longer than the model is an error.

    Raises:
        VesaliusError: no texts or an empty one, another number of second texts, a model that was
            fine-tuned on pairs given single texts (or the reverse, where its configuration says),
            or a text longer than the model.

    Source: the tokenizers of the transformers library. No shapes.
    """
    tokenizer = need_tokenizer(specimen)
    if isinstance(texts, str) or not texts:
        raise VesaliusError(
            given="one text, not a list" if texts else "no texts",
            expected="at least one",
            fix='pass ["A fine film."]',
        )
    _check_pairs(specimen, texts, pairs)
    for text in (*texts, *(pairs or ())):
        not_empty(text)
    limit = max_tokens if specimen.max_tokens is None else min(max_tokens or 0, specimen.max_tokens)
    columns = [list(texts)] if pairs is None else [list(texts), list(pairs)]
    found = tokenizer(*columns, return_special_tokens_mask=True, verbose=False)
    num_cut = 0
    if max_tokens is not None:
        num_cut = sum(len(ids) > (limit or max_tokens) for ids in found["input_ids"])
        found = tokenizer(
            *columns, return_special_tokens_mask=True, truncation=True, max_length=limit
        )
    for ids in found["input_ids"]:
        check_length(specimen, len(ids))
    takes_types = "token_type_ids" in found and accepts(specimen.model, "token_type_ids")
    return TokenisedTexts(
        ids=tuple(map(tuple, found["input_ids"])),
        types=tuple(map(tuple, found["token_type_ids"])) if takes_types else None,
        owner=tuple(_owner(found, i, mask) for i, mask in enumerate(found["special_tokens_mask"])),
        num_cut=num_cut,
    )


def fitting_texts(
    specimen: Specimen, texts: Sequence[str], *, pairs: Sequence[str] | None = None
) -> list[int]:
    """Number the texts, or pairs, that are not longer than the model, in their order; no shapes.

    Source: this project: whoever reads a data set says how many of its texts are left out.
    """
    limit = specimen.max_tokens
    if limit is None:
        return list(range(len(texts)))
    columns = [list(texts)] if pairs is None else [list(texts), list(pairs)]
    found = need_tokenizer(specimen)(*columns, verbose=False)["input_ids"]
    return [number for number, ids in enumerate(found) if len(ids) <= limit]


def encode_texts(
    specimen: Specimen, texts: Sequence[str], *, pairs: Sequence[str] | None = None
) -> Batch:
    """Turn texts or pairs for a classifier into one padded batch, read at the first position.

    Args:
        specimen: the opened model.
        texts: what to classify, or the first texts of pairs.
        pairs: the second texts.

    Returns:
        A batch of shape [prompt, position].

    Raises:
        VesaliusError: as :func:`tokenise_texts`.

    Source: the tokenizers of the transformers library.
    """
    return tokenise_texts(specimen, texts, pairs=pairs).batch(specimen)


def _owner(found: Any, index: int, special: Sequence[int]) -> tuple[int, ...]:
    """Which text each token belongs to; tokenizers without offsets tell special tokens alone."""
    if not found.is_fast:
        return tuple(SPECIAL if mark else 0 for mark in special)
    return tuple(SPECIAL if i is None else i for i in found.sequence_ids(index))


def _check_pairs(specimen: Specimen, texts: Sequence[str], pairs: Sequence[str] | None) -> None:
    if pairs is not None and (isinstance(pairs, str) or len(pairs) != len(texts)):
        count = "one text" if isinstance(pairs, str) else f"{len(pairs)}"
        raise VesaliusError(
            given=f"{len(texts)} first texts and {count} as second",
            expected="a second text for each first one",
            fix="pass pairs=[...] of the same length, or leave it out",
        )
    wanted = getattr(specimen.model.config, NUM_TEXTS, None)
    if wanted not in (None, 1 if pairs is None else 2):
        shown = "pairs of texts" if wanted == 2 else "single texts"
        raise VesaliusError(
            given=f"{'single texts' if pairs is None else 'pairs of texts'} for {specimen.name}",
            expected=f"{shown}, on which it was fine-tuned",
            fix="give the second text too: pairs=[...] (--pair)"
            if wanted == 2
            else "leave the second texts out",
        )
