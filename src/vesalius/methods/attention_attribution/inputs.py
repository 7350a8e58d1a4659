"""What is read: texts, pairs, prompts or a ready batch, cut into batches of like length."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vesalius.core.errors import VesaliusError
from vesalius.models.attention_sites import AttentionSite, attention_sites
from vesalius.models.batch import Batch
from vesalius.models.encoding import encode_prompts
from vesalius.models.specimen import Specimen
from vesalius.models.texts import tokenise_texts
from vesalius.models.token_words import TokenWords, token_words

Inputs = Sequence[str] | Batch
_SQUARES: Final = 4  # matrices [head, query, key] of one text that are held at once, all sites
_WASTE: Final = 1.25  # padded tokens for each real one, in a batch that is worth its calls
_WORTH_CALLS: Final = 1024  # tokens


def encode_inputs(
    specimen: Specimen,
    texts: Inputs,
    *,
    pairs: Sequence[str] | None = None,
    pad_to: int | None = None,
    max_tokens: int | None = None,
) -> Batch:
    """Make a batch of what a user gave: texts for a classifier, prompts for a language model.

    A ready batch stays as it is: images, or inputs of one's own.

    Returns:
        A batch of shape [text, position].

    Raises:
        VesaliusError: texts that cannot be encoded, pairs for a language model or a batch, texts
            for images.

    Source: this project.
    """
    if isinstance(texts, Batch):
        if pairs is not None:
            raise VesaliusError(
                given="a ready batch and second texts",
                expected="second texts for first ones; a batch holds both already",
                fix="make the batch with vesalius.models.texts.encode_texts(..., pairs=pairs)",
            )
        return texts.to(specimen.device)
    if specimen.task == "image-classifier":
        raise VesaliusError(
            given=f"texts for {specimen.name}, which classifies images",
            expected="a batch of pixel values",
            fix="pass vesalius.models.Batch(inputs={'pixel_values': ...}, row=torch.zeros(...))",
        )
    if specimen.task == "classifier":
        tokens = tokenise_texts(specimen, texts, pairs=pairs, max_tokens=max_tokens)
        return tokens.batch(specimen, pad_to=pad_to)
    if pairs is not None:
        raise VesaliusError(
            given=f"pairs of texts for {specimen.name}, a model with the task {specimen.task!r}",
            expected="pairs for a classifier only",
            fix="write one prompt with [MASK] for each",
        )
    return encode_prompts(specimen, texts, pad_to=pad_to)


def plan_batches(
    specimen: Specimen, batch: Batch, *, memory_bytes: int, trimmed: bool = True
) -> list[Int[Tensor, " some"]]:
    """Cut the texts of a batch into batches of like length whose attention fits the memory.

    Args:
        specimen: the opened model.
        batch: all texts.
        memory_bytes: what the attention of one batch may take.
        trimmed: whether padding that a whole batch has is cut off.

    Returns:
        Indices of texts for each batch; every text once.

    Source: length buckets as in point 9 of the engine notes, docs/architecture.md.
    """
    lengths = batch.lengths().tolist() if trimmed else [_width(specimen, batch)] * batch.num_prompts
    if len(set(lengths)) == 1 and lengths[0] == 1:
        lengths = [_width(specimen, batch)] * batch.num_prompts  # images: no mask tells a length
    heads = sum(site.num_heads for site in attention_sites(specimen))
    written = batch.inputs.get("decoder_input_ids")
    narrowest = 0 if written is None else int(written.shape[1])  # what a decoder reads is not cut
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups: list[list[int]] = []
    current: list[int] = []
    for text in order:
        longest = lengths[text]
        held = (len(current) + 1) * _SQUARES * heads * max(longest, narrowest) ** 2 * 4
        tokens = sum(lengths[i] for i in current) + longest
        wasteful = (len(current) + 1) * longest > _WASTE * tokens and tokens > _WORTH_CALLS
        if current and (held > memory_bytes or wasteful):
            groups.append(current)
            current = []
        current.append(text)
    groups.append(current)
    return [torch.tensor(group, device=batch.row.device) for group in groups]


def read_words(specimen: Specimen, batch: Batch, text: int) -> tuple[TokenWords, TokenWords | None]:
    """Read the tokens of one text of a batch as people do, and those of its decoder; no shapes.

    Source: this project.
    """
    ids = batch.inputs.get("input_ids")
    if ids is None:
        return _patches(_width(specimen, batch)), None
    source, written = token_masks(specimen, batch)
    decoder = written_ids(specimen, batch)
    return (
        token_words(specimen, _real(ids[text], source, text)),
        None if decoder is None else token_words(specimen, _real(decoder[text], written, text)),
    )


def _real(ids: Tensor, mask: Tensor | None, text: int) -> list[int]:
    return (ids if mask is None else ids[mask[text].bool()]).tolist()


def written_ids(specimen: Specimen, batch: Batch) -> Int[Tensor, "text position"] | None:
    """Give what the decoder of an encoder-decoder model reads; None for other models.

    Without inputs of its own (the classifiers of BART and T5) it reads the text one step behind.

    Source: ``shift_tokens_right`` of the transformers library.
    """
    if not specimen.parts.is_encoder_decoder:
        return None
    given: Tensor | None = batch.inputs.get("decoder_input_ids")
    if given is not None:
        return given
    ids: Tensor = batch.inputs["input_ids"]
    config: Any = specimen.model.config
    start = torch.full_like(ids[:, :1], config.decoder_start_token_id)
    return torch.cat((start, ids[:, :-1]), dim=1)


def token_masks(specimen: Specimen, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Give the masks [text, position] of what the source and the decoder read; None hides nothing.

    Source: the forward signatures of the transformers library.
    """
    source: Tensor | None = batch.inputs.get("attention_mask")
    written: Tensor | None = batch.inputs.get("decoder_attention_mask")
    shifted = specimen.parts.is_encoder_decoder and "decoder_input_ids" not in batch.inputs
    return source, source if written is None and shifted else written


