"""Texts into batches: masks found, rows named, padding put where the model wants it."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.batch import Batch
from vesalius.models.ladder import accepts
from vesalius.models.specimen import Specimen

MASK = "[MASK]"


def encode_prompts(specimen: Specimen, prompts: Sequence[str]) -> Batch:
    """Turn cloze prompts into one padded batch.

    A masked LM needs the word ``[MASK]`` exactly once in each prompt, whatever its tokenizer calls
    it. A causal LM reads the text before ``[MASK]`` (all of it where there is none) and answers at
    its last token, what the tokenizer sets behind the text ([SEP], end of text) left out; it is
    padded on the left, so that every answer stands in the last column. A sequence-to-sequence model
    gets its sentinel in the place of ``[MASK]`` and answers with the first decoder token after it.

    Args:
        specimen: the opened model.
        prompts: texts.

    Returns:
        A batch of shape [prompt, position].

    Raises:
        VesaliusError: a classifier; empty text, no mask, two masks, text after the mask of a
            causal model.

    Source: arXiv 2104.08696, section 3.1; padding invisibility is tested on every family.
    """
    if specimen.task in ("classifier", "image-classifier"):
        raise VesaliusError(
            given=f"{specimen.name}, a model with the task {specimen.task!r}",
            expected="a language model, which answers prompts with words",
            fix="open a masked, causal or sequence-to-sequence language model",
        )
    _need_tokenizer(specimen)
    if not prompts:
        raise VesaliusError(
            given="no prompts", expected="at least one text", fix='pass ["Paris is in [MASK]."]'
        )
    if specimen.task == "causal-lm":
        return _causal(specimen, [_before_mask(p) for p in prompts])
    if specimen.task == "seq2seq-lm":
        return _sequence_to_sequence(specimen, [_one_mask(p) for p in prompts])
    return _masked(specimen, [_one_mask(p) for p in prompts])


def encode_texts(specimen: Specimen, texts: Sequence[str]) -> Batch:
    """Turn texts for a classifier into one padded batch, read at the first position.

    Args:
        specimen: the opened model.
        texts: what to classify.

    Returns:
        A batch of shape [prompt, position].

    Raises:
        VesaliusError: no texts, or an empty one.

    Source: the tokenizers of the transformers library.
    """
    _need_tokenizer(specimen)
    if not texts:
        raise VesaliusError(given="no texts", expected="at least one", fix='pass ["A fine film."]')
    ids = [_ids(specimen, _not_empty(text)) for text in texts]
    inputs = _pad(specimen, ids, left=False)
    return Batch(inputs=inputs, row=torch.zeros(len(texts), dtype=torch.long)).to(specimen.device)


def answer_ids(specimen: Specimen, answers: Sequence[str]) -> Int[Tensor, " batch"]:
    """Look up answers that must each be one token of the vocabulary.

    Args:
        specimen: the opened model.
        answers: words, as they stand in running text.

    Returns:
        Shape [batch].

    Raises:
        VesaliusError: an answer that is unknown or takes several tokens; its pieces are shown.

    Source: arXiv 2104.08696, section 3 (single-token answers).
    """
    tokenizer = _need_tokenizer(specimen)
    found: list[int] = []
    for answer in answers:
        word = _not_empty(answer).strip()
        # a decoder reads the answer behind a space; word pieces do not care
        spellings = [f" {word}", word] if specimen.task == "causal-lm" else [word, f" {word}"]
        cuts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in spellings]
        single = [cut[0] for cut in cuts if len(cut) == 1 and cut[0] != tokenizer.unk_token_id]
        if not single:
            shown = tokenizer.convert_ids_to_tokens(cuts[0])
            raise VesaliusError(
                given=f"answer {word!r}, which this tokenizer cuts into {shown}",
                expected="an answer that is one token of the vocabulary",
                fix="choose a one-token answer, or a model whose vocabulary has this word",
            )
        found.append(single[0])
    return torch.tensor(found, device=specimen.device)


def _need_tokenizer(specimen: Specimen) -> Any:
    if specimen.tokenizer is None:
        raise VesaliusError(
            given=f"{specimen.name} without a tokenizer",
            expected="a model opened with its tokenizer",
            fix="pass it: vesalius.open(model, tokenizer=tokenizer)",
        )
    return specimen.tokenizer


def _not_empty(text: str) -> str:
    if not text.strip():
        raise VesaliusError(
            given="an empty text", expected="words", fix="write a sentence with [MASK] in it"
        )
    return text


def _one_mask(prompt: str) -> str:
    count = _not_empty(prompt).count(MASK)
    if count != 1:
        raise VesaliusError(
            given=f"{count} masks in {prompt!r}",
            expected=f"the word {MASK} exactly once",
            fix="write the prompt with one gap, such as 'The capital of France is [MASK].'",
        )
    return prompt


def _before_mask(prompt: str) -> str:
    before, _, after = _not_empty(prompt).partition(MASK)
    if after.strip(" .!?\n"):
        raise VesaliusError(
            given=f"{prompt!r}: words after the gap, and a model that reads from left to right",
            expected="a prompt that ends where the answer begins",
            fix="put [MASK] at the end, or open a masked language model",
        )
    return _not_empty(before).rstrip()


def _ids(specimen: Specimen, text: str) -> list[int]:
    ids: list[int] = specimen.tokenizer(text)["input_ids"]
    limit = _max_tokens(specimen)
    if limit is not None and len(ids) > limit:
        raise VesaliusError(
            given=f"a text of {len(ids)} tokens",
            expected=f"at most {limit} tokens, the positions of {specimen.name}",
            fix="shorten the text",
        )
    return ids


def _max_tokens(specimen: Specimen) -> int | None:
    """The longest text; RoBERTa and its kin count positions from behind the padding index."""
    config: Any = specimen.model.config
    limit: int | None = getattr(config, "max_position_embeddings", None) or None
    for name, module in specimen.model.named_modules():
        is_positions = "position_embeddings" in name.rpartition(".")[2]
        if is_positions and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            usable = module.num_embeddings - module.padding_idx - 1
            limit = usable if limit is None else min(limit, usable)
    return limit


def _open_ended(specimen: Specimen, text: str) -> list[int]:
    """Token ids without the special tokens that the tokenizer sets behind a text."""
    ids, tokenizer = _ids(specimen, text), specimen.tokenizer
    special: set[int] = set(tokenizer.all_special_ids)
    plain: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    added = _num_trailing(ids, special) - _num_trailing(plain, special)
    return ids[: len(ids) - max(added, 0)]


def _num_trailing(ids: Sequence[int], special: set[int]) -> int:
    return sum(1 for _ in takewhile(special.__contains__, reversed(ids)))


def _masked(specimen: Specimen, prompts: Sequence[str]) -> Batch:
    tokenizer = specimen.tokenizer
    if tokenizer.mask_token is None:
        raise VesaliusError(
            given=f"{specimen.name}: a tokenizer without a mask token",
            expected="a masked language model with its mask token",
            fix="set tokenizer.mask_token, or open another checkpoint",
        )
    ids = [_ids(specimen, p.replace(MASK, tokenizer.mask_token)) for p in prompts]
    row = torch.tensor([tokens.index(tokenizer.mask_token_id) for tokens in ids])
    return Batch(inputs=_pad(specimen, ids, left=False), row=row).to(specimen.device)


def _causal(specimen: Specimen, prompts: Sequence[str]) -> Batch:
    ids = [_open_ended(specimen, prompt) for prompt in prompts]
    inputs = _pad(specimen, ids, left=True)
    if accepts(specimen.model, "position_ids"):
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp_min(0)
    row = torch.full((len(ids),), inputs["input_ids"].shape[1] - 1)
    return Batch(inputs=inputs, row=row).to(specimen.device)


def _sequence_to_sequence(specimen: Specimen, prompts: Sequence[str]) -> Batch:
    """T5 answers ``<extra_id_0> answer``; BART writes the sentence out and is read at its mask."""
    tokenizer, config = specimen.tokenizer, specimen.model.config
    sentinel = tokenizer.mask_token or "<extra_id_0>"
    ids = [_ids(specimen, p.replace(MASK, sentinel)) for p in prompts]
    gap = tokenizer.convert_tokens_to_ids(sentinel)
    row = torch.tensor([tokens.index(gap) for tokens in ids])
    inputs = _pad(specimen, ids, left=False)
    start: Any = getattr(config, "decoder_start_token_id", None)
    begun = [start if start is not None else tokenizer.pad_token_id]
    begun += [gap] if tokenizer.mask_token is None else []
    inputs["decoder_input_ids"] = torch.tensor([begun]).repeat(len(ids), 1)
    decoder_row = torch.full_like(row, len(begun) - 1)
    return Batch(inputs=inputs, row=row, decoder_row=decoder_row).to(specimen.device)


def _pad(specimen: Specimen, ids: list[list[int]], *, left: bool) -> dict[str, Tensor]:
    longest = max(map(len, ids))
    filler = specimen.tokenizer.pad_token_id
    filler = 0 if filler is None else filler
    padded = torch.full((len(ids), longest), filler)
    mask = torch.zeros_like(padded)
    for i, tokens in enumerate(ids):
        place = slice(longest - len(tokens), None) if left else slice(0, len(tokens))
        padded[i, place] = torch.tensor(tokens)
        mask[i, place] = 1
    return {"input_ids": padded, "attention_mask": mask}