def site_masks(
    specimen: Specimen, batch: Batch, site: AttentionSite, shape: Sequence[int]
) -> tuple[Bool[Tensor, "text query"], Bool[Tensor, "text key"]]:
    """Mark the tokens that are no padding among the queries and the keys of a site.

    ``shape`` is that of the site's matrices, [text, head, query, key].

    Source: the masks of the batch.
    """
    source, written = token_masks(specimen, batch)
    queries = written if site.stack == "decoder" else source
    keys = source if site.kind == "cross" else queries

    def marks(mask: Tensor | None, width: int) -> Tensor:
        if mask is not None:
            return mask.bool()
        return torch.ones(shape[0], width, dtype=torch.bool, device=batch.row.device)

    return marks(queries, shape[2]), marks(keys, shape[3])


def trimmed_part(batch: Batch, texts: Int[Tensor, " some"], *, trimmed: bool) -> Batch:
    """Pick texts, and cut off padding that all of them have unless it was asked for; [some].

    Source: this project.
    """
    part = batch.select(texts)
    return part.trimmed() if trimmed else part


def _width(specimen: Specimen, batch: Batch) -> int:
    ids = batch.inputs.get("input_ids")
    return specimen.plan.num_positions if ids is None else int(ids.shape[1])


def num_heading(num_positions: int) -> int:
    """Count the positions of an image before its patches, such as [CLS]; no shapes.

    Source: patches in a square, arXiv 2010.11929.
    """
    return num_positions - int(num_positions**0.5) ** 2


def _patches(num_positions: int) -> TokenWords:
    """Names for the positions of an image: [CLS] where one is over, then patches row by row."""
    side = int(num_positions**0.5)
    head = ["[CLS]"] * num_heading(num_positions)
    names = (*head, *(f"{row},{column}" for row in range(side) for column in range(side)))
    places = tuple(range(num_positions))
    special = tuple(place < len(head) for place in places)
    return TokenWords(tokens=names, special=special, word=places, words=names)
